"""What ``scripts/generate_docker_secrets.sh`` runs: reads the active store once, and writes all files."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from src.ops.containers.folder import CLOUD_COMPOSE_FILES, describe_extras, find_extras, find_prunable, is_cloud_mode
from src.ops.containers.preflight import find_data_in_use
from src.ops.containers.secret_files import (
    UNASKED,
    SecretFile,
    SecretsFolder,
    container_owner,
    find_differences,
    find_obstacles,
    remove_files,
    render_files,
    write_files,
)
from src.ops.containers.stack import Stack
from src.ops.deployment.deployment import Deployment
from src.ops.deployment.dotenv import read_dotenv, write_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.trusted_folders import require_trusted_folder
from src.ops.setup.in_use import require_set_up
from src.ops.setup.state import lost_values, raise_explained
from src.ops.setup.traces import optional_that_are_lost
from src.ops.store_kinds import kind_in_use, load_secrets, open_store
from src.ops.terminal.report import DONE, WrongUsageError, report_error, run_to_exit_code, version
from src.ops.terminal.usage import HISTORY_HINT, argument_message
from src.utils.secrets.atomicfile import move_aside
from src.utils.secrets.command import compose, manage, program, spell, spell_for, write_docker_files
from src.utils.secrets.errors import ConfigurationError, SecretsError, StoreError, StoreUnavailableError
from src.utils.secrets.judge import Origin, all_names, judge
from src.utils.secrets.settings import PRODUCTION, PROJECT_DIRECTORY

from .shared.options import spelling_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from src.ops.containers.folder import Extra
    from src.ops.containers.secret_files import ContainerOwner
    from src.utils.secrets.command import Hint
    from src.utils.secrets.snapshot import Snapshot

PROGRAM = "generate_docker_secrets.sh"
EXAMPLES = f"""\
Examples:
  ./scripts/{PROGRAM}
  ./scripts/{PROGRAM} --check
  ./scripts/{PROGRAM} --output /run/cctv-secrets    # a tmpfs
"""
STACK_FILE = "docker-stack.yml"


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    spell_for(spelling_of(arguments))
    return run_to_exit_code(lambda: _run(_parse(arguments)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say it as every other command does."""
        import difflib

        known = re.findall(r"--[a-z-]+", self.format_usage())
        alike = [match for word in message.split() for match in difflib.get_close_matches(word, known, n=1)]
        suggestion = f". Did you mean {alike[0]}?" if alike and message.startswith("unrecognized") else ""
        said = argument_message(message)
        see_help = write_docker_files("--help")
        hints: list[Hint] = [see_help] if suggestion else [HISTORY_HINT, see_help]
        raise WrongUsageError(f"{said[0].upper()}{said[1:]}{suggestion}", hint=hints)


def _run(options: argparse.Namespace) -> int:
    if options.version:
        _say(version())
        return DONE
    deployment = Deployment.locate(
        project_directory=options.project_directory,
        environment=options.environment,
        catalog=options.catalog,
        env_file=options.env_file,
    )
    spell_for(deployment.spelling)
    try:
        return _work_on(deployment, options)
    except SecretsError as error:
        raise_explained(deployment, error)


def _work_on(deployment: Deployment, options: argparse.Namespace) -> int:
    require_set_up(deployment)
    compose_settings = read_dotenv(deployment.compose_file)
    path = deployment.docker_directory
    if options.output:
        path = os.path.join(deployment.project_directory, os.path.expanduser(options.output))
    ids = {name: value for name, value in compose_settings.items() if value} | dict(os.environ)
    cloud = _reads_cloud(options.cloud, deployment)
    try:
        snapshot = load_secrets(deployment, open_store(deployment))
    except StoreUnavailableError as error:
        if options.check and os.path.isdir(path):
            error.hints += (compose("up", "-d", purpose="To start with the files that are there"),)
        raise
    lost = optional_that_are_lost(deployment, snapshot)
    if lost:
        raise lost_values(deployment, tuple(lost))  # an empty file would take the place of the last copy
    files = render_files(deployment.catalog, snapshot, only_services=cloud)
    _warn_of_faults(deployment, snapshot)
    engine = _read_engine(options.engine_descriptor)
    owner = container_owner(ids, engine, path)
    folder = SecretsFolder(path, owner.file_uid, owner.file_gid)
    if options.swarm:
        return _create_swarm_secrets(files, deployment)
    _require_folder(deployment, path)
    if options.check:
        _warn_of_extras(deployment, path, snapshot, cloud=cloud)
        return _check(files, folder, deployment, _same_place(options, path))
    require_trusted_folder(path, {os.geteuid(), os.stat(deployment.project_directory).st_uid})
    _write(files, folder, deployment, lambda: _record(deployment, options.output, owner, cloud=cloud))
    _say(f"{deployment.shown(deployment.compose_file)}: APP_UID={owner.app_uid} APP_GID={owner.app_gid}")
    if engine in UNASKED:
        _warn_of_engine(engine)
    if options.prune:
        _prune(deployment, path, find_extras(deployment, path, snapshot, cloud=cloud))
    _warn_of_extras(deployment, path, snapshot, cloud=cloud)
    in_use = find_data_in_use(deployment, Stack(deployment)) if engine not in UNASKED else None
    if in_use is not None:
        _warn(f"{in_use.message}. Start nothing before it is stopped", in_use.hints)
    return DONE


