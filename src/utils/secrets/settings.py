"""Environment variables, read once, as typed settings.

Every credential may be given as ``NAME`` or as ``NAME_FILE``, the path of a file that holds it. Both at once is an
error, an empty one counts as not set, and a file's value loses exactly one trailing newline: the convention of the
official container images.
"""

from __future__ import annotations

import os
from enum import Enum

from .errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import BinaryIO

PROJECT_DIRECTORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PRODUCTION = "production"
DEFAULT_CACHE_TTL = 300.0
DEFAULT_LOAD_TIMEOUT = 20.0
MAX_VALUE_BYTES = 1024 * 1024

# Settings that exclude each other: what the environment sets of a family hides the whole family in a dotenv file.
MASTER_KEY_FAMILY = ("SECRETS_MASTER_KEY", "SECRETS_MASTER_KEY_FILE", "SECRETS_MASTER_KEY_COMMAND")
CREDENTIALS = (
    *("SECRETS_MASTER_KEY", "VAULT_TOKEN", "VAULT_SECRET_ID", "VAULT_JWT", "BAO_TOKEN", "BAO_SECRET_ID", "BAO_JWT"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"),
)
"""The variables that open a store by themselves. Programs that need no store do not get them."""
FAMILIES = (
    MASTER_KEY_FAMILY,
    ("AWS_REGION", "AWS_DEFAULT_REGION"),
    ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    ("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE", "VAULT_AUTH_METHOD", "VAULT_AUTH_ROLE"),
)


def is_environment_name(name: str) -> bool:
    """Whether an environment may have this name."""
    import re

    return name != "example" and re.fullmatch("[a-z][a-z0-9-]{0,20}", name) is not None


class SecretsBackend(Enum):
    """The stores: ``backends/<name>.py`` opens each.

    A line has the store's name in ``SECRETS_BACKEND``, its other accepted names, its title, and the setting that says
    where in it the secrets are, with its default. The environment's name takes the place of the braces, but not of
    production.
    """

    FILE = ("file", ("encrypted_file",), "Encrypted File", "SECRETS_FILE_PATH=config/secrets{.environment}.enc")
    AWS = (
        *("aws_secrets_manager", ("aws",), "AWS Secrets Manager"),
        "SECRETS_AWS_SECRET_ID=cctv-face-detection{-environment}",
    )
    VAULT = ("hashicorp_vault", ("vault",), "HashiCorp Vault", "VAULT_SECRET_PATH=cctv{-environment}")
    AZURE = ("azure_keyvault", ("azure",), "Azure Key Vault")
    ENV = ("environment", ("env",), "Environment variables")

    aliases: tuple[str, ...]
    title: str
    _place: str

    def __new__(cls, name: str, aliases: tuple[str, ...], title: str, place: str = "") -> SecretsBackend:
        member = object.__new__(cls)
        member._value_ = name
        member.aliases = aliases
        member.title = title
        member._place = place
        return member

    @property
    def place_setting(self) -> str:
        """The setting that says where in the store the secrets are; empty when it has no default."""
        return self._place.partition("=")[0]

    def default_place(self, environment: str = PRODUCTION) -> str:
        """What :attr:`place_setting` is when nobody says; environments differ in it."""
        place = self._place.partition("=")[2]
        for braces, name in (("{.environment}", f".{environment}"), ("{-environment}", f"-{environment}")):
            place = place.replace(braces, "" if environment == PRODUCTION else name)
        return place

    @classmethod
    def from_name(cls, name: str) -> SecretsBackend:
        """The store called ``name`` (a name or another accepted name, in any case).

        Raises:
            ConfigurationError: There is no such store; the hint lists those there are.
        """
        wanted = name.strip().lower()
        for member in cls:
            if wanted == member.value or wanted in member.aliases:
                return member
        known = ", ".join(member.value for member in cls)
        raise ConfigurationError("SECRETS_BACKEND is not a known store", hint=f"Use one of: {known}")


class Settings:
    """What the environment says about where the secrets are.

    Args:
        environ: The variables to read; the process's own when left out.
        project_directory: What relative paths start from.
        backend: Overrides ``SECRETS_BACKEND``.
        names: The names of the secrets; those of the project's catalogue when left out.

    Raises:
        ConfigurationError: A setting has no usable value.
    """

    __slots__ = (
        "_names",
        "backend",
        "cache_ttl",
        "environ",
        "file_path",
        "load_timeout",
        "max_stale",
        "project_directory",
    )

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        project_directory: str = PROJECT_DIRECTORY,
        backend: SecretsBackend | None = None,
        names: Iterable[str] | None = None,
    ) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.project_directory = project_directory
        self._names = None if names is None else tuple(names)
        self.backend = backend or SecretsBackend.from_name(
            self.environ.get("SECRETS_BACKEND") or SecretsBackend.ENV.value
        )
        if self.backend is SecretsBackend.VAULT:
            # Not for the others: a copy does not follow the environment.
            self.environ = with_vault_names(self.environ)
        file_path = self.environ.get("SECRETS_FILE_PATH") or SecretsBackend.FILE.default_place()
        self.file_path = os.path.join(project_directory, os.path.expanduser(file_path))
        ttl = _seconds(self.environ, "SECRETS_CACHE_TTL")
        self.cache_ttl = DEFAULT_CACHE_TTL if ttl is None else ttl
        self.max_stale = _seconds(self.environ, "SECRETS_MAX_STALE")
        self.load_timeout = _seconds(self.environ, "SECRETS_LOAD_TIMEOUT") or DEFAULT_LOAD_TIMEOUT

    def known_names(self) -> tuple[str, ...]:
        """The names of the secrets, for a store that does not say which it holds.

        Raises:
            CatalogError: They are those of the catalogue, which cannot be read.
        """
        if self._names is not None:
            return self._names
        from .catalog import DEFAULT_PATH, load_catalog

        return tuple(load_catalog(os.path.join(self.project_directory, DEFAULT_PATH)).names)

    def __repr__(self) -> str:
        return f"<Settings backend={self.backend.value}>"


