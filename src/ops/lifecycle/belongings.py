"""The files that belong to one environment, on this machine: found, and told apart from those of the others."""

from __future__ import annotations

import glob
import os
import re
import stat
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from src.ops.containers.folder import folders_of_others, printable, written_entries
from src.ops.deployment.deployment import find_environment_files
from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.journal import Journal
from src.ops.setup.summary import summary_file
from src.ops.setup.traces import docker_files
from src.ops.store_kinds import all_kinds, kind_in_use
from src.utils.secrets.command import program
from src.utils.secrets.errors import SecretsError, StoreError
from src.utils.secrets.masterkey import read_master_key_file
from src.utils.secrets.settings import (
    FAMILIES,
    MASTER_KEY_FAMILY,
    PRODUCTION,
    SecretsBackend,
    is_environment_name,
    merge_dotenv,
    open_regular,
)

from .backup import needed_key_id
from .rotate import COMMAND
from .rotate_master_key import old_key_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.command import Hint

_FERNET_START = b"gAAAA"
_ASIDE = (".lost-*", ".damaged-*")
_SETTINGS_ASIDE = (*_ASIDE, ".before-migration*")
_LOST_FOLDERS = "lost-*"


@dataclass(frozen=True)
class Belonging:
    """One thing of an environment.

    Attributes:
        kind: What it is.
        place: Its path or name, human-readable.
        why: Why it is kept, or what removing it means; empty when that is plain.
        is_kept: Whether it stays.
        hints: What to do about what stays.
        path: The file, link or empty folder to remove; ``None``: something else.
    """

    kind: str
    place: str
    why: str = ""
    is_kept: bool = False
    hints: tuple[Hint, ...] = ()
    path: str | None = None


def at(deployment: Deployment, name: str) -> Deployment:
    """The environment called ``name`` of the same project, with its own settings file."""
    if name == deployment.environment:
        return deployment
    named = replace(deployment, environment=name)
    return replace(named, settings_file=named.usual_settings_file)


def isolated(deployment: Deployment) -> Deployment:
    """The deployment as its own settings file describes it.

    What the shell exports may be of another environment: it says neither which store nor which place, only how to
    sign in.
    """
    lines = {name: value for name, value in read_dotenv(deployment.settings_file).items() if value}
    sign_in = _sign_in_names()
    told = lines.keys() - sign_in
    places = {name for kind in all_kinds() for name in kind.place_settings}
    dropped = {"SECRETS_BACKEND", "CREDENTIALS_DIRECTORY", *places, *MASTER_KEY_FAMILY, *told}
    dropped |= {name for family in FAMILIES if not told.isdisjoint(family) for name in family}
    environ = {name: value for name, value in deployment.environ.items() if name not in dropped}
    merged = merge_dotenv(environ, lines)
    return replace(deployment, environ=environ, answers={name: merged[name] for name in lines if name in merged})


def _sign_in_names() -> set[str]:
    """The variables that say only how to sign in, not where; a person may export a credential that may do more."""
    names = {name for kind in all_kinds() for name in kind.secret_settings if name not in MASTER_KEY_FAMILY}
    names |= {name for family in FAMILIES if not names.isdisjoint(family) for name in family}
    return names | {f"{name}_FILE" for name in names}


def find_environments(deployment: Deployment) -> list[str]:
    """The names of the environments of the project of which there is a file, production first."""
    project = deployment.project_directory
    found = {name for name, path in find_environment_files(project).items() if os.path.isfile(path)}
    forms = (("config/secrets.*.enc", r"secrets\.(.+)\.enc"), ("config/SETUP.*.md", r"SETUP\.(.+)\.md"))
    for form, pattern in (*forms, ("secrets/*", "(.+)")):
        for path in glob.glob(os.path.join(glob.escape(project), form)):
            match = re.fullmatch(pattern, os.path.basename(path))
            if match and is_environment_name(match[1]) and (form != "secrets/*" or _has_files(deployment, path)):
                found.add(match[1])
    plain = at(deployment, PRODUCTION)
    files = (summary_file(plain), os.path.join(project, plain.default_secrets_file))
    if plain.has_dotenv_secrets or docker_files(plain) or any(map(os.path.exists, files)):
        found.add(PRODUCTION)
    return sorted(found, key=lambda name: (name != PRODUCTION, name))


