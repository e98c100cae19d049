"""Searches data for values, in every encoding in which text can appear."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

SHORTEST = 8
"""Shorter forms are names or numbers, which occur everywhere."""
LARGEST_OPENED = 32 << 20
"""Larger data is searched only as it is: line breaks are not removed, and it is not decompressed."""
DEEPEST = 3
"""How many layers of compression are decompressed."""

_BREAKS = b" \t\r\n"
# A zlib header of each level with a window of 32 KiB (RFC 1950), and a gzip header (RFC 1952).
_COMPRESSED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")


def base64_forms(data: bytes) -> set[bytes]:
    """Return ``data`` in base64, at each offset in the encoded data.

    This includes only the characters that depend only on ``data``, not those with bits of the data before or after it.
    """
    found = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            encoded = encode(b"\0" * offset + data)
            found.add(encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6])
    return found


@lru_cache(maxsize=1024)
def forms(value: str) -> frozenset[bytes]:
    """Return ``value`` in each form to search for."""
    found = {text.encode() for text in _escaped(value)}
    found |= {text.encode("latin-1") for text in _escaped(value) if text.isascii() or _is_latin(text)}
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        data = value.encode(encoding)
        found |= {data, data.hex().encode(), data.hex().upper().encode()} | base64_forms(data)
    return frozenset(form for form in found if len(form) >= SHORTEST)


def leaked(secrets: Mapping[str, str], data: bytes) -> list[str]:
    """Return the names of the ``secrets`` that are in ``data`` in any form, also split into lines or compressed."""
    found: set[str] = set()
    for part in _opened(data, DEEPEST):
        found |= {name for name, value in secrets.items() if any(form in part for form in forms(value))}
        if len(part) <= LARGEST_OPENED:
            squeezed = part.translate(None, _BREAKS)
            found |= {
                name for name, value in secrets.items() if any(form in squeezed for form in _without_line_breaks(value))
            }
    return [name for name in secrets if name in found]


@lru_cache(maxsize=1024)
def _without_line_breaks(value: str) -> frozenset[bytes]:
    squeezed = (form.translate(None, _BREAKS) for form in forms(value))
    return frozenset(form for form in squeezed if len(form) >= SHORTEST)


def _escaped(value: str) -> set[str]:
    in_json = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    texts = {value, *in_json, *(json.dumps(text)[1:-1] for text in in_json)}
    texts |= {text.replace("/", "\\/") for text in in_json}
    for url in (quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe=":/?#[]@!$&'()*+,;=")):
        texts |= {url, re.sub("%..", lambda match: match[0].lower(), url)}
    texts |= {repr(value)[1:-1], ascii(value)[1:-1], repr(value.encode())[2:-1]}
    texts |= {shlex.quote(value), value.replace("'", "'\\''"), re.sub(r'([\\"$`])', r"\\\1", value)}
    texts.add(re.sub(r"([^\w@%+=:,./-])", r"\\\1", value, flags=re.ASCII))  # bash's %q
    escaped = html.escape(value, quote=False)
    for double, single in (('"', "'"), ("&quot;", "&#x27;"), ("&quot;", "&apos;"), ("&#34;", "&#39;"), ("&quot;", "'")):
        texts.add(escaped.replace('"', double).replace("'", single))
    # strace and C write unprintable characters as octal numbers.
    octal = "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:o}" for byte in value.encode())
    return texts | {octal, octal.replace('"', '\\"'), octal.replace("\\", "\\\\")}


def _is_latin(text: str) -> bool:
    return all(ord(character) < 256 for character in text)


def _opened(data: bytes, depth: int) -> Iterator[bytes]:
    """Yield ``data``, and the data that zlib or gzip has compressed in it: git's objects, archives, HTTP bodies."""
    yield data
    if depth == 0 or len(data) > LARGEST_OPENED:
        return
    for match in _COMPRESSED.finditer(data):
        try:
            content = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS).decompress(data[match.start() :], LARGEST_OPENED)
        except zlib.error:
            continue
        if len(content) >= SHORTEST:
            yield from _opened(content, depth - 1)
