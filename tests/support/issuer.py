"""Who signs tokens in tests, as Kubernetes and CI systems do, and a Vault that trusts it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from tests.servers.vault import Vault


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """What those need who trust it, in PEM."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    def sign(self, seconds: int = 300) -> str:
        """Return a token of ``app`` for ``vault``, which ends in some seconds."""
        now = datetime.datetime.now(datetime.UTC)
        claims = {"sub": "app", "aud": "vault", "iat": now, "exp": now + datetime.timedelta(seconds=seconds)}
        return jwt.encode(claims, self._key, algorithm="ES256")


def trust(server: Vault, issuer: Issuer, mount: str = "jwt", ttl: str = "1h") -> None:
    """Let the server sign in whom the issuer vouches for."""
    client = server.client()
    client.sys.enable_auth_method("jwt", path=mount)
    client.auth.jwt.configure(jwt_validation_pubkeys=[issuer.public_key], path=mount)
    client.auth.jwt.create_role(
        name="cctv",
        role_type="jwt",
        allowed_redirect_uris=[],
        user_claim="sub",
        bound_audiences=["vault"],
        token_policies=["app"],
        token_ttl=ttl,
        path=mount,
    )
