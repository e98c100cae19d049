"""Files: who may read them, what was left behind, and whether keys and secrets are apart."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import time
from typing import TYPE_CHECKING

from src.ops.containers.folder import describe_extras, find_extras, is_cloud_mode
from src.ops.deployment.audit import read_trail, trail_path
from src.ops.deployment.deployment import is_environment_file
from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.journal import Journal
from src.ops.lifecycle.rotate_master_key import old_key_files
from src.utils.secrets.backends.file import matches_checksum, read_encrypted_file
from src.utils.secrets.command import make, manage, program, set_up
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.masterkey import read_master_key_file
from src.utils.secrets.settings import SecretsBackend, Settings

from .check import Context, Finding, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SMALLEST_FREE_BYTES = 16 * 1024 * 1024
OLD_KEY_DAYS = 30
SECONDS_OF_A_DAY = 24 * 60 * 60
_IMPORT_NAMES = ("*.env", "*.env.*", "*.json", "*.txt", "*.yml", "*.yaml")
_COPY_ENDINGS = ("bak", "backup", "copy", "old", "orig", "save")
_LARGEST_LOOKED_AT = 256 * 1024


@check("settings", "No setting says which store to use.")
def settings_can_be_used(context: Context) -> Iterator[Finding]:
    if not context.deployment.is_set_up:
        yield Finding("no secrets are set up here", (set_up(),))
        return
    try:
        context.deployment.settings()
    except SecretsError as error:
        yield Finding(str(error), error.hints or (set_up(),))


@check("settings-mode", "The settings say where everything is, and how to sign in there.")
def settings_are_private(context: Context) -> Iterator[Finding]:
    path = context.deployment.settings_file
    if os.path.isfile(path):
        yield from _open_to_others(context, path, 0o600)


@check("settings-secret", "The settings file is copied and shown around; the key in it opens everything.")
def settings_hold_no_secret(context: Context) -> Iterator[Finding]:
    path = context.deployment.settings_file
    if _is_store(context, SecretsBackend.ENV):
        return
    secret = ("SECRETS_MASTER_KEY", "VAULT_TOKEN", "VAULT_SECRET_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET")
    for name, value in read_dotenv(path).items():
        if value and (name in secret or name in context.catalog.names):
            yield Finding(
                f"{context.shown(path)} holds {name} itself",
                (f"Put it into a file of its own (0400), and name {name}_FILE",),
            )


@check("dotenv-mode", "With the environment store, .env holds the secrets in plain text.")
def dotenv_is_private(context: Context) -> Iterator[Finding]:
    path = context.deployment.compose_file
    if any(read_dotenv(path).get(name) for name in context.catalog.names):
        yield from _open_to_others(context, path, 0o600)


@check(
    "secrets-file-mode", "Anyone who can read the file needs only the key; anyone who can write it can lock you out."
)
def secrets_file_is_private(context: Context) -> Iterator[Finding]:
    for suffix in ("", ".bak"):
        path = _secrets_file(context) + suffix
        if _is_store(context, SecretsBackend.FILE) and os.path.isfile(path):
            yield from _open_to_others(context, path, 0o400)


@check(
    "secrets-file-owner", "A file of another user cannot be read by the application, or can be replaced by that user."
)
def secrets_file_is_ours(context: Context) -> Iterator[Finding]:
    path = _secrets_file(context)
    if not _is_store(context, SecretsBackend.FILE) or not os.path.isfile(path):
        return
    owner = os.stat(path).st_uid
    project = os.stat(context.directory).st_uid
    if owner not in {os.geteuid(), project}:
        yield Finding(f"{context.shown(path)} belongs to user {owner}", (program("sudo", "chown", str(project), path),))


@check("secrets-file-checksum", "A file that is not what was last written there was damaged, or replaced.")
def secrets_file_is_what_was_written(context: Context) -> Iterator[Finding]:
    path = _secrets_file(context)
    if not _is_store(context, SecretsBackend.FILE):
        return
    token = read_encrypted_file(path)
    if token is not None and matches_checksum(path, token) is False:
        yield Finding(
            f"{context.shown(path)} differs from its checksum", (manage("status", purpose="Check that it still opens"),)
        )


@check("master-key-mode", "Anyone who can read the master key can read every secret.")
def master_key_is_private(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    if path and os.path.isfile(path):
        yield from _open_to_others(context, path, 0o400)


@check("master-key-folder", "In a folder that others may write to, the key can be replaced.")
def master_key_folder_is_private(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    folder = os.path.dirname(path) if path else ""
    if folder and os.path.isdir(folder) and os.stat(folder).st_mode & 0o022:
        command = program("chmod", "go-w", folder)
        yield Finding(f"{context.shown(folder)} can be written by others", (command,), _chmod(folder, 0o700))


@check("master-key-apart", "Anyone who copies a folder with both the key and the file has every secret.")
def master_key_is_apart(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    if not path or not os.path.lexists(path):
        return
    folder, file_folder = (
        os.path.realpath(os.path.dirname(path)),
        os.path.realpath(os.path.dirname(_secrets_file(context))),
    )
    project = os.path.realpath(context.directory)
    if folder in (file_folder, project) or folder.startswith(project + os.sep):
        target = context.deployment.default_key_file
        yield Finding(
            f"the master key {context.shown(path)} is in the project, or beside the file that it opens",
            (
                program("install", "-d", "-m", "0700", os.path.dirname(target), purpose="Make a folder for it"),
                program("cp", "-np", path, target, purpose="Copy it there"),
                f"Set SECRETS_MASTER_KEY_FILE to the copy in {context.shown(context.deployment.settings_file)}",
                manage("status", purpose="Check that the copy opens the file, before you remove this one"),
            ),
        )


@check("master-key-two", "While two keys are accepted, the old one still opens the file.")
def master_key_is_one(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    if path and os.path.isfile(path) and not os.stat(path).st_mode & 0o077:
        key = read_master_key_file(path, "The master key file")
        if len(key) > 1:
            yield Finding(
                f"{context.shown(path)} holds {len(key)} keys: a rotation was not finished",
                (manage("rotate-master-key"),),
            )


@check("old-master-keys", "An old key opens every old copy of the file.")
def old_master_keys_are_gone(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    for old in old_key_files(path) if path else []:
        if time.time() - os.stat(old).st_mtime > OLD_KEY_DAYS * SECONDS_OF_A_DAY:
            yield Finding(
                f"{context.shown(old)} is kept for more than {OLD_KEY_DAYS} days",
                (manage("rotate-master-key", "--forget"),),
            )


@check("lost-files", "A file that was put aside is forgotten easily, and so is the key that may open it.")
def lost_files_are_gone(context: Context) -> Iterator[Finding]:
    for path in sorted(glob.glob(glob.escape(_secrets_file(context)) + ".lost-*")):
        if not path.endswith(".sum"):
            yield Finding(
                f"{context.shown(path)} was put aside",
                ("Keep it with your backups, and the key that opens it elsewhere, until nothing can need it",),
            )


@check("journal", "A command that was stopped in the middle leaves some things new and others old.")
def nothing_is_half_done(context: Context) -> Iterator[Finding]:
    content = Journal(context.deployment, "rotate").read()
    if content:
        yield Finding(
            f"a rotation was interrupted: {', '.join(content['names'])}",
            (manage("rotate"),),
        )


@check("temporaries", "What a killed program leaves behind may hold secrets.")
def no_temporaries_are_left(context: Context) -> Iterator[Finding]:
    folders = {os.path.dirname(_secrets_file(context)), context.deployment.docker_directory, context.directory}
    for folder in sorted(folders):
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), ".*.tmp"))):
            process = os.path.basename(path).rsplit(".", 2)[-2].partition("-")[0]
            if process.isdecimal() and not os.path.exists(f"/proc/{process}"):
                yield Finding(
                    f"{context.shown(path)} was left behind",
                    (manage("doctor", "--only", "temporaries", "--fix"),),
                    _unlink(path),
                )


@check("docker-files-mode", "The Docker files hold the secrets in plain text.")
def docker_files_are_private(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))):
        if os.path.isfile(path) and path.endswith((".txt", "_previous.json")):
            yield from _open_to_others(context, path, 0o400)


@check("docker-folder-mode", "Others must not even see which secrets there are.")
def docker_folder_is_private(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    if os.path.isdir(folder):
        yield from _open_to_others(context, folder, 0o700)


@check("docker-files-extra", "A secret in plain text that nothing needs is read by others, and rotated by nobody.")
def docker_files_are_all_needed(context: Context) -> Iterator[Finding]:
    deployment, folder = context.deployment, context.deployment.docker_directory
    snapshot = None if context.offline else context.snapshot
    extras = find_extras(deployment, folder, snapshot, cloud=is_cloud_mode(deployment))
    for advice in describe_extras(deployment, folder, extras):
        yield Finding(advice.message, advice.hints)


@check(
    "plaintext",
    "Secrets in plain text outlive the reason that they were written for. Deleting a file wipes them neither from the "
    "disk nor from its snapshots and backups, so new values have to take their place.",
)
def no_plain_text_is_left(context: Context) -> Iterator[Finding]:
    names = [spec.name for spec in context.catalog.secrets if spec.default is None]
    for path in _readable_settings(context):
        lines = _lines_with_values(path, names)
        if not lines:
            continue
        held = [name for name in names if name in lines.values()]
        numbers = ", ".join(map(str, sorted(lines)))
        shown = context.shown(path)
        yield Finding(
            f"{shown} holds secrets in plain text: {', '.join(held)}. Remove line{'s' * (len(lines) > 1)} {numbers} "
            "of it, and rotate what was there",
            (manage("rotate", *held),),
        )


@check("disk-space", "Without room, no change can be written.")
def disk_has_room(context: Context) -> Iterator[Finding]:
    free = shutil.disk_usage(context.directory).free
    if free < SMALLEST_FREE_BYTES:
        yield Finding(
            f"{free // 1024} KiB are left on the disk of {context.directory}", (program("df", "-h", context.directory),)
        )


@check("audit-trail", "The trail says who changed what; a gap in it hides something.")
def trail_is_whole(context: Context) -> Iterator[Finding]:
    for fault in read_trail(context.deployment).faults:
        yield Finding(f"the audit trail: {fault}", (manage("status", "--audit"),))
    path = trail_path(context.deployment)
    if os.path.isfile(path):
        yield from _open_to_others(context, path, 0o600)


@check("packages", "Only the pinned versions are the ones that were tested.")
def packages_are_the_pinned_ones(context: Context) -> Iterator[Finding]:
    import importlib.metadata
    import re

    for name in ("requirements.txt", "requirements-secrets.txt"):
        path = os.path.join(context.directory, name)
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8") as file:
            pinned = re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)\s*(;[^\\\n]*)?", file.read(), re.MULTILINE)
        for package, version, marker in pinned:
            if marker.strip():
                continue
            try:
                installed = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                installed = "not installed"
            if installed != version:
                yield Finding(f"{package} is {installed}; {name} pins {version}", (make("install", "--always-make"),))


def _readable_settings(context: Context) -> list[str]:
    """The files of the project's folder in which secrets may stand, but for those that are meant to hold them."""
    found: set[str] = set()
    for form in (*_IMPORT_NAMES, ".env*"):
        found.update(glob.glob(os.path.join(glob.escape(context.directory), form)))
    meant = {context.deployment.settings_file}
    if _is_store(context, SecretsBackend.ENV):
        meant.add(context.deployment.compose_file)
    return [
        path
        for path in sorted(found - meant)
        if not path.endswith(".example") and os.path.isfile(path) and not _is_store_of_another(path)
    ]


