"""The shell: completion in real shells, versions, and the hint after a failure."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib

import pytest

from src.ops.commands.group import COMMANDS
from tests.conftest import PROJECT, Project, need_program

MANAGE = str(PROJECT / "scripts/manage_secrets.py")

ASK = {
    "bash": """
        eval "$({script} completion bash)"
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _manage_secretspy_completion {script}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ :; }}
        compadd() {{ print -l -- $completions }}
        _describe() {{ print -l -- $completions_with_descriptions }}
        eval "$({script} completion zsh)"
        words=({words}); CURRENT=${{#words}}
        _manage_secretspy_completion
    """,
    "fish": """
        {script} completion fish | source
        complete --do-complete {line}
    """,
}


def complete(project: Project, shell: str, *words: str) -> list[str]:
    """Return what Tab offers in a real shell after these words; the last word is still being typed."""
    program = need_program(shell, shell)
    typed = ["./scripts/manage_secrets.py", *words]
    code = ASK[shell].format(
        script=shlex.quote(MANAGE), words=" ".join(word or '""' for word in typed), line=shlex.quote(" ".join(typed))
    )
    done = subprocess.run(
        [program, *(["--no-config"] if shell == "fish" else ["-f"] if shell == "zsh" else ["--norc"]), "-c", code],
        cwd=PROJECT,
        env=project.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.split("\t")[0].split(":")[0] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", list(ASK))
def test_tab_completes_commands_options_and_names(project: Project, shell: str) -> None:
    assert complete(project, shell, "rot") == ["rotate", "rotate-master-key"]
    assert complete(project, shell, "status", "--str") == ["--strict"]
    assert complete(project, shell, "history", "JWT") == ["JWT_SECRET_KEY"]
    assert complete(project, shell, "rotate", "SECRET_KEY", "DATA") == ["DATABASE_PASSWORD"]


@pytest.mark.parametrize(
    "words",
    [["setup_secrets.py"], ["generate_docker_secrets.sh"], *[["manage_secrets.py", name] for name in COMMANDS]],
    ids=" ".join,
)
def test_the_help_of_every_command_has_an_example_that_begins_with_the_command(words: list[str]) -> None:
    said = subprocess.run(
        [PROJECT / "scripts" / words[0], *words[1:], "--help"], capture_output=True, text=True, check=True
    )
    examples = said.stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert any("./scripts/" + " ".join(words) in line for line in examples), said.stdout
    assert "sage: ./scripts/" + words[0] in said.stdout


def test_make_alone_lists_every_task_that_has_a_description_on_a_terminal_of_80_columns() -> None:
    listed = subprocess.run(["make"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    tasks = re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+) ", listed, re.MULTILINE) == tasks
    assert max(map(len, listed.splitlines())) <= 80


def test_the_list_of_commands_is_not_cut(project: Project) -> None:
    said = subprocess.run([MANAGE, "--help"], env=project.environ(), capture_output=True, text=True, check=True)
    assert [name for name in COMMANDS if f"\n  {name} " not in said.stdout] == []
    assert "..." not in said.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("script", ["setup_secrets.py", "manage_secrets.py", "generate_docker_secrets.sh"])
def test_every_script_says_its_version(project: Project, script: str) -> None:
    said = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    done = subprocess.run(
        [PROJECT / "scripts" / script, "--version"], env=project.environ(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{said['name']} {said['version']}\n")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("manage_secrets.py", ("status",)),
        ("manage_secrets.py", ("get", "SECRET_KEY")),
        ("generate_docker_secrets.sh", ()),
        ("setup_secrets.py", ("--non-interactive", "--import", "/no/such/file")),
    ],
)
def test_a_failing_command_ends_with_the_doctors_line_for_the_same_deployment(
    project: Project, script: str, arguments: tuple[str, ...]
) -> None:
    done = project.run(script, *arguments, "--environment", "staging")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    command = last.removeprefix("hint: Run all checks: ")
    assert command != last
    words = shlex.split(command)
    assert words[:2] == [MANAGE, "doctor"]
    assert words[2:] == ["--environment", "staging", "--project-directory", str(project.directory)]
    looked = subprocess.run([*words, "--json"], cwd=PROJECT, env=project.environ(), capture_output=True, check=False)
    assert looked.returncode in (0, 1)
    assert looked.stdout.startswith(b"[")


def test_wrong_usage_and_a_no_do_not_suggest_the_doctor(project: Project) -> None:
    done = project.run("manage_secrets.py", "statsu")
    assert done.returncode == 2
    assert "Did you mean status?" in done.stderr
    assert "doctor" not in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "suggestion"),
    [
        ("manage_secrets.py", ["statsu"], "status"),
        ("manage_secrets.py", ["status", "--stric"], "--strict"),
        ("manage_secrets.py", ["doctor", "--only", "stor"], "store"),
        ("setup_secrets.py", ["--dry-rn"], "--dry-run"),
        ("generate_docker_secrets.sh", ["--chek"], "--check"),
    ],
)
def test_wrong_usage_is_one_error_with_a_suggestion_and_a_hint_that_can_be_typed(
    project: Project, script: str, arguments: list[str], suggestion: str
) -> None:
    done = subprocess.run(
        [PROJECT / "scripts" / script, *arguments], env=project.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert re.search(f"[Dd]id you mean '?{suggestion}'?", error), error
    command = hint.removeprefix("hint: ")
    assert subprocess.run(shlex.split(command), cwd=PROJECT, capture_output=True, check=False).returncode == 0


def test_an_almost_right_name_is_recognised(project: Project) -> None:
    project.set_up()
    wizard = project.run("setup_secrets.py", "--non-interactive", "--set-file", "DATABASE_PASWORD=x")
    assert "hint: Did you mean DATABASE_PASSWORD?" in wizard.stderr
    for command in (["get", "DATABSE_PASSWORD"], ["history", "database_password"], ["rotate", "DATABASE_PASWORD"]):
        done = project.run("manage_secrets.py", *command)
        assert done.returncode == 1
        assert "hint: Did you mean DATABASE_PASSWORD?" in done.stderr
