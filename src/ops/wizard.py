"""The questions of the first set-up, and of every later one."""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import InvalidSecretError, SecretsError
from src.utils.secrets.masterkey import generate_master_key
from src.utils.secrets.settings import PROJECT_DIRECTORY, SecretsBackend

from .connect import Connector, what_is_at_hand
from .interrupts import deferred_interrupts
from .plan import Origin
from .setup import (
    KeyChoice,
    Options,
    Store,
    apply_setup,
    check_key_path,
    inspect_store,
    plan_setup,
    start_over,
    take_over,
    weakness_of,
)
from .terminal.interview import Interview
from .terminal.prompts import BackError, Choice, select
from .terminal.report import DeclinedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.utils.secrets.catalog import Feature, SecretSpec
    from src.utils.secrets.masterkey import MasterKey

    from .apply import Report
    from .deployment import Deployment
    from .importer import Imported
    from .plan import Choices, Plan
    from .terminal.screen import Screen

_STORE_NOTES = {
    SecretsBackend.FILE: "one encrypted file here; no cloud needed",
    SecretsBackend.AWS: "one JSON secret in your account",
    SecretsBackend.VAULT: "your Vault server",
    SecretsBackend.AZURE: "your key vault",
    SecretsBackend.ENV: "a .env file, for development",
}


_OTHER_COMMANDS = {
    "rotate-all": "Rotate all, in the running stack, too",
    "migrate": "Move everything to another store",
    "backup": "Back everything up, into one encrypted file",
}


