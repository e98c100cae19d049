"""``environment``: which environments there are, and the removal of one beside another that stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.lifecycle.environment import plan_removal, remove_environment
from src.utils.secrets.errors import StoreError
from tests.conftest import Project
from tests.servers.aws import CREDENTIALS, REGION, Aws
from tests.servers.keyvault import KeyVault
from tests.servers.vault import Vault
from tests.support.commands import error_of, manage
from tests.support.files import write_read_only
from tests.support.kept import Kept
from tests.support.terminal import CTRL_C, ENTER, Terminal

WRITE, MANAGE = "generate_docker_secrets.sh", "manage_secrets.py"
REMOVE = ("environment", "remove", "staging")
CONFIRMED = (*REMOVE, "--confirm", "staging")
STAGING, PRODUCTION = "cctv-face-detection-staging", "cctv-face-detection"

# An engine that knows the containers and volumes of Compose projects, each in a file of a folder.
DOCKER = r"""#!/bin/sh
echo "$*" >>"$DOCKER_STATE/log"
[ ! -e "$DOCKER_STATE/stopped" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case "$*" in
"compose version"*) ;;
"ps "*|"volume ls"*)
    kind=${1%% *} project=${*##*com.docker.compose.project=} project=${project%% *}
    cat "$DOCKER_STATE/$project.$kind" 2>/dev/null || true ;;
*" down "*)
    [ ! -e "$DOCKER_STATE/refuses" ] || { echo "error while removing network: has active endpoints" >&2; exit 1; }
    project=${*##*--project-name } project=${project%% *}
    rm -f "$DOCKER_STATE/$project.ps" "$DOCKER_STATE/$project.volume" ;;
*) echo "error: not known: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine without anything; returns the folder with what it has."""
    state, program = tmp_path / "engine", tmp_path / "bin/docker"
    state.mkdir()
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    use_engine(project, state)
    return state


def use_engine(project: Project, state: Path) -> None:
    """Let the scripts find the engine."""
    plain = project.environ
    project.environ = lambda extra=None: plain({"DOCKER_STATE": str(state)} | dict(extra or {}))  # type: ignore[method-assign]


def set_up_both(project: Project) -> None:
    project.set_up()
    assert project.run(WRITE).returncode == 0
    set_up_staging(project)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("both"), set_up_both)


@pytest.fixture
def both(kept: Kept, engine: Path) -> Project:
    """Production and staging, each with Docker files."""
    project = kept.put_back()
    use_engine(project, engine)
    return project


def set_up_staging(project: Project) -> None:
    project.set_up("--environment", "staging")
    assert project.run(WRITE, "--environment", "staging").returncode == 0


def start(engine: Path, name: str, folder: Path) -> None:
    """Let the engine have containers and volumes of a Compose project."""
    (engine / f"{name}.ps").write_text(f"{name}-app-1\t{folder}\n{name}-postgres-1\t{folder}\n")
    (engine / f"{name}.volume").write_text(f"{name}_postgres_data\n")


def calls(engine: Path, word: str) -> list[str]:
    return [line for line in (engine / "log").read_text().splitlines() if word in line]


def rows_of(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> list[dict[str, str]]:
    done = project.run(MANAGE, *REMOVE, "--dry-run", "--json", *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, str]] = json.loads(done.stdout)["rows"]
    return rows


def actions_of(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["place"]: row["action"] for row in rows}


# --- All of it -------------------------------------------------------------------------------------------------------


