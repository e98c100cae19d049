"""The next command: how it is typed from where, and that nobody puts one together by hand."""

from __future__ import annotations

import ast
import os
import pickle
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.ops.commands.shared.options import spelling_of
from src.utils.secrets import command as module
from src.utils.secrets.command import (
    Command,
    Spelling,
    append_lines,
    compose,
    export_typed,
    make,
    manage,
    program,
    script,
    set_up,
    spell,
    spell_for,
    typed,
    write_docker_files,
)
from tests.conftest import PROJECT

TOOLS = str(PROJECT)
OTHER = "'/o t'\"'\"'r'"
FILES = "--env-file '/x/$env' --catalog /y/c.toml"
STAGING = Spelling(environment="staging", project_directory="/other", here=TOOLS)
EVERYTHING = Spelling(
    environment="staging", project_directory="/o t'r", env_file="/x/$env", catalog="/y/c.toml", here=TOOLS
)


@pytest.fixture(autouse=True)
def compose_is_a_part_of_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_compose_program", ["docker", "compose"])


@pytest.mark.parametrize(
    ("spelling", "command", "typed"),
    [
        (Spelling(here=TOOLS), manage("status"), "./scripts/manage_secrets.py status"),
        (Spelling(), manage("status"), "./scripts/manage_secrets.py status"),
        (Spelling(here=TOOLS), set_up(), "make secrets"),
        (Spelling(here=TOOLS), set_up("--dry-run"), "./scripts/setup_secrets.py --dry-run"),
        (Spelling(here=TOOLS), write_docker_files("--prune"), "./scripts/generate_docker_secrets.sh --prune"),
        (Spelling(here=TOOLS), script("render_catalog.py", "--check"), "./scripts/render_catalog.py --check"),
        (Spelling(here=TOOLS), make("up"), "make up"),
        (Spelling(here=TOOLS), make("install", "--always-make"), "make --always-make install"),
        (Spelling(here=TOOLS), compose("logs", "app"), "docker compose logs app"),
        (
            Spelling(environment="staging", here=TOOLS),
            manage("set", "X"),
            "./scripts/manage_secrets.py set X --environment staging",
        ),
        (Spelling(environment="staging", here=TOOLS), set_up(), "make secrets ENVIRONMENT=staging"),
        (Spelling(environment="staging", here=TOOLS), make("up"), "make up ENVIRONMENT=staging"),
        (
            Spelling(environment="staging", here=TOOLS),
            compose("ps"),
            "docker compose --env-file .env.staging ps",
        ),
        (
            STAGING,
            manage("rotate", "--due"),
            "./scripts/manage_secrets.py rotate --due --environment staging --project-directory /other",
        ),
        (STAGING, set_up(), "./scripts/setup_secrets.py --environment staging --project-directory /other"),
        (STAGING, make("up"), "make up ENVIRONMENT=staging PROJECT_DIRECTORY=/other"),
        (STAGING, make("install"), "make install"),
        (STAGING, compose("ps"), "cd /other && docker compose --env-file .env.staging ps"),
        (
            EVERYTHING,
            manage("doctor"),
            f"./scripts/manage_secrets.py doctor --environment staging --project-directory {OTHER} {FILES}",
        ),
        (
            EVERYTHING,
            make("doctor"),
            "make doctor ENVIRONMENT=staging 'PROJECT_DIRECTORY=/o t'\"'\"'r' 'ENV_FILE=/x/$$env' CATALOG=/y/c.toml",
        ),
    ],
)
def test_a_command_is_typed_so_that_it_works_on_the_same_deployment(
    spelling: Spelling, command: Command, typed: str
) -> None:
    assert spelling.spell(command) == typed


def test_the_purpose_stands_before_the_command_and_a_text_is_shown_as_it_is() -> None:
    assert STAGING.spell(make("up", purpose="Start it")) == f"Start it: {STAGING.spell(make('up'))}"
    assert STAGING.spell("Look at it") == "Look at it"


