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
from src.ops.deployment.dotenv import read_dotenv, write_dotenv
from src.ops.deployment.journal import REENCRYPT, REENCRYPT_WORDS, Journal
from src.ops.lifecycle.rotate_master_key import old_key_files
from src.ops.setup.in_use import is_set_up
from src.ops.setup.state import inspect_deployment
from src.ops.store_kinds import open_store
from src.utils.secrets.atomicfile import is_left_behind, make_private_directory, numbered_names, replace_file
from src.utils.secrets.backends.file import matches_checksum, open_backend, read_encrypted_file
from src.utils.secrets.command import make, manage, program, set_up, write_docker_files
from src.utils.secrets.errors import SecretsError, StoreError
from src.utils.secrets.masterkey import read_master_key_file
from src.utils.secrets.settings import SecretsBackend, Settings
from src.utils.secrets.snapshot import SECONDS_OF_A_DAY, utc_after, utc_now
from src.utils.secrets.trusted_place import is_open_to_others

from .check import Context, Finding, Harm, check, fix_command, move_out_of_the_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from src.utils.secrets.command import Command

SMALLEST_FREE_BYTES = 16 * 1024 * 1024
OLD_KEY_DAYS = 30
MANY = 3
_IMPORT_NAMES = ("*.env", "*.env.*", "*.json", "*.txt", "*.yml", "*.yaml")
_COPY_ENDINGS = ("bak", "backup", "copy", "old", "orig", "save")
_LARGEST_LOOKED_AT = 256 * 1024
_CREDENTIALS_WITH_FILE = ("SECRETS_MASTER_KEY", "VAULT_TOKEN", "VAULT_SECRET_ID")
# Their SDKs know no NAME_FILE.
_KEYS_BELONG_TO_BOTO3 = "Put it, with AWS_ACCESS_KEY_ID, into ~/.aws/credentials (0600), which boto3 reads"
_SIGN_IN_WITHOUT_IT = "Sign in with a managed identity, or with a certificate: AZURE_CLIENT_CERTIFICATE_PATH"
_CREDENTIALS_OF_SDK = {"AWS_SECRET_ACCESS_KEY": _KEYS_BELONG_TO_BOTO3, "AZURE_CLIENT_SECRET": _SIGN_IN_WITHOUT_IT}


@check("settings", "Without usable settings, no command finds the secrets.", harm=Harm.BROKEN)
def settings_can_be_used(context: Context) -> Iterator[Finding]:
    deployment = context.deployment
    try:
        if not is_set_up(deployment):
            told = inspect_deployment(deployment).error
            yield Finding(str(told) if told else "no secrets are set up here", told.hints if told else (set_up(),))
            return
        deployment.settings()
        read_dotenv(deployment.compose_file)
    except SecretsError as error:
        hints = error.hints or (set_up(),)
        # In an environment beside production both are one file, and the settings come first.
        for path, again in ((deployment.compose_file, write_docker_files()), (deployment.settings_file, set_up())):
            away = move_out_of_the_way(path)
            hints = (*away, again) if away else hints
        yield Finding(str(error), hints)


@check("settings-mode", "The settings say where everything is, and how to sign in there.", harm=Harm.WEAK)
def settings_are_private(context: Context) -> Iterator[Finding]:
    path = context.deployment.settings_file
    if os.path.isfile(path):
        yield from _open_to_others(context, path, 0o600)


@check(
    "settings-secret",
    "The settings file is copied and shown around; the key in it opens everything.",
    harm=Harm.EXPOSED,
)
def settings_hold_no_secret(context: Context) -> Iterator[Finding]:
    path = context.deployment.settings_file
    if _is_store(context, SecretsBackend.ENV):
        return
    settings = read_dotenv(path)
    for name, value in settings.items():
        message = f"{context.shown(path)} holds {name} itself"
        if not value:
            continue
        if name in _CREDENTIALS_WITH_FILE and not settings.get(f"{name}_FILE"):
            yield Finding(message, (fix_command("settings-secret"),), _move_credential(context, name, value))
        elif name in _CREDENTIALS_WITH_FILE:
            yield Finding(message, (f"Remove the line {name}=... there: {name}_FILE names the file that holds it",))
        elif name in _CREDENTIALS_OF_SDK:
            yield Finding(message, (_CREDENTIALS_OF_SDK[name], f"Then remove the line {name}=... there"))
        elif name in context.catalog.names:
            hints = (_replace_command(context, name), f"Then remove the line {name}=... there")
            yield Finding(message, hints, about=frozenset([name]))


