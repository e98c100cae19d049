"""One command with its start state, what a normal run does, and what a disturbed run may do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Project

from .commands import (
    BACKUP,
    IN_PROJECT,
    KNOWN,
    NEW,
    Command,
    Ended,
    Runner,
    assert_private,
    expected_values,
    plain_files,
    prepare,
)
from .interpreter import Done, Interpreter
from .states import TRAIL, Contents, Meaning, State, contents, is_leftover, read_state, write_state
from .steps import (
    RECORDING,
    Call,
    Point,
    injection,
    injection_into_child,
    kind_of,
    points_of,
    read_process,
    read_recording,
)

# An import that finds nothing lists a folder again if a new file is in it: one more call.
TRIES = 3

REPORTED_AS_LEFT_OUT = {
    "warning: the audit trail": (TRAIL, f"{TRAIL}.lock"),
    "The summary was not written": ("SETUP.md",),
}
"""Messages with which a command may continue after an error, and the ends of the names of the files concerned."""
MAY_DIFFER_AFTERWARDS = (
    TRAIL,  # two runs
    ".bak",  # of the run before
    ".sum",  # missing until the next change; it only makes a message more precise
    ".old-<id of a new key>",  # if the first run was complete, the second has changed the key again
)
"""The ends of the names of files that may differ from a single run, after a second run has finished the first."""


@dataclass(frozen=True)
class Recorded:
    """A normal run, with a umask that forbids nothing.

    Attributes:
        calls: Every system call.
        ended: The states before and after.
        shown: The meaning of the files after it.
    """

    calls: list[Call]
    ended: Ended
    shown: dict[str, str]


class Stage:
    """Runs one command many times, each time from the same start state.

    Args:
        interpreter: Runs the command.
        directory: An empty folder.
        command: The command.
    """

    def __init__(self, interpreter: Interpreter, directory: Path, command: Command) -> None:
        self.command = command
        self.project = Project(directory / "now" / IN_PROJECT, directory / "now/home")
        self.runner = Runner(interpreter, self.project)
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True)
        prepare(self.runner, command)
        self.before = read_state(self.project)
        self.values_before = Meaning(contents(self.before), self.project, KNOWN).values()
        self.shown_before = self.meaning(self.before).by_file()
        self.recorded = self._record()
        self.points = points_of(self.recorded.calls, self.project)

    def reset(self) -> None:
        """Restore the start state."""
        write_state(self.project, self.before)

    def run(self) -> Done:
        """Run the command."""
        return self.command.run(self.runner)

    def disturb(self, point: Point, fault: str) -> Done:
        """Run the command from its start state with a fault at a point.

        Raises:
            AssertionError: The run did not reach that point.
        """
        for _ in range(TRIES):
            self.reset()
            self._clear_logs()
            log = self._logs / "log"
            if point.call.process:
                environ = injection_into_child(point, fault, log, self._logs / "script")
                done = self.command.run(self.runner, environ=environ)
            else:
                done = self.command.run(self.runner, strace=injection(point, fault, log))
            calls = read_process(0, log, str(self.project.directory))
            hit = [kind_of(call, self.project) for call in calls if call.number == point.call.number]
            if hit == [point.kind]:
                return done
        raise AssertionError("the run took another way")

    def meaning(self, state: State) -> Meaning:
        """Return the meaning of a state, using also the previous keys."""
        return self.meaning_of(contents(state))

    def meaning_of(self, files: Contents) -> Meaning:
        """Return the meaning of files."""
        return Meaning(files, self.project, KNOWN, contents(self.before))

    # --- Allowed states -------------------------------------------------------------------------------------------

    def assert_old_or_new(self, state: State) -> None:
        """Check that the application reads a complete set, and that each file is private, and old or new."""
        meaning = self.meaning(state)
        self.assert_values(meaning)
        assert_private(state)
        assert plain_files(state, self.command) == []
        if self.command.has_steps:
            return
        now = meaning.by_file()
        for name in now.keys() | self.shown_before.keys() | self.recorded.shown.keys():
            if not name.endswith((".lock", ".sum", ".bak", TRAIL)):
                may_be = (self.shown_before.get(name), self.recorded.shown.get(name))
                assert now.get(name) in may_be, f"{name} is neither as before nor as after"

    def assert_values(self, meaning: Meaning) -> None:
        """Check that everything can be read, and is old or new."""
        now, before = meaning.values(), self.values_before
        if now is None:
            assert before is None, "nothing is set up any more"
            return
        assert now["SECRET_KEY"] in expected_values(self.command, before)
        expected = before or self.recorded.ended.values()
        assert now.keys() == expected.keys()
        if before:
            assert {**now, "SECRET_KEY": ""} == {**before, "SECRET_KEY": ""}

    def assert_old(self, state: State) -> None:
        """Check that no byte, mode or owner has changed, and that the audit trail has the attempt."""
        changed = {
            name
            for name in state.keys() | self.before.keys()
            if state.get(name) != self.before.get(name) and not _is_kept_on_failure(name)
        }
        assert not changed, f"changed: {sorted(changed)}"

    def assert_done(self, state: State, *, but: tuple[str, ...] = ()) -> None:
        """Check that every file is as after a normal run.

        Args:
            state: The files.
            but: Ends of the names of files that may differ.
        """
        self.command.promise(Ended(self.project, self.before, state))
        assert [name for name in state if is_leftover(name)] == []
        now, after = self.meaning(state).by_file(), self.recorded.shown
        wrong = {name for name in now.keys() | after.keys() if now.get(name) != after.get(name)}
        wrong = {name for name in wrong if not name.endswith(but or ("\0",))}
        assert not wrong, "\n".join(f"{name}: {now.get(name)}\ninstead of {after.get(name)}" for name in sorted(wrong))
        modes = {name: (entry.mode, entry.owner) for name, entry in self.recorded.ended.new.items()}
        wrong = {
            name
            for name, entry in state.items()
            if (entry.mode, entry.owner) != modes.get(name, (entry.mode, entry.owner))
        }
        assert not wrong, f"mode or owner: {sorted(wrong)}"

    def assert_done_except_reported(self, state: State, done: Done) -> None:
        """Check that every file is as after a normal run, except those that the command reported."""
        said = done.stdout + done.stderr
        but = [ends for text, ends in REPORTED_AS_LEFT_OUT.items() if text in said]
        self.assert_done(state, but=tuple(end for ends in but for end in ends))

    def assert_next_run_finishes(self) -> None:
        """Check that the next run succeeds and does everything that the command promises."""
        backup = self.project.directory / BACKUP
        if self.command.name == "backup" and backup.exists():
            self.command.promise(Ended(self.project, self.before, read_state(self.project)))
            backup.unlink()  # a complete file, which the next run would refuse to overwrite
        again = self.command.run_again(self.runner)
        assert again.returncode == 0, again.stderr
        self.assert_done(read_state(self.project), but=MAY_DIFFER_AFTERWARDS)

    # -----------------------------------------------------------------------------------------------------------------

    def _record(self) -> Recorded:
        done = self.run()  # the first run imports modules; later runs do not
        assert done.returncode == 0, done.stderr
        self.reset()
        log = self._logs / "log"
        done = self.command.run(self.runner, umask=0, strace=[*RECORDING, "-o", str(log)])
        assert done.returncode == 0, done.stderr
        assert NEW not in done.stdout + done.stderr
        ended = Ended(self.project, self.before, read_state(self.project))
        self.command.promise(ended)
        return Recorded(read_recording(log, self.project.directory), ended, ended.meaning().by_file())

    def _clear_logs(self) -> None:
        for path in self._logs.iterdir():
            path.unlink()


def _is_kept_on_failure(name: str) -> bool:
    """Return whether it is a lock, or the audit trail or its folder: the trail also records failed attempts."""
    return name.endswith((".lock", TRAIL)) or name.startswith("home/.local")
