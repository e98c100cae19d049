"""The table of the failures that stores report."""

from __future__ import annotations

import re
import socket

import pytest

from src.utils.secrets.backends.aws_secrets_manager import FAILURES as AWS
from src.utils.secrets.backends.azure_keyvault import FAILURES as AZURE
from src.utils.secrets.backends.hashicorp_vault import FAILURES as VAULT
from src.utils.secrets.errors import SecretsError, StoreDeniedError, StoreError
from src.utils.secrets.failures import Failure, class_names, root_cause, store_error

TABLES = {"AWS": AWS, "Vault": VAULT, "Azure": AZURE}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_each_code_means_one_thing_and_each_failure_has_a_hint(table: tuple[Failure, ...]) -> None:
    codes = [code for failure in table for code in failure.codes]
    assert len(codes) == len(set(codes))
    for failure in table:
        assert issubclass(failure.error, SecretsError)
        assert failure.hints
        assert set(re.findall(r"{.*?}", failure.message)) <= {"{where}", "{action}", "{reason}"}


def test_the_first_known_code_is_used() -> None:
    error = store_error(AWS, ["Unheard", "AccessDenied", "ExpiredToken"], where="here", action="reading")
    assert isinstance(error, StoreDeniedError)
    assert str(error) == "AWS denies reading on here"


def test_an_unknown_code_is_named_and_asked_to_be_reported() -> None:
    error = store_error(AWS, ["Unheard"], where="here", action="reading")
    assert type(error) is StoreError
    assert str(error) == "here: reading failed with Unheard"
    assert "report" in error.hint


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
