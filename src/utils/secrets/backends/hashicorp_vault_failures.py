"""What Vault and OpenBao answer, and what hvac and requests raise: the causes, and what to do about each.

Sources: https://developer.hashicorp.com/vault/api-docs#http-status-codes, and the answers of HashiCorp Vault 1.14 and
OpenBao 2.7 to the requests in ``tests/contract/test_vault.py``.
"""

from __future__ import annotations

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
    CredentialsEndedError,
    Failure,
    UpgradingError,
    class_names,
    network_codes,
    network_failures,
    root_cause,
    see_policy,
    status_codes,
    store_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_SIGN_IN = ("Sign in again: vault login", "Or set VAULT_TOKEN_FILE, or VAULT_ROLE_ID and VAULT_SECRET_ID_FILE")
_REFUSED_LOGIN = "InvalidRequest InvalidPath Forbidden Unauthorized InternalServerError"


def _of(method: str, classes: str) -> str:
    return " ".join(f"{method}:{name}" for name in classes.split())


FAILURES = (
    *network_failures(
        "Vault",
        address="VAULT_ADDR",
        ca="VAULT_CACERT",
        client_certificate="Set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY to the files with your certificate and its key",
    ),
    Failure(
        "InvalidRequest",
        ConfigurationError,
        "Vault speaks TLS at this address, and VAULT_ADDR says http: {where}",
        "Write https:// in VAULT_ADDR",
        says="HTTP request to an HTTPS server",
    ),
    Failure(
        f"VaultDown InternalServerError {_of('approle', _REFUSED_LOGIN + ' VaultDown')} {_of('jwt', 'VaultDown')}",
        StoreUnavailableError,
        "Vault is sealed: {where}",
        "Unseal it: vault operator unseal",
        says="sealed",
    ),
    Failure(
        _of("approle", _REFUSED_LOGIN),
        StoreDeniedError,
        "Vault authentication failed: {where} has no such way to sign in: {reason}",
        ("List them: vault auth list", "Then set VAULT_AUTH_MOUNT, and VAULT_NAMESPACE where there are namespaces"),
        says="no handler for route|permission denied|namespace",
    ),
    Failure(
        _of("approle", _REFUSED_LOGIN),
        StoreDeniedError,
        "Vault authentication failed: {where} does not accept this AppRole: {reason}",
        "Make a new secret id: vault write -f auth/approle/role/ROLE/secret-id",
        says="secret.?id|role.?id|approle|cidr",
    ),
    Failure(
        _of("jwt", "InvalidRequest InvalidPath Forbidden Unauthorized"),
        StoreDeniedError,
        "Vault authentication failed: {where} has no such way to sign in, or does not trust this token: {reason}",
        (
            "List the ways: vault auth list",
            "Then set VAULT_AUTH_METHOD, VAULT_AUTH_MOUNT and VAULT_AUTH_ROLE",
            "What the role demands: vault read auth/MOUNT/role/ROLE",
        ),
    ),
    Failure(
        "BadToken",
        CredentialsEndedError,
        "Vault authentication failed: {where} does not accept the token: it is wrong, expired or revoked",
        _SIGN_IN,
    ),
    Failure(
        "mount:InvalidPath InvalidPath InvalidRequest Forbidden",
        ConfigurationError,
        "Vault has no such namespace: {where}",
        ("Check VAULT_NAMESPACE", "List the namespaces: vault namespace list"),
        says="namespace not found|no namespace|namespace.*not exist",
    ),
    Failure(
        "BadAgent",
        CredentialsEndedError,
        "Vault authentication failed: what answers at {where} does not sign in for its clients",
        "An agent or proxy does that with auto_auth and, in its api_proxy, use_auto_auth_token = true",
    ),
    Failure(
        "mount:Forbidden Forbidden",
        StoreDeniedError,
        "Vault denies {action} on {where}: this token has to be used from another address",
        "Look at its limits: vault token lookup",
        says="cidr|source address|remote address",
    ),
    Failure(
        "Forbidden Unauthorized",
        StoreDeniedError,
        "Vault denies {action} on {where}",
        see_policy("vault"),
    ),
    Failure(
        "NoNamespaces",
        ConfigurationError,
        "VAULT_NAMESPACE is set, but the server knows no namespaces, and would use its only one: {where}",
        (
            "If the server is right, remove VAULT_NAMESPACE from the shell and from the settings file",
            "If not, correct VAULT_ADDR",
        ),
    ),
    Failure(
        "mount:Forbidden mount:InvalidPath",
        StoreDeniedError,
        "Vault has no secrets engine at {where}, or the token's policies do not mention it",
        (
            "List the engines: vault secrets list",
            "Then set VAULT_MOUNT_POINT, and VAULT_NAMESPACE where there are namespaces",
            see_policy("vault"),
        ),
    ),
    Failure(
        "NotKeyValue",
        ConfigurationError,
        "The secrets engine at {where} is not a key-value one: {reason}",
        "Set VAULT_MOUNT_POINT to one of type kv: vault secrets list",
    ),
    Failure(
        "InvalidPath",
        ConfigurationError,
        "The server at {where} has no such address: {reason}",
        "VAULT_ADDR is scheme, host and port, without /v1: export VAULT_ADDR=https://vault.example.com:8200",
        says="no handler for route|unsupported path",
    ),
    Failure(
        "InvalidPath",
        StoreEmptyError,
        "Secret not found in HashiCorp Vault: {where}",
        (set_up(purpose="Make it"), "Or check VAULT_MOUNT_POINT and VAULT_SECRET_PATH"),
    ),
    Failure(
        "DeletedVersion",
        StoreDeletedError,
        "The newest version of the secret is deleted in HashiCorp Vault: {where}",
        (set_up(purpose="Let the set-up restore it"), "Or: vault kv undelete -versions=N -mount=MOUNT PATH"),
    ),
    Failure(
        "DestroyedVersion",
        StoreError,
        "The newest version of the secret is destroyed in HashiCorp Vault: {where}",
        (
            "Restore an older version: vault kv rollback -version=N -mount=MOUNT PATH",
            "Or, if no version can be used, delete them all: vault kv metadata delete -mount=MOUNT PATH",
            set_up(purpose="Then make new secrets"),
        ),
    ),
    Failure(
        "InvalidRequest",
        UpgradingError,
        "Vault is upgrading the secrets engine to version 2: {where}",
        LATER_HINT,
        says="upgrading from non-versioned",
    ),
    Failure(
        "http-413 http-400",
        StoreError,
        "The secrets take more room than Vault allows: {where}",
        ("Keep large data elsewhere, and only its key here", "Or raise max_request_size of the server's listener"),
        says="too large|exceeds",
    ),
    Failure(
        "VaultNotInitialized",
        StoreUnavailableError,
        "Vault is not initialised: {where}",
        "Initialise it: vault operator init",
    ),
    Failure(
        "Redirect",
        StoreUnavailableError,
        "Vault at {where} sends its clients elsewhere, to {name}: it may be a standby node",
        "Set VAULT_ADDR to that address, if it is right: a token is not sent to another one by itself",
    ),
    Failure(
        "RateLimitExceeded",
        StoreUnavailableError,
        "Vault is limiting the rate of requests: {where}",
        LATER_HINT,
    ),
    Failure(
        "InternalServerError VaultDown BadGateway",
        StoreUnavailableError,
        "Vault has no active node at the moment: {where}",
        ("Try again in a minute", "Look at: vault operator raft list-peers"),
        says="standby|active.*node|leader",
    ),
    Failure(
        "InternalServerError BadGateway VaultDown http-412 http-5xx",
        StoreUnavailableError,
        "Vault at {where} has an internal error: {reason}",
        "Look at its log, and at: vault status",
    ),
    Failure(
        "InvalidHeader",
        ConfigurationError,
        "The Vault token has characters that no token has",
        "Check VAULT_TOKEN, or the file that VAULT_TOKEN_FILE names: one line, nothing else",
    ),
    Failure(
        "InvalidURL MissingSchema InvalidSchema",
        ConfigurationError,
        "VAULT_ADDR is not a usable address: {where}",
        "Give scheme, host and port: export VAULT_ADDR=https://vault.example.com:8200",
    ),
    Failure(
        ANY_CODE,
        StoreError,
        "Vault refuses {action} on {where}: {reason} ({code})",
        "Look at its log, and at: vault status",
    ),
)


