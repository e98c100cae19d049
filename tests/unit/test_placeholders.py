"""Which values are published examples. Unknown examples of a kind matter more than listed ones."""

from __future__ import annotations

import os
import random
import secrets
import string
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from src.ops.values.generate import generate_value
from src.utils.secrets import placeholders
from src.utils.secrets.catalog import SecretSpec
from src.utils.secrets.placeholders import fold, is_example_of, is_published_example

CORPUS = Path(placeholders.__file__).with_name(placeholders.CORPUS_FILE)
LINES = [line for line in CORPUS.read_text("utf-8").splitlines() if not line.startswith("# ")]
PUBLISHED = [line.split("\t")[0] for line in LINES]


def spec(**kwargs: object) -> SecretSpec:
    """A secret that is generated, with other attributes than usual."""
    usual = {"name": "SECRET_KEY", "group": "", "description": "", "input": "generate", "docker_file": "secret_key.txt"}
    return SecretSpec(**usual | {"length": 43} | kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "CHANGE_ME",
        "change-me",
        "ChangeMe123!",
        "changethis",
        "change-this-in-production",
        "please-change-me",
        "your-jwt-secret-key-here",
        "your-secret-key-change-this-in-production",
        "your_app_password",
        "password",
        "Password1",
        "p@ssw0rd",
        "s3cr3t",
        "secret",
        "supersecret",
        "super-secret-key",
        "my-super-secret-jwt-key",
        "your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-and-long-postgres-password",
        "this_password_is_insecure_and_should_be_updated",
        "django-insecure-8f9s8df7s9df87sdf98",
        "!!changeme!!",
        "temporary_key",
        "TEST_NON_DEV_SECRET",
        "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET",
        "thisISaSECRET_1234",
        "insecure_session_secret",
        "a_very_important_secret",
        "mysecretpassword",
        "example",
        "foobared",
        "changeit",
        "keyboard cat",
        "AllYourBase",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # pragma: allowlist secret
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # pragma: allowlist secret
        "AKIAIOSFODNN7EXAMPLE",  # pragma: allowlist secret
        "<your-secret>",
        "${SECRET_KEY}",
        "{{ secret_key }}",
        "xxxxxxxx",
        "********",
        "00000000000000000000000000000000",
        "0123456789abcdef0123456789abcdef",  # pragma: allowlist secret
        "12345678",
        "replace_with_lengthy_secure_hex",
        "replace-me-with-a-random-string",
        "generate_a_new_key",
        "ThisTokenIsNotSoSecretChangeIt",
        "SomeRandomString",
        "toBeModified1",
        "dev",
        "test",
        "testing123",
        "test-secret",
        "TODO",
        "fixme",
        "placeholder",
        "admin",
        "admin123",
        "postgres",
        "root",
        "letmein",
        "insert-key-here",
        "enter-your-password",
        "put-your-secret-here",
        "default",
        "dummy",
        "not-a-secret",
        "notasecret",
        "topsecret",
        "very-secret",
        "sup3rs3cr3t",
        "hunter2",
        "correct horse battery staple",
        '"changeme"',
        "change_in_production",
        "use-a-strong-random-key",
        "secret_key_for_development_only",
        "REPLACE_THIS",
        "[secret]",
        "__SECRET_KEY__",
        "%SECRET%",
        "myMasterKey",
        "255d861b-5ea1-5996-9aa3-922530ec40b1",
        "cctv_password",
        "cctv",
        "qwerty",
        "abcdefgh",
        "jwt_secret",
        "JWT_SECRET_KEY",
        "DATABASE_PASSWORD",
        "redis_password",
    ],
)
def test_published_examples_are_recognised(value: str) -> None:
    assert is_published_example(value)
    assert is_published_example(f" '{value}' ")


@pytest.mark.parametrize(
    "value",
    [
        "old-canary-0815",
        "new-canary-4711",
        "hand-made",
        "value",
        "new-value",
        "imported-secret",
        "first-value-of-secret",
        "kJ8s-dj2_KD92jdks9D0s",
        "Tr0ub4dor&3xyz-lamp",
        "purple-elephant-dances-17",
        "abc",
        "k",
        "horse staple lamp correct river",
        "it is raining cats",
        "",
        "Tr0ub4dor&3",
    ],
)
def test_own_values_are_not_recognised_as_examples(value: str) -> None:
    assert not is_published_example(value)


# --- The corpus ------------------------------------------------------------------------------------------------------


def test_the_corpus_is_large_sorted_and_says_where_each_value_was_published() -> None:
    rows = [line.split("\t") for line in LINES]
    assert len({fold(value) for value in PUBLISHED}) >= 330
    assert all(len(row) == 2 and row[1].strip() for row in rows)
    assert min(map(len, PUBLISHED)) >= 4
    assert len(set(PUBLISHED)) == len(rows)
    assert rows == sorted(rows, key=lambda row: (row[1], row[0]))
    assert CORPUS.read_text("utf-8").startswith("# ")


