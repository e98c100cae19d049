"""Restoring secrets from each thing that is left of them, and giving the master key back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.conftest import Project
from tests.support.commands import ACCEPT, DIFFICULT, error_of, manage
from tests.support.files import write_read_only
from tests.support.forms import pairs
from tests.support.kept import Kept
from tests.support.terminal import DOWN, ENTER, Terminal

PASSPHRASE = "seven wombats ride a slow train"


def make_deployment(project: Project) -> None:
    (project.directory / "import.json").write_text(json.dumps(DIFFICULT))
    project.set_up("--import", "import.json", *ACCEPT)
    (project.directory / "import.json").unlink()
    manage(project, "set", "WEBHOOK_SECRET", "--generate")
    assert project.run("generate_docker_secrets.sh").returncode == 0


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("rescue"), make_deployment)


@pytest.fixture
def deployment(kept: Kept) -> Project:
    """A deployment with values of every kind, a change behind it, and Docker files."""
    return kept.put_back()


def rescue(project: Project, *arguments: str) -> str:
    done = manage(project, "rescue", *arguments)
    for value in [*DIFFICULT.values(), project.key_file.read_text().strip() if project.key_file.exists() else "-" * 44]:
        assert len(value) < 8 or value not in done.stdout + done.stderr
    return done.stdout


def test_a_healthy_deployment_needs_no_rescue(deployment: Project) -> None:
    before = deployment.state()
    assert "nothing has to be restored" in rescue(deployment)
    content = json.loads(rescue(deployment, "--json"))
    assert (content["state"], content["chosen"]) == ("ready", None)
    assert deployment.state() == before


def _delete_file(project: Project) -> None:
    project.secrets_file.unlink()


def _delete_folder(project: Project) -> None:
    for path in project.directory.glob("config/secrets.enc*"):
        path.unlink()


def _delete_settings(project: Project) -> None:
    _delete_file(project)
    project.settings_file.unlink()


def _delete_key(project: Project) -> None:
    project.key_file.unlink()


def _damage(project: Project) -> None:
    write_read_only(project.secrets_file, project.secrets_file.read_bytes()[:100])


@pairs("destroy", "source")
@pytest.mark.parametrize("destroy", [_delete_file, _delete_folder, _delete_settings, _delete_key, _damage])
@pytest.mark.parametrize("source", ["copy", "secrets", "backup"])
def test_each_source_restores_every_value_byte_for_byte(
    source: str, destroy: Callable[[Project], None], deployment: Project, tmp_path: Path
) -> None:
    expected = deployment.decrypt()["secrets"]
    key = write(tmp_path, deployment.key_file.read_text(), "key")
    passphrase = write(tmp_path, PASSPHRASE, "passphrase")
    backup, copy = str(tmp_path / "a.backup"), str(tmp_path / "a copy.enc")
    if source == "backup":
        manage(deployment, "backup", "--output", backup, "--passphrase-file", str(passphrase))
    shutil.copy2(deployment.secrets_file, copy)
    destroy(deployment)
    opened_with = {
        "copy": ("--from", copy, "--key-file", str(key)),
        "secrets": ("--from", "secrets"),
        "backup": ("--from", backup, "--passphrase-file", str(passphrase)),
    }
    rescue(deployment, *opened_with[source], "--yes")
    assert deployment.decrypt()["secrets"] == expected
    assert deployment.run("generate_docker_secrets.sh", "--check").returncode == 0


def test_a_key_that_is_gone_is_replaced_by_a_new_one_that_is_named(deployment: Project) -> None:
    expected = deployment.values()
    lost = deployment.key_file.read_bytes()
    before = deployment.secrets_file.read_bytes()
    deployment.key_file.unlink()
    shown = rescue(deployment, "--yes")
    assert "Keep a copy away from this machine" in shown
    assert str(deployment.key_file).replace(str(deployment.home), "~") in shown
    assert deployment.key_file.read_bytes() != lost
    assert stat.S_IMODE(deployment.key_file.stat().st_mode) == 0o400
    assert deployment.values() == expected
    [kept] = deployment.directory.glob("config/secrets.enc.lost-*Z")
    assert kept.read_bytes() == before


def test_earlier_values_and_times_come_back_too(deployment: Project) -> None:
    metadata = deployment.decrypt()["metadata"]
    assert isinstance(metadata, dict)
    key = deployment.key_file.read_bytes()
    shutil.copy2(deployment.secrets_file, f"{deployment.secrets_file}.old")
    deployment.secrets_file.unlink()
    rescue(deployment, "--from", f"{deployment.secrets_file}.old", "--yes")
    assert deployment.decrypt()["metadata"] == metadata
    assert deployment.key_file.read_bytes() == key
    deployment.secrets_file.unlink()
    rescue(deployment, "--from", "secrets", "--yes")
    restored = deployment.decrypt()["metadata"]
    assert isinstance(restored, dict)
    assert all(entry["updated_at"] for entry in restored.values())


def test_names_outside_the_catalogue_come_back_too(deployment: Project) -> None:
    content = deployment.decrypt()
    content["secrets"]["APP_CONFIG"] = '{"a": 1}'  # type: ignore[index]
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file.with_suffix(".enc.old"), fernet.encrypt(json.dumps(content).encode()))
    deployment.secrets_file.unlink()
    assert "APP_CONFIG" in rescue(deployment, "--from", f"{deployment.secrets_file}.old", "--yes")
    assert deployment.values()["APP_CONFIG"] == '{"a": 1}'


def test_a_weak_value_is_restored_as_it_is(deployment: Project) -> None:
    path = deployment.docker_directory / "secret_key.txt"
    write_read_only(path, "changeme")
    deployment.secrets_file.unlink()
    Path(f"{deployment.secrets_file}.bak").unlink()
    rescue(deployment, "--yes")
    assert deployment.values()["SECRET_KEY"] == "changeme"


def test_what_a_source_lacks_comes_from_another_and_is_named(deployment: Project) -> None:
    expected = deployment.values()
    (deployment.docker_directory / "redis_password.txt").unlink()
    (deployment.docker_directory / "db_password.txt").unlink()
    Path(f"{deployment.secrets_file}.bak").unlink()
    content = json.loads(json.dumps(deployment.decrypt()))
    del content["secrets"]["SECRET_KEY"], content["secrets"]["ADMIN_PASSWORD"], content["secrets"]["JWT_SECRET_KEY"]
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(Path(f"{deployment.secrets_file}.old"), fernet.encrypt(json.dumps(content).encode()))
    deployment.secrets_file.unlink()
    shown = rescue(deployment, "--yes")
    assert "DATABASE_PASSWORD comes from config/secrets.enc.old" in shown
    assert deployment.values() == expected


def test_a_store_that_can_be_read_keeps_its_values_unless_told(deployment: Project) -> None:
    manage(deployment, "set", "SECRET_KEY", "--generate")
    rotated = deployment.values()
    content = deployment.decrypt()
    lost = content["secrets"].pop("DATABASE_PASSWORD")  # type: ignore[attr-defined]
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    Path(f"{deployment.secrets_file}.sum").unlink()
    rescue(deployment, "--from", "secrets", "--yes")
    assert deployment.values() == rotated
    assert deployment.values()["DATABASE_PASSWORD"] == lost
    rescue(deployment, "--from", "secrets", "--replace", "--yes")
    assert deployment.values()["SECRET_KEY"] == DIFFICULT["SECRET_KEY"]
    metadata: dict[str, Any] = deployment.decrypt()["metadata"]  # type: ignore[assignment]
    assert rotated["SECRET_KEY"] in [entry["value"] for entry in metadata["SECRET_KEY"]["previous"]]


def test_docker_files_written_after_the_last_change_come_before_the_copy_from_before_it(deployment: Project) -> None:
    """The times of the Docker files are those of their values, which may all be older than the copy."""
    newest = (deployment.directory / "secrets/webhook_secret.txt").read_text()
    hours_ago = time.time() - 3600
    for path in (deployment.directory / "secrets").iterdir():
        os.utime(path, (2 * hours_ago - time.time(),) * 2)
    os.utime(deployment.directory / "config/secrets.enc.bak", (hours_ago, hours_ago))
    _delete_file(deployment)
    rescue(deployment, "--yes")
    assert manage(deployment, "get", "WEBHOOK_SECRET").stdout.strip() == newest


def test_docker_files_with_other_values_are_kept_aside(deployment: Project) -> None:
    manage(deployment, "set", "WEBHOOK_SECRET", "--generate")
    assert deployment.run("generate_docker_secrets.sh").returncode == 0
    only_here = (deployment.docker_directory / "webhook_secret.txt").read_bytes()
    deployment.secrets_file.unlink()
    rescue(deployment, "--from", f"{deployment.secrets_file}.bak", "--yes")
    assert deployment.run("generate_docker_secrets.sh").returncode == 0
    kept = [path.read_bytes() for path in deployment.docker_directory.glob("lost-*/webhook_secret.txt")]
    assert kept == [only_here]


@pytest.mark.parametrize("kind", ["file", "env"])
def test_what_was_given_up_can_be_restored(kind: str, project: Project) -> None:
    project.set_up("--backend", kind)
    assert project.run("generate_docker_secrets.sh").returncode == 0
    before = project.run("manage_secrets.py", "export", "--format", "json").stdout
    project.set_up("--start-over", "--confirm", "start over")
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert project.run("manage_secrets.py", "export", "--format", "json").stdout != before
    pattern = "config/secrets.enc.lost-*Z" if kind == "file" else ".env.lost-*"
    for source in (next(project.directory.glob(pattern)), next(project.docker_directory.glob("lost-*"))):
        key_file = ("--key-file", str(project.key_file)) if kind == "file" else ()
        manage(project, "rescue", "--from", str(source), "--replace", "--yes", *key_file)
        assert project.run("manage_secrets.py", "export", "--format", "json").stdout == before
        manage(project, "set", "SECRET_KEY", "--generate")


def test_a_secret_outside_the_catalogue_that_is_replaced_becomes_the_earlier_one(deployment: Project) -> None:
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    for path, value in ((f"{deployment.secrets_file}.old", "then"), (deployment.secrets_file, "now")):
        content = deployment.decrypt()
        content["secrets"]["APP_CONFIG"] = value  # type: ignore[index]
        content["metadata"]["APP_CONFIG"] = {"updated_at": "2025-01-01T00:00:00Z", "previous": []}  # type: ignore[index]
        write_read_only(Path(path), fernet.encrypt(json.dumps(content).encode()))
    Path(f"{deployment.secrets_file}.sum").unlink()
    rescue(deployment, "--from", f"{deployment.secrets_file}.old", "--replace", "--yes")
    assert deployment.values()["APP_CONFIG"] == "then"
    metadata: dict[str, Any] = deployment.decrypt()["metadata"]  # type: ignore[assignment]
    assert [entry["value"] for entry in metadata["APP_CONFIG"]["previous"]] == ["now"]


def test_what_a_rescue_could_not_restore_is_not_made_anew_by_the_set_up(deployment: Project) -> None:
    for path in deployment.directory.glob("config/secrets.enc*"):
        path.unlink()
    (deployment.docker_directory / "db_password.txt").unlink()
    shown = rescue(deployment, "--from", "secrets", "--yes")
    after = shown.partition("Still without a value: DATABASE_PASSWORD")[2]
    assert "manage_secrets.py rescue" in after
    assert "manage_secrets.py set DATABASE_PASSWORD --generate" in after
    assert "docker-compose up" not in after
    text = error_of(deployment.run("setup_secrets.py", "--non-interactive"))
    assert "DATABASE_PASSWORD is no longer in the store, but had a value here" in text
    assert "DATABASE_PASSWORD" not in deployment.values()


def test_a_summary_that_cannot_be_written_does_not_undo_a_rescue(deployment: Project) -> None:
    expected = deployment.values()
    deployment.secrets_file.unlink()
    summary = deployment.directory / "config/SETUP.md"
    summary.unlink()
    summary.mkdir()
    assert "The summary was not written" in manage(deployment, "rescue", "--yes").stdout
    assert deployment.values() == expected


def test_what_cannot_be_read_does_not_hide_the_rest(deployment: Project) -> None:
    expected = deployment.values()
    deployment.secrets_file.unlink()
    Path(f"{deployment.secrets_file}.bak").unlink()
    (deployment.directory / "gone.backup").symlink_to("nowhere")
    (deployment.directory / "folder.backup").mkdir()
    assert "Traceback" not in deployment.run("manage_secrets.py", "status").stderr
    with (deployment.docker_directory / "webhook_secret.txt").open("wb") as file:
        file.truncate(30_000_000)
    shown = rescue(deployment, "--dry-run")
    assert "gone.backup" not in shown
    assert "folder.backup" not in shown
    rescue(deployment, "--yes")
    assert deployment.values() == {name: value for name, value in expected.items() if name != "WEBHOOK_SECRET"}


def test_a_docker_file_that_an_editor_has_saved_has_the_value_alone(deployment: Project) -> None:
    expected = deployment.values()
    path = deployment.docker_directory / "redis_password.txt"
    write_read_only(path, path.read_text() + "\n")
    for copy in deployment.directory.glob("config/secrets.enc*"):
        copy.unlink()
    rescue(deployment, "--yes")
    assert deployment.values()["REDIS_PASSWORD"] == expected["REDIS_PASSWORD"]


def test_the_command_to_do_it_is_the_plan_that_was_shown(deployment: Project, tmp_path: Path) -> None:
    passphrase = write(tmp_path, PASSPHRASE, "passphrase")
    backup = str(tmp_path / "a.backup")
    manage(deployment, "backup", "--output", backup, "--passphrase-file", str(passphrase))
    options = ("--from", backup, "--passphrase-file", str(passphrase), "--replace")
    manage(deployment, "set", "SECRET_KEY", "--generate")
    text = error_of(deployment.run("manage_secrets.py", "rescue", *options), 2)
    assert f"rescue --from {backup} --passphrase-file {passphrase} --replace --yes" in text
    deployment.secrets_file.unlink()
    text = error_of(deployment.run("manage_secrets.py", "rescue"), 2)
    assert "rescue --yes" in text
    assert "--from" not in text


@pytest.mark.parametrize("option", ["--key-file", "--passphrase-file"])
def test_what_opens_a_backup_may_come_on_standard_input(option: str, deployment: Project, tmp_path: Path) -> None:
    expected = deployment.values()
    opens = Fernet.generate_key().decode() if option == "--key-file" else PASSPHRASE
    backup = str(tmp_path / "a.backup")
    manage(deployment, "backup", "--output", backup, option, "-", standard_input=opens + "\n")
    for path in (*deployment.directory.glob("config/secrets.enc*"), *deployment.docker_directory.iterdir()):
        path.unlink()
    manage(deployment, "rescue", "--from", backup, option, "-", "--yes", standard_input=opens + "\n")
    assert deployment.values() == expected


def test_a_backup_that_is_all_there_is_can_be_looked_at(deployment: Project, tmp_path: Path) -> None:
    manage(deployment, "backup", "--passphrase-file", str(write(tmp_path, PASSPHRASE, "passphrase")))
    for path in (*deployment.directory.glob("config/secrets.enc*"), *deployment.docker_directory.iterdir()):
        path.unlink()
    done = manage(deployment, "rescue", "--dry-run")
    assert "needs its passphrase or key" in done.stdout
    content = json.loads(manage(deployment, "rescue", "--dry-run", "--json").stdout)
    assert content["chosen"] is None
    assert "error:" not in done.stderr
    assert [source["locked"] for source in content["sources"]] == [True]
    assert json.loads(manage(deployment, "rescue", "--json", code=2).stdout) == content


def test_a_key_that_stands_in_the_settings_stays_there(deployment: Project) -> None:
    expected, key = deployment.values(), deployment.key_file.read_text().strip()
    lines = [line for line in deployment.settings_file.read_text().splitlines() if "MASTER_KEY_FILE" not in line]
    deployment.settings_file.write_text("\n".join([*lines, f"SECRETS_MASTER_KEY={key}", ""]))
    deployment.secrets_file.unlink()
    rescue(deployment, "--yes")
    assert f"SECRETS_MASTER_KEY={key}" in deployment.settings_file.read_text()
    assert deployment.values() == expected
    manage(deployment, "status")


def test_the_summary_leads_to_a_file_and_a_key_that_only_the_lost_settings_named(
    project: Project, tmp_path: Path
) -> None:
    elsewhere, key = tmp_path / "another disk/secrets.enc", tmp_path / "a third one/own.key"
    project.settings_file.write_text(f"SECRETS_BACKEND=file\nSECRETS_FILE_PATH='{elsewhere}'\n")
    project.set_up("--master-key-file", str(key))
    expected = manage(project, "export", "--format", "json").stdout
    project.settings_file.unlink()
    text = error_of(project.run("setup_secrets.py", "--non-interactive"))
    assert f"Left here: {elsewhere}, which config/SETUP.md names" in text
    rescue(project, "--yes")
    assert manage(project, "export", "--format", "json").stdout == expected


def test_an_encrypted_file_from_elsewhere_is_a_source(deployment: Project, tmp_path: Path) -> None:
    expected = deployment.values()
    shutil.move(deployment.secrets_file, tmp_path / "from the old disk")
    rescue(deployment, "--from", str(tmp_path / "from the old disk"), "--yes")
    assert deployment.values() == expected


def test_a_store_of_a_newer_version_is_not_replaced(deployment: Project) -> None:
    content = deployment.decrypt() | {"version": 2}
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    before = deployment.state()
    assert "format version 2" in error_of(deployment.run("manage_secrets.py", "rescue", "--from", "secrets", "--yes"))
    assert deployment.state() == before


def test_nothing_left_says_so_and_names_the_ways_on(deployment: Project) -> None:
    deployment.key_file.unlink()
    for path in (*deployment.directory.glob("config/secrets.enc?*"), *deployment.docker_directory.iterdir()):
        path.unlink()
    before = deployment.state()
    text = error_of(deployment.run("manage_secrets.py", "rescue", "--yes"))
    assert "Nothing was found that still has the secrets" in text
    assert "key paste" in text
    assert "--start-over" in text
    assert deployment.state() == before


def test_a_backup_that_is_all_there_is_asks_for_what_opens_it(deployment: Project, tmp_path: Path) -> None:
    expected = deployment.values()
    passphrase = write(tmp_path, PASSPHRASE, "passphrase")
    manage(deployment, "backup", "--passphrase-file", str(passphrase))
    for path in (*deployment.directory.glob("config/secrets.enc*"), *deployment.docker_directory.iterdir()):
        path.unlink()
    text = error_of(deployment.run("manage_secrets.py", "rescue", "--yes"), 2)
    assert "needs its passphrase or key" in text
    terminal = start(deployment, "rescue")
    terminal.answer("Where do you want to restore the secrets from")
    terminal.answer("Passphrase of the backup", PASSPHRASE + ENTER)
    terminal.answer("Restore them from")
    assert terminal.finish() == 0
    assert deployment.values() == expected
    assert PASSPHRASE not in terminal.transcript


def test_a_pasted_key_is_not_shown_and_opens_the_file(deployment: Project) -> None:
    expected, before = deployment.values(), deployment.secrets_file.read_bytes()
    key = deployment.key_file.read_text().strip()
    deployment.key_file.unlink()
    for path in deployment.docker_directory.iterdir():
        path.unlink()
    terminal = start(deployment, "rescue")
    terminal.answer("Where do you want to restore the secrets from")  # the first line: paste the key
    terminal.answer("Paste the master key", "no key" + ENTER)
    terminal.wait_for("is not a Fernet key")
    terminal.process.send("\x15" + Fernet.generate_key().decode() + ENTER)
    terminal.answer("opens nothing that is here(.|\n)*Where do you want to restore")
    terminal.answer("Paste the master key", key + ENTER)
    terminal.answer("Where do you want to restore the secrets from")
    terminal.answer("Restore them from")
    assert terminal.finish() == 0
    assert key not in terminal.transcript
    assert deployment.values() == expected
    assert deployment.secrets_file.read_bytes() == before
    assert "Keep a copy away" in terminal.text


def test_the_wizard_leads_to_the_rescue(deployment: Project) -> None:
    expected = deployment.values()
    deployment.secrets_file.unlink()
    terminal = Terminal(
        deployment.script("setup_secrets.py"), environ=deployment.environ(), cwd=str(deployment.directory)
    )
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("What next")
    terminal.answer("Where do you want to restore the secrets from")
    terminal.answer("Restore them from")
    assert terminal.finish() == 0
    assert deployment.values() == expected


def test_a_key_at_the_question_for_a_path_is_not_shown(deployment: Project) -> None:
    key = deployment.key_file.read_text().strip()
    deployment.key_file.unlink()
    terminal = Terminal(
        deployment.script("setup_secrets.py"), environ=deployment.environ(), cwd=str(deployment.directory)
    )
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("The secrets file is unchanged", DOWN + ENTER)
    terminal.answer("Path of the key file", key + ENTER)
    terminal.wait_for("That is a key itself")
    terminal.process.send("\x03")
    assert terminal.finish() == 130
    assert key not in "\n".join(terminal.lines)
    assert "*" * 40 in terminal.transcript


def test_values_that_are_gone_from_the_store_are_restored_or_made_again_as_the_person_says(deployment: Project) -> None:
    content = deployment.decrypt()
    lost = content["secrets"].pop("WEBHOOK_SECRET")  # type: ignore[attr-defined]
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    Path(f"{deployment.secrets_file}.sum").unlink()
    for choice, keys in (("2", ("Write this now",)), ("1", ("Where do you want to restore", "Restore them from"))):
        shutil.copytree(deployment.directory, deployment.directory.parent / choice)
        other = Project(deployment.directory.parent / choice, deployment.home)
        terminal = Terminal(other.script("setup_secrets.py"), environ=other.environ(), cwd=str(other.directory))
        terminal.answer("Where do you want to store the secrets")
        terminal.answer("What do you want to do", choice + ENTER)
        if choice == "2":
            terminal.answer("What do you want to do")
        for question in keys:
            terminal.answer(question)
        assert terminal.finish() == 0, terminal.text
        assert (other.values()["WEBHOOK_SECRET"] == lost) is (choice == "1")


def test_a_lost_value_that_nobody_can_make_is_asked_for_and_is_never_its_default(deployment: Project) -> None:
    (deployment.directory / "value").write_text("the boss")
    manage(deployment, "set", "ADMIN_USERNAME", "--file", str(deployment.directory / "value"))
    content = deployment.decrypt()
    del content["secrets"]["ADMIN_USERNAME"]  # type: ignore[attr-defined]
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    Path(f"{deployment.secrets_file}.sum").unlink()
    text = error_of(deployment.run("setup_secrets.py", "--non-interactive"))
    assert "ADMIN_USERNAME is no longer in the store" in text
    assert "set ADMIN_USERNAME" in text
    assert "--generate" not in text
    terminal = Terminal(
        deployment.script("setup_secrets.py"), environ=deployment.environ(), cwd=str(deployment.directory)
    )
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("What do you want to do", "2" + ENTER)
    terminal.answer("Name of the first administrator", "\x15the new boss" + ENTER)
    terminal.answer("What do you want to do")
    terminal.answer("Write this now")
    assert terminal.finish() == 0, terminal.text
    assert deployment.values()["ADMIN_USERNAME"] == "the new boss"


def test_a_key_that_is_named_gets_a_file_of_its_own(deployment: Project, tmp_path: Path) -> None:
    on_a_stick = write(tmp_path, deployment.key_file.read_text(), "my.key")
    deployment.key_file.unlink()
    before = deployment.state()
    assert "--yes" in error_of(deployment.run("manage_secrets.py", "key", "paste", "--key-file", str(on_a_stick)), 2)
    assert deployment.state() == before
    manage(deployment, "key", "paste", "--key-file", str(on_a_stick), "--yes")
    assert deployment.key_file.read_text() == on_a_stick.read_text()
    on_a_stick.unlink()
    assert "It opens config/secrets.enc" in manage(deployment, "key", "path").stdout
    assert str(on_a_stick) not in deployment.settings_file.read_text()


def _flip_a_bit(content: bytes) -> bytes:
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


@pytest.mark.parametrize("damage", [_flip_a_bit, lambda _content: b"", lambda content: content[:100]])
def test_the_right_key_is_not_blamed_for_a_damaged_file(damage: Callable[[bytes], bytes], deployment: Project) -> None:
    write_read_only(deployment.secrets_file, damage(deployment.secrets_file.read_bytes()))
    copy = deployment.key_file.read_text()
    for command in (("verify", "--key-file", "-"), ("paste", "--key-file", "-", "--yes"), ("path",)):
        text = error_of(deployment.run("manage_secrets.py", "key", *command, standard_input=copy))
        assert "is the one of config/secrets.enc, but the file is damaged. Keep your copy" in text


def test_the_right_key_is_not_blamed_for_a_file_of_a_newer_version(deployment: Project) -> None:
    content = deployment.decrypt() | {"version": 2}
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    copy = deployment.key_file.read_text()
    done = manage(deployment, "key", "verify", "--key-file", "-", standard_input=copy)
    assert "Your copy is right" in done.stdout


def test_a_file_that_is_no_backup_is_not_called_one(deployment: Project, tmp_path: Path) -> None:
    shutil.copy2(deployment.secrets_file, tmp_path / "a copy.enc")
    (deployment.directory / "junk.backup").write_text("no backup")
    for path in (*deployment.directory.glob("config/secrets.enc*"), *deployment.docker_directory.iterdir()):
        path.unlink()
    deployment.key_file.unlink()
    text = error_of(deployment.run("manage_secrets.py", "rescue", "--from", str(tmp_path / "a copy.enc"), "--yes"))
    assert "is no backup, and no key that is here opens it" in text
    assert "--key-file PATH" in text
    assert "junk.backup" not in deployment.run("manage_secrets.py", "rescue", "--dry-run").stdout


def test_where_nothing_can_be_restored_to_nothing_is_asked(deployment: Project) -> None:
    content = deployment.decrypt() | {"version": 2}
    fernet = Fernet(deployment.key_file.read_bytes().strip())
    write_read_only(deployment.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    terminal = start(deployment, "rescue")
    assert terminal.finish() == 1
    assert "format version 2" in terminal.text
    assert "Where do you want" not in terminal.text


def test_a_pasted_key_is_tried_beside_the_one_that_was_named(deployment: Project, tmp_path: Path) -> None:
    older = write(tmp_path, deployment.key_file.read_text(), "older.key")
    shutil.copy2(deployment.secrets_file, f"{deployment.secrets_file}.2025")
    manage(deployment, "rotate-master-key", "--yes")
    manage(deployment, "rotate-master-key", "--forget", "--yes")
    manage(deployment, "set", "SECRET_KEY", "--generate")
    newer = deployment.key_file.read_text().strip()
    deployment.key_file.unlink()
    for path in (*deployment.directory.glob("config/secrets.enc.bak"), *deployment.docker_directory.iterdir()):
        path.unlink()
    terminal = start(deployment, "rescue", "--key-file", str(older))
    terminal.wait_for("secrets.enc.2025")
    terminal.answer("Where do you want to restore the secrets from", "2" + ENTER)
    terminal.answer("Paste the master key", newer + ENTER)
    terminal.wait_for("opened with the key in what was pasted")
    terminal.wait_for("secrets.enc.2025")
    terminal.answer("Where do you want to restore the secrets from")
    terminal.answer("Restore them from")
    assert terminal.finish() == 0, terminal.text
    assert "opens nothing" not in terminal.text
    assert deployment.key_file.read_text().strip() == newer


def test_a_copy_of_the_key_can_be_checked_on_any_day(deployment: Project, tmp_path: Path) -> None:
    before = deployment.state()
    right = write(tmp_path, deployment.key_file.read_text())
    assert "Your copy is right" in manage(deployment, "key", "verify", "--key-file", str(right)).stdout
    other = Fernet.generate_key().decode()
    text = error_of(deployment.run("manage_secrets.py", "key", "verify", "--key-file", "-", standard_input=other))
    assert "does not open config/secrets.enc; it was written with key" in text
    assert other not in text
    assert deployment.state() == before
    assert "--key-file" in error_of(deployment.run("manage_secrets.py", "key", "verify"), 2)


def test_an_older_copy_is_recognised_by_what_it_opens(deployment: Project, tmp_path: Path) -> None:
    older = write(tmp_path, deployment.key_file.read_text())
    shutil.copy2(deployment.secrets_file, f"{deployment.secrets_file}.2025")
    manage(deployment, "rotate-master-key", "--yes")
    text = error_of(deployment.run("manage_secrets.py", "key", "verify", "--key-file", str(older)))
    assert "It opens config/secrets.enc" in text
    assert "config/secrets.enc.2025" in text


def test_a_key_is_given_back_and_never_written_over_another(deployment: Project) -> None:
    key, before = deployment.key_file.read_text(), deployment.secrets_file.read_bytes()
    other = Fernet.generate_key().decode() + "\n"
    write_read_only(deployment.key_file, other)
    manage(deployment, "key", "paste", "--key-file", "-", "--yes", standard_input=key)
    assert deployment.key_file.read_text() == other
    assert deployment.key_file.with_name("master-2.key").read_text() == key
    assert deployment.secrets_file.read_bytes() == before
    assert "It opens config/secrets.enc" in manage(deployment, "key", "path").stdout
    assert "nothing is missing" in manage(deployment, "key", "paste").stdout


def test_a_key_in_the_shell_that_outranks_the_pasted_one_is_named(deployment: Project) -> None:
    key = deployment.key_file.read_text()
    before = deployment.state()
    done = deployment.run(
        *("manage_secrets.py", "key", "paste", "--key-file", "-", "--yes"),
        standard_input=key,
        environ={"SECRETS_MASTER_KEY": Fernet.generate_key().decode()},
    )
    assert "unset SECRETS_MASTER_KEY" in error_of(done)
    assert deployment.state() == before


def test_a_key_is_given_back_where_the_settings_are_gone_and_the_shell_has_a_secret(deployment: Project) -> None:
    key = deployment.key_file.read_text()
    expected = deployment.values()
    deployment.key_file.unlink()
    deployment.settings_file.unlink()
    done = deployment.run(
        *("manage_secrets.py", "key", "paste", "--key-file", "-", "--yes"),
        standard_input=key,
        environ={"JWT_SECRET_KEY": "a value of the shell alone"},
    )
    assert done.returncode == 0, done.stderr
    assert deployment.values() == expected
    assert "It opens config/secrets.enc" in manage(deployment, "key", "path").stdout


def test_a_store_without_a_master_key_says_so(project: Project) -> None:
    project.set_up("--backend", "env")
    for name in ("verify", "paste", "path"):
        assert "has no master key" in error_of(project.run("manage_secrets.py", "key", name))


def start(project: Project, *arguments: str) -> Terminal:
    return Terminal(
        project.script("manage_secrets.py", *arguments),
        environ=project.environ(),
        cwd=str(project.directory),
        columns=120,
    )


def write(folder: Path, text: str, name: str = "value") -> Path:
    path = folder / name
    write_read_only(path, text)
    return path
