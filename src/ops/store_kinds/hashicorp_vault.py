"""HashiCorp Vault and OpenBao."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.command import program
from src.utils.secrets.settings import SecretsBackend

from .base import CredentialFault, PolicyOption, Role, Setting, StoreKind, is_given

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.hashicorp_vault import VaultBackend
    from src.utils.secrets.command import Hint

    from .base import Questions

DEFAULT_ADDRESS = "http://127.0.0.1:8200"
DEFAULT_MOUNT_POINT = "secret"
LEAST_TOKEN_SECONDS = 7 * 24 * 60 * 60
_LOGIN_VARIABLES = (
    *("VAULT_AUTH_METHOD", "VAULT_AUTH_MOUNT", "VAULT_AUTH_ROLE", "VAULT_JWT", "VAULT_JWT_FILE"),
    *("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"),
)
_SAYS_HOW = (
    "VAULT_AUTH_METHOD",
    "VAULT_AUTH_ROLE",
    "VAULT_TOKEN",
    "VAULT_TOKEN_FILE",
    "VAULT_ROLE_ID",
    "VAULT_ROLE_ID_FILE",
)
_WAYS = [
    ("token", "A token"),
    ("approle", "An AppRole: role id and secret id"),
    ("kubernetes", "The service account of this pod (Kubernetes)"),
    ("jwt", "A signed token (JWT, OIDC)"),
    ("agent", "An agent or proxy at that address signs in"),
]


def _check_optional_file(answer: str) -> str | None:
    path = os.path.expanduser(answer.strip())
    return None if not path or os.path.isfile(path) else "There is no such file."


class VaultKind(StoreKind["VaultBackend"]):
    """See the module."""

    backend = SecretsBackend.VAULT
    note = "your Vault server"
    sdk_variables = ("REQUESTS_CA_BUNDLE",)
    has_policy = True
    policy_options = (PolicyOption("kv-version", "version of the key-value engine", choices=("1", "2"), default="2"),)
    settings = (
        Setting(
            "VAULT_ADDR",
            "Address of Vault:",
            why="Scheme, host and port of your Vault or OpenBao server.",
            default=DEFAULT_ADDRESS,
            check=is_given,
            example="https://vault.example.com:8200",
            says_where=True,
            is_detectable=True,
        ),
        Setting(
            "VAULT_NAMESPACE",
            "Namespace (Enter for none):",
            why="A server with namespaces keeps engines and logins in each of them apart.",
            says_where=True,
        ),
        Setting(
            "VAULT_CACERT",
            "File with the CA's certificate (Enter for the system's):",
            why="A server with a certificate of your own CA is trusted through that file.",
            check=_check_optional_file,
            is_path=True,
        ),
        Setting("VAULT_CAPATH", is_path=True),
        Setting("VAULT_CLIENT_CERT", is_path=True),
        Setting("VAULT_CLIENT_KEY", is_path=True),
        Setting(
            "VAULT_MOUNT_POINT",
            "Secrets engine:",
            why="The key-value engine that holds the secrets; a new Vault has one called secret.",
            default=DEFAULT_MOUNT_POINT,
            check=is_given,
            part="MOUNT",
            says_where=True,
        ),
        Setting(
            "VAULT_SECRET_PATH",
            "Path in it:",
            why="All values are kept together, at this path of the engine.",
            check=is_given,
            part="PATH",
            says_where=True,
        ),
        Setting("VAULT_AUTH_METHOD"),
        Setting("VAULT_AUTH_MOUNT"),
        Setting(
            "VAULT_AUTH_ROLE",
            "Role to sign in as:",
            why="It says which policies the signed token gets; it is not secret.",
            check=is_given,
        ),
        Setting(
            "VAULT_JWT",
            "Signed token (JWT):",
            why="Vault needs it to sign you in. Nothing is shown while you type or paste it.",
            check=is_given,
            is_secret=True,
        ),
        Setting(
            "VAULT_TOKEN",
            "Token:",
            why="Vault needs it to sign you in. Nothing is shown while you type or paste it.",
            check=is_given,
            is_secret=True,
            example="/home/you/.config/{slug}/vault-token",
        ),
        Setting("VAULT_ROLE_ID", "Role id:", why="It says which AppRole signs in; it is not secret.", check=is_given),
        Setting(
            "VAULT_SECRET_ID",
            "Secret id:",
            why="Vault needs it to sign you in. Nothing is shown while you type or paste it.",
            check=is_given,
            is_secret=True,
        ),
    )

    def check_access(self, store: VaultBackend, names: Iterable[str]) -> str:
        """Address and path, and the version of the engine."""
        return store.check_access(names)

    def restore(self, store: VaultBackend, names: Iterable[str]) -> None:
        """Undelete the newest version."""
        store.restore(names)

    def erase_hints(self, deployment: Deployment, names: Iterable[str]) -> tuple[Hint, ...]:  # noqa: ARG002
        """The earlier versions, which version 2 of the engine keeps."""
        variables = deployment.variables()
        mount = variables.get("VAULT_MOUNT_POINT") or DEFAULT_MOUNT_POINT
        words = ["vault", "kv", "metadata", "delete", f"-mount={mount}", variables["VAULT_SECRET_PATH"]]
        return (program(*words, purpose="Version 2 of the engine keeps earlier versions. Delete them"),)

    def ask(self, questions: Questions) -> None:
        """The address, how to sign in there, and where the secrets are."""
        questions.ask(self.setting("VAULT_ADDR"))
        if questions.asks_all and questions.deployment.variables()["VAULT_ADDR"].startswith("https:"):
            questions.ask(self.setting("VAULT_CACERT"))
        if questions.asks_all:
            questions.ask(self.setting("VAULT_NAMESPACE"))
        if questions.asks_all or not _has_login(questions.deployment):
            self._ask_for_login(questions)
        questions.ask(self.setting("VAULT_MOUNT_POINT"))
        questions.ask(self.setting("VAULT_SECRET_PATH"))

    def _ask_for_login(self, questions: Questions) -> None:
        for name in _LOGIN_VARIABLES:
            questions.answer(name, "")
        way = questions.select(
            "How do you sign in to Vault?",
            _WAYS,
            why="A person has a token; a machine has an AppRole, or a token that its platform signs.",
        )
        if way == "token":
            questions.ask_credential(self.setting("VAULT_TOKEN"))
            return
        if way == "approle":
            questions.ask(self.setting("VAULT_ROLE_ID"))
            questions.ask_credential(self.setting("VAULT_SECRET_ID"))
            return
        questions.answer("VAULT_AUTH_METHOD", way)
        if way != "agent":
            questions.ask(self.setting("VAULT_AUTH_ROLE"))
        if way == "jwt":
            questions.ask_credential(self.setting("VAULT_JWT"))

    def policy(self, deployment: Deployment, role: Role, options: Mapping[str, str]) -> str:
        """The policy in HCL."""
        variables = deployment.variables()
        mount = (variables.get("VAULT_MOUNT_POINT") or DEFAULT_MOUNT_POINT).strip("/")
        path = variables["VAULT_SECRET_PATH"].strip("/")
        capabilities = ["create", "update", "read"] if role is Role.DEPLOYER else ["read"]
        if options.get("kv-version") == "1":
            return _hcl(f"{mount}/{path}", capabilities)
        rules = [_hcl(f"{mount}/data/{path}", capabilities)]
        if role is Role.DEPLOYER:
            rules.append(_hcl(f"{mount}/metadata/{path}", ["read"]))
            rules.append(_hcl(f"{mount}/undelete/{path}", ["update"]))
        return "\n\n".join(rules)

    def credential_fault(self, store: VaultBackend, deployment: Deployment) -> CredentialFault | None:  # noqa: ARG002
        """A token that ends within a week."""
        left = store.seconds_of_token()
        if left is None or left >= LEAST_TOKEN_SECONDS:
            return None
        return CredentialFault(
            f"the Vault token ends in {left / 3600:.1f} hours, and cannot be renewed for long",
            ("Renew it: vault token renew", "Or sign in with an AppRole (docs/vault.md)"),
        )


def _has_login(deployment: Deployment) -> bool:
    variables = deployment.variables()
    home = variables.get("HOME") or os.path.expanduser("~")
    return any(variables.get(name) for name in _SAYS_HOW) or os.path.exists(os.path.join(home, ".vault-token"))


def _hcl(path: str, capabilities: list[str]) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{listed}]\n}}'


KIND = VaultKind()
