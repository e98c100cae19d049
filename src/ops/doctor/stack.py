"""The Compose file, the Docker files, and the containers that run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from src.ops.containers.folder import is_cloud_mode
from src.ops.containers.secret_files import FileState, content_state, render_files
from src.ops.containers.servers import APP, DATABASE, REDIS, sign_in
from src.ops.containers.stack import COMPOSE_FILE
from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.atomicfile import move_aside
from src.utils.secrets.command import compose, manage, program, write_docker_files
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.placeholders import is_example_of
from src.utils.secrets.settings import read_value_file

from .check import Context, Finding, Harm, NotMade, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from src.ops.containers.servers import Server


@check(
    "docker-files",
    "The containers use these files, not the store.",
    harm=Harm.BROKEN,
    needs="store",
    follows=("docker-files-example",),
)
def docker_files_are_up_to_date(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    if context.snapshot is None or not os.path.isdir(folder):
        return
    try:
        files = render_files(context.catalog, context.snapshot, only_services=is_cloud_mode(context.deployment))
    except SecretsError:
        return  # a required secret is missing, which has a check of its own
    states = {os.path.join(folder, file.name): content_state(file, folder) for file in files}
    if set(states.values()) == {FileState.MISSING}:
        return  # no files were written yet; the folder may be there for those of another environment
    for path, state in states.items():
        if state is FileState.NOT_A_FILE:
            yield Finding(f"{context.shown(path)} is {state}", (move_aside(path), write_docker_files()))
        elif state is not FileState.UP_TO_DATE:
            yield Finding(f"{context.shown(path)} is {state}", (write_docker_files(),))


@check(
    "docker-files-example",
    "Everybody can know a published example, and sign in or sign with it.",
    harm=Harm.EXPOSED,
    follows=("placeholder",),
)
def no_docker_file_holds_an_example(context: Context) -> Iterator[Finding]:
    folder = context.deployment.docker_directory
    names = context.docker_files
    for spec in context.catalog.secrets:
        path = os.path.join(folder, spec.docker_file)
        if (
            spec.docker_file in names
            and os.path.isfile(path)
            and is_example_of(spec, read_value_file(path, spec.docker_file))
        ):
            message = f"{context.shown(path)} holds a published example"
            yield Finding(message, (manage("rotate", spec.name),), about=frozenset([spec.name]))


@check("compose-settings", "Without APP_UID and APP_GID, the app's container cannot read its files.", harm=Harm.BROKEN)
def compose_knows_who_runs_the_app(context: Context) -> Iterator[Finding]:
    deployment = context.deployment
    if not {spec.docker_file for spec in context.catalog.secrets} & set(context.docker_files):
        return
    settings = read_dotenv(deployment.compose_file)
    missing = [name for name in ("APP_UID", "APP_GID") if not settings.get(name)]
    if missing:
        message = f"{context.shown(deployment.compose_file)} does not set {' and '.join(missing)}"
        yield Finding(message, (write_docker_files(),))


@check("docker", "What the containers use, and whether they run, is not known.", harm=Harm.BROKEN, needs="stack")
def docker_answers(context: Context) -> Iterator[Finding]:
    error = context.stack_error
    if error is not None:
        yield Finding(f"the containers could not be looked at: {error}", error.hints or (program("docker", "info"),))


@check(
    "compose-environment",
    "Anyone who may run `docker inspect` can read the environment.",
    harm=Harm.EXPOSED,
    needs="compose",
    follows=("docker",),
)
def no_secret_is_in_environment(context: Context) -> Iterator[Finding]:
    for service, content in _services(context).items():
        for name, value in _environment(content).items():
            if name in context.catalog.names and value:
                hints = (f"Use {name}_FILE in {COMPOSE_FILE}", manage("rotate", name))
                message = f"{service} gets {name} in its environment"
                yield Finding(message, hints, about=_compose_file(context))


@check(
    "compose-needless",
    "A container that is broken into gives away every secret that it has.",
    harm=Harm.WEAK,
    needs="compose",
    follows=("docker",),
)
def services_get_only_what_they_need(context: Context) -> Iterator[Finding]:
    consumers = {spec.mount_name: spec.consumers for spec in context.catalog.secrets}
    for service, content in _services(context).items():
        for source in _secrets(content):
            needed = consumers.get(source)
            if needed is not None and service not in needed:
                yield Finding(
                    f"{service} gets {source}, which it does not need",
                    (f"Remove it from {COMPOSE_FILE}",),
                    about=_compose_file(context),
                )


@check(
    "compose-missing",
    "A service without its secret does not start, or starts without protection.",
    harm=Harm.BROKEN,
    needs="compose",
    follows=("docker",),
)
def services_get_what_they_need(context: Context) -> Iterator[Finding]:
    services = _services(context)
    if APP in services and not any(_environment(services[APP]).get(f"{name}_FILE") for name in context.catalog.names):
        return  # the app reads a cloud store itself
    for spec in context.catalog.secrets:
        for service in spec.consumers:
            if service in services and spec.mount_name not in _secrets(services[service]):
                yield Finding(
                    f"{service} does not get {spec.mount_name}",
                    (f"Add it to its secrets in {COMPOSE_FILE}",),
                    about=_compose_file(context),
                )
            elif service == APP and service in services and not _environment(services[APP]).get(f"{spec.name}_FILE"):
                yield Finding(
                    f"{service} has no {spec.name}_FILE",
                    (f"Add it to its environment in {COMPOSE_FILE}",),
                    about=_compose_file(context),
                )


@check(
    "stale-containers",
    "A container sees a changed file only after its next start.",
    harm=Harm.BROKEN,
    needs="stack",
    follows=("docker-files",),
)
def the_app_has_the_present_secrets(context: Context) -> Iterator[Finding | NotMade]:
    folder = context.deployment.docker_directory
    if not context.runs(APP) or not os.path.isdir(folder):
        return
    started = context.stack.started_at([APP]).get(APP)
    if started is None:
        yield NotMade("Docker does not say when the app started")
        return
    for spec in context.catalog.secrets:
        path = os.path.join(folder, spec.docker_file)
        if APP in spec.consumers and os.path.isfile(path):
            changed = datetime.fromtimestamp(os.stat(path).st_ctime, UTC)
            if changed > started:
                yield Finding(f"the app started before {context.shown(path)} changed", (manage("apply"),))
                return


@check("unhealthy", "A service that is not healthy answers nobody.", harm=Harm.BROKEN, needs="stack")
def services_are_healthy(context: Context) -> Iterator[Finding]:
    for name, row in context.services.items():
        if row.get("State") == "running" and row.get("Health") == "unhealthy":
            yield Finding(f"{name} runs and is not healthy", (compose("logs", name),))


@check(
    "database-password", "A volume keeps the password that its database was made with.", harm=Harm.BROKEN, needs="stack"
)
def database_accepts_the_password(context: Context) -> Iterator[Finding | NotMade]:
    yield from _try_password(context, DATABASE)


@check("redis-password", "Redis keeps the password that it was started with.", harm=Harm.BROKEN, needs="stack")
def redis_accepts_the_password(context: Context) -> Iterator[Finding | NotMade]:
    yield from _try_password(context, REDIS)


def _try_password(context: Context, server: Server) -> Iterator[Finding | NotMade]:
    if not context.runs(server.service):
        return
    value = context.snapshot.values.get(server.secret) if context.snapshot else None
    if context.snapshot is None or not context.runs(APP):
        yield NotMade("the store cannot be read" if context.snapshot is None else "the app does not run")
        return
    if value is None:
        return
    try:
        sign_in(context.stack, server, value)
    except SecretsError as error:
        yield Finding(f"{server.secret} of the store is refused: {error}", (manage("apply"),))


def _compose_file(context: Context) -> frozenset[str]:
    return frozenset([os.path.join(context.directory, COMPOSE_FILE)])


def _services(context: Context) -> dict[str, Any]:
    configuration = context.stack.configuration()
    services: dict[str, Any] = configuration.get("services", {})
    return services


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: value or "" for name, value in (service.get("environment") or {}).items()}


def _secrets(service: dict[str, Any]) -> list[str]:
    return [entry["source"] for entry in service.get("secrets") or []]
