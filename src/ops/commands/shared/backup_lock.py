"""What opens a backup: read from a file, or asked for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from src.ops.terminal.usage import UsageError
from src.utils.secrets.settings import read_private_file

from .given_keys import read_key

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.backup import Lock


def read_lock(passphrase_file: str | None, key_file: str | None, deployment: Deployment, *, is_new: bool) -> Lock:
    from src.ops.lifecycle.backup import Lock

    if passphrase_file and key_file:
        raise UsageError("--passphrase-file or --key-file, not both")
    if key_file:
        return Lock(key=read_key(key_file))
    if passphrase_file:
        return Lock(passphrase=_read_passphrase(passphrase_file))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("Without a terminal, give --passphrase-file or --key-file")
    from src.ops.terminal.prompts import ask_secret, ask_secret_twice
    from src.ops.values.strength import weakness

    if not is_new:
        return Lock(passphrase=ask_secret("Passphrase of the backup:"))
    known = [deployment.catalog.application, deployment.catalog.slug]
    return Lock(passphrase=ask_secret_twice("A passphrase for the backup:", check=lambda text: weakness(text, known)))


def _read_passphrase(path: str) -> str:
    """The passphrase in a file; ``-`` is standard input."""
    if path == "-":
        return sys.stdin.readline().removesuffix("\n")
    return read_private_file(os.path.expanduser(path), "--passphrase-file")
