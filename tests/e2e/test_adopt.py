"""Taking over the files of a deployment of the original system, without Docker."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Project
from tests.leaks import leaked
from tests.support.original import (
    CONFIGURED,
    DATABASE_PASSWORD,
    MASTER_KEY,
    REDIS_PASSWORD,
    STRONG,
    OriginalFolder,
)
from tests.support.terminal import CTRL_C
from tests.support.wizard import wizard

PLACEHOLDERS = {
    "SECRET_KEY": "your-secret-key-here",
    "DATABASE_URL": "postgresql://user:password@localhost:5432/cctv_db",  # pragma: allowlist secret
    "REDIS_URL": "redis://localhost:6379/0",
    "EMAIL_USERNAME": "your_email@gmail.com",
    "EMAIL_PASSWORD": "your_app_password",
    "TWILIO_SID": "your_twilio_sid",
    "TWILIO_TOKEN": "your_twilio_token",
    "TWILIO_FROM_NUMBER": "+1234567890",
    "ENCRYPTION_KEY": "your-encryption-key-change-this-in-production",
    "JWT_SECRET_KEY": "your-jwt-secret-change-this-in-production",
}


@pytest.fixture
def original(project: Project) -> OriginalFolder:
    """A folder of the original beside the project."""
    return OriginalFolder(project.directory.parent / "the original")


@pytest.fixture
def environ(project: Project) -> dict[str, str]:
    """A machine without Docker."""
    folder = project.home / "tools"
    folder.mkdir()
    (folder / "python3").symlink_to(PROJECT / ".venv/bin/python")
    (folder / "env").symlink_to("/usr/bin/env")
    return {"PATH": str(folder)}


def adopt(project: Project, original: OriginalFolder, environ: dict[str, str], *arguments: str, code: int = 0) -> str:
    done = project.run(
        "setup_secrets.py", "--non-interactive", "--adopt", str(original.folder), *arguments, environ=environ
    )
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    known = STRONG | CONFIGURED | {"master key": MASTER_KEY}
    assert leaked(known, text.encode()) == []
    return text


def test_every_value_of_the_originals_files_is_taken(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG | {"WEATHER_API_KEY": "3kf9-zz81-weather-key"})
    original.write_config()
    before = original.state()
    text = adopt(project, original, environ)
    values = project.values()
    wanted = STRONG | {
        "DATABASE_PASSWORD": DATABASE_PASSWORD,
        "REDIS_PASSWORD": REDIS_PASSWORD,
        "SMTP_PASSWORD": CONFIGURED["smtp"],
    }
    assert {name: values[name] for name in wanted} == wanted
    assert original.state() == before
    assert "cameras.sources[0].url: user and password of a camera" in text
    assert "Authorization" in text
    assert "WEATHER_API_KEY" in text
    assert "config/config.yaml, database.password" in text.split("may be deleted")[1]
    assert "config/secrets.enc" not in text.split("may be deleted")[1]  # it has something else in it, too


def test_a_second_run_changes_nothing(project: Project, original: OriginalFolder, environ: dict[str, str]) -> None:
    original.write_encrypted(STRONG)
    original.write_config()
    adopt(project, original, environ)
    before = project.state()
    adopt(project, original, environ)
    assert project.state() == before


def test_placeholders_are_replaced_and_an_encryption_key_is_kept_as_an_earlier_value(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_dotenv(**PLACEHOLDERS)
    text = adopt(project, original, environ)
    values = project.values()
    assert not set(values.values()) & set(PLACEHOLDERS.values())
    assert not {"TWILIO_SID", "TWILIO_TOKEN", "SMTP_PASSWORD"} & set(values)
    metadata = project.decrypt()["metadata"]
    assert isinstance(metadata, dict)
    earlier = [entry["value"] for entry in metadata["ENCRYPTION_KEY"]["previous"]]
    assert earlier == [PLACEHOLDERS["ENCRYPTION_KEY"]]
    assert metadata["ENCRYPTION_KEY"]["previous"][0]["valid_until"] is None
    assert "published example" in text


def test_a_percent_encoded_password_is_decoded(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    url = "postgresql://faces_app:kV9%2FrT2%40wQ7%2BzL4x@db:5432/faces"  # pragma: allowlist secret
    original.write_dotenv(**PLACEHOLDERS | {"DATABASE_URL": url})
    adopt(project, original, environ)
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD


def test_a_url_that_was_composed_without_encoding_is_no_other_password(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    url = f"postgresql://faces_app:{DATABASE_PASSWORD}@db:5432/faces"
    original.write_dotenv(**PLACEHOLDERS | {"DATABASE_URL": url, "POSTGRES_PASSWORD": DATABASE_PASSWORD})
    adopt(project, original, environ)
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD


def test_a_part_of_a_feature_is_left_alone(project: Project, original: OriginalFolder, environ: dict[str, str]) -> None:
    sid = "AC0f9e8d7c6b5a49382716051423324150"  # pragma: allowlist secret
    original.write_dotenv(**PLACEHOLDERS | {"TWILIO_SID": sid})
    assert "there is no TWILIO_TOKEN with it" in adopt(project, original, environ)
    assert "TWILIO_SID" not in project.values()


@pytest.mark.parametrize("password", ["Tr$ong9-Pa$s", "0719283746", "off", "a#b-c: d", "2026-11-28"])
def test_a_password_in_the_configuration_is_taken_as_it_is_written(
    project: Project, original: OriginalFolder, environ: dict[str, str], password: str
) -> None:
    quoted = f"'{password}'" if " " in password else password
    original.write_config(database=quoted)
    adopt(project, original, environ)
    assert project.values()["DATABASE_PASSWORD"] == password


def test_a_password_in_single_quotes_is_no_reference(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_dotenv(**PLACEHOLDERS | {"POSTGRES_PASSWORD": "'$xQ7-pad-91'"})
    adopt(project, original, environ)
    assert project.values()["DATABASE_PASSWORD"] == "$xQ7-pad-91"  # pragma: allowlist secret


def test_a_secret_that_stands_for_a_name_in_the_configuration_is_not_shown(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_config()
    key = "cctvfd_Zk39aa81Qw77xT20vB"  # pragma: allowlist secret
    config = original.folder / "config/config.yaml"
    config.write_text(f"{config.read_text()}keys:\n  {key}:\n    token: Xy-42-aa-91\n")
    text = adopt(project, original, environ)
    assert key not in text
    assert "keys.(a key).token" in text


def test_a_configuration_whose_parts_contain_each_other_many_times_is_read(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_config()
    config = original.folder / "config/config.yaml"
    bomb = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    config.write_text(f"{config.read_text()}l0: &l0 [x]\n{bomb}")
    adopt(project, original, environ)
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD


def test_a_value_that_cannot_be_read_for_certain_can_be_given(
    project: Project, original: OriginalFolder, environ: dict[str, str], tmp_path: Path
) -> None:
    original.write_dotenv(**PLACEHOLDERS | {"JWT_SECRET_KEY": f"{STRONG['JWT_SECRET_KEY']} # from the wiki"})
    text = refused(project, original, environ)
    assert ".env, line 10" in text
    assert "--set-file JWT_SECRET_KEY=PATH" in text
    value = tmp_path / "value"
    value.write_text(STRONG["JWT_SECRET_KEY"])
    adopt(project, original, environ, "--set-file", f"JWT_SECRET_KEY={value}")
    assert project.values()["JWT_SECRET_KEY"] == STRONG["JWT_SECRET_KEY"]


def test_a_value_that_another_place_has_need_not_be_readable(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    original.write_dotenv(JWT_SECRET_KEY="something # from the wiki")
    assert "not used, since another place has a value" in adopt(project, original, environ)
    assert project.values()["JWT_SECRET_KEY"] == STRONG["JWT_SECRET_KEY"]


# --- Refusals --------------------------------------------------------------------------------------------------------


def refused(project: Project, original: OriginalFolder, environ: dict[str, str], *arguments: str) -> str:
    project_before = project.state()
    before = original.state() if original.folder.exists() else {}
    text = adopt(project, original, environ, *arguments, code=1)
    assert project.state() == project_before
    assert (original.state() if original.folder.exists() else {}) == before
    assert "nothing was changed" in text or "names no folder" in text
    return text


def test_a_folder_of_another_project_is_refused(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_dotenv(SECRET_KEY=STRONG["SECRET_KEY"], DATABASE_URL="postgres://a:b@c/d", DEBUG="1")
    assert "is no folder of the original system" in refused(project, original, environ)


def test_a_deployment_of_this_project_is_refused(project: Project, tmp_path: Path, environ: dict[str, str]) -> None:
    other = Project(tmp_path / "other project", tmp_path / "other home")
    (other.directory / "config").mkdir(parents=True)
    other.home.mkdir()
    shutil.copy(project.directory / "config/catalog.toml", other.directory / "config/catalog.toml")
    other.set_up()
    assert "is no folder of the original system" in refused(project, OriginalFolder(other.directory), environ)


def test_a_folder_that_is_not_there_is_refused(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    assert "names no folder" in refused(project, original, environ)


def test_a_wrong_master_key_is_refused_and_the_right_one_can_be_given(
    project: Project, original: OriginalFolder, environ: dict[str, str], tmp_path: Path
) -> None:
    original.write_encrypted(STRONG, master_key="x" + MASTER_KEY[1:])
    assert "No master key that is known opens config/secrets.enc" in refused(project, original, environ)
    key = tmp_path / "key"
    key.write_text(MASTER_KEY + "\n")
    key.chmod(0o600)
    adopt(project, original, environ, "--adopt-key-file", str(key))
    assert project.values()["SECRET_KEY"] == STRONG["SECRET_KEY"]


@pytest.mark.parametrize(
    "line",
    [
        f"SECRETS_MASTER_KEY={MASTER_KEY}",
        f"SECRETS_MASTER_KEY={MASTER_KEY}\r",
        f"export SECRETS_MASTER_KEY= {MASTER_KEY}",
    ],
)
def test_a_master_key_is_read_as_it_stands(
    project: Project, original: OriginalFolder, environ: dict[str, str], line: str
) -> None:
    original.write_encrypted(STRONG)
    (original.folder / ".env.production").write_text(f"SECRETS_BACKEND=file\n{line}\nSECRETS_FILE_PATH=x\n")
    adopt(project, original, environ)
    assert project.values()["SECRET_KEY"] == STRONG["SECRET_KEY"]


def test_a_file_that_is_not_readable_is_refused_by_name(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    (original.folder / "config/config.yaml").mkdir()
    assert "config.yaml cannot be read" in refused(project, original, environ)


def test_a_configuration_that_is_not_yaml_is_refused_with_its_line(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    (original.folder / "config/config.yaml").write_text(
        "cameras: {}\ndatabase:\n  password: [pass-9Zk2\napi: {}\nalerting: {}\n"
    )
    text = refused(project, original, environ)
    assert "config/config.yaml, line" in text
    assert "pass-9Zk2" not in text


def test_two_database_passwords_and_no_server_to_ask_are_refused(
    project: Project, original: OriginalFolder, environ: dict[str, str], tmp_path: Path
) -> None:
    original.write_encrypted(STRONG | {"DATABASE_PASSWORD": "another-one-8Kq2Zw5x"})
    original.write_docker_file("db_password.txt", DATABASE_PASSWORD)
    text = refused(project, original, environ)
    assert "config/secrets.enc" in text
    assert "secrets/db_password" in text
    right = tmp_path / "right"
    right.write_text(DATABASE_PASSWORD)
    adopt(project, original, environ, "--set-file", f"DATABASE_PASSWORD={right}")
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD
    adopt(project, original, environ)  # once it is stored, there is nothing to decide


def test_a_compose_file_without_docker_is_refused(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_dotenv(**PLACEHOLDERS)
    original.write_compose("postgres:16", "redis:7")
    assert "Docker is not found" in refused(project, original, environ)


def test_existing_values_are_kept_unless_they_are_to_be_replaced(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    project.set_up()
    before = project.values()
    original.write_encrypted(STRONG)
    adopt(project, original, environ)
    assert project.values() == before
    adopt(project, original, environ, "--replace")
    assert project.values() == before | STRONG


def test_a_store_that_is_not_read_is_refused_unless_its_values_come_in_another_way(
    project: Project, original: OriginalFolder, environ: dict[str, str], tmp_path: Path
) -> None:
    original.write_config()
    original.write_dotenv(SECRETS_BACKEND="vault")
    assert "name a store that is not read here (.env, line 1)" in refused(project, original, environ)
    values = tmp_path / "values"
    values.write_text("".join(f"{name}={value}\n" for name, value in STRONG.items()))
    adopt(project, original, environ, "--import", str(values))
    assert project.values()["ENCRYPTION_KEY"] == STRONG["ENCRYPTION_KEY"]
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD


def test_a_part_that_cannot_be_looked_at_is_not_taken_for_missing(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_dotenv(**PLACEHOLDERS)
    (original.folder / "config").symlink_to("config")  # a circle
    assert "cannot be looked at: Too many levels of symbolic links" in refused(project, original, environ)


def test_the_compose_file_of_another_project_is_none_of_the_originals(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.folder.mkdir()
    names = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "JWT_SECRET")
    lines = "".join(f"      {name}: ${{{name}}}\n" for name in names)
    (original.folder / "docker-compose.prod.yml").write_text(f"services:\n  web:\n    environment:\n{lines}")
    assert "is no folder of the original system" in refused(project, original, environ)


# --- In the original's own folder ------------------------------------------------------------------------------------


@pytest.fixture
def in_place(project: Project) -> OriginalFolder:
    """The original, in whose folder this project's files were put."""
    original = OriginalFolder(project.directory)
    original.write_encrypted(STRONG)
    original.write_dotenv(**PLACEHOLDERS | {"SECRET_KEY": STRONG["SECRET_KEY"]})
    original.write_docker_file("db_password.txt", DATABASE_PASSWORD)
    original.write_config()
    return original


