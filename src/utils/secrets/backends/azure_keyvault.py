"""Azure Key Vault: one secret of the vault for each name, ``_`` written ``-``.

The vault ignores the case of names. A load is one list and then one request a secret, in parallel. The service has no
compare-and-set and no common write of several secrets: each secret is the old or the new one, whole, and a write that
fails in between says which are which.
https://learn.microsoft.com/rest/api/keyvault/secrets/
"""

from __future__ import annotations

import hashlib
import re
from time import sleep

from ..bounded import Budget, bound_session
from ..errors import (
    ConfigurationError,
    InvalidSecretError,
    PartlyWrittenError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
)
from ..failures import ResponseGuard, store_error
from ..settings import Settings
from ..snapshot import PreviousValue, SecretMetadata, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from azure.keyvault.secrets import KeyVaultSecret, SecretClient, SecretProperties

    from ..changes import Change

MAX_VALUE_BYTES = 25 * 1024  # https://learn.microsoft.com/azure/key-vault/secrets/about-secrets
MAX_NAME_LENGTH = 127
MAX_PREVIOUS = 10  # a secret has at most 15 tags
PARALLEL_REQUESTS = 8
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
CREDENTIAL_TIMEOUT_SECONDS = 3
THROTTLED_ATTEMPTS = 3
TIMES_TO_WRITE = 10  # each secret takes a request of its own, and another to read it back
LONGEST_RETRY_AFTER_SECONDS = 5.0
_PREVIOUS_TAG = "previous-{}"
_PLAIN_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ENCODED_PREFIX = "HEX--"
TOO_MANY_REQUESTS = 429


