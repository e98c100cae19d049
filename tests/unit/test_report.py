"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from src.ops.commands.shared.options import run_click
from src.ops.terminal.report import run_to_exit_code
from src.ops.terminal.screen import Screen
from src.utils.secrets.errors import SecretsError
from tests.conftest import PROJECT

DOCTOR = "hint: Run all checks: ./scripts/manage_secrets.py doctor"


def raising(error: BaseException) -> object:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (
            SecretsError("what happened", hint=["one", "two"]),
            1,
            ["error: what happened", "hint: one", "hint: two", DOCTOR],
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            ["error: Permission denied: nothing of that name is in /", "hint: Check that place", DOCTOR],
        ),
        (SecretsError("x", hint=[DOCTOR.removeprefix("hint: ")]), 1, ["error: x", DOCTOR]),
        (KeyboardInterrupt(), 130, ["", "Interrupted. Nothing was changed."]),
        (EOFError(), 130, ["", "Interrupted. Nothing was changed."]),
    ],
)
def test_every_outcome_has_its_exit_code_and_lines(
    error: BaseException, code: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_to_exit_code(raising(error)) == code  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == lines


def test_an_unexpected_error_shows_its_kind_and_place_and_not_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_to_exit_code(raising(RuntimeError("canary-4711"))) == 1  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert "Unexpected RuntimeError at test_report.py:" in shown
    assert "canary" not in shown
    assert "Traceback" not in shown


def test_a_commands_own_exit_code_is_kept() -> None:
    assert run_to_exit_code(lambda: 5) == 5
    assert run_to_exit_code(lambda: None) == 0


@click.command()
@click.option("--number", type=int)
def example(number: int | None) -> None:
    """Do something."""
    if number == 1:
        raise click.Abort


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["--number", "x"], 2, "error: Invalid value for --number"),
        (["--nubmer", "1"], 2, "error: No such option. Did you mean --number?"),
        (["--number", "1"], 130, "\nInterrupted"),
        (["--help"], 0, ""),
        ([], 0, ""),
    ],
)
def test_wrong_usage_is_two_and_says_how_to_get_help(
    arguments: list[str], code: int, start: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["example", *arguments])
    assert run_click(example) == code
    shown = capsys.readouterr().err
    assert shown.startswith(start)
    assert code != 2 or "--help" in shown


def test_a_closed_pipe_causes_no_traceback() -> None:
    code = "from src.ops.terminal.report import run_to_exit_code\nimport sys\n"
    code += "sys.exit(run_to_exit_code(lambda: [print('x' * 1000, flush=True) for _ in range(1000)] and 0))"
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -c "$0" | head -1', code],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        env=dict(os.environ),
    )
    assert done.stderr == ""


def test_a_secret_is_not_shown_without_a_terminal() -> None:
    with pytest.raises(AssertionError):
        Screen().show_once("label", "canary")
