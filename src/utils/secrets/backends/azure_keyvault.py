"""Azure Key Vault: one secret of the vault for each name, ``_`` written ``-``.

The vault ignores the case of names. A load is one list and then one request a secret, in parallel; without the
permission to list, the names of the catalogue are read. The service has no compare-and-set and no common write of
several secrets: each secret is the old or the new one, whole, and a write that fails in between says which are which.
A new value is a new version, which has only what is passed with it: what others have set is read and passed again.
https://learn.microsoft.com/rest/api/keyvault/secrets/
"""

from __future__ import annotations

import hashlib
import re
from time import sleep

from ..bounded import Budget, bound_session
from ..errors import (
    CatalogError,
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
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from azure.keyvault.secrets import KeyVaultSecret, SecretClient, SecretProperties

    from ..changes import Change

    _Answers = dict[tuple[str, str | None], KeyVaultSecret | SecretsError | None]

MAX_VALUE_BYTES = 25 * 1024  # https://learn.microsoft.com/azure/key-vault/secrets/about-secrets
MAX_NAME_LENGTH = 127
MAX_TAGS = 15  # https://learn.microsoft.com/azure/key-vault/secrets/about-secrets#secret-tags
MAX_PREVIOUS = 10
PARALLEL_REQUESTS = 8
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
CREDENTIAL_TIMEOUT_SECONDS = 3
THROTTLED_ATTEMPTS = 3
TIMES_TO_WRITE = 10  # each secret takes a request of its own, and another to read it back
LONGEST_RETRY_AFTER_SECONDS = 5.0
_PREVIOUS_TAGS = [f"previous-{number}" for number in range(1, MAX_PREVIOUS + 1)]
_PLAIN_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ENCODED_PREFIX = "HEX--"
FORBIDDEN = 403
TOO_MANY_REQUESTS = 429


class AzureBackend:
    """Secrets in an Azure key vault.

    Args:
        client: The SDK's client of the vault.
        budget: What an operation may take; the client keeps to it.
        environ: The settings.
        names: Returns the names to read when this identity may not list the secrets.
    """

    live = False
    empty_revision = hashlib.sha256(b"[]").hexdigest()

    def __init__(
        self, client: SecretClient, budget: Budget, environ: Mapping[str, str], names: Callable[[], Iterable[str]]
    ) -> None:
        self._client = client
        self._names = names
        self._budget = budget
        self._environ = environ
        self.url = client.vault_url.rstrip("/")

    def load(self) -> Snapshot:
        """Read every secret that is enabled, but for the keys of certificates."""
        return self._read().snapshot

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
        from ..changes import apply_changes, require_unchanged

        before = self._read_if_any(changes)
        require_unchanged(self.describe(), expected_revision, before.snapshot.revision)
        values, metadata = apply_changes(before.snapshot, changes)
        readable = dict(before.snapshot.values)
        known = before.snapshot.metadata
        different = [
            name
            for name, change in changes.items()
            if values.get(name) != readable.get(name) or _drops_earlier_values(change, known.get(name))
        ]
        for name in different:
            foreign = _foreign_tags(before.properties.get(name))
            self._check(name, values.get(name, ""), metadata.get(name, SecretMetadata()), len(foreign))
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
        return self._read(changes).snapshot if values else Snapshot({}, revision=self.empty_revision)

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

    def _read(self, also: Iterable[str] = ()) -> _Reading:
        """Read the vault; without the permission to list it, the catalogue's names and ``also``."""
        with self._budget.spent():
            # The first request gets the challenge that the parallel ones then answer without asking.
            listed = self._list()
            with ResponseGuard(self.url):
                if isinstance(listed, StoreDeniedError):
                    return self._read_named(listed, also)
                found = [properties for properties in listed if not properties.managed]
                if not found:
                    raise self._failure("SecretNotFound")
                return self._read_listed(found)

    def _read_if_any(self, also: Iterable[str]) -> _Reading:
        try:
            return self._read(also)
        except StoreEmptyError:
            return _Reading(Snapshot({}, revision=self.empty_revision), {}, frozenset())

    def _list(self) -> list[SecretProperties] | StoreDeniedError:
        """What the vault holds, or the error when this identity may not list it."""
        from azure.core.exceptions import HttpResponseError

        statuses: list[int | None] = []

        def list_all() -> list[SecretProperties]:
            try:
                return list(self._client.list_properties_of_secrets())
            except HttpResponseError as error:
                # A proxy's refusal says nothing about permissions.
                statuses.append(error.status_code if error.error else None)
                raise

        try:
            listed: list[SecretProperties] = self._call("listing secrets", list_all)
        except StoreDeniedError as error:
            if statuses[-1:] != [FORBIDDEN]:
                raise
            return error
        return listed

    def _read_listed(self, listed: list[SecretProperties]) -> _Reading:
        enabled = [(properties.name or "", None) for properties in listed if properties.enabled is not False]
        earlier = [
            (properties.name or "", entry[0]) for properties in listed for entry in _previous_entries(properties)
        ]
        answers = self._get_all([*enabled, *earlier])
        for properties in listed:
            if properties.enabled is False:
                name = decode_name(properties.name or "")
                disabled = self._failure("SecretDisabled", action=name)
                answers[properties.name or "", None] = disabled
        return _reading(answers, listed)

    def _read_named(self, denied: StoreDeniedError, also: Iterable[str]) -> _Reading:
        """Read secrets one by one: the right to read one does not include the right to list them.

        https://learn.microsoft.com/azure/key-vault/secrets/about-secrets#secret-access-control
        """
        try:
            ours = {encode_name(name) for name in self._names()}
        except CatalogError as error:
            raise StoreDeniedError(
                f"{denied}; the names to read one by one are not known: {error}", hint=[*denied.hints, *error.hints]
            ) from None
        others = {encode_name(name) for name in also} - ours
        answers = self._get_all([(encoded, None) for encoded in sorted(ours | others)])
        if all(isinstance(answer, SecretsError) for answer in answers.values()):
            raise denied
        # An identity without access gets 403 for a missing secret, too: 404 means that it may read.
        if not any(answers.values()):
            raise self._failure("SecretNotFound")
        earlier = [
            (encoded, entry[0])
            for (encoded, _), answer in answers.items()
            if answer is not None and not isinstance(answer, SecretsError)
            for entry in _previous_entries(answer.properties)
        ]
        return _reading(answers | self._get_all(earlier), not_counted=others)

    def _failure(self, code: str, **parts: str) -> SecretsError:
        """The error for something that this class finds out by itself; see :func:`store_error`."""
        from .azure_keyvault_failures import FAILURES

        return store_error(FAILURES, [code], where=self.url, **parts)

    def _get_all(self, wanted: Sequence[tuple[str, str | None]]) -> _Answers:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(PARALLEL_REQUESTS, len(wanted)) or 1) as pool:
            return dict(zip(wanted, pool.map(lambda secret: self._get(*secret), wanted), strict=True))

    def _get(self, encoded: str, version: str | None = None) -> KeyVaultSecret | SecretsError | None:
        name = decode_name(encoded)
        try:
            secret: KeyVaultSecret = self._call(f"reading {name}", self._client.get_secret, encoded, version)
        except StoreEmptyError:
            return None  # deleted since it was listed
        except StoreDeniedError as error:
            # A vault may hold what is not for us; only who asks for it is told.
            return error
        return None if secret.properties.managed else secret  # the key of a certificate

    def _check(self, name: str, value: str, metadata: SecretMetadata, foreign_tags: int) -> None:
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
        tags = foreign_tags + len(metadata.previous)
        if tags > MAX_TAGS:
            raise StoreError(
                f"{name} would have {tags} tags in {self.describe()}, {foreign_tags} of them set by others;"
                f" a secret has at most {MAX_TAGS}",
                hint="Remove tags that are no longer needed. Nothing was written",
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
        error = self._failure("ObjectIsDeletedButRecoverable", name=", ".join(names))
        return StoreDeletedError(str(error), hint=error.hints, names=names)

    def _write(self, name: str, value: str | None, before: _Reading, metadata: SecretMetadata) -> None:
        encoded = encode_name(name)
        if value is None:
            deletion = self._call(f"deleting {name}", self._client.begin_delete_secret, encoded)
            self._call(f"deleting {name}", deletion.wait)
            return
        kept = before.kept(name)
        tags = dict(kept["tags"])
        for tag, entry in zip(_PREVIOUS_TAGS, metadata.previous, strict=False):
            version = self._version_of(name, entry, before, kept)
            tags[tag] = f"{version} {entry.replaced_at} {entry.valid_until or 'removed'}"
        secret = self._set(name, value, kept | {"tags": tags})
        stored = self._call(f"reading {name}", self._client.get_secret, encoded, secret.properties.version)
        if stored.value != value:
            raise StoreError(f"{name} reads back differently from {self.describe()}", hint="Run this again")

    def _version_of(self, name: str, entry: PreviousValue, before: _Reading, kept: dict[str, Any]) -> str:
        """The version that holds an earlier value; one that comes from another store gets a version of its own."""
        if isinstance(entry, _StoredValue):
            return entry.version
        if entry.value == dict(before.snapshot.values).get(name):
            return before.properties[name].version or ""
        return self._set(name, entry.value, kept).properties.version or ""

    def _set(self, name: str, value: str, kept: dict[str, Any]) -> KeyVaultSecret:
        try:
            secret: KeyVaultSecret = self._call(
                f"writing {name}", self._client.set_secret, encode_name(name), value, **kept
            )
        except StoreDeletedError:
            raise self._deleted([name]) from None
        except StoreDeniedError as error:
            if kept["expires_on"] is not None:
                raise
            raise StoreDeniedError(str(error), hint=[*error.hints, self._expiry_hint(name)]) from None
        return secret

    def _expiry_hint(self, name: str) -> str:
        """For any refused write: an Azure Policy that requires an expiry date refuses like a missing permission.

        https://learn.microsoft.com/azure/key-vault/general/azure-policy
        """
        vault = self.url.removeprefix("https://").partition(".")[0]
        return (
            "If an Azure Policy requires an expiry date, set one; later values keep it: az keyvault secret"
            f" set-attributes --vault-name {vault} --name {encode_name(name)} --expires DATE"
        )

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


class _Reading:
    """What one read of the vault has found.

    Args:
        snapshot: The secrets.
        properties: By name, what is known of a secret besides its value, also of disabled and forbidden ones.
        refused: The names of the disabled and forbidden ones.
    """

    __slots__ = ("properties", "refused", "snapshot")

    def __init__(self, snapshot: Snapshot, properties: Mapping[str, SecretProperties], refused: frozenset[str]) -> None:
        self.snapshot = snapshot
        self.properties = properties
        self.refused = refused

    def kept(self, name: str) -> dict[str, Any]:
        """What a new value of ``name`` takes over from the present one: see docs/decisions/README.md, 72."""
        from datetime import UTC, datetime

        present = self.properties.get(name)
        if present is None:
            if name in self.refused:
                _warn("%s: its tags and dates cannot be read in Azure Key Vault; its new value has none", name)
            return {"tags": {}, "content_type": None, "expires_on": None, "not_before": None}
        now = datetime.now(UTC)
        return {
            "tags": _foreign_tags(present),
            "content_type": present.content_type,
            "expires_on": _kept_expiry(name, present.expires_on, now),
            "not_before": _kept_start(name, present.not_before, now),
        }


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
    return AzureBackend(client, budget, settings.environ, settings.known_names)


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


def _reading(
    answers: _Answers, listed: Iterable[SecretProperties] = (), *, not_counted: Iterable[str] = ()
) -> _Reading:
    """What the vault's answers come to.

    Args:
        answers: By name and version; the present one has none.
        listed: What is known of the secrets without them.
        not_counted: The names that do not belong to the revision.
    """
    values: dict[str, str] = {}
    metadata: dict[str, SecretMetadata] = {}
    versions: dict[str, str] = {}
    refused: dict[str, SecretsError] = {}
    properties = {decode_name(known.name or ""): known for known in listed}
    for (encoded, version), secret in answers.items():
        if version is not None or secret is None:
            continue
        name = decode_name(encoded)
        if isinstance(secret, SecretsError):
            refused[name] = secret
            continue
        values[name] = secret.value or ""
        properties[name] = secret.properties
        metadata[name] = _metadata(encoded, secret, answers)
        if encoded not in not_counted:
            versions[name] = secret.properties.version or ""
        _warn_of_dates(name, secret.properties)
    snapshot = Snapshot(_GuardedValues(values, refused) if refused else values, metadata, _revision(versions))
    return _Reading(snapshot, properties, frozenset(refused))


def _metadata(encoded: str, secret: KeyVaultSecret, answers: _Answers) -> SecretMetadata:
    from datetime import UTC

    created = secret.properties.created_on
    updated_at = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if created else None
    previous = []
    for version, replaced_at, valid_until in _previous_entries(secret.properties):
        stored = answers.get((encoded, version))
        # One that was purged, disabled or refused cannot be accepted any more.
        if stored is not None and not isinstance(stored, SecretsError):
            until = None if valid_until == "removed" else valid_until
            previous.append(_StoredValue(stored.value or "", replaced_at, until, version))
    return SecretMetadata(updated_at, previous)


def _drops_earlier_values(change: Change, known: SecretMetadata | None) -> bool:
    """Whether the value stays, and its earlier ones do not."""
    return change.history is not None and not change.history.previous and bool(known and known.previous)


def _previous_entries(properties: SecretProperties) -> list[tuple[str, str, str]]:
    tags = properties.tags or {}
    texts = [tags.get(tag, "") for tag in _PREVIOUS_TAGS]
    return [(parts[0], parts[1], parts[2]) for parts in map(str.split, texts) if len(parts) == 3]  # noqa: PLR2004


def _foreign_tags(properties: SecretProperties | None) -> dict[str, str]:
    tags = (properties.tags if properties else None) or {}
    return {tag: text for tag, text in tags.items() if tag not in _PREVIOUS_TAGS}


def _kept_expiry(name: str, expires_on: datetime | None, now: datetime) -> datetime | None:
    if expires_on is None or expires_on > now:
        return expires_on
    _warn("%s had expired on %s in Azure Key Vault; its new value has no expiry date", name, f"{expires_on:%Y-%m-%d}")
    return None


def _kept_start(name: str, not_before: datetime | None, now: datetime) -> datetime | None:
    if not_before is None:
        return None
    if not_before > now:
        start = f"{not_before:%Y-%m-%d}"
        _warn("%s was not to be used before %s in Azure Key Vault; its new value is used from now on", name, start)
    return now


def _warn_of_dates(name: str, properties: SecretProperties) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    if properties.expires_on and properties.expires_on < now:
        fault = f"has expired on {properties.expires_on:%Y-%m-%d}"
    elif properties.not_before and properties.not_before > now:
        fault = f"is not to be used before {properties.not_before:%Y-%m-%d}"
    else:
        return
    # The service itself gives such secrets out: the dates are a note to people.
    _warn("%s %s in Azure Key Vault; it is used all the same", name, fault)


def _warn(text: str, *arguments: str) -> None:
    import logging

    logging.getLogger(__name__).warning(text, *arguments)


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
