"""Replacing a file atomically."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from src.utils.secrets import atomicfile
from src.utils.secrets.atomicfile import make_private_directory, replace_file, stage_file
from src.utils.secrets.errors import StoreError
from tests.conftest import need_root


def test_a_new_file_has_its_mode_and_content(tmp_path: Path) -> None:
    replace_file(str(tmp_path / "f"), b"data", mode=0o400)
    assert (tmp_path / "f").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o400


def test_content_is_never_open_to_others_even_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    write = os.write

    def watched(descriptor: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    os.umask(0)
    replace_file(str(tmp_path / "f"), b"data", mode=0o644)
    os.umask(0o022)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


def test_a_file_made_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    staged = stage_file(str(tmp_path / "f"), b"mine", mode=0o400)
    (tmp_path / "f").write_text("theirs")
    with pytest.raises(StoreError, match="exists already"):
        staged.commit(must_not_exist=True)
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "theirs"


def test_content_that_reads_back_differently_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(atomicfile, "read_descriptor", lambda *_: b"something else")
    with pytest.raises(StoreError, match="reads back differently"):
        replace_file(str(tmp_path / "f"), b"new", mode=0o600)
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "as the owner"),
        (errno.EROFS, "read-only file system"),
        (errno.EIO, "ls -ld"),
    ],
)
def test_each_cause_has_its_hint(code: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=os.strerror(code)) as caught:
        replace_file(str(tmp_path / "f"), b"x", mode=0o600)
    assert hint in caught.value.hint
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stage_file(str(tmp_path / "f"), b"x", mode=0o600)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        replace_file(str(tmp_path / "none/f"), b"x", mode=0o600)
    assert caught.value.hint == f"Make the folder first: mkdir -p {tmp_path}/none"


def test_a_private_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    made = make_private_directory(str(tmp_path / "a/b"))
    assert made == [str(tmp_path / "a/b"), str(tmp_path / "a")]
    assert all(stat.S_IMODE(os.stat(path).st_mode) == 0o700 for path in made)
    assert make_private_directory(str(tmp_path / "a/b")) == []


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def failing(path: str, mode: int) -> None:
        if path.endswith("/b"):
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", failing)
    with pytest.raises(StoreError, match="No space"):
        make_private_directory(str(tmp_path / "a/b"))
    assert os.listdir(tmp_path) == []


def test_a_file_can_be_given_to_another_user(tmp_path: Path) -> None:
    need_root()
    replace_file(str(tmp_path / "f"), b"x", mode=0o400, owner=(10001, 10002))
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid) == (10001, 10002)


def test_a_failed_cleanup_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(str(tmp_path / "f"), b"old", mode=0o600)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        replace_file(str(tmp_path / "f"), b"new", mode=0o600)
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_finished_file_is_not_rolled_back(tmp_path: Path) -> None:
    staged = stage_file(str(tmp_path / "f"), b"new", mode=0o600)
    staged.commit()
    staged.finish()
    staged.rollback()
    assert (tmp_path / "f").read_bytes() == b"new"