class AzureBackend:
    """Secrets in an Azure key vault.

    Args:
        client: The SDK's client of the vault.
        budget: What an operation may take; the client keeps to it.
        environ: The settings.
    """

    live = False
    empty_revision = hashlib.sha256(b"[]").hexdigest()

    def __init__(self, client: SecretClient, budget: Budget, environ: Mapping[str, str]) -> None:
        self._client = client
        self._budget = budget
        self._environ = environ
        self.url = client.vault_url.rstrip("/")

    def load(self) -> Snapshot:
        """Read every secret of the vault that is enabled, but for the keys of certificates."""
        with self._budget.spent():
            return self._load()

    def _load(self) -> Snapshot:
        from .azure_keyvault_failures import FAILURES

        # The first request gets the challenge that the parallel ones then answer without asking.
        listed = self._call("listing secrets", lambda: list(self._client.list_properties_of_secrets()))
        with ResponseGuard(self.url):
            found = [properties for properties in listed if not properties.managed]
            if not found:
                raise store_error(FAILURES, ["SecretNotFound"], where=self.url)
            return self._fetch(found)

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Write ``changes`` one by one, each read back."""
        with self._budget.spent(TIMES_TO_WRITE):
            return self._save(changes, expected_revision, progress)

    def _save(
        self,
        changes: Mapping[str, Change],
        expected_revision: str | None,
        progress: Callable[[str], None] | None,
    ) -> Snapshot:
        from ..changes import apply_changes, load_if_any, require_unchanged

        before = load_if_any(self)
        require_unchanged(self.describe(), expected_revision, before.revision)
        values, metadata = apply_changes(before, changes)
        readable = dict(before.values)
        different = [name for name in changes if values.get(name) != readable.get(name)]
        for name in different:
            self._check(name, values.get(name, ""), metadata.get(name, SecretMetadata()))
        self._check_not_deleted([name for name in different if name in values and name not in readable])
        written: list[str] = []
        for name in different:
            try:
                with ResponseGuard(self.url):
                    self._write(name, values.get(name), before, metadata.get(name, SecretMetadata()))
            except SecretsError as error:
                if not written:
                    raise
                raise _partly_written(self.describe(), written, different, error) from None
            written.append(name)
            if progress:
                progress(name)
        return self.load() if values else Snapshot({}, revision=self.empty_revision)

    def check_access(self, names: Iterable[str]) -> str:
        """Look for deleted secrets of these names, which cannot be written."""
        with self._budget.spent():
            self._check_not_deleted(names)
        return self.url

    def restore(self, names: Iterable[str]) -> None:
        """Recover deleted secrets, with the values that they had."""
        for name in names:
            recovery = self._call(f"recovering {name}", self._client.begin_recover_deleted_secret, encode_name(name))
            self._call(f"recovering {name}", recovery.wait)

    def purge(self, names: Iterable[str]) -> None:
        """Remove deleted secrets permanently, so that their names can be used again."""
        for name in names:
            self._call(f"purging {name}", self._client.purge_deleted_secret, encode_name(name))

    def describe(self) -> str:
        """The vault's address."""
        return f"Azure Key Vault, {self.url}"

    def _fetch(self, listed: list[SecretProperties]) -> Snapshot:
        from concurrent.futures import ThreadPoolExecutor

        from .azure_keyvault_failures import FAILURES

        enabled = [properties.name or "" for properties in listed if properties.enabled is not False]
        earlier = [(p.name or "", entry[0]) for p in listed for entry in _previous_entries(p)]
        with ThreadPoolExecutor(min(PARALLEL_REQUESTS, len(enabled) + len(earlier)) or 1) as pool:
            current = dict(zip(enabled, pool.map(self._get, enabled), strict=True))
            old = dict(zip(earlier, pool.map(lambda wanted: self._get(*wanted), earlier), strict=True))
        refused = {
            decode_name(p.name or ""): store_error(
                FAILURES, ["SecretDisabled"], where=self.url, action=decode_name(p.name or "")
            )
            for p in listed
            if p.enabled is False
        }
        values: dict[str, str] = {}
        metadata: dict[str, SecretMetadata] = {}
        versions: dict[str, str] = {}
        for encoded, secret in current.items():
            name = decode_name(encoded)
            if isinstance(secret, SecretsError):
                refused[name] = secret
            elif secret is not None:
                values[name] = secret.value or ""
                versions[name] = secret.properties.version or ""
                metadata[name] = _metadata(encoded, secret, old)
                _warn_of_dates(name, secret.properties)
        return Snapshot(_GuardedValues(values, refused) if refused else values, metadata, _revision(versions))

    def _get(self, encoded: str, version: str | None = None) -> KeyVaultSecret | SecretsError | None:
        name = decode_name(encoded)
        try:
            secret: KeyVaultSecret = self._call(f"reading {name}", self._client.get_secret, encoded, version)
        except StoreEmptyError:
            return None  # deleted since it was listed
        except StoreDeniedError as error:
            # A vault may hold what is not for us; only who asks for it is told.
            return error
        return secret

    def _check(self, name: str, value: str, metadata: SecretMetadata) -> None:
        size = len(value.encode())
        if size > MAX_VALUE_BYTES:
            raise StoreError(
                f"{name} is {size} bytes long; {MAX_VALUE_BYTES} is the most that {self.describe()} holds",
                hint="Keep large data elsewhere and only its key here. Nothing was written",
            )
        if len(encode_name(name)) > MAX_NAME_LENGTH:
            raise InvalidSecretError(f"{name} is too long a name for {self.describe()}", hint="Choose a shorter name")
        if len(metadata.previous) > MAX_PREVIOUS:
            raise StoreError(
                f"{name} has more than {MAX_PREVIOUS} earlier values still accepted in {self.describe()}",
                hint="Let go of those that nothing needs any more. Nothing was written",
            )

    def _check_not_deleted(self, names: Iterable[str]) -> None:
        wanted = set(names)
        if not wanted:
            return
        try:
            listed = self._call("listing deleted secrets", lambda: list(self._client.list_deleted_secrets()))
        except StoreDeniedError:
            return  # who may not list them is told by the write itself
        with ResponseGuard(self.url):
            deleted = sorted(wanted & {decode_name(secret.name or "") for secret in listed})
        if deleted:
            raise self._deleted(deleted)

    def _deleted(self, names: list[str]) -> StoreDeletedError:
        from .azure_keyvault_failures import FAILURES

        error = store_error(FAILURES, ["ObjectIsDeletedButRecoverable"], where=self.url, name=", ".join(names))
        return StoreDeletedError(str(error), hint=error.hints, names=names)

    def _write(self, name: str, value: str | None, before: Snapshot, metadata: SecretMetadata) -> None:
        encoded = encode_name(name)
        if value is None:
            deletion = self._call(f"deleting {name}", self._client.begin_delete_secret, encoded)
            self._call(f"deleting {name}", deletion.wait)
            return
        known = before.metadata.get(name)
        tags = dict(known.tags) if isinstance(known, _StoredMetadata) else {}
        current = known.version if isinstance(known, _StoredMetadata) else ""
        for number, entry in enumerate(metadata.previous, 1):
            version = self._version_of(encoded, entry, before.values.get(name), current)
            tags[_PREVIOUS_TAG.format(number)] = f"{version} {entry.replaced_at} {entry.valid_until or 'removed'}"
        try:
            secret = self._call(f"writing {name}", self._client.set_secret, encoded, value, tags=tags)
        except StoreDeletedError:
            raise self._deleted([name]) from None
        stored = self._call(f"reading {name}", self._client.get_secret, encoded, secret.properties.version)
        if stored.value != value:
            raise StoreError(f"{name} reads back differently from {self.describe()}", hint="Run this again")

    def _version_of(self, encoded: str, entry: PreviousValue, present: str | None, current: str) -> str:
        """The version that holds an earlier value; one that comes from another store gets a version of its own."""
        if isinstance(entry, _StoredValue):
            return entry.version
        if entry.value == present:
            return current
        secret = self._call(f"writing {decode_name(encoded)}", self._client.set_secret, encoded, entry.value)
        return secret.properties.version or ""

    def _call(self, action: str, method: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
        """Make a request; when the service throttles, wait as it says, up to 5 s, and ask again."""
        from azure.core.exceptions import AzureError

        for attempt in range(1, THROTTLED_ATTEMPTS + 1):
            try:
                with ResponseGuard(self.url, (AzureError, OSError, ValueError)):
                    return method(*arguments, **parameters)
            except (AzureError, OSError, ValueError) as error:
                pause = _pause_before_next(error)
                if pause is not None and pause <= LONGEST_RETRY_AFTER_SECONDS and attempt < THROTTLED_ATTEMPTS:
                    sleep(pause)
                    continue
                from .azure_keyvault_failures import classified

                raise classified(error, self.url, action, pause, self._environ, _values(arguments)) from None
        raise AssertionError("the last attempt raises")


class _StoredValue(PreviousValue):
    """An earlier value, and the version of the secret that holds it."""

    __slots__ = ("version",)

    def __init__(self, value: str, replaced_at: str, valid_until: str | None, version: str) -> None:
        super().__init__(value, replaced_at, valid_until)
        self.version = version


class _StoredMetadata(SecretMetadata):
    """What the vault knows of a secret besides: the current version, and the tags that others put on it."""

    __slots__ = ("tags", "version")

    def __init__(
        self, updated_at: str | None, previous: list[_StoredValue], version: str, tags: dict[str, str]
    ) -> None:
        super().__init__(updated_at, previous)
        self.version = version
        self.tags = tags


class _GuardedValues(dict[str, str]):
    """Values, where asking for one that the vault does not give out raises instead of finding nothing."""

    def __init__(self, values: Mapping[str, str], refused: Mapping[str, SecretsError]) -> None:
        super().__init__(values)
        self._refused = refused

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        if name in self:
            return self[name]
        return self.__missing__(name) if name in self._refused else default

    def __missing__(self, name: str) -> str:
        error = self._refused.get(name)
        if error is None:
            raise KeyError(name)
        raise type(error)(str(error), hint=error.hints)


def open_backend(settings: Settings) -> AzureBackend:
    """The store for these settings."""
    url = settings.environ.get("AZURE_KEYVAULT_URL")
    if not url:
        raise ConfigurationError(
            "AZURE_KEYVAULT_URL not set",
            hint="Give the vault's address: export AZURE_KEYVAULT_URL=https://NAME.vault.azure.net",
        )
    if not re.fullmatch(r"https://[^/\s]+/?", url):
        raise ConfigurationError(
            "AZURE_KEYVAULT_URL is not the address of a key vault",
            hint="It has this form: https://NAME.vault.azure.net",
        )
    _quieten_sdk()
    from azure.core.exceptions import AzureError
    from azure.core.pipeline.transport import RequestsTransport
    from azure.keyvault.secrets import SecretClient
    from requests import Session

    budget = Budget(f"Azure Key Vault at {url.rstrip('/')}", settings.load_timeout)
    try:
        credential = _make_credential(budget)
    except (AzureError, OSError, ValueError) as error:
        from .azure_keyvault_failures import classified

        raise classified(error, url, "signing in", None, settings.environ) from None
    client = SecretClient(
        vault_url=url,
        credential=credential,
        # Emulators and private names answer with another resource than the vault's host.
        verify_challenge_resource=settings.environ.get("AZURE_KEYVAULT_VERIFY_CHALLENGE") != "false",
        connection_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retry_total=2,
        retry_backoff_factor=0.2,
        transport=RequestsTransport(session=bound_session(Session(), budget)),
        retry_status=0,  # throttling is handled here: the SDK would sleep as long as the server says
    )
    return AzureBackend(client, budget, settings.environ)


def _make_credential(budget: Budget) -> Any:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.identity import DefaultAzureCredential
    from requests import Session

    return DefaultAzureCredential(
        process_timeout=CREDENTIAL_TIMEOUT_SECONDS,
        connection_timeout=CREDENTIAL_TIMEOUT_SECONDS,
        read_timeout=CREDENTIAL_TIMEOUT_SECONDS,
        retry_total=1,
        exclude_shared_token_cache_credential=True,
        transport=RequestsTransport(session=bound_session(Session(), budget)),
    )


def _quieten_sdk() -> None:
    """What the SDK warns of is in the errors here; at level INFO it would log every request."""
    import logging

    for name, level in (
        ("azure.identity", logging.CRITICAL),
        ("azure.core.pipeline", logging.WARNING),
        ("azure.keyvault", logging.ERROR),
    ):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)


