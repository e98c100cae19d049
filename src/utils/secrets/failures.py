"""What the stores' servers and SDKs report, and what this program says about it.

Each cloud store has its table, ``FAILURES``, in ``backends/<name>_failures.py``, which is imported only when something
fails; ``docs/errors.md`` is rendered from them. No SDK is imported for that: a failure is known by its error code, by
the name of its exception's class, and by what the service says in words. The last row of each table stands for all that
nobody has thought of, and shows those words.
"""

from __future__ import annotations

import re

from .command import manage
from .errors import ConfigurationError, SecretsError, StoreDeniedError, StoreError, StoreUnavailableError, several
from .redaction import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .command import Command, Hint

LONGEST_REASON = 200
LATER_HINT = "Try again in a minute"
ANY_CODE = "*"
"""The code of a table's last row, which holds for all others."""
_HIDDEN = "..."
_SHORTEST_HIDDEN = 4
_MOST_READ = 8 * 1024  # characters of an answer that are looked at
_MOST_SEARCHED = 256 * 1024  # and in which secrets are looked for
# Longer than any word: a token, a key, an id. Real words have no digits in them.
_LONG_RUN = re.compile(r"[\w+=-]{20,}")
_PAGE = re.compile(r"\s*<(!doctype|html|head|\?xml|!--|title|center|h1)\b", re.IGNORECASE)


class CredentialsEndedError(StoreDeniedError):
    """The credentials in use are no longer valid; their source may have others by now."""


class UpgradingError(StoreUnavailableError):
    """What holds the secrets is not ready for some seconds."""


