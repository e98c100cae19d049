"""Finding a store on this machine: the encrypted file, or the variables in a dotenv file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from src.ops.setup.inspect import check_key_path, inspect_store, start_over
from src.ops.terminal.prompts import Choice
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.inspect import Store
    from src.ops.setup.leftovers import StoreGoneError
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

    def inspect(self, backend: SecretsBackend, key_file: str | None) -> Store:
        """What the store holds.

        Args:
            backend: Which one.
            key_file: The master key's file, when the command line names it.

        Raises:
            SecretsError: It does not open, and the person chose to stop.
        """
        while True:
            try:
                return inspect_store(self._deployment, backend, key_file)
            except SecretsError as error:
                if backend is not SecretsBackend.FILE:
                    raise
                self._screen.warn(str(error))
                answer = self._interview.select(
                    "The secrets file is left as it is. What next?",
                    [
                        Choice("stop", "Stop here"),
                        Choice("key", "Name another key file"),
                        Choice("new", "Start over with new secrets, keep the old file aside"),
                    ],
                    why="Only its key opens it. Perhaps that is in another file, or in a backup.",
                )
                if answer == "stop":
                    raise
                if answer == "new":
                    return self._start_over()
                key_file = self._interview.ask_text(
                    "Path of the key file:",
                    check=self._check_existing_key_path,
                    why="The file that holds the key which the secrets were written with.",
                )

    def _check_existing_key_path(self, path: str) -> str | None:
        if not os.path.isfile(os.path.expanduser(path)):
            return "There is no such file."
        return check_key_path(path, self._deployment)

    def _start_over(self) -> Store:
        _confirm_start_over(self._interview)
        return start_over(self._deployment)


def ask_to_start_over(
    deployment: Deployment, store: Store, gone: StoreGoneError, screen: Screen, interview: Interview
) -> Store:
    """An empty store that may be filled, when the person gives up what is left of the secrets that were in it.

    Raises:
        StoreGoneError: The person does not.
    """
    screen.warn(str(gone))
    for line in gone.hint.splitlines():
        screen.say(f"  {line}")
    answer = interview.select(
        "What next?",
        [Choice("stop", "Stop here, and look for them first"), Choice("new", "Start over with new secrets")],
        why="New secrets cannot open what the old ones protect. What is left of the old ones is kept aside.",
    )
    if answer == "stop":
        raise gone
    _confirm_start_over(interview)
    return start_over(deployment) if store.backend is SecretsBackend.FILE else replace(store, start_over=True)


def _confirm_start_over(interview: Interview) -> None:
    why = "The application loses what only the old secrets can open: encrypted data, logins, databases."
    interview.ask_for_word("start over", why=why)