class Wizard:
    """One run of the set-up with a person at a terminal.

    Args:
        deployment: What is set up.
        options: What the command line says already.
        choices: The values that it names files for.
        imported: What was imported, for the report.
        screen: Where everything is shown.
    """

    def __init__(
        self, deployment: Deployment, options: Options, choices: Choices, imported: Imported | None, screen: Screen
    ) -> None:
        self.deployment = self.original = deployment
        self.catalog = deployment.catalog
        self.options = options
        self.choices = self.given = choices
        self.imported = imported
        self.screen = screen
        self.interview = Interview(screen)
        self._new_keys: dict[str | None, MasterKey] = {}
        environment = "" if deployment.is_production else f" ({deployment.environment})"
        screen.heading = f"{self.catalog.application}: secrets{environment}"

    def run(self) -> None:
        """Ask, show, confirm, write.

        Raises:
            SecretsError: Something failed; what was there before is still there.
            KeyboardInterrupt: The person left; the same.
        """
        self.interview.run(self._converse)

    def _converse(self) -> None:
        """Everything from the first question to the writing; starts over when the person goes back."""
        self.deployment, self.choices = self.original, copy.deepcopy(self.given)
        self._show_start()
        store = self._choose_store()
        self._offer_take_over(store)
        if store.exists:
            self._ask_for_changes(store)
        else:
            self._ask_for_first_values(store)
            store = self._choose_key_place(store)
        plan = plan_setup(self.deployment, store, self.choices)
        self.interview.forget_repeated()
        show_plan(self.screen, self.deployment, store, plan, self.imported)
        if self.options.dry_run:
            self.screen.say("Dry run: nothing was written.")
            return
        if not plan.written and store.exists:
            self.screen.say("Every secret is there already.")
        self._confirm()
        write_and_show(self.screen, self.deployment, store, plan)

    def _show_start(self) -> None:
        self.screen.title(
            self.screen.heading,
            "Enter is a good answer to every question. Ctrl-C leaves; nothing is written before you confirm.",
        )
        settings = self.deployment.settings(self.options.backend)
        for path in dict.fromkeys((self.deployment.settings_file, settings.file_path)):
            if os.path.exists(path):
                self.screen.say(f"Found {self.deployment.shown(path)}")
        if self.imported:
            show_import(self.screen, self.imported)

    def _choose_store(self) -> Store:
        backend = self.options.backend
        while True:
            backend = backend or self._ask_for_backend()
            if backend in (SecretsBackend.FILE, SecretsBackend.ENV):
                return self._inspect(backend)
            connector = Connector(self.deployment, backend, self.screen, self.interview)
            store = connector.connect()
            if store is not None:
                self.deployment = connector.deployment
                return store
            backend = None

    def _ask_for_backend(self) -> SecretsBackend:
        menu = []
        for backend in SecretsBackend:
            note = what_is_at_hand(backend, self.deployment) or _STORE_NOTES[backend]
            menu.append(Choice(backend.value, f"{backend.title} - {note}"))
        current = self.deployment.settings().backend if os.path.exists(self.deployment.settings_file) else None
        default = current.value if current else SecretsBackend.FILE.value
        return SecretsBackend.from_name(
            self.interview.select(
                "Where shall the secrets be kept?",
                menu,
                default,
                why="The application reads its passwords and keys from this store. If in doubt, keep the suggestion: "
                "you can move everything to another store later.",
            )
        )

    def _inspect(self, backend: SecretsBackend) -> Store:
        key_file = self.options.master_key_file
        while True:
            try:
                return inspect_store(self.deployment, backend, key_file)
            except SecretsError as error:
                if backend is not SecretsBackend.FILE:
                    raise
                self.screen.warn(str(error))
                answer = self.interview.select(
                    "The secrets file is left as it is. What next?",
                    [
                        Choice("stop", "Stop here"),
                        Choice("key", "Name another key file"),
                        Choice("new", "Start over with new secrets, keep the old file aside"),
                    ],
                )
                if answer == "stop":
                    raise
                if answer == "new":
                    return self._start_over()
                key_file = self.interview.ask_text("Path of the key file:", check=self._check_existing_key_path)

    def _check_existing_key_path(self, path: str) -> str | None:
        if not os.path.isfile(os.path.expanduser(path)):
            return "There is no such file."
        return check_key_path(path, self.deployment)

    def _start_over(self) -> Store:
        self.screen.warn("The application loses what only the old secrets can open: encrypted data, logins, databases.")
        word = "start over"
        self.interview.ask_text(
            f"Type '{word}' to go on:", check=lambda answer: None if answer == word else f"Type: {word}"
        )
        return start_over(self.deployment)

    def _offer_take_over(self, store: Store) -> None:
        try:
            origin, values = take_over(self.original, store.backend)
        except SecretsError as error:
            self.screen.warn(str(error))
            return
        values = {name: value for name, value in values.items() if not store.snapshot.values.get(name)}
        if not values:
            return
        self.screen.say("", f"Until now the secrets are in {origin}.")
        question = f"Take {len(values)} of them over, so that the application keeps working?"
        if self.interview.confirm(
            question, default=True, why="A database that exists opens with its old password only."
        ):
            self.choices.imported = values | self.choices.imported

    def _ask_for_first_values(self, store: Store) -> None:
        for spec in self.catalog.secrets:
            if spec.feature is None and spec.input != "generate" and not self._is_given(spec, store):
                self._ask_for_required(spec)
        for feature in self.catalog.features.values():
            self._ask_for_feature(feature, store)

    def _is_given(self, spec: SecretSpec, store: Store) -> bool:
        return any(spec.name in given for given in (self.choices.typed, self.choices.imported, store.snapshot.values))

    def _ask_for_required(self, spec: SecretSpec) -> None:
        if spec.input == "generate_or_ask":
            menu = [Choice("generate", "Generate a strong one"), Choice("type", "Type one")]
            why = "Nobody can guess a generated one. It is shown once, after everything is written."
            if self.interview.select(f"{spec.description}:", menu, why=why) == "generate":
                return
        self.choices.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_feature(self, feature: Feature, store: Store) -> None:
        missing = [spec for spec in self.catalog.of_feature(feature.name) if not self._is_given(spec, store)]
        names = ", ".join(spec.name for spec in missing)
        why = f"If so, you are asked for: {names}. You can add this later."
        if missing and self.interview.confirm(feature.question, default=False, why=why):
            for spec in missing:
                self.choices.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_value(self, spec: SecretSpec) -> str:
        why = f"The application needs it, as {spec.name}."
        check = self._value_check(spec)
        if spec.default is not None:
            return self.interview.ask_text(f"{spec.description}:", default=spec.default, check=check, why=why).strip()
        why += " Nothing is shown while you type or paste it."
        value = self.interview.ask_secret(f"{spec.description} ({spec.name}):", check=check, why=why)
        self.interview.ask_secret(
            "The same once more:", check=lambda again: None if again == value else "It differs; type it again."
        )
        return value

    def _value_check(self, spec: SecretSpec) -> Callable[[str], str | None]:
        def check(value: str) -> str | None:
            try:
                check_value(spec.name, value.strip() if spec.default else value)
            except InvalidSecretError:
                return "A value is needed."
            return weakness_of(spec, value, self.deployment)

        return check

    def _ask_for_changes(self, store: Store) -> None:
        self.screen.done(f"{len(store.snapshot.values)} secrets are there; they are kept unless you change one.")
        while True:
            answer = self.interview.select("What do you want to do?", self._change_menu(store))
            if answer == "keep":
                return
            if answer in _OTHER_COMMANDS:
                self._leave_for(answer)
            elif answer == "add":
                self._ask_for_first_values(store)
            elif answer == "change":
                spec = self._choose_secret("Change which one?", generated=False)
                self.choices.regenerated.discard(spec.name)
                self.choices.typed[spec.name] = self._ask_for_value(spec)
            else:
                spec = self._choose_secret("Generate which one anew?", generated=True)
                self.choices.typed.pop(spec.name, None)
                self.choices.regenerated.add(spec.name)

    def _change_menu(self, store: Store) -> list[Choice]:
        decided = len(self.choices.typed) + len(self.choices.regenerated)
        missing = any(not self._is_given(spec, store) for spec in self.catalog.secrets)
        add = [Choice("add", "Add what is not set yet")] if missing else []
        # These are commands of their own, on the store in use; what was decided here would be lost.
        others = {} if decided or store.backend is not self.original.settings().backend else _OTHER_COMMANDS
        keep = "Go on to the review" if decided else "Keep everything, and add what is required and missing"
        return [
            Choice("keep", keep),
            *add,
            Choice("change", "Change one: type a new value"),
            Choice("rotate", "Rotate one: generate a new value"),
            *[Choice(name, title) for name, title in others.items()],
        ]

    def _leave_for(self, answer: str) -> NoReturn:
        """Become the command that does it, which shows its plan and asks before it changes anything."""
        arguments = [answer]
        if answer == "rotate-all":
            arguments = ["rotate", "--all"]
        elif answer == "migrate":
            current = self.deployment.settings().backend
            menu = [Choice(backend.value, backend.title) for backend in SecretsBackend if backend is not current]
            arguments += ["--to", self.interview.select("Where to?", menu), "--apply"]
        script = os.path.join(PROJECT_DIRECTORY, "scripts", "manage_secrets.py")
        arguments += ["--project-directory", self.deployment.project_directory, "--catalog", self.catalog.path]
        arguments += ["--environment", self.deployment.environment]
        os.execv(sys.executable, [sys.executable, script, *arguments])  # noqa: S606

    def _choose_secret(self, question: str, *, generated: bool) -> SecretSpec:
        specs = [spec for spec in self.catalog.secrets if spec.generated or not generated]
        name = self.interview.select(
            question, [Choice(spec.name, f"{spec.name} - {spec.description}") for spec in specs]
        )
        return next(spec for spec in specs if spec.name == name)

    def _choose_key_place(self, store: Store) -> Store:
        key = store.key
        if key is None:
            return store
        assert key.file is not None or not key.is_new
        if not key.is_new:
            self.screen.say(f"The master key is the one from {self.deployment.shown(key.key.source)}.")
            return store
        if self.options.master_key_file:
            return store
        assert key.file is not None
        place = self.interview.select(
            "Where shall the master key go?",
            [
                Choice("file", f"Key file {self.deployment.shown(key.file)}; I copy it later"),
                Choice("copy", "The same, and show it now for my password manager"),
                Choice("other", "Another file"),
                Choice("show", "Nowhere: show it once, I store it myself"),
            ],
            why="The master key opens the encrypted file: whoever has both has every secret. "
            "Without the key nobody can read the file again, not even you.",
        )
        path: str | None = key.file
        if place == "show":
            path = None
        elif place == "other":
            path = self.interview.ask_text(
                "Path of the key file:",
                check=self._check_new_key_path,
                why="A file outside of the project's folder, on a disk that is there whenever the application starts.",
            )
            path = os.path.abspath(os.path.expanduser(path))
        new_key = self._new_keys.setdefault(path, generate_master_key(path or "this run"))
        if place in ("copy", "show"):
            self._hand_over(new_key)
        return replace(store, key=KeyChoice(new_key, path, is_new=True))

    def _hand_over(self, key: MasterKey) -> None:
        """Show the key, and go on when the person proves that it is stored somewhere."""
        text = key.text()
        if not self.screen.is_silent:
            self.screen.show_once("The master key (SECRETS_MASTER_KEY), shown only now:", text)
        if not self.interview.confirm("Have you stored it?", default=False, why="Copy the whole line, = included."):
            raise DeclinedError(
                "The master key is not stored", hint="Run `make secrets` again when you have a place for it"
            )
        last = text[-6:]
        self.interview.ask_text(
            "The last 6 characters of the key:",
            check=lambda answer: None if answer.strip() == last else "Not its last 6: look at your copy.",
            why="Read them from where you stored it: this proves that the copy is there and whole.",
        )

    def _check_new_key_path(self, path: str) -> str | None:
        if not path.strip():
            return "A path is needed."
        if os.path.lexists(os.path.expanduser(path)):
            return "There is something at that path already."
        return check_key_path(path, self.deployment)

    def _confirm(self) -> None:
        if self.options.yes:
            return
        menu = [
            Choice("write", "Yes, write it"),
            Choice("change", "No, change an answer"),
            Choice("stop", "No, stop here"),
        ]
        answer = self.interview.select("Write this now?", menu)
        if answer == "stop":
            raise DeclinedError(
                "Stopped before writing; nothing was changed", hint="Run `make secrets` again at any time"
            )
        if answer == "change":
            raise BackError(self._choose_answer())

    def _choose_answer(self) -> int | None:
        answers = self.interview.answers[:-1]
        if not answers:
            return None
        menu = [
            Choice(str(position), f"{answer.question.rstrip(':?')}: {answer.shown or '(not shown)'}")
            for position, answer in enumerate(answers)
        ]
        self.screen.say("")
        return int(select("Change which answer?", menu))