def _write(files: list[SecretFile], folder: SecretsFolder, deployment: Deployment, record: Callable[[], None]) -> None:
    with deferred_interrupts() as check_interrupt, ExitStack() as undo:
        written = write_files(files, folder, undo)
        check_interrupt()
        record()
        undo.pop_all()
        for file in written:
            file.finish()
    shown = deployment.shown(folder.directory)
    _say(f"{shown}: {len(files)} files, {len(written)} written, {len(files) - len(written)} unchanged")


def _prune(deployment: Deployment, path: str, extras: list[Extra]) -> None:
    for name in remove_files(find_prunable(extras, path), path):
        _say(f"{deployment.shown(path)}/{name}: removed")


def _require_folder(deployment: Deployment, path: str) -> None:
    """Refuse what is in the place of the folder, and is none."""
    if os.path.lexists(path) and not os.path.isdir(path):
        raise StoreError(
            f"{deployment.shown(path)} is not a folder",
            hint=[move_aside(os.path.abspath(path)), write_docker_files(purpose="Then write the files")],
        )


def _warn_of_extras(deployment: Deployment, path: str, snapshot: Snapshot, *, cloud: bool) -> None:
    """Say what is in the folder that Compose does not use. It stops nothing."""
    for advice in describe_extras(deployment, path, find_extras(deployment, path, snapshot, cloud=cloud)):
        _warn(advice.message, advice.hints)


def _warn_of_engine(engine: str) -> None:
    """Say that the owner of the files is what was known before, or what is usual."""
    why = "Docker is not found on this PATH" if engine == "absent" else "Docker did not answer"
    again = write_docker_files(purpose="When it answers, run this again")
    _warn(f"{why}: who runs the containers is what was recorded before, or usual", (again,))


def _same_place(options: argparse.Namespace, path: str) -> list[str]:
    """The options that write what was compared: the same folder, the same mode."""
    words = [f"--output={os.path.abspath(path)}"] if options.output else []
    if options.cloud is not None:
        words.append("--cloud" if options.cloud else "--no-cloud")
    return words


def _warn_of_faults(deployment: Deployment, snapshot: Snapshot) -> None:
    """Say what is wrong with the values. The application does not start with some of them."""
    names = all_names(deployment.catalog.secrets)
    for spec in deployment.catalog.secrets:
        value = snapshot.values.get(spec.name)
        for objection in judge(spec, value, Origin.STORE, names=names, others=snapshot.values)[:1] if value else ():
            _warn(f"{spec.name} {objection.text}", (manage("rotate", spec.name),))


def _read_engine(descriptor: int | None) -> str:
    """What the shell script, which asks the engine meanwhile, found out about it."""
    if descriptor is None:
        return "absent"
    with open(descriptor, encoding="utf-8") as file:
        engine = file.read().strip()
    if not engine:
        raise ConfigurationError("The Docker engine's kind is not known", hint="docker info")
    return engine


def _check(files: list[SecretFile], folder: SecretsFolder, deployment: Deployment, options: list[str]) -> int:
    differences = find_differences(files, folder)
    shown = deployment.shown(folder.directory)
    if not differences:
        _say(f"{shown}: {len(files)} files, all up to date")
        return DONE
    if not os.path.isdir(folder.directory):
        return report_error(
            f"{shown} is missing: the secrets have not been written as files for Compose yet",
            write_docker_files(*options),
        )
    for difference in differences:
        _say(difference)
    count = f"{len(differences)} difference{'s' if len(differences) > 1 else ''}"
    obstacles = find_obstacles((file.name for file in files), folder.directory)
    return report_error(
        f"{shown} is out of date: {count}", *(move_aside(path) for path in obstacles), write_docker_files(*options)
    )