def encode_name(name: str) -> str:
    """The vault's name for ``name``: letters, digits and ``-`` only, case ignored."""
    if _PLAIN_NAME.fullmatch(name) and not name.startswith("HEX__"):
        return name.replace("_", "-")
    return _ENCODED_PREFIX + name.encode().hex().upper()


def decode_name(encoded: str) -> str:
    """The opposite of :func:`encode_name`."""
    upper = encoded.upper()
    if upper.startswith(_ENCODED_PREFIX):
        try:
            return bytes.fromhex(upper.removeprefix(_ENCODED_PREFIX)).decode()
        except ValueError:
            pass  # somebody else's name that happens to begin so
    return upper.replace("-", "_")


def _metadata(encoded: str, secret: KeyVaultSecret, old: Mapping[tuple[str, str], Any]) -> _StoredMetadata:
    from datetime import UTC

    created = secret.properties.created_on
    updated_at = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if created else None
    previous = []
    for version, replaced_at, valid_until in _previous_entries(secret.properties):
        stored = old.get((encoded, version))
        # One that was purged, disabled or refused cannot be accepted any more.
        if stored is not None and not isinstance(stored, SecretsError):
            until = None if valid_until == "removed" else valid_until
            previous.append(_StoredValue(stored.value or "", replaced_at, until, version))
    tags = {key: text for key, text in (secret.properties.tags or {}).items() if not key.startswith("previous-")}
    return _StoredMetadata(updated_at, previous, secret.properties.version or "", tags)