def write_and_show(screen: Screen, deployment: Deployment, store: Store, plan: Plan) -> None:
    """Write the plan and say what was done; Ctrl-C undoes it or comes too late, and then the person sees the rest.

    Raises:
        SecretsError: It failed; what was there before is there again.
        KeyboardInterrupt: Ctrl-C came in time; the same.
    """
    with deferred_interrupts():
        with screen.progress("Writing", len(plan.written)) as progress:
            report = apply_setup(deployment, store, plan, progress)
        show_result(screen, deployment, store, plan, report)
        _write_summary(screen, deployment, store, plan)


def _write_summary(screen: Screen, deployment: Deployment, store: Store, plan: Plan) -> None:
    """The secrets are written by now, so a summary that cannot be is no failure."""
    from .summary import write_summary

    try:
        path = write_summary(deployment, store, plan.values())
    except (SecretsError, OSError) as error:
        screen.warn(f"The summary was not written: {error}")
        return
    screen.say(f"To read this again: {deployment.shown(path)} (no secret is in it)")


def show_import(screen: Screen, imported: Imported) -> None:
    """What an import brought, by name."""
    screen.say(f"Imported: {', '.join(imported.values) or 'nothing'}")
    if imported.unknown:
        screen.warn(f"Not in the catalogue, left out: {', '.join(imported.unknown)}")