def test_away_from_the_tools_a_script_has_its_absolute_path_and_make_its_folder() -> None:
    away = Spelling(here="/home/me")
    assert away.spell(manage("status")) == f"{shlex.quote(f'{TOOLS}/scripts/manage_secrets.py')} status"
    assert away.spell(set_up()) == f"make -C {shlex.quote(TOOLS)} secrets"
    assert away.spell(make("up")) == f"make -C {shlex.quote(TOOLS)} up"
    assert away.spell(compose("ps")) == f"cd {shlex.quote(TOOLS)} && docker compose ps"


def test_in_the_projects_own_folder_compose_needs_no_other() -> None:
    inside = Spelling(environment="staging", project_directory="/other", here="/other")
    assert inside.spell(compose("ps")) == "docker compose --env-file .env.staging ps"
    assert "--project-directory /other" in inside.spell(manage("status"))


def test_another_environment_keeps_the_project_and_the_catalogue_and_not_the_settings_file() -> None:
    typed = EVERYTHING.spell(manage("rotate", "X", environment="lab"))
    assert "--environment lab" in typed
    assert "--project-directory" in typed
    assert "--catalog /y/c.toml" in typed
    assert "--env-file" not in typed
    assert Spelling(environment="staging", here=TOOLS).spell(set_up(environment="production")) == "make secrets"
    assert Spelling(here=TOOLS).spell(set_up(environment="staging")) == "make secrets ENVIRONMENT=staging"


