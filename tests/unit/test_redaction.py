"""Secrets stay out of logs."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from src.utils.secrets import redaction
from src.utils.secrets.errors import DamagedStoreError
from src.utils.secrets.snapshot import PreviousValue, SecretMetadata, Snapshot

CANARY = 'can"ary/4711 + ü\n'
SHORT = "short"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    factory = logging.getLogRecordFactory()
    for name, empty in (("_snapshots", []), ("_extra_values", set()), ("_pattern", None), ("_stale", False)):
        monkeypatch.setattr(redaction, name, empty)
    redaction.install()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("redaction-test")
    logger.addHandler(handler)
    logger.propagate = False
    redaction.protect(
        Snapshot({"A": CANARY, "B": SHORT}, {"A": SecretMetadata(None, [PreviousValue("earlier-value", "", None)])})
    )
    yield stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(factory)


logger = logging.getLogger("redaction-test")


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        quote(CANARY),
        quote(CANARY, safe=""),
        base64.b64encode(CANARY.encode()).decode(),
        base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr({"a": CANARY}),
        "earlier-value",
    ],
)
def test_no_form_of_a_value_reaches_the_log(form: str, log: io.StringIO) -> None:
    logger.warning("in the message: " + form)
    logger.warning("in an argument: %s", form)
    assert log.getvalue().count("[redacted]") == 2
    assert "4711" not in log.getvalue()
    assert "earlier" not in log.getvalue()


def test_no_value_reaches_the_log_with_an_exception(log: io.StringIO) -> None:
    try:
        raise ValueError(f"bad: {CANARY}")
    except ValueError:
        logger.exception("failed")
    assert "Traceback" in log.getvalue()
    assert "ValueError: bad: [redacted]" in log.getvalue()
    assert "4711" not in log.getvalue()


def test_values_under_eight_characters_are_not_searched_for(log: io.StringIO) -> None:
    logger.warning("a short circuit")
    assert log.getvalue() == "a short circuit\n"


def test_other_records_stay_as_they_are(log: io.StringIO) -> None:
    record = logging.getLogRecordFactory()("n", 20, "f", 1, "plain %s", ("text",), None)
    assert (record.msg, record.args) == ("plain %s", ("text",))


def test_values_given_one_by_one_are_protected_too(log: io.StringIO) -> None:
    redaction.protect_values(["another-value"])
    logger.warning("another-value")
    assert log.getvalue() == "[redacted]\n"


def test_installing_twice_does_nothing_more(log: io.StringIO) -> None:
    factory = logging.getLogRecordFactory()
    redaction.install()
    assert logging.getLogRecordFactory() is factory


def test_a_wrong_format_string_is_left_to_logging(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.warning("%d", "not a number")
    assert log.getvalue() == ""


def test_without_values_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_pattern", None)
    monkeypatch.setattr(redaction, "_stale", False)
    assert redaction.redact("text") == "text"


def test_damaged_metadata_of_one_secret_stops_no_log(log: io.StringIO) -> None:
    class Damaged(dict[str, SecretMetadata]):
        def __getitem__(self, name: str) -> SecretMetadata:
            raise DamagedStoreError("damaged")

    redaction.protect(Snapshot({"C": "another-value"}, Damaged(C=SecretMetadata())))
    logger.warning("another-value and %s", CANARY)
    assert log.getvalue() == "[redacted] and [redacted]\n"
