"""Where to store the secrets, and the way from there to writing them."""

from __future__ import annotations

import copy
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from src.ops.adopt.original import find_near
from src.ops.setup.given import read_given
from src.ops.setup.in_use import is_set_up, kind_expected
from src.ops.setup.options import START_OVER
from src.ops.setup.state import LostValueError
from src.ops.store_kinds import all_kinds, kind_in_use, kind_of
from src.ops.terminal.interview import Interview
from src.ops.terminal.prompts import BackError, Choice, select
from src.ops.terminal.report import DeclinedError
from src.ops.values.door import ask_at_terminal
from src.utils.secrets.command import set_up
from src.utils.secrets.errors import SecretsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from src.ops.adopt.adoption import Adoption
    from src.ops.containers.preflight import Problem
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.given import GivenValues
    from src.ops.setup.inspect import FoundStore
    from src.ops.setup.options import Options
    from src.ops.store_kinds.base import StoreKind
    from src.ops.terminal.screen import Screen
    from src.ops.values.importer import Imported
    from src.utils.secrets.masterkey import MasterKey


class Wizard:
    """One run of the set-up with a person at a terminal.

    Args:
        deployment: What is set up.
        options: What the command line says already.
        screen: Where everything is shown.
        find_problems: What is missing on this machine to start the stack.

    Raises:
        SecretsError: A file that the command line names cannot be read or used.
    """

    def __init__(
        self,
        deployment: Deployment,
        options: Options,
        screen: Screen,
        find_problems: Callable[[], Sequence[Problem]] = tuple,
    ) -> None:
        self._deployment = self._original = deployment
        self._options = options
        self._screen = screen
        self._interview = Interview(screen)
        self._adoption: Adoption | None = None
        self._given, self._imported = self._read_given()
        self._find_problems = find_problems
        self._new_keys: dict[str | None, MasterKey] = {}
        environment = "" if deployment.is_production else f" ({deployment.environment})"
        screen.heading = f"{deployment.catalog.application}: secrets{environment}"

    def run(self) -> None:
        """Ask, show, confirm, write.

        Raises:
            SecretsError: Something failed; what was there before is still there.
            KeyboardInterrupt: The person left; the same.
        """
        folder = self._options.adopt or self._find_original()
        if folder is None or self._adopt(folder):
            self._interview.run(self._converse)

    def _find_original(self) -> str | None:
        """A deployment of the original that can be offered."""
        if self._options.start_over or not self._deployment.is_production:
            return None
        return find_near(self._deployment.project_directory, is_set_up=is_set_up(self._deployment))

    def _adopt(self, folder: str) -> bool:
        """Take over a deployment of the original; a person who has not named it is asked.

        Returns:
            Whether the set-up goes on from there.
        """
        from src.ops.terminal.prompts import confirm

        from .adopt import make_room, offer, read_and_show

        self._screen.title(self._screen.heading)
        if not self._options.adopt and not offer(self._screen, folder):
            return True
        self._adoption = read_and_show(self._screen, self._deployment, self._options, folder)
        self._given, self._imported = self._read_given()
        return make_room(
            self._screen,
            self._deployment,
            self._adoption,
            dry_run=self._options.dry_run,
            ask=lambda question: confirm(question, default=True),
        )

    def _read_given(self) -> tuple[GivenValues, Imported | None]:
        return read_given(
            self._deployment,
            sys.stdin.buffer,
            import_source=self._options.import_source,
            set_files=self._options.set_files,
            replace=self._options.replace,
            accepted=self._options.accepted,
            ask=ask_at_terminal,
            adoption=self._adoption,
        )

    def _converse(self) -> None:
        """Everything from the first question to the writing; starts over when the person goes back."""
        self._deployment, given = self._original, copy.deepcopy(self._given)
        self._show_start()
        found = self._find_store()
        if not found.start_over:
            self._offer_take_over(found, given)
        found = self._clear_obstacle(found, given)
        found = self._ask_for_values(found, given)
        self._review_and_write(found, given)

    def _show_start(self) -> None:
        self._screen.title(
            self._screen.heading,
            "Press Enter to accept each default. Ctrl-C quits; nothing is written until you confirm.",
        )
        settings = self._deployment.settings(self._options.backend)
        for path in dict.fromkeys((self._deployment.settings_file, settings.file_path)):
            if os.path.exists(path):
                self._screen.say(f"Found {self._deployment.shown(path)}")
        for problem in self._find_problems():
            self._screen.warn(f"{problem.message}. The set-up does not need it; to start the stack:", *problem.hints)
        if self._imported or self._given.warnings:
            from .review import show_import  # not before the first question of a usual run

            show_import(self._screen, self._imported, self._given)

    def _find_store(self) -> FoundStore:
        kind = kind_of(self._options.backend) if self._options.backend else None
        while True:
            kind = kind or self._ask_for_kind()
            if self._options.start_over and (kind.has_master_key or kind.is_dotenv):
                self._confirm_start_over()
                return self._start_over(kind)
            if kind.has_master_key or kind.is_dotenv:
                from .local_stores import LocalStores

                local = LocalStores(self._deployment, self._screen, self._interview)
                return local.inspect(kind, self._options.master_key_file)
            from .connect import Connector

            connector = Connector(self._deployment, kind, self._screen, self._interview)
            found = connector.connect()
            if found is not None:
                self._deployment = connector.deployment
                if not self._options.start_over:
                    return found
                self._confirm_start_over()
                return self._start_over(kind, found)
            kind = None

    def _confirm_start_over(self) -> None:
        from .local_stores import confirm_start_over

        if self._options.word != START_OVER:
            confirm_start_over(self._interview)

    def _start_over(self, kind: StoreKind[Any], found: FoundStore | None = None) -> FoundStore:
        from src.ops.setup.inspect import start_over

        return start_over(self._deployment, kind, found=found, master_key_file=self._options.master_key_file)

    def _ask_for_kind(self) -> StoreKind[Any]:
        kinds = {kind.name: kind for kind in all_kinds()}
        menu = [
            Choice(kind.name, f"{kind.title} - {kind.at_hand(self._deployment) or kind.note}")
            for kind in kinds.values()
        ]
        default = kind_expected(self._deployment).name
        answer = self._interview.select(
            "Where do you want to store the secrets?",
            menu,
            default,
            why="The application reads its passwords and keys from this store. If in doubt, keep the suggestion: "
            "you can move everything to another store later.",
        )
        return kinds[answer]

    def _offer_take_over(self, found: FoundStore, given: GivenValues) -> None:
        from src.ops.setup.inspect import read_store_in_use

        is_changing = is_set_up(self._original) and not self._is_in_use(found)
        try:
            with self._screen.working("Reading the store in use") if is_changing else nullcontext():
                in_use = read_store_in_use(self._original, found.kind)
        except SecretsError as error:
            self._screen.warn(str(error))
            return
        if in_use is None:
            return
        given.in_use = in_use
        values = {name: value for name, value in in_use.snapshot.values.items() if not found.snapshot.values.get(name)}
        if not values or given.find_conflicts(found.snapshot):
            return
        self._screen.say("", f"Your secrets are currently in {in_use.place}.")
        question = f"Copy {len(values)} of them to the new store?"
        if self._interview.confirm(
            question,
            default=True,
            why="The application keeps working: an existing database opens with its old password only.",
        ):
            given.take_over(in_use)

    def _clear_obstacle(self, found: FoundStore, given: GivenValues) -> FoundStore:
        """``found``, when it may get new values: on a first run, or when the person gives the old ones up.

        Raises:
            SecretsError: The person wants to look for the old ones first.
        """
        from src.ops.setup.leftovers import find_obstacle

        obstacle = find_obstacle(self._deployment, found, given)
        if obstacle is None:
            return found
        from .local_stores import ask_about_lost_values, ask_about_obstacle

        if isinstance(obstacle, LostValueError):
            ask_about_lost_values(self._deployment, given, obstacle, self._screen, self._interview)
            return found
        ask_about_obstacle(self._deployment, obstacle, self._screen, self._interview)
        return self._start_over(found.kind, found)

    def _is_in_use(self, found: FoundStore) -> bool:
        """Whether the settings name this kind of store already."""
        return found.kind is kind_in_use(self._original)

    def _ask_for_values(self, found: FoundStore, given: GivenValues) -> FoundStore:
        """What has to be asked; returns ``found`` with the place of its key."""
        from .master_key import MasterKeyQuestions
        from .values import ValueQuestions

        questions = ValueQuestions(self._deployment, given, self._screen, self._interview)
        if found.exists:
            questions.ask_for_changes(found, is_in_use=self._is_in_use(found))
            return found
        questions.ask_for_first_values(found)
        if self._options.master_key_file:
            return found
        return MasterKeyQuestions(self._deployment, self._screen, self._interview, self._new_keys).choose_place(found)

    def _review_and_write(self, found: FoundStore, given: GivenValues) -> None:
        from src.ops.setup.plan import plan_setup

        from .review import show_plan, write_and_show

        plan = plan_setup(self._deployment, found, given)
        self._interview.forget_repeated()
        show_plan(self._screen, self._deployment, found, plan, imported=self._imported, adoption=self._adoption)
        if self._options.dry_run:
            self._screen.say("Dry run: nothing was written.")
            return
        if not plan.written and found.exists:
            self._screen.say("Every secret already has a value.")
        self._confirm()
        write_and_show(self._screen, self._deployment, found, plan, self._adoption)
        if plan.written and found.exists:
            self._offer_to_apply(found)

    def _offer_to_apply(self, found: FoundStore) -> None:
        """Go on with what brings running containers up to date: it shows its plan, and asks."""
        from src.ops.containers.stack import SECONDS_FOR_DOCKER, Stack

        from .leave import leave_for
        from .review import settings_not_kept

        stack = Stack(self._deployment, seconds=SECONDS_FOR_DOCKER)
        if not settings_not_kept(self._deployment, found) and stack.is_running():
            self._screen.say("", "The containers still have the old values:", "")
            leave_for(self._deployment, "apply")

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
                "Stopped before writing; nothing was changed", hint=set_up(purpose="Run it again at any time")
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
        self._screen.aside("The question is asked again; the other answers stay. Esc goes back.")
        return int(select("Which answer do you want to change?", menu, can_go_back=True))
