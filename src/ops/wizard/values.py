"""The questions about values: those of a first set-up, and what to change later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from src.ops.store_kinds import all_kinds, kind_in_use
from src.ops.terminal.prompts import Choice
from src.ops.values.door import Given, admit, fault_of_answer
from src.utils.secrets.errors import InvalidSecretError
from src.utils.secrets.judge import Origin

from .leave import leave_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.given import GivenValues
    from src.ops.setup.inspect import FoundStore
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.catalog import Feature, SecretSpec
    from src.utils.secrets.judge import Objection

_OTHER_COMMANDS = {
    "rotate-all": "Rotate all, also in the running stack",
    "migrate": "Move everything to another store",
    "backup": "Back up everything to one encrypted file",
}


class ValueQuestions:
    """Asks for the values that nobody can generate, and which existing ones to change.

    Args:
        deployment: What is set up.
        given: Takes the answers.
        screen: Where everything is shown.
        interview: Asks.
    """

    def __init__(self, deployment: Deployment, given: GivenValues, screen: Screen, interview: Interview) -> None:
        self._deployment = deployment
        self._catalog = deployment.catalog
        self._given = given
        self._screen = screen
        self._interview = interview

    def ask_for_first_values(self, found: FoundStore) -> None:
        """Everything that the catalogue asks for and ``found`` does not have."""
        for spec in self._catalog.secrets:
            if spec.feature is None and spec.input != "generate" and not self._is_given(spec, found):
                self._ask_for_required(spec)
        for feature in self._catalog.features.values():
            self._ask_for_feature(feature, found)

    def ask_for(self, specs: Iterable[SecretSpec]) -> None:
        """A value for each of ``specs``."""
        for spec in specs:
            self._given.typed[spec.name] = self._ask_for_value(spec)

    def ask_for_changes(self, found: FoundStore, *, is_in_use: bool) -> None:
        """What to add, change or rotate.

        Args:
            found: What is there.
            is_in_use: Whether the settings name this store already: then other commands can take over, too.
        """
        self._screen.done(f"{len(found.snapshot.values)} secrets are there.")
        while True:
            answer = self._interview.select(
                "What do you want to do?",
                self._change_menu(found, is_in_use=is_in_use),
                why="Existing secrets stay unchanged unless you select them here.",
            )
            if answer == "keep":
                return
            if answer in _OTHER_COMMANDS:
                self._leave_for(answer)
            elif answer == "add":
                self.ask_for_first_values(found)
            elif answer == "change":
                spec = self._choose_secret(
                    "Which secret do you want to change?", why="You type its new value next.", generated=False
                )
                self._given.regenerated.discard(spec.name)
                self._given.typed[spec.name] = self._ask_for_value(spec)
            else:
                why = "It gets a new generated value. The others stay unchanged."
                spec = self._choose_secret("Which secret do you want to regenerate?", why=why, generated=True)
                self._given.typed.pop(spec.name, None)
                self._given.regenerated.add(spec.name)

    def _is_given(self, spec: SecretSpec, found: FoundStore) -> bool:
        return any(spec.name in values for values in (self._given.typed, self._given.imported, found.snapshot.values))

    def _ask_for_required(self, spec: SecretSpec) -> None:
        if spec.input == "generate_or_ask":
            menu = [Choice("generate", "Generate a strong one"), Choice("type", "Type one")]
            why = _sentences(spec.why, "Nobody can guess a generated one; you see it after everything is written.")
            if self._interview.select(f"{spec.description}:", menu, why=why) == "generate":
                return
        self._given.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_feature(self, feature: Feature, found: FoundStore) -> None:
        missing = [spec for spec in self._catalog.of_feature(feature.name) if not self._is_given(spec, found)]
        names = ", ".join(spec.name for spec in missing)
        why = _sentences(feature.why, f"If so, you are asked for: {names}. You can add this later.")
        if missing and self._interview.confirm(feature.question, default=False, why=why):
            for spec in missing:
                self._given.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_value(self, spec: SecretSpec) -> str:
        why = spec.why or f"The application needs it, as {spec.name}."
        check = self._value_check(spec)
        if spec.default is not None:
            return self._interview.ask_text(f"{spec.description}:", default=spec.default, check=check, why=why).strip()
        why = _sentences(why, "Nothing is shown while you type or paste it.")
        while True:
            value = self._interview.ask_secret_twice(f"{spec.description} ({spec.name}):", check=check, why=why)
            try:
                admitted = admit(self._catalog, [Given(spec, value, Origin.TYPED)], ask=self._ask_about)
            except InvalidSecretError as error:
                self._screen.warn(str(error))
                continue
            for warning in admitted.warnings:
                self._screen.warn(warning)
            return admitted.values[spec.name]

    def _ask_about(self, spec: SecretSpec, objection: Objection) -> bool:
        can_correct = objection.corrected is not None
        return self._interview.confirm(
            f"{spec.name} {objection.text}. {'Remove that?' if can_correct else 'Take it all the same?'}",
            default=can_correct,
            why="A value that is not exactly right is often only noticed when the application cannot sign in with it.",
        )

    def _value_check(self, spec: SecretSpec) -> Callable[[str], str | None]:
        return lambda value: fault_of_answer(spec, value.strip() if spec.default else value, self._catalog)

    def _change_menu(self, found: FoundStore, *, is_in_use: bool) -> list[Choice]:
        decided = len(self._given.typed) + len(self._given.regenerated)
        missing = any(not self._is_given(spec, found) for spec in self._catalog.secrets)
        add = [Choice("add", "Add secrets that are not set yet")] if missing else []
        # These are commands of their own, on the store in use; what was decided here would be lost.
        others = {} if decided or not is_in_use else _OTHER_COMMANDS
        keep = "Continue to the review" if decided else "Keep everything, and add required secrets that are missing"
        return [
            Choice("keep", keep),
            *add,
            Choice("change", "Change one: type a new value"),
            Choice("rotate", "Rotate one: generate a new value"),
            *[Choice(name, title) for name, title in others.items()],
        ]

    def _leave_for(self, answer: str) -> NoReturn:
        """Become the command that does it."""
        arguments = [answer]
        if answer == "rotate-all":
            arguments = ["rotate", "--all"]
        elif answer == "migrate":
            current = kind_in_use(self._deployment)
            menu = [Choice(kind.name, kind.title) for kind in all_kinds() if kind is not current]
            why = "Everything is copied and compared before the application uses the new store."
            arguments += [
                "--to",
                self._interview.select("Which store do you want to move to?", menu, why=why),
                "--apply",
            ]
        leave_for(self._deployment, *arguments)

    def _choose_secret(self, question: str, *, why: str, generated: bool) -> SecretSpec:
        specs = [spec for spec in self._catalog.secrets if spec.generated or not generated]
        menu = [Choice(spec.name, f"{spec.name} - {spec.description}") for spec in specs]
        name = self._interview.select(question, menu, why=why)
        return next(spec for spec in specs if spec.name == name)


def _sentences(*parts: str | None) -> str:
    return " ".join(filter(None, parts))
