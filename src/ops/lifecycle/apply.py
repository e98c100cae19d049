"""What a change of the store needs elsewhere, and doing it: Docker files, containers, and servers with a password.

``rotate`` knows which secrets it has changed; ``apply`` finds out what differs. Both then take the same steps, which
can be repeated: what is as it should be already is left alone. At no moment is anybody locked out: Redis accepts both
passwords until the application has the new one; the application knows both database passwords while the database gets
the new one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.containers.folder import has_docker_files, is_cloud_mode
from src.ops.containers.secret_files import FileState, content_state, render_files
from src.ops.containers.servers import (
    APP,
    DATABASE,
    REDIS,
    SERVERS,
    RefusedError,
    accept_only_redis_password,
    accept_redis_password,
    find_accepted,
    reachable_servers,
    reset_database_password,
    sign_in,
    tell_app,
)
from src.ops.containers.stack import Stack, StackError, running_services
from src.utils.secrets.children import run_child
from src.utils.secrets.command import compose, make, manage, write_docker_files
from src.utils.secrets.errors import StoreError
from src.utils.secrets.settings import PROJECT_DIRECTORY
from src.utils.secrets.snapshot import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from concurrent.futures import Executor

    from src.ops.containers.servers import Server
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import SecretSpec
    from src.utils.secrets.snapshot import Snapshot

DOCKER_FILES_SECONDS = 300
ADMIN_PASSWORD, ADMIN_USERNAME = "ADMIN_PASSWORD", "ADMIN_USERNAME"


@dataclass(frozen=True)
class Needs:
    """What has to be done so that everything that runs uses what the store holds.

    Attributes:
        files: Whether the Docker files are written.
        restarts: The services that are restarted, in this order.
        reloads: The services that read their secrets again without a restart.
        passwords: The passwords of servers that have to be told: name, and the values that the server may have.
        is_database_first: Whether the database changes before the application has the new password: it knows no other.
        is_database_reset: Whether the database accepts no password that is known, and is told through its own socket.
        logs_in: Whether the administrator's password is tried in the end.
    """

    files: bool = False
    restarts: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    passwords: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    is_database_first: bool = False
    is_database_reset: bool = False
    logs_in: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.restarts or self.reloads or self.passwords or self.is_database_reset)


@dataclass(frozen=True)
class Drift:
    """How what runs differs from the store.

    Attributes:
        files: The secrets whose Docker files differ.
        outdated: The running services that have another value than the store, with the names of those secrets.
        refused: The servers that refuse the password in the store.
        unknown: What could not be looked at, a line each.
        needs: What has to be done about it.
        is_running: Whether any container runs.
        uses_files: Whether there are Docker files or containers at all.
    """

    files: tuple[str, ...] = ()
    outdated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: tuple[Server, ...] = ()
    unknown: tuple[str, ...] = ()
    needs: Needs = field(default_factory=Needs)
    is_running: bool = False
    uses_files: bool = False


def needs_of_change(
    deployment: Deployment, specs: Sequence[SecretSpec], running: Collection[str], earlier: Mapping[str, Sequence[str]]
) -> Needs:
    """What a change of some secrets needs.

    Args:
        deployment: Whose.
        specs: The secrets that change.
        running: The services that run.
        earlier: The values that a server may still have, by the name of its password.
    """
    names = {spec.name for spec in specs}
    own = {server.service: server.secret for server in SERVERS}
    users = dict.fromkeys(
        service for spec in specs for service in spec.consumers if service in running and own.get(service) != spec.name
    )
    reloads = [
        service for service in users if all(service in spec.reload for spec in specs if service in spec.consumers)
    ]
    told = [server for server in reachable_servers(running) if server.secret in names]
    return Needs(
        files=has_docker_files(deployment) or bool(running),
        restarts=_app_last(service for service in users if service not in reloads),
        reloads=tuple(reloads),
        passwords={server.secret: tuple(earlier.get(server.secret, ())) for server in told},
        logs_in=APP in running and ADMIN_PASSWORD in names,
    )


def find_drift(deployment: Deployment, snapshot: Snapshot, stack: Stack) -> Drift:
    """Compare what runs with the store. Nothing is changed.

    Args:
        deployment: Whose.
        snapshot: What the store holds.
        stack: The containers.

    Raises:
        SecretNotFoundError: The store lacks a required secret.
        StackError: Docker does not say what runs.
    """
    if not (stack.is_used or has_docker_files(deployment)):
        return Drift()
    cloud = is_cloud_mode(deployment)
    files = render_files(deployment.catalog, snapshot, only_services=cloud)
    contents = {file.name: file.content for file in files}
    directory = deployment.docker_directory
    # What this user may not read is compared in the containers.
    fine = (FileState.UP_TO_DATE, FileState.UNREADABLE)
    stale = {file.name for file in files if content_state(file, directory) not in fine}
    changed = tuple(
        spec.name for spec in deployment.catalog.secrets if not stale.isdisjoint({spec.docker_file, spec.previous_file})
    )
    if not stack.is_used:
        return Drift(changed, needs=Needs(files=bool(stale)), uses_files=True)
    stack.require_docker()
    stack.require_own()
    services = stack.services()
    running = running_services(services)
    with ThreadPoolExecutor() as pool:  # each answer of a container takes a moment
        asked = pool.submit(_try_servers, deployment, snapshot, stack, running)
        outdated = _find_outdated(deployment, contents, stack, running, pool)
        refused, unknown, accepted = asked.result()
    needs = _needs_of_drift(deployment, snapshot, bool(stale), outdated, accepted, reads_store=cloud and APP in running)
    return Drift(changed, outdated, tuple(refused), tuple(unknown), needs, bool(running), uses_files=True)


def require_servers(services: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse to restart the app while a server that it needs does not run: it would not become healthy.

    Args:
        services: What Compose says of each container that there is.

    Raises:
        StackError: There is one.
    """
    for server in SERVERS:
        state = services.get(server.service, {}).get("State", "running")
        if state != "running":
            start = compose("unpause", server.service) if state == "paused" else make("up", purpose="Start it")
            raise StackError(f"{server.title} does not run ({state}), so nothing was changed", hint=start)


