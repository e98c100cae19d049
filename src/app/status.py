"""The state of the deployment for people who are signed in: names, times and words, never a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets import SecretsError
from src.utils.secrets.command import manage, set_up, typed
from src.utils.secrets.snapshot import SECONDS_OF_A_DAY, SecretMetadata, age_in_days, moment_of, utc_at, utc_now

from .examples import find_faults
from .readiness import is_ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.command import Hint
    from src.utils.secrets.judge import Objection

    from .readiness import Checks

    Faults = Mapping[str, Sequence[Objection]]

STRONG, NO_FAULT, NOT_JUDGED = "strong", "no fault found", "not judged"
_SHOWN_OF_A_CHECK = ("state", "reason", "logins")


def describe_deployment(manager: SecretsManager, catalog: Catalog, checks: Checks) -> dict[str, object]:
    """Everything that the page shows. It may read the store, so it is not for the event loop.

    Args:
        manager: The secrets.
        catalog: Says which there are, and when each is due.
        checks: What ``GET /ready`` found.

    Raises:
        SecretsError: The store cannot be read at all.
    """
    faults = find_faults(manager, catalog)
    rows = [_describe_secret(manager, spec, faults) for spec in catalog.secrets]
    return {
        "application": catalog.application,
        "checked_at": utc_now(),
        "ready": is_ready(checks),
        "store": _describe_store(manager),
        "services": {
            name: {key: check[key] for key in _SHOWN_OF_A_CHECK if key in check}
            for name, check in _services(checks).items()
        },
        "secrets": rows,
        "findings": [
            *_findings_of_store(manager),
            *_findings_of_services(checks),
            *_findings_of_secrets(catalog, faults, rows),
        ],
    }


def _describe_store(manager: SecretsManager) -> dict[str, object]:
    health, error = manager.health(), manager.refresh_error
    return {
        "kind": manager.backend.value,
        "place": manager.describe(),
        "state": "ok" if health.error is None else "unavailable",
        "reason": str(error) if error else None,
        "age_seconds": None if health.age is None else round(health.age),
        "next_try_seconds": None if health.next_try is None else round(health.next_try),
    }


def _describe_secret(manager: SecretsManager, spec: SecretSpec, faults: Faults) -> dict[str, object]:
    value = manager.get_secret(spec.name)
    row: dict[str, object] = {
        "name": spec.name,
        "group": spec.group,
        "description": spec.description,
        "required": spec.required,
        "set": value is not None,
        "rotation_days": spec.rotation_days,
    }
    if value is None:
        return row | {"updated_at": None, "age_days": None, "due_at": None, "strength": None, "earlier": []}
    known = _metadata_of(manager, spec.name)
    changed = moment_of(known.updated_at)
    now = utc_now()
    return row | {
        "updated_at": None if changed is None else known.updated_at,
        "age_days": age_in_days(known.updated_at),
        "due_at": _due_at(changed, spec.rotation_days),
        "strength": _strength(spec, value, faults.get(spec.name, ())),
        "earlier": [{"valid_until": old.valid_until} for old in known.previous if old.is_valid(now)],
    }


def _metadata_of(manager: SecretsManager, name: str) -> SecretMetadata:
    """Nothing, where what the store keeps about a secret is damaged: its value is good all the same."""
    try:
        return manager.metadata(name)
    except SecretsError:
        return SecretMetadata()


def _strength(spec: SecretSpec, value: str, faults: Sequence[Objection]) -> str:
    if faults:
        return faults[0].fault
    if not spec.judged:
        return NOT_JUDGED
    return STRONG if spec.length is not None and len(value) >= spec.length else NO_FAULT


def _due_at(changed: float | None, rotation_days: int | None) -> str | None:
    if changed is None or rotation_days is None:
        return None
    return utc_at(changed + rotation_days * SECONDS_OF_A_DAY)


def _services(checks: Checks) -> Checks:
    """What was found, but for the secrets, of which the page says more."""
    return {name: check for name, check in checks.items() if name != "secrets"}


def _findings_of_store(manager: SecretsManager) -> list[dict[str, object]]:
    error = manager.refresh_error
    if error is None:
        return []
    hints = [hint for hint in error.hints if not isinstance(hint, str)]
    return [_finding("Store", f"{error}. The last good values are in use", hints[0] if hints else manage("doctor"))]


def _findings_of_services(checks: Checks) -> list[dict[str, object]]:
    return [
        _finding(name.capitalize(), str(check.get("reason", check["state"])), manage("doctor"))
        for name, check in _services(checks).items()
        if check["state"] not in ("ok", "not configured")
    ]


def _findings_of_secrets(
    catalog: Catalog, faults: Faults, rows: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    found = []
    for spec, row in zip(catalog.secrets, rows, strict=True):
        age = row["age_days"]
        if not row["set"] and spec.required:
            found.append(_finding(spec.name, f"{spec.name} is required, and not set", set_up()))
        elif spec.name in faults:
            found.append(_finding(spec.name, f"{spec.name} {faults[spec.name][0].text}", manage("rotate", spec.name)))
        elif isinstance(age, int) and spec.rotation_days is not None and age >= spec.rotation_days:
            text = f"{spec.name} is {_days(age)} old; it is due for rotation every {_days(spec.rotation_days)}"
            found.append(_finding(spec.name, text, manage("rotate", spec.name)))
    return found


def _finding(about: str, problem: str, command: Hint) -> dict[str, object]:
    return {"about": about, "problem": problem, "command": typed(command)}


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
