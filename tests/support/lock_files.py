"""The content of the lock files."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import PROJECT

INSTALLED = ("requirements.txt", "requirements-cloud.txt", "requirements-secrets.txt")
"""The lock files of the packages that users install."""


def packages(file: str | Path) -> list[str]:
    """Return the names in one lock file."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", (PROJECT / file).read_text(), re.MULTILINE)