class RefusalError(StoreError):
    """A refusal that may be the answer to a question; ``code`` says which."""

    def __init__(self, message: str, *, hint: Sequence[Hint], code: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Failure:
    """One kind of failure.

    Args:
        codes: The error codes, or names of exception classes, that mean it.
        error: The error to raise.
        message: Its text; ``{where}``, ``{action}``, ``{reason}``, ``{code}`` and ``{name}`` are filled in.
        hints: What to do about it: one step, or several in their order.
        says: A regular expression, if the codes mean it only where the service's words match. Such a row stands in
            front of the one for all other words.
    """

    __slots__ = ("codes", "error", "hints", "message", "says")

    def __init__(
        self, codes: str, error: type[SecretsError], message: str, hints: Hint | Sequence[Hint], *, says: str = ""
    ) -> None:
        self.codes = codes.split()
        self.error = error
        self.message = message
        self.hints = several(hints)
        self.says = says


def see_policy(store: str) -> Command:
    """The hint that shows what has to be allowed in a store."""
    return manage("policy", store, purpose="See what is needed")


def store_error(
    table: Iterable[Failure],
    codes: Iterable[str],
    *,
    where: str,
    action: str = "access",
    reason: str = "",
    said: str = "",
    code: str = "",
    name: str = "",
    hidden: Iterable[str] = (),
) -> SecretsError:
    """The error for a failure.

    Args:
        table: ``FAILURES`` of the store's backend.
        codes: What is known about the failure, the most telling first.
        where: What was accessed.
        action: What was tried.
        reason: What the server or the system said.
        said: More of that, which decides but is not shown; ``reason`` when left out.
        code: How the service calls it; the first of ``codes`` when left out.
        name: Which secret it is about.
        hidden: The values that it must not repeat, as far as they are known.

    Raises:
        LookupError: The table has no row for it. One with :data:`ANY_CODE` has.
    """
    codes = [*codes, ANY_CODE]
    code = code or codes[0]
    words = (said or reason)[:_MOST_READ]
    failure = next(
        failure
        for known in codes
        for failure in table
        if known in failure.codes and re.search(failure.says, words, re.IGNORECASE)
    )
    parts = {
        "{where}": where,
        "{action}": action,
        "{reason}": sentence(reason, hidden),
        "{code}": code,
        "{name}": name,
    }
    return failure.error(_fill(failure.message, parts), hint=failure.hints)


def sentence(text: str, hidden: Iterable[str] = ()) -> str:
    """What a server said, fit to be shown: one short line, without control characters and without secrets.

    Args:
        text: Its words.
        hidden: Values that must not be shown, besides those that were loaded. Where one is found, nothing of the text
            is.
    """
    if is_page(text):
        return "a web page"
    if _holds_secret(text[:_MOST_SEARCHED], hidden):
        return "its reason holds a secret, and is not shown"
    shown = "".join(character if character.isprintable() else " " for character in text[:_MOST_READ])
    shown = _LONG_RUN.sub(_mask, " ".join(shown.split()))
    if not shown:
        return "no reason given"
    return shown if len(shown) <= LONGEST_REASON else shown[:LONGEST_REASON].rsplit(" ", 1)[0] + " " + _HIDDEN


def _holds_secret(text: str, hidden: Iterable[str]) -> bool:
    """Whether a secret is in a text: as it is, as in JSON, or with other blanks between its words."""
    from json import dumps

    plain = " ".join(text.split())
    forms = {form for value in hidden for form in (value, dumps(value)[1:-1], " ".join(value.split()))}
    found = any(len(form) >= _SHORTEST_HIDDEN and (form in text or form in plain) for form in forms)
    return found or redact(text) != text or redact(plain) != plain


def _mask(run: re.Match[str]) -> str:
    return _HIDDEN if any(character.isdigit() for character in run[0]) else run[0]


def is_page(text: str) -> bool:
    """Whether a text is a web page: no store's service sends one, but proxies and sign-in pages do."""
    return bool(_PAGE.match(text))


def network_failures(server: str, *, address: str, ca: str, client_certificate: str = "") -> tuple[Failure, ...]:
    """The rows of a table for what goes wrong on the way to a server: proxies, TLS, names, connections.

    Args:
        server: What people call it.
        address: The setting with its address.
        ca: The setting that names the file with the CA's certificate.
        client_certificate: What to set where the server demands a certificate of its clients.
    """
    return (
        Failure(
            "ProxyConnectionError ProxyError",
            ConfigurationError,
            f"The proxy on the way to {server} demands a user name and a password",
            "Write them into HTTPS_PROXY, in front of the host: USER:PASSWORD@HOST:PORT",
            says="407",
        ),
        Failure(
            "ProxyConnectionError ProxyError InvalidProxyURL",
            StoreUnavailableError,
            f"The proxy on the way to {server} does not answer, or refuses: {{reason}}",
            (
                "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names it; it has the form http://HOST:PORT",
                "To go around it, add the server's host name to NO_PROXY",
            ),
        ),
        Failure(
            "SocksProxy",
            ConfigurationError,
            f"The proxy on the way to {server} is a SOCKS proxy, which is not supported",
            "Set HTTPS_PROXY to an http:// proxy, or add the server's host name to NO_PROXY",
        ),
        Failure(
            "SSLError",
            ConfigurationError,
            f"{server} does not speak TLS at this address: {{where}}",
            f"Check scheme and port in {address}: a server without TLS has http://",
            says="wrong.version.number|record.layer.failure|packet.length.too.long|http.request|unknown.protocol",
        ),
        Failure(
            "SSLError",
            ConfigurationError,
            f"{server} demands a certificate of its clients: {{where}}",
            client_certificate or f"Check {address}: the service itself demands none",
            says="certificate.required|bad.certificate|handshake.failure",
        ),
        Failure(
            "SSLError",
            ConfigurationError,
            "The certificate of this client and its key do not belong together, or are not in PEM",
            client_certificate or "Check the client certificate in the settings of the SDK",
            says=r"key.values.mismatch|\\[SSL\\] PEM lib",
        ),
        Failure(
            "SSLError",
            ConfigurationError,
            "The file with the certificates of the CAs cannot be read, or holds none",
            f"Check the file that {' or '.join(dict.fromkeys((ca, 'REQUESTS_CA_BUNDLE')))} names",
            says="no such file|is a directory|permission denied|no certificate or crl|\\[x509",
        ),
        Failure(
            "SSLError",
            StoreUnavailableError,
            f"The TLS certificate of {server} has expired, or is not valid yet: {{where}}: {{reason}}",
            ("Check the clock of this machine: date", "If that is right, the server needs a new certificate"),
            says="has expired|not yet valid",
        ),
        Failure(
            "SSLError",
            StoreUnavailableError,
            f"The TLS certificate of {server} does not match the host name: {{where}}: {{reason}}",
            f"Write the name that the certificate is for into {address}",
            says="mismatch|doesn't match",
        ),
        Failure(
            "SSLError",
            StoreUnavailableError,
            f"{server} ends the connection while TLS begins: {{where}}",
            (f"Check the port in {address}", "It may demand a certificate of its clients, or refuse this address"),
            says=r"\bEOF\b|reset by peer|broken pipe",
        ),
        Failure(
            "SSLError",
            StoreUnavailableError,
            f"The TLS certificate of {server} is not accepted: {{where}}: {{reason}}",
            f"Set {ca} to the file with the certificate of the CA that signed it",
        ),
        Failure(
            "page-407 http-407",
            ConfigurationError,
            f"A proxy on the way to {server} demands a user name and a password",
            "Write them into HTTP_PROXY and HTTPS_PROXY, in front of the host: USER:PASSWORD@HOST:PORT",
        ),
        Failure(
            "page-401 page-403 page-451",
            StoreUnavailableError,
            f"Something on the way to {server} refuses the request with a web page: {{where}}",
            ("Ask who runs the proxy or firewall in front of it", f"And check {address}"),
        ),
        Failure(
            "page",
            StoreUnavailableError,
            f"Something on the way to {server} answers with a web page ({{code}}): {{where}}",
            ("A proxy, a sign-in page or a load balancer may be in between: check HTTPS_PROXY", f"And check {address}"),
        ),
        Failure(
            "EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError HTTPClientError"
            " ConnectionError ConnectTimeout ReadTimeout Timeout ChunkedEncodingError RetryError"
            " ServiceRequestError ServiceRequestTimeoutError ServiceResponseError ServiceResponseTimeoutError"
            " IncompleteReadError",
            StoreUnavailableError,
            f"{server} cannot be reached: {{where}}: {{reason}}",
            f"Check the network, {address}, and that the server runs",
        ),
    )


def status_codes(status: int, text: str) -> list[str]:
    """The codes for an answer's HTTP status, the most telling first: ``page-403 page http-403 http-4xx``.

    Args:
        status: The HTTP status.
        text: The answer's body, or what the SDK took out of it.
    """
    pages = [f"page-{status}", "page"] if is_page(text) else []
    return [*pages, f"http-{status}", f"http-{status // 100}xx"]


class ResponseGuard:
    """Turns what goes wrong with an answer of another shape than the service's into one clear error.

    The SDKs let through whatever their parsers raise when a proxy, a sign-in page or another program answers.

    Args:
        where: What was asked.
        known: The SDK's own errors, which are let through.
        parsing: Those of its parser.
    """

    __slots__ = ("_known", "_parsing", "_where")

    def __init__(
        self,
        where: str,
        known: tuple[type[BaseException], ...] = (),
        parsing: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._where = where
        self._known = known
        self._parsing = parsing

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise in place of what a parser raised.

        Raises:
            StoreUnavailableError: The answer makes no sense.
        """
        if kind is None or issubclass(kind, (SecretsError, *self._known)):
            return
        if issubclass(kind, (AttributeError, LookupError, RecursionError, TypeError, ValueError, *self._parsing)):
            raise StoreUnavailableError(
                f"{self._where} sent an unexpected response ({kind.__name__})",
                hint="Check the address: a proxy, a sign-in page or another program may answer there",
            ) from None


def class_names(error: BaseException) -> list[str]:
    """The name of the error's class, then those of its bases."""
    return [kind.__name__ for kind in type(error).__mro__[:-3]] or [type(error).__name__]


def causes(error: BaseException) -> list[BaseException]:
    """The error, and all that it came from, as far as the SDKs and urllib3 keep that somewhere."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        queue += [current.__cause__, current.__context__]
        queue += [getattr(current, name, None) for name in ("reason", "inner_exception", "error")]
        queue += [current.args[-1]] if current.args else []
    return seen


def network_codes(error: BaseException) -> list[str]:
    """The codes of an error on the way to a server: what is at its bottom, if that tells more, then its classes."""
    found = causes(error)
    names = {kind.__name__ for cause in found for kind in type(cause).__mro__}
    if any(type(cause) is ValueError and "Invalid header" in str(cause) for cause in found):
        names.add("InvalidHeader")
    if any("SOCKS" in str(cause) for cause in found):
        names.add("SocksProxy")
    order = ("InvalidHeader", "SocksProxy", "InvalidProxyURL", "ProxyConnectionError", "ProxyError", "SSLError")
    telling = [name for name in order if name in names]
    return [*telling, *class_names(error)]


def root_cause(error: BaseException) -> str:
    """What the operating system or TLS said at the bottom of a network error: ``Connection refused``."""
    seen = causes(error)
    for found in reversed(seen):
        # urllib3 compares the names by itself, if the SDK turns that of TLS off.
        is_misnamed = type(found).__name__ == "CertificateError"
        text = "Hostname mismatch" if is_misnamed else getattr(found, "verify_message", None)
        text = text or (isinstance(found, OSError) and _system_text(found))
        if text:
            return str(text)[:LONGEST_REASON]
    return "no answer in time" if any("imeout" in type(found).__name__ for found in seen) else type(error).__name__


def unreadable_file(error: OSError, environ: Mapping[str, str]) -> str:
    """What is wrong with the file that an SDK could not read, and the variable that names it."""
    import os

    from .settings import absent_path

    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    setting = next((name for name, value in environ.items() if value == path and name.isupper()), "") if path else ""
    place = setting or (absent_path(path) if path else "")
    return ": ".join(filter(None, (error.strerror or type(error).__name__, place)))


def _system_text(error: OSError) -> str | None:
    # http.client raises this one without a number, when a proxy refuses to connect.
    tunnel = re.match(r"Tunnel connection failed: [\w -]*", str(error))
    return tunnel[0] if tunnel else error.strerror


def _fill(message: str, parts: Mapping[str, str]) -> str:
    return re.sub(r"\{\w+\}", lambda found: parts[found[0]], message)
