"""What an import reads, and what it refuses: dotenv, shell scripts, the output of `env`, JSON, folders."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from src.ops.values.importer import Imported, ImportRefusedError, parse_import, read_import
from src.ops.values.importing.choose import NOT_SET
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import ConfigurationError

CATALOG = load_catalog()
CANARY = "canary4711"
BROKEN = "DATABASE_URL cannot be taken apart, so its password was not imported"


def imported(data: bytes | str, source: str = "old.env", **options: object) -> Imported:
    return parse_import(data, source, CATALOG, **options)  # type: ignore[arg-type]


def refusal(data: bytes | str, source: str = "old.env", **options: object) -> ImportRefusedError:
    with pytest.raises(ImportRefusedError) as caught:
        imported(data, source, **options)
    return caught.value


def refused_lines(error: ImportRefusedError) -> list[int]:
    return [int(found) for found in re.findall(r"^(?:Line|Entry) (\d+),", error.hint, re.MULTILINE)]


# --- What is read: name of the case, file, values by name ------------------------------------------------------------

S, P, D, R, A = "SECRET_KEY", "SMTP_PASSWORD", "DATABASE_PASSWORD", "REDIS_PASSWORD", "ADMIN_USERNAME"

READ: dict[str, tuple[bytes, dict[str, str]]] = {
    # Real files that were once read wrongly or not at all.
    "field: byte order mark before JSON": (
        b'\xef\xbb\xbf{"SMTP_PASSWORD":"not-a-real-secret"}',
        {P: "not-a-real-secret"},
    ),
    "field: interpolation stays as it is": (
        b"DB_PASS=hunter2hunter2\nDATABASE_PASSWORD=${DB_PASS}\nREDIS_PASSWORD=${CACHE_PASS:-fallback}\n",
        {D: "${DB_PASS}", R: "${CACHE_PASS:-fallback}"},
    ),
    "field: escaped dollar": (b'SMTP_PASSWORD="pa\\$\\$word"\nADMIN_USERNAME="a\\`b"\n', {P: "pa$$word", A: "a`b"}),
    "field: assignment and export": (b"SECRET_KEY=abcdef; export SECRET_KEY\n", {S: "abcdef"}),
    "field: empty": (b"", {}),
    "field: comments behind other names": (
        b"POSTGRES_PORT=5434    # host port\nFOO=1 # a\nBAR=2 # b\nSMTP_PASSWORD=abc\n",
        {P: "abc"},
    ),
    "field: hash inside quotes over several lines": (
        b'CERT="-----BEGIN K-----\nA=b # c\n-----END K-----"\nSMTP_PASSWORD=abc\n',
        {P: "abc"},
    ),
    "field: bash function": (
        b"BASH_FUNC_which%%=() {  ( alias;\n eval x ) | which\n}\nSMTP_PASSWORD=abc\n",
        {P: "abc"},
    ),
    "field: placeholders are not judged here": (
        # pragma: allowlist nextline secret
        b"SECRET_KEY=change-me\nJWT_SECRET_KEY=your-jwt-secret-here\nDATABASE_PASSWORD=changeme\n",
        {S: "change-me", "JWT_SECRET_KEY": "your-jwt-secret-here", D: "changeme"},
    ),
    "field: other settings": (b"SECRETS_DIR=${HOME}/sec\n", {}),
    "field: one line": (b"SMTP_PASSWORD=not-a-real-one\n", {P: "not-a-real-one"}),
    "field: semicolons": (b"SECRET_KEY=k; SMTP_PASSWORD=abc;\n", {S: "k", P: "abc"}),
    # Encodings and line ends.
    "UTF-8": ("SMTP_PASSWORD=pässwörd€\n".encode(), {P: "pässwörd€"}),
    "byte order mark": (b"\xef\xbb\xbfSMTP_PASSWORD=abc\n", {P: "abc"}),
    "UTF-16 LE": (b"\xff\xfe" + "SMTP_PASSWORD=ä\r\nSECRET_KEY=b\r\n".encode("utf-16-le"), {P: "ä", S: "b"}),
    "UTF-16 BE": (b"\xfe\xff" + "SMTP_PASSWORD=ä\n".encode("utf-16-be"), {P: "ä"}),
    "UTF-16 with JSON": ('{"SMTP_PASSWORD": "ä"}'.encode("utf-16"), {P: "ä"}),
    "UTF-32": ("SMTP_PASSWORD=ä\n".encode("utf-32"), {P: "ä"}),
    "CRLF": (b"SECRET_KEY=a\r\nSMTP_PASSWORD='b'\r\n", {S: "a", P: "b"}),
    "CRLF inside quotes of a file that has nothing else": (b"SECRET_KEY='a\r\nb'\r\n", {S: "a\nb"}),
    "CR inside quotes of a file that has LF": (b"SECRET_KEY='a\r\nb'\nSMTP_PASSWORD=x\n", {S: "a\r\nb", P: "x"}),
    "CR alone": (b"SECRET_KEY=a\rSMTP_PASSWORD=b\r", {S: "a", P: "b"}),
    "no line end": (b"SECRET_KEY=a", {S: "a"}),
    "Latin-1 in another value": (b"CITY=Z\xfcrich\nSMTP_PASSWORD=abc\n", {P: "abc"}),
    "Latin-1 in a comment": (b"# Z\xfcrich\nSMTP_PASSWORD=abc\n", {P: "abc"}),
    # Without quotes.
    "what env prints": (b"SECRET_KEY=abc=def$ghi\nHOME=/root\n", {S: "abc=def$ghi"}),
    "dollars are letters": (b"SECRET_KEY=a$$b\nSMTP_PASSWORD=$abc`x`\n", {S: "a$$b", P: "$abc`x`"}),
    "two words": (b"SMTP_PASSWORD=two words \n", {P: "two words"}),
    "spaces around the equals sign": (b"SMTP_PASSWORD = abc\n", {P: "abc"}),
    "hash inside a word": (b"SMTP_PASSWORD=ab#cd\nSECRET_KEY=#ab\n", {P: "ab#cd", S: "#ab"}),
    "letters that mean something to a shell": (b"SMTP_PASSWORD=a&b|c<d>(e)*?\n", {P: "a&b|c<d>(e)*?"}),
    "apostrophe": (b"SMTP_PASSWORD=it's\nSECRET_KEY=abc\n", {P: "it's", S: "abc"}),
    "continued line": (b"SMTP_PASSWORD=abc\\\ndef\nSECRET_KEY=x\n", {P: "abcdef", S: "x"}),
    "no-break space": ("SMTP_PASSWORD=a\u00a0\n".encode(), {P: "a\u00a0"}),
    "line separators that are none": ("SMTP_PASSWORD=a\u2028b\x0bc\x85\n".encode(), {P: "a\u2028b\x0bc\x85"}),
    "empty": (b"SMTP_PASSWORD=\nSECRET_KEY=''\nREDIS_PASSWORD=x\n", {R: "x"}),
    "a name alone is Docker's": (b"SMTP_PASSWORD=abc\nSECRET_KEY\n", {P: "abc"}),
    # Quotes.
    "single quotes": (b"SECRET_KEY='a # b $c \"d\" \\e'\n", {S: 'a # b $c "d" \\e'}),
    "comment behind quotes": (b"SECRET_KEY='a'  # b\nSMTP_PASSWORD=\"c\" # it's\n", {S: "a", P: "c"}),
    "apostrophe as a shell writes it": (b"SECRET_KEY='it'\\''s'\nSMTP_PASSWORD='it'\"'\"'s'\n", {S: "it's", P: "it's"}),
    "double quotes": (b'SECRET_KEY="a \\"b\\" \\\\ c\'s"\n', {S: 'a "b" \\ c\'s'}),
    "dollar in double quotes": (b'SECRET_KEY="a$b$$c`d`"\n', {S: "a$b$$c`d`"}),
    "several lines": (b"SECRET_KEY='a\nb=c\n'\nSMTP_PASSWORD=\"d\n\ne\"\n", {S: "a\nb=c\n", P: "d\n\ne"}),
    "joined lines in double quotes": (b'SECRET_KEY="a\\\nb"\n', {S: "ab"}),
    "quotes in another value": (b"X=it's\nY='it\nSMTP_PASSWORD='abc'\n", {P: "abc"}),
    "another value whose quotes never end": (b'X="it\nSMTP_PASSWORD=abc\n', {P: "abc"}),
    "another value with a backslash at its end": (b"X=C:\\\nSMTP_PASSWORD=abc\n", {P: "abc"}),
    # For a shell.
    "export": (b"export SECRET_KEY=abc\n  export SMTP_PASSWORD='d e'\n", {S: "abc", P: "d e"}),
    "export -p of bash": (
        b'declare -x HOME="/root"\ndeclare -x SECRET_KEY="a\\$b\\"c\\\\d\\`e"\ndeclare -x X\n',
        {S: 'a$b"c\\d`e'},
    ),
    "export -p of dash": (b"export SECRET_KEY='a'\"'\"'b'\nexport PWD\n", {S: "a'b"}),
    "several in an export": (b"export SECRET_KEY=a SMTP_PASSWORD='b c' X=1\n", {S: "a", P: "b c"}),
    "backslashes in an export": (
        b"export SECRET_KEY=a\\ b\\$c\\\\\\\nd\nexport SMTP_PASSWORD='a\\\\b'\n",
        {S: "a b$c\\d", P: "a\\\\b"},
    ),
    "exports joined with &&": (b"export X=1 && export SECRET_KEY=abc\n", {S: "abc"}),
    "several with quotes": (b"SECRET_KEY='a' SMTP_PASSWORD='b'\n", {S: "a", P: "b"}),
    "quotes and a semicolon": (b"SECRET_KEY='a';\nSMTP_PASSWORD=\"b\"; export SMTP_PASSWORD\n", {S: "a", P: "b"}),
    "semicolon before a known name": (b"X=1;SECRET_KEY=b\n", {S: "b"}),
    "set -a": (b"set -a\nSECRET_KEY=b\nset +a\n", {S: "b"}),
    "expansion in another value": (b'export PATH="$(a "b c"):$PATH"\nexport SECRET_KEY=b\n', {S: "b"}),
    # Other formats.
    "INI": (b"; old\n[app]\nSECRET_KEY = abc\n[mail]\nSMTP_PASSWORD = def\n", {S: "abc", P: "def"}),
    "TOML": (b'SECRET_KEY = "abc" # x\n[mail]\nSMTP_PASSWORD = "def"\n', {S: "abc", P: "def"}),
    "env -0": (b"SECRET_KEY=a\nb # 'c' \\ ;\0HOME=/\0SMTP_PASSWORD= d \0", {S: "a\nb # 'c' \\ ;", P: " d "}),
    "JSON": (b'{"SECRET_KEY": "a\\nb", "SMTP_PASSWORD": null, "REDIS_PASSWORD": "", "X": 5}', {S: "a\nb"}),
    "content of an encrypted file": (b'{"version": 1, "secrets": {"SECRET_KEY": "abc"}, "metadata": {}}', {S: "abc"}),
    "list of names and values": (
        b'[{"name": "SECRET_KEY", "value": "a"}, {"name": "smtp-password", "value": "b"}]',
        {S: "a", P: "b"},
    ),
    # Other names.
    "aliases": (b"POSTGRES_PASSWORD=a\nJWT_SECRET=b\n", {D: "a", "JWT_SECRET_KEY": "b"}),
    "spellings": (b"smtp-password=a\nJwt_Secret=b\ndb-password=c\n", {P: "a", "JWT_SECRET_KEY": "b", D: "c"}),
    "URL": (b"DATABASE_URL=postgresql://u:p%40s%2Bs+@db:5432/x?a=b\n", {D: "p@s+s+"}),
    "URL and name with the same value": (
        # pragma: allowlist nextline secret
        b"DATABASE_URL=postgresql://u:pw@db/x\nDATABASE_PASSWORD=pw\nDATABASE_PASSWORD=pw\n",
        {D: "pw"},
    ),
    "reference to the same secret": (
        b"DATABASE_PASSWORD=pw\nDB_PASSWORD=${DATABASE_PASSWORD}\nDATABASE_URL=postgresql://u:${DB_PASSWORD}@db/x\n",
        {D: "pw"},
    ),
}


@pytest.mark.parametrize(("data", "values"), READ.values(), ids=READ)
def test_a_file_is_read_byte_for_byte(data: bytes, values: dict[str, str]) -> None:
    assert imported(data).values == values


# --- What is refused: name of the case, file, numbers of the lines, what is said --------------------------------------

LINES_REFUSED: dict[str, tuple[bytes, list[int], str]] = {
    "field: several lines printed by env": (
        b"PATH=/bin\nSMTP_PASSWORD=canary4711\ncanary4711-of-secret\nHOME=/root\n",  # pragma: allowlist secret
        [3],
        "may belong to the value in line 2",
    ),
    "field: other names that contradict each other": (
        # pragma: allowlist nextline secret
        b"DATABASE_PASSWORD_FILE=/run/db\nPOSTGRES_PASSWORD=canary4711a\nDATABASE_URL=postgresql://u:canary4711b@db/x\n",
        [1, 2],
        "POSTGRES_PASSWORD: it differs from the password in DATABASE_URL (line 3)",
    ),
    "hash": (b"A=1\nSECRET_KEY=canary4711 #canary4711\n", [2], "' #' begins a comment"),
    "hash with spaces": (b"SECRET_KEY = canary4711 # x\n", [1], "' #' begins a comment"),
    "hash alone": (b"SECRET_KEY= # canary4711\n", [1], "' #' begins a comment"),
    "hash in an export": (b"export SECRET_KEY=canary4711 # x\n", [1], "' #' begins a comment"),
    "hash right behind quotes": (b"SECRET_KEY='canary4711'#x\n", [1], "' #' begins a comment"),
    "semicolon inside": (b"SECRET_KEY=canary4711;cd\n", [1], "';' ends the value"),
    "semicolon at the end": (b"SECRET_KEY=canary4711;\n", [1], "';' ends the value"),
    "semicolon before what is no known name": (b"SECRET_KEY=canary4711;c=d\n", [1], "';' ends the value"),
    "semicolon in an export": (b"export SECRET_KEY=canary4711;cd\n", [1], "';' ends the value"),
    "semicolon before a command": (b"SECRET_KEY=canary4711; echo x\n", [1], "';' ends the value"),
    "several without quotes": (b"SECRET_KEY=canary4711 SMTP_PASSWORD=canary4711\n", [1, 1], "several assignments"),
    "several of which the first is another": (b"X=1 SMTP_PASSWORD=canary4711\n", [1], "several assignments"),
    "behind a command": (b"X=a b; SMTP_PASSWORD=canary4711\n", [1], "on its own line"),
    "backslash before a semicolon": (b"SECRET_KEY=canary4711\\;\n", [1], "';' ends the value"),
    "backslash": (b"SECRET_KEY=canary\\4711\n", [1], "backslash without quotes"),
    "backslash at the end of what env printed": (b"SECRET_KEY=canary4711\\\nHOME=/root\n", [1], "backslash without"),
    "backslash in single quotes": (b"SECRET_KEY='canary\\\\4711'\n", [1], "backslash before a quote or a backslash"),
    "escaped quote in single quotes": (b"SECRET_KEY='canary\\'4711'\nA=b\n", [1], "backslash before a quote"),
    "line end in double quotes": (b'SECRET_KEY="canary\\n4711"\n', [1], "backslash in double quotes"),
    "line end in double quotes of an export": (b'export SECRET_KEY="canary\\n4711"\n', [1], "backslash in double"),
    "escaped apostrophe": (b'SECRET_KEY="canary\\\'4711"\n', [1], "backslash in double quotes"),
    "quotes inside": (b'SECRET_KEY=canary"4711"\n', [1], "quotes inside a value"),
    "text behind quotes": (b"SECRET_KEY='canary'4711\nSMTP_PASSWORD='canary4711' x\n", [1, 2], "do not fit together"),
    "single quote that never ends": (b"SECRET_KEY='canary4711\nA=b\n", [1], "do not fit together"),
    "double quote that never ends": (b'A=b\nSECRET_KEY="canary4711\n', [2], "do not fit together"),
    "quote of an export that never ends": (b"export SECRET_KEY=canary'4711\nA=b\n", [1], "do not fit together"),
    "three quotes": (b'SECRET_KEY = """canary4711"""\n', [1], "three quotes"),
    "a secret inside the quotes of another name": (b'X="a\nSMTP_PASSWORD=canary4711\n"\n', [2], "that line 1 opens"),
    "ANSI-C quotes": (b"SECRET_KEY=$'canary\\n4711'\nexport SMTP_PASSWORD=$'canary'\n", [1, 2], "only some shells"),
    "expansion in an export": (
        b'export SECRET_KEY="canary$X"\nexport SMTP_PASSWORD=${canary}\nexport REDIS_PASSWORD=`canary`\n',
        [1, 2, 3],
        "a shell replaces",
    ),
    "home folder in an export": (b"export SECRET_KEY=~/canary4711\n", [1], "a shell replaces"),
    "another word in an export": (b"export SECRET_KEY=canary4711 word\n", [1], "another word follows"),
    "letter for a shell in an export": (b"export SECRET_KEY=canary&4711\n", [1], "something else"),
    "heredoc": (b"SECRET_KEY = <<EOF\ncanary4711\nEOF\n", [1, 2], "'<<' begins a text"),
    "addition": (b"SECRET_KEY+=canary4711\nexport SMTP_PASSWORD+=canary4711\n", [1, 2], "adds to an earlier value"),
    "not UTF-8": (b"A=b\nSECRET_KEY=canary4711\xfc\n", [2], "not UTF-8"),
    "not UTF-8 in JSON": (b'{"SECRET_KEY": "canary4711\xfc"}', [1], "not UTF-8"),
    "not UTF-8 in env -0": (b"A=b\0SECRET_KEY=canary4711\xfc\0", [2], "not UTF-8"),
    "two values": (b"SECRET_KEY=canary4711a\nA=b\nSECRET_KEY=canary4711b\n", [1], "line 3 has another value"),
    "alias with another value": (
        b"DB_PASSWORD=canary1\nPOSTGRES_PASSWORD=canary2\n",
        [1],
        "POSTGRES_PASSWORD (line 2)",
    ),
    "file that is missing": (b"A=b\nSECRET_KEY_FILE=canary4711\n", [2], "cannot be read: No such file or directory"),
    "alias with a hash": (b"JWT_SECRET=canary4711 # x\n", [1], "' #' begins a comment"),
    "no text in JSON": (b'{"A": 1, "SECRET_KEY": 4711, "SMTP_PASSWORD": ["canary4711"]}', [2, 3], "not text"),
    "two values in JSON": (b'{"SECRET_KEY": "canary1", "SECRET_KEY": "canary2"}', [1], "entry 2 has another value"),
    "NUL in JSON": (b'{"SECRET_KEY": "canary\\u00004711"}', [1], "NUL"),
    "half a character in JSON": (b'{"SECRET_KEY": "canary\\ud800"}', [1], "not valid Unicode"),
    "everything at once": (
        b"SECRET_KEY=canary1 # x\nJWT_SECRET_KEY='canary2'\nSMTP_PASSWORD=can;ary\nREDIS_PASSWORD=can\\ary\n",
        [1, 3, 4],
        "3 lines of old.env cannot be imported; nothing was changed",
    ),
}

WHOLE_REFUSED: dict[str, tuple[bytes, str, str]] = {
    "field: bare value": (b"canary4711\n", "has no names", "--set-file NAME=PATH"),
    "field: bare value with CRLF": (b"canary4711secret\r\n", "has no names", "--set-file"),
    "field: sops": (
        b"SMTP_PASSWORD=ENC[AES256_GCM,data:canary4711,iv:YY=,aad:UQ=,tag:A==,type:str]\nsops_version=3.9.0\n",
        "sops",
        "sops decrypt --input-type dotenv --output-type json FILE",
    ),
    "bare base64": (b"canary4711==\n", "has no names", "--set-file"),
    "PEM": (b"-----BEGIN KEY-----\ncanary4711\n-----END KEY-----\n", "has no names", "--set-file"),
    "sops JSON": (
        b'{"SECRET_KEY": "ENC[AES256_GCM,data:canary4711]", "sops": {"mac": "x"}}',
        "sops",
        "--input-type json",
    ),
    "sops YAML": (b"SECRET_KEY: ENC[AES256_GCM,data:canary4711]\nsops:\n    mac: x\n", "sops", "--input-type yaml"),
    "dotenvx": (
        b'DOTENV_PUBLIC_KEY="03"\nSMTP_PASSWORD="encrypted:canary4711' + b"x" * 100 + b'"\n',
        "dotenvx",
        "dotenvx decrypt --stdout -f",
    ),
    "dotenvx with other names": (
        b'DOTENV_PUBLIC_KEY_CI="03"\nX="encrypted:canary4711"\n',
        "dotenvx",
        "dotenvx decrypt",
    ),
    "ansible-vault": (b"$ANSIBLE_VAULT;1.1;AES256\ncanary4711\n", "ansible-vault", "ansible-vault view FILE"),
    "age, armoured": (b"-----BEGIN AGE ENCRYPTED FILE-----\ncanary4711\n", "age", "age --decrypt"),
    "age": (b"age-encryption.org/v1\n-> X25519 canary4711\n\0\xff", "age", "age --decrypt"),
    "PGP": (b"-----BEGIN PGP MESSAGE-----\n\ncanary4711\n", "PGP", "gpg --decrypt FILE"),
    "git-crypt": (b"\0GITCRYPT\0canary4711", "git-crypt", "git-crypt unlock"),
    "encrypted file of these tools": (b"gAAAAABcanary4711" + b"x" * 80, "encrypted file of these tools", "rescue"),
    "backup": (b'{"format": "secrets-backup", "lock": {}, "data": "canary4711"}', "a backup", "restore"),
    "Vault": (
        b'{"request_id": "1", "data": {"data": {"SECRET_KEY": "canary4711"}, "metadata": {}}}',
        "Vault",
        "jq .data.data FILE",
    ),
    "Vault, version 1": (b'{"lease_id": "", "data": {"SECRET_KEY": "canary4711"}}', "Vault", "jq .data FILE"),
    "AWS": (
        b'{"Name": "x", "SecretString": "{\\"SECRET_KEY\\": \\"canary4711\\"}"}',
        "AWS",
        "--query SecretString --output text",
    ),
    "Kubernetes, JSON": (
        b'{"kind": "Secret", "data": {"SECRET_KEY": "canary4711"}}',
        "Kubernetes",
        "map_values(@base64d)",
    ),
    "Kubernetes, YAML": (
        b"apiVersion: v1\nkind: Secret\ndata:\n  SECRET_KEY: canary4711\n",
        "Kubernetes",
        "kubectl get secret",
    ),
    "Doppler": (b'{"SECRET_KEY": {"computed": "canary4711"}}', "Doppler", "doppler secrets download --no-file"),
    "nested JSON": (b'{"production": {"SECRET_KEY": "canary4711"}}', "inside another object", "one object"),
    "list in JSON": (b'["canary4711"]', "a list without names", "one object"),
    "broken JSON": (b'{"SECRET_KEY": "canary4711', "not valid JSON (line 1, column", "Correct it"),
    "JSON nested too deeply": (b'{"a":' + b"[" * 100_000, "nested too deeply", "one object"),
    "long number in JSON": (b'{"a":' + b"9" * 5000 + b"}", "number that is too long", "quotes"),
    "YAML": (b"# x\nSECRET_KEY: canary4711\n", "Line 2 of old.env is YAML", "yq -o json FILE"),
    "YAML of other names": (b"---\npassword: canary4711\n", "YAML", "yq"),
    "YAML of Compose": (b"environment:\n  - SECRET_KEY=canary4711\n", "YAML", "yq"),
    "list in YAML": (b"A=b\n- SECRET_KEY=canary4711\n", "a list in YAML", "NAME='value'"),
    "PowerShell": (b'$env:SECRET_KEY = "canary4711"\n', "PowerShell", "NAME='value'"),
    "Windows": (b"set SECRET_KEY=canary4711\r\n", "Windows", "NAME='value'"),
    "Windows with quotes": (b'@SET "SECRET_KEY=canary4711"\r\n', "Windows", "NAME='value'"),
    "csh": (b"setenv SECRET_KEY canary4711\n", "csh", "env -0"),
    "fish": (b"set -gx SECRET_KEY canary4711\n", "fish", "env -0"),
    "UTF-16 without its mark": ("SECRET_KEY=canary4711\n".encode("utf-16-le"), "UTF-16", "iconv"),
    "broken UTF-16": (b"\xff\xfe" + "SECRET_KEY=canary4711".encode("utf-16-le") + b"x", "UTF-16", "UTF-8"),
}


@pytest.mark.parametrize(("data", "lines", "said"), LINES_REFUSED.values(), ids=LINES_REFUSED)
def test_a_line_that_programs_read_differently_is_refused_with_its_number(
    data: bytes, lines: list[int], said: str
) -> None:
    error = refusal(data)
    assert refused_lines(error) == lines
    assert said in f"{error}\n{error.hint}"
    assert str(error).endswith("cannot be imported; nothing was changed")


@pytest.mark.parametrize(("data", "said", "hint"), WHOLE_REFUSED.values(), ids=WHOLE_REFUSED)
def test_a_file_of_another_kind_is_refused_with_what_converts_it(data: bytes, said: str, hint: str) -> None:
    error = refusal(data)
    assert said in str(error)
    assert hint in error.hint


@pytest.mark.parametrize("data", [case[0] for case in (*LINES_REFUSED.values(), *WHOLE_REFUSED.values())])
def test_a_refusal_shows_nothing_of_the_file(data: bytes) -> None:
    error = refusal(data)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    said = f"{error} {error.hint} {error!r} {error.__notes__} {error.hints}".lower()
    for mark in ("canary", "4711"):
        for form in (mark.encode(), base64.b64encode(mark.encode()).rstrip(b"="), mark.encode().hex().encode()):
            assert form.decode().lower() not in said


def test_an_import_does_not_show_its_values() -> None:
    assert CANARY not in repr(imported(f'{{"SECRET_KEY": "{CANARY}"}}'))


def test_many_problems_are_counted_and_not_all_shown() -> None:
    error = refusal("\n".join(f"SECRET_KEY=canary # {number}" for number in range(25)))
    assert str(error).startswith("25 lines of old.env")
    assert len(error.hints) == 21
    assert error.hints[-1] == "And 5 more"


# --- Names -----------------------------------------------------------------------------------------------------------


def test_names_that_the_catalogue_does_not_have_are_told_and_other_lines_are_numbers() -> None:
    random = "A8s7d6f5g4h3j2k1"
    text = "SMTP_PASSWORD='abc'\nOTHER=1\n\ncanary4711\nEMPTY=\ncanary4711==\nfoo.bar=1\n"
    text += f"{random}=canary\nX_{random}=canary\n"
    found = imported(text)
    assert found.unknown == ["OTHER"]
    assert found.other_lines == [4, 6, 7, 8, 9]


def test_what_another_name_has_is_told() -> None:
    found = imported(
        "POSTGRES_PASSWORD=a\nsmtp-password=b\nREDIS_URL=redis://:c@host/0\nSECRET_KEY=d\nFLASK_SECRET_KEY=d\n"
    )
    assert found.values == {D: "a", P: "b", R: "c", S: "d"}
    assert found.renamed == {D: "POSTGRES_PASSWORD", P: "smtp-password", R: "REDIS_URL"}
    assert found.unknown == []


def test_a_file_named_in_the_file_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/key").write_bytes(b" a value\r\n")
    (tmp_path / ".env").write_text("SECRET_KEY_FILE=s/key\n")
    found = read_import(str(tmp_path / ".env"), CATALOG, standard_input=io.BytesIO())
    assert found.values == {S: " a value"}
    assert found.renamed == {S: "SECRET_KEY_FILE"}
    error = refusal("SECRET_KEY_FILE=s/none\nSMTP_PASS_FILE=s\n", folder=str(tmp_path))
    assert refused_lines(error) == [1, 2]
    assert f"nothing of that name is in {tmp_path}/s" in error.hint
    (tmp_path / "s/key").write_bytes(b"canary\xfc")
    assert "not UTF-8" in refusal("SECRET_KEY_FILE=s/key\n", folder=str(tmp_path)).hint


@pytest.mark.parametrize(
    ("url", "value", "notes"),
    [
        ("postgresql://cctv:pw@DB:5432/cctv", "pw", []),  # pragma: allowlist secret
        (
            "postgresql://canary:pw@canary/canary",  # pragma: allowlist secret
            "pw",
            [
                "The user in DATABASE_URL is not DATABASE_USER of the settings",
                "The host in DATABASE_URL is not DATABASE_HOST of the settings",
                "The database in DATABASE_URL is not DATABASE_NAME of the settings",
            ],
        ),
        ("postgresql://cctv@db/cctv", None, ["DATABASE_URL has no password"]),
    ],
)
def test_a_url_gives_its_password_and_is_compared_with_the_settings(
    url: str, value: str | None, notes: list[str]
) -> None:
    settings = {"DATABASE_USER": "cctv", "DATABASE_HOST": "db", "DATABASE_NAME": "cctv", "REDIS_HOST": "r"}
    found = imported(f"DATABASE_URL={url}\n", settings=settings)
    assert found.values.get(D) == value
    assert found.notes == notes
    assert found.unknown == []


@pytest.mark.parametrize(
    ("url", "note"),
    [
        ("postgresql://u:ca/nary@db/x", BROKEN),
        ("postgresql://u:c%ffanary@db/x", BROKEN),  # pragma: allowlist secret
        ("postgresql://u:ca nary@db/x", BROKEN),
        ("postgresql://u:ca#nary@db/x", BROKEN),
        ("jdbc:postgresql://u:canary@db/x", "DATABASE_URL has no password"),  # pragma: allowlist secret
        ("postgresql://db/x?user=u&password=canary", "DATABASE_URL has no password"),
        (
            "postgresql://u:${CANARY}@db/x",
            "The password in DATABASE_URL is a reference to another variable, and was not imported",
        ),
    ],
)
def test_a_password_that_a_url_does_not_give_is_refused_unless_another_line_has_it(url: str, note: str) -> None:
    """A new one would not open the database that exists."""
    error = refusal(f"# mine\nDATABASE_URL='{url}'\nSMTP_PASSWORD=abc\n")
    assert refused_lines(error) == [2]
    assert "canary" not in error.hint.lower()
    found = imported(f"DATABASE_URL='{url}'\nPOSTGRES_PASSWORD=abc\n")
    assert (found.values, found.notes) == ({D: "abc"}, [note])


@pytest.mark.parametrize(
    "line",
    [
        "export DATABASE_PASSWORD = canary",
        "DATABASE_PASSWORD canary",
        "DATABASE_PASSWORD\tcanary",
        "DATABASE_PASSWORD:=canary",
        "ENV DATABASE_PASSWORD=canary",
        "-e DATABASE_PASSWORD=canary",
        "if true; then DATABASE_PASSWORD=canary; fi",
        "[ -f x ] && export DATABASE_PASSWORD=canary",
        ": ${DATABASE_PASSWORD:=canary}",
        "$DATABASE_PASSWORD='canary'",
        "DATABASE_PASSWORD<<EOF",
        "\ufeffDATABASE_PASSWORD=canary",
        "\u200bDATABASE_PASSWORD=canary",
        "\u00a0DATABASE_PASSWORD=canary",
        "Environment=DATABASE_PASSWORD=canary",
        "DATABASE_PASSWORD=`canary`",
        "DATABASE_PASSWORD=\u201ccanary\u201d",
        "DATABASE_PASSWORD=-----BEGIN X-----",
        f"DATABASE_PASSWORD={'canary' * 10}abcd\nAbcdEfghIjklMnopQrstUvw=",
    ],
)
def test_a_line_that_sets_a_secret_is_read_or_refused_and_never_left_out(line: str) -> None:
    error = refusal(f"HOME=/root\n\n{line}\n\nSMTP_PASSWORD=abc\n")
    assert refused_lines(error) == [3]
    assert "canary" not in error.hint
    assert "AbcdEfgh" not in error.hint


def test_a_line_behind_an_empty_one_may_still_belong_to_a_value() -> None:
    assert refused_lines(refusal("SMTP_PASSWORD=canary\n\nthird line\n")) == [3]
    error = refusal("SMTP_PASSWORD=canary\nsecond=canary\nfourth\n")
    assert refused_lines(error) == [3]
    assert "second" not in error.hint


@pytest.mark.parametrize("word", ["null", "NULL", "(null)", "None", "nil", "undefined"])
def test_a_word_for_nothing_is_no_password(word: str) -> None:
    """Laravel's example file has such lines."""
    found = imported(f"REDIS_PASSWORD={word}\nMAIL_PASSWORD={word}\nDATABASE_PASSWORD='{word}'\n")
    assert found.values == {D: word}


