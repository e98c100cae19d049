"""The page at ``/``: three static files and an icon, without a build step and without anything from elsewhere."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Content Security Policy Level 3. A form is never sent by the browser itself: a password would get into the address.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_routes(application: str) -> list[Route]:
    """A route for each file; all are read now.

    Args:
        application: The name that the page shows.
    """
    return [Route(path, _serve(_read(name, application), media_type)) for path, (name, media_type) in _FILES.items()]


def _read(name: str, application: str) -> bytes:
    content = (_FOLDER / name).read_bytes()
    if not name.endswith(".html"):
        return content
    return Template(content.decode()).substitute(application=escape(application)).encode()


def _serve(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:  # noqa: ARG001
        return Response(content, media_type=media_type, headers=_HEADERS)

    return serve