def _has_files(deployment: Deployment, path: str) -> bool:
    names = (spec.docker_file for spec in deployment.catalog.secrets)
    return os.path.isdir(path) and any(os.path.lexists(os.path.join(path, name)) for name in names)


class Files:
    """Finds the files of one environment, in the order in which they are removed.

    The master key goes after everything that it opens, and the settings at last: they say where everything is, so
    that a run that was stopped is continued by the next one.

    Args:
        own: The environment, isolated.
        others: Every other environment of the project, isolated.
        keeps_key: Whether the master key stays in any case.
    """

    def __init__(self, own: Deployment, others: Sequence[Deployment], *, keeps_key: bool) -> None:
        self._own = own
        self._others = others
        self._keeps_key = keeps_key

    def find(self) -> Iterator[Belonging]:
        """What there is."""
        yield from self._docker_files()
        yield from self._secrets_file()
        yield from self._plain("summary", [summary_file(self._own)], summary_file)
        yield from self._journal()
        yield from self._backups()
        yield from self._credentials()
        yield from self._keys()
        yield from self._settings()

    # --- Docker files ------------------------------------------------------------------------------------------------

    def _docker_files(self) -> Iterator[Belonging]:
        folder = self._own.docker_directory
        if not os.path.isdir(folder):
            return
        sharer = self._sharer(folder, lambda other: [other.docker_directory])
        if sharer:
            yield self._kept("Docker files", folder, f"{sharer} has its files there, too")
            return
        if self.leads_out(os.path.join(folder, "x")):
            yield self._kept("Docker files", folder, "a link leads there, and is not followed", remove_by_hand=False)
            return
        lost = [
            path for path in sorted(glob.glob(os.path.join(glob.escape(folder), _LOST_FOLDERS))) if _is_folder(path)
        ]
        known = {*map(os.path.basename, lost), *folders_of_others(self._own, folder)} - {os.curdir}
        for path in lost:
            yield from self._folder(path, set())
        yield from self._folder(folder, known)

    def _folder(self, folder: str, known: set[str]) -> Iterator[Belonging]:
        """The files that were written into a folder, what else is in it, and the folder if nothing stays."""
        written = written_entries(self._own.catalog, folder)
        yield from (self._removed("Docker file", os.path.join(folder, name)) for name in written)
        foreign = sorted(set(os.listdir(folder)) - {*written, *known})
        for name in foreign:
            is_fine = name.startswith(".") or name == "README.md"
            path = os.path.join(folder, name)
            yield self._kept("other file", path, "it was not written by these tools", remove_by_hand=not is_fine)
        lost_only = all(name.startswith("lost-") for name in known)
        is_default = os.path.basename(folder) != "secrets" or not self._own.is_production
        if not foreign and lost_only and is_default:
            yield self._removed("folder", folder)

    # --- The encrypted file ------------------------------------------------------------------------------------------

    def _secrets_file(self) -> Iterator[Belonging]:
        paths = dict.fromkeys(_secrets_files(self._own))
        for path in paths:
            beside = [*_put_aside(path, _ASIDE), *_temporaries(path)]
            yield from self._plain(
                "encrypted file", [*beside, f"{path}.bak", f"{path}.sum", path, f"{path}.lock"], self._beside
            )

    def _beside(self, other: Deployment) -> list[str]:
        """The encrypted file of another environment, and what lies beside it."""
        return [found for path in _secrets_files(other) for found in (path, *glob.glob(glob.escape(path) + ".*"))]

    # --- Outside of the project --------------------------------------------------------------------------------------

    def _journal(self) -> Iterator[Belonging]:
        journal = Journal(self._own, COMMAND)
        try:
            content = journal.read()
        except StoreError:
            yield self._kept("journal", journal.path, "it cannot be understood")
            return
        if content is not None:
            yield self._removed("journal", journal.path, "a rotation was interrupted")

    def _backups(self) -> Iterator[Belonging]:
        name = re.compile(re.escape(self._own.environment) + r"-\d{4}-.*\.backup")
        for path in self._all_backups:
            if name.fullmatch(os.path.basename(path)):
                yield self._kept("backup", path, "backups are never removed")

    @cached_property
    def _all_backups(self) -> list[str]:
        folders = (self._own.backup_directory, self._own.project_directory)
        forms = [os.path.join(glob.escape(folder), "*.backup") for folder in folders]
        return [path for form in forms for path in sorted(glob.glob(form)) if os.path.isfile(path)]

    def _credentials(self) -> Iterator[Belonging]:
        lines = read_dotenv(self._own.settings_file)
        names = [name for kind in all_kinds() for name in kind.secret_settings if name not in MASTER_KEY_FAMILY]
        for name in dict.fromkeys(names):
            usual = self._own.default_credential_file(name.lower().replace("_", "-"))
            named = self._path(lines.get(f"{name}_FILE"))
            if named == usual:
                yield from self._plain("credential", [usual], partial(_named, name=f"{name}_FILE"))
            elif os.path.lexists(usual):
                yield self._kept("credential", usual, "the settings do not name it")
            if named and named != usual and os.path.lexists(named):
                yield self._kept("credential", named, "it was not made by these tools")
        for name, value in lines.items():
            path = self._path(value)
            if name.startswith("APP_") and name.endswith("_FILE") and path and os.path.lexists(path):
                yield self._kept("credential of the app", path, "it was not made by these tools")

    def _keys(self) -> Iterator[Belonging]:
        named = _named(self._own, "SECRETS_MASTER_KEY_FILE")
        if named and os.path.lexists(named):
            for path in [*old_key_files(named), named]:
                yield self._key(path, named)
        stem, extension = os.path.splitext(self._own.default_key_file)
        usual = [self._own.default_key_file, *sorted(glob.glob(f"{glob.escape(stem)}-[0-9]*{extension}"))]
        others = {
            path
            for other in self._others
            for path in (_named(other, "SECRETS_MASTER_KEY_FILE"), other.default_key_file)
        }
        for path in usual:
            if path != named and path not in others and os.path.lexists(path):
                yield self._kept("master key", path, "the settings here do not name it; it may be of another copy")

    def _key(self, path: str, named: str) -> Belonging:
        why = self._why_key_stays(path, named)
        if why:
            return self._kept("master key", path, why, remove_by_hand=False)
        return self._removed("master key", path, "what else it opens can no longer be opened")

    def _why_key_stays(self, path: str, named: str) -> str:
        """Why a key file stays; empty when it is to be removed."""
        sharer = self._sharer(named, lambda other: [_named(other, "SECRETS_MASTER_KEY_FILE"), other.default_key_file])
        if sharer:
            return f"{sharer} uses it, too"
        if self._keeps_key:
            return "you asked for it"
        if os.path.islink(path):
            return "it is a link, which is not followed"
        try:
            ids = read_master_key_file(path, "The master key file").ids
        except SecretsError:
            return "it cannot be read as a master key"
        backup = next((found for found in self._all_backups if needed_key_id(found) in ids), None)
        return f"it opens the backup {self._own.shown(backup)}" if backup else ""

    # --- The settings ------------------------------------------------------------------------------------------------

    def _settings(self) -> Iterator[Belonging]:
        own = self._own
        if own.is_production and own.compose_file != own.settings_file:
            yield from self._composes_file()
        paths = dict.fromkeys([own.settings_file, *([] if own.is_production else [own.compose_file])])
        for path in paths:
            yield from self._plain(
                "settings", [*_beside_settings(path), path], lambda other: [other.settings_file, other.compose_file]
            )

    def _composes_file(self) -> Iterator[Belonging]:
        """``.env``: Compose's settings, and the secrets of development where another store is in use."""
        path = self._own.compose_file
        values = read_dotenv(path)
        if any(values.get(name) for name in self._own.catalog.names) and not kind_in_use(self._own).is_dotenv:
            yield self._kept("settings of Compose", path, "it has secrets of its own, for development")
            return
        yield from self._plain("settings of Compose", [*_beside_settings(path), path], lambda _other: [])

    # --- What is common ----------------------------------------------------------------------------------------------

    def leads_out(self, path: str) -> bool:
        """Whether a link on the way to a path in the project leads out of the project."""
        project = self._own.project_directory + os.sep
        if not path.startswith(project):
            return False
        return not (os.path.realpath(os.path.dirname(path)) + os.sep).startswith(os.path.realpath(project) + os.sep)

    def _plain(
        self, kind: str, paths: Iterable[str], of_other: Callable[[Deployment], Iterable[str | None] | str | None]
    ) -> Iterator[Belonging]:
        """Those of ``paths`` that there are; one that another environment has, too, is kept."""
        for path in paths:
            if not os.path.lexists(path):
                continue
            sharer = self._sharer(path, of_other)
            if sharer:
                yield self._kept(kind, path, f"{sharer} uses it, too", remove_by_hand=False)
            elif self.leads_out(path):
                yield self._kept(kind, path, "a link leads there, and is not followed", remove_by_hand=False)
            elif _is_folder(path):
                yield self._kept(kind, path, "it is a folder")
            elif kind == "encrypted file" and not self._is_ours(path):
                yield self._kept(kind, path, "it is not an encrypted file of these tools")
            else:
                is_link = os.path.islink(path)
                yield self._removed(kind, path, f"a link; {os.path.realpath(path)} stays" if is_link else "")

    def _is_ours(self, path: str) -> bool:
        """Whether settings may have a file removed: it is in its usual place, or is what it should be."""
        usual = os.path.join(self._own.project_directory, self._own.default_secrets_file)
        if path.startswith(usual) or path.endswith((".sum", ".lock", ".tmp")) or os.path.islink(path):
            return True
        try:
            with open_regular(path) as file:
                return file.read(len(_FERNET_START)) == _FERNET_START
        except OSError:
            return False

    def _sharer(self, path: str, of_other: Callable[[Deployment], Iterable[str | None] | str | None]) -> str:
        """The other environment that has the same path; empty when none has."""
        real = os.path.realpath(path)
        for other in self._others:
            found = of_other(other)
            paths = [found] if isinstance(found, str) else found or ()
            if any(real == os.path.realpath(one) for one in paths if one):
                return other.environment
        return ""

    def _path(self, text: str | None) -> str | None:
        return _absolute(self._own, text)

    def _removed(self, kind: str, path: str, why: str = "") -> Belonging:
        return Belonging(kind, printable(self._own.shown(path)), why, path=path)

    def _kept(self, kind: str, path: str, why: str, *, remove_by_hand: bool = True) -> Belonging:
        words = ("rm", "-r", "--", path) if _is_folder(path) else ("rm", "--", path)
        hints = (program(*words, purpose="If nothing needs it, remove"),) if remove_by_hand else ()
        return Belonging(kind, printable(self._own.shown(path)), why, is_kept=True, hints=hints)


