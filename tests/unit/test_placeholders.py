"""Which values are published examples. Unknown examples of a kind matter more than listed ones."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.utils.secrets.placeholders import is_published_example


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


@pytest.mark.parametrize("size", [12, 18, 24, 32, 48])
def test_no_generated_value_is_taken_for_an_example(size: int) -> None:
    values = [made for _ in range(1000) for made in (secrets.token_urlsafe(size), secrets.token_hex(size))]
    assert [value for value in values if is_published_example(value)] == []


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


def test_any_text_is_checked_quickly_and_without_an_error() -> None:
    for value in ("a" * 100_000, "\0", "ü" * 300, "key" * 85, "<" * 256, "%" * 256, "your-" * 51):
        is_published_example(value)
