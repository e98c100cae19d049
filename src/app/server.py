"""The application's shell: liveness, readiness, login, webhook."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import signal
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from src.utils.secrets import SecretsError, redaction
from src.utils.secrets.errors import StoreDeletedError, StoreDeniedError, StoreEmptyError

from .accounts import Accounts, DatabaseAccounts, DatabaseError, MemoryAccounts
from .examples import describe_faults, find_faults, warn_of_faults
from .limits import WINDOW_SECONDS, CacheError, LoginLimiter, check_redis, open_redis
from .tokens import LIFETIME_SECONDS, is_signed_webhook, issue_session, issue_token, read_session, read_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from starlette.requests import Request

    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog

    from .settings import AppSettings

SESSION_COOKIE = "session"
LARGEST_BODY = 1024 * 1024
LARGEST_FIELD = 1024
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0

logger = logging.getLogger("cctv")


class Shell:
    """What the requests share.

    Args:
        manager: The secrets.
        catalog: Says which of them are required.
        settings: Where the database and Redis are.
    """

    def __init__(self, manager: SecretsManager, catalog: Catalog, settings: AppSettings) -> None:
        self.manager = manager
        self.catalog = catalog
        self.settings = settings
        self.accounts: Accounts = (
            DatabaseAccounts(manager, settings) if settings.database_host else MemoryAccounts(manager)
        )
        self.redis = open_redis(manager, settings)
        self.limiter = LoginLimiter(self.redis)
        self._background: set[asyncio.Task[None]] = set()

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/login", self.login, methods=["POST"]),
                Route("/me", self.me),
                Route("/webhook", self.webhook, methods=["POST"]),
            ],
            lifespan=self._lifespan,
            exception_handlers={SecretsError: _unavailable, DatabaseError: _unavailable, _BodyTooLarge: _too_large},
        )

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Alive: the process answers. Nothing else is looked at."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Whether requests can be served: secrets, database, Redis. Names and states, never values.

        What is wrong with a secret that is in use is for this machine only: a stranger would know where to begin.
        """
        secrets = self._secrets_state()
        faults = find_faults(self.manager, self.catalog) if secrets["state"] == "ok" else {}
        if faults:
            secrets["warnings"] = describe_faults(faults) if _is_local(request) else f"{len(faults)}, in the log"
        checks = {
            "secrets": secrets,
            "database": await self._database_state(),
            "redis": await self._redis_state(),
        }
        is_ready = all(check["state"] in ("ok", "not configured") for check in checks.values())
        return JSONResponse(
            {"status": "ready" if is_ready else "not ready", "checks": checks}, status_code=200 if is_ready else 503
        )

    async def login(self, request: Request) -> Response:
        """Name and password in, a JWT and a session cookie out."""
        try:
            body = json.loads(await _read_body(request))
            username, password = body["username"], body["password"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _problem(400, "Send JSON with username and password")
        if not all(isinstance(field, str) and 0 < len(field) <= LARGEST_FIELD for field in (username, password)):
            return _problem(400, "Send username and password as text")
        address = request.client.host if request.client else "unknown"
        if await self.limiter.is_blocked(username, address):
            return _problem(429, "Too many failed logins", headers={"Retry-After": str(WINDOW_SECONDS)})
        if not await self.accounts.verify(username, password):
            await self.limiter.note_failure(username, address)
            return _problem(401, "Name or password is wrong")
        await self.accounts.note_login(username, address)
        response = JSONResponse(
            {
                "access_token": issue_token(self.manager, username),
                "token_type": "bearer",
                "expires_in": LIFETIME_SECONDS,
            },
            headers={"Cache-Control": "no-store"},
        )
        response.set_cookie(
            SESSION_COOKIE,
            issue_session(self.manager, username),
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    async def me(self, request: Request) -> Response:
        """The account of the caller, known by JWT or session cookie."""
        username = self._caller(request)
        account = await self.accounts.find(username) if username else None
        if account is None:
            return _problem(401, "Log in first: POST /login", headers={"WWW-Authenticate": "Bearer"})
        return JSONResponse(
            {
                "username": account.username,
                "last_login_at": account.last_login_at.isoformat() if account.last_login_at else None,
                "last_login_address": account.last_login_address,
            },
            headers={"Cache-Control": "no-store"},
        )

    async def webhook(self, request: Request) -> Response:
        """An event from a camera, accepted when its signature is right."""
        body = await _read_body(request)
        if not is_signed_webhook(self.manager, body, request.headers.get("X-Webhook-Signature", "")):
            return _problem(401, "X-Webhook-Signature is missing or wrong")
        return JSONResponse({"status": "accepted"}, status_code=202)

    async def reload(self) -> None:
        """Read the secrets again, and update the administrator's account. What SIGHUP does."""
        try:
            await asyncio.to_thread(self.manager.refresh)  # the store may take its time
        except SecretsError as error:
            logger.error("Secrets were not read again: %s", error)
            return
        redaction.protect_values(self._known_values())
        logger.info("Secrets were read again")
        warn_of_faults(find_faults(self.manager, self.catalog))
        await self._prepare_accounts()

    def _caller(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return read_token(self.manager, token.strip())
        cookie = request.cookies.get(SESSION_COOKIE)
        return read_session(self.manager, cookie) if cookie else None

    def _secrets_state(self) -> dict[str, object]:
        try:
            states = {name: self.manager.get_secret(name) is not None for name in self.catalog.names}
        except SecretsError as error:
            return {"state": "unreadable", "reason": str(error)}
        missing = [name for name in self.catalog.required_names if not states[name]]
        names = {name: "set" if is_set else "not set" for name, is_set in states.items()}
        if missing:
            return {"state": "missing", "reason": f"Not set: {', '.join(missing)}", "names": names}
        stale = self.manager.refresh_error
        if isinstance(stale, (StoreDeniedError, StoreDeletedError, StoreEmptyError)):
            # Unlike a store that is only away for a while, somebody has to do something about it.
            return {"state": "stale", "reason": str(stale), "names": names}
        return {"state": "ok", "names": names}

    async def _database_state(self) -> dict[str, object]:
        if self.settings.database_host is None:
            return {"state": "not configured"}
        try:
            await self.accounts.check()
        except (DatabaseError, SecretsError) as error:
            return {"state": "unavailable", "reason": str(error)}
        return {"state": "ok"}

    async def _redis_state(self) -> dict[str, object]:
        if self.redis is None:
            return {"state": "not configured"}
        try:
            await check_redis(self.redis)
        except (CacheError, SecretsError) as error:
            return {"state": "unavailable", "reason": str(error)}
        return {"state": "ok"}

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        redaction.protect_values(self._known_values())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._run(self.reload()))
        self._run(self._prepare_accounts())
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            if self.redis is not None:
                await self.redis.aclose()

    async def _prepare_accounts(self) -> None:
        """Until it works: the database may come up after the application."""
        delay, reason = FIRST_RETRY_SECONDS, ""
        while True:
            try:
                await self.accounts.prepare()
            except (DatabaseError, SecretsError) as error:
                if str(error) != reason:
                    reason = str(error)
                    logger.error("%s", reason)
            else:
                logger.info("The administrator's account is ready")
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _known_values(self) -> list[str]:
        values = [self.manager.get_secret(name) for name in self.catalog.names if name != "ADMIN_USERNAME"]
        return [value for value in values if value]


def _is_local(request: Request) -> bool:
    """Whether somebody on this machine asks, and no proxy for somebody else."""
    if any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip")):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


class _BodyTooLarge(Exception):  # noqa: N818
    pass


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _BodyTooLarge
    return body


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status, headers=headers)


async def _unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001
    logger.error("%s", error)
    return _problem(503, "Not available now; GET /ready says why")


async def _too_large(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _problem(413, "The body is larger than 1 MiB")