def require_accepted(snapshot: Snapshot, stack: Stack) -> None:
    """Sign in to each server before anything is changed.

    Raises:
        StackError: One refuses the password in the store, or does not answer, or the app is not healthy.
    """
    services = stack.services()
    require_servers(services)
    running = running_services(services)
    for server in reachable_servers(running):
        value = snapshot.values.get(server.secret)
        if value is None:
            continue
        try:
            sign_in(stack, server, value)
        except RefusedError:
            raise StackError(
                f"{server.title} refuses the {server.secret} in the store; nothing was changed",
                hint=manage("apply", purpose="Give it that password first"),
            ) from None
        except StackError as error:
            raise StackError(
                f"{server.title} does not answer, so nothing was changed: {error}",
                hint=[*error.hints, compose("logs", server.service, purpose="See what it logs")],
            ) from None
    if services.get(APP, {}).get("Health") == "unhealthy":
        raise StackError(
            "The app is not healthy, so nothing was changed: a restart would not end",
            hint=[compose("logs", APP, purpose="See what it logs"), manage("doctor", purpose="See what is wrong")],
        )


class Applier:
    """Makes what runs match the store. Every step may be repeated.

    Args:
        deployment: Whose.
        stack: Its containers.
        report: Called with what was done, one line each.
        begin: Called with what takes its time, before it begins.
    """

    def __init__(
        self, deployment: Deployment, stack: Stack, report: Callable[[str], None], begin: Callable[[str], None]
    ) -> None:
        self._deployment = deployment
        self._stack = stack
        self._report = report
        self._begin = begin

    def run(self, needs: Needs, snapshot: Snapshot) -> None:
        """Take the steps.

        Raises:
            SecretsError: One failed. Those before it are done; running them again goes on.
        """
        tells_redis = REDIS.secret in needs.passwords
        if tells_redis:
            accept_redis_password(self._stack, _passwords(needs, snapshot, REDIS))
            self._report("Redis accepts the new password beside the old one.")
        if needs.files:
            self._begin("Writing the Docker files")
            write_files(self._deployment)
            self._report(f"{self._deployment.shown(self._deployment.docker_directory)}/ is up to date.")
        if needs.is_database_first:
            self._change_database(needs, snapshot)
        self._restart_and_reload(needs)
        if not needs.is_database_first:
            self._change_database(needs, snapshot)
        if tells_redis:
            accept_only_redis_password(self._stack, _passwords(needs, snapshot, REDIS))
            self._report("Redis accepts the new password only.")
        if needs.logs_in:
            tell_app(self._stack, "login", [snapshot.values[ADMIN_PASSWORD]], snapshot.values.get(ADMIN_USERNAME))
            self._report("The administrator's account has the new password; logged in with it.")

    def _restart_and_reload(self, needs: Needs) -> None:
        for service in needs.restarts:
            self._begin(f"Restarting {service}, and waiting until it is healthy")
            self._stack.restart(service)
            self._report(f"The {service} container has restarted, and is healthy.")
        for service in needs.reloads:
            self._stack.reload(service)
            self._report(f"{service} reads its secrets again.")

    def _change_database(self, needs: Needs, snapshot: Snapshot) -> None:
        if needs.is_database_reset:
            value = snapshot.values[DATABASE.secret]
            reset_database_password(self._stack, value)
            tell_app(self._stack, "database", [value])
        elif DATABASE.secret in needs.passwords:
            tell_app(self._stack, "database", _passwords(needs, snapshot, DATABASE))
        else:
            return
        self._report("The database has the new password; logged in with it.")


