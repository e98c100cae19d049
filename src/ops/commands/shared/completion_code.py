"""Tab completion: what a shell has to load. Names are completed from the catalogue; no value is ever looked at."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem, get_completion_class

from src.utils.secrets.catalog import DEFAULT_PATH, load_catalog
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import PROJECT_DIRECTORY

from .options import completion_variable

if TYPE_CHECKING:
    import click

PROGRAMS = ("manage_secrets.py", "setup_secrets.py")


def completion_code(shell: str, command: click.Command) -> str:
    """Code for ``shell`` that completes both scripts, called by whatever path.

    click's code for zsh and fish calls a program by its name, as if it were in ``PATH``; here it is called by its path.
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    parts = []
    for program in PROGRAMS:
        source = shell_class(command, {}, program, completion_variable(program)).source()
        path = shlex.quote(os.path.join(PROJECT_DIRECTORY, "scripts", program))
        source = source.replace(f"(( ! $+commands[{program}] )) && return 1\n", "")
        parts.append(
            source.replace(f"{shell}_complete {program}", f"{shell}_complete {path}").replace(
                f"COMP_CWORD=(commandline -t) {program}", f"COMP_CWORD=(commandline -t) {path}"
            )
        )
    return "\n".join(parts)


def complete_name(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the catalogue that begin like ``incomplete``; none when the catalogue cannot be read."""
    directory = context.params.get("project_directory") or PROJECT_DIRECTORY
    try:
        catalog = load_catalog(context.params.get("catalog") or os.path.join(directory, DEFAULT_PATH))
    except SecretsError:
        return []
    return [
        CompletionItem(spec.name, help=spec.description)
        for spec in catalog.secrets
        if spec.name.startswith(incomplete.upper())
    ]
