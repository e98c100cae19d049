"""The encrypted file: one Fernet token that any three-line program can open.

Decrypted it is JSON: ``{"version": 1, "secrets": {NAME: value}, "metadata": {NAME: {"updated_at": ..., "previous":
[...]}}}``, or a flat ``{NAME: value}``. Beside it lie ``.bak``, the file before the last change, and ``.sum``, its
SHA-256 in the form of ``sha256sum``, which tells a damaged file from a wrong key: Fernet says the same of both.
https://github.com/fernet/spec/blob/master/Spec.md
"""

from __future__ import annotations

import json
import os
import stat

from ..command import manage, program, set_up
from ..errors import (
    DamagedStoreError,
    DecryptionError,
    StoreEmptyError,
    StoreError,
    UnsupportedVersionError,
)
from ..masterkey import load_master_key
from ..settings import Settings, absent_path, file_signature, read_descriptor
from ..snapshot import Snapshot, StoredMetadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from ..changes import Change
    from ..masterkey import MasterKey
    from ..snapshot import SecretMetadata

FORMAT_VERSION = 1
MAX_FILE_BYTES = 16 * 1024 * 1024
FILE_MODE = 0o400
_TOKEN_START = b"gAAAA"  # base64 of Fernet's version byte 0x80 and the high bytes of its time
NO_FILE = "no file"
_PARTS = ("", ".sum", ".bak")  # the file, and the endings of what lies beside it


