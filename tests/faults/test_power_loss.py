"""Power failures, simulated from a recording of every system call of a command: everything that was not synced is lost.

A file's content is safe after its own fsync, a name after the fsync of its folder, as fsync(2) guarantees and no more.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import figures
from tests.conftest import Project

from .stage import Stage
from .states import TRAIL, State, contents, is_leftover, key_files
from .steps import Call, changing_calls, unknown_calls

NO_CONTENT = frozenset({"chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat"})
APPENDED = (TRAIL, ".lock")
"""The ends of the names of files that are appended to, not replaced."""
MAY_BE_MISSING = (*APPENDED, ".bak")
"""The ends of the names of files that may be missing at the end."""
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(eq=False)
class Inode:
    """A file.

    Attributes:
        content: The content that the system shows.
        synced: The content on the disk.
        is_at_end: Whether writes are appended.
    """

    content: bytes = b""
    synced: bytes = b""
    is_at_end: bool = True


class UnknownCallError(AssertionError):
    """The model does not know the effect of a call."""


@dataclass
class Disk:
    """The names and contents that the system shows, and those on the disk.

    Attributes:
        root: The folder of all files.
        shown: The file at each path; ``None`` is a folder.
        durable: The names in each folder when it was last synced.
        whole: Each complete content that a path has had.
    """

    root: Path
    shown: dict[Path, Inode | None] = field(default_factory=dict)
    durable: dict[Path, dict[str, Inode | None]] = field(default_factory=dict)
    whole: dict[Path, set[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, state: State) -> Disk:
        """Return the model of a synced state."""
        disk = cls(root, {root: None})
        for name, entry in state.items():
            inode = None if entry.content is None else Inode(entry.content, entry.content)
            disk.shown[root / name] = inode
            if inode is not None:
                disk.whole[root / name] = {inode.content}
        for path in [path for path, inode in disk.shown.items() if inode is None]:
            disk.sync_folder(path)
        return disk

    def sync_folder(self, folder: Path) -> None:
        """Write the names of a folder to the disk."""
        self.durable[folder] = {path.name: inode for path, inode in self.shown.items() if path.parent == folder}

    def play(self, call: Call) -> None:
        """Repeat a recorded call.

        Raises:
            UnknownCallError: It changes a file in a way that is not modelled.
        """
        paths = [Path(path) for path in call.paths if Path(path).is_relative_to(self.root)]
        known: dict[str, Callable[..., None]] = {
            **dict.fromkeys(("open", "openat", "creat"), self._open),
            **dict.fromkeys(("rename", "renameat", "renameat2"), self._rename),
            **dict.fromkeys(("link", "linkat"), self._link),
            **dict.fromkeys(("unlink", "unlinkat", "rmdir"), self._unlink),
            **dict.fromkeys(("mkdir", "mkdirat"), self._mkdir),
            **dict.fromkeys(("fsync", "fdatasync"), self._sync),
            **dict.fromkeys(NO_CONTENT, lambda *_: None),
            "write": self._write,
            "lseek": self._seek,
        }
        if call.name not in known:
            raise UnknownCallError(f"{call.name}({call.arguments[:200]})")
        known[call.name](call, *paths)

    def _open(self, call: Call, path: Path) -> None:
        inode = self.shown.setdefault(path, Inode())
        if inode is None or "O_TMPFILE" in call.arguments:
            raise UnknownCallError(f"{call.name}({call.arguments[:200]})")
        if "O_TRUNC" in call.arguments:
            inode.content = b""
        inode.is_at_end = not inode.content or "O_APPEND" in call.arguments

    def _write(self, call: Call, path: Path) -> None:
        inode = self.shown.get(path)
        if inode is None or not inode.is_at_end:
            raise UnknownCallError(f"a write into the middle of {path}")
        text = _TEXT.search(call.arguments)
        assert text
        inode.content += ast.literal_eval(f'b"{text[1]}"')[: int(call.result)]

    def _seek(self, call: Call, path: Path) -> None:
        inode = self.shown.get(path)
        if inode is not None and "SEEK_CUR" not in call.arguments:
            inode.is_at_end = False

    def _sync(self, call: Call, path: Path) -> None:
        inode = self.shown[path]
        if inode is None:
            self.sync_folder(path)
        else:
            inode.synced = inode.content

    def _rename(self, call: Call, old: Path, new: Path) -> None:
        self._link(call, old, new)
        del self.shown[old]

    def _link(self, call: Call, old: Path, new: Path) -> None:
        inode = self.shown[old]
        if inode is None:
            raise UnknownCallError(f"{call.name} of the folder {old}")
        self.shown[new] = inode
        self.whole.setdefault(new, set()).add(inode.content)

    def _unlink(self, call: Call, path: Path) -> None:
        del self.shown[path]

    def _mkdir(self, call: Call, path: Path) -> None:
        self.shown[path] = None
        self.durable.setdefault(path, {})

    def after_power_loss(self) -> list[dict[str, bytes]]:
        """Return the possible states: only what was synced; every name, but only synced contents; everything."""
        synced: dict[Path, bytes] = {}
        folders = [self.root]
        while folders:
            folder = folders.pop()
            for name, inode in self.durable[folder].items():
                if inode is None:
                    folders.append(folder / name)
                else:
                    synced[folder / name] = inode.synced
        files = {path: inode for path, inode in self.shown.items() if inode is not None}
        names = {path: inode.synced for path, inode in files.items()}
        return [self._named(found) for found in (synced, names, self.contents())]

    def contents(self) -> dict[Path, bytes]:
        """Return what the system shows."""
        return {path: inode.content for path, inode in self.shown.items() if inode is not None}

    def _named(self, files: dict[Path, bytes]) -> dict[str, bytes]:
        return {os.path.relpath(path, self.root): content for path, content in files.items()}


def assert_usable(stage: Stage, disk: Disk, files: dict[str, bytes]) -> None:
    """Check that the application reads a complete set, old or new, and that each other file is complete."""
    found = {name: content for name, content in files.items() if not is_leftover(name)}
    stage.assert_values(stage.meaning_of(found))
    torn = [
        name
        for name, content in found.items()
        if not name.endswith(APPENDED) and content not in disk.whole.get(disk.root / name, ())
    ]
    assert not torn, f"not whole: {torn}"
    encrypted = [name for name, content in found.items() if name.endswith(".enc") and content]
    assert key_files(found) or not encrypted, "an encrypted file, and no key that opens it"


def test_a_power_failure_leaves_the_old_or_new_value_and_at_the_end_the_new_one(stage: Stage) -> None:
    calls, project = stage.recorded.calls, stage.project
    assert unknown_calls(calls, project) == []
    disk = Disk.of(project.directory.parent, stage.before)
    states, seen = 0, set()
    for call in calls_that_count(calls, stage):
        disk.play(call)
        for files in disk.after_power_loss():
            states += 1
            state = hash(frozenset(files.items()))
            if state in seen:
                continue
            seen.add(state)
            try:
                assert_usable(stage, disk, files)
            except AssertionError as error:
                pytest.fail(f"after {call.name}({call.arguments[:200]}): {error}", pytrace=False)
    assert states > 20
    after = contents(stage.recorded.ended.new)
    shown = {name: content for name, content in disk.after_power_loss()[2].items() if not is_leftover(name)}
    assert shown == after, "the model shows another disk than the system"
    durable = disk.after_power_loss()[0]
    lost = [
        name for name, content in after.items() if durable.get(name) != content and not name.endswith(MAY_BE_MISSING)
    ]
    assert not lost, f"the command has ended, and these are not on the disk: {lost}"
    figures.add("power lost", states, "states")


def calls_that_count(calls: list[Call], stage: Stage) -> list[Call]:
    """Return the calls that change a file, and those that move the write position."""
    changing = set(changing_calls(calls, stage.project))
    root = str(stage.project.directory.parent)
    return [
        call
        for call in calls
        if call in changing or (call.name == "lseek" and any(root in path for path in call.paths))
    ]


@pytest.mark.parametrize("name", ["sendfile", "copy_file_range", "pwrite64", "writev", "renameat3", "io_uring_enter"])
def test_a_call_that_the_model_does_not_know_is_a_failure(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "now/a project", tmp_path / "now/home")
    path = project.directory / "file"
    call = Call(0.0, 0, name, 1, f'3<{path}>, "x", 1', "1", (str(path),))
    if unknown_calls([call], project):
        return
    assert changing_calls([call], project)
    with pytest.raises(UnknownCallError):
        Disk(tmp_path / "now").play(call)
