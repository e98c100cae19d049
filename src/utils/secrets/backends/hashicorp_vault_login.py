"""How to sign in to Vault: a token, an AppRole, a signed token of the platform, or an agent that does it."""

from __future__ import annotations

import os
from time import monotonic

from ..errors import ConfigurationError, StoreDeniedError
from ..failures import ResponseGuard
from ..settings import read_private_file, read_variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hvac import Client

AGAIN_SECONDS = 30
"""When a renewal is tried again that the server could not answer."""
METHODS = ("token", "approle", "jwt", "kubernetes", "agent")
# https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
KUBERNETES_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class Login:
    """Gives a token, and a new one when that has ended.

    Args:
        environ: The settings. ``VAULT_AUTH_METHOD`` says which of :data:`METHODS`; without it, what is set does:
            ``VAULT_TOKEN``, else ``VAULT_ROLE_ID`` and ``VAULT_SECRET_ID``, else ``VAULT_AUTH_ROLE`` with
            ``VAULT_JWT``, or in a pod its own token, else ``~/.vault-token``. Credentials are given also as
            ``..._FILE``. ``VAULT_AUTH_MOUNT`` is where the way is enabled, if not under its own name.

    Raises:
        ConfigurationError: There is no such way.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._renew_at = float("inf")
        self._lifetime_known = False
        self._used: list[str] = []
        named = environ.get("VAULT_AUTH_METHOD")
        if named and named not in METHODS:
            raise ConfigurationError("Unknown VAULT_AUTH_METHOD", hint=f"Use one of: {', '.join(METHODS)}")

    @property
    def method(self) -> str:
        """Which of :data:`METHODS`."""
        named = self._environ.get("VAULT_AUTH_METHOD")
        if named or self._has("VAULT_TOKEN"):
            return named or "token"
        if self._has("VAULT_ROLE_ID"):
            return "approle"
        if self._environ.get("VAULT_AUTH_ROLE"):
            return "jwt" if self._has("VAULT_JWT") else "kubernetes"
        return "token"

    @property
    def is_repeatable(self) -> bool:
        """Whether a new token can be had when this one has ended."""
        return self.method != "token"

    def token(self, client: Client) -> str:
        """A token, read or newly issued; empty for an agent, which adds its own.

        Raises:
            StoreDeniedError: There is none.
            VaultError: The server refuses.
        """
        method = self.method
        if method == "agent":
            return ""
        if method == "token":
            return self._given_token()
        mount = (self._environ.get("VAULT_AUTH_MOUNT") or method).strip("/").removeprefix("auth/")
        with ResponseGuard(client.url, (Exception,)):
            issued = self._log_in(client, method, mount)
        with ResponseGuard(client.url):
            self._lifetime_known = True
            self._plan_renewal(issued["auth"]["lease_duration"], renewable=issued["auth"]["renewable"])
            return self._noted(str(issued["auth"]["client_token"]))

    def credentials(self) -> list[str]:
        """What was used to sign in, and must not be repeated in a message."""
        return [*self._used]

    def renew(self, client: Client) -> None:
        """Renew the token when half of its life is over. A token that cannot be renewed is used until it ends."""
        from hvac.exceptions import Forbidden, InvalidRequest, VaultError
        from requests.exceptions import RequestException

        if self.method == "agent":
            return
        if not self._lifetime_known:
            try:
                with ResponseGuard(client.url, (VaultError, RequestException)):
                    found = client.auth.token.lookup_self()["data"]
                    ttl, renewable = found.get("ttl", 0), bool(found.get("renewable"))
            except Forbidden:
                self._lifetime_known = True  # it may not look itself up
                return
            except VaultError:
                return
            self._lifetime_known = True
            self._plan_renewal(ttl, renewable=renewable)
        if monotonic() < self._renew_at:
            return
        self._renew_at = monotonic() + AGAIN_SECONDS
        try:
            issued = client.auth.token.renew_self()["auth"]
        except (Forbidden, InvalidRequest):
            self._renew_at = float("inf")
            return
        except VaultError:
            return
        self._plan_renewal(issued["lease_duration"], renewable=issued["renewable"])

    def forget(self) -> None:
        """The token is not accepted any more."""
        self._lifetime_known = False
        self._renew_at = float("inf")

    def _has(self, name: str) -> bool:
        return bool(self._environ.get(name) or self._environ.get(f"{name}_FILE"))

    def _variable(self, name: str) -> str | None:
        return read_variable(self._environ, name, read=read_private_file)

    def _given_token(self) -> str:
        token = self._variable("VAULT_TOKEN")
        if token:
            return self._noted(token)
        path = os.path.join(self._environ.get("HOME") or os.path.expanduser("~"), ".vault-token")
        if os.path.exists(path):
            return self._noted(read_private_file(path, "the Vault login"))
        raise StoreDeniedError(
            "Vault authentication failed: no token was found; tried VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID, "
            "VAULT_AUTH_ROLE and ~/.vault-token",
            hint=[
                "Sign in: vault login",
                "Or set VAULT_TOKEN_FILE, or VAULT_ROLE_ID and VAULT_SECRET_ID_FILE",
                "Behind an agent that signs in by itself: export VAULT_AUTH_METHOD=agent",
            ],
        )

    def _log_in(self, client: Client, method: str, mount: str) -> Any:
        if method == "approle":
            secret_id = self._noted(self._variable("VAULT_SECRET_ID") or "") or None
            role_id = self._noted(self._required("VAULT_ROLE_ID", method))
            return client.auth.approle.login(role_id, secret_id, use_token=False, mount_point=mount)
        role = self._required("VAULT_AUTH_ROLE", method)
        if method == "kubernetes" and not self._has("VAULT_JWT"):
            if not os.path.exists(KUBERNETES_TOKEN):
                raise ConfigurationError(
                    "There is no token of a Kubernetes service account here, to sign in to Vault with",
                    hint="Name the file that holds one: VAULT_JWT_FILE",
                )
            jwt = self._noted(read_private_file(KUBERNETES_TOKEN, "VAULT_AUTH_METHOD=kubernetes"))
        else:
            jwt = self._noted(self._required("VAULT_JWT", method))
        # Both ways take the same request.
        return client.auth.jwt.jwt_login(role, jwt, use_token=False, path=mount)

    def _required(self, name: str, method: str) -> str:
        value = self._variable(name) or ""
        if not value.strip():
            raise ConfigurationError(f"To sign in to Vault by {method}, {name} has to be set", hint="See docs/vault.md")
        return value.strip()

    def _noted(self, credential: str) -> str:
        """A credential without blanks around it, which is not repeated from now on."""
        credential = credential.strip()
        self._used = [*self._used, credential][-8:]
        return credential

    def _plan_renewal(self, seconds: float, *, renewable: bool) -> None:
        self._renew_at = monotonic() + seconds / 2 if renewable and seconds else float("inf")