def _secrets_files(deployment: Deployment) -> list[str]:
    """Where the encrypted file is, and where it usually is: it may be left from before a migration."""
    usual = os.path.join(deployment.project_directory, deployment.default_secrets_file)
    return [os.path.normpath(deployment.settings(SecretsBackend.FILE).file_path), usual]


def _named(deployment: Deployment, name: str) -> str | None:
    """The path that a line of the settings names."""
    return _absolute(deployment, read_dotenv(deployment.settings_file).get(name))


def _absolute(deployment: Deployment, text: str | None) -> str | None:
    if not text:
        return None
    return os.path.normpath(os.path.join(deployment.project_directory, os.path.expanduser(text)))


def _put_aside(path: str, endings: Iterable[str]) -> list[str]:
    return [found for ending in endings for found in sorted(glob.glob(glob.escape(path) + ending))]


def _beside_settings(path: str) -> list[str]:
    """What was a dotenv file, which may hold secrets, and what its writers leave."""
    return [*_put_aside(path, _SETTINGS_ASIDE), *_temporaries(path), f"{path}.lock"]


def _temporaries(path: str) -> list[str]:
    """What killed runs have left beside a file, named after it."""
    folder, name = os.path.split(path)
    return sorted(glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.*.tmp")))


def _is_folder(path: str) -> bool:
    return os.path.lexists(path) and stat.S_ISDIR(os.lstat(path).st_mode)
