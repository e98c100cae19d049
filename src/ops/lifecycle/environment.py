"""Removing an environment: everything that belongs to it is removed, or kept and named.

First the containers and volumes, then what is in the store on a server, then the files, the master key after what it
opens, and the settings at last. Each step looks at what there is, so that the next run continues after a crash.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from src.ops.containers.stack import Resources, Stack, project_filter, project_name
from src.ops.deployment.audit import recorded
from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.store_kinds import kind_in_use, open_store
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import ConfigurationError, SecretsError, StoreDeletedError, StoreEmptyError, StoreError
from src.utils.secrets.lockedfile import locked
from src.utils.secrets.settings import PRODUCTION, SecretsBackend

from .belongings import Belonging, Files, at, find_environments, isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.command import Command, Hint


@dataclass(frozen=True)
class Remote:
    """What an environment has in a store on a server.

    Attributes:
        kind: The store.
        store: The same, opened.
        names: The secrets to take out of it.
        revision: What it was when it was looked at.
    """

    kind: StoreKind[Any]
    store: Backend
    names: tuple[str, ...]
    revision: str


@dataclass
class Removal:
    """What removing an environment would do.

    Attributes:
        deployment: The environment, as its own settings describe it.
        found: Everything that belongs to it, in the order of the removal.
        unseen: What may belong to it, and was not looked at.
        project_name: What its containers and volumes are called; empty when there are none to remove.
        remote: What to take out of a store on a server; ``None``: nothing.
        troubles: What could not be looked at. Nothing is removed as long as there is one.
    """

    deployment: Deployment
    found: list[Belonging] = field(default_factory=list)
    unseen: list[Belonging] = field(default_factory=list)
    project_name: str = ""
    remote: Remote | None = None
    troubles: list[SecretsError] = field(default_factory=list)

    @property
    def rows(self) -> list[Belonging]:
        """Everything, in the order of the removal."""
        return [*self.unseen, *self.found]

    @property
    def removed(self) -> list[Belonging]:
        """What is to be removed."""
        return [row for row in self.rows if not row.is_kept]

    @property
    def kept(self) -> list[Belonging]:
        """What stays."""
        return [row for row in self.rows if row.is_kept]

    @property
    def hints_afterwards(self) -> list[Hint]:
        """What the store on the server keeps, and how it is deleted there."""
        return list(self.remote.kind.erase_hints(self.deployment, self.remote.names)) if self.remote else []


def plan_removal(deployment: Deployment, *, is_local: bool = False, keeps_key: bool = False) -> Removal:
    """Look at everything that belongs to an environment; nothing is changed.

    Args:
        deployment: The environment.
        is_local: Leave Docker and stores on servers alone.
        keeps_key: Keep the master key.

    Raises:
        ConfigurationError: There is nothing of such an environment, or settings cannot be understood.
    """
    names = {*find_environments(deployment), PRODUCTION} - {deployment.environment}
    own, others = isolated(deployment), [isolated(at(deployment, name)) for name in sorted(names)]
    removal = Removal(own)
    files = list(Files(own, others, keeps_key=keeps_key).find())
    if is_local:
        removal.unseen += _left_alone(own)
    else:
        _add_containers(removal, others)
        _add_remote(removal, others)
    removal.found += files
    if not removal.found:
        known = find_environments(deployment)
        raise ConfigurationError(
            "There is nothing of such an environment here",
            hint=f"There is: {', '.join(known)}" if known else "No environment is set up here",
        )
    return removal


def removal_command(own: Deployment, *options: str, purpose: str = "") -> Command:
    """How the removal of an environment is typed."""
    # NAME says which; only a settings file of another name still has to be given.
    environment = PRODUCTION if own.settings_file == own.usual_settings_file else None
    return manage("environment", "remove", own.environment, *options, purpose=purpose, environment=environment)


def remove_environment(removal: Removal, report: Callable[[str], None]) -> None:
    """Carry it out.

    Args:
        removal: What :func:`plan_removal` found.
        report: Called with a line for each step that is done.

    Raises:
        SecretsError: A step failed. What is gone is gone; running this again goes on.
    """
    if removal.troubles:
        raise removal.troubles[0]
    own = removal.deployment
    names = removal.remote.names if removal.remote else ()
    with deferred_interrupts() as check, recorded(own, "environment-remove", names, _recorded_place(removal)):
        check()
        if removal.project_name:
            Stack(own).remove(removal.project_name)
            report(f"Containers and volumes of {removal.project_name} removed.")
        if removal.remote:
            remote = removal.remote
            remote.kind.empty(remote.store, remote.names, remote.revision)
            report(f"{len(remote.names)} secrets removed from {remote.store.describe()}.")
        _remove_files(removal, report)


def _recorded_place(removal: Removal) -> str:
    where = f"; {removal.remote.store.describe()}" if removal.remote else ""
    return f"{len(removal.removed)} things of {removal.deployment.project_directory}{where}"


# --- Containers ------------------------------------------------------------------------------------------------------


def _add_containers(removal: Removal, others: Sequence[Deployment]) -> None:
    own = removal.deployment
    name = _compose_name(own)
    sharer = next((other.environment for other in others if _compose_name(other) == name), None)
    try:
        found = Stack(own).resources(name)
    except SecretsError as error:
        if _is_prepared(own):
            removal.troubles.append(_with_way_on(own, error))
        removal.unseen.append(_unseen_containers(name, "Docker does not say what there is"))
        return
    why = f"{sharer} uses the same Compose project" if sharer else _why_foreign(own, found)
    for kind, names in (("container", found.containers), ("volume", found.volumes)):
        remark = why or ("with the data in it" if kind == "volume" else "")
        removal.found += [Belonging(kind, one, remark, is_kept=bool(why)) for one in names]
    if found and not why:
        removal.project_name = name


def _is_prepared(own: Deployment) -> bool:
    """Whether the containers of the environment can ever have been started: the Docker files come first."""
    is_recorded = read_dotenv(own.compose_file).get("COMPOSE_PROJECT_NAME") is not None
    return own.is_production or is_recorded or os.path.isdir(own.docker_directory)


def _unseen_containers(name: str, why: str) -> Belonging:
    label = project_filter(name)
    look = (program("docker", "ps", "--all", "--filter", label), program("docker", "volume", "ls", "--filter", label))
    return Belonging("containers and volumes", name, why, is_kept=True, hints=look)


def _why_foreign(own: Deployment, found: Resources) -> str:
    """Why containers are not this project's, though they are called so; empty when they are."""
    here = os.path.realpath(own.project_directory)
    elsewhere = sorted(folder for folder in found.folders if os.path.realpath(folder) != here)
    return f"it was started from {elsewhere[0]}" if elsewhere else ""


