"""One command with the state that it starts from, what an undisturbed run does, and what a disturbed one may do."""

from __future__ import annotations

import os
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

# An import that finds nothing lists a folder again when somebody has made a file in it meanwhile: one call more.
TRIES = 3
IN_FULL = bool(os.environ.get("PROVE"))

SAID_TO_BE_LEFT_OUT = {
    "warning: the audit trail": (TRAIL, f"{TRAIL}.lock"),
    "The summary was not written": ("SETUP.md",),
}
"""What a command may do without when it is refused, as long as it says so, and the ends of the files' names."""
MAY_DIFFER_AFTERWARDS = (
    TRAIL,  # two runs
    ".bak",  # of the run before
    ".sum",  # until the next change; it only makes a message more precise
    ".old-<id of a new key>",  # when the first run had come to its end, the second changed the key again
)
"""The ends of the names of files that need not be as after a single run once a second one has finished the first."""


@dataclass(frozen=True)
class Recorded:
    """An undisturbed run, with a umask that hides nothing.

    Attributes:
        calls: Every system call.
        ended: The states before and after.
        shown: What the files mean after it.
    """

    calls: list[Call]
    ended: Ended
    shown: dict[str, str]


class Stage:
    """Where one command is run again and again, each time from the same state.

    Args:
        interpreter: Runs it.
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
        """Make the state before."""
        write_state(self.project, self.before)

    def run(self) -> Done:
        """Run the command."""
        return self.command.run(self.runner)

    def disturb(self, point: Point, fault: str) -> Done:
        """Run the command from its first state with a fault at a point.

        Raises:
            AssertionError: The fault did not come to that point.
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
        """What a state means, with the keys that were there before, too."""
        return self.meaning_of(contents(state))

    def meaning_of(self, files: Contents) -> Meaning:
        """What files mean."""
        return Meaning(files, self.project, KNOWN, contents(self.before))

    # --- What may be there -------------------------------------------------------------------------------------------

    def assert_old_or_new(self, state: State) -> None:
        """The application reads a whole set, old or new; each file is old or new; nothing is open to others."""
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
        """Everything can be read, and is what it was or what it is to be."""
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
        """Nothing has changed: no byte, no mode, no owner. The trail has the attempt."""
        changed = {
            name
            for name in state.keys() | self.before.keys()
            if state.get(name) != self.before.get(name) and not _is_kept_on_failure(name)
        }
        assert not changed, f"changed: {sorted(changed)}"

    def assert_done(self, state: State, *, but: tuple[str, ...] = ()) -> None:
        """Everything is as after an undisturbed run, file by file.

        Args:
            state: What is there.
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

    def assert_done_as_said(self, state: State, done: Done) -> None:
        """Everything is as after an undisturbed run, but for what it says that it had to do without."""
        said = done.stdout + done.stderr
        but = [ends for text, ends in SAID_TO_BE_LEFT_OUT.items() if text in said]
        self.assert_done(state, but=tuple(end for ends in but for end in ends))

    def assert_next_run_finishes(self) -> None:
        """Whatever stopped it: run again, it ends with everything that it promises."""
        backup = self.project.directory / BACKUP
        if self.command.name == "backup" and backup.exists():
            self.command.promise(Ended(self.project, self.before, read_state(self.project)))
            backup.unlink()  # whole, so that the next run would refuse to write over it
        again = self.command.run_again(self.runner)
        assert again.returncode == 0, again.stderr
        self.assert_done(read_state(self.project), but=MAY_DIFFER_AFTERWARDS)

    # -----------------------------------------------------------------------------------------------------------------

    def _record(self) -> Recorded:
        done = self.run()  # it imports; later runs do no more
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
    """Locks, and the audit trail with its folders: it records attempts that failed, too."""
    return name.endswith((".lock", TRAIL)) or name.startswith("home/.local")
