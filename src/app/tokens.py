"""Proofs that the application hands out or checks. Each accepts the earlier values of its secret while they last."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING

import jwt
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, URLSafeTimedSerializer

from src.utils.secrets.placeholders import is_published_example

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager

LIFETIME_SECONDS = 60 * 60
_ALGORITHM = "HS256"
_SESSION_SALT = "session"
_SIGNATURE_PREFIX = "sha256="


def issue_token(manager: SecretsManager, username: str) -> str:
    """A JWT for ``username``, valid for an hour, signed with the current ``JWT_SECRET_KEY``."""
    now = int(time.time())
    claims = {"sub": username, "iat": now, "exp": now + LIFETIME_SECONDS}
    return jwt.encode(claims, manager.require_secret("JWT_SECRET_KEY"), algorithm=_ALGORITHM)


def read_token(manager: SecretsManager, token: str) -> str | None:
    """The user that a JWT was issued to; ``None`` when it is not ours, or has expired."""
    for key in _accepted(manager, "JWT_SECRET_KEY"):
        try:
            claims = jwt.decode(token, key, algorithms=[_ALGORITHM], options={"require": ["sub", "exp"]})
        except jwt.InvalidTokenError:
            continue
        return str(claims["sub"])
    return None


def issue_session(manager: SecretsManager, username: str) -> str:
    """The value of a session cookie for ``username``, signed with the current ``SECRET_KEY``."""
    manager.require_secret("SECRET_KEY")
    return _session_serializer(manager).dumps(username)


def read_session(manager: SecretsManager, cookie: str) -> str | None:
    """The user of a session cookie; ``None`` when it is not ours, or has expired."""
    try:
        return str(_session_serializer(manager).loads(cookie, max_age=LIFETIME_SECONDS))
    except BadSignature:
        return None


def is_signed_webhook(manager: SecretsManager, body: bytes, header: str) -> bool:
    """Whether ``X-Webhook-Signature: sha256=HEX`` is the HMAC-SHA-256 of ``body`` with ``WEBHOOK_SECRET``."""
    if not header.startswith(_SIGNATURE_PREFIX):
        return False
    given = header.removeprefix(_SIGNATURE_PREFIX).strip().lower().encode(errors="replace")
    return any(
        hmac.compare_digest(hmac.new(key.encode(), body, hashlib.sha256).hexdigest().encode(), given)
        for key in _accepted(manager, "WEBHOOK_SECRET")
    )


class ColumnCipher:
    """Encrypts one column of the database with a key derived from ``ENCRYPTION_KEY``.

    HKDF (RFC 5869) gives every column a key of its own, so that a value cannot be moved to another column.

    Args:
        manager: Gives the current value and the earlier ones that are kept.
        column: Name of the column, for the derivation.
    """

    def __init__(self, manager: SecretsManager, column: str) -> None:
        self._manager = manager
        self._info = f"column {column}".encode()

    def encrypt(self, text: str) -> str:
        """``text`` under the current key."""
        self._manager.require_secret("ENCRYPTION_KEY")
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str | None:
        """The text in ``token``; ``None`` when no key opens it."""
        try:
            return self._fernet().decrypt(token.encode()).decode()
        except InvalidToken:
            return None

    def _fernet(self) -> MultiFernet:
        return MultiFernet([self._derive(value) for value in self._manager.versions("ENCRYPTION_KEY")])

    def _derive(self, value: str) -> Fernet:
        from base64 import urlsafe_b64encode

        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=self._info).derive(value.encode())
        return Fernet(urlsafe_b64encode(key))


def _accepted(manager: SecretsManager, name: str) -> list[str]:
    """The current value of a signing key, and earlier ones, but for those with which anybody can sign."""
    current, *earlier = manager.versions(name) or [""]
    return [current, *(value for value in earlier if not is_published_example(value))] if current else []


def _session_serializer(manager: SecretsManager) -> URLSafeTimedSerializer:
    # It signs with the last key of the list and accepts any.
    keys = list(reversed(_accepted(manager, "SECRET_KEY")))
    return URLSafeTimedSerializer(keys, salt=_SESSION_SALT, signer_kwargs={"digest_method": hashlib.sha256})
