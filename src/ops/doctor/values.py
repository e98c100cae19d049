"""The store and the values in it."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from src.ops.deployment.deployment import Deployment, is_environment_file
from src.ops.lifecycle.status import age_in_days, read_status
from src.ops.store_kinds import kind_in_use, open_store
from src.ops.values.fingerprint import fingerprint
from src.ops.values.strength import fault_of
from src.utils.secrets.command import manage, program, set_up
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.snapshot import utc_after, utc_now

from .check import Context, Finding, check

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST_SHARED = 12
CLOCK_SECONDS = 300
MANY_PREVIOUS = 5


@check("store", "What cannot be read cannot be used, changed or backed up.", needs="store")
def store_can_be_read(context: Context) -> Iterator[Finding]:
    error = context.store_error
    if error is not None:
        yield Finding(str(error), error.hints or (set_up(),))


@check("credentials-expiry", "When the credentials end, nothing can be refreshed any more.", needs="store")
def credentials_last(context: Context) -> Iterator[Finding]:
    kind = kind_in_use(context.deployment)
    if context.snapshot is None:
        return
    fault = kind.credential_fault(kind.open(context.deployment), context.deployment)
    if fault is not None:
        yield Finding(fault.message, fault.hints)


@check("missing", "The application does not start without a required secret.", needs="store")
def nothing_required_is_missing(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    missing = [name for name in context.catalog.required_names if not context.snapshot.values.get(name)]
    if missing:
        yield Finding(f"required and not set: {', '.join(missing)}", (set_up(),))


@check("incomplete-feature", "A feature with half of its secrets does not work.", needs="store")
def features_are_complete(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    for feature in context.catalog.features:
        names = [spec.name for spec in context.catalog.of_feature(feature)]
        absent = [name for name in names if not context.snapshot.values.get(name)]
        if absent and len(absent) < len(names):
            yield Finding(f"{feature}: {', '.join(absent)} is not set", tuple(manage("set", name) for name in absent))


@check("placeholder", "Everybody knows the values of examples.", needs="store")
def no_value_is_a_placeholder(context: Context) -> Iterator[Finding]:
    yield from _faults(context, placeholder=True)


@check("weak", "What can be guessed is no secret.", needs="store")
def no_value_is_weak(context: Context) -> Iterator[Finding]:
    yield from _faults(context, placeholder=False)


@check("reused", "One leak would expose two systems.", needs="store")
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
            yield Finding(f"{' and '.join(names)} have the same value", (manage("rotate", *names[1:]),))


@check("shared", "A leak of the staging secrets must not open production.", needs="store")
def no_value_is_shared_between_environments(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    mine = {
        fingerprint(value): name
        for name in context.catalog.names
        if (value := context.snapshot.values.get(name)) and len(value) >= SHORTEST_SHARED
    }
    for other in _other_environments(context.deployment):
        try:
            theirs = open_store(other).load().values
        except SecretsError:
            continue  # its own doctor says why
        same = [
            mine[mark]
            for name in other.catalog.names
            if (value := theirs.get(name)) and (mark := fingerprint(value)) in mine
        ]
        if same:
            yield Finding(
                f"{other.environment} has the same {', '.join(same)}",
                (manage("rotate", *same, environment=other.environment),),
            )


@check("overdue", "The longer a secret lives, the more places it has leaked to.", needs="store")
def nothing_is_overdue(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    due = [row for row in read_status(context.deployment, context.snapshot) if row.is_overdue]
    for row in due:
        yield Finding(
            f"{row.name} is {row.age_days} days old; its period is {row.rotation_days}",
            (manage("rotate", "--due"),),
        )


@check("unknown-names", "Secrets outside the catalogue are never rotated.", needs="store")
def every_name_is_known(context: Context) -> Iterator[Finding]:
    if context.snapshot is None or kind_in_use(context.deployment).is_shared:
        return
    unknown = sorted(set(context.snapshot.values) - set(context.catalog.names))
    if unknown:
        where = context.shown(context.catalog.path)
        yield Finding(f"not in the catalogue: {', '.join(unknown)}", (f"Add them to {where}, or remove them",))


@check("clock", "Grace times and tokens end at the wrong moment on a machine with a wrong clock.", needs="store")
def clock_is_right(context: Context) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    latest = max((entry.updated_at or "" for entry in context.snapshot.metadata.values()), default="")
    if latest > utc_after(CLOCK_SECONDS):
        yield Finding(
            f"a secret was changed at {latest}, which is in the future here ({utc_now()})",
            (program("timedatectl", "status"),),
        )


@check("previous-values", "Each earlier value that is still accepted is one more that can leak.", needs="store")
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


@check("unknown-age", "A secret whose age nobody knows is never due.", needs="store")
def every_age_is_known(context: Context) -> Iterator[Finding]:
    if context.snapshot is None or not kind_in_use(context.deployment).keeps_history:
        return
    for spec in context.catalog.secrets:
        metadata = context.snapshot.metadata.get(spec.name)
        if spec.rotation_days is None or not context.snapshot.values.get(spec.name):
            continue
        if age_in_days(metadata.updated_at if metadata else None) is None:
            yield Finding(f"nobody knows when {spec.name} last changed", (manage("rotate", spec.name),))


def _faults(context: Context, *, placeholder: bool) -> Iterator[Finding]:
    if context.snapshot is None:
        return
    for spec in context.catalog.secrets:
        value = context.snapshot.values.get(spec.name)
        fault = fault_of(spec, value, context.catalog) if value else None
        if fault is not None and (fault == "a placeholder") is placeholder:
            yield Finding(f"{spec.name} is {fault}", (manage("rotate", spec.name),))


def _other_environments(deployment: Deployment) -> list[Deployment]:
    others = []
    for path in sorted(glob.glob(os.path.join(glob.escape(deployment.project_directory), ".env.*"))):
        name = os.path.basename(path).removeprefix(".env.")
        if is_environment_file(path) and name != deployment.environment:
            others.append(
                Deployment.locate(
                    project_directory=deployment.project_directory,
                    environment=name,
                    catalog=deployment.catalog.path,
                    environ=deployment.environ,
                )
            )
    return others