@pytest.mark.parametrize("tail", [b"\0\0\0\0", b"\n\0\0", b"\0\0"])
def test_a_file_that_was_cut_off_is_not_the_output_of_env(tail: bytes) -> None:
    error = refusal(b"DATABASE_PASSWORD=canary\nSMTP_PASSWORD=canary" + tail)
    assert "NUL bytes" in str(error)
    assert "canary" not in error.hint
    assert refused_lines(refusal(b"DATABASE_PASSWORD=canary\nSMTP_PASSWORD=canary\0")) == [1]


@pytest.mark.parametrize("name", ["hunterTwo", "Tr0ub4dor", "correct_horse_battery"])
def test_what_may_be_a_password_with_an_equals_sign_is_no_name(name: str) -> None:
    assert imported(f"{name}=3x\nSMTP_PASSWORD=abc\n").unknown == []


def test_an_entry_of_another_name_without_a_value_refuses_no_list() -> None:
    found = imported('[{"name": "DATABASE_PASSWORD", "value": "abc"}, {"name": "OTHER", "valueFrom": "x"}]')
    assert found.values == {D: "abc"}
    assert refused_lines(refusal('[{"name": "DATABASE_PASSWORD", "valueFrom": "canary"}]')) == [1]


# --- Where it comes from ---------------------------------------------------------------------------------------------


