"""Where the master key of the encrypted file comes from.

The first source that is set wins: ``SECRETS_MASTER_KEY``, ``SECRETS_MASTER_KEY_FILE`` or
``SECRETS_MASTER_KEY_COMMAND`` (two of them at once is an error), then systemd's credentials directory. A
``SECRETS_MASTER_KEY_FILE`` line of ``.env.production`` is already part of the settings when it comes here
(:func:`.settings.merge_dotenv` decides whether it counts).
"""

from __future__ import annotations

import os
import re

from .command import manage, program
from .errors import (
    ConfigurationError,
    MasterKeyError,
    MasterKeyGoneError,
    MasterKeyOwnerError,
    OpenFolderError,
    UntrustedPlaceError,
)
from .settings import MASTER_KEY_FAMILY, credentials_directory_key, read_value_file
from .trusted_place import require_trusted_place, trusted_users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.fernet import MultiFernet

    from .command import Command, Hint

KEY_LENGTH = 44
COMMAND_TIMEOUT_SECONDS = 60
_KEY_ID_LABEL = b"cctv-face-detection master key id\0"


class MasterKey:
    """One or more Fernet keys: the first encrypts, all of them decrypt.

    Args:
        keys: Each 44 characters of URL-safe base64, as ``Fernet.generate_key()`` makes them.
        source: Where they came from, for messages.
    """

    __slots__ = ("_keys", "source")

    def __init__(self, keys: Sequence[str], source: str) -> None:
        self._keys = tuple(keys)
        self.source = source

    def fernet(self) -> MultiFernet:
        """What encrypts with the first key and decrypts with any."""
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])

    @property
    def ids(self) -> list[str]:
        """A short name of each key, from which nobody can find the key: 8 hex digits of a SHA-256."""
        import hashlib

        return [hashlib.sha256(_KEY_ID_LABEL + key.encode()).hexdigest()[:8] for key in self._keys]

    def first(self) -> MasterKey:
        """The key that encrypts, alone."""
        return MasterKey(self._keys[:1], self.source)

    def older(self) -> MasterKey:
        """The keys that only decrypt."""
        return MasterKey(self._keys[1:], self.source)

    def with_older(self, older: MasterKey) -> MasterKey:
        """This key to encrypt with, and ``older`` to decrypt with, too."""
        return MasterKey(self._keys + older._keys, self.source)

    def __len__(self) -> int:
        return len(self._keys)

    def text(self) -> str:
        """The keys as ``SECRETS_MASTER_KEY`` takes them. Only for writing a key file, or showing it once."""
        return ",".join(self._keys)

    def __repr__(self) -> str:
        return f"<MasterKey from {self.source}>"

    def __reduce__(self) -> str:
        raise TypeError("a MasterKey is not pickled or copied")


def generate_master_key(source: str = "a new key") -> MasterKey:
    """A fresh key from the operating system's random numbers."""
    from cryptography.fernet import Fernet

    return MasterKey([Fernet.generate_key().decode()], source)


def parse_master_key(text: str, source: str) -> MasterKey:
    """The keys in ``text``, comma-separated.

    Raises:
        MasterKeyGoneError: One of them is not a Fernet key; says what is wrong with it, not what it is.
    """
    keys = text.split(",")
    for position, key in enumerate(keys, start=1):
        fault = _fault(key)
        if fault:
            which = f"key {position} of {len(keys)} " if len(keys) > 1 else ""
            raise MasterKeyGoneError(
                f"The master key from {source} is not a Fernet key: {which}{fault}",
                hint=f"It is {KEY_LENGTH} characters of A-Z a-z 0-9 - _ and ends with '='; copy it again, whole",
            )
    return MasterKey(keys, source)


_KINDS_WITHOUT_MODES = (
    *("exfat", "fuseblk", "fuse.exfat", "vfat", "msdos", "ntfs", "ntfs3", "cifs", "smb3"),
    *("9p", "drvfs", "vboxsf", "fuse.vmhgfs-fuse", "prl_fs"),
)


def looks_like_master_key(text: str) -> bool:
    """Whether ``text`` has the form of a master key, where something else is expected."""
    return _fault(text.strip()) is None


def load_master_key(environ: Mapping[str, str]) -> MasterKey:
    """The master key from the first source that is set.

    Raises:
        MasterKeyError: None is set, two are, or the one there is cannot be used.
    """
    given = [name for name in MASTER_KEY_FAMILY if environ.get(name)]
    if len(given) > 1:
        raise MasterKeyError(
            f"{' and '.join(given)} are both set", hint=f"Keep one of them, for example: unset {given[-1]}"
        )
    if not given:
        path = credentials_directory_key(environ)
        if path:
            return read_master_key_file(path, "$CREDENTIALS_DIRECTORY/secrets_master_key")
        raise MasterKeyGoneError(
            "SECRETS_MASTER_KEY not set",
            hint=[
                manage("rescue", purpose="Look for the key, and for what can be restored without it"),
                manage("key", "paste", purpose="If you have a copy of the key"),
            ],
        )
    name = given[0]
    if name == "SECRETS_MASTER_KEY_FILE":
        return read_master_key_file(os.path.expanduser(environ[name]), name)
    if name == "SECRETS_MASTER_KEY_COMMAND":
        return _run_key_command(environ[name])
    return parse_master_key(environ[name], name)


