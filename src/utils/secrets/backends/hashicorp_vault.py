"""HashiCorp Vault (and OpenBao): one flat map in a key-value engine, version 2 or 1.

A load is one request, after one that asks the mount for its version. With version 2 a write is a check-and-set on the
version that was changed. Version 1 has no such thing: what another writer does between this program's reading and
writing is lost.
https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from time import monotonic

from ..bounded import TIMES_TO_WRITE, Budget, bound_session
from ..command import set_up
from ..errors import (
    ConfigurationError,
    SecretsError,
    StoreChangedError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from ..failures import LATER_HINT, Failure, ResponseGuard, class_names, root_cause, see_policy, store_error
from ..flatmap import read_flat_map, save_flat_map
from ..settings import SecretsBackend, Settings, absent_path, read_private_file, read_variable
from ..snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from hvac import Client

    from ..changes import Change

DEFAULT_MOUNT_POINT = "secret"
TIMEOUT_SECONDS = (5, 10)  # to connect, to answer
REQUEST_RETRIES = 2
NO_SECRET = "0"
"""The check-and-set number that means: only if nothing is there."""


FAILURES = (
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
        see_policy("vault"),
    ),
    Failure(
        "NoMount",
        StoreDeniedError,
        "Vault has no secrets engine at {where}, or the token's policies do not mention it",
        ("List the engines: vault secrets list", "Then set VAULT_MOUNT_POINT", see_policy("vault")),
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
        "Upgrading",
        StoreUnavailableError,
        "Vault is upgrading the secrets engine to version 2: {where}",
        LATER_HINT,
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
        LATER_HINT,
    ),
    Failure(
        "InternalServerError BadGateway VaultDown PreconditionFailed",
        StoreUnavailableError,
        "Vault at {where} has an internal error",
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


class Login:
    """Where the token comes from: a fixed one, a file, or an AppRole.

    Args:
        environ: ``VAULT_TOKEN``, ``VAULT_ROLE_ID``, ``VAULT_SECRET_ID``, each also as ``..._FILE``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._renew_at = float("inf")
        self._lifetime_known = False

    def _variable(self, name: str) -> str | None:
        return read_variable(self._environ, name, read=read_private_file)

    def token(self, client: Client) -> str:
        """A token, read or newly issued."""
        token = self._variable("VAULT_TOKEN")
        if token:
            return token.strip()
        role_id = self._variable("VAULT_ROLE_ID")
        if role_id:
            return self._log_in(client, role_id.strip())
        path = os.path.join(self._environ.get("HOME") or os.path.expanduser("~"), ".vault-token")
        if os.path.exists(path):
            return read_private_file(path, "the Vault login").strip()
        raise StoreDeniedError(
            "Vault authentication failed: no token was found; tried VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID and "
            "~/.vault-token",
            hint=["Sign in: vault login", "Or set VAULT_TOKEN_FILE, or VAULT_ROLE_ID and VAULT_SECRET_ID_FILE"],
        )

    def renew(self, client: Client) -> None:
        """Renew the token when half of its life is over. A token that cannot be renewed is used until it ends."""
        from hvac.exceptions import VaultError
        from requests.exceptions import RequestException

        if not self._lifetime_known:
            self._lifetime_known = True
            try:
                with ResponseGuard(client.url, (VaultError, RequestException)):
                    found = client.auth.token.lookup_self()["data"]
                    ttl, renewable = found.get("ttl", 0), bool(found.get("renewable"))
            except VaultError:
                return
            self._plan_renewal(ttl, renewable=renewable)
        if monotonic() < self._renew_at:
            return
        try:
            issued = client.auth.token.renew_self()["auth"]
        except VaultError:
            self._renew_at = float("inf")
            return
        self._plan_renewal(issued["lease_duration"], renewable=issued["renewable"])

    @property
    def is_repeatable(self) -> bool:
        """Whether a new token can be had when this one has ended."""
        return not self._variable("VAULT_TOKEN") and bool(self._variable("VAULT_ROLE_ID"))

    def forget(self) -> None:
        """The token is not accepted any more."""
        self._lifetime_known = False
        self._renew_at = float("inf")

    def _log_in(self, client: Client, role_id: str) -> str:
        from hvac.exceptions import VaultError

        secret_id = self._variable("VAULT_SECRET_ID")
        try:
            issued = client.auth.approle.login(role_id, (secret_id or "").strip() or None, use_token=False)["auth"]
        except VaultError as error:
            if type(error).__name__ not in ("InvalidRequest", "Forbidden"):
                raise
            reason = ", ".join(map(str, error.errors or [])) or "refused"
            raise store_error(FAILURES, ["BadAppRole"], where=client.url, action="login", reason=reason) from None
        self._lifetime_known = True
        self._plan_renewal(issued["lease_duration"], renewable=issued["renewable"])
        return str(issued["client_token"])

    def _plan_renewal(self, seconds: float, *, renewable: bool) -> None:
        self._renew_at = monotonic() + seconds / 2 if renewable and seconds else float("inf")


