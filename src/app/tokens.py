"""Proofs that the application hands out. Each accepts the earlier values of its secret while they last."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt
from itsdangerous import BadSignature, URLSafeTimedSerializer

from src.utils.secrets.placeholders import is_published_example

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager

LIFETIME_SECONDS = 60 * 60
ISSUER = "cctv-face-detection"
AUDIENCE = "cctv-face-detection-api"
_ALGORITHM = "HS256"
_SESSION_SALT = "session"
_REQUIRED_CLAIMS = ["sub", "gen", "iss", "aud", "iat", "exp"]


@dataclass(frozen=True)
class Claim:
    """What a proof says. It holds only while the account still has this generation.

    Attributes:
        username: Whose account.
        generation: The account's generation when the proof was made.
    """

    username: str
    generation: str


def issue_token(manager: SecretsManager, claim: Claim) -> str:
    """A JWT (RFC 7519), valid for an hour, signed with the current ``JWT_SECRET_KEY``."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": claim.username,
        "gen": claim.generation,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }
    return jwt.encode(claims, manager.require_secret("JWT_SECRET_KEY"), algorithm=_ALGORITHM)


def read_token(manager: SecretsManager, token: str) -> Claim | None:
    """What a JWT says; ``None`` when it is not ours, or has expired."""
    for key in accepted_values(manager, "JWT_SECRET_KEY"):
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": _REQUIRED_CLAIMS},
            )
        except jwt.InvalidTokenError:
            continue
        return _claim(claims["sub"], claims["gen"])
    return None


def issue_session(manager: SecretsManager, claim: Claim) -> str:
    """The value of a session cookie, signed with the current ``SECRET_KEY``."""
    manager.require_secret("SECRET_KEY")
    return _session_serializer(manager).dumps([claim.username, claim.generation])


def read_session(manager: SecretsManager, cookie: str) -> Claim | None:
    """What a session cookie says; ``None`` when it is not ours, or has expired."""
    try:
        content = _session_serializer(manager).loads(cookie, max_age=LIFETIME_SECONDS)
    except BadSignature:
        return None
    # Earlier, a session was the name alone.
    return _claim(*content) if isinstance(content, list) and len(content) == 2 else None  # noqa: PLR2004


def _claim(username: object, generation: object) -> Claim | None:
    if isinstance(username, str) and isinstance(generation, str):
        return Claim(username, generation)
    return None


def accepted_values(manager: SecretsManager, name: str) -> list[str]:
    """The current value of a signing key, and earlier ones, but for those with which anybody can sign.

    Args:
        manager: The secrets.
        name: Which of them.
    """
    current, *earlier = manager.versions(name) or [""]
    return [current, *(value for value in earlier if not is_published_example(value))] if current else []


def _session_serializer(manager: SecretsManager) -> URLSafeTimedSerializer:
    # It signs with the last key of the list and accepts any.
    keys = list(reversed(accepted_values(manager, "SECRET_KEY")))
    return URLSafeTimedSerializer(keys, salt=_SESSION_SALT, signer_kwargs={"digest_method": hashlib.sha256})
