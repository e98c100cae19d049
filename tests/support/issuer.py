"""An issuer of signed tokens, as Kubernetes and CI systems have one."""

from __future__ import annotations

import datetime
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.servers.serving import serving

if TYPE_CHECKING:
    from tests.servers.vault import Vault

Answer = tuple[int, dict[str, Any]]


class Issuer:
    """Signs tokens."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """What those need who trust it, in PEM."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    @property
    def public_keys(self) -> dict[str, Any]:
        """The key as a set of JSON web keys."""
        return {"keys": [json.loads(ECAlgorithm.to_jwk(self._key.public_key())) | {"alg": "ES256", "use": "sig"}]}

    def sign(self, seconds: int = 300, **claims: str) -> str:
        """Return a token that ends in some seconds."""
        now = datetime.datetime.now(datetime.UTC)
        times = {"iat": now, "exp": now + datetime.timedelta(seconds=seconds)}
        return jwt.encode({"sub": "app", "aud": "vault"} | times | claims, self._key, algorithm="ES256")


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


def answering(
    answer: Callable[[str, dict[str, str], bytes], Answer], context: ssl.SSLContext | None = None
) -> AbstractContextManager[int]:
    """Answer requests on a port of this machine: ``answer`` gets path, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = answer(self.path, dict(self.headers), body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

    return serving(Handler, context)


REQUEST_TOKEN = "of this job"


@contextmanager
def running_issuer(issuer: Issuer, subject: str) -> Iterator[str]:
    """Serve what servers ask an issuer for, and at ``/token?...&audience=X`` the token of a job, as GitHub does."""
    address = ""

    def answer(path: str, headers: dict[str, str], _body: bytes) -> Answer:
        url = urlsplit(path)
        if url.path == "/.well-known/openid-configuration":
            return 200, {"issuer": address, "jwks_uri": f"{address}/keys", "authorization_endpoint": address}
        if url.path == "/keys":
            return 200, issuer.public_keys
        if headers.get("Authorization") != f"bearer {REQUEST_TOKEN}":
            return 401, {"message": "unauthorized"}
        audience = parse_qs(url.query)["audience"][0]
        return 200, {"value": issuer.sign(iss=address, sub=subject, aud=audience)}

    with answering(answer) as port:
        address = f"http://127.0.0.1:{port}"
        yield address
