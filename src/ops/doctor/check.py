"""What a check is.

A check is a function that yields a :class:`Finding` for each thing that is wrong, and nothing where all is well or
where there is nothing to look at. Where it cannot look, it yields or raises that, and never stays silent. It shows no
value, and changes nothing; a finding may bring a ``fix`` that is safe to run.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from src.ops.containers.stack import COMPOSE_FILE, Stack
from src.ops.setup.state import inspect_deployment
from src.ops.store_kinds import kind_in_use
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

    Function = Callable[["Context"], Iterator["Finding | NotMade"]]

OFFLINE = "--offline leaves out servers and Docker"
_COULD_NOT_RUN = "this check could not run: "


class Harm(StrEnum):
    """What a finding can lead to; the worst first."""

    LOST = "lost"
    """Secrets are lost, or can no longer be read."""
    EXPOSED = "exposed"
    """Others can read a secret now."""
    BROKEN = "broken"
    """Something does not work, or will not after the next start."""
    WEAK = "weak"
    """A secret is easier to get or to guess than it has to be."""
    UNTIDY = "untidy"
    """Nothing is in danger; something is left over or not known."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        message: What, and where. One line.
        hints: What fixes it, one for each step; at least one.
        fix: Fixes it, where that is safe.
        about: The secrets or paths that it is about. A check that this one follows covers what it is about, too.
        check: The check that found it.
    """

    message: str
    hints: tuple[Hint, ...]
    fix: Callable[[], None] | None = field(default=None, compare=False)
    about: frozenset[str] = frozenset()
    check: Check | None = None

    @property
    def could_not_run(self) -> bool:
        """Whether it only says why the check could not look."""
        return self.message.startswith(_COULD_NOT_RUN)

    @property
    def cause(self) -> str:
        """What is wrong, the same for every check that it stops."""
        return self.message.removeprefix(_COULD_NOT_RUN)


@dataclass(frozen=True)
class NotMade:
    """Why a check was not made, or only in part, where nothing is wrong with that.

    Attributes:
        reason: Why, for the last line of the report.
        cause: The check that says more; empty when there is none.
    """

    reason: str
    cause: str = ""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: Its name on the command line.
        why: Why it matters. One sentence.
        harm: What its findings can lead to.
        needs: What it looks at besides files: ``store``, ``stack`` (the containers), ``compose`` or ``git``.
        follows: The checks whose findings explain its own. See :func:`examine`.
        function: Yields what it finds.
    """

    id: str
    why: str
    harm: Harm
    needs: str | None
    follows: tuple[str, ...]
    function: Function


CHECKS: dict[str, Check] = {}


def check(
    id: str,  # noqa: A002
    why: str,
    *,
    harm: Harm,
    needs: str | None = None,
    follows: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Make a function a check. See :class:`Check`."""

    def register(function: Function) -> Function:
        CHECKS[id] = Check(id, why, harm, needs, follows, function)
        return function

    return register


class Context:
    """What the checks look at, each thing read once.

    Args:
        deployment: What is examined.
        offline: Whether servers and the stack are left alone.
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

    @property
    def known_snapshot(self) -> Snapshot | None:
        """What the store holds, for a check that can do without: ``None`` as well when it must be left alone."""
        return self.snapshot if self.can_ask(self.deployment) else None

    def can_ask(self, deployment: Deployment) -> bool:
        """Whether the store of a deployment may be read: ``--offline`` leaves servers alone."""
        return not self.offline or is_store_local(deployment)

    @cached_property
    def _containers(self) -> tuple[dict[str, dict[str, Any]], SecretsError | None]:
        try:
            return self.stack.services(), None
        except SecretsError as error:
            return {}, error

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The containers of the stack; none when there is no Docker, or when it does not answer."""
        return self._containers[0]

    @property
    def stack_error(self) -> SecretsError | None:
        """Why nobody knows which containers there are."""
        return self._containers[1]

    @property
    def docker_files(self) -> list[str]:
        """The names in the folder of the Docker files; none when there is no such folder.

        Raises:
            OSError: This user may not look into it.
        """
        folder = self.deployment.docker_directory
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def runs(self, service: str) -> bool:
        """Whether a service runs now."""
        return self.services.get(service, {}).get("State") == "running"

    def shown(self, path: str) -> str:
        """See :meth:`Deployment.shown`."""
        return self.deployment.shown(path)

    def obstacle(self, check: Check) -> NotMade | None:
        """Why a check cannot be made here."""
        if check.needs == "store":
            return self._store_obstacle(check)
        if check.needs in ("stack", "compose"):
            return self._stack_obstacle(check)
        if check.needs == "git" and not shutil.which("git"):
            return NotMade("git is not installed")
        return None

    def _store_obstacle(self, check: Check) -> NotMade | None:
        if not self.can_ask(self.deployment):
            return NotMade(OFFLINE)
        if check.id == "store" or self.snapshot is not None:
            return None
        if self.store_error is None:
            return NotMade("no secrets are set up here", "settings")
        return NotMade("the store cannot be read", "store")

    def _stack_obstacle(self, check: Check) -> NotMade | None:
        if self.offline:
            return NotMade(OFFLINE)
        has_docker = shutil.which("docker") or shutil.which("docker-compose")
        if not has_docker and os.path.isfile(os.path.join(self.directory, COMPOSE_FILE)):
            return NotMade("no Docker on this machine")
        if check.needs == "stack" and check.id != "docker" and self.stack_error is not None:
            return NotMade("Docker does not answer", "docker")
        return None


def is_store_local(deployment: Deployment) -> bool:
    """Whether the store of a deployment is on this machine. Settings that say nothing lead to no server."""
    try:
        kind = kind_in_use(deployment)
    except SecretsError:
        return True
    return kind.has_master_key or kind.is_dotenv


def examine_check(check: Check, context: Context) -> list[Finding | NotMade]:
    """What one check finds. A check that cannot run says that in place of a finding of its own."""
    try:
        obstacle = context.obstacle(check)
        found = [obstacle] if obstacle else list(check.function(context))
        return [replace(one, check=check) if isinstance(one, Finding) else one for one in found]
    except SecretsError as error:
        return [Finding(f"{_COULD_NOT_RUN}{error}", error.hints or (_again(check),), check=check)]
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else context.directory
        hints = (program("ls", "-ld", os.path.abspath(where)),)
        return [Finding(f"{_COULD_NOT_RUN}{error.filename}: {error.strerror}", hints, check=check)]
    except Exception as error:  # noqa: BLE001 - one broken check must not silence the others
        message = f"{_COULD_NOT_RUN}an internal error, {type(error).__name__} at {place(error)}"
        return [Finding(message, (_again(check),), check=check)]


def fix_command(check: str) -> Command:
    """The command that fixes what a check finds."""
    return manage("doctor", "--only", check, "--fix")


def move_out_of_the_way(path: str) -> tuple[Command, ...]:
    """How what is in the place of a file goes out of the way, whatever is in it; nothing when it is a file."""
    if os.path.isfile(path) or not os.path.lexists(path):
        return ()
    aside = os.path.join(os.path.dirname(path), f"not-a-file-{os.path.basename(path)}")
    return (program("mv", "-n", path, aside, purpose="Move it away"),)


def _again(check: Check) -> Command:
    return manage("doctor", "--only", check.id)
