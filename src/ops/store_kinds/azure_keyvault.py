"""Azure Key Vault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from src.utils.secrets.command import program
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend

from .base import Role, Setting, StoreKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.azure_keyvault import AzureBackend
    from src.utils.secrets.command import Hint


_LEAST = """\
# The app does not need to list secrets. The least is a custom role with this data action only:
#   Microsoft.KeyVault/vaults/secrets/getSecret/action
# or, in a key vault with access policies:
#   az keyvault set-policy --name {vault} --object-id OBJECT_ID --secret-permissions get"""


def _check_url(answer: str) -> str | None:
    if re.fullmatch(r"https://[^/\s]+/?", answer.strip()):
        return None
    return "The address has this form: https://NAME.vault.azure.net"


class AzureKind(StoreKind["AzureBackend"]):
    """See the module."""

    backend = SecretsBackend.AZURE
    note = "your key vault"
    sdk_variables = ("AZURE_", "REQUESTS_CA_BUNDLE")
    is_shared = True
    copies_history = False
    can_purge = True
    has_policy = True
    settings = (
        Setting(
            "AZURE_KEYVAULT_URL",
            "Address of the key vault:",
            why="The portal shows it as the vault's Vault URI.",
            check=_check_url,
            part="URL",
            example="https://NAME.vault.azure.net",
            says_where=True,
            is_detectable=True,
        ),
        Setting("AZURE_KEYVAULT_VERIFY_CHALLENGE"),
        Setting("AZURE_AUTHORITY_HOST"),
        Setting("REQUESTS_CA_BUNDLE"),
        Setting("AZURE_TENANT_ID"),
        Setting("AZURE_CLIENT_ID"),
        Setting("AZURE_CLIENT_CERTIFICATE_PATH"),
        Setting("AZURE_CLIENT_SECRET", is_secret=True),
    )

    def check_access(self, store: AzureBackend, names: Iterable[str]) -> str:
        """The vault's address; deleted secrets of these names stand in the way."""
        return store.check_access(names)

    def restore(self, store: AzureBackend, names: Iterable[str]) -> None:
        """Recover deleted secrets."""
        store.restore(names)

    def purge(self, store: AzureBackend, names: Iterable[str]) -> None:
        """Remove deleted secrets permanently."""
        store.purge(names)

    def erase_hints(self, deployment: Deployment, names: Iterable[str]) -> tuple[Hint, ...]:
        """The deleted secrets, which the vault keeps for its retention time."""
        from urllib.parse import urlsplit

        vault = (urlsplit(deployment.variables().get("AZURE_KEYVAULT_URL") or "").hostname or "").split(".")[0]
        purge = ["az", "keyvault", "secret", "purge", "--vault-name", vault, "--name"]
        return (
            "The key vault keeps deleted secrets for its retention time. To delete them earlier:",
            *(program(*purge, name.replace("_", "-")) for name in names),
        )

    def policy(self, deployment: Deployment, role: Role, options: Mapping[str, str]) -> str:  # noqa: ARG002
        """The commands that assign the role; for the app also what is less than any built-in role.

        https://learn.microsoft.com/azure/key-vault/general/rbac-guide
        """
        from urllib.parse import urlsplit

        url = deployment.variables().get("AZURE_KEYVAULT_URL")
        if not url:
            raise ConfigurationError(
                "AZURE_KEYVAULT_URL not set",
                hint="Give the vault's address: export AZURE_KEYVAULT_URL=https://NAME.vault.azure.net",
            )
        vault = (urlsplit(url).hostname or "").split(".")[0]
        name = "Key Vault Secrets Officer" if role is Role.DEPLOYER else "Key Vault Secrets User"
        principal = "User" if role is Role.DEPLOYER else "ServicePrincipal"
        assignment = (
            f"scope=$(az keyvault show --name {vault} --query id --output tsv)\n"
            f'az role assignment create --role "{name}" --assignee-principal-type {principal} \\\n'
            '    --assignee-object-id OBJECT_ID --scope "$scope"'
        )
        return assignment if role is Role.DEPLOYER else f"{assignment}\n{_LEAST.format(vault=vault)}"


KIND = AzureKind()
