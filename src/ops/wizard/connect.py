"""Finding a store on a server: what has to be asked, and whether it answers."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from src.ops.setup.inspect import Store, inspect_store
from src.ops.store_kinds.at_hand import aws_file
from src.ops.terminal.prompts import Choice
from src.utils.secrets.errors import SecretsError, StoreDeletedError
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.apply import Credential
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.backends.base import PurgingBackend

    Check = Callable[[str], str | None]

DEFAULT_REGION = "us-east-1"
# Any of these: how to sign in, or that it was asked before.
_AWS_SIGN_IN_SAID = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "SECRETS_AWS_SECRET_ID")
DEFAULT_VAULT_ADDRESS = "http://127.0.0.1:8200"


class Connector:
    """Connects to one store on a server, with a person who can mend what is wrong.

    Args:
        deployment: What is set up.
        backend: The store.
        screen: Where everything is shown.
        interview: Asks.
    """

    def __init__(self, deployment: Deployment, backend: SecretsBackend, screen: Screen, interview: Interview) -> None:
        self._interview = interview
        self.deployment = deployment
        self._backend = backend
        self._screen = screen
        self._credentials: list[Credential] = []

    def connect(self) -> Store | None:
        """Ask what is missing, until the store answers; ``None`` when the person wants another store.

        ``deployment`` then has the answers.

        Raises:
            SecretsError: The person chose to stop; it says why the store did not answer.
        """
        ask_all = False
        while True:
            self._ask(ask_all=ask_all)
            try:
                store = self._inspect()
            except SecretsError as error:
                self._show(error)
                answer = self._ask_what_next()
                if answer == "stop":
                    raise
                if answer == "other":
                    return None
                ask_all = answer == "change"
                continue
            self._screen.done(f"Connected: {store.place}")
            return replace(store, credentials=self._credentials)

    def _inspect(self) -> Store:
        while True:
            try:
                with self._screen.working(f"Connecting to {self._backend.title}"):
                    store = inspect_store(self.deployment, self._backend, None)
            except StoreDeletedError as error:
                self._show(error)
                self._bring_back(error)
                continue
            return store

    def _bring_back(self, error: StoreDeletedError) -> None:
        store = cast("PurgingBackend", self.deployment.open_store(self._backend))
        menu = [Choice("restore", "Bring it back, with the values that it had")]
        if hasattr(store, "purge"):
            menu.append(Choice("purge", "Remove it for ever, and make new values"))
        answer = self._interview.select(
            "What shall become of it?",
            [*menu, Choice("stop", "Leave it as it is")],
            why="A name that was deleted cannot be used again until it is brought back or removed for ever.",
        )
        if answer == "stop":
            raise error
        if answer == "restore":
            store.restore(error.names)
            return
        self._interview.ask_for_word("purge", why="What was deleted there can then never be brought back.")
        store.purge(error.names)

    def _show(self, error: SecretsError) -> None:
        self._screen.warn(str(error))
        for line in error.hint.splitlines():
            self._screen.say(f"  {line}")

    def _ask_what_next(self) -> str:
        return self._interview.select(
            "What next?",
            [
                Choice("again", "Try again"),
                Choice("change", "Change the answers"),
                Choice("other", "Choose another store"),
                Choice("stop", "Stop here"),
            ],
            why="Nothing was written. You can mend it in another window, and try again here.",
        )

    def _ask(self, *, ask_all: bool) -> None:
        if self._backend is SecretsBackend.AWS:
            self._ask_for_aws(ask_all=ask_all)
        elif self._backend is SecretsBackend.VAULT:
            self._ask_for_vault(ask_all=ask_all)
        else:
            self._ask_for_setting(
                "AZURE_KEYVAULT_URL",
                "Address of the key vault:",
                check=_check_vault_url,
                why="The portal shows it as the vault's Vault URI.",
                ask_all=ask_all,
            )

    def _ask_for_aws(self, *, ask_all: bool) -> None:
        variables = self.deployment.variables()
        if ask_all or not any(self.deployment.is_said(name) for name in _AWS_SIGN_IN_SAID):
            profiles = _aws_profiles(self.deployment)
            if len(profiles) > 1:
                menu = [Choice(profile, profile) for profile in profiles]
                self._answer(
                    "AWS_PROFILE",
                    self._interview.select(
                        "Which AWS profile?", menu, why="Your AWS configuration has several accounts or roles."
                    ),
                )
        region = variables.get("AWS_DEFAULT_REGION") or _aws_region(self.deployment) or DEFAULT_REGION
        self._ask_for_setting(
            "AWS_REGION",
            "AWS region:",
            default=region,
            check=_check_region,
            why="The secret lies in one region, and the application has to name the same one.",
            ask_all=ask_all,
        )
        self._ask_for_setting(
            "SECRETS_AWS_SECRET_ID",
            "Name of the secret:",
            check=_check_given,
            why="All values are kept together, in one secret of this name.",
            ask_all=ask_all,
        )

    def _ask_for_vault(self, *, ask_all: bool) -> None:
        from src.utils.secrets.backends.hashicorp_vault import DEFAULT_MOUNT_POINT

        ask = self._ask_for_setting
        ask(
            "VAULT_ADDR",
            "Address of Vault:",
            default=DEFAULT_VAULT_ADDRESS,
            check=_check_given,
            why="Scheme, host and port of your Vault or OpenBao server.",
            ask_all=ask_all,
        )
        address = self.deployment.variables()["VAULT_ADDR"]
        if ask_all and address.startswith("https:"):
            path = self._interview.ask_text(
                "File with the CA's certificate (Enter for the system's):",
                check=_check_optional_file,
                why="A server with a certificate of your own CA is trusted through that file.",
            )
            self._answer("VAULT_CACERT", os.path.abspath(os.path.expanduser(path)) if path.strip() else "")
        if ask_all or not self._has_vault_login():
            self._ask_for_vault_login()
        ask(
            "VAULT_MOUNT_POINT",
            "Secrets engine:",
            default=DEFAULT_MOUNT_POINT,
            check=_check_given,
            why="The key-value engine that holds the secrets; a new Vault has one called secret.",
            ask_all=ask_all,
        )
        ask(
            "VAULT_SECRET_PATH",
            "Path in it:",
            check=_check_given,
            why="All values are kept together, at this path of the engine.",
            ask_all=ask_all,
        )

    def _has_vault_login(self) -> bool:
        variables = self.deployment.variables()
        names = ("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE")
        home = variables.get("HOME") or os.path.expanduser("~")
        return any(variables.get(name) for name in names) or os.path.exists(os.path.join(home, ".vault-token"))

    def _ask_for_vault_login(self) -> None:
        menu = [Choice("token", "A token"), Choice("approle", "An AppRole: role id and secret id")]
        self._credentials = []
        for name in ("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"):
            self._answer(name, "")
        if (
            self._interview.select(
                "How do you sign in to Vault?",
                menu,
                why="Vault lets in whoever has a token, or the two ids of an AppRole.",
            )
            == "token"
        ):
            self._keep_credential("VAULT_TOKEN", self._ask_for_credential("Token:"))
            return
        why = "It says which AppRole signs in; it is no secret."
        self._answer("VAULT_ROLE_ID", self._interview.ask_text("Role id:", check=_check_given, why=why).strip())
        self._keep_credential("VAULT_SECRET_ID", self._ask_for_credential("Secret id:"))

    def _ask_for_credential(self, question: str) -> str:
        why = "Vault lets nobody in without it. Nothing is shown while you type or paste it."
        return self._interview.ask_secret(question, check=_check_given, why=why).strip()

    def _keep_credential(self, name: str, value: str) -> None:
        """Use a credential now, and keep it in a file of its own for the scripts if the person wants that."""
        self._answer(name, value)
        path = self.deployment.default_credential_file(name.lower().replace("_", "-"))
        if self._interview.confirm(
            f"Keep it for later commands in {self.deployment.shown(path)}?",
            default=True,
            why="The other commands sign in with it, too. The file is readable by you only.",
        ):
            from src.ops.setup.apply import Credential

            self._credentials.append(Credential(name, path, value))

    def _ask_for_setting(
        self, name: str, question: str, *, default: str = "", check: Check, why: str, ask_all: bool = False
    ) -> None:
        if self.deployment.is_said(name) and not ask_all:
            return
        default = self.deployment.variables().get(name) or default
        self._answer(name, self._interview.ask_text(question, default=default, check=check, why=why).strip())

    def _answer(self, name: str, value: str) -> None:
        self.deployment = replace(self.deployment, answers={**self.deployment.answers, name: value})


def _check_given(answer: str) -> str | None:
    return None if answer.strip() else "An answer is needed."


def _check_region(answer: str) -> str | None:
    return None if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", answer.strip()) else "A region looks like eu-central-1."


def _check_vault_url(answer: str) -> str | None:
    if re.fullmatch(r"https://[^/\s]+/?", answer.strip()):
        return None
    return "The address has this form: https://NAME.vault.azure.net"


def _check_optional_file(answer: str) -> str | None:
    path = os.path.expanduser(answer.strip())
    return None if not path or os.path.isfile(path) else "There is no such file."


def _aws_profiles(deployment: Deployment) -> list[str]:
    if not any(os.path.exists(aws_file(deployment, name)) for name in ("config", "credentials")):
        return []
    from botocore.session import Session

    return sorted(Session().available_profiles, key=lambda name: (name != "default", name))


def _aws_region(deployment: Deployment) -> str | None:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        region: str | None = Session(profile=deployment.variables().get("AWS_PROFILE")).get_config_variable("region")
    except BotoCoreError:
        return None  # the profile is missing: the connection will say so
    return region