def _is_store_of_another(path: str) -> bool:
    """Whether a dotenv file is where another environment keeps its secrets."""
    if not is_environment_file(path) or path.endswith(_COPY_ENDINGS):
        return False
    try:
        return SecretsBackend.from_name(read_dotenv(path).get("SECRETS_BACKEND") or "") is SecretsBackend.ENV
    except SecretsError:
        return False


def _lines_with_values(path: str, names: Sequence[str]) -> dict[int, str]:
    """Number of each line that gives a value to one of ``names``, and that name."""
    given = re.compile(rb"""["']?\b(%s)["']?[ \t]*[=:][ \t]*(?![#$\s])""" % "|".join(map(re.escape, names)).encode())
    with open(path, "rb") as file:
        lines = file.read(_LARGEST_LOOKED_AT).splitlines()
    found = {}
    for number, line in enumerate(lines, 1):
        match = given.search(line)
        if match and line[match.end() : match.end() + 2] not in (b'""', b"''", b""):
            found[number] = match[1].decode()
    return found


def _is_store(context: Context, backend: SecretsBackend) -> bool:
    return _settings(context).backend is backend


def _settings(context: Context) -> Settings:
    return context.deployment.settings()


def _secrets_file(context: Context) -> str:
    return context.deployment.settings(SecretsBackend.FILE).file_path


def _key_file(context: Context) -> str | None:
    if not _is_store(context, SecretsBackend.FILE):
        return None
    path = _settings(context).environ.get("SECRETS_MASTER_KEY_FILE")
    return os.path.abspath(os.path.expanduser(path)) if path else None


def _open_to_others(context: Context, path: str, mode: int) -> Iterator[Finding]:
    present = stat.S_IMODE(os.stat(path).st_mode)
    if present & 0o077:
        command = program("chmod", f"{mode:04o}", path)
        yield Finding(f"{context.shown(path)} is open to others (mode {present:04o})", (command,), _chmod(path, mode))


def _chmod(path: str, mode: int) -> Callable[[], None]:
    def fix() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(path, mode)

    return fix


def _unlink(path: str) -> Callable[[], None]:
    def fix() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    return fix
