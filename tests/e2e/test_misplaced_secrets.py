"""Secrets that users put into the wrong place: no message repeats input that was not understood."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.terminal import Terminal

CANARY = "hunter2hunter2"
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()

# Files that users import, each with the canary in another place.
FILES = {
    "a password alone": f"{CANARY}\n",
    "a password alone, without a line end": CANARY,
    "a key alone": f"{KEY}\n",
    "base64 alone": f"{CANARY}==\n",
    "base64 with one equals sign": f"{CANARY}=\n",
    "a URL": f"https://user:{CANARY}@example.com/?a=b\n",
    "a JWT": f"{CANARY}.eyJzdWIiOiJhIn0.abc\n",
    "JSON with a byte order mark": "\ufeff" + json.dumps({"OTHER": CANARY}),
    "JSON whose names are the values": json.dumps({f"{CANARY} {CANARY}": 1, f"{CANARY}-": "x"}),
    "JSON that is a text": json.dumps(CANARY),
    "JSON that is a list": json.dumps([CANARY]),
    "broken JSON": "{" + CANARY,
    "later lines of a value": f"PATH=/bin\nSSH_KEY=first half\n{CANARY}\nHOME=/root\n",
    "a PEM file": f"-----BEGIN KEY-----\n{CANARY}\n{CANARY}==\n-----END KEY-----\n",
    "a line with spaces": f"SECRET KEY {CANARY}\n",
    "a value after a colon": f"SECRET_KEY: {CANARY}\n",
}


def shown(project: Project, *command: str, **options: str) -> str:
    done = project.run(*command, **options)  # type: ignore[arg-type]
    assert done.returncode in (1, 2), done.stdout
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry run"])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_wrong_file_is_refused_and_nothing_of_it_is_shown(text: str, dry_run: list[str], project: Project) -> None:
    before = project.state()
    said = shown(project, "setup_secrets.py", "--non-interactive", "--import", "-", *dry_run, standard_input=text)
    assert CANARY not in said
    assert KEY not in said
    assert project.state() == before


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_an_import_with_a_known_name_shows_no_other_line(text: str, project: Project) -> None:
    if text.startswith(("{", "\ufeff", '"', "[")):
        return
    done = project.run(
        *("setup_secrets.py", "--non-interactive", "--import", "-"), standard_input=f"SMTP_PASSWORD=abc\n{text}"
    )
    assert CANARY not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


def test_names_that_are_left_out_are_shown_and_other_lines_by_their_number(project: Project) -> None:
    text = f"SMTP_PASSWORD=abc\nPOSTGRES_USER=cctv\n\n{CANARY}\nEMPTY=\n{CANARY}==\n"
    done = project.set_up("--import", "-", standard_input=text)
    said = " ".join(done.stdout.split())
    assert "Not in the catalogue, not imported: POSTGRES_USER" in said
    assert "Left out, since they name nothing: lines 4, 6" in said
    assert CANARY not in said


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "OTHER=1\n", "SECRET_KEY=\n", "{}", '{"SECRET_KEY": null}'])
def test_a_file_without_secrets_is_an_error_and_nothing_is_written(text: str, project: Project) -> None:
    before = project.state()
    said = shown(project, "setup_secrets.py", "--non-interactive", "--import", "-", standard_input=text)
    assert "has no value for any secret of the catalogue" in said
    assert project.state() == before


def test_json_with_a_byte_order_mark_is_read(project: Project) -> None:
    project.set_up("--import", "-", standard_input="\ufeff" + json.dumps({"SMTP_PASSWORD": "abc"}))
    assert project.values()["SMTP_PASSWORD"] == "abc"


ARGUMENTS = [
    ("manage_secrets.py", "set", "SMTP_PASSWORD", CANARY),
    ("manage_secrets.py", "set", f"SMTP_PASSWORD={CANARY}"),
    ("manage_secrets.py", "set", CANARY),
    ("manage_secrets.py", "set", "SMTP_PASSWORD", f"--{CANARY}"),
    ("manage_secrets.py", "set", "SMTP_PASSWORD", f"-{CANARY}"),
    ("manage_secrets.py", "set", "SMTP_PASSWORD", "--file", CANARY),
    ("manage_secrets.py", "set", "SMTP_PASSWORD", f"--generate={CANARY}"),
    ("manage_secrets.py", CANARY),
    ("manage_secrets.py", "get", CANARY),
    ("manage_secrets.py", "history", CANARY),
    ("manage_secrets.py", "rotate", CANARY),
    ("manage_secrets.py", "rotate", "SECRET_KEY", "--grace", CANARY),
    ("manage_secrets.py", "rotate", "SMTP_PASSWORD", "--set-file", CANARY),
    ("manage_secrets.py", "rotate", "SMTP_PASSWORD", "--set-file", f"SMTP_PASSWORD={CANARY}"),
    ("manage_secrets.py", "export", "--only", CANARY),
    ("manage_secrets.py", "export", "--format", CANARY),
    ("manage_secrets.py", "doctor", "--only", CANARY),
    ("manage_secrets.py", "status", "--environment", CANARY.upper()),
    ("manage_secrets.py", "status", "--env-file", CANARY),
    ("manage_secrets.py", "status", "--catalog", CANARY),
    ("manage_secrets.py", "migrate", "--to", CANARY),
    ("manage_secrets.py", "migrate", "--to", f"aws:{CANARY}"),
    ("manage_secrets.py", "migrate", "--to", f"azure:{CANARY}"),
    ("manage_secrets.py", "diff", f"vault:{CANARY}", "file"),
    ("manage_secrets.py", "restore", CANARY),
    ("manage_secrets.py", "restore", "x.backup", "--passphrase-file", CANARY),
    ("manage_secrets.py", "backup", "--key-file", CANARY),
    ("manage_secrets.py", "policy", CANARY),
    ("setup_secrets.py", "--non-interactive", CANARY),
    ("setup_secrets.py", "--non-interactive", "--import", CANARY),
    ("setup_secrets.py", "--non-interactive", "--backend", CANARY),
    ("setup_secrets.py", "--non-interactive", "--set-file", CANARY),
    ("setup_secrets.py", "--non-interactive", "--set-file", f"SMTP_PASSWORD={CANARY}"),
    ("setup_secrets.py", "--non-interactive", "--set-file", f"{CANARY}=x"),
    ("setup_secrets.py", "--non-interactive", "--master-key-file", KEY),
    ("generate_docker_secrets.sh", CANARY),
    ("generate_docker_secrets.sh", f"--{CANARY}"),
    ("generate_docker_secrets.sh", f"--check={CANARY}"),
    ("generate_docker_secrets.sh", "--env-file", CANARY),
    ("generate_docker_secrets.sh", "--environment", CANARY.upper()),
]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A deployment that no test in this module changes."""
    import shutil

    from tests.conftest import PROJECT

    folder = tmp_path_factory.mktemp("ready")
    (folder / "project/config").mkdir(parents=True)
    (folder / "home").mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", folder / "project/config/catalog.toml")
    project = Project(folder / "project", folder / "home")
    project.set_up()
    return project


