"""Writing files so that a later step that fails takes them back."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import TYPE_CHECKING

from src.utils.secrets.atomicfile import make_private_directory, numbered_names, replace_file
from src.utils.secrets.snapshot import utc_now

from .dotenv import write_dotenv

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack


PRIVATE_MODE = 0o400


def make_directories(path: str, undo: ExitStack) -> None:
    """Make a private folder, and those above it that are missing.

    Args:
        path: The folder.
        undo: Gets what removes the folders that were made.

    Raises:
        StoreError: It cannot be made.
    """
    for directory in reversed(make_private_directory(path)):
        undo.callback(_remove_directory, directory)


def write_settings(path: str, lines: Mapping[str, str | None], heading: str, undo: ExitStack) -> None:
    """Set lines of a dotenv file. See :func:`.dotenv.write_dotenv`."""
    before = _read(path)
    mode = os.stat(path).st_mode & 0o777 if before is not None else 0
    write_dotenv(path, lines, heading=heading)
    undo.callback(_restore, path, before, mode, _read(path))


def write_private_file(path: str, content: bytes, mode: int, undo: ExitStack) -> None:
    """Write a file for nobody else, and the folders above it.

    Raises:
        StoreError: It cannot be written.
    """
    make_directories(os.path.dirname(path), undo)
    before = _read(path)
    replace_file(path, content, mode=mode)
    undo.callback(_restore, path, before, mode, _read(path))


def copy_aside(path: str, undo: ExitStack) -> list[str]:
    """Keep a dotenv file that is about to be changed; the rest of its lines stay in it.

    Args:
        path: The file.
        undo: Gets what removes the copy.

    Returns:
        The copy, if there was anything to keep.
    """
    content = _read(path)
    if content is None:
        return []
    copy = aside_name(path)
    replace_file(copy, content, mode=PRIVATE_MODE, must_not_exist=True)
    undo.callback(os.unlink, copy)
    return [copy]


def aside_name(path: str) -> str:
    """A name for what is put aside that is not taken: ``path.lost-TIME``."""
    return unused_name(f"{path}.lost-{utc_now().replace(':', '')}")


def unused_name(path: str) -> str:
    """The first of its numbered names that neither a file nor what belongs to one has."""
    names = numbered_names(path)
    return next(name for name in names if not (os.path.lexists(name) or glob.glob(f"{glob.escape(name)}.*")))


def remove_file(path: str) -> None:
    """Remove a file that may be gone by now."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _restore(path: str, before: bytes | None, mode: int, written: bytes | None) -> None:
    """Put back what a file was, unless somebody has changed it since it was written."""
    if _read(path) != written:
        return
    if before is None:
        remove_file(path)
        return
    status = os.stat(path)
    replace_file(path, before, mode=mode, owner=(status.st_uid, status.st_gid))


def _read(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _remove_directory(path: str) -> None:
    # Not empty: somebody else has put something there meanwhile.
    with contextlib.suppress(OSError):
        os.rmdir(path)
