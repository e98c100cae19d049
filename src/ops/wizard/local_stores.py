"""Finding a store on this machine: the encrypted file, or the variables in a dotenv file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from src.ops.setup.inspect import inspect_store, start_over
from src.ops.setup.master_key import check_key_path
from src.ops.terminal.prompts import Choice
from src.utils.secrets.errors import SecretsError

from .trouble import show_error

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.inspect import FoundStore
    from src.ops.setup.leftovers import StoreGoneError
    from src.ops.store_kinds.base import StoreKind
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen


class LocalStores:
    """Looks into a store on this machine, with a person who can say what to do if it does not open.

    Args:
        deployment: What is set up.
        screen: Where everything is shown.
        interview: Asks.
    """

    def __init__(self, deployment: Deployment, screen: Screen, interview: Interview) -> None:
        self._deployment = deployment
        self._screen = screen
        self._interview = interview

    def inspect(self, kind: StoreKind[Any], key_file: str | None) -> FoundStore:
        """What the store holds.

        Args:
            kind: Which one.
            key_file: The master key's file, when the command line names it.

        Raises:
            SecretsError: It does not open, and the person chose to stop.
        """
        while True:
            try:
                return inspect_store(self._deployment, kind, key_file)
            except SecretsError as error:
                if not kind.has_master_key:
                    raise
                self._screen.warn(str(error))
                answer = self._interview.select(
                    "The secrets file is unchanged. What do you want to do?",
                    [
                        Choice("stop", "Stop here"),
                        Choice("key", "Name another key file"),
                        Choice("new", "Start over with new secrets, and keep the old file"),
                    ],
                    why="Only its key opens it. The key may be in another file, or in a backup.",
                )
                if answer == "stop":
                    raise
                if answer == "new":
                    return self._start_over()
                key_file = self._interview.ask_text(
                    "Path of the key file:",
                    check=self._check_existing_key_path,
                    why="The file with the key that encrypted the secrets.",
                )

    def _check_existing_key_path(self, path: str) -> str | None:
        if not os.path.isfile(os.path.expanduser(path)):
            return "There is no such file."
        return check_key_path(path, self._deployment)

    def _start_over(self) -> FoundStore:
        _confirm_start_over(self._interview)
        return start_over(self._deployment)


def ask_to_start_over(
    deployment: Deployment, found: FoundStore, gone: StoreGoneError, screen: Screen, interview: Interview
) -> FoundStore:
    """An empty store that may be filled, when the person gives up what is left of the secrets that were in it.

    Raises:
        StoreGoneError: The person does not.
    """
    show_error(screen, gone)
    answer = interview.select(
        "What next?",
        [Choice("stop", "Stop here, and look for them first"), Choice("new", "Start over with new secrets")],
        why="New secrets cannot open what the old ones protect. What is left of the old ones is kept.",
    )
    if answer == "stop":
        raise gone
    _confirm_start_over(interview)
    return start_over(deployment) if found.kind.has_master_key else replace(found, start_over=True)


def _confirm_start_over(interview: Interview) -> None:
    why = "The application loses everything that only the old secrets open: encrypted data, logins, databases."
    interview.ask_for_word("start over", why=why)
