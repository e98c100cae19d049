"""Whether a folder may take secrets: nobody else may have made it, lead it elsewhere, or put files into it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from src.utils.secrets.command import program
from src.utils.secrets.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def require_trusted_folder(path: str, owners: Collection[int]) -> None:
    """Refuse a folder through which another user could read or replace what is written there.

    Args:
        path: The folder; one that is not there yet is made by this user, in the folder above it.
        owners: User ids that may have made it. Root always may.

    Raises:
        StoreError: Another user made it, or the link in its place, or it is open to writing by others.
    """
    trusted = {0, *owners}
    if not os.path.lexists(path):
        _require_safe_place(os.path.abspath(path))
        return
    link = os.lstat(path)
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in trusted:
        raise StoreError(
            f"{path} is a link that user {link.st_uid} made; secrets are not written through it",
            hint=program("ls", "-ld", os.path.abspath(path), purpose="Look at it, and move it away"),
        )
    try:
        folder = os.stat(path)
    except FileNotFoundError:
        raise StoreError(
            f"{path} is a link to nothing",
            hint=program("ls", "-ld", os.path.abspath(path), purpose="Look at it, and move it away"),
        ) from None
    if folder.st_uid not in trusted:
        raise StoreError(
            f"{path} belongs to user {folder.st_uid}, who could read or replace the secrets in it",
            hint=program(
                "ls", "-ld", os.path.abspath(path), purpose="Choose a folder of your own, or look who made it"
            ),
        )
    mode = stat.S_IMODE(folder.st_mode)
    if mode & WRITABLE_BY_OTHERS:
        raise StoreError(
            f"{path} can be written by others (mode {mode:04o}), who could replace the secrets in it",
            hint=program("chmod", "0700", os.path.abspath(path), purpose="Close it, and look at what is in it"),
        )


def _require_safe_place(path: str) -> None:
    """Refuse to make a folder where everybody could rename it and put another in its place."""
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    mode = os.stat(parent).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreError(
            f"{parent} can be written by everybody (mode {stat.S_IMODE(mode):04o}), who could replace {path}",
            hint=program("chmod", "o-w", parent, purpose="Choose another folder, or close this one"),
        )
