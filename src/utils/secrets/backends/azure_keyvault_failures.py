"""What Key Vault, Entra and the metadata service answer, and what the SDK raises: causes, and what to do about each.

Sources: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes,
https://learn.microsoft.com/entra/identity-platform/reference-error-codes,
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
"""

from __future__ import annotations

import re

from ..command import set_up
from ..errors import (
    ConfigurationError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from ..failures import (
    ANY_CODE,
    LATER_HINT,
    Failure,
    class_names,
    network_codes,
    network_failures,
    root_cause,
    see_policy,
    status_codes,
    store_error,
    unreadable_file,
)
from ..settings import CREDENTIALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_SIGNING_IN = "ClientAuthenticationError CredentialUnavailableError"
_ENTRA = "https://learn.microsoft.com/entra/identity-platform/reference-error-codes"

FAILURES = (
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: the secret of the application is wrong or has ended ({code})",
        (
            'Add a new one, which is printed: az ad app credential reset --append --id "$AZURE_CLIENT_ID"',
            "Then set AZURE_CLIENT_SECRET",
        ),
        says="AADSTS70002(15|22)",
    ),
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: the tenant has no such application ({code})",
        "Check AZURE_CLIENT_ID, and that AZURE_TENANT_ID is the tenant that it belongs to",
        says="AADSTS700016|AADSTS7000229",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "Azure authentication failed: there is no such tenant ({code})",
        "Check AZURE_TENANT_ID: az account show --query tenantId",
        says="AADSTS90002|AADSTS900023|AADSTS50059",
    ),
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: Entra does not accept the federated token, or the certificate ({code})",
        (
            "Its issuer, subject and audience have to be those of the application's federated credential",
            "A certificate has to be registered with the application, and not expired",
        ),
        says=r"AADSTS7002\d\d|AADSTS70021|AADSTS70002[47]",
    ),
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: the sign-in has ended, or asks for a second factor ({code})",
        "Sign in again: az login",
        says="AADSTS(50076|50078|50079|50158|70043|700082|700084|50173)",
    ),
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: Conditional Access blocks this sign-in ({code})",
        "Ask who runs your Entra tenant: the device, the place or the application is not allowed",
        says="AADSTS5300[0-9]",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "Azure authentication failed: this machine has several managed identities, and none is named",
        "Name one by its client id: export AZURE_CLIENT_ID=...",
        says="multiple user.assigned identities",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "Azure authentication failed: the managed identity that AZURE_CLIENT_ID names is not assigned to this machine",
        "Assign it: az vm identity assign, or unset AZURE_CLIENT_ID",
        says="identity not found",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "Azure authentication failed: a file that is named for it is not there, or may not be read; tried: {reason}",
        "Check AZURE_FEDERATED_TOKEN_FILE and AZURE_CLIENT_CERTIFICATE_PATH",
        says=r"\[Errno \d+\] (No such file|Permission denied|Is a directory)",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "Azure authentication failed: a setting of the credential holds an invalid character; tried: {reason}",
        "Set the AZURE_ and IDENTITY_ variables again, without the end of a line",
        says="header value",
    ),
    Failure(
        _SIGNING_IN,
        ConfigurationError,
        "The key vault belongs to another tenant than the credential: {where}",
        ("See yours: az account show", "Then sign in to the vault's: az login --tenant TENANT, or set AZURE_TENANT_ID"),
        says="not configured to acquire tokens for tenant",
    ),
    Failure(
        _SIGNING_IN,
        StoreUnavailableError,
        "Azure authentication failed: what issues the tokens cannot be reached; tried: {reason}",
        "Check the network, and IDENTITY_ENDPOINT or AZURE_AUTHORITY_HOST if they are set",
        says="(?s)^(?!.*unavailable).*(Max retries exceeded|Failed to (establish|resolve)|timed out)",
    ),
    Failure(
        _SIGNING_IN,
        StoreDeniedError,
        "Azure authentication failed: no credential was accepted; tried: {reason}",
        (
            "Sign in: az login",
            "On an Azure machine, give it a managed identity",
            "Elsewhere set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_CERTIFICATE_PATH",
            f"What a code with AADSTS means: {_ENTRA}",
        ),
    ),
    Failure(
        "Unauthorized",
        StoreDeniedError,
        "The key vault belongs to another tenant than the credential: {where}",
        ("See yours: az account show", "Then sign in to the vault's: az login --tenant TENANT, or set AZURE_TENANT_ID"),
        says="AKV10032|invalid issuer",
    ),
    Failure(
        "Unauthorized http-401",
        StoreDeniedError,
        "Azure Key Vault does not accept the credential: {where}",
        "Check that the vault belongs to the tenant that you are signed in to: az account show",
    ),
    Failure(
        "ValueError",
        ConfigurationError,
        "The server at {where} is no key vault of that name: it asks for credentials of another service",
        "Check AZURE_KEYVAULT_URL. For an emulator or a private name: AZURE_KEYVAULT_VERIFY_CHALLENGE=false",
        says="challenge",
    ),
    Failure(
        "JSONDecodeError",
        StoreUnavailableError,
        "{where} sent an unexpected response, which is no JSON",
        "Check AZURE_KEYVAULT_URL: a proxy, a sign-in page or another program may answer there",
    ),
    Failure(
        "ValueError",
        ConfigurationError,
        "The Azure settings cannot be used: {reason}",
        "Check AZURE_TOKEN_CREDENTIALS and the other AZURE_ variables",
    ),
    Failure(
        "OSError",
        ConfigurationError,
        "A file that the Azure settings name cannot be used: {reason}",
        "Check that it is there, and that this user may read it",
    ),
    Failure(
        "ForbiddenByFirewall",
        StoreDeniedError,
        "The firewall of the key vault refuses this address: {where}",
        "Allow it: az keyvault network-rule add --name VAULT --ip-address ADDRESS",
    ),
    Failure(
        "ForbiddenByConnection",
        StoreDeniedError,
        "The key vault is closed to the public network, and this is not one of its private connections: {where}",
        (
            "Use it from its virtual network: az network private-endpoint-connection list",
            "Or open it: az keyvault update --name VAULT --public-network-access Enabled",
        ),
    ),
    Failure(
        "Forbidden ForbiddenByPolicy RequestDisallowedByPolicy",
        StoreDeniedError,
        "A policy of the Azure organization forbids {action} on {where}: {reason}",
        ("Ask who runs it: az policy state list", see_policy("azure")),
        says="disallowed by policy|azure policy",
    ),
    Failure(
        "Forbidden ForbiddenByRbac ForbiddenByPolicy AccessDenied http-403",
        StoreDeniedError,
        "Azure Key Vault denies {action} on {where}",
        see_policy("azure"),
    ),
    Failure(
        "SecretDisabled",
        StoreDeniedError,
        "{action} is disabled in Azure Key Vault: {where}",
        "Enable it: az keyvault secret set-attributes --enabled true --vault-name VAULT --name NAME",
    ),
    Failure(
        "SecretNotFound",
        StoreEmptyError,
        "Secret not found in Azure Key Vault: {where}",
        (set_up(purpose="Make it"), "Or check AZURE_KEYVAULT_URL"),
    ),
    Failure(
        "http-404",
        ConfigurationError,
        "There is no key vault at this address: {where}",
        "Check AZURE_KEYVAULT_URL, and what else may answer there",
    ),
    Failure(
        "ObjectIsDeletedButRecoverable Conflict http-409",
        StoreDeletedError,
        "Deleted in Azure Key Vault, but not gone, so the name cannot be used: {name} in {where}",
        (
            set_up(purpose="Let the set-up recover or purge it"),
            "Or: az keyvault secret recover --vault-name VAULT --name NAME",
        ),
    ),
    Failure(
        "ObjectIsBeingDeleted ObjectIsBeingRecovered",
        StoreUnavailableError,
        "Azure Key Vault has not finished deleting or recovering: {name} in {where}",
        LATER_HINT,
    ),
    Failure(
        "BadParameter",
        StoreError,
        "Azure Key Vault allows at most 15 tags on a secret, and {name} would have more: {where}",
        "Remove tags that are no longer needed in the portal; keep those named previous-1, previous-2 and so on",
        says=r"\btags?\b",
    ),
    Failure(
        "Throttled TooManyRequests http-429",
        StoreUnavailableError,
        "Azure Key Vault is throttling requests: {where}; it asks to wait {reason}",
        LATER_HINT,
    ),
    Failure(
        "InvalidHeader",
        ConfigurationError,
        "The Azure credential holds an invalid character, such as the end of a line",
        "Set the AZURE_ variables again, without it",
    ),
    *network_failures("Azure Key Vault", address="AZURE_KEYVAULT_URL", ca="REQUESTS_CA_BUNDLE"),
    Failure(
        "http-5xx",
        StoreUnavailableError,
        "Azure Key Vault has an internal error: {where} ({code})",
        LATER_HINT,
    ),
    Failure(
        ANY_CODE,
        StoreError,
        "Azure Key Vault refuses {action} on {where}: {reason} ({code})",
        "What its codes mean: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes",
    ),
)