@pytest.mark.parametrize("command", ARGUMENTS, ids=" ".join)
def test_an_argument_that_is_not_understood_is_not_repeated(command: tuple[str, ...], ready: Project) -> None:
    before = ready.state()
    said = shown(ready, *command)
    assert CANARY.lower() not in said.lower()
    assert KEY not in said
    assert ready.state() == before


SETTINGS = [
    "SECRETS_MASTER_KEY_FILE",
    "SECRETS_FILE_PATH",
    "SECRETS_CACHE_TTL",
    "SECRETS_BACKEND",
    "SECRETS_MASTER_KEY",
    "SECRETS_MASTER_KEY_COMMAND",
]


@pytest.mark.parametrize("value", [KEY, CANARY, f"/etc/{CANARY}", f"{CANARY}/{CANARY}", f"~/{CANARY}"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_holds_a_secret_by_mistake_is_not_repeated(setting: str, value: str, ready: Project) -> None:
    for command in (("manage_secrets.py", "status"), ("setup_secrets.py", "--non-interactive")):
        said = shown(ready, *command, environ={setting: value})  # type: ignore[arg-type]
        assert value not in said
        assert CANARY not in said


def test_a_secret_in_the_settings_file_is_not_repeated(project: Project) -> None:
    project.set_up()
    settings = project.directory / ".env.production"
    lines = settings.read_text().splitlines()
    changed = [
        f"SECRETS_MASTER_KEY_FILE={KEY}" if line.startswith("SECRETS_MASTER_KEY_FILE") else line for line in lines
    ]
    settings.write_text("\n".join(changed) + "\n")
    for command in (
        ("manage_secrets.py", "status"),
        ("setup_secrets.py", "--non-interactive"),
        ("generate_docker_secrets.sh",),
    ):
        assert KEY not in shown(project, *command)
    doctor = project.run("manage_secrets.py", "doctor", "--offline")
    assert KEY not in doctor.stdout + doctor.stderr


def test_a_value_as_an_argument_warns_about_the_shell_history(ready: Project) -> None:
    said = shown(ready, "manage_secrets.py", "set", f"SMTP_PASSWORD={CANARY}")
    assert "it may be in the shell's history now" in said
    assert "hint: Give the name alone: SMTP_PASSWORD" in said
    assert "it may be in the shell's history now" in shown(ready, "manage_secrets.py", "set", "SMTP_PASSWORD", CANARY)


def test_the_wizard_shows_nothing_of_a_wrong_import(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{CANARY}\n")
    terminal = Terminal(
        project.script("setup_secrets.py", "--import", str(path)), environ=project.environ(), cwd=str(project.directory)
    )
    assert terminal.finish() == 1
    assert CANARY not in terminal.text