def show_plan(
    screen: Screen, deployment: Deployment, store: Store, plan: Plan, imported: Imported | None = None
) -> None:
    """The review: every secret, where everything goes, and what a change means elsewhere."""
    screen.title("Review")
    screen.review(plan)
    screen.say("")
    if store.backend is SecretsBackend.FILE:
        assert store.key is not None
        screen.say(f"Secrets:    {deployment.shown(deployment.settings(SecretsBackend.FILE).file_path)} (encrypted)")
        elsewhere = "stored by you" if store.key.is_new else store.key.key.source
        screen.say(f"Master key: {deployment.shown(store.key.file) if store.key.file else elsewhere}")
        screen.say(f"Settings:   {deployment.shown(deployment.settings_file)}")
    elif store.place:
        screen.say(f"Secrets:    {store.backend.title}: {store.place}")
        for credential in store.credentials:
            screen.say(f"Sign-in:    {deployment.shown(credential.path)}")
        screen.say(f"Settings:   {deployment.shown(deployment.settings_file)}")
    else:
        screen.say(f"Secrets:    {deployment.shown(deployment.compose_file)} (plain text, readable by you only)")
        if os.path.exists(deployment.settings_file) and deployment.settings_file != deployment.compose_file:
            screen.warn(
                f"{deployment.shown(deployment.settings_file)} is there and comes first: the application will not read "
                f"{deployment.shown(deployment.compose_file)}"
            )
    if imported:
        ignored = [name for name in imported.values if plan.find(name).value != imported.values[name]]
        if ignored:
            screen.warn(f"Imported, but another value is kept (--replace takes the imported one): {', '.join(ignored)}")
    for planned in plan.written:
        if planned.origin is Origin.IMPORTED and weakness_of(planned.spec, planned.value or "", deployment):
            screen.warn(f"{planned.spec.name}: the imported value is weak; change it soon")
        if planned.replaces and planned.spec.change_note:
            screen.warn(f"{planned.spec.name}: {planned.spec.change_note}")


