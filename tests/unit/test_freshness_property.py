"""What a reader may see after writes, faults, repairs, refreshes and time, in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from cryptography.fernet import Fernet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from src.utils.secrets import SecretsError, SecretsManager, manager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.settings import Settings

KEY = Fernet.generate_key().decode()
TTL, MAX_STALE = 300, 2000


class Reading(RuleBasedStateMachine):
    """A file, its manager, and every value that a reader may see now."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "secrets.enc"
        self.store = FileBackend(str(self.path), MasterKey([KEY], "a test"))
        self.now = 1000.0
        self.count = 0
        self.broken: bytes | None = None
        self.clock = patch.object(manager, "monotonic", lambda: self.now)
        self.clock.start()
        self.store.save({"A": Change("0")})
        environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": str(self.path), "SECRETS_MASTER_KEY": KEY}
        limits = {"SECRETS_CACHE_TTL": str(TTL), "SECRETS_MAX_STALE": str(MAX_STALE)}
        self.manager = SecretsManager(settings=Settings(environ | limits))
        # The rules do the work of the thread.
        with patch.object(SecretsManager, "_keep_fresh"):
            assert self.manager.get_secret("A") == "0"
        self.allowed = {"0"}
        self.loaded_at = self.now

    def teardown(self) -> None:
        self.clock.stop()
        shutil.rmtree(self.folder)

    @rule()
    @precondition(lambda self: self.broken is None)
    def write(self) -> None:
        self.count += 1
        self.store.save({"A": Change(str(self.count))})
        self.allowed.add(str(self.count))

    @rule(garbage=st.sampled_from([b"", b"garbage", b"gAAAAA"]))
    @precondition(lambda self: self.broken is None)
    def break_it(self, garbage: bytes) -> None:
        self.broken = self.path.read_bytes()
        self.path.chmod(0o600)
        self.path.write_bytes(garbage)

    @rule()
    @precondition(lambda self: self.broken is None)
    def remove_it(self) -> None:
        self.broken = self.path.read_bytes()
        self.path.unlink()

    @rule()
    @precondition(lambda self: self.broken is not None)
    def fix_it(self) -> None:
        assert self.broken is not None
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(self.broken)
        self.broken = None

    @rule(seconds=st.floats(0.1, 1500))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.now >= self.manager._next_try
        self.manager._refresh_if_due()
        if due and self.broken is None:
            self.note_refresh()

    @rule()
    def refresh(self) -> None:
        try:
            self.manager.refresh()
        except SecretsError:
            assert self.broken is not None
        else:
            assert self.broken is None
            self.note_refresh()

    def note_refresh(self) -> None:
        self.allowed = {str(self.count)}
        self.loaded_at = self.now

    @invariant()
    def a_read_is_as_new_as_the_last_refresh(self) -> None:
        attempts = self.manager._attempts
        try:
            with patch.object(SecretsManager, "_keep_fresh"):
                value = self.manager.get_secret("A")
        except SecretsError:
            assert self.now - self.loaded_at > MAX_STALE
            assert self.broken is not None or self.now < self.manager._next_try
            return
        if self.manager._attempts > attempts:  # a read loads the store only if the values are too old
            assert self.now - self.loaded_at > MAX_STALE
            self.note_refresh()
        assert value in self.allowed


Reading.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReading = Reading.TestCase
