"""Where every command ends: its exit code, and the one place where errors are shown."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from src.utils.secrets.command import manage, program, spell
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import PROJECT_DIRECTORY, absent_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.utils.secrets.command import Hint

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class WrongUsageError(SecretsError):
    """The command line cannot be understood, or asks for what cannot be."""


class DeclinedError(SecretsError):
    """The person said no."""


def run_to_exit_code(command: Callable[[], object]) -> int:
    """Run a command and turn whatever it ends with into an exit code, without ever showing a traceback.

    Args:
        command: Returns its exit code, or ``None`` for 0.
    """
    _open_standard_streams()
    try:
        result = command()
    except WrongUsageError as error:
        report_error(str(error), *error.hints, needs_doctor=False)
        return WRONG_USAGE
    except DeclinedError as error:
        return report_error(str(error), *error.hints, needs_doctor=False)
    except SecretsError as error:
        return report_error(str(error), *error.hints)
    except (KeyboardInterrupt, EOFError):
        print("\nInterrupted. Nothing was changed.", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has gone. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _report_system_error(error)
    except Exception as error:  # noqa: BLE001 - its text may hold a value, so only its kind and place are shown
        return report_error(f"Unexpected {type(error).__name__} at {place(error)}", "Please report this line as a bug")
    return result if isinstance(result, int) else DONE


def report_error(message: str, *hints: Hint, needs_doctor: bool = True) -> int:
    """Show an error and what to do about it on standard error; returns the exit code for it.

    Args:
        message: What happened, to which thing.
        hints: What to do about it, one for each step.
        needs_doctor: Whether the doctor may know more.
    """
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    if needs_doctor and "doctor" not in sys.argv:
        hints += (manage("doctor", purpose="Run all checks"),)
    # A script of ours that was run for this one has said the last one, too.
    for line in dict.fromkeys(map(spell, hints)):
        print(f"hint: {line}", file=sys.stderr)  # noqa: T201
    return FAILED


def _open_standard_streams() -> None:
    """Let a stream that is closed (``<&-``) be empty: nothing else then takes its number, and it can be asked."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _report_system_error(error: OSError) -> int:
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    where = absent_path(path) if path else "a file"
    look = program("ls", "-ld", os.path.abspath(path), purpose="Check that place")
    return report_error(
        f"{error.strerror or type(error).__name__}: {where}", look if os.path.lexists(path) else "Check that place"
    )


def version() -> str:
    """The version of these tools, from ``pyproject.toml``."""
    import tomllib

    with open(os.path.join(PROJECT_DIRECTORY, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    return f"{project['name']} {project['version']}"


def place(error: BaseException) -> str:
    """File and line where an error was raised. Unlike its text, they hold no value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