def _previous_entries(properties: SecretProperties) -> list[tuple[str, str, str]]:
    tags = properties.tags or {}
    texts = [tags.get(_PREVIOUS_TAG.format(number), "") for number in range(1, MAX_PREVIOUS + 1)]
    return [(parts[0], parts[1], parts[2]) for parts in map(str.split, texts) if len(parts) == 3]  # noqa: PLR2004


def _warn_of_dates(name: str, properties: SecretProperties) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    if properties.expires_on and properties.expires_on < now:
        fault = f"has expired on {properties.expires_on:%Y-%m-%d}"
    elif properties.not_before and properties.not_before > now:
        fault = f"is not to be used before {properties.not_before:%Y-%m-%d}"
    else:
        return
    import logging

    # The service itself gives such secrets out: the dates are a note to people.
    logging.getLogger(__name__).warning("%s %s in Azure Key Vault; it is used all the same", name, fault)


def _partly_written(where: str, written: list[str], planned: list[str], error: SecretsError) -> PartlyWrittenError:
    missing = [name for name in planned if name not in written]
    return PartlyWrittenError(
        f"{error}. In {where}, written: {', '.join(written)}; not confirmed: {', '.join(missing)}",
        hint=[*error.hints, "Then run the same command again: it keeps what is written and completes the rest"],
    )


def _revision(versions: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()


def _pause_before_next(error: Any) -> float | None:
    """How many seconds the service asks to wait, when it throttles; ``None`` for any other error."""
    if getattr(error, "status_code", None) != TOO_MANY_REQUESTS:
        return None
    headers = getattr(error.response, "headers", None) or {}
    try:
        return max(0.0, float(headers.get("Retry-After", 1)))
    except ValueError:
        return LONGEST_RETRY_AFTER_SECONDS + 1


def _values(arguments: tuple[Any, ...]) -> list[str]:
    """What a request writes: the value behind the name."""
    return [argument for argument in arguments[1:] if isinstance(argument, str)]
