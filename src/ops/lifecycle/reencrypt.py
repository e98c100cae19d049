"""Encrypting the application's data again with the current ``ENCRYPTION_KEY``, and then dropping its earlier values.

The data is rewritten in the application's container (:mod:`src.app.reencrypt`), where the keys and the database are.
The earlier values leave the store only after it has read everything with the current value alone, and that value is
compared with the store's. Every step may be repeated. The journal says no more than that it was begun, and
whether the key has its new value already: a second run must not make another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from src.ops.containers.folder import is_cloud_mode
from src.ops.containers.servers import APP, DATABASE
from src.ops.containers.stack import Stack, StackError
from src.ops.deployment.audit import recorded
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.journal import REENCRYPT, Journal
from src.ops.deployment.journal import REENCRYPT_WORDS as AGAIN
from src.ops.store_kinds import kind_in_use, open_store, open_store_to_change
from src.utils.secrets.changes import Change, require_stored
from src.utils.secrets.command import compose, make, manage
from src.utils.secrets.errors import ConfigurationError, SecretNotFoundError, SecretsError, StoreError
from src.utils.secrets.snapshot import SecretMetadata

from .apply import Applier, Needs, find_drift
from .rotate import Rotator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.snapshot import Snapshot

    from .rotate import Rotation

NAME = "ENCRYPTION_KEY"
DISCARD = (*AGAIN, "--discard")


@dataclass(frozen=True)
class Counts:
    """What the application says of its encrypted values; see ``Result`` in :mod:`src.app.reencrypt`."""

    current: int
    rewritten: int
    unreadable: int
    discarded: int
    is_proven: bool


@dataclass(frozen=True)
class ReencryptionPlan:
    """What would be done.

    Attributes:
        snapshot: What the store holds now.
        rotation: The new value for the key; ``None`` where the data is only encrypted with the current one.
        earlier: How many earlier values the store keeps.
        is_resumed: Whether an earlier run was interrupted.
        counts: What the application's data needs; ``None`` where it was not asked.
    """

    snapshot: Snapshot = field(repr=False)
    rotation: Rotation | None
    earlier: int
    is_resumed: bool
    counts: Counts | None


class Reencryptor:
    """Encrypts the data of one deployment again.

    Args:
        deployment: Whose.
        report: Called with what was done, one line each.
        begin: Called with what takes its time, before it begins.
        discards: Whether data that no key opens is removed. The key keeps its value then.
    """

    def __init__(
        self, deployment: Deployment, report: Callable[[str], None], begin: Callable[[str], None], *, discards: bool
    ) -> None:
        self._deployment = deployment
        self._report = report
        self._begin = begin
        self._discards = discards
        self._stack = Stack(deployment)
        self._journal = Journal(deployment, REENCRYPT)
        self._rotator = Rotator(deployment, report, begin)

    def plan(self, *, is_dry_run: bool = False) -> ReencryptionPlan:
        """Decide what is done. Nothing is changed.

        Args:
            is_dry_run: Do without Docker where it does not answer.

        Raises:
            ConfigurationError: The store keeps no earlier values.
            StackError: The stack does not run.
            StoreError: The data needs a key that is lost already.
            SecretsError: The store cannot be read.
        """
        kind = kind_in_use(self._deployment)
        if not kind.keeps_history:
            raise ConfigurationError(
                f"{NAME} cannot be re-encrypted: a dotenv file keeps no earlier values, which the data needs meanwhile",
                hint=manage("migrate", "--to", "file", purpose="Move to a store that does"),
            )
        snapshot = open_store(self._deployment).load()
        if not snapshot.values.get(NAME):
            raise SecretNotFoundError(f"{NAME} is not set", hint=manage("status"), names=[NAME])
        counts = None
        try:
            self._require_running()
            counts = self._count(snapshot)
        except StackError:
            if not is_dry_run:
                raise
        journal = self._journal.read()
        rotation = None
        if self._makes_new_value(snapshot, journal):
            if counts is not None and counts.unreadable and not is_dry_run:
                raise _lost(counts, "Nothing was changed")
            rotation = self._rotator.plan([NAME], {}, 0, is_dry_run=is_dry_run)
        return ReencryptionPlan(snapshot, rotation, _earlier(snapshot), journal is not None, counts)

    def run(self, plan: ReencryptionPlan) -> Counts:
        """Carry it out.

        Raises:
            SecretsError: A step failed, or no key opens some of the data. The earlier values are still there; running
                the command again goes on.
        """
        if plan.rotation is not None:
            self._journal.write(names=[NAME], has_new_value=False)
            self._rotate(plan.rotation)
        self._journal.write(names=[NAME], has_new_value=True)
        with deferred_interrupts() as check:
            check()
            snapshot = open_store(self._deployment).load()
            self._bring_to_containers(snapshot)
            check()
            counts = self._rewrite(snapshot)
            check()
            self._drop_earlier(snapshot)
            self._tell_containers()
            self._journal.clear()
        return counts

    def _makes_new_value(self, snapshot: Snapshot, journal: Mapping[str, Any] | None) -> bool:
        """Not where data may need earlier values already, and not where an interrupted run has made it."""
        is_made = journal is not None and journal.get("has_new_value") is True
        return not (self._discards or is_made or _earlier(snapshot))

    def _require_running(self) -> None:
        start = make("up", purpose="Start it")
        if not self._stack.is_used:
            raise StackError("No containers of this deployment are on this machine, so nothing was changed", hint=start)
        self._stack.require_docker()
        services = self._stack.services()
        for service in (DATABASE.service, APP):
            if services.get(service, {}).get("State") != "running":
                raise StackError(f"The {service} container does not run, so nothing was changed", hint=start)
        self._stack.require_own()

    def _rotate(self, rotation: Rotation) -> None:
        try:
            self._rotator.run(rotation)
        except SecretsError:
            if not self._rotator.unfinished():
                self._journal.clear()  # it was undone
            raise

    def _bring_to_containers(self, snapshot: Snapshot) -> None:
        """After an interrupted run, or a change that was not applied. With data to discard, the app is not healthy."""
        if self._discards:
            return
        drift = find_drift(self._deployment, snapshot, self._stack)
        if drift.files or drift.outdated:
            Applier(self._deployment, self._stack, self._report, self._begin).run(drift.needs, snapshot)

    def _count(self, snapshot: Snapshot) -> Counts | None:
        """Nothing where the app has not the store's value yet: it gets it later."""
        try:
            return self._ask("count", snapshot)
        except StackError:
            return None

    def _rewrite(self, snapshot: Snapshot) -> Counts:
        self._begin("Encrypting the data again")
        try:
            counts = self._ask("discard" if self._discards else "run", snapshot)
        except StackError as error:
            error.hints += (manage(*AGAIN, purpose="Then go on"),)
            raise
        if counts.unreadable:
            raise _lost(counts, f"The rest is encrypted with the current {NAME}; the earlier values are kept")
        if not counts.is_proven:
            raise StoreError(
                f"Another process still writes with an earlier {NAME}; the earlier values are kept",
                hint=[compose("restart", APP, purpose="Restart it"), manage(*AGAIN, purpose="Then go on")],
            )
        self._report(_summary(counts))
        return counts

    def _ask(self, action: str, snapshot: Snapshot) -> Counts:
        given = json.dumps({"current": snapshot.values[NAME]})
        answer = self._stack.execute(APP, ["python", "-m", "src.app.reencrypt", action], given)
        try:
            return Counts(**json.loads(answer.splitlines()[-1]))
        except (ValueError, TypeError, IndexError):
            raise StackError(
                "The app's container does not say what it has re-encrypted",
                hint=make("up", purpose="If its image is of an earlier release, build it again"),
            ) from None

    def _drop_earlier(self, proven: Snapshot) -> None:
        """Only while the store still has the value that was proven."""
        if not _earlier(proven):
            return
        store = open_store_to_change(self._deployment)
        value, metadata = proven.values[NAME], proven.metadata[NAME]
        change = Change(value, history=SecretMetadata(metadata.updated_at))
        with recorded(self._deployment, "rotate (re-encrypted)", [NAME], store.describe()):
            stored = store.save({NAME: change}, expected_revision=proven.revision)
            require_stored({NAME: value}, stored.values, store.describe())
        self._report(f"{store.describe()} has the current {NAME} only.")

    def _tell_containers(self) -> None:
        """A mounted file is the old one until the container restarts; an app that reads the store reads it again."""
        cloud = is_cloud_mode(self._deployment)
        needs = Needs(files=True, restarts=() if cloud else (APP,), reloads=(APP,) if cloud else ())
        snapshot = open_store(self._deployment).load()
        Applier(self._deployment, self._stack, self._report, self._begin).run(needs, snapshot)


def _earlier(snapshot: Snapshot) -> int:
    metadata = snapshot.metadata.get(NAME)
    return len(metadata.previous) if metadata else 0


def _lost(counts: Counts, done: str) -> StoreError:
    values = "1 value" if counts.unreadable == 1 else f"{counts.unreadable} values"
    return StoreError(
        f"No key opens {values} in the database. {done}",
        hint=[
            manage("rescue", purpose="Look for the key in other places"),
            manage(*DISCARD, purpose="Or, if it is lost permanently, remove what it encrypted"),
        ],
    )


def _summary(counts: Counts) -> str:
    total = counts.current + counts.rewritten
    values = "1 value opens" if total == 1 else f"{total} values open"
    discarded = f"; {counts.discarded} removed, because no key opened them" if counts.discarded else ""
    return f"{values} with the current {NAME} alone, {counts.rewritten} of them encrypted again{discarded}."