def write_files(deployment: Deployment) -> None:
    """Write the Docker files.

    Raises:
        StoreError: They were not written.
    """
    command = ["bash", os.path.join(PROJECT_DIRECTORY, "scripts", "generate_docker_secrets.sh")]
    command += ["--project-directory", deployment.project_directory, "--environment", deployment.environment]
    command += ["--catalog", deployment.catalog.path]
    if os.path.exists(deployment.settings_file):
        command += ["--env-file", deployment.settings_file]
    done = run_child(command, seconds=DOCKER_FILES_SECONDS)
    if done.code:
        reason = done.reason
        raise StoreError(
            f"The Docker files were not written: {reason.text}",
            hint=reason.hints or (write_docker_files(),),
        )


def _find_outdated(
    deployment: Deployment, contents: Mapping[str, bytes], stack: Stack, running: Collection[str], pool: Executor
) -> dict[str, tuple[str, ...]]:
    """The running services that have another value than the store. Servers that keep a password are asked instead."""
    own = {(server.service, server.secret) for server in SERVERS}
    specs = {
        service: [
            spec for spec in deployment.catalog.secrets if service in spec.consumers and (service, spec.name) not in own
        ]
        for service in sorted(running)
    }
    services = [service for service in specs if specs[service]]
    hashes = dict(zip(services, pool.map(stack.secret_hashes, services), strict=True))
    found = {
        service: tuple(spec.name for spec in specs[service] if _is_outdated(spec, contents, hashes[service]))
        for service in services
    }
    return {service: names for service, names in found.items() if names}


def _is_outdated(spec: SecretSpec, contents: Mapping[str, bytes], hashes: Mapping[str, str]) -> bool:
    value = contents.get(spec.docker_file)
    if value is None or spec.mount_name not in hashes:
        return False  # the service reads the store itself, or does not say what it has
    if hashes[spec.mount_name] != hashlib.sha256(value).hexdigest():
        return True
    earlier = contents.get(spec.previous_file or "", b"[]")
    # What is no longer accepted, the application forgets by itself.
    return earlier != b"[]" and hashes.get(spec.previous_file or "") not in (None, hashlib.sha256(earlier).hexdigest())


def _try_servers(
    deployment: Deployment, snapshot: Snapshot, stack: Stack, running: Collection[str]
) -> tuple[list[Server], list[str], dict[Server, str | None]]:
    """The servers that refuse the password in the store, what could not be asked, and what those accept instead."""
    refused, unknown, accepted = [], [], {}
    reachable = reachable_servers(running)
    for server in SERVERS:
        value = snapshot.values.get(server.secret)
        if server not in reachable or value is None:
            if server.service in running and value is not None:
                unknown.append(f"{server.title} was not asked: the app does not run")
            continue
        try:
            sign_in(stack, server, value)
        except RefusedError:
            refused.append(server)
            accepted[server] = find_accepted(stack, server, _candidates(deployment, snapshot, stack, server))
        except StackError as error:
            unknown.append(f"{server.title} does not answer: {error}")
    return refused, unknown, accepted


def _candidates(deployment: Deployment, snapshot: Snapshot, stack: Stack, server: Server) -> list[str]:
    """The passwords that a server may have: the earlier ones in the store, the app's, and its own container's."""
    spec = deployment.catalog.find(server.secret)
    assert spec is not None
    mounted = [stack.read_secret(service, spec.mount_name).removesuffix("\n") for service in (APP, server.service)]
    known = dict.fromkeys([*_earlier(snapshot, server), *filter(None, mounted)])
    return [value for value in known if value != snapshot.values[server.secret]]


def _needs_of_drift(
    deployment: Deployment,
    snapshot: Snapshot,
    has_stale_files: bool,
    outdated: Mapping[str, tuple[str, ...]],
    accepted: Mapping[Server, str | None],
    *,
    reads_store: bool,
) -> Needs:
    specs = {spec.name: spec for spec in deployment.catalog.secrets}
    reloads = [service for service, names in outdated.items() if all(service in specs[name].reload for name in names)]
    restarts = [service for service in outdated if service not in reloads]
    if REDIS in accepted and accepted[REDIS] is None:
        restarts.append(REDIS.service)  # it takes the one in its file then
    old = accepted.get(DATABASE)
    current = snapshot.versions(DATABASE.secret, utc_now())
    return Needs(
        files=has_stale_files,
        restarts=_app_last(restarts),
        reloads=(*reloads, *([APP] if reads_store else [])),
        passwords={server.secret: (value,) for server, value in accepted.items() if value is not None},
        is_database_first=DATABASE in accepted and old not in current,
        is_database_reset=DATABASE in accepted and old is None,
        logs_in=ADMIN_PASSWORD in outdated.get(APP, ()),
    )


def _passwords(needs: Needs, snapshot: Snapshot, server: Server) -> list[str]:
    """The wanted one, then those that the server may still have."""
    return [snapshot.values[server.secret], *_earlier(snapshot, server), *needs.passwords[server.secret]]


def _earlier(snapshot: Snapshot, server: Server) -> list[str]:
    metadata = snapshot.metadata.get(server.secret)
    return [entry.value for entry in metadata.previous] if metadata else []


def _app_last(services: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(services, key=lambda name: name == APP))
