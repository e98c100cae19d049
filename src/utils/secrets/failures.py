"""What the stores' servers and SDKs report, and what this program says about it: the one place for all of them.

``docs/errors.md`` is rendered from these tables. No SDK is imported here: a failure is known by its error code, or by
the name of its exception's class.
"""

from __future__ import annotations

from .command import manage, set_up
from .errors import (
    ConfigurationError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
    several,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .command import Command, Hint

LONGEST_REASON = 200


class Failure:
    """One kind of failure.

    Args:
        codes: The error codes, or names of exception classes, that mean it.
        error: The error to raise.
        message: Its text; ``{where}``, ``{action}`` and ``{reason}`` are filled in.
        hints: What to do about it: one step, or several in their order.
    """

    __slots__ = ("codes", "error", "hints", "message")

    def __init__(self, codes: str, error: type[SecretsError], message: str, hints: Hint | Sequence[Hint]) -> None:
        self.codes = codes.split()
        self.error = error
        self.message = message
        self.hints = several(hints)


def _see_policy(store: str) -> Command:
    return manage("policy", store, purpose="See what is needed")


_LATER_HINT = "Try again in a minute"

AWS = (
    Failure(
        "NoCredentialsError PartialCredentialsError CredentialRetrievalError",
        StoreDeniedError,
        "No AWS credentials were found",
        (
            "Sign in: aws configure, or aws sso login",
            "On EC2 or ECS, attach a role to the machine or task",
            _see_policy("aws"),
        ),
    ),
    Failure(
        "ProfileNotFound",
        ConfigurationError,
        "The AWS profile that AWS_PROFILE names does not exist",
        "List the profiles: aws configure list-profiles",
    ),
    Failure(
        "ExpiredTokenException ExpiredToken RequestExpired TokenRetrievalError SSOTokenLoadError"
        " UnauthorizedSSOTokenError",
        StoreDeniedError,
        "The AWS credentials have expired",
        "Sign in again: aws sso login, or renew AWS_SESSION_TOKEN",
    ),
    Failure(
        "UnrecognizedClientException InvalidClientTokenId InvalidSignatureException SignatureDoesNotMatch"
        " IncompleteSignature MissingAuthenticationToken AuthFailure",
        StoreDeniedError,
        "AWS does not know these credentials",
        "Check who you are: aws sts get-caller-identity",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where}",
        _see_policy("aws"),
    ),
    Failure(
        "ResourceNotFoundException",
        StoreEmptyError,
        "Secret not found in AWS Secrets Manager: {where}",
        (set_up(purpose="Make it"), "Or check AWS_REGION and SECRETS_AWS_SECRET_ID"),
    ),
    Failure(
        "ScheduledForDeletion",
        StoreDeletedError,
        "The secret is scheduled for deletion in AWS Secrets Manager: {where}",
        (set_up(purpose="Let the set-up restore it"), "Or: aws secretsmanager restore-secret --secret-id NAME"),
    ),
    Failure(
        "ThrottlingException Throttling TooManyRequestsException RequestLimitExceeded",
        StoreUnavailableError,
        "AWS Secrets Manager is throttling requests",
        _LATER_HINT,
    ),
    Failure(
        "DecryptionFailure EncryptionFailure",
        StoreDeniedError,
        "AWS cannot use the KMS key of {where}",
        manage("policy", "aws", "--kms-key", "ARN", purpose="Allow kms:Decrypt and kms:GenerateDataKey on the key"),
    ),
    Failure(
        "LimitExceededException",
        StoreError,
        "An AWS Secrets Manager quota is used up: {action} on {where}",
        "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html",
    ),
    Failure(
        "InternalServiceError InternalServiceErrorException InternalFailure ServiceUnavailable"
        " ServiceUnavailableException",
        StoreUnavailableError,
        "AWS Secrets Manager has a fault of its own",
        _LATER_HINT,
    ),
    Failure(
        "NoRegionError InvalidRegionError",
        ConfigurationError,
        "AWS_REGION not set, or not the name of a region",
        "Set the region that the secret is in, for example: export AWS_REGION=eu-central-1",
    ),
    Failure(
        "SSLError",
        StoreUnavailableError,
        "The TLS certificate of AWS Secrets Manager is not accepted: {reason}",
        "Behind a proxy with its own CA, set AWS_CA_BUNDLE to its certificate",
    ),
    Failure(
        "EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError ProxyConnectionError"
        " HTTPClientError",
        StoreUnavailableError,
        "AWS Secrets Manager cannot be reached: {where}: {reason}",
        "Check the network, AWS_REGION, and AWS_ENDPOINT_URL if it is set",
    ),
)