def test_removing_staging_leaves_no_trace_of_it_and_production_as_it_was(project: Project) -> None:
    project.set_up()
    assert project.run(WRITE).returncode == 0
    before = project.state()
    set_up_staging(project)
    staging = Project(project.directory, project.home, environment="staging")
    manage(project, "rotate-master-key", "--yes", "--environment", "staging")
    manage(project, "rotate", "JWT_SECRET_KEY", "--yes", "--environment", "staging")
    for suffix in (".lost-2026-01-01T000000Z", ".damaged-2026-01-01T000000Z", ".lost-2026-01-01T000000Z.sum"):
        Path(f"{staging.secrets_file}{suffix}").touch(0o400)
    for suffix in (".lost-2026-01-01T000000Z", ".before-migration", ".before-migration-2"):
        Path(f"{staging.settings_file}{suffix}").touch(0o600)
    aside = staging.docker_directory / "lost-2026-01-01T000000Z"
    aside.mkdir(0o700)
    (aside / "db_password.txt").touch(0o400)
    (staging.docker_directory / "gone_from_the_catalogue.txt").touch(0o400)
    (staging.docker_directory / ".db_password.txt.4194999-0000000000000000.tmp").touch(0o600)
    staging.journal.write_text(json.dumps({"project": str(project.directory), "names": ["SECRET_KEY"]}))
    shown = {row["place"] for row in rows_of(project)}
    gone = {path for path in project.state() if path not in before}
    done = manage(project, *CONFIRMED)
    assert project.state() == before
    places = {os.path.join(project.directory, place.replace("~", str(project.home))) for place in shown}
    assert {path for path in gone if ".lock" not in path} <= places
    assert "The environment staging is removed." in done.stdout
    assert "secrets/staging/db_password.txt removed." in done.stdout
    assert not [path for path in project.directory.rglob("*") if "staging" in path.name]
    trail = json.loads(manage(project, "status", "--audit", "--json").stdout)["entries"]
    assert (trail[-1]["command"], trail[-1]["environment"]) == ("environment-remove", "staging")
    assert trail[-1]["result"] == "done"


def test_a_dry_run_shows_everything_and_changes_nothing(both: Project, engine: Path) -> None:
    start(engine, STAGING, both.directory)
    before = both.state()
    done = manage(both, *REMOVE, "--dry-run")
    for place in (f"{STAGING}_postgres_data", "secrets/staging/db_password.txt", ".env.staging", "staging.key"):
        assert place in done.stdout
    assert both.state() == before
    assert not calls(engine, " down ")
    assert set(rows_of(both)[0]) == {"kind", "place", "action", "why", "commands"}


def test_a_value_is_never_shown(both: Project) -> None:
    values = [path.read_text() for path in (both.directory / "secrets/staging").glob("*.txt")]
    done = manage(both, *CONFIRMED)
    assert not [value for value in values if len(value) > 8 and value in done.stdout + done.stderr]


def test_production_is_removed_with_the_same_word_and_staging_stays(both: Project) -> None:
    staging = {path: content for path, content in both.state().items() if "staging" in path}
    error_of(both.run(MANAGE, "environment", "remove", "production", "--confirm", "staging"), 2)
    manage(both, "environment", "remove", "production", "--confirm", "production")
    after = both.state()
    assert {path: after.get(path) for path in staging} == staging
    assert not (both.directory / ".env.production").exists()
    assert not both.secrets_file.exists()
    assert not both.key_file.exists()
    assert manage(both, "status", "--environment", "staging").returncode == 0


def test_development_secrets_in_env_stay_when_production_has_another_store(both: Project) -> None:
    with both.compose_file.open("a") as file:
        file.write("SECRET_KEY=of-development\n")
    manage(both, "environment", "remove", "production", "--confirm", "production")
    assert "SECRET_KEY=of-development" in both.compose_file.read_text()


