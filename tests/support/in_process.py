"""Running the scripts inside this process: a whole table of commands would take minutes otherwise."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from src.ops.commands import docker_secrets
from src.ops.commands.group import main as manage_secrets
from src.ops.commands.shared.options import run_click
from src.utils.secrets import command as spelling
from tests.conftest import PROJECT, Project


def run_here(
    project: Project, name: str, *arguments: str, environ: dict[str, str] | None = None, standard_input: str = ""
) -> subprocess.CompletedProcess[str]:
    """What :meth:`Project.run` does, without a process of its own."""
    words = project.script(name, *arguments)
    output, errors = _stream(), _stream()
    with contextlib.ExitStack() as around:
        around.enter_context(_process(project, words, environ or {}, standard_input))
        around.enter_context(contextlib.redirect_stdout(output))
        around.enter_context(contextlib.redirect_stderr(errors))
        code = _run(name, words[1:])
    return subprocess.CompletedProcess(words, code, _text_of(output), _text_of(errors))


def _stream(text: str = "") -> io.TextIOWrapper:
    """A stream of bytes below one of text, as a process has it."""
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline="")


def _text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def _run(name: str, arguments: list[str]) -> int:
    if name == "generate_docker_secrets.sh":
        return docker_secrets.main(arguments)
    return run_click(manage_secrets if name == "manage_secrets.py" else _set_up())


@contextlib.contextmanager
def _process(project: Project, words: list[str], environ: dict[str, str], standard_input: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        wanted = project.environ(environ)
        for variable in list(os.environ):
            patch.delenv(variable)
        for variable, value in wanted.items():
            patch.setenv(variable, value)
        patch.setattr(sys, "argv", words)
        patch.setattr(sys, "stdin", _stream(standard_input))
        patch.setattr(spelling, "_spelling", spelling._spelling)
        patch.chdir(project.here)
        yield


@cache
def _set_up() -> Any:
    specification = importlib.util.spec_from_file_location("setup_secrets", PROJECT / "scripts/setup_secrets.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)

    specification.loader.exec_module(module)
    gc.enable()  # the script turns it off for its short life
    return module.main
