"""Whether new values may be made, and putting aside what they take the place of."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from src.ops.deployment.undo import make_directories, unused_name
from src.utils.secrets.atomicfile import replace_file
from src.utils.secrets.backends.environment import parse_previous
from src.utils.secrets.command import manage, set_up
from src.utils.secrets.errors import DamagedStoreError, StoreError
from src.utils.secrets.snapshot import utc_now

from .inspect import is_for_development
from .state import State, find_settings_gone, inspect_deployment, lost_values
from .traces import names_that_had_a_value, optional_that_are_lost, was_set_up_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.errors import SecretsError

    from .given import GivenValues
    from .inspect import FoundStore
    from .plan import Plan, PlannedSecret

KEPT_FILE_MODE = 0o400


def find_obstacle(deployment: Deployment, found: FoundStore, given: GivenValues) -> SecretsError | None:
    """Why nothing may be generated in ``found``; ``None`` when it may.

    A whole set is made only where nothing shows that there ever was one, and a single value only for a secret that
    never had one here.

    Args:
        deployment: What is set up.
        found: The chosen store.
        given: What got a value by hand or from a file. Where this is all that could be lost, nothing is.
    """
    if found.start_over:
        return None
    gone = find_settings_gone(deployment, found.kind) if found.exists else None
    outdated = gone or _find_older_values(found, given)
    if outdated is not None:
        return outdated
    known = {*given.typed, *given.imported, *given.regenerated, *given.never_used, *given.undecided}
    absent = [
        spec
        for spec in deployment.catalog.secrets
        if spec.required and spec.name not in known and not found.snapshot.values.get(spec.name)
    ]
    optional = optional_that_are_lost(deployment, found.snapshot) if found.exists else []
    lost = [name for name in optional if name not in known]
    if not (absent or lost):
        return None
    if found.exists:
        lost = [*names_that_had_a_value(deployment, found.snapshot, absent), *lost]
        return lost_values(deployment, tuple(lost)) if lost else None
    return _find_obstacle_to_a_set(deployment, found)


def _find_obstacle_to_a_set(deployment: Deployment, found: FoundStore) -> SecretsError | None:
    in_use = inspect_deployment(deployment)
    if in_use.state is State.FRESH:
        return None
    if not in_use.state.is_readable or in_use.kind is None:
        return in_use.error
    if is_for_development(deployment, in_use.kind) and not was_set_up_in(deployment, found.kind):
        return None  # development secrets stay where they are, and no stack runs with them
    return StoreError(
        f"The secrets in use are in another store ({in_use.kind.title}); a new set does not open what they protect",
        hint=[
            manage("migrate", "--to", found.kind.short_name, purpose="Move them"),
            set_up("--start-over", purpose="Or give them up"),
        ],
    )


def _find_older_values(found: FoundStore, given: GivenValues) -> StoreError | None:
    """Why a store that has other values than the one in use may not take its place."""
    other = given.find_conflicts(found.snapshot)
    if not other or given.in_use is None:
        return None
    return StoreError(
        f"{', '.join(other)}: {found.kind.title} has other values than the store in use, {given.in_use.place}",
        hint=[
            manage("migrate", "--to", found.kind.short_name, purpose="Move those that are in use there"),
            set_up("--backend", found.kind.short_name, "--start-over", purpose="Or give up both"),
        ],
    )


def put_aside(deployment: Deployment, found: FoundStore, plan: Plan, undo: ExitStack) -> list[str]:
    """Copy what is about to be given up to folders that nothing overwrites: what the containers use, and what a server
    has.

    Args:
        deployment: Whose.
        found: The store that starts over.
        plan: What it gets. What this has, too, is not copied.
        undo: Gets what removes the copies, should a later step fail.

    Returns:
        The folders, if anything had to be kept.

    Raises:
        StoreError: A copy cannot be made.
    """
    used = _docker_contents(deployment)
    held = _server_contents(deployment, found)
    new = {planned.spec.name: _values_afterwards(planned) for planned in plan.secrets}
    kept = {file: content for file, (name, content) in used.items() if not _values_in(file, content) <= new[name]}
    differing = {}
    for file, (_name, content) in held.items():
        if file not in used:
            kept[file] = content
        elif used[file][1] != content:
            differing[file] = content
    stem = os.path.join(deployment.docker_directory, f"lost-{utc_now().replace(':', '')}")
    return [_write_folder(stem, contents, undo) for contents in (kept, differing) if contents]


def _docker_contents(deployment: Deployment) -> dict[str, tuple[str, bytes]]:
    """What the Docker files hold, each with the name of its secret."""
    found = {}
    for spec in deployment.catalog.secrets:
        for file in filter(None, (spec.docker_file, spec.previous_file)):
            path = os.path.join(deployment.docker_directory, file)
            if os.path.isfile(path) and os.path.getsize(path):
                with open(path, "rb") as opened:
                    found[file] = (spec.name, opened.read())
    return found


def _server_contents(deployment: Deployment, found: FoundStore) -> dict[str, tuple[str, bytes]]:
    """The same for what a store on a server has, which keeps the last one only of the values that it had."""
    if found.given_up is None:
        return {}
    contents = {}
    for spec in deployment.catalog.secrets:
        value, metadata = found.given_up.values.get(spec.name), found.given_up.metadata.get(spec.name)
        if value:
            contents[spec.docker_file] = (spec.name, value.encode())
        if spec.previous_file is not None and metadata is not None and metadata.previous:
            document = metadata.to_document()["previous"]
            contents[spec.previous_file] = (spec.name, json.dumps(document, ensure_ascii=False).encode())
    return contents


def _values_afterwards(planned: PlannedSecret) -> set[str]:
    history = planned.history.previous if planned.history is not None else ()
    return {*([planned.value] if planned.value else []), *(earlier.value for earlier in history)}


def _values_in(file: str, content: bytes) -> set[str]:
    """The values in a Docker file; one that cannot be understood has one that nothing else has."""
    text = content.decode(errors="replace")
    if not file.endswith(".json"):
        return {text}
    try:
        return {earlier.value for earlier in parse_previous(text, file)}
    except DamagedStoreError:
        return {text}


def _write_folder(stem: str, contents: Mapping[str, bytes], undo: ExitStack) -> str:
    folder = unused_name(stem)
    make_directories(folder, undo)
    for file, content in contents.items():
        copy = os.path.join(folder, file)
        replace_file(copy, content, mode=KEPT_FILE_MODE)
        undo.callback(os.unlink, copy)
    return folder
