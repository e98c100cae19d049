"""Files with the modes that the project gives them."""

from __future__ import annotations

from pathlib import Path


def write_read_only(path: Path, content: str | bytes) -> None:
    """Write a new file with mode 0400. An existing file with this mode could be opened for writing only by root."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o400)
