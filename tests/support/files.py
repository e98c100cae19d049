"""Files with the modes that the project gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Project


def write_read_only(path: Path, content: str | bytes) -> None:
    """Write a new file with mode 0400. An existing file with this mode could be opened for writing only by root."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o400)


def everything(project: Project) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file and folder, those that :meth:`Project.state` leaves out as well."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for root in (project.directory, project.home)
        for path in (root, *sorted(root.rglob("*")))
        if ".coverage" not in path.name
    }
