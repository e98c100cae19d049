"""manage_secrets.py: show, change, move, back up."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from tests.conftest import PROJECT, Project
from tests.support.commands import ACCEPT, DIFFICULT, error_of, manage
from tests.support.files import write_read_only
from tests.support.terminal import CTRL_C, ENTER, Terminal

PASSPHRASE = "several unlikely words together 7"


def rewrite(project: Project, change: dict[str, object]) -> None:
    """Change the content of the encrypted file, as an older program or an earlier time would have written it."""
    content = project.decrypt()
    for name, entry in change.items():
        content["metadata"][name] = entry  # type: ignore[index]
    key = project.key_file.read_text().strip()
    write_read_only(project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    (project.directory / "config/secrets.enc.sum").unlink()


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def trail(project: Project) -> list[dict[str, object]]:
    path = project.home / ".local/state/cctv-face-detection/audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def no_value_in(project: Project, text: str) -> None:
    assert [name for name, value in project.values().items() if len(value) > 8 and value in text] == []


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_state_age_strength_and_docker_files_but_no_value(project: Project) -> None:
    project.set_up()
    done = manage(project, "status", "--strict")
    no_value_in(project, done.stdout)
    rows = {row["name"]: row for row in json.loads(manage(project, "status", "--json").stdout)["secrets"]}
    assert rows["SECRET_KEY"]["state"] == "set"
    assert rows["SECRET_KEY"]["age_days"] == 0
    assert rows["SECRET_KEY"]["docker"] == "-"
    assert rows["TWILIO_SID"]["state"] == "not used"
    assert project.run("generate_docker_secrets.sh").returncode == 0
    manage(project, "set", "REDIS_PASSWORD", "--generate")
    rows = {row["name"]: row for row in json.loads(manage(project, "status", "--json").stdout)["secrets"]}
    assert rows["REDIS_PASSWORD"]["docker"] == "stale"
    assert rows["SECRET_KEY"]["docker"] == "up to date"
    assert "manage_secrets.py apply" in manage(project, "status", "--strict", code=1).stdout
    manage(project, "apply", "--yes")
    manage(project, "status", "--strict")


@pytest.mark.parametrize(("days", "code"), [(89, 0), (90, 1)])
def test_strict_status_fails_when_a_secret_is_due(project: Project, days: int, code: int) -> None:
    project.set_up()
    rewrite(project, {"SECRET_KEY": {"updated_at": days_ago(days), "previous": []}})
    done = manage(project, "status", "--strict", code=code)
    assert f"{days} of 90 days" in done.stdout
    assert ("rotate --due" in done.stdout) is bool(code)


def test_strict_status_fails_when_a_required_secret_is_missing_or_weak(project: Project) -> None:
    project.set_up()
    (project.directory / "weak.json").write_text('{"REDIS_PASSWORD": "7Hq.2"}')
    project.set_up("--import", "weak.json", "--replace")
    assert "short, 5" in manage(project, "status", "--strict", code=1).stdout
    content = project.decrypt()
    del content["secrets"]["SECRET_KEY"]  # type: ignore[attr-defined]
    project.secrets_file.chmod(0o600)
    project.secrets_file.write_bytes(Fernet(project.key_file.read_text().strip()).encrypt(json.dumps(content).encode()))
    done = manage(project, "status", "--strict", code=1)
    assert "Missing: SECRET_KEY" in done.stdout


# --- set, history, rollback, remove -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [*DIFFICULT.values(), "x"])
def test_a_value_is_set_from_standard_input_and_comes_back_unchanged(project: Project, value: str) -> None:
    project.set_up()
    manage(project, "set", "DATABASE_PASSWORD", "--accept", "DATABASE_PASSWORD", standard_input=f"{value}\n")
    assert manage(project, "get", "DATABASE_PASSWORD").stdout == value


def test_a_value_is_typed_twice_and_hidden(project: Project) -> None:
    project.set_up()
    terminal = Terminal(
        project.script("manage_secrets.py", "set", "SMTP_PASSWORD"),
        environ=project.environ(),
        cwd=str(project.directory),
    )
    terminal.answer("SMTP_PASSWORD", f"Qk7-violet-otter-91{ENTER}")
    terminal.answer("Repeat it", f"Qk7-violet-otter-91{ENTER}")
    assert terminal.finish() == 0, terminal.text
    assert "violet-otter" not in terminal.text
    assert project.values()["SMTP_PASSWORD"] == "Qk7-violet-otter-91"


def test_ctrl_c_while_a_value_is_typed_changes_nothing(project: Project) -> None:
    project.set_up()
    before = project.state()
    terminal = Terminal(
        project.script("manage_secrets.py", "set", "SMTP_PASSWORD"),
        environ=project.environ(),
        cwd=str(project.directory),
    )
    terminal.answer("SMTP_PASSWORD", f"hunter2{CTRL_C}")
    assert terminal.finish() == 130
    assert project.state() == before


def test_set_explains_invalid_values(project: Project) -> None:
    project.set_up()
    before = project.state()
    assert "Did you mean SECRET_KEY?" in error_of(manage(project, "set", "SECRET_KEI", code=1))
    for name in ("POSTGRES_PASSWORD", "db-password", "DATABASE_URL"):
        assert "Did you mean DATABASE_PASSWORD?" in error_of(manage(project, "set", name, code=1))
    assert "is empty" in error_of(manage(project, "set", "WEBHOOK_SECRET", code=1))
    assert "published example" in error_of(
        manage(project, "set", "ADMIN_PASSWORD", code=1, standard_input="password1234")
    )
    assert "has 5 characters; use at least 12" in error_of(
        manage(project, "set", "ADMIN_PASSWORD", code=1, standard_input="7Hq.2")
    )
    assert "cannot be generated" in error_of(manage(project, "set", "TWILIO_SID", "--generate", code=2), 2)
    assert "set together with TWILIO_TOKEN" in error_of(
        manage(project, "set", "TWILIO_SID", code=2, standard_input="AC1"), 2
    )
    assert project.state() == before


def test_history_shows_a_previous_value_and_rollback_restores_it(project: Project) -> None:
    project.set_up()
    old = project.values()["JWT_SECRET_KEY"]
    manage(project, "set", "JWT_SECRET_KEY", "--generate")
    new = project.values()["JWT_SECRET_KEY"]
    shown = manage(project, "history", "JWT_SECRET_KEY")
    assert "accepted" in shown.stdout
    no_value_in(project, shown.stdout)
    assert old not in shown.stdout
    manage(project, "rollback", "JWT_SECRET_KEY", "--yes")
    assert project.values()["JWT_SECRET_KEY"] == old
    versions = json.loads(manage(project, "history", "JWT_SECRET_KEY", "--json").stdout)["versions"]
    assert [row["state"] for row in versions] == ["current", "accepted"]
    manage(project, "rollback", "JWT_SECRET_KEY", "--yes")
    assert project.values()["JWT_SECRET_KEY"] == new
    assert "keeps no earlier value" in error_of(manage(project, "rollback", "SECRET_KEY", "--yes", code=1))


def test_a_change_asks_first_and_needs_yes_without_a_terminal(project: Project) -> None:
    project.set_up()
    manage(project, "set", "SECRET_KEY", "--generate")
    before = project.state()
    assert "--yes" in error_of(manage(project, "rollback", "SECRET_KEY", code=2), 2)
    assert project.state() == before


def test_remove_takes_an_optional_secret_with_its_feature_and_no_required_one(project: Project) -> None:
    (project.directory / "both.json").write_text('{"TWILIO_SID": "AC1", "TWILIO_TOKEN": "two"}')
    project.set_up("--import", "both.json")
    manage(project, "remove", "TWILIO_SID", "--yes")
    assert not {"TWILIO_SID", "TWILIO_TOKEN"} & set(project.values())
    assert "is required" in error_of(manage(project, "remove", "SECRET_KEY", "--yes", code=1))


def test_a_dotenv_store_is_changed_in_its_file_unless_a_variable_is_exported(project: Project) -> None:
    project.set_up("--backend", "env")
    manage(project, "set", "SMTP_PASSWORD", standard_input="a new one\n")
    assert dotenv_values(project.directory / ".env")["SMTP_PASSWORD"] == "a new one"
    before = project.state()
    done = project.run("manage_secrets.py", "set", "WEBHOOK_SECRET", "--generate", environ={"WEBHOOK_SECRET": "x"})
    assert "unset WEBHOOK_SECRET" in error_of(done)
    assert "keeps no earlier value" in error_of(manage(project, "rollback", "WEBHOOK_SECRET", "--yes", code=1))
    assert project.state() == before


# --- export and run --------------------------------------------------------------------------------------------------


def test_every_export_reads_back_the_same(project: Project) -> None:
    (project.directory / "import.json").write_text(
        json.dumps({name: value for name, value in DIFFICULT.items() if "\\" not in value})
    )
    project.set_up("--import", "import.json", *ACCEPT)
    values = {name: value for name, value in project.values().items() if name != "SMTP_PASSWORD"}
    chosen = [argument for name in values for argument in ("--only", name)]
    assert json.loads(manage(project, "export", "--format", "json", *chosen).stdout) == values
    manage(project, "export", "--output", str(project.directory / "out.env"), *chosen)
    assert dotenv_values(project.directory / "out.env", interpolate=False) == values
    assert stat.S_IMODE((project.directory / "out.env").stat().st_mode) == 0o600
    script = manage(project, "export", "--format", "shell", "--only", "SECRET_KEY", "--only", "WEBHOOK_SECRET").stdout
    read = subprocess.run(
        ["sh", "-c", f'{script}\nprintf "%s|%s" "$SECRET_KEY" "$WEBHOOK_SECRET"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout == f"{values['SECRET_KEY']}|{values['WEBHOOK_SECRET']}"
    data = json.loads(manage(project, "export", "--format", "kubernetes").stdout)["data"]
    assert base64.b64decode(data["DATABASE_PASSWORD"]).decode() == values["DATABASE_PASSWORD"]


@pytest.mark.parametrize("flags", [[], ["--files"]])
def test_run_gives_a_program_only_the_named_secrets_and_its_arguments(project: Project, flags: list[str]) -> None:
    project.set_up()
    code = (
        "import os, sys\n"
        "path = os.environ.get('SECRET_KEY_FILE')\n"
        "value = open(path).read() if path else os.environ['SECRET_KEY']\n"
        "print(value, 'REDIS_PASSWORD' in os.environ, 'REDIS_PASSWORD_FILE' in os.environ, len(sys.argv))\n"
        "sys.exit(7)"
    )
    arguments = ["run", "--only", "SECRET_KEY", *flags, "--project-directory", str(project.directory)]
    done = subprocess.run(
        [str(PROJECT / "scripts/manage_secrets.py"), *arguments, "--", sys.executable, "-c", code, "--flag"],
        env=project.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{project.values()['SECRET_KEY']} False False 2\n"


def test_files_of_run_can_be_read_by_the_program_s_own_children(project: Project) -> None:
    project.set_up()
    script = str(PROJECT / "scripts/manage_secrets.py")
    own = ["--project-directory", str(project.directory)]
    code = "import os, subprocess; subprocess.run(['cat', os.environ['SECRET_KEY_FILE']])"
    done = subprocess.run(
        [script, "run", "--files", *own, "--", sys.executable, "-c", code],
        env=project.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == project.values()["SECRET_KEY"]


def test_run_passes_signals_on_because_it_becomes_the_program(project: Project) -> None:
    project.set_up()
    command = [str(PROJECT / "scripts/manage_secrets.py"), "run", "--project-directory", str(project.directory)]
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
        "print('up', flush=True)\nsignal.pause()"
    )
    with subprocess.Popen(
        [*command, "--", sys.executable, "-c", code], env=project.environ(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert Path(f"/proc/{process.pid}/cmdline").read_text().startswith(sys.executable)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 42


def test_run_ends_with_125_when_it_fails_itself(project: Project) -> None:
    script = [str(PROJECT / "scripts/manage_secrets.py"), "run", "--project-directory", str(project.directory)]
    for set_up, message in ((False, "No secrets are set up"), (True, "cannot be run")):
        if set_up:
            project.set_up()
        done = subprocess.run(
            [*script, "--", "/no/such/program"], env=project.environ(), capture_output=True, text=True, check=False
        )
        assert message in error_of(done, 125)


# --- diff and migrate ------------------------------------------------------------------------------------------------


def test_diff_compares_without_showing_values(project: Project) -> None:
    project.set_up()
    assert "same" in manage(project, "diff", "--to", f"file:{project.secrets_file}").stdout
    project.set_up("--environment", "staging")
    done = manage(project, "diff", "--to", "environment:staging", code=1)
    assert "differs" in done.stdout
    no_value_in(project, done.stdout)
    states = json.loads(manage(project, "diff", "--to", "environment:staging", "--json", code=1).stdout)
    assert states["ADMIN_USERNAME"] == "same"
    assert states["SECRET_KEY"] == "differs"


def test_migrate_shows_a_preview_and_moves_only_with_apply(project: Project) -> None:
    project.set_up("--backend", "env")
    values = {name: value for name, value in dotenv_values(project.directory / ".env").items() if value}
    before = project.state()
    assert "Dry run" in manage(project, "migrate", "--to", "file").stdout
    assert project.state() == before
    manage(project, "migrate", "--to", "file", "--apply", "--yes")
    assert project.values() == {name: value for name, value in values.items() if name != "SECRETS_BACKEND"}
    assert "SECRETS_BACKEND=file" in (project.directory / ".env.production").read_text()
    assert manage(project, "get", "SECRET_KEY").stdout == values["SECRET_KEY"]
    assert stat.S_IMODE(project.key_file.stat().st_mode) == 0o400


def test_secrets_move_between_two_encrypted_files_with_different_keys(project: Project) -> None:
    project.set_up()
    manage(project, "set", "JWT_SECRET_KEY", "--generate")
    values, content = project.values(), project.decrypt()
    target, key = project.home / "other/copy.enc", project.home / "other.key"
    arguments = ("--to", f"file:{target}", "--to-key-file", str(key))
    manage(project, "migrate", *arguments, "--apply", "--yes")
    copied = json.loads(Fernet(key.read_text().strip()).decrypt(target.read_bytes()))
    assert copied["secrets"] == values
    assert copied["metadata"] == content["metadata"]
    assert manage(project, "get", "SECRET_KEY").stdout == values["SECRET_KEY"]
    settings = dotenv_values(project.directory / ".env.production")
    assert settings["SECRETS_FILE_PATH"] == str(target)
    assert settings["SECRETS_MASTER_KEY_FILE"] == str(key)
    assert project.secrets_file.exists()


def test_deleting_the_source_needs_the_word(project: Project) -> None:
    project.set_up()
    values = project.values()
    arguments = ("migrate", "--to", "env", "--apply", "--yes", "--delete-source")
    before = project.state()
    assert "The word was not typed" in error_of(manage(project, *arguments, code=1, standard_input="yes\n"))
    assert project.state() == before
    manage(project, *arguments, standard_input="delete\n")
    assert not list(project.directory.glob("config/secrets.enc*[!k]"))
    assert values.items() <= dotenv_values(project.directory / ".env").items()
    assert not (project.directory / ".env.production").exists()
    assert manage(project, "get", "SECRET_KEY").stdout == values["SECRET_KEY"]


def test_the_same_place_twice_and_unknown_places_are_refused(project: Project) -> None:
    project.set_up()
    assert "Both are the same place" in error_of(manage(project, "migrate", "--from", "file", "--to", "file", code=1))
    assert "is the store in use already" in manage(project, "migrate", "--to", "file").stdout
    assert "does not name a store" in error_of(manage(project, "migrate", "--to", "aws:eu-central-1", code=1))
    assert "does not name a store" in error_of(manage(project, "migrate", "--to", "s3", code=1))
    assert "Another environment" in error_of(manage(project, "migrate", "--to", "environment:staging", code=2), 2)


def test_a_target_that_cannot_be_written_leaves_the_source_in_use(project: Project, small_disk: Path) -> None:
    (project.directory / "import.json").write_text(json.dumps({"SMTP_PASSWORD": "x" * 300_000}))
    project.set_up("--import", "import.json")
    before = project.state()
    done = manage(project, "migrate", "--to", f"file:{small_disk}/copy.enc", "--apply", "--yes", code=1)
    assert "space" in error_of(done)
    after = project.state()
    assert {path: after[path] for path in before} == before
    assert not (small_disk / "copy.enc").exists()


# --- The master key --------------------------------------------------------------------------------------------------


def test_a_new_master_key_opens_the_file_and_the_old_one_is_kept_until_forget(project: Project) -> None:
    project.set_up()
    values, old_key = project.values(), project.key_file.read_text()
    done = manage(project, "rotate-master-key", "--yes")
    assert project.key_file.read_text() != old_key
    assert project.values() == values
    assert stat.S_IMODE(project.key_file.stat().st_mode) == 0o400
    kept = list(project.key_file.parent.glob("master.key.old-*"))
    assert [path.read_text() for path in kept] == [old_key]
    assert old_key.strip() not in done.stdout
    assert manage(project, "get", "SECRET_KEY").stdout == values["SECRET_KEY"]
    manage(project, "rotate-master-key", "--forget", "--yes")
    assert not list(project.key_file.parent.glob("master.key.old-*"))
    assert not (project.directory / "config/secrets.enc.bak").exists()


def test_an_interrupted_rotation_of_the_master_key_is_finished(project: Project) -> None:
    project.set_up()
    values, old = project.values(), project.key_file.read_text().strip()
    new = Fernet.generate_key().decode()
    write_read_only(project.key_file, f"{new},{old}\n")
    assert manage(project, "get", "SECRET_KEY").stdout == values["SECRET_KEY"]
    assert "interrupted" in manage(project, "rotate-master-key", "--yes").stdout
    assert project.key_file.read_text().strip() == new
    assert project.values() == values


def test_a_running_reader_never_fails_while_the_master_key_is_rotated(project: Project) -> None:
    project.set_up()
    code = (
        "import sys, time\n"
        "from src.utils.secrets import SecretsManager\n"
        "manager = SecretsManager()\n"
        "reads = 0\n"
        "end = time.monotonic() + 60\n"
        "print('up', flush=True)\n"
        "import threading\n"
        "stop = threading.Event()\n"
        "threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()\n"
        "while not stop.is_set() and time.monotonic() < end:\n"
        "    manager.refresh()\n"
        "    assert len(manager.require_secret('SECRET_KEY')) == 64\n"
        "    reads += 1\n"
        "print(reads)"
    )
    environ = project.environ(
        {
            "PYTHONPATH": str(PROJECT),
            "SECRETS_BACKEND": "file",
            "SECRETS_FILE_PATH": str(project.secrets_file),
            "SECRETS_MASTER_KEY_FILE": str(project.key_file),
        }
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == "up\n"
        for _ in range(5):
            manage(project, "rotate-master-key", "--yes")
            time.sleep(0.1)
        output, errors = reader.communicate("stop", timeout=60)
    assert reader.returncode == 0, errors
    assert int(output) > 20


def test_a_master_key_that_cannot_be_written_from_here_is_explained(project: Project) -> None:
    project.set_up()
    old = project.key_file.read_text().strip()
    new = Fernet.generate_key().decode()
    project.key_file.unlink()
    lines = (project.directory / ".env.production").read_text().splitlines(keepends=True)
    (project.directory / ".env.production").write_text("".join(line for line in lines if "MASTER_KEY_FILE" not in line))
    done = project.run("manage_secrets.py", "rotate-master-key", "--yes", environ={"SECRETS_MASTER_KEY": old})
    assert "NEW,OLD" in error_of(done)
    both = {"SECRETS_MASTER_KEY": f"{new},{old}"}
    assert project.run("manage_secrets.py", "rotate-master-key", "--yes", environ=both).returncode == 0
    assert json.loads(Fernet(new).decrypt(project.secrets_file.read_bytes()))["version"] == 1


# --- Backup and restore ----------------------------------------------------------------------------------------------


def test_a_backup_restores_everything_into_an_empty_place(project: Project, tmp_path: Path) -> None:
    (project.directory / "import.json").write_text(json.dumps(DIFFICULT))
    project.set_up("--import", "import.json", *ACCEPT)
    manage(project, "set", "JWT_SECRET_KEY", "--generate")
    content = project.decrypt()
    passphrase, backup = tmp_path / "passphrase", tmp_path / "folder/secrets.backup"
    passphrase.write_text(PASSPHRASE)
    manage(project, "backup", "--output", str(backup), "--passphrase-file", str(passphrase))
    assert stat.S_IMODE(backup.stat().st_mode) == 0o400
    no_value_in(project, backup.read_text())
    project.secrets_file.unlink()
    arguments = ("restore", str(backup), "--passphrase-file", str(passphrase))
    assert "new" in manage(project, *arguments, "--dry-run").stdout
    assert not project.secrets_file.exists()
    manage(project, *arguments, "--yes")
    assert project.decrypt() == content
    assert "every value is there already" in manage(project, *arguments, "--yes").stdout.lower()


def test_a_restore_keeps_what_it_replaces_as_previous_value_or_leaves_it_alone(
    project: Project, tmp_path: Path
) -> None:
    project.set_up()
    (tmp_path / "backup.key").write_text(Fernet.generate_key().decode())
    (tmp_path / "backup.key").chmod(0o400)
    lock = ("--key-file", str(tmp_path / "backup.key"))
    manage(project, "backup", "--output", str(tmp_path / "b"), *lock)
    old = project.values()["SECRET_KEY"]
    manage(project, "set", "SECRET_KEY", "--generate")
    new = project.values()["SECRET_KEY"]
    manage(project, "restore", str(tmp_path / "b"), *lock, "--keep", "--yes")
    assert project.values()["SECRET_KEY"] == new
    manage(project, "restore", str(tmp_path / "b"), *lock, "--yes")
    assert project.values()["SECRET_KEY"] == old
    manage(project, "rollback", "SECRET_KEY", "--yes")
    assert project.values()["SECRET_KEY"] == new


def test_a_backup_with_the_wrong_passphrase_or_damage_is_explained_and_writes_nothing(
    project: Project, tmp_path: Path
) -> None:
    project.set_up()
    (tmp_path / "right").write_text(PASSPHRASE)
    (tmp_path / "wrong").write_text("another one entirely 8")
    backup = tmp_path / "b"
    manage(project, "backup", "--output", str(backup), "--passphrase-file", str(tmp_path / "right"))
    before = project.state()
    wrong = ("restore", str(backup), "--yes", "--passphrase-file", str(tmp_path / "wrong"))
    assert "does not open" in error_of(manage(project, *wrong, code=1))
    good = json.loads(backup.read_text())
    right = ("restore", str(backup), "--yes", "--passphrase-file", str(tmp_path / "right"))
    for damage, message in (
        ({"version": 2}, "does not know"),
        ({"format": "other"}, "not a backup"),
        ({"lock": good["lock"] | {"n": 2**40}}, "out of bounds"),
        ({"lock": {}}, "not of the known form"),
        ({"data": good["data"][:-8]}, "does not open"),
    ):
        backup.chmod(0o600)
        backup.write_text(json.dumps(good | damage))
        assert message in error_of(manage(project, *right, code=1))
    backup.write_text("no JSON")
    assert "not a backup" in error_of(manage(project, *right, code=1))
    existing = manage(project, "backup", "--output", str(backup), "--passphrase-file", str(tmp_path / "right"), code=1)
    assert "exists already" in error_of(existing)
    after = project.state()
    assert {path: after[path] for path in before if "audit" not in path} == {
        path: content for path, content in before.items() if "audit" not in path
    }


def test_a_backup_s_passphrase_is_typed_twice_and_has_to_be_strong(project: Project) -> None:
    project.set_up()
    terminal = Terminal(
        project.script("manage_secrets.py", "backup"), environ=project.environ(), cwd=str(project.directory)
    )
    terminal.answer("passphrase for the backup", f"password{ENTER}")
    terminal.answer("at least 12", "\x7f" * 8 + PASSPHRASE + ENTER)
    terminal.answer("Repeat it", f"{PASSPHRASE}{ENTER}")
    assert terminal.finish() == 0, terminal.text
    assert PASSPHRASE not in terminal.text
    assert len(list((project.home / ".local/state/cctv-face-detection/backups").iterdir())) == 1


def test_a_backup_in_a_folder_gets_its_own_name(project: Project, tmp_path: Path) -> None:
    project.set_up()
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "usb").mkdir()
    manage(project, "backup", "--output", str(tmp_path / "usb"), "--passphrase-file", str(tmp_path / "passphrase"))
    [backup] = (tmp_path / "usb").iterdir()
    assert re.fullmatch(r"production-\d{4}-\d\d-\d\dT\d{6}Z\.backup", backup.name)


def test_an_impossible_command_asks_no_question(project: Project, tmp_path: Path) -> None:
    project.set_up()
    (tmp_path / "there").touch()
    for arguments, message in (
        (("backup", "--output", str(tmp_path / "there")), "exists already"),
        (("rollback", "SECRET_KEY"), "keeps no earlier value"),
        (("remove", "SECRET_KEY"), "is required"),
        (("remove", "SMTP_PASSWORD"), "is not set"),
    ):
        terminal = Terminal(
            project.script("manage_secrets.py", *arguments), environ=project.environ(), cwd=str(project.directory)
        )
        assert terminal.finish() == 1
        assert message in terminal.text
        assert "?" not in terminal.text.splitlines()[0]


# --- The audit trail -------------------------------------------------------------------------------------------------


def test_every_change_is_in_the_trail_by_name_and_without_values(project: Project) -> None:
    project.set_up()
    manage(project, "set", "SECRET_KEY", "--generate")
    manage(project, "rollback", "SECRET_KEY", "--yes")
    manage(project, "rotate-master-key", "--yes")
    entries = trail(project)
    assert [entry["command"] for entry in entries] == ["set up", "set", "rollback", "rotate-master-key"]
    assert entries[1]["names"] == ["SECRET_KEY"]
    assert {entry["result"] for entry in entries} == {"done"}
    path = project.home / ".local/state/cctv-face-detection/audit.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    no_value_in(project, path.read_text())
    assert "SECRET_KEY" in manage(project, "status", "--audit").stdout


def test_a_failed_change_is_in_the_trail_as_failed(project: Project) -> None:
    project.set_up("--backend", "env")
    project.run("manage_secrets.py", "set", "WEBHOOK_SECRET", "--generate", environ={"WEBHOOK_SECRET": "x"})
    assert [entry["result"] for entry in trail(project)] == ["done", "failed: ConfigurationError"]


@pytest.mark.parametrize("damage", ["edit", "remove", "garbage"])
def test_a_trail_that_was_altered_in_the_middle_is_noticed(project: Project, damage: str) -> None:
    project.set_up()
    for _ in range(3):
        manage(project, "set", "SECRET_KEY", "--generate")
    path = project.home / ".local/state/cctv-face-detection/audit.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "edit":
        lines[1] = lines[1].replace("SECRET_KEY", "OTHER_NAME")
    elif damage == "remove":
        del lines[1]
    else:
        lines[1] = "garbage\n"
    path.write_text("".join(lines))
    done = manage(project, "status", "--audit", code=1)
    assert "line" in done.stdout
    assert json.loads(manage(project, "status", "--audit", "--json", code=1).stdout)["faults"]


def test_many_writers_keep_the_trail_in_order(project: Project) -> None:
    project.set_up()
    script = project.script("manage_secrets.py", "set", "SECRET_KEY", "--generate")
    writers = [
        subprocess.Popen(script, env=project.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(6)
    ]
    for writer in writers:
        writer.wait(60)
    assert json.loads(manage(project, "status", "--audit", "--json").stdout)["faults"] == []


def test_an_unwritable_trail_is_reported_and_stops_no_command(project: Project) -> None:
    blocked = project.home / "not a folder"
    blocked.write_text("")
    done = project.set_up(environ={"XDG_STATE_HOME": str(blocked)})
    assert "the audit trail" in done.stderr
    assert len(project.values()) == 8
    assert os.path.exists(project.secrets_file)


# --- A rotation that was interrupted ---------------------------------------------------------------------------------


def interrupt(project: Project, **content: str) -> Path:
    """Write the journal that a killed rotation of SECRET_KEY leaves."""
    path = project.home / ".local/state/cctv-face-detection/rotate-production.json"
    path.write_text(json.dumps({"project": str(project.directory), "names": ["SECRET_KEY"]} | content))
    return path


def test_an_interrupted_rotation_without_changes_is_reported_and_the_next_command_runs(project: Project) -> None:
    project.set_up()
    before = project.values()
    journal = interrupt(project, undone_from="a revision that is not there")
    done = manage(project, "rotate", "--dry-run")
    assert "was interrupted: SECRET_KEY" in done.stdout
    assert journal.exists()
    done = manage(project, "rotate", "--yes")
    assert "Nothing had been changed yet" in done.stdout
    assert not journal.exists()
    assert project.values() == before
    interrupt(project, undone_from="a revision that is not there")
    manage(project, "rotate", "SECRET_KEY", "--store-only", "--yes")
    assert [name for name, value in project.values().items() if value != before[name]] == ["SECRET_KEY"]


def test_what_an_interrupted_rotation_had_changed_is_not_changed_again(project: Project) -> None:
    project.set_up()
    before = project.values()
    interrupt(project, revision="the previous one")
    done = manage(project, "rotate", "SECRET_KEY", "WEBHOOK_SECRET", "--store-only", "--yes")
    assert "Rotated by that run: SECRET_KEY" in done.stdout
    assert [name for name, value in project.values().items() if value != before[name]] == ["WEBHOOK_SECRET"]
    interrupt(project, revision="the previous one")
    assert "Nothing else is due" in manage(project, "rotate", "SECRET_KEY", "--store-only", "--yes").stdout


def test_a_rotation_whose_docker_files_cannot_be_written_stops_and_is_finished_by_the_next_run(
    project: Project,
) -> None:
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    before = project.values()
    path = project.directory / "secrets/secret_key.txt"
    path.unlink()
    path.mkdir()
    error = error_of(manage(project, "rotate", "SECRET_KEY", "--store-only", "--yes", code=1))
    assert "stopped in the middle" in error
    assert "not a regular file" in error
    assert project.values() == before
    path.rmdir()
    assert "Nothing had been changed yet" in manage(project, "rotate", "--store-only", "--yes").stdout
    assert path.read_text() == before["SECRET_KEY"]
