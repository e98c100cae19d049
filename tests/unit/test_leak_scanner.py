"""The scanner of the leak tests finds a value in each encoding, at each offset."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shlex
import string
import subprocess
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.leaks import LARGEST_OPENED, SHORTEST, forms, leaked

LENGTHS = range(SHORTEST, 71)
URL_SAFE = string.ascii_letters + string.digits + "-_"


def lower_escapes(text: str) -> str:
    return "".join(part.lower() if part.startswith("%") else part for part in re.split("(%[0-9A-F]{2})", text))


TEXT: dict[str, Callable[[str], str | bytes]] = {
    "plain": str,
    "hex": lambda value: value.encode().hex(),
    "hex in capitals": lambda value: value.encode().hex().upper(),
    "JSON": json.dumps,
    "JSON with other characters as they are": lambda value: json.dumps(value, ensure_ascii=False),
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "JSON with escaped slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "a URL": lambda value: quote(value, safe=""),
    "a URL's path": quote,
    "a form": quote_plus,
    "a URL with small letters": lambda value: lower_escapes(quote(value, safe="")),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda value: repr(value.encode()),
    "a shell's word": shlex.quote,
    "HTML": html.escape,
    "HTML text": lambda value: html.escape(value, quote=False),
    "an XML attribute": quoteattr,
    "markupsafe": lambda value: html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "UTF-16, little end first": lambda value: value.encode("utf-16-le"),
    "UTF-16, big end first": lambda value: value.encode("utf-16-be"),
    "base64 of UTF-16": lambda value: base64.b64encode(value.encode("utf-16-le")),
    "zlib": lambda value: zlib.compress(value.encode() * 3, 1),
    "gzip": lambda value: gzip.compress(b"{" + value.encode() + b"}"),
    "gzip in gzip": lambda value: gzip.compress(gzip.compress(value.encode())),
}
"""Return each encoding of a text; if possible, made with libraries that the scanner does not use."""


def passwords() -> st.SearchStrategy[str]:
    """Draw a value with the length of a password, generated or typed."""
    typed = st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C"])
    return st.one_of(
        *(st.text(alphabet, min_size=SHORTEST, max_size=70) for alphabet in (URL_SAFE, typed, string.printable[:95]))
    )


@settings(deadline=None)
@given(passwords(), st.binary(max_size=5), st.binary(max_size=5))
@pytest.mark.parametrize("encoding", TEXT)
def test_leak_scanner_finds_every_encoding(encoding: str, value: str, before: bytes, after: bytes) -> None:
    encoded = TEXT[encoding](value)
    data = encoded if isinstance(encoded, bytes) else encoded.encode()
    assert leaked({"X": value}, before + data + after) == ["X"]


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("offset", range(3))
def test_leak_scanner_finds_base64_of_each_length_at_each_offset(encode: Callable[[bytes], bytes], offset: int) -> None:
    alphabet = string.ascii_letters + string.digits + "/+-_?~>"
    for length in LENGTHS:
        value = "".join(alphabet[(length * 7 + index * 13) % len(alphabet)] for index in range(length))
        for follows in range(4):
            encoded = encode(b"ab:"[:offset] + value.encode() + b"\xff&:z"[:follows])
            for data in (encoded, encoded.rstrip(b"=")):
                assert leaked({"X": value}, b"before " + data + b" after") == ["X"], (length, follows)


@pytest.mark.parametrize("columns", [20, 64, 76])
def test_leak_scanner_finds_what_is_broken_into_lines(columns: int) -> None:
    value = "A value of sixty-nine characters, with spaces in it, typed by somebody."
    for data in (value, base64.b64encode(value.encode()).decode(), value.encode().hex(" ")):
        lines = "\r\n".join(f"   {line}" for line in textwrap.wrap(data, columns))
        assert leaked({"X": value}, lines.encode()) == ["X"]


@pytest.mark.parametrize("value", ['it\'s $HOME & "more"', "two `ticks` (and) more", "back\\slash!* or so"])
@pytest.mark.parametrize("command", ["printf %q", "set -x; :", "declare -p X #"])
def test_leak_scanner_finds_what_bash_quotes(value: str, command: str) -> None:
    done = subprocess.run(["bash", "-c", f'X=$1; {command} "$1"', "-", value], capture_output=True, check=True)
    assert leaked({"X": value}, done.stdout + done.stderr) == ["X"]


def test_leak_scanner_finds_a_value_in_a_git_object(tmp_path: Path) -> None:
    value = "canary-4711"
    for command in (["init", "-q"], ["hash-object", "-w", "--stdin"]):
        subprocess.run(["git", *command], cwd=tmp_path, input=value.encode(), check=True, capture_output=True)
    objects = [path.read_bytes() for path in tmp_path.glob(".git/objects/??/*")]
    assert [leaked({"X": value}, data) for data in objects] == [["X"]]


def test_leak_scanner_names_only_what_is_there() -> None:
    secrets = {"A": "canary-of-a-4711", "B": "canary-of-b-4711", "C": "canary-of-a-471"}
    assert leaked(secrets, b"nothing of the kind" * 1000) == []
    assert leaked(secrets, b"x" + base64.b64encode(b"canary-of-b-4711")) == ["B"]
    assert leaked({"A": "canary-of-a-4711"}, b"canary-of-a-471") == []


def test_leak_scanner_searches_no_form_that_is_found_anywhere() -> None:
    assert all(len(form) >= SHORTEST for form in forms("admin"))
    assert leaked({"X": "admin"}, b"admin administrator") == []


def test_leak_scanner_opens_nothing_larger_than_its_bound() -> None:
    assert leaked({"X": "canary-4711"}, zlib.compress(b"\0" * (LARGEST_OPENED + 9) + b"canary-4711")) == []
