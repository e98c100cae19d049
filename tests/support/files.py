"""Files as the project leaves them."""

from __future__ import annotations

from pathlib import Path


def write_read_only(path: Path, content: str | bytes) -> None:
    """A new file with mode 0400; only root could open one for writing that has this mode already."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o400)