class FileBackend:
    """Secrets in a file encrypted with the master key.

    Args:
        path: The file.
        master_key: Opens and writes it.
        expected_key_id: Name of the key that the file was last written with, if known
            (``SECRETS_MASTER_KEY_ID``); makes errors more precise.
        reread_key: Reads the key again, when the file does not open with the one at hand: it may have been rotated.
    """

    live = False
    empty_revision = NO_FILE

    def __init__(
        self,
        path: str,
        master_key: MasterKey,
        *,
        expected_key_id: str | None = None,
        reread_key: Callable[[], MasterKey] | None = None,
    ) -> None:
        self.path = path
        self._master_key = master_key
        self._reread_key = reread_key
        self._expected_key_id = expected_key_id
        self._loaded: tuple[tuple[int, ...], Snapshot] | None = None

    def load(self) -> Snapshot:
        """Read, decrypt and check the file. While it is the same file as the last time, that is looked at only."""
        signature = file_signature(self.path)
        if self._loaded is not None and self._loaded[0] == signature:
            return self._loaded[1]
        token = read_encrypted_file(self.path)
        if token is None:
            raise self._missing()
        snapshot = self._open(token)
        # Looked at before it was read: a file that was replaced in between differs the next time.
        self._loaded = (signature, snapshot)
        return snapshot

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Replace the file by one with ``changes`` in it, under a lock, after reading the new bytes back."""
        from ..changes import apply_changes, require_unchanged

        with self._locked():
            token = read_encrypted_file(self.path)
            require_unchanged(self.path, expected_revision, _revision(token))
            current = self._open(token) if token is not None else Snapshot({}, revision=NO_FILE)
            values, metadata = apply_changes(current, changes)
            content = _encode(values, metadata)
            if token is not None and content == _encode(current.values, current.metadata):
                return current
            fresh, written = self._encrypt(values, content)
            self._replace(fresh)
        for name in changes:
            if progress:
                progress(name)
        return written

    def start_over(self, changes: Mapping[str, Change], aside: str) -> Snapshot:
        """Put a file with ``changes`` alone in it in the place of what is there, whatever that is, and keep that.

        Args:
            changes: The new values.
            aside: What the old file is called from now on; what lies beside it keeps its ending. Not taken yet.

        Returns:
            What the new file holds.

        Raises:
            StoreError: It cannot be written. What was there is still there.
        """
        from contextlib import ExitStack

        from ..atomicfile import second_name
        from ..changes import apply_changes

        values, metadata = apply_changes(Snapshot({}, revision=NO_FILE), changes)
        with self._locked(), ExitStack() as undo:
            fresh, written = self._encrypt(values, _encode(values, metadata))
            for suffix in _PARTS:
                present, kept = self.path + suffix, aside + suffix
                if not os.path.lexists(present):
                    continue
                if suffix != ".bak" and is_regular(present):
                    second_name(present, kept)  # so that there is no moment without a file
                    undo.callback(os.unlink, kept)
                else:
                    os.rename(present, kept)
                    undo.callback(os.rename, kept, present)
            self._replace(fresh, keeps_previous=False)
            undo.pop_all()
        return written

    def take_back(self, aside: str, *, written: str) -> None:
        """Undo :meth:`start_over`, unless somebody has saved since: then both stay.

        Args:
            aside: What the old file is called now.
            written: Revision of the new one.

        Raises:
            StoreError: The file cannot be put back.
        """
        with self._locked():
            if _revision(read_encrypted_file(self.path)) != written:
                return
            for suffix in _PARTS:
                present, kept = self.path + suffix, aside + suffix
                if os.path.lexists(present) and not is_regular(kept):
                    os.unlink(present)  # a folder cannot take the place of a file
                if os.path.lexists(kept):
                    os.rename(kept, present)

    def reencrypt(self) -> None:
        """Encrypt the file again with the first of the master keys; any of them opens it. The content stays as it is.

        Raises:
            StoreError: It cannot be read or written. The file is as it was.
        """
        with self._locked():
            token = read_encrypted_file(self.path)
            if token is None:
                raise self._missing()
            before = self._open(token)
            fresh = self._master_key.fernet().rotate(token.strip())
            check = FileBackend(self.path, self._master_key.first())._open(fresh)  # noqa: SLF001
            if check.values != before.values:
                raise StoreError(f"{self.path} would read back differently", hint="Nothing was written")
            self._replace(fresh)

    def write_checksum(self) -> None:
        """Write the checksum of the file again, when the file opens.

        Raises:
            StoreError: It does not open, or its checksum cannot be written.
        """
        from ..atomicfile import replace_file

        with self._locked():
            token = read_encrypted_file(self.path)
            if token is None:
                raise self._missing()
            self._open(token)
            replace_file(f"{self.path}.sum", _sum_line(self.path, token), mode=0o600)

    def revert(self, *, written: str, before: str) -> None:
        """Take a save back, unless somebody has saved since.

        Args:
            written: Revision that the save wrote.
            before: Revision that it replaced; ``NO_FILE`` when there was none.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._locked():
            if _revision(read_encrypted_file(self.path)) != written:
                return
            if before == NO_FILE:
                os.unlink(self.path)
                os.unlink(f"{self.path}.sum")
                return
            token = read_encrypted_file(f"{self.path}.bak")
            if token is not None and _revision(token) == before:
                self._replace(token)

    def _encrypt(self, values: Mapping[str, str], content: bytes) -> tuple[bytes, Snapshot]:
        fresh = self._master_key.fernet().encrypt(content)
        if len(fresh) > MAX_FILE_BYTES:
            raise StoreError(
                f"The secrets would make {self.path} larger than 16 MiB",
                hint="Keep large data elsewhere and only its key here",
            )
        written = self._open(fresh)
        if written.values != values:
            raise StoreError(f"What would be written to {self.path} reads back differently", hint="Nothing was written")
        return fresh, written

    def _missing(self) -> StoreEmptyError:
        return StoreEmptyError(
            missing_text(self.path),
            hint=[set_up(purpose="Make one"), "Or set SECRETS_FILE_PATH to where it is"],
        )

    def _locked(self) -> AbstractContextManager[None]:
        from contextlib import contextmanager

        return contextmanager(self._lock)()

    def _lock(self) -> Iterator[None]:
        from ..atomicfile import remove_stale_temporaries, write_error
        from ..lockedfile import locked

        try:
            with locked(self.path):
                remove_stale_temporaries((self.path, f"{self.path}.sum"))
                yield
        except OSError as error:
            raise write_error(self.path, error) from None

    def _replace(self, token: bytes, *, keeps_previous: bool = True) -> None:
        """Put the file and its checksum in place, and keep the file that was there as ``.bak``."""
        from contextlib import ExitStack

        from ..atomicfile import require_regular, stage_file, sync_directory

        require_regular(f"{self.path}.bak")
        with ExitStack() as undo:
            file = stage_file(self.path, token, mode=FILE_MODE)
            undo.callback(file.rollback)
            checksum = stage_file(f"{self.path}.sum", _sum_line(self.path, token), mode=0o600)
            undo.callback(checksum.rollback)
            file.commit()
            checksum.commit()
            sync_directory(os.path.dirname(file.path))
            file.finish(backup_path=f"{self.path}.bak" if keeps_previous else None)
            undo.pop_all()
            checksum.finish()

    def describe(self) -> str:
        """The file's path."""
        return f"the encrypted file {self.path}"

    def _open(self, token: bytes) -> Snapshot:
        from cryptography.fernet import InvalidToken

        fault = _token_fault(token)
        if fault:
            raise self._damaged(fault)
        try:
            text = self._master_key.fernet().decrypt(token.strip())
        except InvalidToken:
            key = self._reread_key() if self._reread_key else self._master_key
            if key.ids == self._master_key.ids:
                raise self._decryption_error(token) from None
            self._master_key = key
            return self._open(token)
        return self._decode(text, _revision(token))

    def _decryption_error(self, token: bytes) -> StoreError:
        known_key = self._expected_key_id in self._master_key.ids
        if self._expected_key_id is not None and not known_key:
            return self._wrong_key(
                f"it was written with key {self._expected_key_id}, and the key from {self._master_key.source} is "
                f"{self._master_key.ids[0]}"
            )
        intact = matches_checksum(self.path, token)
        if intact:
            return self._wrong_key(f"the key from {self._master_key.source} is not the one it was written with")
        if known_key or intact is False:
            return self._damaged("it is not what was last written there")
        return self._wrong_key(f"the key from {self._master_key.source} is not its key, or the file is damaged")

    def _wrong_key(self, reason: str) -> DecryptionError:
        return DecryptionError(
            f"Failed to decrypt secrets file {self.path}: {reason}",
            hint=[
                manage(
                    "rescue", purpose="The file is untouched. See which key opens it, and what else can be restored"
                ),
                "Or point SECRETS_MASTER_KEY_FILE to the key that the file was written with",
            ],
        )

    def _damaged(self, reason: str) -> DamagedStoreError:
        return DamagedStoreError(
            f"Failed to decrypt secrets file {self.path}: the file is damaged: {reason}",
            hint=manage("rescue", purpose="The file is untouched. See what can be restored, and restore it"),
        )

    def _decode(self, text: bytes, revision: str) -> Snapshot:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise self._damaged("it opens, but holds no JSON") from None
        if not isinstance(content, dict):
            raise self._damaged("it opens, but holds no JSON object")
        if not isinstance(content.get("secrets"), dict) and "version" not in content:
            return Snapshot(self._checked_values(content), revision=revision)
        if content.get("version") != FORMAT_VERSION:
            raise UnsupportedVersionError(
                f"The secrets file {self.path} has format version {_shown_version(content)}; "
                f"this program reads version {FORMAT_VERSION}",
                hint="Use the version of this program that wrote it, or a newer one",
            )
        values = self._checked_values(content.get("secrets"))
        documents = content.get("metadata", {})
        if not isinstance(documents, dict):
            raise self._damaged("its metadata is not of the known form")
        return Snapshot(values, StoredMetadata(documents, self._damaged), revision)

    def _checked_values(self, values: object) -> dict[str, str]:
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise self._damaged("a secret in it is not text")
        return values


