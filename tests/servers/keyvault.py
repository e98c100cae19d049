"""Azure Key Vault's secrets API, and the token endpoint of a managed identity, on this machine.

Written from the REST reference, for the real SDK over real TLS: challenges, versions, paging, soft deletion, disabled
secrets, permissions, and on demand the answers of a busy or strict vault (429, 403).
https://learn.microsoft.com/rest/api/keyvault/secrets/
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .certificates import Authority
from .faulty import whole_answer
from .serving import serving

PAGE_SIZE = 25
MAX_VALUE_BYTES = 25 * 1024
# https://learn.microsoft.com/azure/key-vault/secrets/about-secrets
MAX_TAGS, MAX_TAG_LENGTH, MAX_CONTENT_TYPE_LENGTH = 15, 512, 255
PERMISSIONS = frozenset({"get", "list", "set", "delete", "recover", "purge"})

Answer = tuple[int, dict[str, Any], dict[str, str]]
"""Status, body and headers."""


@dataclass
class Version:
    """One version of a secret."""

    version: str
    value: str
    tags: dict[str, str]
    attributes: dict[str, Any]
    content_type: str | None = None


class FailureError(Exception):
    """An error answer of the service."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.error = {"code": code, "message": message} | ({"innererror": {"code": inner}} if inner else {})