def _replace_command(context: Context, name: str) -> Command:
    """What gives a secret another value than the one that was found in the wrong place."""
    snapshot = context.known_snapshot
    is_set = snapshot is None or bool(snapshot.values.get(name))
    return manage("rotate" if is_set else "set", name)


@check(
    "dotenv-mode",
    "With the environment store, .env holds the secrets in plain text.",
    harm=Harm.EXPOSED,
    follows=("settings-mode",),
)
def dotenv_is_private(context: Context) -> Iterator[Finding]:
    path = context.deployment.compose_file
    if any(read_dotenv(path).get(name) for name in context.catalog.names):
        yield from _open_to_others(context, path, 0o600)


@check(
    "secrets-file-mode",
    "Anyone who can read the file needs only the key; anyone who can write it can lock you out.",
    harm=Harm.WEAK,
)
def secrets_file_is_private(context: Context) -> Iterator[Finding]:
    for suffix in ("", ".bak"):
        path = _secrets_file(context) + suffix
        if _is_store(context, SecretsBackend.FILE) and os.path.isfile(path):
            yield from _open_to_others(context, path, 0o400)


@check(
    "secrets-file-owner",
    "A file of another user cannot be read by the application, or can be replaced by that user.",
    harm=Harm.LOST,
)
def secrets_file_is_ours(context: Context) -> Iterator[Finding]:
    path = _secrets_file(context)
    if not _is_store(context, SecretsBackend.FILE) or not os.path.isfile(path):
        return
    owner = os.stat(path).st_uid
    project = os.stat(context.directory).st_uid
    # What root wrote, for once, is closed to the user whose project it is.
    if owner != project and (owner != os.geteuid() or owner == 0):
        as_root = () if os.geteuid() == 0 else ("sudo",)
        yield Finding(
            f"{context.shown(path)} belongs to user {owner}", (program(*as_root, "chown", str(project), path),)
        )


@check(
    "secrets-file-checksum",
    "A file that is not what was last written there was replaced; the next damage would go unnoticed.",
    harm=Harm.BROKEN,
    needs="store",
)
def secrets_file_is_what_was_written(context: Context) -> Iterator[Finding]:
    path = _secrets_file(context)
    if not _is_store(context, SecretsBackend.FILE):
        return
    checksum = f"{path}.sum"
    if os.path.isdir(checksum):
        yield Finding(f"{context.shown(checksum)} is a folder, not a file", move_out_of_the_way(checksum))
        return
    token = read_encrypted_file(path)
    if token is not None and matches_checksum(path, token) is False:
        yield Finding(
            f"{context.shown(path)} opens with its key and differs from its checksum: a copy was restored, or only "
            "the checksum is wrong",
            (
                manage("status", purpose="Check that these are the secrets that you expect"),
                fix_command("secrets-file-checksum"),
            ),
            lambda: open_backend(_settings(context)).write_checksum(),
        )