VAULT = (
    Failure(
        "BadToken",
        StoreDeniedError,
        "Vault authentication failed: {where} does not accept the token: it is wrong, expired or revoked",
        ("Sign in again: vault login", "Or set VAULT_TOKEN_FILE, or VAULT_ROLE_ID and VAULT_SECRET_ID_FILE"),
    ),
    Failure(
        "BadAppRole",
        StoreDeniedError,
        "Vault authentication failed: {where} does not accept this AppRole: {reason}",
        "Make a new secret id: vault write -f auth/approle/role/ROLE/secret-id",
    ),
    Failure(
        "Forbidden Unauthorized",
        StoreDeniedError,
        "Vault denies {action} on {where}",
        _see_policy("vault"),
    ),
    Failure(
        "NoMount",
        StoreDeniedError,
        "Vault has no secrets engine at {where}, or the token's policies do not mention it",
        ("List the engines: vault secrets list", "Then set VAULT_MOUNT_POINT", _see_policy("vault")),
    ),
    Failure(
        "NotKeyValue",
        ConfigurationError,
        "The secrets engine at {where} is not a key-value one: {reason}",
        "Set VAULT_MOUNT_POINT to one of type kv: vault secrets list",
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
        "Sealed",
        StoreUnavailableError,
        "Vault is sealed: {where}",
        "Unseal it: vault operator unseal",
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
        "Vault at {where} sends its clients elsewhere, to {reason}: it is a standby node",
        "Set VAULT_ADDR to the active node: a token is not sent to another address",
    ),
    Failure(
        "RateLimitExceeded",
        StoreUnavailableError,
        "Vault is limiting the rate of requests: {where}",
        _LATER_HINT,
    ),
    Failure(
        "InternalServerError BadGateway VaultDown PreconditionFailed",
        StoreUnavailableError,
        "Vault at {where} has a fault of its own",
        "Look at its log, and at: vault status",
    ),
    Failure(
        "SSLError",
        StoreUnavailableError,
        "The TLS certificate of Vault at {where} is not accepted: {reason}",
        "Set VAULT_CACERT to the file with the certificate of the CA that signed it",
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
        "ConnectionError ConnectTimeout ReadTimeout Timeout ChunkedEncodingError ProxyError RetryError",
        StoreUnavailableError,
        "Vault cannot be reached at {where}: {reason}",
        "Check VAULT_ADDR, and that the server runs: vault status",
    ),
)

AZURE = (
    Failure(
        "ClientAuthenticationError CredentialUnavailableError",
        StoreDeniedError,
        "Azure authentication failed: no credential was accepted; tried: {reason}",
        (
            "Sign in: az login",
            "On an Azure machine, give it a managed identity",
            "Elsewhere set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_CERTIFICATE_PATH",
        ),
    ),
    Failure(
        "Unauthorized",
        StoreDeniedError,
        "Azure Key Vault does not accept the credential: {where}",
        "Check that the vault belongs to the tenant that you are signed in to: az account show",
    ),
    Failure(
        "ValueError",
        ConfigurationError,
        "The server at {where} is no key vault of that name: it asks for credentials of another service",
        "Check AZURE_KEYVAULT_URL. For an emulator or a private name: AZURE_KEYVAULT_VERIFY_CHALLENGE=false",
    ),
    Failure(
        "ForbiddenByFirewall",
        StoreDeniedError,
        "The firewall of the key vault refuses this address: {where}",
        "Allow it: az keyvault network-rule add --name VAULT --ip-address ADDRESS",
    ),
    Failure(
        "Forbidden ForbiddenByRbac ForbiddenByPolicy AccessDenied",
        StoreDeniedError,
        "Azure Key Vault denies {action} on {where}",
        _see_policy("azure"),
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
        "ObjectIsDeletedButRecoverable Conflict",
        StoreDeletedError,
        "Deleted in Azure Key Vault, but not gone, so the name cannot be used: {reason} in {where}",
        (
            set_up(purpose="Let the set-up recover or purge it"),
            "Or: az keyvault secret recover --vault-name VAULT --name NAME",
        ),
    ),
    Failure(
        "ObjectIsBeingDeleted ObjectIsBeingRecovered",
        StoreUnavailableError,
        "Azure Key Vault has not finished deleting or recovering: {reason} in {where}",
        _LATER_HINT,
    ),
    Failure(
        "Throttled TooManyRequests",
        StoreUnavailableError,
        "Azure Key Vault is throttling requests: {where}{reason}",
        _LATER_HINT,
    ),
    Failure(
        "SSLError",
        StoreUnavailableError,
        "The TLS certificate of the key vault is not accepted: {where}: {reason}",
        "Behind a proxy with its own CA, set REQUESTS_CA_BUNDLE to its certificate",
    ),
    Failure(
        "ServerError",
        StoreUnavailableError,
        "Azure Key Vault has a fault of its own: {where}",
        _LATER_HINT,
    ),
    Failure(
        "ServiceRequestError ServiceRequestTimeoutError ServiceResponseError ServiceResponseTimeoutError"
        " IncompleteReadError",
        StoreUnavailableError,
        "The key vault cannot be reached: {where}: {reason}",
        "Check AZURE_KEYVAULT_URL and the network",
    ),
)


