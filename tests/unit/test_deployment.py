"""The files of a deployment, and which settings apply."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from src.ops.deployment.deployment import Deployment, is_environment_file
from src.ops.setup.in_use import require_set_up
from src.utils.secrets import command
from src.utils.secrets.command import compose, manage, set_up
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend
from tests.conftest import PROJECT, Project


def locate(
    project: Project, environment: str = "production", environ: dict[str, str] | None = None, **options: str
) -> Deployment:
    return Deployment.locate(
        project_directory=str(project.directory),
        environment=environment,
        environ={"HOME": str(project.home)} | (environ or {}),
        **options,
    )


def test_production_has_the_plain_names(project: Project) -> None:
    deployment = locate(project)
    assert deployment.settings_file == str(project.directory / ".env.production")
    assert deployment.compose_file == str(project.directory / ".env")
    assert deployment.default_key_file == str(project.home / ".config/cctv-face-detection/master.key")
    assert deployment.settings(SecretsBackend.FILE).file_path == str(project.directory / "config/secrets.enc")
    assert (deployment.default_docker_directory, deployment.compose_project_name) == ("secrets", "cctv-face-detection")
    assert deployment.spelling.environment == "production"


def test_the_commands_for_another_project_name_its_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.directory / "weather station"
    (folder / "config").mkdir(parents=True)
    shutil.copy(PROJECT / "config/catalog.toml", folder / "config")
    deployment = Deployment.locate(project_directory=str(folder), environment="staging", environ={})
    spelling = deployment.spelling_from(str(PROJECT))
    flags = f"--environment staging --project-directory '{folder}'"
    assert spelling.spell(set_up()) == f"./scripts/setup_secrets.py {flags}"
    monkeypatch.setattr(command, "_compose_program", ["docker", "compose"])
    started = spelling.spell(compose("up", "-d"))
    assert started == f"cd '{folder}' && docker compose --env-file .env.staging up -d"
    own = Deployment.locate(project_directory=str(PROJECT), environ={})
    assert own.spelling_from(str(PROJECT)).spell(manage("status")) == "./scripts/manage_secrets.py status"


def test_another_environment_shares_nothing_with_production(project: Project) -> None:
    deployment = locate(project, "staging", {"XDG_CONFIG_HOME": "/xdg"})
    assert deployment.settings_file == deployment.compose_file == str(project.directory / ".env.staging")
    assert deployment.default_key_file == "/xdg/cctv-face-detection/staging.key"
    assert deployment.settings(SecretsBackend.FILE).file_path == str(project.directory / "config/secrets.staging.enc")
    assert deployment.default_docker_directory == "secrets/staging"
    assert deployment.compose_project_name == "cctv-face-detection-staging"
    assert "--environment staging" in deployment.spelling.spell(set_up())


@pytest.mark.parametrize("name", ["example", "Staging", "", "../x", "1st", "a" * 22, "a b"])
def test_a_name_that_could_be_mistaken_is_refused(name: str, project: Project) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of an environment"):
        locate(project, name)


def test_a_missing_folder_or_settings_file_is_named(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="--project-directory names no folder: nothing of that name is in /"):
        Deployment.locate(project_directory="/no/such/folder")
    with pytest.raises(ConfigurationError, match="--env-file names no file: nothing of that name is in /"):
        locate(project, env_file="/no/such.env")


def test_settings_come_from_env_production_unless_the_shell_says_otherwise(project: Project) -> None:
    (project.directory / ".env.production").write_text("SECRETS_BACKEND=file\nSECRETS_FILE_PATH=x.enc\n")
    assert locate(project).settings().backend is SecretsBackend.FILE
    assert locate(project, environ={"SECRETS_FILE_PATH": "y.enc"}).settings().file_path.endswith("/y.enc")


def test_the_environment_store_reads_env_and_no_other_store_does(project: Project) -> None:
    (project.directory / ".env").write_text("SECRET_KEY=development\n")
    assert locate(project).variables()["SECRET_KEY"] == "development"
    (project.directory / ".env.production").write_text("SECRETS_BACKEND=file\n")
    assert "SECRET_KEY" not in locate(project).variables()


def test_nothing_set_up_is_said_with_the_command_that_does_it(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="No secrets are set up here") as caught:
        require_set_up(locate(project))
    assert caught.value.hints == (set_up(),)
    require_set_up(locate(project, environ={"SECRETS_BACKEND": "env"}))


def test_development_secrets_are_not_read_where_the_summary_names_another_store(project: Project) -> None:
    (project.directory / ".env").write_text("SECRET_KEY=development\n")
    require_set_up(locate(project))
    (project.directory / "config/SETUP.md").write_text("- Secrets: AWS Secrets Manager, cctv\n")
    with pytest.raises(ConfigurationError, match="No secrets are set up here"):
        require_set_up(locate(project))


@pytest.mark.parametrize("home", ["/", "/no/such/home", "the project"])
def test_a_home_that_is_none_is_not_used_for_the_key(
    home: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"HOME": str(project.directory) if home == "the project" else home}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert locate(project, environ=environ).default_key_file == "/etc/cctv-face-detection/master.key"
    assert locate(project, environ=environ).state_directory == "/var/lib/cctv-face-detection"
    given = environ | {"STATE_DIRECTORY": "/var/lib/cctv:/var/lib/more"}
    assert locate(project, environ=given).default_key_file == "/var/lib/cctv/cctv-face-detection/master.key"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert locate(project, environ=given).default_key_file == "/var/lib/cctv/cctv-face-detection/master.key"
    assert locate(project, environ=environ).state_directory == str(
        project.directory / ".local/state/cctv-face-detection"
    )
    given = environ | {"XDG_CONFIG_HOME": "/srv/config"}
    assert locate(project, environ=given).default_key_file == "/srv/config/cctv-face-detection/master.key"


def test_another_settings_file_takes_the_place_of_env_production(project: Project, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("SECRETS_BACKEND=file\nSECRETS_FILE_PATH=/z.enc\n")
    assert locate(project, env_file=str(tmp_path / "other")).settings().file_path == "/z.enc"


def test_paths_are_shown_as_people_write_them(project: Project) -> None:
    deployment = locate(project)
    assert deployment.shown(str(project.directory / "config/x")) == "config/x"
    assert deployment.shown(str(project.home / "x")) == "~/x"
    assert deployment.shown("/etc/x") == "/etc/x"


def test_the_settings_of_a_deployment_have_the_names_of_its_own_catalogue(project: Project, tmp_path: Path) -> None:
    own = tmp_path / "catalog.toml"
    own.write_text((project.directory / "config/catalog.toml").read_text().replace('"WEBHOOK_SECRET"', '"HOOK_SECRET"'))
    names = locate(project, catalog=str(own)).settings().known_names()
    assert "HOOK_SECRET" in names
    assert "WEBHOOK_SECRET" not in names


def test_a_deployment_does_not_show_the_environment(project: Project) -> None:
    assert "canary" not in repr(locate(project, environ={"X": "canary"}))
    assert PROJECT.is_dir()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".env.staging", True),
        (".env.production", True),
        (".env.example", False),
        (".env.a.bak", False),
        (".env", False),
    ],
)
def test_an_environment_s_file_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_environment_file(f"/somewhere/{name}") is expected