def read_variable(
    environ: Mapping[str, str], name: str, *, read: Callable[[str, str], str] | None = None
) -> str | None:
    """The value of ``name``, or of the file that ``name_FILE`` points to; ``None`` when neither is set.

    Args:
        environ: The variables.
        name: Which one.
        read: Reads the file, given its path and the setting that names it; :func:`read_value_file` when left out.

    Raises:
        ConfigurationError: Both are set, or the file cannot be read.
    """
    value = environ.get(name)
    path = environ.get(name + "_FILE")
    if not path:
        return value or None
    if value:
        raise ConfigurationError(
            f"{name} and {name}_FILE are both set", hint=f"Unset one of them, for example: unset {name}"
        )
    return (read or read_value_file)(path, name + "_FILE") or None


def read_private_file(path: str, setting: str) -> str:
    """The text of a file with a token or a passphrase, less one trailing newline.

    Raises:
        UntrustedPlaceError: Another user could have put it there.
        ConfigurationError: See :func:`read_value_file`.
    """
    from .trusted_place import require_trusted_place

    require_trusted_place(path, f"The file that {setting} names")
    return read_value_file(path, setting)


def read_value_file(path: str, setting: str, *, check: Callable[[int, str], None] | None = None) -> str:
    """The text of a file that holds one value, less one trailing newline.

    Args:
        path: The file.
        setting: The setting that named it, for the error.
        check: Raises when the file may not be read; takes its descriptor and path.

    Raises:
        ConfigurationError: It is missing, not a regular file, unreadable, over 1 MiB, or not UTF-8.
    """
    try:
        text = read_text_file(path, f"{setting} points to {path!r}, which", check=check)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise ConfigurationError(
            f"{setting} points to a file that cannot be read: {reason}: {absent_path(path)}",
            hint=f"Check that the file exists and that this user may read it; {setting} is a path, never the value",
        ) from None
    return text.removesuffix("\n")


