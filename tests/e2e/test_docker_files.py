"""What the folder of the Docker files holds: files that are needed, files that the mode does not use, and others."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from src.utils.secrets.catalog import load_catalog
from tests.conftest import PROJECT, Project, need_program
from tests.servers.vault import Vault
from tests.support.commands import error_of, manage
from tests.support.files import write_read_only
from tests.support.kept import Kept

CATALOG = load_catalog()
WRITE = "generate_docker_secrets.sh"
SERVICES = ["db_password.txt", "redis_password.txt"]
UNUSED = sorted(
    name
    for spec in CATALOG.secrets
    for name in (spec.docker_file, spec.previous_file)
    if name is not None and name not in SERVICES
)


def set_up_and_write(project: Project) -> None:
    project.set_up()
    assert project.run(WRITE).returncode == 0


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("written"), set_up_and_write)


@pytest.fixture
def written(kept: Kept) -> Project:
    """A deployment with its Docker files."""
    return kept.put_back()


@pytest.fixture
def in_vault(project: Project, vault: Vault) -> tuple[Project, dict[str, str]]:
    """A deployment with its secrets in Vault and its Docker files; and the variables to sign in."""
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": vault.token}
    project.set_up("--backend", "vault", environ=environ)
    assert project.run(WRITE, environ=environ).returncode == 0
    return project, environ


def files_of(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.docker_directory.iterdir() if path.is_file()}


def commands_of(text: str, program: str) -> list[list[str]]:
    """The commands of one program that are shown to type."""
    return [shlex.split(found) for found in re.findall(rf"(?:^|: )({program} .*)$", text, re.MULTILINE)]


def run_shown(project: Project, words: list[str]) -> None:
    done = subprocess.run(words, cwd=project.here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def docker_column(project: Project, environ: dict[str, str]) -> dict[str, str]:
    done = project.run("manage_secrets.py", "status", "--json", environ=environ)
    return {row["name"]: row["docker"] for row in json.loads(done.stdout)["secrets"]}


def extra_findings(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> list[dict[str, object]]:
    only = ("--only", "docker-files-extra", *arguments)
    done = project.run("manage_secrets.py", "doctor", "--json", *only, environ=environ)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


# --- The mode --------------------------------------------------------------------------------------------------------


def test_after_the_switch_to_cloud_every_command_says_the_same_of_the_files(
    in_vault: tuple[Project, dict[str, str]],
) -> None:
    project, environ = in_vault
    before = files_of(project)
    done = project.run(WRITE, "--cloud", environ=environ)
    assert done.returncode == 0, done.stderr
    assert f"warning: secrets has {len(UNUSED)} secrets in plain text" in done.stderr
    (remove,) = commands_of(done.stderr, "rm")
    assert remove == ["rm", "--", *(f"secrets/{name}" for name in UNUSED)]
    assert files_of(project) == before
    checked = project.run(WRITE, "--check", environ=environ)
    assert (checked.returncode, checked.stdout) == (0, "secrets: 2 files, all up to date\n")
    assert commands_of(checked.stderr, "rm") == [remove]
    column = docker_column(project, environ)
    assert column.pop("DATABASE_PASSWORD") == column.pop("REDIS_PASSWORD") == "up to date"
    assert set(column.values()) == {"-"}
    status = project.run("manage_secrets.py", "status", environ=environ).stdout
    assert f"{len(UNUSED)} files that Compose does not use" in status
    assert "not up to date" not in status
    (finding,) = extra_findings(project, environ=environ)
    assert shlex.split(str(finding["command"])) == remove
    run_shown(project, remove)
    assert sorted(files_of(project)) == SERVICES
    assert extra_findings(project, environ=environ) == []
    assert project.run(WRITE, "--check", environ=environ).stderr == ""


def test_a_value_that_changes_after_the_switch_makes_only_needed_files_stale(
    in_vault: tuple[Project, dict[str, str]],
) -> None:
    project, environ = in_vault
    project.run(WRITE, "--cloud", environ=environ)
    manage(project, "set", "JWT_SECRET_KEY", "--generate", environ=environ)  # type: ignore[arg-type]
    assert docker_column(project, environ)["JWT_SECRET_KEY"] == "-"
    checked = project.run(WRITE, "--check", environ=environ)
    assert checked.returncode == 0, checked.stderr
    # The store keeps it as a previous value.
    assert commands_of(checked.stderr, "rm") == [["rm", "--", *(f"secrets/{name}" for name in UNUSED)]]
    docker_files = ("doctor", "--json", "--only", "docker-files")
    assert json.loads(manage(project, *docker_files, environ=environ).stdout) == []  # type: ignore[arg-type]
    manage(project, "set", "REDIS_PASSWORD", "--generate", environ=environ)  # type: ignore[arg-type]
    checked = project.run(WRITE, "--check", environ=environ)
    assert (checked.returncode, checked.stdout) == (1, "redis_password.txt: not the value in the store\n")


def test_the_way_back_from_cloud_writes_every_file_again(in_vault: tuple[Project, dict[str, str]]) -> None:
    project, environ = in_vault
    before = files_of(project)
    pruned = project.run(WRITE, "--cloud", "--prune", environ=environ)
    assert [line for line in pruned.stdout.splitlines() if line.endswith(": removed")] == [
        f"secrets/{name}: removed" for name in UNUSED
    ]
    assert (sorted(files_of(project)), pruned.stderr) == (SERVICES, "")
    back = project.run(WRITE, "--no-cloud", environ=environ)
    assert (back.returncode, back.stderr) == (0, "")
    assert files_of(project) == before
    assert set(docker_column(project, environ).values()) == {"up to date"}


def test_the_hint_of_a_check_names_the_mode_and_the_folder_that_were_compared(
    in_vault: tuple[Project, dict[str, str]], tmp_path: Path
) -> None:
    project, environ = in_vault
    checked = project.run(WRITE, "--check", "--cloud", "--output", str(tmp_path / "other"), environ=environ)
    (hint,) = (line for line in checked.stderr.splitlines() if WRITE in line)
    words = shlex.split(hint.removeprefix("hint: "))
    done = subprocess.run(words, cwd=project.here, env=project.environ(environ), capture_output=True, check=False)
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path / "other")) == SERVICES
    again = project.run(WRITE, "--check", "--cloud", "--output", str(tmp_path / "other"), environ=environ)
    assert again.returncode == 0


def test_an_unused_file_with_the_only_copy_of_a_value_is_never_advised_to_be_removed(
    in_vault: tuple[Project, dict[str, str]],
) -> None:
    project, environ = in_vault
    only_copy = project.docker_directory / "jwt_secret_key.txt"
    write_read_only(only_copy, "the only copy of this value")
    history = project.docker_directory / "secret_key_previous.json"
    write_read_only(history, json.dumps([{"value": "an earlier key", "replaced_at": "x", "valid_until": None}]))
    for arguments in (("--cloud",), ("--check",), ("--prune",)):
        done = project.run(WRITE, *arguments, environ=environ)
        assert done.returncode == 0, done.stderr
        assert "the store does not have what is in them: jwt_secret_key.txt, secret_key_previous.json" in done.stderr
        assert f"set JWT_SECRET_KEY --file {os.path.relpath(only_copy, project.here)}" in done.stderr
        for words in commands_of(done.stderr, "rm"):
            assert not {"secrets/jwt_secret_key.txt", "secrets/secret_key_previous.json"} & set(words)
        assert "only copy of" not in done.stdout + done.stderr
    assert only_copy.read_text() == "the only copy of this value"
    assert "an earlier key" in history.read_text()
    assert sorted(files_of(project)) == sorted([*SERVICES, only_copy.name, history.name])


def test_without_the_store_unused_files_are_named_and_their_removal_is_not_advised(
    in_vault: tuple[Project, dict[str, str]],
) -> None:
    project, environ = in_vault
    project.run(WRITE, "--cloud", environ=environ)
    (finding,) = extra_findings(project, "--offline", environ=environ)
    assert "admin_password.txt" in str(finding["finding"])
    assert "doctor --only docker-files-extra" in str(finding["command"])
    assert not commands_of("\n".join(map(str, finding["commands"])), "rm")  # type: ignore[call-overload]


# --- What belongs to no secret ---------------------------------------------------------------------------------------


def test_what_belongs_to_no_secret_is_a_warning_that_stops_nothing(written: Project) -> None:
    for name in ("notes.md", "it's mine.txt", "-rf"):
        (written.docker_directory / name).write_text("text")
    (written.docker_directory / "old/inside").mkdir(parents=True)
    before = written.state()
    done = written.run(WRITE, "--check")
    assert (done.returncode, done.stdout) == (0, "secrets: 15 files, all up to date\n")
    assert done.stderr.startswith("warning: secrets has 4 entries that belong to no secret of this environment: -rf, ")
    assert len(commands_of(done.stderr, "ls")) == 1
    removals = commands_of(done.stderr, "rm")
    assert removals == [
        ["rm", "--", "secrets/-rf", "secrets/it's mine.txt", "secrets/notes.md"],
        ["rm", "-r", "--", "secrets/old"],
    ]
    status = json.loads(manage(written, "status", "--json", "--strict").stdout)
    assert status["extra_files"] == ["-rf", "it's mine.txt", "notes.md", "old"]
    assert len(extra_findings(written)) == 1
    assert written.state() == before
    for words in removals:
        run_shown(written, words)
    assert written.run(WRITE, "--check").stderr == ""


def test_a_name_that_no_terminal_can_show_is_escaped(written: Project) -> None:
    path = os.fsencode(written.docker_directory) + b"/bad\xff\x1b[2J.txt"
    with open(path, "w"):
        pass
    done = written.run(WRITE, "--check")
    assert done.returncode == 0
    assert "bad\\udcff\\x1b[2J.txt" in done.stderr
    assert manage(written, "status").returncode == 0
    assert len(extra_findings(written)) == 1
    (remove,) = re.findall(r": (rm -- .*)$", done.stderr, re.MULTILINE)
    subprocess.run(["bash", "-c", remove], cwd=written.here, check=True)
    assert not os.path.exists(path)


def test_what_the_tools_and_the_repository_keep_in_the_folder_is_fine(written: Project) -> None:
    written.set_up("--environment", "staging")
    written.run(WRITE, "--environment", "staging")
    written.set_up("--environment", "lab")
    written.run(WRITE, "--environment", "lab", "--output", "secrets/of/lab")
    (written.docker_directory / "lost-2026-01-01T000000Z").mkdir()
    for name in (".gitkeep", ".gitignore", "README.md"):
        (written.docker_directory / name).touch()
    assert written.run(WRITE, "--check").stderr == ""
    assert extra_findings(written) == []
    (written.directory / ".env.staging").unlink()
    assert "1 entry that belongs to no secret of this environment: staging/" in written.run(WRITE, "--check").stderr


def test_in_a_folder_with_other_things_nobody_is_advised_to_remove_them(written: Project, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(0o700)
    (tmp_path / "shared/thesis.odt").touch()
    (tmp_path / "shared/old_token.txt").touch(0o400)
    for folder in (str(tmp_path / "shared"), "config", "."):
        done = written.run(WRITE, "--output", folder)
        assert done.returncode == 0, done.stderr
        assert [words[2:] for words in commands_of(done.stderr, "rm")] == (
            [[f"{folder}/old_token.txt"]] if folder.startswith("/") else []
        )


def test_prune_says_of_each_file_either_that_it_is_removed_or_how_to_remove_it(written: Project) -> None:
    gone, foreign = written.docker_directory / "gone.txt", written.docker_directory / "notes.txt"
    gone.touch(0o400)
    foreign.touch(0o644)
    (written.docker_directory / "link.txt").symlink_to(written.directory / "config/catalog.toml")
    before = files_of(written)
    assert "gone.txt" in written.run(WRITE).stderr
    assert files_of(written) == before
    done = written.run(WRITE, "--prune")
    assert [line for line in done.stdout.splitlines() if "removed" in line] == ["secrets/gone.txt: removed"]
    assert "gone.txt" not in done.stderr
    assert commands_of(done.stderr, "rm") == [["rm", "--", "secrets/link.txt", "secrets/notes.txt"]]
    assert foreign.exists()
    assert (written.docker_directory / "link.txt").is_symlink()
    assert not gone.exists()


# --- What is in the place of a file ----------------------------------------------------------------------------------


def plant_obstacles(project: Project) -> list[str]:
    folder = project.docker_directory
    names = ["secret_key.txt", "webhook_secret.txt", "db_password.txt"]
    for name in names:
        (folder / name).unlink()
    (folder / "secret_key.txt").mkdir()
    (folder / "secret_key.txt/inside").write_text("precious")
    (folder / "webhook_secret.txt").symlink_to("/etc/hostname")
    os.mkfifo(folder / "db_password.txt")
    return names


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["write", "check"])
def test_everything_in_the_place_of_a_file_is_named_in_one_run(arguments: tuple[str, ...], written: Project) -> None:
    names = plant_obstacles(written)
    (written.docker_directory / "redis_password.txt").chmod(0o600)
    before = written.state()
    done = written.run(WRITE, *arguments)
    moves = commands_of(error_of(done), "mv")
    assert moves == [["mv", "-n", f"secrets/{name}", f"secrets/{name}.old"] for name in names]
    if arguments:
        assert "secrets is out of date: 4 differences" in done.stderr
        assert done.stdout.count(": not a regular file\n") == 3
        assert "redis_password.txt: mode 0600 instead of 0400\n" in done.stdout
    assert written.state() == before
    for words in moves:
        run_shown(written, words)
    assert written.run(WRITE).returncode == 0
    assert written.run(WRITE, "--check").returncode == 0
    assert (written.docker_directory / "secret_key.txt.old/inside").read_text() == "precious"


def test_the_doctor_and_status_name_what_is_in_the_place_of_a_file(written: Project) -> None:
    plant_obstacles(written)
    (written.docker_directory / "smtp_password.txt").unlink()
    column = docker_column(written, {})
    assert [name for name, state in column.items() if state == "not a file"] == [
        "SECRET_KEY",
        "WEBHOOK_SECRET",
        "DATABASE_PASSWORD",
    ]
    done = manage(written, "doctor", "--json", "--only", "docker-files", code=1)
    findings = json.loads(done.stdout)
    assert [finding["finding"] for finding in findings] == [
        "secrets/secret_key.txt is not a file",
        "secrets/webhook_secret.txt is not a file",
        "secrets/db_password.txt is not a file",
        "secrets/smtp_password.txt is missing",
    ]
    assert len(commands_of("\n".join(finding["command"] for finding in findings), "mv")) == 3


def test_a_file_in_the_place_of_the_folder_is_named_with_the_way_forward(project: Project) -> None:
    project.set_up()
    project.docker_directory.write_text("a file")
    before = project.state()
    for arguments in ((), ("--check",)):
        done = project.run(WRITE, *arguments)
        assert "secrets is not a folder" in error_of(done)
        (move,) = commands_of(done.stderr, "mv")
    assert project.state() == before
    run_shown(project, move)
    assert project.run(WRITE).returncode == 0


# --- make up ---------------------------------------------------------------------------------------------------------


def test_make_up_starts_a_stack_with_extra_files(written: Project, tmp_path: Path) -> None:
    need_program("make", "make")
    (written.docker_directory / "notes.md").touch()
    fake, record = tmp_path / "bin/docker", tmp_path / "record"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$*" >>{shlex.quote(str(record))}\n')
    fake.chmod(0o755)
    python = PROJECT / ".venv"
    old = [f"--old-file=.venv/{name}" for name in (".installed", ".installed-dev")]
    if not python.exists():
        pytest.skip("needs .venv")
    done = subprocess.run(
        ["make", *old, "up", f"PROJECT_DIRECTORY={written.directory}"],
        cwd=PROJECT,
        env=written.environ({"PATH": f"{fake.parent}:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: " in done.stderr
    assert "up -d --wait" in record.read_text()