def test_files_of_the_same_names_are_moved_first(
    project: Project, in_place: OriginalFolder, environ: dict[str, str]
) -> None:
    before = in_place.state()
    text = adopt(project, in_place, environ)
    folder = "before-adoption/"
    kept = {name.removeprefix(folder): data for name, data in in_place.state().items() if folder in name}
    assert kept == {name: data for name, data in before.items() if name != "config/catalog.toml" and "yaml" not in name}
    assert os.stat(project.directory / "before-adoption").st_mode & 0o777 == 0o700
    assert project.values()["SECRET_KEY"] == STRONG["SECRET_KEY"]
    assert project.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD
    assert "are moved to before-adoption/" in text
    state = project.state()
    adopt(project, in_place, environ)
    assert project.state() == state


def test_a_dry_run_moves_nothing(project: Project, in_place: OriginalFolder, environ: dict[str, str]) -> None:
    before = project.state()
    assert "nothing was moved or written" in adopt(project, in_place, environ, "--dry-run")
    assert project.state() == before


@pytest.mark.parametrize("moved", range(1, 4))
def test_a_move_that_was_interrupted_goes_on(
    project: Project, in_place: OriginalFolder, environ: dict[str, str], moved: int
) -> None:
    before = in_place.state()
    names = [".env.production", ".env", "config/secrets.enc"]
    for name in names[:moved]:
        target = project.directory / "before-adoption.part" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (project.directory / name).rename(target)
    adopt(project, in_place, environ)
    assert all((project.directory / "before-adoption" / name).read_bytes() == before[name] for name in names)
    assert project.values()["JWT_SECRET_KEY"] == STRONG["JWT_SECRET_KEY"]