def test_help_is_of_no_deployment() -> None:
    assert EVERYTHING.spell(manage("set", "--help")) == "./scripts/manage_secrets.py set --help"
    assert EVERYTHING.spell(write_docker_files("--help")) == "./scripts/generate_docker_secrets.sh --help"


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("/work/config/x", "config/x"),
        ("/work/a folder/it's", "'a folder/it'\"'\"'s'"),
        ("/work/-x", "./-x"),
        ("/workshop/x", "/workshop/x"),
        ("/work", "/work"),
        ("/$HOME/`x`", "'/$HOME/`x`'"),
        ("/work/a\nb'\x1b", r"$'a\x0ab\x27\x1b'"),
    ],
)
def test_a_path_is_typed_from_where_the_person_is_and_quoted(path: str, typed: str) -> None:
    spelling = Spelling(here="/work")
    assert spelling.spell(program("chmod", "0400", path)) == f"chmod 0400 {typed}"
    assert "\n" not in spelling.spell(program("cat", path))
    assert spelling.spell(set_up("--set-file", f"X={path}")).split(" --set-file ")[1].count("X=") == 1
    line = subprocess.run(
        ["bash", "-c", f"printf %s {typed}"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    assert line in (path, path.removeprefix("/work/"), f"./{path.removeprefix('/work/')}")


@pytest.mark.parametrize("before", ["", "last line without an end", "a line\n"])
def test_lines_are_added_to_a_file_each_on_its_own(before: str, tmp_path: Path) -> None:
    path = tmp_path / "it's a file"
    path.write_text(before)
    lines = ("/.env", "/a b/*", "# $HOME 'x'")
    line = Spelling(here=str(tmp_path)).spell(append_lines(str(path), *lines))
    assert str(tmp_path) not in line
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    assert path.read_text().startswith(before)
    assert [text for text in path.read_text().splitlines() if text] == [*before.splitlines(), *lines]


def test_what_is_typed_is_without_what_it_is_for() -> None:
    command = manage("status", purpose="See it", environment="staging")
    assert typed(command) == spell(manage("status", environment="staging"))
    assert typed("Look at it") == "Look at it"


@pytest.mark.parametrize(
    ("programs", "found"),
    [
        ({"docker": "exit 0"}, "docker compose"),
        ({"docker": "exit 0", "docker-compose": "exit 0"}, "docker compose"),
        ({"docker": "exit 1", "docker-compose": "exit 0"}, "docker-compose"),
        ({"docker-compose": "exit 0"}, "docker-compose"),
        ({}, "docker compose"),
    ],
)
def test_compose_is_called_as_this_machine_has_it(
    programs: dict[str, str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "_compose_program", [])
    assert Spelling(here=TOOLS).spell(compose("ps")) == f"{found} ps"


def test_make_gets_back_what_was_meant(tmp_path: Path) -> None:
    value = '/a b/it\'s $HOME `x` "y"'
    (tmp_path / "Makefile").write_text("show:\n\t@printf %s '$(subst ','\\'',$(PROJECT_DIRECTORY))'\n")
    typed = Spelling(project_directory=value, here=TOOLS).spell(make("show"))
    environ = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == value


def test_a_value_that_is_typed_is_in_no_history() -> None:
    assert STAGING.spell(export_typed("VAULT_TOKEN")) == (
        "printf 'Paste it: '; read -rs VAULT_TOKEN; export VAULT_TOKEN"
    )


def test_this_process_spells_for_one_deployment_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_spelling", Spelling())
    command = manage("status")
    assert spell(command) == command.text == "./scripts/manage_secrets.py status"
    spell_for(STAGING)
    assert spell(command) == command.text == STAGING.spell(command)
    assert repr(command) == f"<Command {STAGING.spell(command)}>"


def test_commands_are_compared_by_what_they_are_and_travel_to_other_processes() -> None:
    assert manage("status") == manage("status") != manage("status", environment="staging")
    assert len({manage("status"), manage("status"), manage("status", purpose="Look")}) == 2
    assert pickle.loads(pickle.dumps(manage("status"))) == manage("status")


def test_the_command_line_says_for_which_deployment_and_a_misplaced_secret_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "settings").touch()
    spelling = spelling_of(
        ["set", "--environment=staging", "--project-directory", str(tmp_path), "--env-file", f"{tmp_path}/settings"]
    )
    assert spelling.environment == "staging"
    assert spelling.project_directory == os.path.realpath(tmp_path)
    assert spelling.env_file == f"{tmp_path}/settings"
    wrong = spelling_of(["--environment", "Canary 4711", "--catalog", "canary-4711", "--env-file"])
    assert wrong.flags() == []
    assert spelling_of(["run", "--", "x", "--environment", "staging"]).flags() == []


# --- Nobody else puts a command together -----------------------------------------------------------------------------

# Converted by and by: each line here is one to remove.
TASKS = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
BY_HAND = re.compile(
    r"(manage_secrets\.py|setup_secrets\.py|generate_docker_secrets\.sh) +[a-z\[{-]|docker-compose |docker compose "
    rf"|\bmake (-\S+ )*({'|'.join(TASKS)})\b"
)
BEFORE_A_PATH = re.compile(r"\b(chmod \S+|chown( \S+)?|cp|mv|rm|ls|ls -ld?|mkdir -p|cat|df -h|less)( -\w+)* $")
# The one page of help that is not made by click.
EPILOGS = {"EXAMPLES"}


def sources() -> list[Path]:
    paths = sorted([*(PROJECT / "src").rglob("*.py"), *(PROJECT / "scripts").glob("*.py"), PROJECT / "main.py"])
    # What is generated are documents: they speak of production, in the project's folder.
    return [path for path in paths if path.name != "command.py" and path.parent.name != "generated"]


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts of a source, but for docstrings and examples of help; ``{}`` stands for what is filled in."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            skipped.add(node.body[0].value)  # type: ignore[attr-defined]
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in EPILOGS:
            skipped.add(node.value)
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def by_hand(text: str) -> bool:
    parts = text.split("{}")
    return bool(BY_HAND.search(text)) or any(BEFORE_A_PATH.search(part) for part in parts[:-1])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_command_is_put_together_by_hand(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{path}:{line}: {text}" for line, text in texts(tree) if by_hand(text)] == []


@pytest.mark.parametrize(
    "source",
    [
        '"Run `make secrets`: it keeps what is there"',
        'f"./scripts/manage_secrets.py set {name}"',
        '"See: ./scripts/generate_docker_secrets.sh --check"',
        '"docker-compose logs app"',
        'f"docker compose logs {service}"',
        'f"Look at it: ls -ld {path}"',
        'f"chmod 0400 {path}"',
        'f"chown {user} {path}"',
        'f"cp -np {path} {other}"',
        '"make --always-make install"',
    ],
)
def test_what_is_put_together_by_hand_is_noticed(source: str) -> None:
    assert any(by_hand(text) for _line, text in texts(ast.parse(source + " or 1")))