def _compose_name(deployment: Deployment) -> str:
    """What the containers and volumes of an environment are called: as recorded, else what Compose or we make of it."""
    said = read_dotenv(deployment.compose_file).get("COMPOSE_PROJECT_NAME")
    if said or not deployment.is_production:
        return said or deployment.compose_project_name
    return project_name(deployment.project_directory)


# --- Stores on servers -----------------------------------------------------------------------------------------------


def _add_remote(removal: Removal, others: Sequence[Deployment]) -> None:
    own = removal.deployment
    place = "the store of the settings"
    try:
        kind = _remote_kind(own)
        if kind is None:
            return
        place = _shown_place(own, kind)
        sharer = next((other.environment for other in others if _place(other) == _place(own)), None)
        if sharer:
            removal.found.append(Belonging("remote secret", place, f"{sharer} uses the same place", is_kept=True))
            return
        _add_values(removal, kind)
    except StoreEmptyError:
        return
    except StoreDeletedError as error:
        removal.found.append(Belonging("remote secret", place, str(error), is_kept=True, hints=error.hints))
    except SecretsError as error:
        removal.troubles.append(_with_way_on(own, error))
        removal.unseen.append(Belonging("remote secret", place, "it cannot be looked at", is_kept=True))


def _add_values(removal: Removal, kind: StoreKind[Any]) -> None:
    own = removal.deployment
    store = open_store(own, kind)
    snapshot = store.load()
    names = tuple(name for name in own.catalog.names if name in snapshot.values)
    if names:
        removal.remote = Remote(kind, store, names, snapshot.revision)
        removal.found.append(Belonging("remote secret", store.describe(), f"{len(names)} values and their history"))
    foreign = sorted(snapshot.values.keys() - names)
    if foreign and not kind.is_shared:
        what = f"{', '.join(foreign)} in {store.describe()}"
        removal.found.append(Belonging("remote value", what, "not in the catalogue", is_kept=True))


