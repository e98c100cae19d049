"""Whether new values may be made, and putting aside what they take the place of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.ops.deployment.undo import make_directories, unused_name
from src.utils.secrets.atomicfile import replace_file
from src.utils.secrets.command import manage, set_up
from src.utils.secrets.errors import StoreError
from src.utils.secrets.snapshot import utc_now

from .state import State, inspect_deployment, lost_values
from .traces import docker_files, names_that_had_a_value, was_set_up

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.errors import SecretsError

    from .given import GivenValues
    from .inspect import FoundStore

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
    known = {*given.typed, *given.imported, *given.regenerated}
    absent = [
        spec
        for spec in deployment.catalog.secrets
        if spec.required and spec.name not in known and not found.snapshot.values.get(spec.name)
    ]
    if not any(spec.generated for spec in absent):
        return None
    if found.exists:
        lost = names_that_had_a_value(deployment, found.snapshot, absent)
        return lost_values(deployment, tuple(lost)) if lost else None
    return _find_obstacle_to_a_set(deployment, found)


def _find_obstacle_to_a_set(deployment: Deployment, found: FoundStore) -> SecretsError | None:
    in_use = inspect_deployment(deployment, None if deployment.is_configured("SECRETS_BACKEND") else found.kind)
    if in_use.state is State.FRESH:
        return None
    if not in_use.state.is_readable or in_use.kind is None:
        return in_use.error
    if in_use.kind.is_dotenv and not was_set_up(deployment, found.kind):
        return None  # development secrets stay where they are, and no stack runs with them
    return StoreError(
        f"The secrets in use are in another store ({in_use.kind.title}); a new set does not open what they protect",
        hint=[
            manage("migrate", "--to", found.kind.short_name, purpose="Move them"),
            set_up("--start-over", purpose="Or give them up"),
        ],
    )


def put_aside(deployment: Deployment, values: Mapping[str, str], undo: ExitStack) -> list[str]:
    """Copy what the containers use to a folder that nothing overwrites, before other values take its place.

    Args:
        deployment: Whose files.
        values: The new values; a file that holds the same is not copied.
        undo: Gets what removes the copies, should a later step fail.

    Returns:
        The folder, if anything had to be kept.

    Raises:
        StoreError: A copy cannot be made.
    """
    contents = {}
    for name, path in docker_files(deployment).items():
        with open(path, "rb") as file:
            contents[path] = file.read()
        if contents[path] == values.get(name, "").encode():
            del contents[path]
    if not contents:
        return []
    folder = unused_name(os.path.join(deployment.docker_directory, f"lost-{utc_now().replace(':', '')}"))
    make_directories(folder, undo)
    for path, content in contents.items():
        copy = os.path.join(folder, os.path.basename(path))
        replace_file(copy, content, mode=KEPT_FILE_MODE)
        undo.callback(os.unlink, copy)
    return [folder]
