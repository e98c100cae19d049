"""The errors in tracebacks, in other threads and in other processes."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from src.utils.secrets import SecretsError
from src.utils.secrets import errors as module
from src.utils.secrets.masterkey import load_master_key

KINDS = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, SecretsError)]


def lines_of(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception_only(error)).splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_a_traceback_shows_the_hint_of_every_kind(kind: type[SecretsError]) -> None:
    name = f"{kind.__module__}.{kind.__qualname__}"
    assert lines_of(kind("what happened", hint=("one", "two"))) == [f"{name}: what happened", "hint: one", "hint: two"]
    assert lines_of(kind("what happened")) == [f"{name}: what happened"]


def test_a_traceback_of_the_library_says_what_to_do() -> None:
    with pytest.raises(SecretsError) as caught:
        load_master_key({})
    assert any("manage_secrets.py key paste" in line for line in lines_of(caught.value))


def test_a_hint_that_is_completed_later_is_shown_whole_and_once() -> None:
    error = SecretsError("what happened", hint="one")
    error.hints += ("two",)
    assert lines_of(error)[1:] == ["hint: one", "hint: two"]


def test_the_hint_survives_another_thread_a_copy_and_another_process() -> None:
    error = SecretsError("what happened", hint="one")
    for other in (error.again(), copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert other.hint == "one"
        assert lines_of(other)[1:] == ["hint: one"]
    again = error.again()
    again.add_note("elsewhere")
    assert lines_of(error)[1:] == ["hint: one"]
