"""The audit trail: one JSON line for each change, never a value.

Each line holds the SHA-256 of the line before it. That shows accidental damage and edits in the middle; anyone who
can write the file can also rewrite all of it, or cut its end off. Send it to another machine where that matters.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from src.utils.secrets.atomicfile import give_to, inherited_owner, make_private_directory
from src.utils.secrets.command import program
from src.utils.secrets.errors import SecretsError, StoreError
from src.utils.secrets.lockedfile import locked
from src.utils.secrets.settings import open_regular
from src.utils.secrets.snapshot import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .deployment import Deployment

FIRST = "0" * 64
_TAIL_BYTES = 64 * 1024
LOCK_SECONDS = 10


@dataclass(frozen=True)
class Trail:
    """What the trail's file says.

    Attributes:
        path: The file.
        entries: Its lines that can be read, oldest first.
        faults: What is wrong with it, one line each.
    """

    path: str
    entries: list[dict[str, Any]]
    faults: list[str]


def trail_path(deployment: Deployment) -> str:
    """Where the trail is: https://specifications.freedesktop.org/basedir-spec/latest/."""
    return os.path.join(deployment.state_directory, "audit.jsonl")


@contextlib.contextmanager
def recorded(deployment: Deployment, command: str, names: Iterable[str], store: str) -> Iterator[None]:
    """Append what was done inside to the trail: done, or failed and with which kind of error.

    A trail that cannot be written stops nothing, since the change has happened by then; it is said on standard error.

    Args:
        deployment: Whose trail.
        command: What was run.
        names: Which secrets.
        store: Where they are, human-readable.
    """
    result = "done"
    try:
        yield
    except KeyboardInterrupt:
        result = "interrupted"
        raise
    except BaseException as error:
        result = f"failed: {type(error).__name__}"
        raise
    finally:
        _append(deployment, command, names, store, result)


def read_trail(deployment: Deployment) -> Trail:
    """Read and check the trail; one that was never written is empty."""
    path = trail_path(deployment)
    entries, faults, previous = [], [], FIRST
    try:
        with open_regular(path) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise StoreError(
            f"The audit trail {path} cannot be read: {error.strerror}", hint=program("ls", "-l", path)
        ) from None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            said = entry["previous"]
        except (ValueError, KeyError, TypeError, RecursionError):
            faults.append(f"line {number} cannot be read")
        else:
            entries.append(entry)
            if said != previous:
                faults.append(f"line {number} does not follow the line before it: one was changed, added or removed")
        previous = hashlib.sha256(line).hexdigest()
    return Trail(path, entries, faults)


def _append(deployment: Deployment, command: str, names: Iterable[str], store: str, result: str) -> None:
    path = trail_path(deployment)
    entry = {
        "time": utc_now(),
        "person": _person(),
        "host": socket.gethostname(),
        "command": command,
        "environment": deployment.environment,
        "names": sorted(names),
        "store": store,
        "result": result,
    }
    try:
        make_private_directory(os.path.dirname(path))
        owner = inherited_owner(path)
        with locked(path, seconds=LOCK_SECONDS):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if owner is not None:
                    give_to(path, owner)
                tail = _tail(descriptor)
                entry["previous"] = hashlib.sha256(tail.splitlines()[-1]).hexdigest() if tail.strip() else FIRST
                # A path need not be UTF-8; escaped so, what is not is still JSON.
                line = json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
                # A line that was cut off in the middle stays a line of its own.
                os.write(descriptor, line if not tail or tail.endswith(b"\n") else b"\n" + line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except (OSError, SecretsError) as error:
        print(f"warning: the audit trail {path} was not written: {error}", file=sys.stderr)  # noqa: T201


def _tail(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))


def _person() -> str:
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    by_sudo = os.environ.get("SUDO_USER")
    return f"{by_sudo} as {name}" if by_sudo and by_sudo != name else name