def unreachable(error: Exception, where: str, action: str) -> SecretsError:
    """What an error on the way to the server means."""
    from requests.exceptions import RequestException

    if isinstance(error, RequestException):
        codes, reason = network_codes(error), root_cause(error)
    else:
        # requests has no class of its own for a file of certificates that is not there.
        codes, reason = ["SSLError"], "no such file"
    return store_error(FAILURES, codes, where=where, action=action, reason=reason)


def refused(error: Any, where: str, action: str, *, trying: str = "", hidden: Iterable[str] = ()) -> SecretsError:
    """What an answer of the server means.

    Args:
        error: hvac's exception.
        where: What was accessed.
        action: What was tried.
        trying: ``approle`` or ``jwt`` where that was to sign in, ``mount`` where the engine was looked for.
        hidden: What must not be repeated.
    """
    said, status = said_in(error), int(getattr(error, "status", 0))
    *pages, exact, hundred = status_codes(status, said)
    names = class_names(error)
    codes = [*pages, *([f"{trying}:{names[0]}"] if trying else []), *names, exact, hundred]
    if names[0] == "InvalidPath" and _is_destroyed(error.json):
        codes.insert(0, "DestroyedVersion")
    return store_error(FAILURES, codes, where=where, action=action, reason=said, code=f"HTTP {status}", hidden=hidden)


def said_in(error: Any) -> str:
    """The words of an answer."""
    return "; ".join(map(str, error.errors)) if error.errors else str(error.text or "")


def is_answer_of_vault(error: Any) -> bool:
    """Whether the server itself has answered, and not something in front of it."""
    return error.errors is not None


def names_a_bad_token(error: Any) -> bool:
    """Whether the refusal of a request about the token itself says that there is no such token.

    The server says `permission denied` of a token that it does not know. Of one whose policies do not allow the
    request it says so in a list of one error, and newer ones add `invalid token` to the former.
    """
    said = said_in(error)
    words = said.strip()
    is_unknown = words == "permission denied" or "invalid token" in words or "bad token" in words
    return is_answer_of_vault(error) and is_unknown


def _is_destroyed(answer: Any) -> bool:
    try:
        return bool(answer["data"]["metadata"]["destroyed"])
    except (KeyError, TypeError):
        return False
