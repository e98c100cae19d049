"""Finding a store that has to be connected to: what is asked, and whether it answers."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from src.ops.setup.apply import Credential
from src.ops.setup.inspect import inspect_store
from src.ops.terminal.prompts import Choice
from src.utils.secrets.errors import SecretsError, StoreDeletedError

from .trouble import show_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.inspect import FoundStore
    from src.ops.store_kinds.base import Setting, StoreKind
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen


class Connector:
    """Connects to one store, with a person who can fix what is wrong.

    Answers to :class:`src.ops.store_kinds.base.Questions`: the store itself says what it has to know.

    Args:
        deployment: What is set up.
        kind: The store.
        screen: Where everything is shown.
        interview: Asks.
    """

    def __init__(self, deployment: Deployment, kind: StoreKind[Any], screen: Screen, interview: Interview) -> None:
        self.asks_all = False
        self._deployment = deployment
        self._interview = interview
        self._kind = kind
        self._screen = screen
        self._credentials: dict[str, Credential] = {}

    @property
    def deployment(self) -> Deployment:
        """The deployment with the answers so far."""
        return self._deployment

    def connect(self) -> FoundStore | None:
        """Ask what is missing, until the store answers; ``None`` when the person wants another store.

        ``deployment`` then has the answers.

        Raises:
            SecretsError: The person chose to stop; it says why the store did not answer.
        """
        while True:
            self._kind.ask(self)
            try:
                found = self._inspect()
            except SecretsError as error:
                show_error(self._screen, error)
                answer = self._ask_what_next()
                if answer == "stop":
                    raise
                if answer == "other":
                    return None
                self.asks_all = answer == "change"
                continue
            self._screen.done(f"Connected: {found.place}")
            return replace(found, credentials=list(self._credentials.values()))

    def ask(self, setting: Setting, *, default: str = "") -> None:
        """Ask for a setting that is not made yet."""
        if self._deployment.is_configured(setting.name) and not self.asks_all:
            return
        proposal = self._deployment.variables().get(setting.name) or default or setting.default
        answer = self._interview.ask_text(setting.question, default=proposal, check=setting.check, why=setting.why)
        answer = answer.strip()
        is_path = setting.is_path and answer
        self.answer(setting.name, os.path.abspath(os.path.expanduser(answer)) if is_path else answer)

    def select(self, question: str, options: Sequence[tuple[str, str]], *, why: str) -> str:
        """Let the person choose."""
        return self._interview.select(question, [Choice(value, title) for value, title in options], why=why)

    def answer(self, name: str, value: str) -> None:
        """Set a variable without a question."""
        self._deployment = replace(self._deployment, answers={**self._deployment.answers, name: value})
        self._credentials.pop(name, None)

    def ask_credential(self, setting: Setting) -> None:
        """Use a credential now, and keep it in a file of its own for the scripts if the person wants that."""
        value = self._interview.ask_secret(setting.question, check=setting.check, why=setting.why).strip()
        self.answer(setting.name, value)
        self.answer(f"{setting.name}_FILE", "")  # what a settings file says of it until now
        path = self._deployment.default_credential_file(setting.name.lower().replace("_", "-"))
        if self._interview.confirm(
            f"Keep it for later commands in {self._deployment.shown(path)}?",
            default=True,
            why="The other commands sign in with it, too. Only you can read the file.",
        ):
            self._credentials[setting.name] = Credential(setting.name, path, value)

    def _inspect(self) -> FoundStore:
        while True:
            try:
                with self._screen.working(f"Connecting to {self._kind.title}"):
                    return inspect_store(self._deployment, self._kind, None)
            except StoreDeletedError as error:
                show_error(self._screen, error)
                self._ask_about_deleted(error)

    def _ask_about_deleted(self, error: StoreDeletedError) -> None:
        store = self._kind.open(self._deployment)
        menu = [Choice("restore", "Restore it, with the values that it had")]
        if self._kind.can_purge:
            menu.append(Choice("purge", "Delete it permanently and generate new values"))
        answer = self._interview.select(
            "The secret was deleted. What do you want to do?",
            [*menu, Choice("stop", "Leave it as it is")],
            why="A deleted name cannot be used again until it is restored or permanently deleted.",
        )
        if answer == "stop":
            raise error
        if answer == "restore":
            self._kind.restore(store, error.names)
            return
        self._interview.ask_for_word("purge", why="What was deleted there can then never be restored.")
        self._kind.purge(store, error.names)

    def _ask_what_next(self) -> str:
        return self._interview.select(
            "What next?",
            [
                Choice("again", "Try again"),
                Choice("change", "Change the answers"),
                Choice("other", "Choose another store"),
                Choice("stop", "Stop here"),
            ],
            why="Nothing was written. You can fix it in another window, and try again here.",
        )
