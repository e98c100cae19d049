"""A master key that somebody gives: in a file, on standard input, or pasted unseen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from src.utils.secrets.errors import SecretsError
from src.utils.secrets.masterkey import parse_master_key, read_master_key_file

if TYPE_CHECKING:
    from src.utils.secrets.masterkey import MasterKey

PASTED = "what was pasted"


def read_key(path: str) -> MasterKey:
    """The key in a file; ``-`` is standard input."""
    if path == "-":
        return parse_master_key(sys.stdin.readline().strip(), "standard input")
    return read_master_key_file(os.path.expanduser(path), "--key-file")


def ask_for_key() -> MasterKey:
    """Ask for a key at the terminal, until what is pasted is one."""
    from src.ops.terminal.prompts import ask_secret

    return parse_master_key(ask_secret("Paste the master key:", check=_fault).strip(), PASTED)


def _fault(text: str) -> str | None:
    try:
        parse_master_key(text.strip(), PASTED)
    except SecretsError as error:
        return f"{error}."
    return None
