"""A folder with one file for each secret: ``secrets/``, systemd's credentials, a mounted Secret of Kubernetes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.settings import MAX_VALUE_BYTES, open_regular

from .choose import without_line_end
from .entries import FILE, Content, Entry
from .faults import NOT_UTF8
from .names import name_of_file

if TYPE_CHECKING:
    from .names import Names

_EARLIER_VALUES = "_previous.json"


def read_folder(path: str, names: Names) -> Content:
    """The values in the files of a folder; only files that are named after secrets are opened.

    Args:
        path: The folder.
        names: All names of secrets.

    Raises:
        OSError: It cannot be listed.
    """
    content = Content(FILE)
    files = sorted(name for name in os.listdir(path) if not name.startswith(".") and not name.endswith(_EARLIER_VALUES))
    for place, name in enumerate(files, 1):
        full = os.path.join(path, name)
        if os.path.isdir(full):
            continue
        if names.find_file(name) is None:
            content.entries.append(Entry(place, name_of_file(name), "unread"))
        else:
            content.entries.append(_read(place, name, full))
    return content


def _read(place: int, name: str, path: str) -> Entry:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        return Entry(place, name, "", f"the file cannot be read: {error.strerror}: check who may read it")
    if len(data) > MAX_VALUE_BYTES:
        return Entry(place, name, "", "the file is larger than 1 MiB: check that it is the right one")
    try:
        return Entry(place, name, without_line_end(data.decode()))
    except UnicodeDecodeError:
        return Entry(place, name, "", NOT_UTF8)
