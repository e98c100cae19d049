"""The Makefile's tasks work on the deployment that they are given, and on no other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from src.utils.secrets.command import Spelling, make
from tests.conftest import PROJECT, Project, need_program

HOSTILE = 'a b/it\'s $HOME `id` "x"'
RECORDER = """#!/bin/sh
{ printf '%s\\n' "$PWD" "$@" --; env; } >"$RECORD"
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A folder with programs that write down how they are called."""
    need_program("make", "make")
    for name in ("venv/bin/python", "bin/docker"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(RECORDER)
        path.chmod(0o755)
    return tmp_path


def run_make(recorder: Path, *words: str, **environ: str) -> tuple[int, list[str]]:
    """Run ``make`` with a Python that only writes down what it is asked; returns the last such call, line by line."""
    record = recorder / "record"
    record.unlink(missing_ok=True)
    venv = recorder / "venv"
    installed = [f"--old-file={venv}/.installed", f"--old-file={venv}/.installed-dev", f"VENV={venv}"]
    done = subprocess.run(
        [words[0], *installed, *words[1:]],
        cwd=PROJECT,
        env={"PATH": f"{recorder}/bin:{os.environ['PATH']}", "HOME": str(recorder), "RECORD": str(record)} | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, record.read_text().splitlines() if record.exists() else [done.stderr]


def arguments_of(lines: list[str]) -> list[str]:
    return lines[1 : lines.index("--")]


def everything(folder: str) -> list[str]:
    return ["ENVIRONMENT=staging", f"PROJECT_DIRECTORY={folder}", f"ENV_FILE={folder}/e", f"CATALOG={folder}/c"]


@pytest.mark.parametrize(
    ("task", "script"),
    [("secrets", ["scripts/setup_secrets.py"]), ("doctor", ["scripts/manage_secrets.py", "doctor"])],
)
def test_a_task_passes_on_which_deployment_whatever_its_folder_is_called(
    task: str, script: list[str], recorder: Path
) -> None:
    folder = f"/{HOSTILE}"
    typed = Spelling(environment="staging", project_directory=folder, env_file=f"{folder}/e", catalog=f"{folder}/c")
    line = typed.spell(make(task))
    written = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    ).stdout
    code, lines = run_make(recorder, *written.split("\0")[:-1])
    assert code == 0
    flags = ["--project-directory", folder, "--env-file", f"{folder}/e", "--catalog", f"{folder}/c"]
    assert arguments_of(lines) == [*script, "--environment", "staging", *flags]


def test_without_anything_it_is_production_whatever_the_shell_has(recorder: Path) -> None:
    environ = {"CATALOG": "/of/books", "ENV_FILE": "/of/others", "PROJECT_DIRECTORY": "/elsewhere"}
    assert arguments_of(run_make(recorder, "make", "secrets", **environ)[1])[1:] == ["--environment", "production"]


def test_nothing_of_it_reaches_the_tests(recorder: Path) -> None:
    code, lines = run_make(recorder, "make", "servers", *everything("/other"))
    assert code == 0
    assert not [line for line in lines if "/other" in line or "staging" in line]


def test_compose_runs_in_the_projects_folder(recorder: Path) -> None:
    folder = recorder / HOSTILE
    folder.mkdir(parents=True)
    escaped = str(folder).replace("$", "$$")
    code, lines = run_make(recorder, "make", "down", "ENVIRONMENT=staging", f"PROJECT_DIRECTORY={escaped}")
    assert code == 0
    assert lines[0] == str(folder)
    assert arguments_of(lines)[:5] == ["compose", "--project-directory", str(folder), "--env-file", ".env.staging"]
    code, lines = run_make(recorder, "make", "down")
    assert lines[0] == str(PROJECT)
    assert arguments_of(lines)[:2] == ["compose", "down"]


def test_a_folder_that_is_not_there_is_named_as_an_error() -> None:
    script = PROJECT / "scripts/compose.sh"
    for arguments in (["--project-directory"], ["--project-directory", "/no/such/folder", "ps"]):
        done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: --project-directory names no folder\nhint: ")


def start(project: Project, docker: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``make up`` with the real scripts, and a Docker that is not but says that it runs as root."""
    program = project.home / "bin/docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *version*) exit 0;; info*) echo "[]|/var/lib/docker"; exit 0;; esac\n{docker}\n'
    )
    program.chmod(0o755)
    environ = project.environ({"PATH": f"{program.parent}:{os.environ['PATH']}"})
    command = ["make", "--old-file=.venv/.installed", "up", *words]
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)


def test_a_stack_that_does_not_start_says_where_to_look_in_this_deployment(project: Project) -> None:
    need_program("make", "make")
    staging = Project(project.directory, project.home, environment="staging")
    words = ["ENVIRONMENT=staging", f"PROJECT_DIRECTORY={project.directory}"]
    flags = f"--environment staging --project-directory '{project.directory}'"
    done = start(staging, "exit 0", *words)
    assert done.returncode == 2
    assert f"hint: ./scripts/setup_secrets.py {flags}" in done.stderr
    staging.set_up()
    assert staging.run("generate_docker_secrets.sh").returncode == 0
    assert start(staging, "exit 0", *words).returncode == 0
    done = start(staging, "echo 'no such image' >&2; exit 1", *words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[:4] == [
        "no such image",
        "error: The stack did not start",
        f"hint: See what each service logs: cd '{project.directory}' && docker compose --env-file .env.staging logs",
        f"hint: Run all checks: ./scripts/manage_secrets.py doctor {flags}",
    ]