def read_master_key_file(path: str, setting: str) -> MasterKey:
    """The key in a file that nobody else can read.

    A file on a read-only mount (Swarm and Kubernetes mount secrets 0444 or 0644) is taken as it is.

    Raises:
        MasterKeyGoneError: The file is missing, or holds no key.
        MasterKeyError: It is open to other users, is where one could have put it, or cannot be read.
    """
    try:
        require_trusted_place(path, f"The master key file {path}")
        text = read_value_file(path, setting, check=_refuse_open_file)
    except UntrustedPlaceError as error:
        hints: Sequence[Hint] = _copy_elsewhere(path)
        if isinstance(error, OpenFolderError):
            hints = _close(path) if _is_without_modes(os.path.abspath(path)) else error.hints
        raise MasterKeyOwnerError(str(error), hint=hints) from None
    except ConfigurationError as error:
        is_closed = os.path.exists(path) and not os.access(path, os.R_OK)
        kind = MasterKeyError if is_closed else MasterKeyGoneError
        raise kind(str(error), hint=error.hints) from None
    return parse_master_key(text, path)


def _refuse_open_file(descriptor: int, path: str) -> None:
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return
    status = os.fstat(descriptor)
    if status.st_mode & 0o077:
        raise MasterKeyError(
            f"The master key file {path} can be read by other users (mode {status.st_mode & 0o777:04o})",
            hint=_close(path),
        )
    if status.st_uid not in trusted_users():
        raise MasterKeyOwnerError(
            f"The master key file {path} belongs to another user (uid {status.st_uid})",
            hint=program(
                "chown",
                str(os.geteuid()),
                os.path.abspath(path),
                purpose="Run this as that user, or take the file over",
            ),
        )


def _close(path: str) -> list[Command]:
    """How a key file is closed to others: on its own disk, or where that keeps no modes, on another one."""
    path = os.path.abspath(path)
    if not _is_without_modes(path):
        return [program("chmod", "0400", path, purpose="Close it")]
    return _copy_elsewhere(path, why="That disk keeps no modes; copy it to one that does")


def _copy_elsewhere(path: str, why: str = "Copy it to a folder of your own") -> list[Command]:
    """How a key gets to a safe place: what is given is used only when it opens the secrets."""
    from .atomicfile import numbered_names

    path = os.path.abspath(path)
    names = numbered_names(*os.path.splitext(os.path.expanduser(f"~/{os.path.basename(path)}")))
    copied = next(name for name in names if not os.path.lexists(name))
    copy = program("install", "-m", "400", path, copied, purpose=why)
    return [copy, manage("key", "paste", "--key-file", copied, purpose="Then give it")]


# A blank in the path of a mount is written as \\040: proc_pid_mounts(5).
_OCTAL = re.compile(r"\\([0-7]{3})")


def _is_without_modes(path: str) -> bool:
    """Whether a file is on a file system of a kind that knows no modes: exFAT, FAT, NTFS, SMB."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            fields = [line.split()[1:3] for line in file]
    except OSError:
        return False
    mounts = [(_OCTAL.sub(lambda found: chr(int(found[1], 8)), point), kind) for point, kind in fields]
    inside = [(point, kind) for point, kind in mounts if path.startswith(point.rstrip("/") + "/")]
    return bool(inside) and max(inside, key=lambda mount: len(mount[0]))[1] in _KINDS_WITHOUT_MODES


def _run_key_command(command: str) -> MasterKey:
    import shlex

    from .children import ChildError, run_child

    name = "SECRETS_MASTER_KEY_COMMAND"
    hint = "Run the command by itself; it must print the key, and nothing else, on standard output"
    try:
        done = run_child(shlex.split(command), seconds=COMMAND_TIMEOUT_SECONDS, may_ask=True)
    except (ValueError, IndexError):
        raise MasterKeyError(f"{name} is not a command line", hint="Check its quotes") from None
    except ChildError as error:
        raise MasterKeyError(f"{name} {error.fault}", hint=hint) from None
    if done.code != 0:
        raise MasterKeyError(f"{name} failed with exit code {done.code}", hint=hint)
    return parse_master_key(done.output.removesuffix("\n"), name)


def _fault(key: str) -> str | None:
    if not key:
        return "is empty"
    if key != key.strip():
        return "has spaces or a line break at an end"
    if key[0] in "\"'" or key[-1] in "\"'":
        return "has quotes around it"
    if any(character.isspace() for character in key):
        return "has a space or a line break in it"
    if len(key) != KEY_LENGTH:
        return f"has {len(key)} characters instead of {KEY_LENGTH}"
    import binascii
    from base64 import b64decode

    try:
        b64decode(key.translate(_FROM_URLSAFE), validate=True)
    except (binascii.Error, ValueError):
        return "has characters that such a key never has"
    return None


_FROM_URLSAFE = str.maketrans("-_", "+/")