def _remote_kind(deployment: Deployment) -> StoreKind[Any] | None:
    kind = kind_in_use(deployment)
    return None if kind.has_master_key or kind.is_dotenv else kind


def _place(deployment: Deployment) -> tuple[str, ...] | None:
    """Where the secrets are on a server, in a form in which two names of one place are the same.

    A server has many addresses, so that they do not count, unless an address is all that tells places apart.
    """
    kind = _remote_kind(deployment)
    if kind is None:
        return None
    variables = deployment.variables()
    parts = [variables.get(name) or kind.setting(name).default for name in kind.place_settings]
    told = [part for part in parts[:-1] if "://" not in part] + parts[-1:]
    return (kind.name, *map(_plain_place, told))


def _plain_place(text: str) -> str:
    if text.startswith("arn:"):
        text = re.sub(r"-[A-Za-z0-9]{6}$", "", text.rpartition(":secret:")[2])
    return text.strip("/").lower()


def _shown_place(deployment: Deployment, kind: StoreKind[Any]) -> str:
    variables = deployment.variables()
    return f"{kind.title}: {', '.join(variables[name] for name in kind.place_settings if variables.get(name))}"


def _left_alone(own: Deployment) -> list[Belonging]:
    """What is named and not looked at, when only what is on this machine's disk is to be removed."""
    rows = [_unseen_containers(_compose_name(own), "you asked to leave Docker alone")]
    try:
        kind = _remote_kind(own)
    except ConfigurationError:
        return rows
    if kind is not None:
        hints = kind.erase_hints(own, own.catalog.names)
        why = "you asked to leave the store alone"
        rows.append(Belonging("remote secret", _shown_place(own, kind), why, is_kept=True, hints=hints))
    return rows


def _with_way_on(own: Deployment, error: SecretsError) -> SecretsError:
    """``error``, which also says how to remove the rest without an answer."""
    error.hints += (
        removal_command(
            own, "--local", purpose="Nothing was changed. To remove only the files on this machine, and name the rest"
        ),
    )
    return error


# --- Files -----------------------------------------------------------------------------------------------------------


def _remove_files(removal: Removal, report: Callable[[str], None]) -> None:
    own = removal.deployment
    path = own.settings(SecretsBackend.FILE).file_path
    finder = Files(own, (), keeps_key=False)
    with ExitStack() as stack:
        if any(row.path == path for row in removal.removed):
            stack.enter_context(locked(path))
            stack.callback(_remove, f"{path}.lock", own)
        for row in removal.removed:
            if row.path and not finder.leads_out(row.path) and _remove(row.path, own):
                report(f"{row.place} removed.")


def _remove(path: str, own: Deployment) -> bool:
    """Whether a file, a link or an empty folder was there, and is gone now."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return False
        raise StoreError(
            f"Cannot remove {path}: {error.strerror}",
            hint=[
                program("ls", "-ld", path, purpose="Run this as its owner, or as root"),
                removal_command(own, purpose="Then go on"),
            ],
        ) from None
    return True