def show_result(screen: Screen, deployment: Deployment, store: Store, plan: Plan, report: Report) -> None:
    """What was done, and the next commands."""
    screen.title("Done")
    if report.place:
        screen.done(f"{store.backend.title}: {report.place}")
    for path in report.written_files:
        screen.done(deployment.shown(path))
    screen.done("Read back and compared: every value is as planned.")
    if report.lost_file:
        screen.say(f"The old file is kept: {deployment.shown(report.lost_file)}")
    _show_passwords(screen, deployment, plan)
    if store.backend is SecretsBackend.ENV:
        screen.commands("Next:", ["python3 main.py"])
        return
    flag = "" if deployment.is_production else f" --environment {deployment.environment}"
    compose_flag = "" if deployment.is_production else f"--env-file {deployment.shown(deployment.compose_file)} "
    exports = []
    if store.key is not None and store.key.file is None and store.key.is_new:
        exports = ["read -rs SECRETS_MASTER_KEY && export SECRETS_MASTER_KEY"]
    kept = {credential.setting for credential in store.credentials}
    typed = [name for name in ("VAULT_TOKEN", "VAULT_SECRET_ID") if deployment.answers.get(name) and name not in kept]
    exports += [f"read -rs {name} && export {name}" for name in typed]
    screen.commands(
        "Next:", [*exports, f"./scripts/generate_docker_secrets.sh{flag}", f"docker-compose {compose_flag}up -d"]
    )
    if report.place:
        screen.say("Or, if the app is to read the store itself (docs/cloud.md):")
        screen.command(f"./scripts/generate_docker_secrets.sh{flag} --cloud")
    if not store.exists:
        screen.say("And a backup, under a passphrase that you choose:")
        screen.command(f"./scripts/manage_secrets.py backup{flag}")
    if store.key is not None and store.key.is_new and store.key.file is not None:
        screen.warn(f"Keep a copy of the master key away from this machine: {deployment.shown(store.key.file)}")


def _show_passwords(screen: Screen, deployment: Deployment, plan: Plan) -> None:
    """Show a generated password that a person will have to type; elsewhere say how to read it."""
    for planned in plan.written:
        if planned.spec.input != "generate_or_ask" or planned.origin is not Origin.GENERATED:
            continue
        assert planned.value is not None
        if screen.is_terminal:
            screen.show_once(f"{planned.spec.description} ({planned.spec.name}), shown only now:", planned.value)
        command = f"./scripts/manage_secrets.py get {planned.spec.name} --show{deployment.command_flag}"
        if screen.is_terminal:
            screen.command(f"{command}    # again")
        else:
            screen.commands(f"{planned.spec.description}, to see it on a terminal:", [command])