def _create_swarm_secrets(files: list[SecretFile], deployment: Deployment) -> int:
    from src.ops.containers.swarm import create_secrets, stanza

    prefix = deployment.compose_project_name
    version = create_secrets(files, prefix)
    _say(stanza(files, prefix, version))
    stack_file = os.path.join(deployment.project_directory, STACK_FILE)
    variables = [f"SECRETS_VERSION={version}"]
    if not deployment.is_production:
        variables.append(f"APP_ENVIRONMENT={deployment.environment}")
    command = program(*variables, "docker", "stack", "deploy", "-c", stack_file, prefix)
    _say(f"# With {STACK_FILE}: {spell(command)}")
    return DONE


def _reads_cloud(wanted: bool | None, deployment: Deployment) -> bool:
    """Whether the app reads its store itself: as the command line says, else as it was recorded."""
    cloud = is_cloud_mode(deployment) if wanted is None else wanted
    if cloud and not kind_in_use(deployment).is_read_by_app:
        raise WrongUsageError(
            f"The app's container cannot read {kind_in_use(deployment).title} itself",
            hint=write_docker_files("--no-cloud"),
        )
    return cloud


def _record(deployment: Deployment, output: str | None, owner: ContainerOwner, *, cloud: bool) -> None:
    """Tell Compose, in the file that it reads by itself, who runs the app and where the files are."""
    path = deployment.compose_file
    lines: dict[str, str | None] = {"APP_UID": str(owner.app_uid), "APP_GID": str(owner.app_gid)}
    present = read_dotenv(path)
    # A line that is there stays as somebody wrote it, unless another folder is named now.
    directory = output or ("" if present.get("SECRETS_DIR") else deployment.default_docker_directory)
    if directory and (directory != "secrets" or "SECRETS_DIR" in present):
        absolute = os.path.isabs(os.path.expanduser(directory))
        lines["SECRETS_DIR"] = os.path.expanduser(directory) if absolute else f"./{os.path.normpath(directory)}"
    if cloud:
        lines["COMPOSE_FILE"] = CLOUD_COMPOSE_FILES
        if not deployment.is_production:
            lines["SETTINGS_FILE"] = deployment.shown(deployment.settings_file)
    elif present.get("COMPOSE_FILE") == CLOUD_COMPOSE_FILES:
        lines["COMPOSE_FILE"] = None
    if not deployment.is_production:
        lines |= {"COMPOSE_PROJECT_NAME": deployment.compose_project_name, "APP_ENVIRONMENT": deployment.environment}
    file_owner = None
    if os.geteuid() == 0:
        status = os.stat(deployment.project_directory)
        file_owner = (status.st_uid, status.st_gid)
    write_dotenv(path, lines, heading="# Settings of Docker Compose.\n", private=False, owner=file_owner)
    if kind_in_use(deployment).is_dotenv:
        _say(f"{deployment.shown(path)} holds your development secrets, and now Compose's settings, too")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog=f"./scripts/{PROGRAM}",
        description="Write the secrets of the active store as files for Docker Compose.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    parser.add_argument("--output", metavar="DIR", help="the folder (default: secrets); a tmpfs, for example")
    parser.add_argument(
        "--environment", metavar="NAME", default=PRODUCTION, help="environment to work on (default: production)"
    )
    parser.add_argument("--env-file", metavar="FILE", help="the settings file, in place of .env.production")
    parser.add_argument("--project-directory", metavar="DIR", default=PROJECT_DIRECTORY, help="the project's folder")
    parser.add_argument("--catalog", metavar="FILE", help="the catalogue, in place of config/catalog.toml")
    parser.add_argument(
        "--cloud",
        action=argparse.BooleanOptionalAction,
        help="the app reads its cloud store itself: write only the files of the other services (remembered in .env)",
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove files that Compose does not use, if the store has their value"
    )
    parser.add_argument("--engine-descriptor", type=int, help=argparse.SUPPRESS)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare without writing; exit code 1 on any difference")
    action.add_argument("--swarm", action="store_true", help="make Swarm secrets in place of files, print the stanza")
    return parser.parse_args(arguments)


def _warn(message: str, hints: Sequence[Hint]) -> None:
    print(f"warning: {message}", file=sys.stderr)  # noqa: T201
    for hint in hints:
        print(f"hint: {spell(hint)}", file=sys.stderr)  # noqa: T201


def _say(line: str) -> None:
    print(line)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
