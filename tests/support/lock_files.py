"""What the lock files name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import PROJECT

INSTALLED = ("requirements.txt", "requirements-cloud.txt", "requirements-secrets.txt")
"""Of what people install."""


def packages(file: str | Path) -> list[str]:
    """The names in one lock file."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", (PROJECT / file).read_text(), re.MULTILINE)
