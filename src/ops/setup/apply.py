"""Carrying a plan out: each step verified, all of them undone when one fails."""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import quote, write_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.settings_lines import file_settings, remote_settings, settings_heading
from src.utils.secrets.atomicfile import make_private_directory, remove_stale_temporaries, replace_file, write_error
from src.utils.secrets.backends.file import NO_FILE, FileBackend
from src.utils.secrets.errors import StoreError
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import SecretsBackend
from src.utils.secrets.snapshot import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey

    from .plan import Plan

KEY_FILE_MODE = 0o400


@dataclass(frozen=True)
class FileTarget:
    """Where an encrypted file goes, and with which key.

    Attributes:
        path: The file.
        master_key: The key.
        key_file: File that holds the key and that ``.env.production`` names; ``None``: the key comes from elsewhere.
        key_is_new: Whether ``key_file`` has to be written.
        forget_key_file: Whether a key file that ``.env.production`` names is not the one of this key.
        revision: What the file was when the plan was made.
        start_over: Whether a file that does not open is put aside for a new one.
    """

    path: str
    master_key: MasterKey
    key_file: str | None
    key_is_new: bool
    forget_key_file: bool
    revision: str
    start_over: bool = False


@dataclass(frozen=True)
class Credential:
    """What somebody typed to sign in to a store, to be kept in a file.

    Attributes:
        setting: The setting that it is for; ``..._FILE`` names the file.
        path: The file.
        value: The credential.
    """

    setting: str
    path: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class RemoteTarget:
    """A store on a server.

    Attributes:
        backend: Its kind.
        place: Where the secrets are written, for people.
        revision: What the store was when the plan was made.
        credentials: What was typed to sign in and is to be kept.
    """

    backend: SecretsBackend
    place: str
    revision: str
    credentials: Sequence[Credential] = ()


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        written_files: The files that are there now.
        kept: Where what is left of secrets that were given up was put aside.
        place: Where on a server the secrets are now.
    """

    written_files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    place: str = ""


def apply_to_file(deployment: Deployment, plan: Plan, target: FileTarget) -> Report:
    """Write the key file, the encrypted file and the settings, in this order, and read everything back.

    Raises:
        SecretsError: A step failed; what was there before is there again.
        KeyboardInterrupt: Ctrl-C came; what was there before is there again.
    """
    with deferred_interrupts() as check, ExitStack() as undo:
        written = []
        check()
        remove_stale_temporaries(filter(None, (target.path, target.key_file)))
        if target.key_is_new:
            assert target.key_file is not None
            write_key_file(target.key_file, target.master_key, undo)
            written.append(target.key_file)
        check()
        _make_directories(os.path.dirname(target.path), undo)
        kept = _put_aside(target, undo) if target.start_over else []
        if plan.written:
            _save(plan, target, undo)
        written.append(target.path)
        check()
        _write_settings(
            deployment.settings_file, _file_settings(deployment, target), settings_heading(deployment), undo
        )
        written.append(deployment.settings_file)
        check()
        _verify(deployment, plan, target)
        check()
        undo.pop_all()
    return Report(written, kept)


def apply_to_dotenv(deployment: Deployment, plan: Plan) -> Report:
    """Write the secrets of the environment store into the dotenv file, and read them back.

    Raises:
        SecretsError: It failed; the file is as it was.
        KeyboardInterrupt: Ctrl-C came; the file is as it was.
    """
    path = deployment.compose_file
    lines: dict[str, str | None] = {"SECRETS_BACKEND": SecretsBackend.ENV.value}
    lines |= {planned.spec.name: planned.value for planned in plan.written}
    heading = f"# Development secrets of {deployment.catalog.application}. Never commit.\n"
    with deferred_interrupts() as check, ExitStack() as undo:
        check()
        _write_settings(path, lines, heading, undo)
        check()
        _compare(plan, deployment.open_store(SecretsBackend.ENV).load().values, path)
        check()
        undo.pop_all()
    return Report([path])


def apply_to_remote(
    deployment: Deployment, plan: Plan, target: RemoteTarget, progress: Callable[[str], None] | None = None
) -> Report:
    """Write the settings, then the secrets to the server, and read everything back.

    The server comes last, since what is written there cannot be taken back everywhere; from then on an interrupt
    comes too late.

    Args:
        deployment: What is set up.
        plan: What to write.
        target: Where to.
        progress: Called with the name of each secret once it is stored.

    Raises:
        PartlyWrittenError: Some secrets are stored and others not; the files are as they were.
        SecretsError: It failed; everything is as it was.
        KeyboardInterrupt: Ctrl-C came before the server was written to; everything is as it was.
    """
    with deferred_interrupts() as check, ExitStack() as undo:
        check()
        for credential in target.credentials:
            _write_credential(credential, undo)
        _write_settings(
            deployment.settings_file, _remote_settings(deployment, target), settings_heading(deployment), undo
        )
        check()
        backend = deployment.open_store(target.backend)
        if plan.written:
            backend.save(plan.changes(), expected_revision=target.revision, progress=progress)
        _compare(plan, deployment.open_store(target.backend).load().values, target.place)
        undo.pop_all()
    files = [credential.path for credential in target.credentials]
    return Report([*files, deployment.settings_file], place=target.place)


def check_dotenv_values(plan: Plan) -> None:
    """Refuse, before anything is asked to be confirmed, what a dotenv file cannot hold.

    Raises:
        InvalidSecretError: A value would read back differently.
    """
    for planned in plan.written:
        assert planned.value is not None
        quote(planned.spec.name, planned.value)


def write_key_file(path: str, master_key: MasterKey, undo: ExitStack) -> None:
    """Write a master key to a file that must not be there yet.

    Raises:
        StoreError: It could not be written.
    """
    _make_directories(os.path.dirname(os.path.abspath(path)), undo)
    remove_stale_temporaries([path])
    replace_file(path, f"{master_key.text()}\n".encode(), mode=KEY_FILE_MODE, must_not_exist=True)
    undo.callback(_remove, path)


def _make_directories(path: str, undo: ExitStack) -> None:
    for directory in reversed(make_private_directory(path)):
        undo.callback(_remove_directory, directory)


def _put_aside(target: FileTarget, undo: ExitStack) -> list[str]:
    lost_file = f"{target.path}.lost-{utc_now().replace(':', '')}"
    kept = []
    for suffix in ("", ".sum", ".bak"):
        path, lost = target.path + suffix, lost_file + suffix
        if not os.path.exists(path):
            continue
        try:
            os.rename(path, lost)
        except OSError as error:
            raise write_error(lost, error) from None
        undo.callback(os.rename, lost, path)
        if suffix != ".sum":
            kept.append(lost)
    return kept


def _save(plan: Plan, target: FileTarget, undo: ExitStack) -> None:
    backend = FileBackend(target.path, target.master_key)
    before = NO_FILE if target.start_over else target.revision
    saved = backend.save(plan.changes(), expected_revision=before)
    undo.callback(backend.revert, written=saved.revision, before=before)


def _write_settings(path: str, lines: dict[str, str | None], heading: str, undo: ExitStack) -> None:
    before = _read_file(path)
    mode = os.stat(path).st_mode & 0o777 if before is not None else 0
    write_dotenv(path, lines, heading=heading)
    undo.callback(_restore, path, before, mode, _read_file(path))


def _file_settings(deployment: Deployment, target: FileTarget) -> dict[str, str | None]:
    lines = file_settings(deployment, target.path, target.master_key, target.key_file)
    if target.key_file is None and target.forget_key_file:
        lines["SECRETS_MASTER_KEY_FILE"] = None
    return lines


def _remote_settings(deployment: Deployment, target: RemoteTarget) -> dict[str, str | None]:
    lines = remote_settings(deployment, target.backend)
    return lines | {f"{credential.setting}_FILE": credential.path for credential in target.credentials}


def _write_credential(credential: Credential, undo: ExitStack) -> None:
    path = credential.path
    _make_directories(os.path.dirname(path), undo)
    before = _read_file(path)
    replace_file(path, f"{credential.value}\n".encode(), mode=KEY_FILE_MODE)
    undo.callback(_restore, path, before, KEY_FILE_MODE, _read_file(path))


def _verify(deployment: Deployment, plan: Plan, target: FileTarget) -> None:
    """Open the store once more, the way the application will."""
    settings = deployment.settings(SecretsBackend.FILE)
    if target.key_file is None:
        snapshot = FileBackend(settings.file_path, target.master_key).load()
    else:
        snapshot = open_backend(settings).load()
    _compare(plan, snapshot.values, target.path)


def _compare(plan: Plan, stored: Mapping[str, str], where: str) -> None:
    different = [name for name, value in plan.values().items() if stored.get(name) != value]
    if different:
        raise StoreError(
            f"{', '.join(different)} read back differently from {where}",
            hint="A variable of that name may be set in this shell: check with `env`, unset it, and run this again",
        )


def _restore(path: str, before: bytes | None, mode: int, written: bytes | None) -> None:
    """Bring a file back to what it was, unless somebody has changed it since it was written."""
    if _read_file(path) != written:
        return
    if before is None:
        _remove(path)
        return
    status = os.stat(path)
    replace_file(path, before, mode=mode, owner=(status.st_uid, status.st_gid))


def _read_file(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _remove_directory(path: str) -> None:
    # Not empty: somebody else has put something there meanwhile.
    with contextlib.suppress(OSError):
        os.rmdir(path)