def test_standard_input_is_bytes() -> None:
    found = read_import("-", CATALOG, standard_input=io.BytesIO("SMTP_PASSWORD=ä\n".encode("utf-16")))
    assert found.values == {P: "ä"}
    with pytest.raises(ImportRefusedError, match="standard input has no names"):
        read_import("-", CATALOG, standard_input=io.BytesIO(b"canary\n"))
    with pytest.raises(ConfigurationError, match="standard input is larger than 1 MiB"):
        read_import("-", CATALOG, standard_input=io.BytesIO(b"x" * 2_000_000))


@pytest.mark.parametrize("kind", ["named", "anonymous"])
def test_a_pipe_is_read_to_its_end(kind: str, tmp_path: Path) -> None:
    written, closing = b"SMTP_PASSWORD=" + b"x" * 200_000 + b"\n", []
    if kind == "named":
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
        writer = threading.Thread(target=lambda: Path(path).write_bytes(written))
    else:
        reading, writing = os.pipe()
        path, closing = f"/dev/fd/{reading}", [reading]

        def write() -> None:
            with open(writing, "wb") as file:
                file.write(written)

        writer = threading.Thread(target=write)
    writer.start()
    try:
        found = read_import(path, CATALOG, standard_input=io.BytesIO())
    finally:
        writer.join()
        for descriptor in closing:
            os.close(descriptor)
    assert found.values == {P: "x" * 200_000}