@check("master-key-mode", "Anyone who can read the master key can read every secret.", harm=Harm.EXPOSED)
def master_key_is_private(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    if path and os.path.isfile(path) and not os.statvfs(path).f_flag & os.ST_RDONLY:
        yield from _open_to_others(context, path, 0o400)


@check("master-key-folder", "In a folder that others may write to, the key can be replaced.", harm=Harm.EXPOSED)
def master_key_folder_is_private(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    folder = os.path.dirname(path) if path else ""
    if folder and os.path.isdir(folder) and is_open_to_others(folder, os.stat(folder)):
        command = program("chmod", "go-w", folder)
        yield Finding(f"{context.shown(folder)} can be written by others", (command,), _chmod(folder, 0o700))


@check(
    "master-key-apart", "Anyone who copies a folder with both the key and the file has every secret.", harm=Harm.WEAK
)
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
        message = f"the master key {context.shown(path)} is in the project, or beside the file that it opens"
        if not context.deployment.environ.get("SECRETS_MASTER_KEY_FILE"):
            yield Finding(message, (fix_command("master-key-apart"),), _move_key(context, path))
            return
        target = context.deployment.default_key_file
        yield Finding(
            message,
            (
                program("install", "-d", "-m", "0700", os.path.dirname(target), purpose="Make a folder for it"),
                program("cp", "-np", path, target, purpose="Copy it there"),
                "Name the copy where SECRETS_MASTER_KEY_FILE is set now, then move this one to your backups",
            ),
        )


@check(
    "master-key-two",
    "While two keys are accepted, the old one still opens the file.",
    harm=Harm.WEAK,
    follows=("store",),
)
def master_key_is_one(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    if path and os.path.isfile(path) and not os.stat(path).st_mode & 0o077:
        key = read_master_key_file(path, "The master key file")
        if len(key) > 1:
            yield Finding(
                f"{context.shown(path)} holds {len(key)} keys: a rotation was not finished",
                (manage("rotate-master-key"),),
            )


@check("old-master-keys", "An old key opens every old copy of the file.", harm=Harm.WEAK)
def old_master_keys_are_gone(context: Context) -> Iterator[Finding]:
    path = _key_file(context)
    for old in old_key_files(path) if path else []:
        if time.time() - os.stat(old).st_mtime > OLD_KEY_DAYS * SECONDS_OF_A_DAY:
            yield Finding(
                f"{context.shown(old)} is kept for more than {OLD_KEY_DAYS} days",
                (manage("rotate-master-key", "--forget"),),
            )


@check(
    "lost-files", "A file that was put aside is forgotten easily, and so is the key that may open it.", harm=Harm.UNTIDY
)
def lost_files_are_gone(context: Context) -> Iterator[Finding]:
    for path in sorted(glob.glob(glob.escape(_secrets_file(context)) + ".lost-*")):
        if not path.endswith(".sum") and _is_old(path):
            backups = context.deployment.backup_directory
            parts = [part for part in (path, f"{path}.sum") if os.path.lexists(part)]
            yield Finding(
                f"{context.shown(path)} was put aside more than {OLD_KEY_DAYS} days ago",
                (
                    program("install", "-d", "-m", "0700", backups, purpose="Make the folder of the backups"),
                    program("mv", "-n", *parts, f"{backups}{os.sep}", purpose="Keep it there"),
                ),
            )


def _is_old(path: str) -> bool:
    """Whether a file was put aside long ago, as its name says; its own times are those of its content."""
    limit = utc_after(-OLD_KEY_DAYS * SECONDS_OF_A_DAY)
    return path.rpartition(".lost-")[2][: len("2026-01-31")] < limit[: len("2026-01-31")]


@check("journal", "A command that was stopped in the middle leaves some things new and others old.", harm=Harm.BROKEN)
def nothing_is_half_done(context: Context) -> Iterator[Finding]:
    if Journal(context.deployment, REENCRYPT).read():  # it finishes its rotation, too
        yield Finding("a re-encryption was interrupted: ENCRYPTION_KEY", (manage(*REENCRYPT_WORDS),))
    elif content := Journal(context.deployment, "rotate").read():
        yield Finding(
            f"a rotation was interrupted: {', '.join(content['names'])}",
            (manage("rotate"),),
        )


@check("temporaries", "What a killed program leaves behind may hold secrets.", harm=Harm.WEAK)
def no_temporaries_are_left(context: Context) -> Iterator[Finding]:
    folders = {os.path.dirname(_secrets_file(context)), context.deployment.docker_directory, context.directory}
    for folder in filter(os.path.isdir, sorted(folders)):
        for path in (os.path.join(folder, name) for name in sorted(os.listdir(folder))):
            if is_left_behind(path):
                yield Finding(f"{context.shown(path)} was left behind", (fix_command("temporaries"),), _unlink(path))


@check("docker-files-mode", "The Docker files hold the secrets in plain text.", harm=Harm.EXPOSED)
def docker_files_are_private(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    for path in (os.path.join(folder, name) for name in context.docker_files):
        if os.path.isfile(path) and path.endswith((".txt", "_previous.json")):
            yield from _open_to_others(context, path, 0o400)


@check("docker-folder-mode", "Others must not even see which secrets there are.", harm=Harm.WEAK)
def docker_folder_is_private(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    if os.path.isdir(folder):
        yield from _open_to_others(context, folder, 0o700)


@check(
    "docker-files-extra",
    "A secret in plain text that nothing needs is read by others, and rotated by nobody.",
    harm=Harm.UNTIDY,
)
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
    harm=Harm.EXPOSED,
    follows=("compose-environment",),
)
def no_plain_text_is_left(context: Context) -> Iterator[Finding]:
    names = [spec.name for spec in context.catalog.secrets if spec.default is None]
    for path in _readable_settings(context):
        try:
            lines = _lines_with_values(path, names)
        except OSError as error:
            message = f"{context.shown(path)} could not be looked at: {error.strerror}"
            yield Finding(message, (program("ls", "-l", path),))
            continue
        if not lines:
            continue
        held = [name for name in names if name in lines.values()]
        numbers = ", ".join(map(str, sorted(lines)))
        shown = context.shown(path)
        yield Finding(
            f"{shown} holds secrets in plain text: {', '.join(held)}. Remove line{'s' * (len(lines) > 1)} {numbers} "
            "of it, and rotate what was there",
            (manage("rotate", *held),),
            about=frozenset([path]),
        )


@check("disk-space", "Without room, no change can be written.", harm=Harm.BROKEN)
def disk_has_room(context: Context) -> Iterator[Finding]:
    free = shutil.disk_usage(context.directory).free
    if free < SMALLEST_FREE_BYTES:
        yield Finding(
            f"{free // 1024} KiB are left on the disk of {context.directory}", (program("df", "-h", context.directory),)
        )


@check("audit-trail", "The trail says who changed what; a gap in it hides something.", harm=Harm.WEAK)
def trail_is_whole(context: Context) -> Iterator[Finding]:
    path = trail_path(context.deployment)
    if os.path.isdir(path):
        yield Finding(f"{context.shown(path)} is a folder, not a file", move_out_of_the_way(path))
        return
    faults = read_trail(context.deployment).faults
    if faults:
        kept = f"{path}.kept-{utc_now().replace(':', '')}"
        yield Finding(
            f"the audit trail: {_few(faults)}",
            (
                manage("status", "--audit", purpose="See what it says"),
                program("mv", "-n", path, kept, purpose="Keep it aside; the next change begins a new one"),
            ),
        )
    if os.path.isfile(path):
        yield from _open_to_others(context, path, 0o600)


@check("packages", "Only the pinned versions are the ones that were tested.", harm=Harm.BROKEN)
def packages_are_the_pinned_ones(context: Context) -> Iterator[Finding]:
    import importlib.metadata

    different = []
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
                different.append(f"{package} is {installed}, {name} pins {version}")
    if different:
        yield Finding(_few(different), (make("install", "--always-make"),))


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
        message = f"{context.shown(path)} is open to others (mode {present:04o})"
        yield Finding(message, (command,), _chmod(path, mode), frozenset([path]))


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - MANY
    return "; ".join(texts[:MANY]) + (f"; and {more} more" if more > 0 else "")


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


def _move_credential(context: Context, name: str, value: str) -> Callable[[], None]:
    """Keep a credential in a file of its own, and name that in the settings."""
    deployment = context.deployment
    usual = deployment.default_credential_file(name.lower().replace("_", "-"))
    if name == "SECRETS_MASTER_KEY":
        usual = deployment.default_key_file

    def fix() -> None:
        _require_own(deployment.settings_file)
        path = _write_private(usual, f"{value}\n".encode())
        write_dotenv(deployment.settings_file, {name: None, f"{name}_FILE": path})

    return fix


def _move_key(context: Context, path: str) -> Callable[[], None]:
    """Keep the master key outside of the project. The first file goes when its copy is written and read back."""
    deployment = context.deployment

    def fix() -> None:
        _require_own(deployment.settings_file)
        open_store(deployment).load()
        with open(path, "rb") as file:
            content = file.read()
        target = _write_private(deployment.default_key_file, content)
        write_dotenv(deployment.settings_file, {"SECRETS_MASTER_KEY_FILE": target})
        os.unlink(path)

    return fix


def _require_own(path: str) -> None:
    """Refuse to move a credential of somebody else, who could not read it in a file of this user."""
    owner = os.stat(path).st_uid
    if owner != os.geteuid():
        raise StoreError(f"{path} belongs to user {owner}", hint="Run this as that user")


def _write_private(path: str, content: bytes) -> str:
    """Write a file that only its owner can read; returns its path: another one where something else has this name."""
    names = numbered_names(*os.path.splitext(path))
    while os.path.lexists(candidate := next(names)):
        with open(candidate, "rb") as file:
            if file.read(len(content) + 1) == content:
                return candidate
    make_private_directory(os.path.dirname(candidate))
    replace_file(candidate, content, mode=0o400, must_not_exist=True)
    return candidate
