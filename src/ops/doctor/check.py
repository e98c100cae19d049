"""What a check is.

A check is a function that yields a :class:`Finding` for each thing that is wrong, and nothing where all is well or
where there is nothing to look at. It never shows a value, and changes nothing; a finding may bring a ``fix`` that is
safe to run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from src.ops.containers.stack import Stack
from src.ops.setup.state import inspect_deployment
from src.ops.terminal.report import place
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import SecretsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.state import Inspection
    from src.utils.secrets.command import Command, Hint
    from src.utils.secrets.snapshot import Snapshot

    Function = Callable[["Context"], Iterator["Finding"]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        message: What, and where. One line.
        hints: What fixes it, one for each step; at least one.
        fix: Fixes it, where that is safe.
        check: The check that found it.
    """

    message: str
    hints: tuple[Hint, ...]
    fix: Callable[[], None] | None = field(default=None, compare=False)
    check: Check | None = None


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: Its name on the command line.
        why: Why it matters. One sentence.
        needs: ``store`` or ``stack``, when it cannot be made offline.
        function: Yields what it finds.
    """

    id: str
    why: str
    needs: str | None
    function: Function


CHECKS: dict[str, Check] = {}


def check(id: str, why: str, *, needs: str | None = None) -> Callable[[Function], Function]:  # noqa: A002
    """Make a function a check. See :class:`Check`."""

    def register(function: Function) -> Function:
        CHECKS[id] = Check(id, why, needs, function)
        return function

    return register


class Context:
    """What the checks look at, each thing read once.

    Args:
        deployment: What is examined.
        offline: Whether the store and the stack are left alone.
    """

    def __init__(self, deployment: Deployment, *, offline: bool) -> None:
        self.deployment = deployment
        self.offline = offline
        self.catalog = deployment.catalog
        self.directory = deployment.project_directory
        self.stack = Stack(deployment)

    @cached_property
    def inspection(self) -> Inspection:
        """The state of the deployment."""
        return inspect_deployment(self.deployment)

    @property
    def snapshot(self) -> Snapshot | None:
        """What the store holds; ``None`` when it cannot be read, which a check of its own says."""
        return self.inspection.snapshot

    @property
    def store_error(self) -> SecretsError | None:
        """Why the store cannot be read; ``None`` also where nothing was set up yet, which a check of its own says."""
        return self.inspection.error if self.snapshot is None else None

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        """The containers of the stack; none when there is no Docker."""
        try:
            return self.stack.services()
        except SecretsError:
            return {}

    def runs(self, service: str) -> bool:
        """Whether a service runs now."""
        return self.services.get(service, {}).get("State") == "running"

    def shown(self, path: str) -> str:
        """See :meth:`Deployment.shown`."""
        return self.deployment.shown(path)


def examine_check(check: Check, context: Context) -> list[Finding]:
    """What one check finds. A check that cannot run says that in place of a finding of its own."""
    try:
        return [replace(found, check=check) for found in check.function(context)]
    except SecretsError as error:
        hints = error.hints or (_again(check),)
        return [Finding(f"this check could not run: {error}", hints, check=check)]
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else context.directory
        hints = (program("ls", "-ld", os.path.abspath(where)),)
        return [Finding(f"this check could not run: {error.filename}: {error.strerror}", hints, check=check)]
    except Exception as error:  # noqa: BLE001 - one broken check must not silence the others
        message = f"this check could not run: an internal error, {type(error).__name__} at {place(error)}"
        return [Finding(message, (_again(check),), check=check)]


def _again(check: Check) -> Command:
    return manage("doctor", "--only", check.id)