# --- The word --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--yes",), ("-y", "--json"), ("--confirm", "production")], ids=" ".join)
def test_without_the_name_and_a_terminal_nothing_is_removed(arguments: tuple[str, ...], both: Project) -> None:
    before = both.state()
    error = error_of(both.run(MANAGE, *REMOVE, *arguments, standard_input="staging\n"), 2)
    assert "environment remove staging --confirm staging" in error
    assert both.state() == before
    command = shlex.split(error.splitlines()[1].partition(": ")[2].partition(": ")[2])
    done = subprocess.run(command, cwd=both.here, env=both.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (both.directory / ".env.staging").exists()


@pytest.mark.parametrize(("typed", "code"), [("stagin" + ENTER, 1), (ENTER, 1), ("yes" + ENTER, 1), (CTRL_C, 130)])
def test_another_word_at_the_terminal_removes_nothing(typed: str, code: int, both: Project) -> None:
    before = both.state()
    terminal = Terminal(both.script(MANAGE, *REMOVE), environ=both.environ(), cwd=str(both.here), rows=60)
    terminal.answer("type the name of the environment", typed)
    assert terminal.finish() == code
    assert both.state() == before


def test_the_name_at_the_terminal_removes_it(both: Project) -> None:
    terminal = Terminal(both.script(MANAGE, *REMOVE), environ=both.environ(), cwd=str(both.here), rows=60)
    terminal.answer("type the name of the environment", "staging" + ENTER)
    assert terminal.finish() == 0
    assert not (both.directory / ".env.staging").exists()


@pytest.mark.parametrize("name", ["nothing", "No-Name", "example", "--", "a-very-secret-password-of-somebody"])
def test_a_name_of_which_there_is_nothing_is_refused_and_not_repeated(name: str, both: Project) -> None:
    before = both.state()
    done = both.run(MANAGE, "environment", "remove", name, "--confirm", "x")
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    if name == "nothing":
        assert "hint: There is: production, staging\n" in done.stderr
    assert len(name) < 6 or name not in done.stderr.replace("There is nothing of such", "")
    assert both.state() == before


def test_the_list_names_the_environments_of_this_project(both: Project) -> None:
    both.set_up("--environment", "lab", "--backend", "env")
    (both.directory / ".env.example").touch()
    listed = json.loads(manage(both, "environment", "list", "--json").stdout)
    assert [(row["environment"], row["store"]) for row in listed] == [
        ("production", "Encrypted File"),
        ("lab", "Environment variables"),
        ("staging", "Encrypted File"),
    ]
    assert ".env.staging" in manage(both, "environment", "list").stdout
    for name in (".env.staging", ".env.lab"):
        (both.directory / name).unlink()
    listed = json.loads(manage(both, "environment", "list", "--json").stdout)
    assert [row["environment"] for row in listed] == ["production", "lab", "staging"]  # by what is left of them
    assert "There is: list, remove" in error_of(both.run(MANAGE, "environment", "delete"), 2)


# --- What is kept ----------------------------------------------------------------------------------------------------


def share_key(project: Project) -> list[Path]:
    path = project.directory / ".env.staging"
    project.set_up("--environment", "lab", "--master-key-file", str(project.home / ".config/x/staging.key"))
    path.write_text(path.read_text().replace("cctv-face-detection/staging.key", "x/staging.key"))
    return [project.home / ".config/x/staging.key"]


def use_production_key(project: Project) -> list[Path]:
    path = project.directory / ".env.staging"
    path.write_text(path.read_text().replace("/staging.key", "/master.key"))
    return [project.key_file]


def share_secrets_file(project: Project) -> list[Path]:
    path = project.directory / ".env.staging"
    path.write_text(path.read_text().replace("secrets.staging.enc", "secrets.enc"))
    return [project.secrets_file, Path(f"{project.secrets_file}.sum")]


def share_docker_folder(project: Project) -> list[Path]:
    path = project.directory / ".env.staging"
    path.write_text(path.read_text().replace("./secrets/staging", "./secrets"))
    return [project.docker_directory / "db_password.txt"]


def link_docker_folder(project: Project) -> list[Path]:
    elsewhere = project.home / "elsewhere"
    (project.directory / "secrets/staging").rename(elsewhere)
    (project.directory / "secrets/staging").symlink_to(elsewhere)
    return [elsewhere / "db_password.txt"]


def link_config(project: Project) -> list[Path]:
    elsewhere = project.home / "config"
    (project.directory / "config").rename(elsewhere)
    (project.directory / "config").symlink_to(elsewhere)
    return [elsewhere / "secrets.staging.enc", elsewhere / "SETUP.staging.md"]


def name_another_file(project: Project) -> list[Path]:
    path, precious = project.directory / ".env.staging", project.home / "precious"
    precious.write_text("precious")
    path.write_text(path.read_text().replace("config/secrets.staging.enc", str(precious)))
    return [precious]


def name_another_file_as_key(project: Project) -> list[Path]:
    path, precious = project.directory / ".env.staging", project.home / "precious"
    write_read_only(precious, "precious")
    path.write_text(path.read_text().replace(str(project.key_file.parent / "staging.key"), str(precious)))
    return [precious]


def write_into_docker_folder(project: Project) -> list[Path]:
    (project.directory / "secrets/staging/notes.md").write_text("precious")
    return [project.directory / "secrets/staging/notes.md"]


def write_a_name_that_cannot_be_shown(project: Project) -> list[Path]:
    path = Path(os.fsdecode(os.fsencode(project.directory / "secrets/staging") + b"/bad\xff\x1b[2J"))
    path.write_text("precious")
    return [path]


def keep_backups(project: Project) -> list[Path]:
    (project.home / "passphrase").write_text("a passphrase of some length")
    manage(project, "backup", "--environment", "staging", "--passphrase-file", str(project.home / "passphrase"))
    return list((project.home / ".local/state/cctv-face-detection/backups").iterdir())


def back_up_with_the_key(project: Project) -> list[Path]:
    key = project.key_file.parent / "staging.key"
    manage(project, "backup", "--environment", "staging", "--key-file", str(key))
    return [key, *(project.home / ".local/state/cctv-face-detection/backups").iterdir()]


def set_up_a_name_that_begins_alike(project: Project) -> list[Path]:
    project.set_up("--environment", "staging-2")
    project.run(WRITE, "--environment", "staging-2")
    journal = project.home / ".local/state/cctv-face-detection/rotate-staging-2.json"
    journal.write_text(json.dumps({"project": str(project.directory), "names": ["SECRET_KEY"]}))
    return [path for root in (project.directory, project.home) for path in root.rglob("*staging-2*") if path.is_file()]


def journal_of_another_checkout(project: Project) -> list[Path]:
    journal = project.home / ".local/state/cctv-face-detection/rotate-staging.json"
    journal.write_text(json.dumps({"project": "/another/checkout", "names": ["SECRET_KEY"]}))
    return [journal]


@pytest.mark.parametrize(
    "prepare",
    [
        share_key,
        use_production_key,
        share_secrets_file,
        share_docker_folder,
        link_docker_folder,
        link_config,
        name_another_file,
        name_another_file_as_key,
        write_into_docker_folder,
        write_a_name_that_cannot_be_shown,
        keep_backups,
        back_up_with_the_key,
        set_up_a_name_that_begins_alike,
        journal_of_another_checkout,
    ],
    ids=lambda prepare: prepare.__name__,
)
def test_what_is_not_only_of_this_environment_is_kept(prepare: Callable[[Project], list[Path]], both: Project) -> None:
    kept = {path: path.read_bytes() for path in prepare(both)}
    assert kept
    production = {
        path: content
        for path, content in both.state().items()
        if "staging" not in path and ".env.lab" not in path and os.path.isfile(path)
    }
    done = manage(both, *CONFIRMED)
    assert {path: path.read_bytes() for path in kept} == kept
    after = both.state()
    assert {path: after.get(path) for path in production} == production
    assert not (both.directory / ".env.staging").exists()
    if prepare not in (set_up_a_name_that_begins_alike, journal_of_another_checkout):
        assert "To keep:" in done.stdout
        assert "Kept:" in done.stdout


def test_the_key_is_kept_when_asked_for(both: Project) -> None:
    key = both.key_file.parent / "staging.key"
    content = key.read_text()
    manage(both, *CONFIRMED, "--keep-key")
    assert key.read_text() == content


def test_what_the_shell_exports_for_another_environment_is_left_alone(both: Project, engine: Path) -> None:
    start(engine, STAGING, both.directory)
    start(engine, PRODUCTION, both.directory)
    before = {path: content for path, content in both.state().items() if "staging" not in path}
    environ = {
        "SECRETS_BACKEND": "file",
        "SECRETS_FILE_PATH": str(both.secrets_file),
        "SECRETS_MASTER_KEY_FILE": str(both.key_file),
        "COMPOSE_PROJECT_NAME": PRODUCTION,
        "SECRETS_DIR": str(both.docker_directory),
    }
    done = both.run(MANAGE, *CONFIRMED, environ=environ)
    assert done.returncode == 0, done.stderr
    assert {path: content for path, content in both.state().items() if "staging" not in path} == before
    assert (engine / f"{PRODUCTION}.ps").exists()
    assert not (both.directory / ".env.staging").exists()


# --- Docker ----------------------------------------------------------------------------------------------------------


def test_only_the_compose_project_of_staging_is_touched(both: Project, engine: Path) -> None:
    start(engine, STAGING, both.directory)
    start(engine, PRODUCTION, both.directory)
    start(engine, "a-project", both.directory)
    done = manage(both, *CONFIRMED)
    assert f"Containers and volumes of {STAGING} removed." in done.stdout
    (down,) = calls(engine, " down ")
    assert f"--project-name {STAGING} down --volumes" in down
    assert sorted(path.name for path in engine.iterdir()) == sorted(
        ["log", *(f"{name}.{kind}" for name in (PRODUCTION, "a-project") for kind in ("ps", "volume"))]
    )


def test_containers_that_run_from_another_folder_or_are_shared_are_kept(both: Project, engine: Path) -> None:
    start(engine, STAGING, Path("/another/checkout"))
    assert actions_of(rows_of(both))[f"{STAGING}_postgres_data"] == "keep"
    start(engine, "a-project", both.directory)
    path = both.directory / ".env.staging"
    path.write_text(path.read_text().replace(f"COMPOSE_PROJECT_NAME={STAGING}", "COMPOSE_PROJECT_NAME=aproject"))
    start(engine, "aproject", both.directory)  # what Compose calls production, after its folder
    rows = {row["place"]: row for row in rows_of(both)}
    assert rows["aproject_postgres_data"]["why"] == "production uses the same Compose project"
    manage(both, *CONFIRMED)
    assert not calls(engine, " down ")


def test_an_engine_that_does_not_answer_stops_it_before_anything_is_removed(both: Project, engine: Path) -> None:
    start(engine, STAGING, both.directory)
    (engine / "stopped").touch()
    before = both.state()
    done = both.run(MANAGE, *CONFIRMED)
    assert "Docker does not answer" in error_of(done)
    assert both.state() == before
    assert manage(both, *REMOVE, "--dry-run").stdout
    (hint,) = (line for line in done.stderr.splitlines() if "--local" in line)
    command = shlex.split(hint.rpartition(": ")[2])
    done = subprocess.run(
        [*command, "--confirm", "staging"],
        cwd=both.here,
        env=both.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"docker volume ls --filter label=com.docker.compose.project={STAGING}" in done.stdout
    assert not (both.directory / ".env.staging").exists()
    assert (engine / f"{STAGING}.volume").exists()


def test_an_engine_that_does_not_answer_stops_nothing_where_no_container_can_be(project: Project, engine: Path) -> None:
    project.set_up()
    project.set_up("--environment", "staging")
    (engine / "stopped").touch()
    assert f"containers and volumes: {STAGING} (Docker does not say" in manage(project, *CONFIRMED).stdout
    assert not (project.directory / ".env.staging").exists()


def test_containers_that_cannot_be_removed_stop_it_before_the_files(both: Project, engine: Path) -> None:
    start(engine, STAGING, both.directory)
    (engine / "refuses").touch()
    before = both.state()
    assert "has active endpoints" in error_of(both.run(MANAGE, *CONFIRMED))
    assert both.state() == before
    (engine / "refuses").unlink()
    manage(both, *CONFIRMED)
    assert not (both.directory / ".env.staging").exists()


# --- An interruption -------------------------------------------------------------------------------------------------


def test_after_a_crash_at_any_file_the_next_run_goes_on(both: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in both.environ().items():
        monkeypatch.setenv(name, value)
    production = {path: content for path, content in both.state().items() if "staging" not in path}
    unlink = os.unlink
    removed: list[str] = []

    def remove_one_and_fail(path: str, **options: int) -> None:
        if not path.endswith(".lock"):
            if len(removed) == runs:
                raise OSError(5, "Input/output error")
            removed.append(path)
        unlink(path, **options)

    for runs in range(1, 60):
        staging = Deployment.locate(project_directory=str(both.directory), environment="staging")
        removal = plan_removal(staging)
        with monkeypatch.context() as patch, contextlib.suppress(StoreError):
            patch.setattr(os, "unlink", remove_one_and_fail)
            remove_environment(removal, lambda _line: None)
        assert len(removed) == runs
        if not (both.directory / ".env.staging").exists():
            break
    after = both.state()
    assert {path: after.get(path) for path in production} == production
    assert not [path for path in after if "staging" in path]
    assert len(removed) > 15
    assert [os.path.basename(path) for path in removed[-2:]] == ["staging.key", ".env.staging"]
    assert "There is: production" in error_of(both.run(MANAGE, *CONFIRMED))


# --- Stores on servers -----------------------------------------------------------------------------------------------


def stored_in_vault(vault: Vault, path: str) -> dict[str, str]:
    answer = vault.client().secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    content: dict[str, str] = answer["data"]["data"]
    return content


@pytest.fixture
def both_in_vault(project: Project, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Production and staging in one Vault."""
    plain = project.environ
    signed_in = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": vault.token}
    monkeypatch.setattr(project, "environ", lambda extra=None: plain(signed_in | dict(extra or {})))
    project.set_up("--backend", "vault")
    project.set_up("--backend", "vault", "--environment", "staging")
    return project


def test_only_the_values_of_staging_are_taken_out_of_a_shared_vault(both_in_vault: Project, vault: Vault) -> None:
    project = both_in_vault
    content = stored_in_vault(vault, "cctv-staging") | {"OF_SOMEBODY_ELSE": "precious"}
    vault.client().secrets.kv.v2.create_or_update_secret("cctv-staging", content)
    production = stored_in_vault(vault, "cctv")
    before = project.state()
    rows = rows_of(project)
    assert next(row["kind"] for row in rows if row["action"] == "remove") == "remote secret"
    assert any("OF_SOMEBODY_ELSE" in row["place"] and row["action"] == "keep" for row in rows)
    assert project.state() == before
    # An exported path of production does not lead there.
    done = project.run(MANAGE, *CONFIRMED, environ={"VAULT_SECRET_PATH": "cctv", "SECRETS_BACKEND": "vault"})
    assert done.returncode == 0, done.stderr
    assert "vault kv metadata delete -mount=secret cctv-staging" in done.stdout
    assert stored_in_vault(vault, "cctv") == production
    left = stored_in_vault(vault, "cctv-staging")
    assert left.pop("OF_SOMEBODY_ELSE") == "precious"
    assert set(left) <= {"_METADATA"}
    assert not [value for value in production.values() if value in json.dumps(left)]
    assert not (project.directory / ".env.staging").exists()


def test_a_place_that_production_uses_too_is_kept(both_in_vault: Project, vault: Vault) -> None:
    project = both_in_vault
    path = project.directory / ".env.staging"
    path.write_text(path.read_text().replace("cctv-staging", "cctv").replace("127.0.0.1", "localhost"))
    production = stored_in_vault(vault, "cctv")
    done = manage(project, *CONFIRMED)
    assert "production uses the same place" in done.stdout
    assert stored_in_vault(vault, "cctv") == production


def test_a_store_that_does_not_answer_stops_it_before_anything_is_removed(both_in_vault: Project, vault: Vault) -> None:
    project = both_in_vault
    path = project.directory / ".env.staging"
    path.write_text(path.read_text().replace(f":{vault.url.rpartition(':')[2]}", ":1"))
    before = project.state()
    done = project.run(MANAGE, *CONFIRMED)
    assert "environment remove staging --local" in error_of(done)
    assert project.state() == before
    assert manage(project, *REMOVE, "--dry-run").stdout
    assert "vault kv metadata delete" in manage(project, *CONFIRMED, "--local").stdout
    assert not path.exists()


def stored_in_aws(server: Aws, name: str) -> dict[str, str]:
    answer = server.client().get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
    content: dict[str, str] = json.loads(answer["SecretString"])
    return content


def test_a_secret_in_aws_is_emptied_and_its_deletion_is_named(project: Project, aws: Aws) -> None:
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": aws.url, "AWS_REGION": REGION}
    for arguments in ((), ("--environment", "staging")):
        project.set_up("--backend", "aws", *arguments, environ=environ)
    production = stored_in_aws(aws, "cctv-face-detection")
    done = project.run(MANAGE, *CONFIRMED, environ=environ | {"SECRETS_AWS_SECRET_ID": "cctv-face-detection"})
    assert done.returncode == 0, done.stderr
    delete = "aws secretsmanager delete-secret --secret-id cctv-face-detection-staging --region"
    assert delete in done.stdout
    assert stored_in_aws(aws, "cctv-face-detection") == production
    assert set(stored_in_aws(aws, "cctv-face-detection-staging")) <= {"_METADATA"}


def test_secrets_in_a_key_vault_are_deleted_and_their_purge_is_named(project: Project, keyvault: KeyVault) -> None:
    project.set_up()
    environ = keyvault.environ()
    environ.pop("SECRETS_BACKEND")
    project.set_up("--backend", "azure", "--environment", "staging", environ=environ)
    keyvault.put("OF-SOMEBODY-ELSE", "precious")
    done = project.run(MANAGE, *CONFIRMED, environ=environ)
    assert done.returncode == 0, done.stderr
    assert "--name JWT-SECRET-KEY" in done.stdout
    assert "az keyvault secret purge --vault-name" in done.stdout
    assert "jwt-secret-key" in keyvault.deleted
    assert list(keyvault.secrets) == ["of-somebody-else"]


def test_an_environment_of_development_goes_with_its_dotenv_file(project: Project) -> None:
    project.set_up()
    before = project.state()
    project.set_up("--backend", "env", "--environment", "staging")
    project.run(WRITE, "--environment", "staging")
    manage(project, *CONFIRMED)
    assert {path: content for path, content in project.state().items() if not path.endswith("/secrets")} == before


def test_settings_in_another_place_are_those_of_the_environment(project: Project, tmp_path: Path) -> None:
    project.set_up()
    before = project.state()
    settings = tmp_path / "its settings.env"
    settings.touch()
    options = ("--environment", "staging", "--env-file", str(settings))
    project.set_up(*options)
    assert "--env-file" in error_of(project.run(MANAGE, *REMOVE, "--env-file", str(settings)), 2)
    manage(project, *CONFIRMED, "--env-file", str(settings))
    assert project.state() == before
    assert not settings.exists()