def store_error(
    table: Iterable[Failure],
    codes: Iterable[str],
    *,
    where: str,
    action: str = "access",
    reason: str = "",
) -> SecretsError:
    """The error for a failure.

    Args:
        table: ``AWS``, ``VAULT`` or ``AZURE``.
        codes: What is known about the failure, the most telling first.
        where: What was accessed.
        action: What was tried.
        reason: What the server or the system said, if that holds no value.
    """
    codes = list(codes)
    by_code = {code: failure for failure in table for code in failure.codes}
    for code in codes:
        failure = by_code.get(code)
        if failure is not None:
            return failure.error(_fill(failure.message, where, action, reason), hint=failure.hints)
    return StoreError(f"{where}: {action} failed with {codes[0]}", hint="Please report this as a bug if it comes again")


class Intelligible:
    """Turns what goes wrong with an answer of another shape than the service's into one clear error.

    The SDKs let through whatever their parsers raise when a proxy, a sign-in page or another program answers.

    Args:
        where: What was asked.
        known: The SDK's own errors, which are let through.
        parsing: Those of its parser.
    """

    __slots__ = ("_known", "_parsing", "_where")

    def __init__(
        self,
        where: str,
        known: tuple[type[BaseException], ...] = (),
        parsing: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._where = where
        self._known = known
        self._parsing = parsing

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise in place of what a parser raised.

        Raises:
            StoreUnavailableError: The answer makes no sense.
        """
        if kind is None or issubclass(kind, (SecretsError, *self._known)):
            return
        if issubclass(kind, (AttributeError, LookupError, RecursionError, TypeError, ValueError, *self._parsing)):
            raise StoreUnavailableError(
                f"{self._where} gives an answer that makes no sense ({kind.__name__})",
                hint="Check the address: a proxy, a sign-in page or another program may answer there",
            ) from None


def class_names(error: BaseException) -> list[str]:
    """The name of the error's class, then those of its bases."""
    return [kind.__name__ for kind in type(error).__mro__[:-3]] or [type(error).__name__]


def root_cause(error: BaseException) -> str:
    """What the operating system or TLS said at the bottom of a network error: ``Connection refused``."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        queue += [current.__cause__, current.__context__]
        queue += [getattr(current, name, None) for name in ("reason", "inner_exception", "error")]
        queue += [current.args[-1]] if current.args else []
    for found in reversed(seen):
        text = getattr(found, "verify_message", None) or (found.strerror if isinstance(found, OSError) else None)
        if text:
            return str(text)[:LONGEST_REASON]
    return "no answer in time" if any("imeout" in type(found).__name__ for found in seen) else type(error).__name__


def _fill(message: str, where: str, action: str, reason: str) -> str:
    parts: Mapping[str, str] = {"{where}": where, "{action}": action, "{reason}": " ".join(reason.split())}
    for placeholder, text in parts.items():
        message = message.replace(placeholder, text)
    return message