def test_nothing_is_moved_before_everything_is_decided(
    project: Project, in_place: OriginalFolder, environ: dict[str, str]
) -> None:
    in_place.write_dotenv(POSTGRES_PASSWORD="another-one-8Kq2Zw5x")
    assert "different values for DATABASE_PASSWORD" in refused(project, in_place, environ)


def test_a_link_is_not_moved(project: Project, in_place: OriginalFolder, environ: dict[str, str]) -> None:
    (project.directory / ".env").rename(project.home / "env")
    (project.directory / ".env").symlink_to("../home/env")
    assert "is a link" in refused(project, in_place, environ)


def test_secrets_of_this_project_are_never_moved_away(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    project.set_up()
    in_place = OriginalFolder(project.directory)
    in_place.write_config()
    assert "has secrets of this project already" in refused(project, in_place, environ)
    terminal = wizard(project, columns=120, environ=environ)
    terminal.wait_for("Where do you want to store the secrets")
    terminal.process.send(CTRL_C)
    assert terminal.finish() == 130
    assert "original" not in terminal.text


def test_files_that_are_named_like_nothing_of_this_project_stay(project: Project, environ: dict[str, str]) -> None:
    in_place = OriginalFolder(project.directory)
    in_place.write_config()
    adopt(project, in_place, environ)
    before = project.values()
    assert before["DATABASE_PASSWORD"] == DATABASE_PASSWORD
    adopt(project, in_place, environ)
    assert project.values() == before


def test_another_folder_of_the_same_name_is_not_the_one_that_was_made(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    (original.folder / "before-adoption").mkdir()
    adopt(project, original, environ)
    assert project.values()["SECRET_KEY"] == STRONG["SECRET_KEY"]


# --- With a person ---------------------------------------------------------------------------------------------------

QUESTIONS = [
    "Name of the first administrator",
    "Password of the first administrator",
    "Do you send SMS",
    "Where do you want to save the master key",
    "Write this now",
]


def test_the_wizard_offers_to_take_over_what_is_beside_the_project(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    original.write_config()
    terminal = wizard(project, columns=120, environ=environ)
    for question in ("Take over its secrets and data", "Where do you want to store the secrets", *QUESTIONS):
        terminal.answer(question)
    assert terminal.finish() == 0, terminal.text
    wanted = STRONG | {"DATABASE_PASSWORD": DATABASE_PASSWORD, "SMTP_PASSWORD": CONFIGURED["smtp"]}
    values = project.values()
    assert {name: values[name] for name in wanted} == wanted
    assert "may be deleted" in terminal.text
    assert leaked(STRONG | CONFIGURED, terminal.text.encode()) == []


def test_the_wizard_moves_files_of_the_same_names_after_a_question(
    project: Project, in_place: OriginalFolder, environ: dict[str, str]
) -> None:
    before = in_place.state()
    terminal = wizard(project, columns=120, environ=environ)
    terminal.answer("Take over its secrets and data")
    terminal.answer("Move them", "n")
    assert terminal.finish() == 1
    assert in_place.state() == before
    terminal = wizard(project, columns=120, environ=environ)
    for question in ("Take over its secrets", "Move them", "Where do you want to store the secrets", *QUESTIONS):
        terminal.answer(question)
    assert terminal.finish() == 0, terminal.text
    assert project.values()["SECRET_KEY"] == STRONG["SECRET_KEY"]


def test_a_person_who_wants_new_secrets_is_not_asked_twice(
    project: Project, original: OriginalFolder, environ: dict[str, str]
) -> None:
    original.write_encrypted(STRONG)
    terminal = wizard(project, columns=120, environ=environ)
    terminal.answer("Take over its secrets and data", "n")
    terminal.wait_for("Where do you want to store the secrets")
    terminal.process.send(CTRL_C)
    assert terminal.finish() == 130
