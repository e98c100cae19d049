"""Rotating secrets on a running stack.

The store is changed first, in one write; everything else then follows from what it holds, in steps that can be
repeated. So the journal needs no more than the names: after a crash, the next run goes through the steps again. When a
step fails, the store gets the earlier values back and the same steps make everything match them again.

At no moment is anybody locked out: Redis accepts both passwords until the application has the new one; the application
knows both database passwords while the database gets the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.containers.servers import APP, DATABASE, REDIS
from src.ops.containers.stack import Stack, StackError
from src.ops.deployment.audit import recorded
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.journal import Journal
from src.ops.store_kinds import kind_in_use, load_secrets, open_store, open_store_to_change
from src.ops.values.generate import generate_value
from src.ops.values.grace import previous_valid_until
from src.utils.secrets.command import make, manage
from src.utils.secrets.errors import ConfigurationError, SecretsError, StoreError
from src.utils.secrets.snapshot import Snapshot

from .apply import Applier, needs_of_change, require_accepted
from .edit import save_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.catalog import SecretSpec
    from src.utils.secrets.command import Hint

COMMAND = "rotate"
SHORTEST_DATABASE_GRACE_SECONDS = 600
STORE_ONLY = "If the stack does not run on this machine: --store-only"


@dataclass(frozen=True)
class RotationStep:
    """One secret of a rotation.

    Attributes:
        spec: The secret.
        value: Its new value.
        consequence: What else happens, human-readable.
    """

    spec: SecretSpec
    value: str = field(repr=False)
    consequence: str


@dataclass(frozen=True)
class Rotation:
    """What a rotation would do.

    Attributes:
        steps: The secrets that change.
        skipped: The names that do not, and why: with the command that gives one a new value, where there is one.
        snapshot: What the store holds now.
        is_live: Whether the stack is running and is changed with the store.
        grace_seconds: How long earlier values with a grace time are accepted.
        store_only_reason: Why only the store changes; empty where more does.
    """

    steps: tuple[RotationStep, ...]
    skipped: Mapping[str, Hint]
    snapshot: Snapshot
    is_live: bool
    grace_seconds: float
    store_only_reason: str = ""

    @property
    def names(self) -> list[str]:
        """The names of the secrets that change."""
        return [step.spec.name for step in self.steps]


class Rotator:
    """Rotates the secrets of one deployment.

    Args:
        deployment: Whose.
        report: Called with what was done, one line each.
        begin: Called with what takes its time, before it begins.
        store_only: Leave the stack alone.
    """

    def __init__(
        self,
        deployment: Deployment,
        report: Callable[[str], None],
        begin: Callable[[str], None],
        *,
        store_only: bool = False,
    ) -> None:
        self._deployment = deployment
        self._report = report
        self._begin = begin
        self._stack = Stack(deployment)
        self._journal = Journal(deployment, COMMAND)
        self._store_only = store_only

    def unfinished(self) -> list[str]:
        """The names of a rotation that was begun and not finished; empty when there is none."""
        content = self._journal.read()
        return [str(name) for name in content["names"]] if content else []

    def plan(
        self, names: Sequence[str], given: Mapping[str, str], grace_seconds: float, *, is_dry_run: bool = False
    ) -> Rotation:
        """Decide what changes.

        Args:
            names: The secrets to rotate.
            given: Values that somebody typed, or read from a file.
            grace_seconds: How long earlier values with a grace time are accepted.
            is_dry_run: Do without Docker where it does not answer: nothing is changed.

        Raises:
            ConfigurationError: A secret cannot be rotated now.
            SecretsError: The store cannot be read.
        """
        snapshot = load_secrets(self._deployment, open_store(self._deployment))
        running, reason = self._running_or_reason(is_dry_run=is_dry_run)
        steps = []
        skipped: dict[str, Hint] = {}
        for name in names:
            spec = self._deployment.catalog.find(name)
            assert spec is not None
            if name not in snapshot.values:
                skipped[name] = "It is not set"
            elif name not in given and not spec.generated:
                skipped[name] = manage("rotate", name, purpose="Only its provider can issue it; to type it")
            else:
                value = given.get(name) or generate_value(spec)
                steps.append(RotationStep(spec, value, _consequence(spec, is_live=APP in running)))
        specs = [step.spec for step in steps]
        if not is_dry_run:
            self._refuse_locking_out(specs, running)
        if APP in running:
            self._refuse_without_earlier_values(specs, grace_seconds)
        return Rotation(tuple(steps), skipped, snapshot, APP in running, grace_seconds, reason)

    def run(self, rotation: Rotation) -> None:
        """Carry a rotation out.

        Raises:
            SecretsError: A step failed. What was done has been undone, or the message says that it could not be; then
                running the command again finishes it.
            KeyboardInterrupt: Ctrl-C came before anything was changed.
        """
        if rotation.is_live and rotation.steps:
            self._begin("Signing in to the servers, before anything changes")
            require_accepted(rotation.snapshot, self._stack)
        values = {step.spec.name: step.value for step in rotation.steps}
        before = {name: rotation.snapshot.values[name] for name in values}
        store = open_store_to_change(self._deployment)
        with deferred_interrupts() as check:
            check()
            self._journal.write(names=rotation.names, revision=rotation.snapshot.revision)
            try:
                stored = save_values(
                    self._deployment,
                    store,
                    values,
                    command=COMMAND,
                    expected_revision=rotation.snapshot.revision,
                    grace_seconds=rotation.grace_seconds,
                )
            except SecretsError:
                if self._is_unchanged(before):
                    self._journal.clear()
                raise
            self._report(f"{store.describe()} has the new values, read back.")
            try:
                self._follow(rotation.names, before)
            except SecretsError as error:
                raise self._undo(rotation, store, stored, before, error) from None
            self._journal.clear()

    def finish(self) -> list[str]:
        """Finish a rotation that was interrupted: make everything match the store.

        Returns:
            The names that have new values; none when it was interrupted before the store was changed.

        Raises:
            SecretsError: A step failed; running this again goes on.
        """
        journal = self._journal.read() or {}
        names = [str(name) for name in journal.get("names", [])]
        store = open_store_to_change(self._deployment)
        revision = store.load().revision
        was_undoing = "undone_from" in journal
        is_changed = revision == journal["undone_from"] if was_undoing else revision != journal.get("revision")
        with deferred_interrupts() as check, recorded(self._deployment, "rotate (finished)", names, store.describe()):
            check()
            self._follow(names, {})
            self._journal.clear()
        return names if is_changed else []

    def _undo(
        self,
        rotation: Rotation,
        store: Backend,
        stored: Snapshot,
        before: Mapping[str, str],
        error: SecretsError,
    ) -> SecretsError:
        try:
            grace = rotation.grace_seconds  # the app has to know both while the database changes back, too
            self._journal.write(names=rotation.names, undone_from=stored.revision)
            save_values(self._deployment, store, before, command="rotate (undone)", grace_seconds=grace)
            self._follow(rotation.names, stored.values)
        except SecretsError as second:
            return StoreError(
                f"The rotation stopped in the middle: {error} Undoing it did not work either: {second}",
                hint=[*second.hints, manage("rotate", purpose="Finish it")],
            )
        self._journal.clear()
        return StoreError(
            f"The rotation failed and was undone; the earlier values are in use: {error}", hint=error.hints
        )

    def _follow(self, names: Sequence[str], others: Mapping[str, str]) -> None:
        """Make everything match the store. May be repeated.

        Args:
            names: The secrets that changed.
            others: Values that servers may still have besides those that the store remembers.
        """
        snapshot = open_store(self._deployment).load()
        specs = [spec for spec in self._deployment.catalog.secrets if spec.name in names]
        earlier = {name: [value] for name, value in others.items()}
        needs = needs_of_change(self._deployment, specs, self._running(), earlier)
        Applier(self._deployment, self._stack, self._report, self._begin).run(needs, snapshot)

    def _running(self) -> set[str]:
        """The services that run and are changed with the store."""
        if self._store_only or not self._stack.is_used:
            return set()
        try:
            self._stack.require_docker()
            running = self._stack.running()
            if running:
                self._stack.require_own()
        except StackError as error:
            error.hints += (STORE_ONLY,)
            raise
        return running

    def _running_or_reason(self, *, is_dry_run: bool) -> tuple[set[str], str]:
        """The services that run and are changed with the store, or why there are none."""
        if self._store_only:
            return set(), ""
        if not self._stack.is_used:
            return set(), "No containers use Docker files of this deployment: only the store changes"
        try:
            running = self._running()
        except StackError as error:
            if not is_dry_run:
                raise
            return set(), f"What runs is not known: {error}"
        return running, "" if running else "No container runs: the store and the Docker files change"

    def _refuse_locking_out(self, specs: Sequence[SecretSpec], running: set[str]) -> None:
        """A database or Redis that is not told would keep its old password."""
        if self._store_only or not self._stack.is_used or not self._stack.exists():
            return
        for spec in specs:
            for service in (DATABASE.service, REDIS.service):
                if service in spec.consumers and not {APP, service} <= running:
                    raise ConfigurationError(
                        f"{service} has {spec.name} too and is not running: it would keep the old one",
                        hint=[
                            make("up", purpose="Start the stack first"),
                            manage(
                                "rotate",
                                *(other.name for other in specs),
                                "--store-only",
                                purpose=f"Or change the store alone, and {service} yourself",
                            ),
                        ],
                    )

    def _refuse_without_earlier_values(self, specs: Sequence[SecretSpec], grace_seconds: float) -> None:
        """While the database changes, the app has to know both passwords."""
        for spec in specs:
            if DATABASE.service not in spec.consumers:
                continue
            if not kind_in_use(self._deployment).keeps_history:
                raise ConfigurationError(
                    f"{spec.name} cannot be rotated on a running stack: a dotenv file keeps no earlier values",
                    hint=manage("migrate", "--to", "file", "--apply", purpose="Move to a store that does"),
                )
            if grace_seconds < SHORTEST_DATABASE_GRACE_SECONDS:
                raise ConfigurationError(
                    f"The grace time is too short for {spec.name}: the app needs both values for some minutes",
                    hint="Give --grace 10m or more, or rotate the others by themselves",
                )

    def _is_unchanged(self, before: Mapping[str, str]) -> bool:
        try:
            values = open_store(self._deployment).load().values
        except SecretsError:
            return False
        return all(values.get(name) == value for name, value in before.items())


def _consequence(spec: SecretSpec, *, is_live: bool) -> str:
    if not is_live:
        return spec.change_note or "restart what uses it"
    if DATABASE.service in spec.consumers:
        return "the database's role gets it while it runs"
    if REDIS.service in spec.consumers:
        return "Redis accepts both for a moment"
    if spec.previous_values == "kept":
        return spec.change_note or "the old value stays until it is removed by hand"
    if spec.previous_values == "grace":
        return f"the old value is accepted until {previous_valid_until(spec)}"
    return spec.change_note or "the old value stops working"
