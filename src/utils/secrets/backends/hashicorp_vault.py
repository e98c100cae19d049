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
from time import sleep

from ..bounded import TIMES_TO_WRITE, Budget, bound_session
from ..errors import (
    ConfigurationError,
    SecretsError,
    StoreChangedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from ..failures import CredentialsEndedError, ResponseGuard, UpgradingError, store_error
from ..flatmap import read_flat_map, save_flat_map
from ..settings import SecretsBackend, Settings, absent_path
from ..snapshot import Snapshot
from .hashicorp_vault_login import Login

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from hvac import Client

    from ..changes import Change

DEFAULT_MOUNT_POINT = "secret"
TIMEOUT_SECONDS = (5, 10)  # to connect, to answer
REQUEST_RETRIES = 2
UPGRADE_PAUSES = (0.5, 1, 2)
"""Seconds to wait for an engine that is being upgraded, which takes about two."""
LOOKING_UP = "looking the engine up"
NO_SECRET = "0"
"""The check-and-set number that means: only if nothing is there."""


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
        self._has_namespaces = False

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
            self._require_namespaces()
            return save_flat_map(self, changes, expected_revision, progress)

    def check_access(self, names: Iterable[str]) -> str:
        """Ask Vault what the token may do with the secret, as far as it may ask that."""
        with self._budget.spent():
            return self._check_access(names)

    def _check_access(self, names: Iterable[str]) -> str:  # noqa: ARG002 - they are all in one secret
        self._require_namespaces()
        version = self._version()
        path = f"{self._mount_point}/{'data/' if version == 2 else ''}{self._path}"  # noqa: PLR2004
        place = f"{self._client.url}, {self._mount_point}/{self._path} (key-value engine version {version})"
        try:
            answer = self._call("read of its own capabilities", self._client.sys.get_capabilities, paths=[path])
        except CredentialsEndedError:
            raise
        except StoreDeniedError:
            return place  # a token without the default policy may write all the same
        with ResponseGuard(self._where()):
            allowed = set(answer.get("data", answer).get(path, []))
        if not allowed & {"root", "update"} or not allowed & {"root", "create"}:
            raise _failure("Forbidden", self._where(), action="writing")
        return place

    def _require_namespaces(self) -> None:
        """A server without namespaces ignores the header that names one, so ask for one that nobody has."""
        adapter = self._client.adapter
        if not adapter.namespace or self._has_namespaces:
            return
        self._version()  # signs in: a wrong token is refused in the same way as a wrong namespace
        from uuid import uuid4

        from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

        elsewhere = type(adapter).from_adapter(adapter)
        elsewhere.namespace = uuid4().hex

        def ask() -> Any:
            elsewhere.token = self._client.token
            try:
                return elsewhere.get(f"/v1/sys/internal/ui/mounts/{self._mount_point}")
            except (Forbidden, InvalidPath, InvalidRequest):
                return None

        if self._call("looking for namespaces", ask) is not None:
            raise _failure("NoNamespaces", self._client.url)
        self._has_namespaces = True

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
        return f"{self._mount_point}/{self._path}{self._in_namespace()} at {self._client.url}"

    def _engine(self) -> str:
        return f"{self._mount_point}/{self._in_namespace()} on {self._client.url}"

    def _in_namespace(self) -> str:
        namespace = self._client.adapter.namespace
        return f" in namespace {namespace}" if namespace else ""

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
            raise _failure("DestroyedVersion" if is_destroyed else "DeletedVersion", self._where())
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
            where = self._engine()
            # Not `Client.read`, which takes whatever is not there for nothing.
            lookup = self._client.adapter.get
            answer = self._call(LOOKING_UP, lookup, f"/v1/sys/internal/ui/mounts/{self._mount_point}")
            with ResponseGuard(where):
                kind = answer["data"].get("type")
                version = int((answer["data"].get("options") or {}).get("version", 1))
            if kind not in ("kv", "generic"):
                raise _failure("NotKeyValue", where, reason=f"its type is {kind}")
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
        """Make a request, again where that can help: with a fresh token, or when the engine is ready."""
        pauses = list(UPGRADE_PAUSES)
        may_sign_in = True
        while True:
            try:
                return self._request(action, method, *arguments, **parameters)
            except UpgradingError:
                if not pauses:
                    raise
                sleep(pauses.pop(0))
            except CredentialsEndedError:
                if not may_sign_in:
                    raise
                may_sign_in = False
                self._client.token = ""
                self._login.forget()

    def _request(self, action: str, method: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
        from hvac.exceptions import VaultError

        try:
            # An error of requests is one of the system, too.
            with ResponseGuard(self._client.url, (VaultError, OSError)):
                self._sign_in()
                return method(*arguments, **parameters)
        except VaultError as error:
            raise self._refusal(error, action, parameters.get("secret") or {}) from None
        except OSError as error:
            from .hashicorp_vault_failures import unreachable

            raise unreachable(error, self._client.url, action) from None

    def _sign_in(self) -> None:
        from hvac.exceptions import VaultError

        if self._client.token:
            return
        try:
            self._client.token = self._login.token(self._client)
        except VaultError as error:
            from .hashicorp_vault_failures import refused

            method = "approle" if self._login.method == "approle" else "jwt"
            hidden = self._login.credentials()
            raise refused(error, self._client.url, "signing in", trying=method, hidden=hidden) from None

    def _refusal(self, error: Any, action: str, written: Mapping[str, Any]) -> SecretsError:
        from .hashicorp_vault_failures import is_answer_of_vault, refused, said_in

        kind = type(error).__name__
        if kind == "InvalidRequest" and "check-and-set" in said_in(error):
            return _CheckAndSetError("lost a race")
        if kind == "Forbidden" and self._is_token_refused(error):
            return _failure("BadAgent" if self._login.method == "agent" else "BadToken", self._client.url)
        hidden = [*map(str, written.values()), *self._login.credentials()]
        is_ours = is_answer_of_vault(error) and kind in ("Forbidden", "InvalidPath", "InvalidRequest")
        where = (self._engine() if action == LOOKING_UP else self._where()) if is_ours else self._client.url
        return refused(error, where, action, trying="mount" if action == LOOKING_UP else "", hidden=hidden)

    def _is_token_refused(self, error: Any) -> bool:
        """Whether the server does not know the token: it says nearly the same of one that may not do something."""
        from hvac.exceptions import Forbidden, VaultError

        from .hashicorp_vault_failures import is_answer_of_vault, names_a_bad_token

        if not is_answer_of_vault(error):
            return False
        try:
            with ResponseGuard(self._client.url, (VaultError, OSError)):
                self._client.auth.token.lookup_self()
        except Forbidden as refusal:
            return names_a_bad_token(refusal)
        except (VaultError, OSError, SecretsError):
            return False
        return False


class _CheckAndSetError(SecretsError):
    """Another writer was faster."""


def open_backend(settings: Settings) -> VaultBackend:
    """The store for these settings."""
    from hvac import Client

    environ = settings.environ
    address = _address(environ)
    is_local = _is_loopback(address)
    if address.startswith("http://") and not is_local:
        import logging

        logging.getLogger(__name__).warning(
            "VAULT_ADDR is http: the token and the secrets cross the network unencrypted, to %s", address
        )
    budget = Budget(f"Vault at {address}", settings.load_timeout)
    # An empty token keeps the SDK from looking for one by itself.
    client = Client(
        url=address,
        token="",
        namespace=environ.get("VAULT_NAMESPACE") or None,
        session=_session(environ, budget, is_local=is_local),
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
        adapter=_adapter(),
    )
    return VaultBackend(
        client,
        Login(environ),
        (environ.get("VAULT_MOUNT_POINT") or DEFAULT_MOUNT_POINT).strip("/"),
        (environ.get("VAULT_SECRET_PATH") or SecretsBackend.VAULT.default_place()).strip("/"),
        budget,
    )


def _address(environ: Mapping[str, str]) -> str:
    address = (environ.get("VAULT_ADDR") or "").strip().rstrip("/")
    if not address:
        raise ConfigurationError(
            "VAULT_ADDR not set", hint="Give the server's address: export VAULT_ADDR=https://vault.example.com:8200"
        )
    if "@" in address:
        raise ConfigurationError(
            "VAULT_ADDR holds a user name or password, which Vault does not take there",
            hint="Give scheme, host and port: export VAULT_ADDR=https://vault.example.com:8200",
        )
    if address.endswith("/v1"):
        right = address.removesuffix("/v1")
        raise ConfigurationError(
            "VAULT_ADDR ends in /v1, which each client adds by itself",
            hint=f"Leave it out: export VAULT_ADDR={right}",
        )
    return address


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        raise _failure("InvalidURL", "its form is wrong") from None
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _session(environ: Mapping[str, str], budget: Budget, *, is_local: bool) -> Any:
    from requests import Session
    from urllib3.util import Retry

    session = Session()
    ca = _file(environ, "VAULT_CACERT") or _file(environ, "VAULT_CAPATH")
    if is_local:
        # No proxy leads to this machine itself.
        session.trust_env = False
        ca = ca or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    if ca:
        session.verify = ca
    certificate, key = _file(environ, "VAULT_CLIENT_CERT"), _file(environ, "VAULT_CLIENT_KEY")
    if certificate:
        _refuse_encrypted(key or certificate)
        session.cert = (certificate, key or certificate)
    # Otherwise ~/.netrc would be read, and a password in it sent along.
    session.auth = lambda request: request
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


def _file(environ: Mapping[str, str], name: str) -> str | None:
    """The path in a setting.

    Raises:
        ConfigurationError: Nothing is there.
    """
    path = environ.get(name)
    if path and not os.path.exists(path):
        raise ConfigurationError(f"{name} names no file: {absent_path(path)}", hint="Correct the path, or unset it")
    return path or None


def _refuse_encrypted(path: str) -> None:
    """OpenSSL would ask for a passphrase, and wait for it.

    Raises:
        ConfigurationError: The key in the file is encrypted.
    """
    with open(path, "rb") as file:
        is_encrypted = b"ENCRYPTED" in file.read(64 * 1024)
    if is_encrypted:
        raise ConfigurationError(
            "The key in VAULT_CLIENT_KEY is encrypted with a passphrase, which nobody is asked for here",
            hint="Decrypt it into a file that only you can read: openssl pkey -in KEY -out PLAIN_KEY",
        )


def _refuse_redirect(response: Any, *_: object, **__: object) -> None:
    """A token is never sent to an address that the server names."""
    if response.is_redirect:
        from urllib.parse import urljoin, urlsplit

        with ResponseGuard(response.url):
            asked, named = urlsplit(response.url), urlsplit(urljoin(response.url, response.headers["Location"]))
            where, host = f"{asked.scheme}://{asked.netloc}", named.netloc.rpartition("@")[2]
        elsewhere = f"{named.scheme}://{host}" if host.isprintable() else "an address that cannot be shown"
        raise _failure("Redirect", where, name=elsewhere)


def _adapter() -> Any:
    """The SDK's own adapter, whose errors also have the status, and the words whatever their type is."""
    from hvac.adapters import JSONAdapter
    from hvac.exceptions import VaultError

    class Adapter(JSONAdapter):  # type: ignore[misc]
        def _raise_for_error(self, method: str, url: str, response: Any) -> None:
            try:
                answer = response.json()
            except (ValueError, RecursionError):
                answer = None
            words = answer.get("errors") if isinstance(answer, dict) else None
            errors = [str(word) for word in words] if isinstance(words, list) else None
            error = VaultError.from_status(
                response.status_code, errors=errors, method=method, url=url, text=response.text, json=answer
            )
            error.status = response.status_code
            raise error

    return Adapter


def _failure(code: str, where: str, **parts: str) -> SecretsError:
    """The error for something that this module finds out by itself; see :func:`store_error`."""
    from .hashicorp_vault_failures import FAILURES

    return store_error(FAILURES, [code], where=where, **parts)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
