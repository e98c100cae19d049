"""The scripts without a terminal: options, exit codes, and the files that they write."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.command import set_up
from tests.conftest import PROJECT, Project, need_root
from tests.support.commands import ACCEPT, DIFFICULT, error_of, typed

CATALOG = load_catalog()


# --- setup_secrets.py ------------------------------------------------------------------------------------------------


def test_without_a_terminal_and_without_the_flag_it_says_so_and_exits_2(project: Project) -> None:
    before = project.state()
    assert "--non-interactive" in error_of(project.run("setup_secrets.py"), 2)
    assert project.state() == before


def test_without_a_terminal_the_password_is_not_shown(project: Project) -> None:
    done = project.set_up()
    assert not any(value in done.stdout for value in project.values().values() if len(value) > 8)
    assert "manage_secrets.py get ADMIN_PASSWORD" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--backend", "s3"], ["--set-file", "NAME"], ["--set-file", "=x"], ["extra"], ["--no-such"]]
)
def test_wrong_usage_exits_2(arguments: list[str], project: Project) -> None:
    error_of(project.run("setup_secrets.py", "--non-interactive", *arguments), 2)


@pytest.mark.parametrize(
    ("backend", "setting"), [("aws", "AWS_REGION"), ("vault", "VAULT_ADDR"), ("azure", "AZURE_KEYVAULT_URL")]
)
def test_a_cloud_store_without_its_address_is_one_clear_error(backend: str, setting: str, project: Project) -> None:
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", backend)
    assert f"{setting} not set" in error_of(done)
    assert project.state() == before


def test_difficult_values_reach_the_docker_files_unchanged(project: Project) -> None:
    (project.directory / "import.json").write_text(json.dumps(DIFFICULT))
    project.set_up("--import", "import.json", *ACCEPT)
    assert DIFFICULT.items() <= project.values().items()
    for name, value in DIFFICULT.items():
        assert project.run("manage_secrets.py", "get", name).stdout == value
    assert project.run("generate_docker_secrets.sh").returncode == 0
    for name, value in DIFFICULT.items():
        spec = CATALOG.find(name)
        assert spec is not None
        assert (project.directory / "secrets" / spec.docker_file).read_bytes() == value.encode()


def test_values_come_from_files_and_standard_input(project: Project) -> None:
    (project.directory / "sid").write_text("AC123\n")
    (project.directory / "token").write_text("two\n\n")
    done = project.set_up(
        "--set-file", "TWILIO_SID=sid", "--set-file", "TWILIO_TOKEN=token", "--accept", "TWILIO_TOKEN", "--import", "-",
        standard_input="SMTP_PASSWORD='from stdin'\nHOME=/root\n",
    )  # fmt: skip
    values = project.values()
    assert (values["TWILIO_SID"], values["TWILIO_TOKEN"]) == ("AC123", "two\n")
    assert values["SMTP_PASSWORD"] == "from stdin"
    assert "Not in the catalogue, not imported: HOME" in done.stdout


def test_an_import_replaces_values_only_with_replace(project: Project) -> None:
    project.set_up()
    old = project.values()["REDIS_PASSWORD"]
    text = "REDIS_PASSWORD=imported-0815\n"  # pragma: allowlist secret
    kept = project.set_up("--import", "-", standard_input=text)
    assert project.values()["REDIS_PASSWORD"] == old
    assert "another value is kept (--replace takes the imported one): REDIS_PASSWORD" in kept.stdout.replace("\n", " ")
    project.set_up("--import", "-", "--replace", standard_input=text)
    assert project.values()["REDIS_PASSWORD"] == "imported-0815"


def test_a_second_run_changes_nothing(project: Project) -> None:
    project.set_up()
    before = project.state()
    project.set_up()
    assert project.state() == before


def test_names_that_the_catalogue_does_not_know_stay_in_the_file(project: Project) -> None:
    project.set_up()
    content = project.decrypt()
    content["secrets"]["OTHER"] = "kept"  # type: ignore[index]
    project.secrets_file.chmod(0o600)
    key = Fernet(project.key_file.read_text().strip())
    project.secrets_file.write_bytes(key.encrypt(json.dumps(content).encode()))
    done = project.set_up("--import", "-", standard_input="SMTP_PASSWORD=x\n")
    assert project.values()["OTHER"] == "kept"
    assert "Not in the catalogue, unchanged: OTHER" in done.stdout


def test_a_dry_run_writes_nothing(project: Project) -> None:
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive", "--dry-run")
    assert done.returncode == 0
    assert "Dry run: nothing was written" in done.stdout
    assert project.state() == before


def remove_all_but_the_key(project: Project) -> None:
    """The user clones the project again on a machine that had it before."""
    for path in (*project.directory.glob("config/[!c]*"), project.directory / ".env.production"):
        path.unlink()


def test_an_existing_key_file_is_read_and_a_missing_one_is_written(project: Project) -> None:
    path = project.home / "my keys/key"
    project.set_up("--master-key-file", str(path))
    key = path.read_text()
    remove_all_but_the_key(project)
    project.set_up("--master-key-file", str(path))
    assert path.read_text() == key
    assert Fernet(key.strip()).decrypt(project.secrets_file.read_bytes())


def test_a_key_file_from_an_earlier_set_up_is_used_again(project: Project) -> None:
    project.set_up()
    key = project.key_file.read_text()
    remove_all_but_the_key(project)
    project.set_up()
    assert project.key_file.read_text() == key


def test_an_exported_key_is_used_and_not_written_anywhere(project: Project) -> None:
    key = Fernet.generate_key().decode()
    environ = {"SECRETS_MASTER_KEY": key}
    project.set_up(environ=environ)
    assert not project.key_file.exists()
    assert not any(key.encode() in content for _, content in project.state().values())
    assert len(project.run("manage_secrets.py", "get", "SECRET_KEY", environ=environ).stdout) == 64
    refused = project.run("setup_secrets.py", "--non-interactive", "--master-key-file", "x", environ=environ)
    assert "both name a master key" in error_of(refused)


@pytest.mark.parametrize("path", ["key", "config/master.key", "."])
def test_a_key_inside_the_project_is_refused(path: str, project: Project) -> None:
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive", "--master-key-file", path)
    assert "may not be in the project's folder" in error_of(done)
    assert project.state() == before


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"SECRETS_MASTER_KEY": "too short"}, "is not a Fernet key"),
        ({"SECRETS_BACKEND": "s3"}, "SECRETS_BACKEND is not a known store"),
        ({"SECRETS_MASTER_KEY": "x", "SECRETS_MASTER_KEY_FILE": "y"}, "are both set"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(environ: dict[str, str], text: str, project: Project) -> None:
    before = project.state()
    assert text in error_of(project.run("setup_secrets.py", "--non-interactive", environ=environ))
    assert project.state() == before


def test_an_unknown_name_or_environment_is_refused(project: Project) -> None:
    (project.directory / "v").write_text("x")
    done = project.run("setup_secrets.py", "--non-interactive", "--set-file", "SECRET_KYE=v")
    assert "Did you mean SECRET_KEY?" in error_of(done)
    done = project.run("setup_secrets.py", "--non-interactive", "--set-file", "UNLIKE_ANY=v")
    assert "Known names: SECRET_KEY" in error_of(done)
    error_of(project.run("setup_secrets.py", "--non-interactive", "--environment", "Example"))


def test_a_weak_password_is_taken_from_a_file_and_an_import_and_said(project: Project) -> None:
    (project.directory / "weak").write_text("michael1990!")
    done = project.set_up("--set-file", "ADMIN_PASSWORD=weak", "--dry-run")
    assert "ADMIN_PASSWORD is weak. It is too easy to guess." in done.stdout
    imported = project.set_up("--import", "-", standard_input="ADMIN_PASSWORD=michael1990!\n")
    assert "ADMIN_PASSWORD is weak. It is too easy to guess." in imported.stdout
    assert "michael1990!" not in done.stdout + done.stderr + imported.stdout + imported.stderr
    assert "! ADMIN_PASSWORD is weak. It is too easy" in project.run("manage_secrets.py", "status").stdout


def test_lines_that_the_user_added_to_the_settings_are_kept(project: Project) -> None:
    settings = project.directory / ".env.production"
    settings.write_text("# mine\nDATABASE_HOST=db.example\n")
    settings.chmod(0o644)
    project.set_up("--backend", "file")
    assert settings.read_text().startswith("# mine\nDATABASE_HOST=db.example\n")
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600


def test_the_environment_store_refuses_what_a_dotenv_file_cannot_hold(project: Project) -> None:
    before = project.state()
    done = project.run(
        "setup_secrets.py", "--non-interactive", "--backend", "env", "--import", "-",
        standard_input=json.dumps({"SMTP_PASSWORD": "it's $5"}),
    )  # fmt: skip
    assert "SMTP_PASSWORD cannot be written to a dotenv file" in error_of(done)
    assert project.state() == before


def test_the_environment_store_keeps_what_is_in_env(project: Project) -> None:
    (project.directory / ".env").write_text("# dev\nSECRET_KEY=mine\n")
    (project.directory / ".env").chmod(0o644)
    project.set_up("--backend", "env")
    values = dotenv_values(project.directory / ".env", interpolate=False)
    assert values["SECRET_KEY"] == "mine"
    assert set(CATALOG.required_names) <= set(values)
    assert stat.S_IMODE((project.directory / ".env").stat().st_mode) == 0o600


# --- manage_secrets.py get -------------------------------------------------------------------------------------------


def test_get_prints_the_bare_value(project: Project) -> None:
    project.set_up()
    done = project.run("manage_secrets.py", "get", "REDIS_PASSWORD")
    assert (done.returncode, done.stdout, done.stderr) == (0, project.values()["REDIS_PASSWORD"], "")


def test_get_of_a_missing_secret_is_an_error_with_a_hint(project: Project) -> None:
    assert f"hint: {typed(project, set_up())}\n" in error_of(project.run("manage_secrets.py", "get", "SECRET_KEY"))
    project.set_up()
    assert "SMTP_PASSWORD is not in" in error_of(project.run("manage_secrets.py", "get", "SMTP_PASSWORD"))


# --- generate_docker_secrets.sh --------------------------------------------------------------------------------------


def test_the_docker_secrets_are_those_of_the_store(project: Project) -> None:
    project.set_up()
    done = project.run("generate_docker_secrets.sh")
    assert (done.returncode, done.stderr) == (0, "")
    values = project.values()
    uid = 10001 if os.geteuid() == 0 else os.geteuid()
    for spec in CATALOG.secrets:
        file = project.directory / "secrets" / spec.docker_file
        status = file.stat()
        assert file.read_text() == values.get(spec.name, "")
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o400, uid)
    assert f"APP_UID={uid}\n" in (project.directory / ".env").read_text()
    assert not any(value in done.stdout for value in values.values() if len(value) > 8)
    check = project.run("generate_docker_secrets.sh", "--check")
    assert (check.returncode, check.stderr) == (0, "")


def test_check_writes_nothing_and_names_files_but_no_values(project: Project) -> None:
    project.set_up()
    done = project.run("generate_docker_secrets.sh", "--check")
    assert "secrets is missing: the secrets have not been written as files for Compose yet" in error_of(done)
    assert not (project.directory / "secrets").exists()
    assert not (project.directory / ".env").exists()
    project.run("generate_docker_secrets.sh")
    file = project.directory / "secrets/db_password.txt"
    file.chmod(0o600)
    file.write_text("stale-canary")
    file.chmod(0o400)
    before = project.state()
    done = project.run("generate_docker_secrets.sh", "--check")
    assert "secrets is out of date: 1 difference\n" in error_of(done)
    assert done.stdout.splitlines() == ["db_password.txt: not the value in the store"]
    assert project.state() == before


def test_env_keeps_its_other_lines_and_its_mode(project: Project) -> None:
    project.set_up()
    path = project.directory / ".env"
    path.write_text("# mine\nPOSTGRES_IMAGE=x\nAPP_GID=7\n")
    path.chmod(0o640)
    assert project.run("generate_docker_secrets.sh").returncode == 0
    gid = 7 if os.geteuid() == 0 else os.getegid()
    uid = 10001 if os.geteuid() == 0 else os.geteuid()
    assert path.read_text() == f"# mine\nPOSTGRES_IMAGE=x\nAPP_GID={gid}\nAPP_UID={uid}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_prune_removes_files_that_are_not_in_the_catalogue(project: Project) -> None:
    project.set_up()
    project.run("generate_docker_secrets.sh")
    old = project.directory / "secrets/old_secret.txt"
    old.touch(0o400)
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert old.exists()
    assert "old_secret.txt: removed" in project.run("generate_docker_secrets.sh", "--prune").stdout
    assert not old.exists()
    assert project.run("generate_docker_secrets.sh", "--check").returncode == 0


def test_another_folder_is_used_and_saved_for_compose(project: Project, tmp_path: Path) -> None:
    project.set_up()
    folder = tmp_path / "run/secrets here"
    assert project.run("generate_docker_secrets.sh", "--output", str(folder)).returncode == 0
    assert (folder / "db_password.txt").read_text() == project.values()["DATABASE_PASSWORD"]
    assert not (project.directory / "secrets").exists()
    assert dotenv_values(project.directory / ".env")["SECRETS_DIR"] == str(folder)
    assert project.run("generate_docker_secrets.sh", "--check").returncode == 0


def test_another_environment_has_its_own_folder_and_compose_project(project: Project) -> None:
    project.set_up()
    project.run("generate_docker_secrets.sh")
    before = project.state()
    project.set_up("--environment", "staging")
    assert project.run("generate_docker_secrets.sh", "--environment", "staging").returncode == 0
    settings = dotenv_values(project.directory / ".env.staging")
    assert settings["COMPOSE_PROJECT_NAME"] == "cctv-face-detection-staging"
    assert settings["SECRETS_DIR"] == "./secrets/staging"
    assert (project.directory / "secrets/staging/db_password.txt").stat().st_size == 43
    after = project.state()
    assert {path: after[path] for path in before} == before
    for arguments in ([], ["--environment", "staging"]):
        assert project.run("generate_docker_secrets.sh", "--check", *arguments).returncode == 0


def test_docker_secrets_of_the_environment_store_share_env_with_compose(project: Project) -> None:
    project.set_up("--backend", "env")
    done = project.run("generate_docker_secrets.sh")
    assert done.returncode == 0
    assert ".env holds your development secrets, and now Compose's settings, too" in done.stdout
    values = dotenv_values(project.directory / ".env")
    assert (project.directory / "secrets/db_password.txt").read_text() == values["DATABASE_PASSWORD"]


def test_missing_secrets_stop_it_before_anything_is_written(project: Project) -> None:
    assert f"hint: {typed(project, set_up())}\n" in error_of(project.run("generate_docker_secrets.sh"))
    (project.directory / ".env").write_text("SECRET_KEY=x\n")
    before = project.state()
    done = project.run("generate_docker_secrets.sh")
    assert "Required secrets are not in the store: JWT_SECRET_KEY" in error_of(done)
    assert project.state() == before


def test_the_docker_script_exits_2_for_wrong_usage_and_0_for_help(project: Project) -> None:
    assert project.run("generate_docker_secrets.sh", "--no-such").returncode == 2
    assert project.run("generate_docker_secrets.sh", "--check", "--swarm").returncode == 2
    assert "--prune" in project.run("generate_docker_secrets.sh", "--help").stdout


@pytest.mark.parametrize(
    ("info", "owner", "app_uid"),
    [
        ("[name=seccomp,profile=default name=rootless]|/home/x/.local/share/docker", None, 0),
        ("[name=userns]|/var/lib/docker/100000.200000", (110001, 210001), 10001),
        ("[name=seccomp]|/var/lib/docker", (10001, 10001), 10001),
    ],
)
def test_the_engines_user_mapping_decides_the_owner(
    info: str, owner: tuple[int, int] | None, app_uid: int, project: Project, tmp_path: Path
) -> None:
    need_root()
    project.set_up()
    # An engine of each kind cannot run side by side here: its answer to `docker info` is given by hand.
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/docker"
    fake.write_text(f"#!/bin/sh\necho '{info}'\n")
    fake.chmod(0o755)
    done = project.run("generate_docker_secrets.sh", environ={"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    status = (project.directory / "secrets/db_password.txt").stat()
    assert (status.st_uid, status.st_gid) == (owner or (os.geteuid(), os.getegid()))
    assert f"APP_UID={app_uid}\n" in (project.directory / ".env").read_text()


# --- Another project -----------------------------------------------------------------------------------


OTHER_CATALOG = """
version = 1
[application]
name = "Weather Station"
slug = "weather-station"
[[secret]]
name = "API_TOKEN"
group = "Station"
description = "Token of the forecast service"
input = "generate"
length = 40
docker_file = "api_token.txt"
previous_values = "grace"
consumers = ["web"]
[[secret]]
name = "STATION_NAME"
group = "Station"
description = "Name of the station"
input = "ask"
default = "north"
docker_file = "station_name.txt"
[[secret]]
name = "STATION_PASSWORD"
group = "Station"
description = "Password of the station"
input = "generate_or_ask"
length = 20
docker_file = "station_password.txt"
"""


def test_another_projects_catalogue_works_without_changing_code(project: Project, python: str) -> None:
    (project.directory / "config/catalog.toml").write_text(OTHER_CATALOG)
    done = project.set_up()
    assert "Weather Station" in (project.directory / ".env.production").read_text()
    key_file = project.home / ".config/weather-station/master.key"
    values = json.loads(Fernet(key_file.read_text().strip()).decrypt(project.secrets_file.read_bytes()))["secrets"]
    assert {name: len(value) for name, value in values.items()} == {
        "API_TOKEN": 40,
        "STATION_NAME": 5,
        "STATION_PASSWORD": 20,
    }
    assert "get STATION_PASSWORD" in done.stdout
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert sorted(path.name for path in (project.directory / "secrets").iterdir()) == [
        "api_token.txt",
        "api_token_previous.json",
        "station_name.txt",
        "station_password.txt",
    ]
    code = "from src.utils.secrets import require_secret; print(require_secret('API_TOKEN'), end='')"
    environ = {
        "SECRETS_BACKEND": "file",
        "SECRETS_FILE_PATH": str(project.secrets_file),
        "SECRETS_MASTER_KEY_FILE": str(key_file),
    }
    read = subprocess.run(
        [python, "-c", code], env=project.environ(environ), cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert read.stdout == values["API_TOKEN"]


def test_the_generated_files_can_be_checked_and_written(python: str) -> None:
    script = PROJECT / "scripts/render_catalog.py"
    for arguments in ([], ["--check"]):
        done = subprocess.run([python, script, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_without_its_packages_a_script_says_how_to_install_them(tmp_path: Path) -> None:
    for name in ("scripts", "src", "config"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for script in ("setup_secrets.py", "manage_secrets.py", "generate_docker_secrets.sh"):
        for folder, command in ((tmp_path, "make install"), (tmp_path / "src", f"make -C {tmp_path} install")):
            done = subprocess.run(
                [tmp_path / "scripts" / script], capture_output=True, text=True, check=False, env=environ, cwd=folder
            )
            assert done.returncode == 1
            assert done.stderr.startswith("error: ")
            assert f"hint: {command}\n" in done.stderr


def test_a_store_on_this_machine_cannot_be_read_by_the_app_s_container_itself(project: Project) -> None:
    project.set_up()
    done = project.run("generate_docker_secrets.sh", "--cloud")
    assert "cannot read Encrypted File itself" in error_of(done, 2)
    assert not (project.directory / "secrets").exists()
