#!/usr/bin/env python3
"""Writes the files that come from config/catalog.toml: .env.example, .env.production.example, docs/secrets.md."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from src.utils.interpreter import PROJECT_DIRECTORY, use_project_interpreter

use_project_interpreter("click")

import click

from src.ops.commands.shared.options import run_click
from src.ops.generated.render import render_all
from src.utils.secrets.atomicfile import replace_file
from src.utils.secrets.catalog import load_catalog


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when a file is stale.")
def main(check: bool) -> int:
    """Write the files that come from config/catalog.toml."""
    stale = 0
    for name, text in render_all(load_catalog()).items():
        path = os.path.join(PROJECT_DIRECTORY, name)
        if os.path.exists(path) and _read(path) == text:
            continue
        stale = 1
        click.echo(f"{name}: {'stale' if check else 'written'}")
        if not check:
            replace_file(path, text.encode(), mode=0o644)
    return stale if check else 0


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(run_click(main))