def variants(value: str) -> set[str]:
    """A value as somebody could have written it."""
    swapped = {"".join(sign if character in "-_. " else character for character in value) for sign in "-_. "}
    doubled = {value * 2, f"{value}-{value}", f"{value} {value} {value}"}
    wrapped = {f"  {value}\n", f'"{value}"', f"'{value}'", f" `{value}` "}
    return {value, value.upper(), value.lower(), value.title(), *swapped, *doubled, *wrapped}


@pytest.mark.parametrize("value", PUBLISHED)
def test_every_published_value_is_recognised_however_it_is_written(value: str) -> None:
    missed = [variant for variant in variants(value) if not is_example_of(spec(), variant)]
    assert missed == []


def test_the_corpus_is_read_once_and_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[str, ...]] = []

    def join(*parts: str) -> str:
        reads.append(parts)
        return "/".join(parts)

    monkeypatch.setattr(placeholders, "_corpus", None)
    monkeypatch.setattr(os.path, "join", join)
    assert not is_published_example("")
    assert reads == []
    assert is_published_example("foobared")
    assert not is_published_example("kJ8s-dj2_KD92jdks9D0s")
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        ("Change-Me", "changeme"),
        ("changemechangeme", "changeme"),
        ("secret-secret_secret", "secret"),
        (" keyboard cat ", "keyboardcat"),
        ("aaaa", "a"),
        ("abcab", "abcab"),
        ("--", ""),
        ("", ""),
        ("Straße_1", "straße1"),
    ],
)
def test_case_separators_and_repetition_are_folded(value: str, folded: str) -> None:
    assert fold(value) == folded


@pytest.mark.parametrize(
    "value", ["x", "xx", "!#%&/()=?+*guest", "$%&/(!=?1234?=!(&%$", "a" * 43, "k" * 64, "Guest, lamp and river"]
)
def test_a_fold_that_is_little_of_a_value_says_nothing(value: str) -> None:
    assert not is_published_example(value)


# --- Which secrets are judged ----------------------------------------------------------------------------------------


def test_only_generated_secrets_that_are_judged_have_examples() -> None:
    assert is_example_of(spec(), "changeme")
    assert is_example_of(spec(input="generate_or_ask"), "changeme")
    assert not is_example_of(spec(judged=False), "changeme")
    assert not is_example_of(spec(input="ask", length=None), "changeme")
    assert not is_example_of(spec(), None)
    assert not is_example_of(spec(), "")


# --- Unknown members of each kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "changeme2024!",
        "ChangeMe_2031",
        "ch4ng3m3!",
        "P4ssw0rd#2026",
        "s3cret$",
        "my_changeme_password",
        "prod-changeme-db",
        "acme_changeme",
        "changeme-8f9s8df7s9df",
        "PLACEHOLDER_FOR_THE_TOKEN",
        "PLACEHOLDER_ACME",
        "REPLACE_WITH_STRIPE_WEBHOOK_KEY",
        "replace-with-acme-key",
        "update_this_before_deploying",
        "insert-stripe-token-here",
        "paste-your-api-key-here",
        "put the camera password here",
        "your-stripe-key",
        "YOUR_ACME_TOKEN",
        "<stripe key>",
        "<<your key>>",
        "<KEY_WITH_32_CHARS>",
        "[your secret]",
        "${ACME_KEY}",
        "${ACME_KEY:-changeme}",
        "{{ acme.key }}",
        "{% acme %}",
        "%ACME_KEY%",
        "__ACME__",
        "xxxx",
        "XXXX-XXXX-XXXX",
        "sk-live-xxxxxxxxxx",
        "acme_********",
        "tok_00000000",
        "***-***",
        "...",
        "generate-with-openssl-rand-hex-32",
        "generate-with-openssl-rand-hex-64",
        "do-not-use-acme",
        "insecure-acme-token",
        "acme-example-key",
        "AKIAQQQQQQQQ5EXAMPLE",  # pragma: allowlist secret
        "django-insecure-7f$k2m+9sd8f7",
        "secret password key",
        "secret-secret-secret-secret",
        "asecretkey",
        "thisisasecretpassword",
        "FOOBARED2027",
        "f00bared",
        "abcabcabc",
        "12121212",
        "000-000-000",
        "fedcba9876543210",  # pragma: allowlist secret
        "TODO: fill in",
        "fixme-acme",
    ],
)
def test_unknown_members_of_a_kind_are_recognised(value: str) -> None:
    assert is_published_example(value)


