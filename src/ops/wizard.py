"""The questions of the first set-up, and of every later one."""

from __future__ import annotations

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
from .terminal.prompts import Choice, ask_secret, ask_text, confirm, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.utils.secrets.catalog import Feature, SecretSpec

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


class StoppedError(SecretsError):
    """The person chose to stop."""


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
        self.choices = choices
        self.imported = imported
        self.screen = screen

    def run(self) -> None:
        """Ask, show, confirm, write.

        Raises:
            SecretsError: Something failed; what was there before is still there.
            KeyboardInterrupt: The person left; the same.
        """
        self._show_start()
        store = self._choose_store()
        self._offer_take_over(store)
        if store.exists:
            self._ask_for_changes(store)
        else:
            self._ask_for_first_values(store)
            store = self._choose_key_place(store)
        plan = plan_setup(self.deployment, store, self.choices)
        show_plan(self.screen, self.deployment, store, plan, self.imported)
        if self.options.dry_run:
            self.screen.say("Dry run: nothing was written.")
            return
        if not plan.written and store.exists:
            self.screen.say("Every secret is there already.")
        self._confirm(store)
        write_and_show(self.screen, self.deployment, store, plan)

    def _show_start(self) -> None:
        environment = "" if self.deployment.is_production else f" ({self.deployment.environment})"
        self.screen.title(
            f"{self.catalog.application}: secrets{environment}",
            "Enter takes the suggested answer. Ctrl-C leaves, and nothing is written before you confirm.",
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
            connector = Connector(self.deployment, backend, self.screen)
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
        return SecretsBackend.from_name(select("Where shall the secrets be kept?", menu, default))

    def _inspect(self, backend: SecretsBackend) -> Store:
        key_file = self.options.master_key_file
        while True:
            try:
                return inspect_store(self.deployment, backend, key_file)
            except SecretsError as error:
                if backend is not SecretsBackend.FILE:
                    raise
                self.screen.warn(str(error))
                answer = select(
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
                key_file = ask_text("Path of the key file:", check=self._check_existing_key_path)

    def _check_existing_key_path(self, path: str) -> str | None:
        if not os.path.isfile(os.path.expanduser(path)):
            return "There is no such file."
        return check_key_path(path, self.deployment)

    def _start_over(self) -> Store:
        self.screen.warn("The application loses what only the old secrets can open: encrypted data, logins, databases.")
        word = "start over"
        ask_text(f"Type '{word}' to go on:", check=lambda answer: None if answer == word else f"Type: {word}")
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
        if confirm(f"Take {len(values)} of them over, so that the application keeps working?", default=True):
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
            if select(f"{spec.description}:", menu) == "generate":
                return
        self.choices.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_feature(self, feature: Feature, store: Store) -> None:
        missing = [spec for spec in self.catalog.of_feature(feature.name) if not self._is_given(spec, store)]
        if missing and confirm(feature.question, default=False):
            for spec in missing:
                self.choices.typed[spec.name] = self._ask_for_value(spec)

    def _ask_for_value(self, spec: SecretSpec) -> str:
        if spec.default is not None:
            return ask_text(f"{spec.description}:", default=spec.default, check=self._value_check(spec)).strip()
        value = ask_secret(f"{spec.description} ({spec.name}):", check=self._value_check(spec))
        ask_secret("The same once more:", check=lambda again: None if again == value else "It differs; type it again.")
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
            answer = select("What do you want to do?", self._change_menu(store))
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
            arguments += ["--to", select("Where to?", menu), "--apply"]
        script = os.path.join(PROJECT_DIRECTORY, "scripts", "manage_secrets.py")
        arguments += ["--project-directory", self.deployment.project_directory, "--catalog", self.catalog.path]
        arguments += ["--environment", self.deployment.environment]
        os.execv(sys.executable, [sys.executable, script, *arguments])  # noqa: S606

    def _choose_secret(self, question: str, *, generated: bool) -> SecretSpec:
        specs = [spec for spec in self.catalog.secrets if spec.generated or not generated]
        name = select(question, [Choice(spec.name, f"{spec.name} - {spec.description}") for spec in specs])
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
        self.screen.say(
            "",
            "The master key opens the encrypted file. Whoever has both has every secret;",
            "without the key nobody can read the file again, not even you.",
        )
        assert key.file is not None
        place = select(
            "Where shall the master key go?",
            [
                Choice("default", f"Key file {self.deployment.shown(key.file)}"),
                Choice("other", "Another file"),
                Choice("show", "Nowhere: show it once, I store it myself"),
            ],
        )
        if place == "show":
            return replace(store, key=KeyChoice(generate_master_key("this run"), None, is_new=True))
        if place == "other":
            path = ask_text("Path of the key file:", check=self._check_new_key_path)
            path = os.path.abspath(os.path.expanduser(path))
            return replace(store, key=KeyChoice(generate_master_key(path), path, is_new=True))
        return store

    def _check_new_key_path(self, path: str) -> str | None:
        if not path.strip():
            return "A path is needed."
        if os.path.lexists(os.path.expanduser(path)):
            return "There is something at that path already."
        return check_key_path(path, self.deployment)

    def _confirm(self, store: Store) -> None:
        if store.key is not None and store.key.file is None and store.key.is_new:
            self.screen.show_once("The master key (SECRETS_MASTER_KEY), shown only now:", store.key.key.text())
            if not confirm("Have you stored it in a safe place?", default=False):
                raise StoppedError(
                    "The master key is not stored", hint="Run `make secrets` again when you have a place for it"
                )
        if not self.options.yes and not confirm("Write this now?", default=True):
            raise StoppedError(
                "Stopped before writing; nothing was changed", hint="Run `make secrets` again at any time"
            )


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
        screen.say(f"Master key: {deployment.shown(store.key.file) if store.key.file else store.key.key.source}")
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
        screen.commands(
            "Or, if the app is to read the store itself (docs/cloud.md):",
            [f"./scripts/generate_docker_secrets.sh{flag} --cloud"],
        )
    if not store.exists:
        screen.commands(
            "And a backup, under a passphrase that you choose:", [f"./scripts/manage_secrets.py backup{flag}"]
        )
    if store.key is not None and store.key.is_new and store.key.file is not None:
        screen.say("", "Keep a copy of the master key away from this machine:", f"  {deployment.shown(store.key.file)}")


def _show_passwords(screen: Screen, deployment: Deployment, plan: Plan) -> None:
    """Show a generated password that a person will have to type; elsewhere say how to read it."""
    for planned in plan.written:
        if planned.spec.input != "generate_or_ask" or planned.origin is not Origin.GENERATED:
            continue
        assert planned.value is not None
        if screen.is_terminal:
            screen.show_once(f"{planned.spec.description} ({planned.spec.name}), shown only now:", planned.value)
        flag = "" if deployment.is_production else f" --environment {deployment.environment}"
        screen.commands(
            "To see it again:" if screen.is_terminal else f"{planned.spec.description}, to see it on a terminal:",
            [f"./scripts/manage_secrets.py get {planned.spec.name} --show{flag}"],
        )