def is_regular(path: str) -> bool:
    """Whether ``path`` is a file, and no link to one."""
    return os.path.isfile(path) and not os.path.islink(path)


def missing_text(path: str) -> str:
    """What is said of a secrets file that is not there."""
    name = os.path.basename(path)
    if name.startswith("secrets.") and name.endswith(".enc"):  # as these tools call it: no misplaced secret
        return f"The secrets file {path} does not exist"
    return f"The secrets file does not exist: {absent_path(path)}"


def read_encrypted_file(path: str) -> bytes | None:
    """The bytes of the file, ``None`` when there is none.

    Raises:
        StoreError: It cannot be read, is not a regular file, or is larger than 16 MiB.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"The secrets file {path} cannot be read: {error.strerror}",
            hint=program("ls", "-l", os.path.abspath(path), purpose="Run this as the user who owns it"),
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedStoreError(
                f"The secrets file {path} is not a regular file",
                hint=program("ls", "-ld", os.path.abspath(path), purpose="Look at it"),
            )
        data = read_descriptor(descriptor, MAX_FILE_BYTES + 1) if status.st_size <= MAX_FILE_BYTES else None
    except OSError as error:
        raise StoreError(
            f"The secrets file {path} cannot be read: {error.strerror}", hint="Check the disk it is on"
        ) from None
    finally:
        os.close(descriptor)
    if data is None or len(data) > MAX_FILE_BYTES:
        raise DamagedStoreError(
            f"The secrets file {path} is larger than 16 MiB", hint="Check that SECRETS_FILE_PATH names the right file"
        )
    return data


def open_backend(settings: Settings) -> FileBackend:
    """The store for these settings."""
    return FileBackend(
        settings.file_path,
        load_master_key(settings.environ),
        expected_key_id=settings.environ.get("SECRETS_MASTER_KEY_ID") or None,
        reread_key=lambda: load_master_key(settings.environ),
    )


def _token_fault(token: bytes) -> str | None:
    if not token.strip():
        return "it is empty"
    if not token.startswith(_TOKEN_START):
        return "it is not an encrypted secrets file"
    return None


def _revision(token: bytes | None) -> str:
    """The end of the token: its HMAC, which no two tokens share."""
    return NO_FILE if token is None else token.strip()[-43:].decode(errors="replace")


def _sum_line(path: str, token: bytes) -> bytes:
    import hashlib  # slow to import, and only wanted here

    return f"# {len(token)} bytes\n{hashlib.sha256(token).hexdigest()}  {os.path.basename(path)}\n".encode()


def matches_checksum(path: str, token: bytes) -> bool | None:
    """Whether the file is the one last written, ``None`` when no checksum says."""
    try:
        with open(f"{path}.sum", "rb") as file:
            recorded = file.read(4096)
    except OSError:
        return None
    return recorded == _sum_line(path, token)


def _encode(values: Mapping[str, str], metadata: Mapping[str, SecretMetadata]) -> bytes:
    content = {
        "version": FORMAT_VERSION,
        "secrets": dict(values),
        "metadata": {name: entry.to_document() for name, entry in metadata.items()},
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _shown_version(content: Mapping[str, Any]) -> str:
    version = content.get("version")
    return str(version) if isinstance(version, int) else "of an unknown kind"
