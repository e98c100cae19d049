"""The store and the values in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.ops.deployment.deployment import Deployment, find_environment_files
from src.ops.deployment.dotenv import read_dotenv
from src.ops.lifecycle.status import misnamed_secrets, read_status
from src.ops.store_kinds import kind_in_use, open_store
from src.ops.values.fingerprint import fingerprint
from src.ops.values.strength import examine, fault_of
from src.utils.secrets.command import manage, program, set_up, write_docker_files
from src.utils.secrets.errors import SecretsError, StoreEmptyError
from src.utils.secrets.judge import PLACEHOLDER, Origin
from src.utils.secrets.settings import read_value_file
from src.utils.secrets.snapshot import age_in_days, utc_after, utc_now

from .check import OFFLINE, Context, Finding, Harm, NotMade, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from src.utils.secrets.command import Hint

SHORTEST_SHARED = 12
CLOCK_SECONDS = 300
MANY_PREVIOUS = 5


@check(
    "store",
    "What cannot be read cannot be used, changed or backed up.",
    harm=Harm.LOST,
    needs="store",
    follows=("settings", "master-key-mode", "master-key-folder", "secrets-file-owner"),
)
def store_can_be_read(context: Context) -> Iterator[Finding]:
    error = context.store_error
    if error is not None:
        yield Finding(str(error), error.hints or (set_up(),))


@check(
    "credentials-expiry",
    "When the credentials end, nothing can be refreshed any more.",
    harm=Harm.BROKEN,
    needs="store",
)
def credentials_last(context: Context) -> Iterator[Finding]:
    kind = kind_in_use(context.deployment)
    if context.snapshot is None:
        return
    fault = kind.credential_fault(kind.open(context.deployment), context.deployment)
    if fault is not None:
        yield Finding(fault.message, fault.hints)


@check("misnamed", "Programs read a secret by its exact name only.", harm=Harm.BROKEN, needs="store")
def every_secret_has_its_exact_name(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    values, used = context.snapshot.values, set()
    for found, name in _misnamed(context).items():
        message = f"{found!r} in the store is not read; the name is {name}"
        if name not in used and not values.get(name):
            yield Finding(message, _give_values(context, [name]), about=frozenset([name]))
        elif values.get(name) == values[found]:
            message += ", which has the same value"
            yield Finding(message, (manage("remove", found),), about=frozenset([name]))
        else:
            message += ", which has another value" if values.get(name) else ", and so it is for another one"
            take = manage("set", name, "--from", found, purpose="If the value under the wrong name is the right one")
            yield Finding(message, (take, manage("remove", found, purpose="If not")), about=frozenset([name]))
        used.add(name)


@check(
    "missing",
    "The application does not start without a required secret.",
    harm=Harm.BROKEN,
    needs="store",
    follows=("misnamed",),
)
def nothing_required_is_missing(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    missing = [name for name in context.catalog.required_names if not context.snapshot.values.get(name)]
    for names in _apart(context, missing):
        yield Finding(f"required and not set: {', '.join(names)}", _give_values(context, names), about=frozenset(names))


@check(
    "incomplete-feature",
    "A feature with half of its secrets does not work.",
    harm=Harm.BROKEN,
    needs="store",
    follows=("misnamed",),
)
def features_are_complete(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    for feature in context.catalog.features:
        names = [spec.name for spec in context.catalog.of_feature(feature)]
        absent = [name for name in names if not context.snapshot.values.get(name)]
        for part in _apart(context, absent) if len(absent) < len(names) else ():
            message = f"{feature}: {', '.join(part)} is not set"
            yield Finding(message, _give_values(context, part), about=frozenset(part))


@check("placeholder", "Everybody knows the values of examples.", harm=Harm.EXPOSED, needs="store")
def no_value_is_a_placeholder(context: Context) -> Iterator[Finding]:
    yield from _faults(context, placeholder=True)


@check("weak", "What can be guessed is no secret.", harm=Harm.WEAK, needs="store", follows=("placeholder",))
def no_value_is_weak(context: Context) -> Iterator[Finding]:
    yield from _faults(context, placeholder=False)


@check("reused", "One leak would expose two systems.", harm=Harm.WEAK, needs="store", follows=("placeholder", "weak"))
def no_value_is_used_twice(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    by_value: dict[str, list[str]] = {}
    for name in context.catalog.names:
        value = context.snapshot.values.get(name)
        if value:
            by_value.setdefault(fingerprint(value), []).append(name)
    for names in by_value.values():
        if len(names) > 1:
            # One of them keeps it: one that only its provider can issue, where there is one.
            kept = next((name for name in names if not context.deployment.find_secret(name).generated), names[0])
            others = [name for name in names if name != kept]
            message = f"{' and '.join(names)} have the same value"
            yield Finding(message, (manage("rotate", *others),), about=frozenset(others))


@check(
    "shared",
    "A leak of the staging secrets must not open production.",
    harm=Harm.WEAK,
    needs="store",
    follows=("placeholder", "weak"),
)
def no_value_is_shared_between_environments(context: Context) -> Iterator[Finding | NotMade]:
    if context.snapshot is None:
        return
    mine = {
        fingerprint(value): name
        for name in context.catalog.names
        if (value := context.snapshot.values.get(name)) and len(value) >= SHORTEST_SHARED
    }
    for other in other_environments(context.deployment):
        if not context.can_ask(other):
            yield NotMade(OFFLINE)
            continue
        try:
            theirs = open_store(other).load().values
        except SecretsError as error:
            if not isinstance(error, StoreEmptyError) or read_dotenv(other.settings_file).get("SECRETS_BACKEND"):
                yield _not_compared(other)
            continue
        marks = {fingerprint(value) for name in other.catalog.names if (value := theirs.get(name))}
        same = [name for mark, name in mine.items() if mark in marks]
        if same:
            # Production keeps its values: what runs there is harder to change.
            elsewhere = None if other.is_production or not context.deployment.is_production else other.environment
            message = f"{other.environment} has the same {', '.join(same)}"
            yield Finding(message, (manage("rotate", *same, environment=elsewhere),), about=frozenset(same))


def _not_compared(other: Deployment) -> Finding:
    message = f"{other.environment} could not be compared with this environment: its secrets cannot be read"
    return Finding(message, (manage("doctor", environment=other.environment),), about=frozenset([other.settings_file]))


@check(
    "overdue",
    "The longer a secret lives, the more places it has leaked to.",
    harm=Harm.WEAK,
    needs="store",
    follows=("placeholder", "weak", "reused"),
)
def nothing_is_overdue(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    due = [row for row in read_status(context.deployment, context.snapshot) if row.is_overdue]
    if due:
        ages = [f"{row.name} is {row.age_days} days old; its period is {row.rotation_days}" for row in due]
        yield Finding("; ".join(ages), (manage("rotate", "--due"),), about=frozenset(row.name for row in due))


@check("unknown-names", "Secrets outside the catalogue are never rotated.", harm=Harm.UNTIDY, needs="store")
def every_name_is_known(context: Context) -> Iterator[Finding]:
    if context.snapshot is None or kind_in_use(context.deployment).is_shared:
        return
    unknown = sorted(set(context.snapshot.values) - set(context.catalog.names) - set(_misnamed(context)))
    if unknown:
        where = context.shown(context.catalog.path)
        yield Finding(f"not in the catalogue: {', '.join(unknown)}", (f"Add a [[secret]] table for each to {where}",))


@check(
    "clock",
    "Grace times and tokens end at the wrong moment on a machine with a wrong clock.",
    harm=Harm.BROKEN,
    needs="store",
)
def clock_is_right(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    metadata = context.snapshot.metadata
    limit = utc_after(CLOCK_SECONDS)
    late = [name for name in sorted(metadata) if (metadata[name].updated_at or "") > limit]
    if not late:
        return
    latest = max(metadata[name].updated_at or "" for name in late)
    hints = [program("date", "-u", purpose="Compare this machine's clock with another one, and set it if it is wrong")]
    known = [name for name in late if name in context.catalog.names]
    if known:
        hints.append(manage("rotate", *known, purpose="If it is right, the secret's time is wrong; rotate it"))
    message = f"{' and '.join(late)} changed at {latest}, which is in the future here ({utc_now()})"
    yield Finding(message, tuple(hints))


@check(
    "previous-values",
    "Each earlier value that is still accepted is one more that can leak.",
    harm=Harm.WEAK,
    needs="store",
)
def few_earlier_values_are_accepted(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    for spec in context.catalog.secrets:
        if "postgres" in spec.consumers:
            continue  # the database accepts one; the app tries earlier ones while the database changes
        name = spec.name
        metadata = context.snapshot.metadata.get(name)
        valid = [entry for entry in metadata.previous if entry.is_valid(utc_now())] if metadata else []
        if len(valid) > MANY_PREVIOUS:
            yield Finding(f"{name}: {len(valid)} earlier values are still accepted", (manage("history", name),))


@check(
    "unknown-age",
    "A secret whose age nobody knows is never due.",
    harm=Harm.UNTIDY,
    needs="store",
    follows=("placeholder", "weak", "reused"),
)
def every_age_is_known(context: Context) -> Iterator[Finding]:
    if context.snapshot is None or not kind_in_use(context.deployment).keeps_history:
        return
    unknown = []
    for spec in context.catalog.secrets:
        metadata = context.snapshot.metadata.get(spec.name)
        if spec.rotation_days is None or not context.snapshot.values.get(spec.name):
            continue
        if age_in_days(metadata.updated_at if metadata else None) is None:
            unknown.append(spec.name)
    if unknown:
        message = f"nobody knows when {' and '.join(unknown)} last changed"
        yield Finding(message, (manage("rotate", *unknown),), about=frozenset(unknown))


def _misnamed(context: Context) -> dict[str, str]:
    """See :func:`misnamed_secrets`."""
    assert context.snapshot is not None
    return misnamed_secrets(context.deployment, context.snapshot.values)


def _apart(context: Context, absent: Sequence[str]) -> list[list[str]]:
    """The secrets without a value, apart: those whose value is under a wrong name, and the others."""
    misnamed = set(_misnamed(context).values())
    parts = [[name for name in absent if name in misnamed], [name for name in absent if name not in misnamed]]
    return [part for part in parts if part]


def _give_values(context: Context, names: Sequence[str]) -> tuple[Hint, ...]:
    """How each name gets a value: the one in the store under a wrong name, the one that the containers still use, else
    a new one; then the Docker files."""
    folder = context.deployment.docker_directory
    commands = []
    misnamed = {right: found for found, right in reversed(_misnamed(context).items())}
    for name in names:
        if name in misnamed:
            commands.append(manage("set", name, "--from", misnamed[name]))
            continue
        spec = context.deployment.find_secret(name)
        path = os.path.join(folder, spec.docker_file)
        known = read_value_file(path, spec.docker_file) if os.path.isfile(path) else ""
        if known and fault_of(spec, known, context.catalog) is None:
            commands.append(manage("set", name, "--file", path))
        else:
            commands.append(manage("set", name, *(["--generate"] if spec.generated else [])))
    return (*commands, write_docker_files()) if os.path.isdir(folder) else tuple(commands)


def _faults(context: Context, *, placeholder: bool) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    for spec in context.catalog.secrets:
        value = context.snapshot.values.get(spec.name)
        found = examine(spec, value, Origin.STORE, context.catalog) if value else []
        if found and (found[0].fault == PLACEHOLDER) is placeholder:
            said = f"is {PLACEHOLDER}" if placeholder else found[0].text
            yield Finding(f"{spec.name} {said}", (manage("rotate", spec.name),), about=frozenset([spec.name]))


def other_environments(deployment: Deployment) -> list[Deployment]:
    """The deployments of the same project that have a settings file."""
    return [
        Deployment.locate(
            project_directory=deployment.project_directory,
            environment=name,
            catalog=deployment.catalog.path,
            environ=deployment.environ,
        )
        for name in find_environment_files(deployment.project_directory)
        if name != deployment.environment
    ]
