"""What a command of several steps has begun, so that the next run can finish it. Names and steps, never a value."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, cast

from src.utils.secrets.atomicfile import make_private_directory, remove_stale_temporaries, replace_file
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import StoreError
from src.utils.secrets.settings import open_regular

if TYPE_CHECKING:
    from .deployment import Deployment

REENCRYPT = "reencrypt"
REENCRYPT_WORDS = ("rotate", "ENCRYPTION_KEY", "--reencrypt")  # what is typed to finish it


class JournalClosedError(StoreError):
    """This user may not look whether there is a journal."""


class Journal:
    """The journal of one command in one deployment.

    Args:
        deployment: Whose.
        command: ``rotate``, ``migrate``, ...
    """

    def __init__(self, deployment: Deployment, command: str) -> None:
        name = f"{command}-{deployment.environment}.json"
        self.path = os.path.join(deployment.state_directory, name)
        self._project = deployment.project_directory

    def read(self) -> dict[str, Any] | None:
        """What an earlier run has begun and not finished, for this project; ``None`` when nothing is open.

        Raises:
            JournalClosedError: This user may not read it.
            StoreError: The journal cannot be understood.
        """
        try:
            with open_regular(self.path) as file:
                content = json.load(file)
            is_ours = content["project"] == self._project
        except FileNotFoundError:
            return None
        except PermissionError:
            folder = os.path.dirname(self.path)
            raise JournalClosedError(
                f"The journal {self.path} may not be read by this user",
                hint=program("ls", "-ld", folder, purpose="Run this as the user who owns it"),
            ) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise self._unreadable() from None
        if not is_ours:
            return None
        names = content.get("names")
        revisions = (content.get("revision", ""), content.get("undone_from", ""))
        if not (isinstance(names, list) and names and all(isinstance(text, str) for text in (*names, *revisions))):
            raise self._unreadable()
        return cast("dict[str, Any]", content)

    def _unreadable(self) -> StoreError:
        return StoreError(
            f"The journal {self.path} cannot be understood",
            hint=[
                program("cat", self.path, purpose="It holds no secret; see what was begun"),
                manage("status", purpose="Compare the store with what is in use"),
                program("mv", "-n", self.path, f"{self.path}.old", purpose="When both agree, move it away"),
            ],
        )

    def write(self, **content: Any) -> None:
        """Put down what is begun, on the disk before anything else happens."""
        make_private_directory(os.path.dirname(self.path))
        remove_stale_temporaries([self.path])
        replace_file(self.path, json.dumps({"project": self._project} | content).encode(), mode=0o600)

    def clear(self) -> None:
        """Everything is done."""
        remove_stale_temporaries([self.path])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
