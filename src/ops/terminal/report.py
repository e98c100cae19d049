"""Where every command ends: its exit code, and the one place where errors are shown."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from src.utils.secrets.errors import SecretsError

if TYPE_CHECKING:
    from collections.abc import Callable

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class WrongUsageError(SecretsError):
    """The command line cannot be understood, or asks for what cannot be."""


def run_command(command: Callable[[], object]) -> int:
    """Run a command and turn whatever it ends with into an exit code, without ever showing a traceback.

    Args:
        command: Returns its exit code, or ``None`` for 0.
    """
    try:
        result = command()
    except WrongUsageError as error:
        report_error(str(error), error.hint)
        return WRONG_USAGE
    except SecretsError as error:
        return report_error(str(error), error.hint)
    except (KeyboardInterrupt, EOFError):
        print("\nInterrupted. Nothing was changed.", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return report_error(f"{error.filename or 'a file'}: {error.strerror}", "Check that place with ls -l")
    except Exception as error:  # noqa: BLE001 - its text may hold a value, so only its kind and place are shown
        return report_error(f"Unexpected {type(error).__name__} at {_place(error)}", "Please report this line as a bug")
    return result if isinstance(result, int) else DONE


def report_error(message: str, hint: str = "") -> int:
    """Show an error and what to do about it on standard error; returns the exit code for it."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    for line in hint.splitlines():
        print(f"hint: {line}", file=sys.stderr)  # noqa: T201
    return FAILED


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