def classified(
    error: Any, where: str, action: str, pause: float | None, environ: Mapping[str, str], hidden: Iterable[str] = ()
) -> SecretsError:
    """What an error of the SDK means.

    Args:
        error: What it raised.
        where: The vault's address.
        action: What was tried; its last word is the secret's name, if it was about one.
        pause: How many seconds the service asks to wait.
        environ: The settings.
        hidden: What must not be repeated, besides the credentials.
    """
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    code, said = "", ""
    if isinstance(error, ClientAuthenticationError) and not _is_of_the_vault(error):
        codes, said = class_names(error), str(error)
        reason, code = _tried(said), ", ".join(_entra_codes(said))
    elif isinstance(error, HttpResponseError):
        codes, said, code = _answer_codes(error)
        reason = f"{pause:g} s" if pause is not None else said
    elif isinstance(error, ValueError):
        codes, reason = class_names(error), str(error)
    elif type(error).__module__ == "builtins":
        codes, reason = ["OSError"], unreadable_file(error, environ)
        if "TLS CA" in str(error):
            # requests has no class of its own for a file of certificates that is not there.
            codes, reason = ["SSLError"], "no such file"
    else:
        codes, reason = network_codes(error), root_cause(error)
        if "certificate" in reason.lower():
            codes.insert(0, "SSLError")
    name = action.rsplit(maxsplit=1)[-1]
    if "SecretDisabled" in codes:
        action = name
    hidden = [*hidden, *(environ.get(variable, "") for variable in CREDENTIALS)]
    return store_error(
        FAILURES,
        codes,
        where=where,
        action=action,
        reason=reason,
        said=said,
        code=code,
        name=name,
        hidden=hidden,
    )


