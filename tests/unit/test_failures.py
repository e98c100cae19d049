"""The table of the failures that stores report."""

from __future__ import annotations

import re
import socket

import pytest

from src.utils.secrets.backends.aws_secrets_manager_failures import FAILURES as AWS
from src.utils.secrets.backends.azure_keyvault_failures import FAILURES as AZURE
from src.utils.secrets.backends.hashicorp_vault_failures import FAILURES as VAULT
from src.utils.secrets.errors import SecretsError, StoreDeniedError, StoreError
from src.utils.secrets.failures import ANY_CODE, Failure, class_names, root_cause, sentence, store_error
from src.utils.secrets.redaction import protect_values

TABLES = {"AWS": AWS, "Vault": VAULT, "Azure": AZURE}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_each_failure_has_a_hint_and_no_row_hides_another(table: tuple[Failure, ...]) -> None:
    closed: set[str] = set()
    for failure in table:
        assert not closed & set(failure.codes), failure.message
        if not failure.says:
            closed |= set(failure.codes)
        assert issubclass(failure.error, SecretsError)
        assert failure.hints
        assert set(re.findall(r"{.*?}", failure.message)) <= {"{where}", "{action}", "{reason}", "{code}", "{name}"}
    assert table[-1].codes == [ANY_CODE]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_nobody_is_asked_to_report_what_a_server_or_a_setting_says(table: tuple[Failure, ...]) -> None:
    for failure in table:
        error = store_error(table, failure.codes[:1], where="here", reason="words")
        assert not re.search(r"\b[Bb]ug|[Rr]eport|Unexpected", f"{error} {error.hint}")


def test_the_first_known_code_is_used() -> None:
    error = store_error(AWS, ["Unheard", "AccessDenied", "ExpiredToken"], where="here", action="reading")
    assert isinstance(error, StoreDeniedError)
    assert str(error) == "AWS denies reading on here"


def test_the_words_decide_where_a_code_has_several_meanings() -> None:
    said = "Access to KMS is not allowed"
    error = store_error(AWS, ["AccessDeniedException"], where="here", action="reading", reason=said)
    assert "KMS key of here" in str(error)
    error = store_error(AWS, ["AccessDeniedException"], where="here", action="reading", said=said, reason="other")
    assert "KMS key of here" in str(error)


def test_an_unknown_code_is_shown_with_the_words_of_the_service() -> None:
    error = store_error(AWS, ["Unheard"], where="here", action="reading", reason="Too\tgreen.\n")
    assert type(error) is StoreError
    assert str(error) == "AWS refuses reading on here: Too green. (Unheard)"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", "no reason given"),
        ("two\nlines\x1b[31m and red", "two lines [31m and red"),
        ("the value canary4711 is wrong", "its reason holds a secret, and is not shown"),
        ("the token hvs.CAESIJ8a0815bcdefghijklmnop is wrong", "the token hvs.... is wrong"),
        ("<!DOCTYPE html><p>Sign in</p>", "a web page"),
        ('{"said": "a \\"quoted\\" canary"}', "its reason holds a secret, and is not shown"),
        ("the value two   words of canary", "its reason holds a secret, and is not shown"),
        ("long words-of-letters-only-and-nothing-else", "long words-of-letters-only-and-nothing-else"),
        ("word " * 100, "word " * 40 + "..."),
        ("\u202eevil\u0007", "evil"),
    ],
)
def test_what_a_server_says_is_one_short_line_without_secrets(said: str, shown: str) -> None:
    assert sentence(said, ["canary4711", 'a "quoted" canary', "two words\nof canary", ""]) == shown


def test_a_value_that_was_loaded_is_not_repeated_either() -> None:
    protect_values({"loaded-canary"})
    assert "canary" not in sentence("it is loaded-canary")


def test_the_reason_at_the_bottom_of_a_network_error_is_found() -> None:
    def fail() -> None:
        try:
            socket.create_connection(("127.0.0.1", 1), 1)
        except OSError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as raised:
        fail()
    assert root_cause(raised.value) == "Connection refused"


def test_a_loop_of_causes_and_an_error_without_a_reason_do_no_harm() -> None:
    error, other = ValueError("a"), KeyError("b")
    error.__cause__, other.__cause__ = other, error
    assert root_cause(error) == "ValueError"
    assert root_cause(TimeoutError()) == "no answer in time"


def test_the_most_specific_class_name_comes_first() -> None:
    class DeepError(StoreDeniedError):
        pass

    assert class_names(DeepError("x"))[:2] == ["DeepError", "StoreDeniedError"]
    assert class_names(Exception("x")) == ["Exception"]
