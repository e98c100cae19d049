"""Values from dotenv, JSON, or the output of `env`."""

from __future__ import annotations

import json

import pytest

from src.ops.values.importer import parse_import
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import ConfigurationError, InvalidSecretError

CATALOG = load_catalog()


def test_dotenv_lines_are_imported_and_unknown_names_are_reported() -> None:
    text = "# comment\nexport SECRET_KEY='a # b $c'\nREDIS_PASSWORD=\"x y\"\nOTHER=1\nSMTP_PASSWORD=\nJWT_SECRET_KEY\n"
    imported = parse_import(text, "old.env", CATALOG)
    assert imported.values == {"SECRET_KEY": "a # b $c", "REDIS_PASSWORD": "x y"}
    assert imported.unknown == ["OTHER"]


def test_the_output_of_env_is_imported() -> None:
    imported = parse_import("SECRET_KEY=abc=def$ghi\nHOME=/root\n", "standard input", CATALOG)
    assert imported.values == {"SECRET_KEY": "abc=def$ghi"}
    assert imported.unknown == ["HOME"]


def test_a_json_object_is_imported() -> None:
    imported = parse_import('{"SECRET_KEY": "a\\nb", "SMTP_PASSWORD": null, "X": 5}', "x.json", CATALOG)
    assert imported.values == {"SECRET_KEY": "a\nb"}
    assert imported.unknown == ["X"]


def test_the_decrypted_content_of_an_encrypted_file_is_imported() -> None:
    text = json.dumps({"version": 1, "secrets": {"SECRET_KEY": "abc"}, "metadata": {}})
    assert parse_import(text, "x.json", CATALOG).values == {"SECRET_KEY": "abc"}


def test_a_hash_in_a_value_without_quotes_is_not_cut_silently() -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY in x has ' #'") as caught:
        parse_import("A=1\nSECRET_KEY=canary #4711\n", "x", CATALOG)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"SECRET_KEY": "canary', r"x is not valid JSON \(line 1"),
        ('{"a":' + "[" * 100_000, "nested too deeply"),
        ('{"SECRET_KEY": 4711}', "SECRET_KEY in x is not text"),
        ("SECRET_KEY='canary\n", "Line 1 of x is not NAME=value"),
        ("no assignment here\n", "Line 1 of x"),
    ],
)
def test_invalid_input_is_refused_without_showing_it(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse_import(text, "x", CATALOG)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_value_that_no_store_keeps_is_refused() -> None:
    with pytest.raises(InvalidSecretError, match="SECRET_KEY has a NUL"):
        parse_import('{"SECRET_KEY": "a\\u0000b"}', "x", CATALOG)


def test_an_import_does_not_show_its_values() -> None:
    assert "canary" not in repr(parse_import('{"SECRET_KEY": "canary"}', "x", CATALOG))