def _is_of_the_vault(error: Any) -> bool:
    """Whether the vault has refused the token, rather than Entra to issue one."""
    return (
        getattr(error, "status_code", None) == 401  # noqa: PLR2004
        and getattr(error, "response", None) is not None
        and not _entra_codes(str(error))
    )


def _answer_codes(error: Any) -> tuple[list[str], str, str]:
    """The codes of an answer, its words, and how the service calls it."""
    details, status = getattr(error, "error", None), int(error.status_code or 0)
    own = [code for code in (_inner_code(details), getattr(details, "code", None)) if code]
    said = _body(error) if details is None else str(details.message or "")
    *pages, exact, hundred = status_codes(status, said)
    if status == 401:  # noqa: PLR2004
        own.append("Unauthorized")
    return [*pages, *own, exact, hundred], said, own[0] if own else f"HTTP {status}"


def _body(error: Any) -> str:
    try:
        return str(error.response.text())
    except (AttributeError, ValueError):
        return ""


def _inner_code(details: Any) -> str | None:
    inner = getattr(details, "innererror", None)
    code = inner.get("code") if isinstance(inner, dict) else getattr(inner, "code", None)
    return str(code) if code else None


def _entra_codes(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"AADSTS\d+", text)))


def _tried(message: str) -> str:
    """The names of the credentials in the SDK's long message, and the directory's error code."""
    names = list(dict.fromkeys(re.findall(r"^\s+(\w+Credential):", message, re.MULTILINE)))
    codes = _entra_codes(message)
    return ", ".join(names or re.findall(r"\b\w+Credential\b", message)[:1] or ["the configured one"]) + (
        f" ({', '.join(codes)})" if codes else ""
    )