def test_what_cannot_be_read_is_one_error_without_the_path(tmp_path: Path) -> None:
    reading, writing = os.openpty()
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    try:
        for path in (str(tmp_path / "canary"), "/dev/null", os.ttyname(writing), "canary\0"):
            with pytest.raises(ConfigurationError, match="--import points to a file that cannot be read") as caught:
                read_import(path, CATALOG, standard_input=io.BytesIO())
            assert "canary" not in f"{caught.value} {caught.value.hint}"
        with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
            read_import(str(tmp_path / "large"), CATALOG, standard_input=io.BytesIO())
    finally:
        os.close(reading)
        os.close(writing)


def test_the_command_that_converts_a_file_has_its_path(tmp_path: Path) -> None:
    path = tmp_path / "it's.yaml"
    path.write_text("SECRET_KEY: canary\n")
    with pytest.raises(ImportRefusedError) as caught:
        read_import(str(path), CATALOG, standard_input=io.BytesIO())
    assert shlex.split(caught.value.hints[0].text.partition(": ")[2])[-1] == str(path)  # type: ignore[union-attr]


def test_a_folder_has_one_file_for_each_secret(tmp_path: Path) -> None:
    files = {
        "db_password.txt": b"a\n",
        "redis_password": b"b\r\n",
        "smtp-password": b" c",
        "JWT_SECRET.TXT": b"d\n\n",
        "SECRET_KEY": b"",
        "secret_key_previous.json": b"{}",
        ".hidden": b"x",
        "other_name.txt": b"x",
        "canary-4711": b"x",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/webhook-secret").write_text("e")
    (tmp_path / "webhook-secret").symlink_to("..data/webhook-secret")
    (tmp_path / "sub").mkdir()
    found = read_import(str(tmp_path), CATALOG, standard_input=io.BytesIO())
    assert found.values == {D: "a", R: "b", P: " c", "JWT_SECRET_KEY": "d\n", "WEBHOOK_SECRET": "e"}
    assert found.renamed == {"JWT_SECRET_KEY": "JWT_SECRET.TXT"}
    assert found.unknown == ["other_name"]


def test_files_of_a_folder_that_contradict_each_other_or_cannot_be_used_are_refused(tmp_path: Path) -> None:
    files = {"db_password.txt": b"canary1", "POSTGRES_PASSWORD": b"canary2", "secret_key": b"canary\xfc"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "redis_password.txt")
    (tmp_path / "smtp_password").write_bytes(b"x" * 2_000_000)
    with pytest.raises(ImportRefusedError, match=r"^5 files of") as caught:
        read_import(str(tmp_path), CATALOG, standard_input=io.BytesIO())
    assert caught.value.hint.splitlines() == [
        "POSTGRES_PASSWORD: db_password.txt has another value: keep the right one",
        "redis_password.txt: the file cannot be read: not a regular file: check who may read it",
        "secret_key: the value is not UTF-8: save the file as UTF-8",
        "smtp_password: the file is larger than 1 MiB: check that it is the right one",
    ]


# --- Compared with what else reads such files ------------------------------------------------------------------------


def read_by_shell(folder: Path, data: bytes, name: str) -> str | None:
    """Return the value of a variable after the file was run; None when a shell cannot parse it."""
    (folder / "file").write_bytes(data)
    shell = shutil.which("bash" if b"declare" in data else "sh") or "sh"
    script = f'. ./file >&2; printf "read: %s" "${name}"'
    environ = {"PATH": "/nowhere"}  # nothing in the file runs a program
    done = subprocess.run([shell, "-c", script], cwd=folder, env=environ, capture_output=True, check=False)
    said = done.stdout.decode()
    return said.removeprefix("read: ") if said.startswith("read: ") else None


def values_or_none(read: Callable[[], Imported]) -> dict[str, str]:
    try:
        return read().values
    except ImportRefusedError:
        return {}


IS_FOR_SHELL = re.compile(rb"^\s*export |=['\"]|; export|'\\''", re.MULTILINE)
OF_SHELL = {
    name: data
    for name, (data, _values) in READ.items()
    if data.isascii()
    and b"\r" not in data
    and IS_FOR_SHELL.search(data)
    and name
    not in {
        "dollar in double quotes",  # `$b` is a letter there: dotenv files have such values
        "quotes in another value",
        "another value whose quotes never end",  # a shell reads nothing of them
        "field: byte order mark before JSON",
        "content of an encrypted file",
    }
}


@pytest.mark.parametrize("data", OF_SHELL.values(), ids=OF_SHELL)
def test_quoted_and_exported_values_are_those_of_a_shell(data: bytes, tmp_path: Path) -> None:
    assert imported(data).values
    for name, value in imported(data).values.items():
        assert read_by_shell(tmp_path, data, name) == value


PIECES = st.lists(
    st.sampled_from(
        ["a", "B", "1", "'", '"', "\\", "$", "`", " ", "\n", "#", ";", "&", "=", "~", "{", "}", "n", "'x'", '"y"']
    ),
    max_size=8,
).map("".join)


@given(st.sampled_from(["export SECRET_KEY=", "SECRET_KEY='", 'SECRET_KEY="', "export SECRET_KEY='"]), PIECES)
@example('SECRET_KEY="', 'a\\"b"')
@example("export SECRET_KEY=", "'x'\n'")
@example("export SECRET_KEY=", "$\\")
def test_whatever_is_read_of_a_quoted_or_exported_line_is_what_a_shell_reads(
    tmp_path_factory: pytest.TempPathFactory, start: str, rest: str
) -> None:
    data = f"{start}{rest}\nX=1\n".encode()
    value = values_or_none(lambda: imported(data)).get(S)
    if value is None or (start == 'SECRET_KEY="' and ("$" in rest or "`" in rest)):
        return
    assert read_by_shell(tmp_path_factory.getbasetemp(), data, S) in (value, None)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@example("it's\r\n\\'\\\\ \" $x `y` \\n # ;\r")
@example("NULL")
@example("(null)")
def test_what_shlex_quotes_in_an_export_reads_back_the_same(value: str) -> None:
    found = imported(f"export A=1\nexport SECRET_KEY={shlex.quote(value)}\nexport B=2\n")
    is_nothing = shlex.quote(value) == value and value.lower() in NOT_SET
    assert found.values.get(S, "") == ("" if is_nothing else value)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
@example("\\;")
@example("0;\\")
def test_plain_values_are_those_of_python_dotenv(value: str) -> None:
    text = f"SMTP_PASSWORD={value}\nA=1\n"
    found = values_or_none(lambda: imported(text)).get(P)
    if found is not None:
        assert found == dotenv_values(stream=io.StringIO(text), interpolate=False)[P]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_env_0_and_json_read_back_the_same(value: str) -> None:
    assert imported(f"A=1\0SECRET_KEY={value}\0".encode()).values == {S: value}
    assert imported(json.dumps({S: value})).values == {S: value}