def read_text_file(path: str, subject: str, *, check: Callable[[int, str], None] | None = None) -> str:
    """The text of a small file.

    Args:
        path: The file.
        subject: What it is called, for the error.
        check: Raises when the file may not be read; takes its descriptor and path.

    Raises:
        ConfigurationError: It is over 1 MiB, or not UTF-8.
        OSError: It cannot be opened or read, or is no regular file.
        ValueError: The path cannot be one.
    """
    with open_regular(path) as file:
        if check is not None:
            check(file.fileno(), path)
        data = file.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise ConfigurationError(f"{subject} is larger than 1 MiB", hint="Check that it is the right file")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{subject} is not UTF-8 text", hint="Check that it is the right file") from None


def open_regular(path: str) -> BinaryIO:
    """A file, opened to be read; something else in its place is an error, and a FIFO is not waited for.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    import errno
    import stat

    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


def absent_path(path: str) -> str:
    """``path`` for a message about something that may not be there.

    Whole, where it is there. Otherwise only the folder that is: what was given as a path may be a secret that somebody
    put into the wrong place.
    """
    if os.path.lexists(path):
        return path
    folder = os.path.dirname(os.path.abspath(path.replace("\0", "")))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return f"nothing of that name is in {folder}"


def file_signature(path: str) -> tuple[int, ...]:
    """Differs when the file does, as far as that shows from the outside; empty for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_descriptor(descriptor: int, limit: int) -> bytes:
    """At most ``limit`` bytes from an open file, to its end."""
    chunks = []
    while limit > 0 and (chunk := os.read(descriptor, limit)):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def with_vault_names(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, with those that OpenBao's tools read (``BAO_ADDR``) also under Vault's names, which outrank them.

    https://openbao.org/docs/commands/#environment-variables
    """
    ours = {f"VAULT_{name[4:]}": value for name, value in environ.items() if name.startswith("BAO_") and value}
    missing = {name: value for name, value in ours.items() if not any(member in environ for member in _family(name))}
    return {**environ, **missing} if missing else environ


def merge_dotenv(environ: Mapping[str, str], lines: Mapping[str, str | None]) -> dict[str, str]:
    """The environment, completed with the lines of a dotenv file.

    What the environment sets outranks the file, family by family: an exported ``SECRETS_MASTER_KEY`` hides a
    ``SECRETS_MASTER_KEY_FILE`` line, and so does a key in systemd's credentials directory. A file never runs a
    program: a ``SECRETS_MASTER_KEY_COMMAND`` line counts for nothing.

    Args:
        environ: The variables of the process.
        lines: Name and value of each line of the file (a dotenv file may name a variable without a value).
    """
    environ = with_vault_names(environ)
    merged = dict(environ)
    systemd_key = credentials_directory_key(environ)
    for name, value in lines.items():
        if not value or name == "SECRETS_MASTER_KEY_COMMAND":
            continue
        if name in MASTER_KEY_FAMILY and systemd_key:
            continue
        if any(environ.get(member) for member in _family(name)):
            continue
        merged[name] = value
    return merged


def credentials_directory_key(environ: Mapping[str, str]) -> str | None:
    """Path of the master key among systemd's credentials (``LoadCredential=secrets_master_key:...``), if it is there.

    https://systemd.io/CREDENTIALS/
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = os.path.join(directory, "secrets_master_key")
    return path if os.path.exists(path) else None


def _family(name: str) -> tuple[str, ...]:
    for family in FAMILIES:
        if name in family:
            return family
    base = name.removesuffix("_FILE")
    return (base, base + "_FILE")


def _seconds(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} is not a number of seconds", hint=f"Use 0 or more: {name}=300")
    return seconds