class VaultBackend:
    """Secrets in a key-value engine of Vault.

    Args:
        client: The SDK's client, without a token yet.
        login: Gives the token.
        mount_point: The engine.
        path: The secret in it.
        budget: What an operation may take; the session of the client keeps to it.
    """

    live = False
    empty_revision = NO_SECRET

    def __init__(self, client: Client, login: Login, mount_point: str, path: str, budget: Budget | None = None) -> None:
        self._client = client
        self._budget = budget or Budget(f"Vault at {client.url}")
        self._login = login
        self._mount_point = mount_point
        self._path = path
        self._engine_version: int | None = None

    def load(self) -> Snapshot:
        """Read everything, in one request."""
        with self._budget.spent():
            self._renew_token()
            content, revision = self._read_whatever_version()
        return read_flat_map(content, revision, self.describe())

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Write ``changes`` as a new version, again if another writer was faster."""
        self._engine_version = None  # it may be another one by now, and a write would go wrong
        with self._budget.spent(TIMES_TO_WRITE):
            return save_flat_map(self, changes, expected_revision, progress)

    def check_access(self, names: Iterable[str]) -> str:
        """Ask Vault what the token may do with the secret."""
        with self._budget.spent():
            return self._check_access(names)

    def _check_access(self, names: Iterable[str]) -> str:  # noqa: ARG002 - they are all in one secret
        version = self._version()
        path = f"{self._mount_point}/{'data/' if version == 2 else ''}{self._path}"  # noqa: PLR2004
        answer = self._call("read of its own capabilities", self._client.sys.get_capabilities, paths=[path])
        with ResponseGuard(self._where()):
            allowed = set(answer.get("data", answer).get(path, []))
        if not allowed & {"root", "update"} or not allowed & {"root", "create"}:
            raise store_error(FAILURES, ["Forbidden"], where=self._where(), action="writing")
        return f"{self._client.url}, {self._mount_point}/{self._path} (key-value engine version {version})"

    def restore(self, names: Iterable[str]) -> None:  # noqa: ARG002
        """Undelete the newest version."""
        with self._budget.spent():
            self._undelete()

    def _undelete(self) -> None:
        metadata = self._call(
            "reading the versions",
            self._client.secrets.kv.v2.read_secret_metadata,
            path=self._path,
            mount_point=self._mount_point,
        )
        with ResponseGuard(self._where()):
            newest = metadata["data"]["current_version"]
        self._call(
            "undeleting",
            self._client.secrets.kv.v2.undelete_secret_versions,
            path=self._path,
            versions=[newest],
            mount_point=self._mount_point,
        )

    def seconds_of_token(self) -> float | None:
        """How long the token is still valid; ``None`` for one that never ends, or that a login replaces by itself.

        https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
        """
        with self._budget.spent():
            answer = self._call("looking the token up", self._client.auth.token.lookup_self)
        with ResponseGuard(self._client.url):
            data = answer["data"]
            ends = bool(data.get("expire_time")) and not self._login.is_repeatable
            return float(data.get("ttl") or 0) if ends else None

    def describe(self) -> str:
        """Address and path."""
        return f"HashiCorp Vault, {self._where()}"

    def _where(self) -> str:
        return f"{self._mount_point}/{self._path} at {self._client.url}"

    def _read_whatever_version(self) -> tuple[dict[str, Any], str]:
        """Read; where that fails, ask the engine's version again: it may have been upgraded since."""
        known = self._engine_version
        try:
            return self._read()
        except StoreUnavailableError:
            raise
        except SecretsError:
            if known is None:
                raise
            self._engine_version = None
            if self._version() == known:
                raise
            return self._read()

    def _read(self, version: int | None = None) -> tuple[dict[str, Any], str]:
        if self._version() == 1:
            answer = self._call(
                "reading", self._client.secrets.kv.v1.read_secret, path=self._path, mount_point=self._mount_point
            )
            with ResponseGuard(self._where()):
                return answer["data"], _digest(answer["data"])
        answer = self._call(
            "reading",
            self._client.secrets.kv.v2.read_secret_version,
            path=self._path,
            version=version,
            mount_point=self._mount_point,
            raise_on_deleted_version=False,
        )
        with ResponseGuard(self._where()):
            content, metadata = answer["data"]["data"], answer["data"]["metadata"]
            number, is_destroyed = str(int(metadata["version"])), bool(metadata.get("destroyed"))
        if content is None:
            raise store_error(FAILURES, ["DestroyedVersion" if is_destroyed else "DeletedVersion"], where=self._where())
        return content, number

    def read_if_any(self) -> tuple[dict[str, Any], str]:
        """What is there, and its version."""
        try:
            return self._read()
        except StoreEmptyError:
            return {}, NO_SECRET

    def write(self, content: dict[str, Any], replaces: str) -> str | None:
        """Write a new version in place of ``replaces``; returns its number, or ``None`` when another was faster."""
        if self._version() == 1:
            return self._write_unchecked(content)
        try:
            answer = self._call(
                "writing",
                self._client.secrets.kv.v2.create_or_update_secret,
                path=self._path,
                secret=content,
                cas=int(replaces),
                mount_point=self._mount_point,
            )
        except _CheckAndSetError:
            return None
        with ResponseGuard(self._where()):
            version = answer["data"]["version"]
        if self._read(version=version)[0] != content:
            raise StoreError(
                f"What was written to {self.describe()} reads back differently",
                hint="Restore the previous version: vault kv rollback -version=N -mount=MOUNT PATH",
            )
        return str(version)

    def _write_unchecked(self, content: dict[str, Any]) -> str:
        self._call(
            "writing",
            self._client.secrets.kv.v1.create_or_update_secret,
            path=self._path,
            secret=content,
            mount_point=self._mount_point,
        )
        if self._read()[0] != content:
            raise StoreChangedError(
                f"{self.describe()} was changed by another writer at the same moment",
                hint=[
                    "A key-value engine of version 1 cannot prevent that: check what is there now",
                    "Use version 2: vault kv enable-versioning MOUNT",
                ],
            )
        return _digest(content)

    def _version(self) -> int:
        """Version of the engine. A version 2 write to a version 1 engine would succeed and leave rubbish."""
        if self._engine_version is None:
            where = f"{self._mount_point}/ on {self._client.url}"
            try:
                answer = self._call(
                    "looking the engine up", self._client.read, f"sys/internal/ui/mounts/{self._mount_point}"
                )
            except StoreDeniedError as error:
                if str(error).startswith("Vault authentication failed"):
                    raise
                raise store_error(FAILURES, ["NoMount"], where=where) from None
            if answer is None:
                raise store_error(FAILURES, ["NoMount"], where=where)
            with ResponseGuard(where):
                kind = answer["data"].get("type")
                version = int((answer["data"].get("options") or {}).get("version", 1))
            if kind not in ("kv", "generic"):
                raise store_error(FAILURES, ["NotKeyValue"], where=where, reason=f"its type is {kind}")
            self._engine_version = version
        return self._engine_version

    def _renew_token(self) -> None:
        """Keep a token that was used before from ending. What goes wrong with that, the request itself will report."""
        from hvac.exceptions import VaultError
        from requests.exceptions import RequestException

        if not self._client.token:
            return
        with suppress(RequestException, SecretsError), ResponseGuard(self._client.url, (VaultError, RequestException)):
            self._login.renew(self._client)

    def _call(self, action: str, method: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
        """Make a request; with a token that has ended, once more with a fresh one."""
        try:
            return self._request(action, method, *arguments, **parameters)
        except _TokenEndedError:
            self._client.token = None
            self._login.forget()
        try:
            return self._request(action, method, *arguments, **parameters)
        except _TokenEndedError as error:
            raise StoreDeniedError(str(error), hint=error.hints) from None

    def _request(self, action: str, method: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
        from hvac.exceptions import VaultError
        from requests.exceptions import RequestException

        try:
            with ResponseGuard(self._client.url, (VaultError, RequestException)):
                if not self._client.token:
                    self._client.token = self._login.token(self._client)
                return method(*arguments, **parameters)
        except VaultError as error:
            raise self._refusal(error, action) from None
        except RequestException as error:
            where = self._client.url
            raise store_error(
                FAILURES, class_names(error), where=where, action=action, reason=root_cause(error)
            ) from None

    def _refusal(self, error: Any, action: str) -> SecretsError:
        codes = class_names(error)
        said = " ".join(map(str, error.errors or [])).lower()
        if codes[0] == "InvalidRequest" and "check-and-set" in said:
            return _CheckAndSetError("lost a race")
        if codes[0] == "Forbidden" and not self._token_works():
            refusal = store_error(FAILURES, ["BadToken"], where=self._client.url)
            return _TokenEndedError(str(refusal), hint=refusal.hints)
        if codes[0] == "InvalidPath" and _is_destroyed(error.json):
            codes.insert(0, "DestroyedVersion")
        if "sealed" in said:
            codes.insert(0, "Sealed")
        if "upgrading from non-versioned" in said:
            codes.insert(0, "Upgrading")
        where = self._client.url if "sealed" in said else self._where()
        return store_error(FAILURES, codes, where=where, action=action, reason=said)

    def _token_works(self) -> bool:
        """Whether the server knows the token: it says the same of a wrong one and of one that may not do something."""
        from hvac.exceptions import VaultError

        try:
            self._client.auth.token.lookup_self()
        except VaultError:
            return False
        return True


class _CheckAndSetError(SecretsError):
    """Another writer was faster."""


class _TokenEndedError(StoreDeniedError):
    """The token is not accepted, a fresh one may be."""


def open_backend(settings: Settings) -> VaultBackend:
    """The store for these settings."""
    from hvac import Client

    environ = settings.environ
    address = environ.get("VAULT_ADDR")
    if not address:
        raise ConfigurationError(
            "VAULT_ADDR not set", hint="Give the server's address: export VAULT_ADDR=https://vault.example.com:8200"
        )
    budget = Budget(f"Vault at {address.rstrip('/')}", settings.load_timeout)
    # An empty token keeps the SDK from looking for one by itself.
    client = Client(
        url=address.rstrip("/"),
        token="",
        namespace=environ.get("VAULT_NAMESPACE") or None,
        session=_session(environ.get("VAULT_CACERT") or environ.get("VAULT_CAPATH"), budget),
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
    )
    return VaultBackend(
        client,
        Login(environ),
        (environ.get("VAULT_MOUNT_POINT") or DEFAULT_MOUNT_POINT).strip("/"),
        (environ.get("VAULT_SECRET_PATH") or SecretsBackend.VAULT.default_place()).strip("/"),
        budget,
    )


def _session(ca: str | None, budget: Budget) -> Any:
    from requests import Session
    from urllib3.util import Retry

    session = Session()
    if ca:
        if not os.path.exists(ca):
            raise ConfigurationError(
                f"VAULT_CACERT names no file: {absent_path(ca)}", hint="Name the file with the CA's certificate"
            )
        session.verify = ca
    # 412: a performance standby that is not up to date yet. Writes are repeated only with check-and-set.
    retry = Retry(
        total=REQUEST_RETRIES,
        backoff_factor=0.2,
        status_forcelist=(412, 429, 502, 504),
        allowed_methods=("GET",),
        raise_on_status=False,
        raise_on_redirect=False,
        redirect=False,
        respect_retry_after_header=False,
    )
    bound_session(session, budget, max_retries=retry)
    session.hooks["response"].append(_refuse_redirect)
    return session


def _refuse_redirect(response: Any, *_: object, **__: object) -> None:
    """A token is never sent to an address that the server names."""
    if response.is_redirect:
        from urllib.parse import urlsplit

        asked, named = urlsplit(response.url), urlsplit(response.headers["Location"])
        where, elsewhere = f"{asked.scheme}://{asked.netloc}", f"{named.scheme}://{named.netloc}"
        raise store_error(FAILURES, ["Redirect"], where=where, reason=elsewhere)


def _is_destroyed(answer: Any) -> bool:
    try:
        return bool(answer["data"]["metadata"]["destroyed"])
    except (KeyError, TypeError):
        return False


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
