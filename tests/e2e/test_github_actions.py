"""Values under GitHub Actions: what the runner is told to hide, and what stays on standard output."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.commands import DIFFICULT, manage

ACTIONS = {"GITHUB_ACTIONS": "true"}
HARD = {
    "percent, colons and commands": "100%25 %0A ::stop-commands::x :: ##[error]",
    "lines": "first line\n\r\n  \nsecond % line\rthird\n",
    "a vertical tab and a line separator": "one\x0bline\u2028only",
    "not ASCII": DIFFICULT["DATABASE_PASSWORD"],
    "spaces": "  spaces  ",
}


def masked(text: str) -> list[str]:
    """What the runner takes from the lines of a step: it parses each, then undoes ``%0D``, ``%0A`` and ``%25``."""
    found = []
    for line in text.split("\n"):
        command, separator, data = line.lstrip().removeprefix("::").partition("::")
        if line.lstrip().startswith("::") and separator and command.split(" ")[0] == "add-mask":
            found.append(data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%"))
    return found


def single_lines(value: str) -> list[str]:
    return [line for line in value.replace("\r", "\n").split("\n") if line.strip()]


@pytest.mark.parametrize("kind", HARD)
def test_get_tells_github_to_hide_each_line_and_prints_exactly_the_value(kind: str, project: Project) -> None:
    project.set_up()
    options = ("--accept", "DATABASE_PASSWORD")
    manage(project, "set", "DATABASE_PASSWORD", *options, standard_input=f"{HARD[kind]}\n")
    done = subprocess.run(
        project.script("manage_secrets.py", "get", "DATABASE_PASSWORD"),
        env=project.environ(ACTIONS | {"PYTHONIOENCODING": "ascii"}),
        cwd=project.directory,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == HARD[kind]
    errors = done.stderr.decode()
    assert masked(errors) == single_lines(HARD[kind])
    assert errors.count("\n") == len(masked(errors))


@pytest.mark.parametrize("setting", ["", "1", "TRUE", "True", "false", " true"])
def test_no_mask_is_printed_where_it_would_show_the_value(setting: str, project: Project) -> None:
    project.set_up()
    environ = {"GITHUB_ACTIONS": setting, "CI": "true", "GITLAB_CI": "true"}
    for arguments in (("get", "SECRET_KEY"), ("export", "--format", "json")):
        assert project.run("manage_secrets.py", *arguments, environ=environ).stderr == ""


def test_a_settings_file_cannot_switch_the_masks_on(project: Project) -> None:
    project.set_up()
    with project.settings_file.open("a") as file:
        file.write("GITHUB_ACTIONS=true\n")
    assert manage(project, "get", "SECRET_KEY").stderr == ""


@pytest.mark.parametrize("form", ["dotenv", "json", "shell", "kubernetes"])
def test_export_tells_github_to_hide_what_it_prints_and_nothing_else(form: str, project: Project) -> None:
    project.set_up()
    only = ("--only", "SECRET_KEY", "--only", "REDIS_PASSWORD")
    plain = manage(project, "export", "--format", form, *only).stdout
    done = project.run("manage_secrets.py", "export", "--format", form, *only, environ=ACTIONS)
    assert done.stdout == plain
    values = project.values()
    assert masked(done.stderr) == [values["SECRET_KEY"], values["REDIS_PASSWORD"]]


def test_what_prints_no_value_prints_no_mask(project: Project, tmp_path: Path) -> None:
    project.set_up()
    for arguments in (
        ("status",),
        ("history", "SECRET_KEY"),
        ("export", "--output", str(tmp_path / "values.env")),
        ("run",),
    ):
        done = subprocess.run(
            [*project.script("manage_secrets.py", *arguments), *(["--", "true"] if arguments == ("run",) else [])],
            env=project.environ(ACTIONS),
            cwd=project.directory,
            capture_output=True,
            text=True,
            check=True,
        )
        assert masked(done.stdout + done.stderr) == []


def test_get_without_a_value_masks_nothing(project: Project) -> None:
    project.set_up()
    done = project.run("manage_secrets.py", "get", "SMTP_PASSWORD", environ=ACTIONS)
    assert (done.returncode, done.stdout, masked(done.stderr)) == (1, "", [])


def test_a_step_that_keeps_a_value_and_logs_it_shows_only_stars(project: Project) -> None:
    """The step's two streams end in one log, where the runner takes out the commands and then hides the masks."""
    (project.directory / "value.json").write_text(json.dumps({"WEBHOOK_SECRET": DIFFICULT["WEBHOOK_SECRET"]}))
    project.set_up("--import", "value.json", "--accept", "WEBHOOK_SECRET")
    get = shlex.join(project.script("manage_secrets.py", "get", "WEBHOOK_SECRET"))
    step = f'value=$({get})\nset -x\nprintf "the value is: %s\\n" "$value"\n'
    done = subprocess.run(
        ["bash", "-e", "-c", step],
        env=project.environ(ACTIONS),
        cwd=project.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    masks, log = masked(done.stdout), [line for line in done.stdout.splitlines() if not masked(line)]
    assert len(masks) == 2
    text = "\n".join(log)
    assert masks[0] in text
    for mask in masks:
        text = text.replace(mask, "***")
    assert "the value is: ***" in text
    assert not any(line in text for line in single_lines(DIFFICULT["WEBHOOK_SECRET"]))
