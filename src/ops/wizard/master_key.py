"""The questions about the master key of the encrypted file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from src.ops.setup.master_key import KeyChoice, check_key_path
from src.ops.terminal.prompts import Choice
from src.ops.terminal.report import DeclinedError
from src.utils.secrets.command import set_up
from src.utils.secrets.errors import UntrustedPlaceError
from src.utils.secrets.masterkey import generate_master_key, looks_like_master_key
from src.utils.secrets.trusted_place import require_trusted_place

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.inspect import FoundStore
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.masterkey import MasterKey

_LAST_CHARACTERS = 6


class MasterKeyQuestions:
    """Asks where a new master key goes.

    Args:
        deployment: What is set up.
        screen: Where the key is shown, if the person wants to see it.
        interview: Asks.
        made: The keys that were made so far, by place. One that was made for a place stays the same when the person
            comes back to it: it may have been copied already.
    """

    def __init__(
        self, deployment: Deployment, screen: Screen, interview: Interview, made: dict[str | None, MasterKey]
    ) -> None:
        self._deployment = deployment
        self._screen = screen
        self._interview = interview
        self._made = made

    def choose_place(self, found: FoundStore) -> FoundStore:
        """``found``, with its key where the person wants it.

        Raises:
            DeclinedError: The person has nowhere to keep it.
        """
        key = found.key
        if key is None:
            return found
        if not key.is_new:
            self._screen.say(f"The master key is the one from {self._deployment.shown(key.key.source)}.")
            return found
        assert key.file is not None
        place = self._interview.select(
            "Where do you want to save the master key?",
            [
                Choice("file", f"{self._deployment.shown(key.file)}; I copy it to a safe place later"),
                Choice("copy", "The same, and show it now for my password manager"),
                Choice("other", "Another file"),
                Choice("show", "Do not save it: show it once, I store it myself"),
            ],
            why="The master key opens the encrypted file: anyone who has both can read every secret. "
            "If you lose the key, nobody can read the secrets again, not even you.",
        )
        path: str | None = key.file
        if place == "show":
            path = None
        elif place == "other":
            path = ask_for_key_path(self._deployment, self._interview)
        new_key = self._made.setdefault(path, generate_master_key(path or "this run"))
        if place in ("copy", "show"):
            self._hand_over(new_key)
        return replace(found, key=KeyChoice(new_key, path, is_new=True))

    def _hand_over(self, key: MasterKey) -> None:
        """Show the key, and go on when the person proves that it is stored somewhere."""
        text = key.text()
        if not self._screen.is_silent:
            self._screen.show_once("The master key (SECRETS_MASTER_KEY), shown only now:", text)
        if not self._interview.confirm("Have you stored it?", default=False, why="Copy the whole line, = included."):
            raise DeclinedError(
                "The master key is not stored", hint=set_up(purpose="Run it again when you have a place for it")
            )
        last = text[-_LAST_CHARACTERS:]
        self._interview.ask_text(
            f"The last {_LAST_CHARACTERS} characters of the key:",
            check=lambda answer: (
                None
                if answer.strip() == last
                else f"These are not the last {_LAST_CHARACTERS} characters. Check your copy."
            ),
            why="Read them from your copy: this proves that the copy is complete.",
        )


def ask_for_key_path(deployment: Deployment, interview: Interview) -> str:
    """Ask for the file of a new master key."""

    def check(path: str) -> str | None:
        if not path.strip():
            return "This cannot be empty."
        if os.path.lexists(os.path.expanduser(path)):
            return "A file with that path already exists."
        try:
            require_trusted_place(os.path.expanduser(path), "The key")
        except UntrustedPlaceError as error:
            return f"{error}."
        return check_key_path(path, deployment)

    path = interview.ask_text(
        "Path of the key file:",
        check=check,
        hide=looks_like_master_key,
        why="A file outside the project's folder, on a disk that is mounted whenever the application starts.",
    )
    return os.path.abspath(os.path.expanduser(path))
