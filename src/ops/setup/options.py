"""What the command line of the set-up says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.settings import SecretsBackend


START_OVER = "start over"
"""What has to be typed to give secrets up."""


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        backend: The store; asked for, or the one in use, when left out.
        non_interactive: Ask nothing.
        dry_run: Show the plan and stop.
        yes: Do not ask for confirmation.
        import_source: Path of a file with values, ``-`` for standard input.
        replace: Whether imported values replace existing ones.
        set_files: Name, and path of the file with its value.
        adopt: Folder of a deployment of the original system, to take over.
        adopt_key_file: The file with the original's master key, where its settings do not have it.
        master_key_file: The key file, read if it is there, else written.
        accepted: The names whose values are taken although something about them is odd.
        start_over: Whether new secrets take the place of those that are there, or were.
        word: What was given as confirmation of that.
    """

    backend: SecretsBackend | None = None
    non_interactive: bool = False
    dry_run: bool = False
    yes: bool = False
    import_source: str | None = None
    replace: bool = False
    set_files: Mapping[str, str] = field(default_factory=dict)
    adopt: str | None = None
    adopt_key_file: str | None = None
    master_key_file: str | None = None
    accepted: tuple[str, ...] = ()
    start_over: bool = False
    word: str = ""
