"""The application's shell: liveness, readiness, login, webhook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from src.utils.secrets import SecretsError, redaction

from .accounts import Accounts, DatabaseAccounts, MemoryAccounts, is_of_generation
from .admission import Admission, BusyError, GreedyError
from .bodies import BodyTooLargeError, BodyTooSlowError, DrainBodies, announced_length, read_body, wait
from .cache import Cache, open_redis
from .checks import Dependencies
from .database import Database, DatabaseError
from .examples import find_faults, warn_of_faults
from .limits import WINDOW_SECONDS, LoginLimiter
from .pages import page_routes
from .passwords import AT_ONCE, Passwords
from .peers import Peers
from .readiness import Readiness, is_ready
from .status import describe_deployment
from .tokens import LIFETIME_SECONDS, Claim, issue_session, issue_token, read_session, read_token
from .webhooks import RefusedError, Webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from starlette.requests import Request

    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog

    from .accounts import Account
    from .settings import AppSettings

SESSION_COOKIE = "session"
LARGEST_LOGIN = 128 * 1024
LARGEST_WEBHOOK = 1024 * 1024
LARGEST_WEBHOOK_WITHOUT_PLACE = 64 * 1024
LARGEST_FIELD = 1024
MOST_PARTS = 2 * LARGEST_FIELD + 100  # a name and a password may consist of any of JSON's own characters
LOGIN_QUEUE = 16
LOGINS_OF_A_SENDER = 4
WEBHOOK_PLACES = 32
LARGE_WEBHOOKS_OF_A_SENDER = 2
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0
_LATER = {"Retry-After": "2"}
_PRIVATE = {"Cache-Control": "no-store"}

logger = logging.getLogger("cctv")
request_logger = logging.getLogger("cctv.requests")


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
        passwords = Passwords()
        self.accounts: Accounts = (
            DatabaseAccounts(manager, Database(manager, settings), passwords)
            if settings.database_host
            else MemoryAccounts(manager, passwords)
        )
        self.cache = Cache(open_redis(manager, settings))
        self.limiter = LoginLimiter(self.cache)
        self.logins = Admission(AT_ONCE + LOGIN_QUEUE, LOGINS_OF_A_SENDER)
        self.large_webhooks = Admission(WEBHOOK_PLACES, LARGE_WEBHOOKS_OF_A_SENDER)
        self.webhooks = Webhooks(manager, self.cache, accepts_untimed=settings.webhooks_without_timestamp)
        self.peers = Peers(settings.trusted_proxies)
        self.readiness = Readiness(Dependencies(manager, catalog, settings, self.accounts, self.cache).look)
        self._background: set[asyncio.Task[None]] = set()

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/login", self.login, methods=["POST"]),
                Route("/logout", self.logout, methods=["POST"]),
                Route("/me", self.me),
                Route("/status", self.status),
                Route("/webhook", self.webhook, methods=["POST"]),
                *page_routes(self.catalog.application),
            ],
            lifespan=self._lifespan,
            middleware=[Middleware(DrainBodies)],
            exception_handlers={
                SecretsError: _unavailable,
                DatabaseError: _unavailable,
                BusyError: _busy,
                BodyTooLargeError: _too_large,
                BodyTooSlowError: _too_slow,
                ClientDisconnect: _hung_up,
            },
        )

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Alive: the process answers. Nothing else is looked at."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Whether requests can be served. What is wrong is for this machine and for those who are signed in."""
        checks = await self.readiness.checks()
        status = "ready" if is_ready(checks) else "not ready"
        answer: dict[str, object] = {"status": status}
        if self.peers.identify(request).is_local or await self._is_signed_in(request):
            answer["checks"] = checks
        return JSONResponse(answer, 200 if status == "ready" else 503, _PRIVATE | ({} if status == "ready" else _LATER))

    async def login(self, request: Request) -> Response:
        """Name and password in, a JWT and a session cookie out."""
        peer = self.peers.identify(request)
        self.logins.require_place(peer.network)
        fields = _login_fields(await read_body(request, LARGEST_LOGIN))
        if fields is None:
            return _problem(400, "Send JSON with username and password as text")
        username, password = fields
        # Who finds no place has not guessed: nothing is counted against the address, and nobody waits for nothing.
        self.logins.require_place(peer.network)
        if not await self.limiter.has_guesses_left(username, peer.network):
            return _too_many_guesses()
        await wait(request, await self.limiter.delay(username))
        with self.logins.place(peer.network):
            if not await self.limiter.admits(username, peer.network):
                return _too_many_guesses()
            generation = await self.accounts.verify(username, password)
        if generation is None:
            return _problem(401, "Name or password is wrong")
        await self.limiter.note_success(username, peer.network)
        await self.accounts.note_login(username, peer.address)
        claim = Claim(username, generation)
        response = JSONResponse(
            {
                "access_token": issue_token(self.manager, claim),
                "token_type": "bearer",
                "expires_in": LIFETIME_SECONDS,
            },
            headers=_PRIVATE,
        )
        response.set_cookie(
            SESSION_COOKIE,
            issue_session(self.manager, claim),
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="strict",
            secure=peer.is_secure,
        )
        return response

    async def logout(self, request: Request) -> Response:
        """End all sessions and tokens of the caller's account."""
        account = await self._account(request)
        if account is not None:
            await self.accounts.end_sessions(account.username)
        response = Response(status_code=204, headers=_PRIVATE) if account else _log_in_first()
        response.delete_cookie(
            SESSION_COOKIE, httponly=True, samesite="strict", secure=self.peers.identify(request).is_secure
        )
        return response

    async def me(self, request: Request) -> Response:
        """The account of the caller, known by JWT or session cookie."""
        account = await self._account(request)
        if account is None:
            return _log_in_first()
        return JSONResponse(
            {
                "username": account.username,
                "last_login_at": account.last_login_at.isoformat() if account.last_login_at else None,
                "last_login_address": account.last_login_address,
            },
            headers=_PRIVATE,
        )

    async def status(self, request: Request) -> Response:
        """What the page shows: the state of the deployment, for those who are signed in."""
        if await self._account(request) is None:
            return _log_in_first()
        checks = await self.readiness.checks()
        content = await asyncio.to_thread(describe_deployment, self.manager, self.catalog, checks)
        return JSONResponse(content, headers=_PRIVATE)

    async def webhook(self, request: Request) -> Response:
        """An event from a camera, accepted once when its signature is right."""
        try:
            await self.webhooks.accept(request.headers, lambda: self._read_webhook(request))
        except RefusedError as error:
            return _problem(error.status, str(error))
        return JSONResponse({"status": "accepted"}, status_code=202)

    async def reload(self) -> None:
        """Read the secrets again, and update the administrator's account. What SIGHUP does."""
        try:
            await asyncio.to_thread(self.manager.refresh)  # the store may take its time
        except SecretsError as error:
            logger.error("Secrets were not read again: %s", error)
            return
        self.readiness.forget()
        redaction.protect_values(self._known_values())
        logger.info("Secrets were read again")
        warn_of_faults(find_faults(self.manager, self.catalog))
        await self._prepare_accounts()
        self.readiness.forget()

    async def _read_webhook(self, request: Request) -> bytes:
        """Many large bodies at once would take much memory, so these need a place."""
        if announced_length(request.scope["headers"]) <= LARGEST_WEBHOOK_WITHOUT_PLACE:
            return await read_body(request, LARGEST_WEBHOOK_WITHOUT_PLACE)
        with self.large_webhooks.place(self.peers.identify(request).network):
            return await read_body(request, LARGEST_WEBHOOK)

    def _claim(self, request: Request) -> Claim | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return read_token(self.manager, token.strip())
        cookie = request.cookies.get(SESSION_COOKIE)
        return read_session(self.manager, cookie) if cookie else None

    async def _account(self, request: Request) -> Account | None:
        """The account of the caller, if its tokens of this generation still count."""
        claim = self._claim(request)
        account = await self.accounts.find(claim.username) if claim else None
        if claim is None or account is None or not is_of_generation(account, claim.generation):
            return None
        return account

    async def _is_signed_in(self, request: Request) -> bool:
        """Also while the database is away, when nobody is."""
        try:
            return await self._account(request) is not None
        except (DatabaseError, SecretsError):
            return False

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
            await self.accounts.close()
            if self.cache.client is not None:
                await self.cache.client.aclose()

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
        task.add_done_callback(self._end_of_work)

    def _end_of_work(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Work in the background ended", exc_info=error)

    def _known_values(self) -> list[str]:
        values = [self.manager.get_secret(name) for name in self.catalog.names if name != "ADMIN_USERNAME"]
        return [value for value in values if value]


def _login_fields(body: bytes) -> tuple[str, str] | None:
    """Name and password, if that is what the body holds. Bodies that take long to parse are not."""
    if any(body.count(character) > MOST_PARTS for character in b"[{,"):
        return None
    try:
        content = json.loads(body)
        username, password = content["username"], content["password"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (username, password) if _is_text(username) and _is_text(password) else None


def _is_text(field: object) -> bool:
    """What can be kept in PostgreSQL, and hashed: JSON's escapes can also make NUL and halves of characters."""
    if not isinstance(field, str) or not 0 < len(field) <= LARGEST_FIELD or "\0" in field:
        return False
    try:
        field.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status, headers=headers)


def _too_many_guesses() -> Response:
    return _problem(429, "Too many failed logins", {"Retry-After": str(WINDOW_SECONDS)})


def _log_in_first() -> Response:
    return _problem(401, "Log in first: POST /login", {"WWW-Authenticate": "Bearer"})


async def _unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001
    request_logger.error("%s", error)
    return _problem(503, "Not available now; GET /ready says why on the server itself", _LATER)


async def _busy(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if isinstance(error, GreedyError):
        return _problem(429, "Too many at once from your address; try again in a moment", _LATER)
    return _problem(503, "Too many at once; try again in a moment", _LATER)


async def _too_large(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _problem(413, str(error), {"Connection": "close"})


async def _too_slow(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _problem(408, "The body did not arrive in time", {"Connection": "close"})


async def _hung_up(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Nobody reads this."""
    return Response(status_code=400)
