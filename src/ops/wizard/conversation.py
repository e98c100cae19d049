"""Where the secrets shall be kept, and the way from there to the writing."""

from __future__ import annotations

import copy
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from src.ops.setup.choices import read_choices
from src.ops.store_kinds.at_hand import what_is_at_hand
from src.ops.terminal.interview import Interview
from src.ops.terminal.prompts import BackError, Choice, select
from src.ops.terminal.report import DeclinedError
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.commands.shared.setup_options import Options
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.choices import Choices
    from src.ops.setup.inspect import Store
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.masterkey import MasterKey

_STORE_NOTES = {
    SecretsBackend.FILE: "one encrypted file here; no cloud needed",
    SecretsBackend.AWS: "one JSON secret in your account",
    SecretsBackend.VAULT: "your Vault server",
    SecretsBackend.AZURE: "your key vault",
    SecretsBackend.ENV: "a .env file, for development",
}


class Wizard:
    """One run of the set-up with a person at a terminal.

    Args:
        deployment: What is set up.
        options: What the command line says already.
        screen: Where everything is shown.

    Raises:
        SecretsError: A file that the command line names cannot be read or used.
    """

    def __init__(self, deployment: Deployment, options: Options, screen: Screen) -> None:
        self._deployment = self._original = deployment
        self._options = options
        self._screen = screen
        self._interview = Interview(screen)
        self._given, self._imported = read_choices(options, deployment, sys.stdin)
        self._new_keys: dict[str | None, MasterKey] = {}
        environment = "" if deployment.is_production else f" ({deployment.environment})"
        screen.heading = f"{deployment.catalog.application}: secrets{environment}"

    def run(self) -> None:
        """Ask, show, confirm, write.

        Raises:
            SecretsError: Something failed; what was there before is still there.
            KeyboardInterrupt: The person left; the same.
        """
        self._interview.run(self._converse)

    def _converse(self) -> None:
        """Everything from the first question to the writing; starts over when the person goes back."""
        self._deployment, choices = self._original, copy.deepcopy(self._given)
        self._show_start()
        store = self._find_store()
        self._offer_take_over(store, choices)
        store = self._start_over_if_gone(store, choices)
        store = self._ask_for_values(store, choices)
        self._review_and_write(store, choices)

    def _show_start(self) -> None:
        self._screen.title(
            self._screen.heading,
            "Enter is a good answer to every question. Ctrl-C leaves; nothing is written before you confirm.",
        )
        settings = self._deployment.settings(self._options.backend)
        for path in dict.fromkeys((self._deployment.settings_file, settings.file_path)):
            if os.path.exists(path):
                self._screen.say(f"Found {self._deployment.shown(path)}")
        if self._imported:
            from .review import show_import

            show_import(self._screen, self._imported)

    def _find_store(self) -> Store:
        backend = self._options.backend
        while True:
            backend = backend or self._ask_for_backend()
            if backend in (SecretsBackend.FILE, SecretsBackend.ENV):
                from .local_stores import LocalStores

                local = LocalStores(self._deployment, self._screen, self._interview)
                return local.inspect(backend, self._options.master_key_file)
            from .connect import Connector

            connector = Connector(self._deployment, backend, self._screen, self._interview)
            store = connector.connect()
            if store is not None:
                self._deployment = connector.deployment
                return store
            backend = None

    def _ask_for_backend(self) -> SecretsBackend:
        menu = []
        for backend in SecretsBackend:
            note = what_is_at_hand(backend, self._deployment) or _STORE_NOTES[backend]
            menu.append(Choice(backend.value, f"{backend.title} - {note}"))
        current = self._deployment.settings().backend if os.path.exists(self._deployment.settings_file) else None
        default = current.value if current else SecretsBackend.FILE.value
        return SecretsBackend.from_name(
            self._interview.select(
                "Where shall the secrets be kept?",
                menu,
                default,
                why="The application reads its passwords and keys from this store. If in doubt, keep the suggestion: "
                "you can move everything to another store later.",
            )
        )

    def _offer_take_over(self, store: Store, choices: Choices) -> None:
        from src.ops.setup.inspect import take_over

        is_changing = self._original.is_set_up and not self._is_in_use(store)
        try:
            with self._screen.working("Reading the store in use") if is_changing else nullcontext():
                origin, values = take_over(self._original, store.backend)
        except SecretsError as error:
            self._screen.warn(str(error))
            return
        values = {name: value for name, value in values.items() if not store.snapshot.values.get(name)}
        if not values:
            return
        self._screen.say("", f"Until now the secrets are in {origin}.")
        question = f"Take {len(values)} of them over, so that the application keeps working?"
        if self._interview.confirm(
            question, default=True, why="A database that exists opens with its old password only."
        ):
            choices.imported = values | choices.imported

    def _start_over_if_gone(self, store: Store, choices: Choices) -> Store:
        """``store``, when it may get a new set of secrets: on a first run, or when the person gives the old one up.

        Raises:
            StoreGoneError: The person wants to look for the old secrets first.
        """
        from src.ops.setup.inspect import find_gone

        gone = find_gone(self._deployment, store, choices)
        if gone is None:
            return store
        from .local_stores import ask_to_start_over

        return ask_to_start_over(self._deployment, store, gone, self._screen, self._interview)

    def _is_in_use(self, store: Store) -> bool:
        """Whether the settings name this kind of store already."""
        return store.backend is self._original.settings().backend

    def _ask_for_values(self, store: Store, choices: Choices) -> Store:
        """What has to be asked; returns ``store`` with the place of its key."""
        from .master_key import MasterKeyQuestions
        from .values import ValueQuestions

        questions = ValueQuestions(self._deployment, choices, self._screen, self._interview)
        if store.exists:
            questions.ask_for_changes(store, is_in_use=self._is_in_use(store))
            return store
        questions.ask_for_first_values(store)
        if self._options.master_key_file:
            return store
        return MasterKeyQuestions(self._deployment, self._screen, self._interview, self._new_keys).choose_place(store)

    def _review_and_write(self, store: Store, choices: Choices) -> None:
        from src.ops.setup.inspect import plan_setup

        from .review import show_plan, write_and_show

        plan = plan_setup(self._deployment, store, choices)
        self._interview.forget_repeated()
        show_plan(self._screen, self._deployment, store, plan, self._imported)
        if self._options.dry_run:
            self._screen.say("Dry run: nothing was written.")
            return
        if not plan.written and store.exists:
            self._screen.say("Every secret is there already.")
        self._confirm()
        write_and_show(self._screen, self._deployment, store, plan)

    def _confirm(self) -> None:
        if self._options.yes:
            return
        menu = [
            Choice("write", "Yes, write it"),
            Choice("change", "No, change an answer"),
            Choice("stop", "No, stop here"),
        ]
        answer = self._interview.select("Write this now?", menu, why="")
        if answer == "stop":
            raise DeclinedError(
                "Stopped before writing; nothing was changed", hint="Run `make secrets` again at any time"
            )
        if answer == "change":
            raise BackError(self._choose_answer())

    def _choose_answer(self) -> int | None:
        answers = self._interview.answers[:-1]
        if not answers:
            return None
        menu = [
            Choice(str(position), f"{answer.question.rstrip(':?')}: {answer.shown or '(not shown)'}")
            for position, answer in enumerate(answers)
            if not answer.is_repetition
        ]
        self._screen.aside("The one that you choose is asked again; the others stay. Esc goes back.")
        return int(select("Change which answer?", menu, can_go_back=True))