@pytest.mark.parametrize(
    "value",
    [
        "secret horse password lamp key river",
        "your horse lamp river stone apple",
        "insecure horse lamp river stone",
        "change this horse lamp river stone apple",
        "example-painting-social-example-regional",
        "horselampriverstoneexample",
        "$(openssl rand -hex 32)",
        "your-key-8f9s8df7s9df87sdf98x",
        "https://vault.example.com:8200",
        "<7Hd2#kQz9!mPw4$Rt8vX>",
        "${7Hd2#kQz9!mPw4$Rt8}",
        "hostile-canary-0815-" + "x" * 44,
        "hijihife",
        "devamisa",
        "imported",
    ],
)
def test_words_of_examples_beside_others_prove_nothing(value: str) -> None:
    assert not is_published_example(value)


# --- No value that was made at random --------------------------------------------------------------------------------

WORDS = [word for word in FREQUENCY_LISTS["english_wikipedia"][:3000] if len(word) > 2 and word.isalpha()][:2000]
PRINTABLE = string.ascii_letters + string.digits + string.punctuation
URL_SAFE = string.ascii_letters + string.digits + "-_"
CONSONANTS, VOWELS = "bcdfghjklmnprstvwxz", "aeiou"


def passphrase(chance: random.Random) -> str:
    """Five to seven words; again when all of them are words of examples, which is a placeholder."""
    while True:
        words = chance.choices(WORDS, k=chance.randint(5, 7))
        if any(word not in placeholders._TELLING_WORDS | placeholders._OTHER_WORDS for word in words):
            return chance.choice((" ", "-", "")).join(words)


def pronounceable(chance: random.Random) -> str:
    """What pwgen makes: syllables, and a digit here and there."""
    syllables = (
        chance.choice(CONSONANTS)
        + chance.choice(VOWELS)
        + chance.choice(("", "", "", "", chance.choice(string.digits)))
        for _ in range(chance.randint(5, 8))
    )
    return "".join(syllables).title() if chance.random() < 0.5 else "".join(syllables)


GENERATORS: dict[str, tuple[int, Callable[[random.Random], str]]] = {
    "this project's": (100_000, lambda chance: "".join(chance.choices(URL_SAFE, k=chance.choice((32, 43, 64))))),
    "25 letters and digits": (
        20_000,
        lambda chance: "".join(chance.choices(string.ascii_letters + string.digits, k=25)),
    ),
    "hexadecimal": (2_000, lambda chance: "".join(chance.choices("0123456789abcdef", k=chance.choice((32, 64))))),
    "a passphrase": (1_000, passphrase),
    "KeePass": (1_000, lambda chance: "".join(chance.choices(PRINTABLE, k=20))),
    "pass generate": (1_000, lambda chance: "".join(chance.choices(PRINTABLE, k=25))),
    "pwgen": (1_000, pronounceable),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_no_random_value_is_taken_for_an_example(name: str) -> None:
    count, make = GENERATORS[name]
    chance = random.Random(815)
    values = [make(chance) for _ in range(count)]
    began = time.process_time()
    assert [value for value in values if is_published_example(value)] == []
    assert (time.process_time() - began) / count < 0.0005, "ten times what it may take"


@pytest.mark.parametrize("name", GENERATORS)
def test_no_fresh_random_value_is_taken_for_an_example(name: str) -> None:
    count, make = GENERATORS[name]
    values = [make(secrets.SystemRandom()) for _ in range(min(count // 5, 5_000))]
    assert [value for value in values if is_published_example(value)] == []


@pytest.mark.parametrize("length", [16, 32, 43, 64, 128])
def test_no_generated_value_is_taken_for_an_example(length: int) -> None:
    values = [generate_value(spec(length=length)) for _ in range(1000)]
    values += [secrets.token_hex(length) for _ in range(1000)]
    assert [value for value in values if is_example_of(spec(), value)] == []


# --- Any text --------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from(["my", "super", "secret", "jwt", "key", "change", "me", "password", "for", "dev"]), min_size=3
    ),
    st.sampled_from(["", "-", "_", ".", " "]),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_words_of_examples_in_any_order_and_case_are_examples(words: list[str], between: str, write: object) -> None:
    value = write(between.join([*words, "secret"]))  # type: ignore[operator]
    assert is_published_example(value) or len(value) > 256


MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    "value",
    [
        *(
            "a" * 100_000,
            "\0",
            "ü" * 300,
            "key" * 85,
            "<" * 256,
            "%" * 256,
            "your-" * 51,
            "-change" * 36,
            "insert-" * 36,
        ),
        *("example" * 36, "a-" * 128, "{{" * 128, "ab" * 512, "a" * 1023 + "b", "changeme" * 128, "0123456789" * 102),
        *("x" * MEBIBYTE, " " * MEBIBYTE, "changeme" * (MEBIBYTE // 8), "\n" * MEBIBYTE + "changeme", "İ" * 1024),
    ],
    ids=lambda value: f"{value[:8]!r} {len(value)}",
)
def test_any_text_is_checked_quickly_and_without_an_error(value: str) -> None:
    began = time.process_time()
    is_published_example(value)
    assert time.process_time() - began < 0.05
