"""Finds each system call with which a command changes a file, and disturbs it there (strace's injection)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.conftest import Project

from .commands import Command, environ_of, prepare, values_in_use

SYSCALLS = (
    *("open", "openat", "creat", "write", "pwrite64", "writev", "truncate", "ftruncate"),
    *("copy_file_range", "sendfile", "fsync", "fdatasync", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "rmdir"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
)
_OPENING = ("open", "openat", "creat")
_CALL = re.compile(r"^(?:(?P<pid>\d+) +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")

IN_FULL = bool(os.environ.get("PROVE"))
SHORT_FORM_POINTS = 6
WORKERS = os.cpu_count() or 1


@dataclass(frozen=True)
class Point:
    """One call of a run.

    Attributes:
        syscall: Its name.
        number: The how many-th of that name in its process.
        line: What strace shows of it, for people.
    """

    syscall: str
    number: int
    line: str

    def __str__(self) -> str:
        return f"{self.syscall} {self.number}: {self.line}"


def run(project: Project, command: Command) -> subprocess.CompletedProcess[str]:
    """Run the command undisturbed."""
    return subprocess.run(
        command.line(project),
        env=environ_of(project),
        cwd=project.directory,
        input=command.standard_input,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def trace(project: Project, command: Command, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command under strace."""
    # Much faster, but strace delivers no injected signal with it.
    filtered = [] if any("signal=" in option for option in options) else ["--seccomp-bpf"]
    return subprocess.run(
        ["strace", "-qq", "-f", *filtered, *options, *command.line(project)],
        env=environ_of(project),
        cwd=project.directory,
        input=command.standard_input,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def disturb(project: Project, command: Command, point: Point, fault: str) -> subprocess.CompletedProcess[str]:
    """Run the command with ``fault`` at ``point``: ``signal=KILL`` or ``error=NAME``."""
    inject = f"inject={point.syscall}:{fault}:when={point.number}"
    return trace(project, command, "-e", f"trace={point.syscall}", "-e", inject, "-o", os.devnull)


def points_of(project: Project, command: Command, log: Path) -> list[Point]:
    """Each call of an undisturbed run that changes something of the project or the home folder."""
    done = trace(project, command, "-y", "-e", f"trace={','.join(SYSCALLS)}", "-o", str(log))
    assert done.returncode == 0, done.stderr
    counts: dict[tuple[str, str], int] = {}
    found: dict[tuple[str, int], Point] = {}
    for match in map(_CALL.match, log.read_text(errors="replace").splitlines()):
        if match is None:
            continue
        pid, name, arguments, result = match.group("pid", "name", "arguments", "result")
        number = counts[pid, name] = counts.get((pid, name), 0) + 1
        if int(result) >= 0 and _changes(project, name, arguments):
            found[name, number] = Point(name, number, arguments.replace(str(project.directory.parent), "")[:150])
    return list(found.values())


def _changes(project: Project, name: str, arguments: str) -> bool:
    if name in _OPENING and not re.search(r"O_(WRONLY|RDWR|CREAT)", arguments):
        return False
    where = arguments.split(", ", 1)[-1] if "AT_FDCWD" in arguments else arguments
    return any(str(folder) in where for folder in (project.directory, project.home))


def chosen(points: list[Point]) -> list[Point]:
    """All points, or in the short form some, from the first to the last."""
    if IN_FULL or len(points) <= SHORT_FORM_POINTS:
        return points
    last = len(points) - 1
    return [points[round(index * last / (SHORT_FORM_POINTS - 1))] for index in range(SHORT_FORM_POINTS)]


class Workshop:
    """Copies of a command's first state, one for each worker, restored as often as needed."""

    def __init__(self, directory: Path, command: Command) -> None:
        self._command = command
        self._free: SimpleQueue[tuple[Project, Path, dict[str, str] | None]] = SimpleQueue()
        for number in range(WORKERS):
            base = directory / f"worker {number}"
            project = Project(base / "now/a project", base / "now/home")
            prepare(project, command)
            shutil.copytree(base / "now", base / "before", symlinks=True)
            self._free.put((project, base, values_in_use(project)))
        self._compile_modules()

    def _compile_modules(self) -> None:
        """Run it once, so that later runs open the same files."""
        project, base, before = self._free.get()
        done = run(project, self._command)
        assert done.returncode == 0, done.stderr
        self._restore(base)
        self._free.put((project, base, before))

    @staticmethod
    def _restore(base: Path) -> None:
        shutil.rmtree(base / "now")
        shutil.copytree(base / "before", base / "now", symlinks=True)

    def each(
        self, items: list[tuple[Point, str]], check: Callable[[Project, Point, str, dict[str, str] | None], None]
    ) -> Iterator[str]:
        """Call ``check`` for every item, each on a fresh copy; gives what went wrong."""

        def one(item: tuple[Point, str]) -> str:
            project, base, before = self._free.get()
            try:
                self._restore(base)
                check(project, *item, before)
            except AssertionError as error:
                return f"{item[1]} at {item[0]}: {error}"
            finally:
                self._free.put((project, base, before))
            return ""

        with ThreadPoolExecutor(WORKERS) as pool:
            yield from (wrong for wrong in pool.map(one, items) if wrong)

    def points(self, log: Path) -> list[Point]:
        """See :func:`points_of`."""
        project, base, before = self._free.get()
        found = points_of(project, self._command, log)
        self._free.put((project, base, before))
        return found
