"""What a set-up will do, decided before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from src.ops.values.generate import generate_value
from src.ops.values.grace import previous_valid_until
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import InvalidSecretError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.snapshot import SecretMetadata

    from .given import GivenValues
    from .inspect import FoundStore


class Origin(Enum):
    """Where the value of a planned secret comes from."""

    GENERATED = "generated"
    TYPED = "typed"
    KEPT = "kept"
    IMPORTED = "imported"
    SKIPPED = "skipped"
    RESTORED = "restored"


@dataclass(frozen=True)
class PlannedSecret:
    """One row of the plan.

    Attributes:
        spec: The secret.
        origin: Where its value comes from.
        value: The value; ``None`` when it is skipped.
        replaces: Whether the store has another value now.
        history: For a restored one: its earlier values, the present one among them, and when it changed.
    """

    spec: SecretSpec
    origin: Origin
    value: str | None = field(default=None, repr=False)
    replaces: bool = False
    history: SecretMetadata | None = field(default=None, repr=False)

    @property
    def is_written(self) -> bool:
        """Whether the store does not have this value yet."""
        return self.origin not in (Origin.KEPT, Origin.SKIPPED)


@dataclass(frozen=True)
class Plan:
    """Every secret of the catalogue, and what happens to it.

    Attributes:
        secrets: One row for each, in the catalogue's order.
        unknown_names: What the store has besides; it stays as it is.
        others: What is restored besides, by name.
        compose_settings: Lines for Compose.
    """

    secrets: tuple[PlannedSecret, ...]
    unknown_names: tuple[str, ...] = ()
    others: Mapping[str, Change] = field(default_factory=dict)
    compose_settings: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> PlannedSecret:
        """The row of ``name``."""
        return next(planned for planned in self.secrets if planned.spec.name == name)

    @property
    def written(self) -> list[PlannedSecret]:
        """The rows that change the store."""
        return [planned for planned in self.secrets if planned.is_written]

    @property
    def written_names(self) -> list[str]:
        """The names whose value changes in the store."""
        return [*(planned.spec.name for planned in self.written), *self.others]

    def values(self) -> dict[str, str]:
        """Every value that the store has afterwards, of the secrets in the catalogue."""
        return {planned.spec.name: planned.value for planned in self.secrets if planned.value is not None}

    def changes(self) -> dict[str, Change]:
        """What to save."""
        mine = {planned.spec.name: _change(planned) for planned in self.written}
        return mine | dict(self.others)


def plan_setup(deployment: Deployment, found: FoundStore, given: GivenValues) -> Plan:
    """The plan for these values, checked against what the store can hold.

    Raises:
        StoreError: New values would take the place of ones that are left elsewhere.
        InvalidSecretError: A value cannot be used.
    """
    from .leftovers import find_obstacle

    obstacle = find_obstacle(deployment, found, given)
    if obstacle is not None:
        raise obstacle
    plan = make_plan(deployment.catalog, found.snapshot.values, given)
    for planned in plan.written:
        assert planned.value is not None
        found.kind.check_storable(planned.spec.name, planned.value)
    return plan


def _change(planned: PlannedSecret) -> Change:
    if planned.history is not None:
        return Change(planned.value, history=planned.history)
    return Change(planned.value, previous_valid_until=previous_valid_until(planned.spec))


def make_plan(catalog: Catalog, existing: Mapping[str, str], given: GivenValues) -> Plan:
    """Decide for every secret: what a person typed comes first, then what is there, imports, defaults, a new value.

    Raises:
        InvalidSecretError: A feature would have some of its secrets and lack others.
    """
    planned = tuple(_plan_secret(spec, existing.get(spec.name), given) for spec in catalog.secrets)
    unknown = tuple(sorted(set(existing) - set(catalog.names)))
    plan = Plan(planned, unknown, compose_settings=given.compose_settings)
    for feature in catalog.features:
        _check_feature(feature, [plan.find(spec.name) for spec in catalog.of_feature(feature)])
    return plan


def _plan_secret(spec: SecretSpec, current: str | None, given: GivenValues) -> PlannedSecret:
    typed = given.typed.get(spec.name)
    imported = given.imported.get(spec.name)
    if typed is not None:
        return _new_or_kept(spec, Origin.TYPED, typed, current)
    if spec.name in given.regenerated:
        return PlannedSecret(spec, Origin.GENERATED, generate_value(spec), replaces=current is not None)
    if imported is not None and (current is None or given.replace_by_import):
        planned = _new_or_kept(spec, Origin.IMPORTED, imported, current)
        return replace(planned, history=given.histories.get(spec.name)) if current is None else planned
    if current is not None:
        return PlannedSecret(spec, Origin.KEPT, current)
    if spec.name in given.undecided:
        raise given.undecided[spec.name]
    if spec.generated:
        history = given.histories.get(spec.name)
        return PlannedSecret(spec, Origin.GENERATED, generate_value(spec), history=history)
    if spec.default is not None and spec.required:
        return PlannedSecret(spec, Origin.TYPED, spec.default)
    if spec.required:
        raise InvalidSecretError(
            f"{spec.name} has no value: {spec.description}", hint=f"Give one: --set-file {spec.name}=PATH"
        )
    return PlannedSecret(spec, Origin.SKIPPED)


def _new_or_kept(spec: SecretSpec, origin: Origin, value: str, current: str | None) -> PlannedSecret:
    if value == current:
        return PlannedSecret(spec, Origin.KEPT, current)
    return PlannedSecret(spec, origin, value, replaces=current is not None)


def _check_feature(feature: str, members: list[PlannedSecret]) -> None:
    absent = [planned.spec.name for planned in members if planned.value is None]
    if absent and len(absent) < len(members):
        present = [planned.spec.name for planned in members if planned.value is not None]
        raise InvalidSecretError(
            f"{', '.join(present)} is set, but {', '.join(absent)} is not: {feature} needs both or neither",
            hint="Give the missing one: " + " ".join(f"--set-file {name}=PATH" for name in absent),
        )
