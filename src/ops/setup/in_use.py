"""Which store is in use, also when no setting says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.ops.deployment.deployment import NotSetUpError
from src.ops.store_kinds import kind_in_use, kind_of
from src.utils.secrets.command import set_up
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind


def kind_expected(deployment: Deployment) -> StoreKind[Any]:
    """The store in use; where no setting names one, the one that it was, else the encrypted file.

    A dotenv file, which has everything in plain text, is never taken for it while anything shows another one.

    Raises:
        ConfigurationError: The settings name none that there is.
    """
    if deployment.is_configured("SECRETS_BACKEND"):
        return kind_in_use(deployment)
    from .traces import has_encrypted_file, store_named

    named = store_named(deployment)
    if named is not None and not named.is_dotenv:
        return named
    if not has_encrypted_file(deployment) and (named is not None or deployment.has_dotenv_secrets):
        return kind_of(SecretsBackend.ENV)
    return kind_of(SecretsBackend.FILE)


def is_set_up(deployment: Deployment) -> bool:
    """Whether anything says which store this deployment uses: a setting, or secrets in a dotenv file."""
    if deployment.is_configured("SECRETS_BACKEND"):
        return True
    return deployment.has_dotenv_secrets and kind_expected(deployment).is_dotenv


def require_set_up(deployment: Deployment) -> None:
    """Refuse to go on without a store.

    Raises:
        NotSetUpError: Nothing says which store to use.
    """
    if not is_set_up(deployment):
        raise NotSetUpError(
            f"No secrets are set up here: neither {deployment.settings_file} nor SECRETS_BACKEND names a store",
            hint=set_up(),
        )