@dataclass
class KeyVault:
    """A running vault.

    Attributes:
        url: Its address.
        identity_url: Where a managed identity gets its token.
        ca: File with the certificate that signed the vault's.
        delay: Seconds added to each answer.
        managed: Names of the secrets that are the keys of certificates.
        permissions: What the identity may do, as in an access policy.
        demands_expiry: Whether an Azure Policy of the organization demands an expiry date of each new version.
        requests: Method and path of every request with a token.
        is_down: Whether connections are closed without an answer.
        fault: Returns the failure to answer a request with, or ``None``.
        interfere: Changes the bytes of an answer, also of the identity endpoint.
    """

    url: str = ""
    identity_url: str = ""
    ca: str = ""
    delay: float = 0
    is_down: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    fault: Callable[[str, str], FailureError | None] | None = None
    interfere: Callable[[bytes], bytes] | None = None
    secrets: dict[str, list[Version]] = field(default_factory=dict)
    deleted: dict[str, list[Version]] = field(default_factory=dict)
    managed: set[str] = field(default_factory=set)
    permissions: frozenset[str] = PERMISSIONS
    demands_expiry: bool = False
    tokens: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def environ(self) -> dict[str, str]:
        """Return the settings to use it, and the variables of an Azure machine with a managed identity."""
        return {
            "SECRETS_BACKEND": "azure_keyvault",
            "AZURE_KEYVAULT_URL": self.url,
            "AZURE_KEYVAULT_VERIFY_CHALLENGE": "false",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": self.identity_url,
            "IDENTITY_HEADER": "header",
            "REQUESTS_CA_BUNDLE": self.ca,
        }

    def clear(self) -> None:
        """Remove every secret and every fault."""
        self.secrets.clear()
        self.deleted.clear()
        self.managed.clear()
        self.requests.clear()
        self.fault, self.interfere, self.delay, self.is_down = None, None, 0, False
        self.permissions, self.demands_expiry = PERMISSIONS, False

    def put(
        self,
        name: str,
        value: str,
        *,
        enabled: bool = True,
        content_type: str | None = None,
        tags: dict[str, str] | None = None,
        **attributes: int,
    ) -> None:
        """Store a secret as another program does."""
        version = {"contentType": content_type, "tags": tags or {}, "attributes": {"enabled": enabled, **attributes}}
        with self.lock:
            self._set(name.lower(), {"value": value, **version})

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
        """Return the service's answer to one request."""
        parts = path.strip("/").split("/")
        self._check_permission(method, parts)
        with self.lock:
            if parts[0] == "secrets":
                return self._secrets(method, parts[1:], query, body)
            if parts[0] == "deletedsecrets":
                return self._deleted(method, parts[1:])
        raise FailureError(404, "NotFound", f"No such path: {path}")

    def _check_permission(self, method: str, parts: list[str]) -> None:
        """Refuse as a vault with access policies does, before it looks whether the secret exists."""
        if method == "GET":
            wanted = "get" if parts[1:] else "list"
        elif parts[0] == "deletedsecrets":
            wanted = "purge" if method == "DELETE" else "recover"
        else:
            wanted = "delete" if method == "DELETE" else "set"
        if wanted not in self.permissions:
            message = (
                "The user, group or application 'appid=1;oid=2;iss=https://sts.windows.net/3/' does not have secrets"
                f" {wanted} permission on key vault 'cctv;location=westeurope'. For help resolving this issue, please"
                " see https://go.microsoft.com/fwlink/?linkid=2125287"
            )
            raise FailureError(403, "Forbidden", message, "ForbiddenByPolicy")

    def _secrets(self, method: str, parts: list[str], query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
        if not parts:
            names = sorted(self.secrets)
            start = int(query.get("$skiptoken", ["0"])[0])
            page = [self._item(name, self.secrets[name][-1]) for name in names[start : start + PAGE_SIZE]]
            more = start + PAGE_SIZE < len(names)
            link = f"{self.url}/secrets?api-version=7.6&$skiptoken={start + PAGE_SIZE}" if more else None
            return 200, {"value": page, "nextLink": link}, {}
        name = parts[0].lower()
        if not re.fullmatch(r"[0-9a-z-]{1,127}", name):
            raise FailureError(400, "BadParameter", "The request URI contains an invalid name")
        if method == "PUT":
            return 200, self._bundle(name, self._set(name, body)), {}
        if name not in self.secrets:
            raise FailureError(
                404, "SecretNotFound", f"A secret with (name/id) {parts[0]} was not found in this key vault."
            )
        if method == "DELETE":
            self.deleted[name] = self.secrets.pop(name)
            return 200, self._deleted_bundle(name), {}
        version = self._find(name, parts[1] if len(parts) > 1 else "")
        if method == "PATCH":
            version.attributes.update(body.get("attributes", {}))
            version.tags = body.get("tags", version.tags)
            version.content_type = body.get("contentType", version.content_type)
        elif not version.attributes["enabled"]:
            raise FailureError(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return 200, self._bundle(name, version), {}

    def _deleted(self, method: str, parts: list[str]) -> Answer:
        if not parts:
            return 200, {"value": [self._deleted_bundle(name) for name in sorted(self.deleted)], "nextLink": None}, {}
        name = parts[0].lower()
        if name not in self.deleted:
            raise FailureError(404, "SecretNotFound", f"Deleted Secret not found: {parts[0]}")
        if method == "DELETE":
            del self.deleted[name]
            return 204, {}, {}
        if parts[1:] == ["recover"]:
            self.secrets[name] = self.deleted.pop(name)
            return 200, self._bundle(name, self.secrets[name][-1]), {}
        return 200, self._deleted_bundle(name), {}

    def _set(self, name: str, body: dict[str, Any]) -> Version:
        if name in self.deleted:
            message = f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused."
            raise FailureError(409, "Conflict", message, "ObjectIsDeletedButRecoverable")
        tags = body.get("tags") or {}
        content_type = body.get("contentType")
        if len(body["value"].encode()) > MAX_VALUE_BYTES or len(content_type or "") > MAX_CONTENT_TYPE_LENGTH:
            raise FailureError(400, "BadParameter", "The property value is too large")
        if len(tags) > MAX_TAGS or any(len(text) > MAX_TAG_LENGTH for pair in tags.items() for text in pair):
            # The service's words: https://github.com/hashicorp/terraform-provider-azurerm/issues/16780
            raise FailureError(400, "BadParameter", "Property has invalid value\r\n")
        now = int(time.time())
        attributes = {"enabled": True, "created": now, "updated": now, "recoveryLevel": "Recoverable+Purgeable"}
        attributes |= body.get("attributes", {})
        if self.demands_expiry and not attributes.get("exp"):
            raise FailureError(403, "Forbidden", "Disallowed by policy: secrets should have an expiration date")
        version = Version(uuid.uuid4().hex, body["value"], tags, attributes, content_type)
        self.secrets.setdefault(name, []).append(version)
        return version

    def _find(self, name: str, wanted: str) -> Version:
        versions = self.secrets[name]
        if not wanted:
            return versions[-1]
        for version in versions:
            if version.version == wanted:
                return version
        raise FailureError(
            404, "SecretNotFound", f"A secret with (name/id) {name}/{wanted} was not found in this key vault."
        )

    def _item(self, name: str, version: Version) -> dict[str, Any]:
        item = {"id": f"{self.url}/secrets/{name}", "attributes": version.attributes, "tags": version.tags}
        item |= {"contentType": version.content_type} if version.content_type else {}
        return item | ({"managed": True} if name in self.managed else {})

    def _bundle(self, name: str, version: Version) -> dict[str, Any]:
        return self._item(name, version) | {
            "id": f"{self.url}/secrets/{name}/{version.version}",
            "value": version.value,
        }

    def _deleted_bundle(self, name: str) -> dict[str, Any]:
        return self._item(name, self.deleted[name][-1]) | {
            "recoveryId": f"{self.url}/deletedsecrets/{name}",
            "deletedDate": int(time.time()),
            "scheduledPurgeDate": int(time.time()) + 7 * 86400,
        }


@contextmanager
def running_keyvault(directory: Path) -> Iterator[KeyVault]:
    """Start a key vault, and a managed identity that may use it."""
    authority = Authority(directory)
    certificate = authority.issue("vault.localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    vault = KeyVault(ca=str(authority.certificate))
    with serving(_vault_handler(vault), context) as port, serving(_identity_handler(vault)) as identity_port:
        vault.url = f"https://localhost:{port}"
        vault.identity_url = f"http://127.0.0.1:{identity_port}/metadata/identity/oauth2/token"
        yield vault


class _Handler(BaseHTTPRequestHandler):
    vault: KeyVault
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def reply(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        data = b"" if status == 204 else json.dumps(body).encode()
        right = whole_answer(status, {"Content-Type": "application/json", **headers}, data)
        sent = self.vault.interfere(right) if self.vault.interfere else right
        self.close_connection = self.close_connection or sent != right
        self.wfile.write(sent)


def _vault_handler(vault: KeyVault) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            time.sleep(vault.delay)
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in vault.tokens:
                challenge = (
                    'Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000"'
                )
                self.reply(
                    401,
                    {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer token."}},
                    {"WWW-Authenticate": f'{challenge}, resource="https://vault.azure.net"'},
                )
                return
            url = urlsplit(self.path)
            if vault.is_down:
                self.close_connection = True
                return
            vault.requests.append((self.command, url.path))
            try:
                fault = vault.fault(self.command, url.path) if vault.fault else None
                if fault:
                    raise fault
                if vault.is_down:
                    self.close_connection = True
                    return
                self.reply(*vault.answer(self.command, url.path, parse_qs(url.query), body))
            except FailureError as failure:
                self.reply(failure.status, {"error": failure.error}, failure.headers)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815

    Handler.vault = vault
    return Handler


def _identity_handler(vault: KeyVault) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def do_GET(self) -> None:
            if self.headers.get("X-IDENTITY-HEADER") != "header":
                self.reply(401, {"error": "unauthorized"}, {})
                return
            token = uuid.uuid4().hex
            vault.tokens.add(token)
            resource = parse_qs(urlsplit(self.path).query)["resource"][0]
            expires = str(int(time.time()) + 3600)
            self.reply(
                200,
                {"access_token": token, "expires_on": expires, "resource": resource, "token_type": "Bearer"},
                {},
            )

    Handler.vault = vault
    return Handler
