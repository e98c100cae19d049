"""Looking for values where they have no business, in every form in which text gets about."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

SHORTEST = 9
"""Shorter values are names or numbers, found anywhere."""


def forms(value: str) -> set[bytes]:
    """``value`` plain, escaped for JSON, URLs, shells and Python, in hexadecimal, and in base64 wherever it begins."""
    data = value.encode()
    found = {data, data.hex().encode(), data.hex().upper().encode()}
    texts = (json.dumps(value)[1:-1], quote(value, safe=""), quote(value), quote_plus(value), shlex.quote(value))
    found |= {text.encode() for text in (*texts, repr(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The characters that also depend on what stands before and after are left out.
            encoded = encode(b"\0" * offset + data).rstrip(b"=")
            found.add(encoded[-(-offset * 4 // 3) if offset else 0 : len(encoded) - (1 if len(data) % 3 else 0)])
    return {form for form in found if len(form) >= SHORTEST}


def leaked(secrets: Mapping[str, str], data: bytes) -> list[str]:
    """The names of the ``secrets`` that are in ``data`` in any form."""
    return [name for name, value in secrets.items() if any(form in data for form in forms(value))]
