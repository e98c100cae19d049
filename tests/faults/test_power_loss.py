"""The power fails: what was not synced is gone. Played from a recording of every write, sync and rename of a command.

A file's content counts from its own fsync on, a name from the fsync of its folder on, as fsync(2) promises and no more.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, MultiFernet
from dotenv import dotenv_values

from tests import figures
from tests.conftest import Project, need_program, need_root

from .commands import COMMANDS, NEW, OLD, Command, prepare
from .steps import trace

RECORDED = "openat,write,fsync,rename,link,linkat,unlink,mkdir,rmdir"
PLAYED = ("first set-up", "later set-up", "set", "rotate-master-key", "restore")
_CALL = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass
class Inode:
    content: bytes = b""
    synced: bytes = b""


@dataclass
class Disk:
    """Names and contents as the system shows them, and as the disk has them.

    Attributes:
        shown: What is at each path now.
        durable: The names in each folder when it was last synced.
    """

    shown: dict[Path, Inode | None] = field(default_factory=dict)
    durable: dict[Path, dict[str, Inode | None]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Disk:
        """Everything below ``root``, synced."""
        disk = cls({root: None})
        for path in sorted(root.rglob("*")):
            content = None if path.is_dir() else path.read_bytes()
            disk.shown[path] = None if content is None else Inode(content, content)
        for path in [path for path, inode in disk.shown.items() if inode is None]:
            disk.sync_folder(path)
        return disk

    def sync_folder(self, folder: Path) -> None:
        self.durable[folder] = {path.name: inode for path, inode in self.shown.items() if path.parent == folder}

    def play(self, name: str, arguments: str) -> None:
        """Do what a recorded call did."""
        texts = [ast.literal_eval("b" + text) for text in _TEXT.findall(arguments)]
        paths = [Path(text.decode(errors="replace")) for text in texts]
        opened = re.match(r"\d+<(.*?)>", arguments)
        if name == "openat" and "O_CREAT" in arguments and paths[0].parent in self.shown:
            self.shown.setdefault(paths[0], Inode())
        elif name == "write" and opened and isinstance(inode := self.shown.get(Path(opened[1])), Inode):
            inode.content += texts[0]
        elif name == "fsync" and opened and Path(opened[1]) in self.shown:
            inode = self.shown[Path(opened[1])]
            if inode is None:
                self.sync_folder(Path(opened[1]))
            else:
                inode.synced = inode.content
        elif name in ("rename", "link", "linkat") and paths[0] in self.shown:
            self.shown[paths[1]] = self.shown[paths[0]]
            if name == "rename":
                del self.shown[paths[0]]
        elif name in ("unlink", "rmdir"):
            self.shown.pop(paths[0], None)
        elif name == "mkdir" and paths[0].parent in self.shown:
            self.shown[paths[0]] = None
            self.durable.setdefault(paths[0], {})

    def after_power_loss(self, root: Path) -> list[dict[Path, bytes | None]]:
        """What may be found: only what was synced; every name, but only synced contents; everything."""
        synced: dict[Path, bytes | None] = {root: None}
        folders = [root]
        while folders:
            folder = folders.pop()
            for name, inode in self.durable[folder].items():
                synced[folder / name] = None if inode is None else inode.synced
                if inode is None:
                    folders.append(folder / name)
        names = {path: None if inode is None else inode.synced for path, inode in self.shown.items()}
        everything = {path: None if inode is None else inode.content for path, inode in self.shown.items()}
        return [synced, names, everything]


def value_found(project: Project, files: dict[Path, bytes | None]) -> str | None:
    """``SECRET_KEY`` as the application would read it; ``None`` when nothing was set up yet."""
    key_content, token = files.get(project.key_file), files.get(project.secrets_file)
    settings = files.get(project.directory / ".env.production")
    assert token is None or key_content, "an encrypted file, and no key that opens it"
    if settings is None:
        return None
    assert token, "settings that name a file that is not there"
    assert key_content
    key = MultiFernet([Fernet(line) for line in re.split(r"[,\s]+", key_content.decode().strip())])
    value = json.loads(key.decrypt(token))["secrets"]["SECRET_KEY"]
    assert isinstance(value, str)
    path = project.directory / "settings to read"
    path.write_bytes(settings)
    assert dotenv_values(path)["SECRETS_BACKEND"] == "file"
    path.unlink()
    return value


@pytest.mark.parametrize("name", PLAYED)
def test_whenever_the_power_fails_the_old_or_the_new_value_is_there_and_at_the_end_the_new_one(
    name: str, tmp_path: Path
) -> None:
    need_root()
    need_program("strace", "strace")
    command: Command = next(command for command in COMMANDS if command.name == name)
    project = Project(tmp_path / "now/project", tmp_path / "now/home")
    prepare(project, command)
    shutil.rmtree(project.home / ".local", ignore_errors=True)
    disk = Disk.read(tmp_path / "now")
    before = value_found(project, disk.after_power_loss(tmp_path / "now")[0])
    log = tmp_path / "log"
    done = trace(project, command, "-y", "-s", "100000", "-e", f"trace={RECORDED}", "-o", str(log))
    assert done.returncode == 0, done.stderr
    found: str | None = before
    points = 0
    for match in map(_CALL.match, log.read_text(errors="replace").splitlines()):
        if match is None or int(match["result"]) < 0 or str(tmp_path) not in match["arguments"]:
            continue
        disk.play(match["name"], match["arguments"])
        for files in disk.after_power_loss(tmp_path / "now"):
            found = value_found(project, files)
            assert found in (before, command.after or OLD), match[0][:200]
            points += 1
    assert points > 20
    assert value_found(project, disk.after_power_loss(tmp_path / "now")[0]) == (command.after or OLD)
    assert disk.shown[project.secrets_file].content == project.secrets_file.read_bytes()  # type: ignore[union-attr]
    assert NEW not in done.stdout
    figures.add("power lost", points, "states")
