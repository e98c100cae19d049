"""Each next command works on the deployment that it is shown for, from where the person is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Project
from tests.support.commands import error_of, manage
from tests.support.files import write_read_only
from tests.support.findings import ELSEWHERE, PLANTED, STACK_CHECKS, compose_file, make_healthy, neighbour
from tests.support.forms import pairs

TASKS = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
OURS = re.compile(
    rf"\S*/scripts/\w+\.(py|sh)|(?<![\w-])make (-\S+ (/\S+ )?)*({'|'.join(TASKS)})\b|(cd .* && )?docker[ -]compose "
)
OF_NO_DEPLOYMENT = re.compile(r"--help$|\binstall$|^make -C \S+ --always-make install")
HERE = ("the tools' folder", "another folder")
OPTIONS = ("the usual files", "files elsewhere")
pytestmark = pairs("here", "files")

# A stack of which nothing works, as Docker would show it.
DOCKER = r"""#!/bin/sh
case "$*" in
*version*) exit 0 ;;
*" ps "*) for name in app postgres redis; do
    echo '{"Service":"'$name'","State":"running","Health":"unhealthy","ID":"1"}'; done ;;
*" config "*) cat "$CONFIGURATION" ;;
inspect*) echo 2000-01-01T00:00:00+00:00 ;;
"volume ls"*|"ps "*) ;;
info*) echo '[]|/var/lib/docker' ;;
*) echo "error: not today" >&2; echo "hint: come again" >&2; exit 1 ;;
esac
"""


@pytest.fixture(params=HERE)
def here(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=OPTIONS)
def files(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def staging(here: str, files: str, project: Project) -> Project:
    """Staging of another project than that of the tools, and a person in some folder."""
    base = project.directory.parent
    options: tuple[str, ...] = ()
    if files == "files elsewhere":
        (base / "its settings.env").touch()
        shutil.copy(PROJECT / "config/catalog.toml", base / "its catalogue.toml")
        options = ("--env-file", f"{base}/its settings.env", "--catalog", f"{base}/its catalogue.toml")
    other = Project(project.directory, project.home, environment="staging", options=options)
    if options:
        other.settings_file = base / "its settings.env"
    (base / "elsewhere").mkdir()
    other.here = PROJECT if here == "the tools' folder" else base / "elsewhere"
    return other


def lines_of(*texts: str) -> Iterator[str]:
    """The commands that are shown: of ours, of make and of Compose."""
    for line in "\n".join(texts).splitlines():
        found = OURS.search(line)
        if found:
            yield line[found.start() :].strip()


def names_deployment(command: str, project: Project) -> bool:
    """Whether a command works on this deployment, typed in the folder where the person is."""
    if OF_NO_DEPLOYMENT.search(command):
        return True
    words = shlex.split(command)
    if words[0] == "cd":
        return words[1] == str(project.directory) and ".env.staging" in words
    if words[0] == "make":
        needed = ["ENVIRONMENT=staging", f"PROJECT_DIRECTORY={project.directory}"]
        return all(word in words for word in needed) and (project.here == PROJECT or words[1:3] == ["-C", str(PROJECT)])
    script = os.path.join(project.here, words[0])
    flags = ["--project-directory", str(project.directory), *project.options]
    given = [os.path.join(project.here, word) if os.path.exists(project.here / word) else word for word in words]
    return os.access(script, os.X_OK) and all(flag in given for flag in flags)


def check(project: Project, *texts: str) -> int:
    """Refuse a command of another deployment; returns how many commands there were."""
    commands = list(lines_of(*texts))
    assert [command for command in commands if not names_deployment(command, project)] == []
    return len(commands)


def fails(project: Project, name: str, *arguments: str, standard_input: str = "", **environ: str) -> int:
    done = project.run(name, *arguments, standard_input=standard_input, environ=environ)
    assert done.returncode in (1, 2, 125), (arguments, done.stdout, done.stderr)
    assert done.stderr.startswith(("error: ", "warning: "))
    assert "Unexpected" not in done.stderr, done.stderr
    count = check(project, done.stdout, done.stderr)
    assert count, (name, arguments, done.stderr)
    return count


MANAGE, SET_UP, WRITE = "manage_secrets.py", "setup_secrets.py", "generate_docker_secrets.sh"


def test_before_there_is_anything(staging: Project) -> None:
    for arguments in (("status",), ("get", "SECRET_KEY"), ("rotate", "--due"), ("backup",), ("history", "SECRET_KEY")):
        assert fails(staging, MANAGE, *arguments) >= 2
    assert fails(staging, WRITE) >= 2
    assert fails(staging, WRITE, "--check") >= 2
    done = staging.run(MANAGE, "doctor")
    assert staging.settings_file.exists() or (done.returncode, check(staging, done.stdout)) == (1, 1)


def test_each_error_of_a_deployment_that_is_there(staging: Project, tmp_path: Path) -> None:
    staging.set_up()
    assert fails(staging, MANAGE, "export", "--only", "SMTP_PASSWORD", "--only", "TWILIO_SID") == 3
    assert fails(staging, MANAGE, "get", "SMTP_PASSWORD") >= 2
    assert fails(staging, MANAGE, "get", "NO_SUCH_NAME")
    assert fails(staging, MANAGE, "set", "SMTP_PASSWORD=canary-4711") >= 2
    assert fails(staging, MANAGE, "set", "TWILIO_SID", standard_input="AC1") >= 1
    assert fails(staging, MANAGE, "set")
    assert fails(staging, MANAGE, "statsu")
    assert fails(staging, MANAGE, "rollback", "SECRET_KEY", "--yes") == 2
    assert fails(staging, MANAGE, "restore", str(tmp_path / "none"), "--passphrase-file", str(staging.key_file))
    assert fails(staging, MANAGE, "doctor", "--only", "nothing")
    assert fails(staging, WRITE, "--check") == 2
    assert fails(staging, WRITE, "--cloud") == 1
    assert fails(staging, WRITE, "--chek")
    assert fails(staging, SET_UP, "--non-interactive", "--import", str(tmp_path / "none"))
    assert fails(staging, MANAGE, "rotate-master-key", "--yes", SECRETS_MASTER_KEY=staging.key_file.read_text().strip())
    staging.run(WRITE)
    manage(staging, "set", "SECRET_KEY", "--generate")
    assert fails(staging, WRITE, "--check") == 2
    staging.journal.write_text("{")
    assert fails(staging, MANAGE, "rotate", "--yes") == 2
    staging.journal.unlink()
    good, backup = staging.secrets_file.read_bytes(), Path(f"{staging.secrets_file}.bak").read_bytes()
    for content in (b"nothing of the kind", backup[:-20] + backup[-20:].swapcase(), b""):
        write_read_only(staging.secrets_file, content)
        assert fails(staging, MANAGE, "status")
        assert fails(staging, WRITE)
    write_read_only(staging.secrets_file, good)
    other_key = tmp_path / "other.key"
    write_read_only(other_key, "A" * 43 + "=\n")
    text = staging.settings_file.read_text()
    staging.settings_file.write_text(text.replace(str(staging.key_file), str(other_key)))
    assert fails(staging, MANAGE, "status") >= 2
    staging.settings_file.write_text("SECRETS_BACKEND=aws\n")
    nobody = {"AWS_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true"}
    assert fails(staging, MANAGE, "status", **nobody) == 2
    staging.settings_file.write_text("SECRETS_BACKEND=vault\nVAULT_ADDR=http://127.0.0.1:1\nVAULT_TOKEN=x\n")
    assert fails(staging, MANAGE, "status") == 1
    command = [*staging.script(MANAGE, "run"), "--", "true", "--environment", "lab"]
    done = subprocess.run(command, cwd=staging.here, env=staging.environ(), capture_output=True, text=True, check=False)
    assert (done.returncode, check(staging, done.stderr)) == (125, 1)
    staging.settings_file.write_text("SECRETS_BACKEND=azure\n")
    assert fails(staging, MANAGE, "status") == 1


def test_what_comes_next_when_it_worked(staging: Project, tmp_path: Path) -> None:
    staging.set_up()
    assert staging.run(WRITE).returncode == 0
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a passphrase of some length")
    made = manage(staging, "backup", "--passphrase-file", str(passphrase), "--output", f"{tmp_path}/a backup")
    assert check(staging, made.stdout) == 1
    assert check(staging, manage(staging, "set", "SMTP_PASSWORD", standard_input="Qk7-violet-otter-91").stdout) == 1
    assert check(staging, manage(staging, "rotate", "ADMIN_PASSWORD", "SMTP_PASSWORD", "--yes").stdout) == 3
    assert check(staging, manage(staging, "rollback", "ADMIN_PASSWORD", "--yes").stdout) == 1
    assert check(staging, manage(staging, "rotate-master-key", "--yes").stdout) == 1
    manage(staging, "set", "JWT_SECRET_KEY", "--generate")
    assert check(staging, manage(staging, "status").stdout) == 2
    restore = ("restore", f"{tmp_path}/a backup", "--passphrase-file", str(passphrase), "--yes")
    assert check(staging, manage(staging, *restore).stdout) == 1
    # What is shown is typed as it stands.
    shown = next(lines_of(made.stdout))
    typed = subprocess.run(
        ["bash", "-c", f"{shown} --passphrase-file {shlex.quote(str(passphrase))} --yes"],
        cwd=staging.here,
        env=staging.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert typed.returncode == 0, typed.stderr


@pytest.fixture
def broken_stack(staging: Project, tmp_path: Path) -> dict[str, str]:
    """A stack of which nothing works."""
    make_healthy(staging)
    for name in ("docker", "docker-compose"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(DOCKER)
        (tmp_path / "bin" / name).chmod(0o755)
    compose_file(staging, "services:", "services:")
    (tmp_path / "config.json").write_text('{"name": "x", "services": {}}')
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CONFIGURATION": str(tmp_path / "config.json")}


def test_a_stack_of_which_nothing_works(staging: Project, broken_stack: dict[str, str], tmp_path: Path) -> None:
    checks = ("unhealthy", "stale-containers", "database-password", "redis-password")
    done = staging.run(MANAGE, "doctor", *(f"--only={name}" for name in checks), environ=broken_stack)
    assert done.returncode == 1
    assert check(staging, done.stdout) == 6
    assert {name for name in checks if f"{name}: " in done.stdout} == set(checks)
    for names in (("WEBHOOK_SECRET",), ("DATABASE_PASSWORD",), ("REDIS_PASSWORD",)):
        assert fails(staging, MANAGE, "rotate", *names, "--yes", **broken_stack) >= 2
        done = staging.run(MANAGE, "rotate", *names, "--yes", environ=broken_stack)
        assert "not today" in done.stderr
        assert "hint: come again" in done.stderr
    assert not staging.journal.exists()  # nothing was begun
    (tmp_path / "config.json").write_text("")
    shutil.move(tmp_path / "config.json", tmp_path / "gone.json")
    done = staging.run(MANAGE, "doctor", "--only", "compose-missing", environ=broken_stack)
    assert "could not run: Docker Compose does not understand docker-compose.yml" in done.stdout
    assert check(staging, done.stdout) == 1


def test_a_database_that_is_not_told(staging: Project, broken_stack: dict[str, str], tmp_path: Path) -> None:
    for name in ("docker", "docker-compose"):
        (tmp_path / "bin" / name).write_text(DOCKER.replace("in app postgres redis", "in app"))
    assert fails(staging, MANAGE, "rotate", "DATABASE_PASSWORD", "--yes", **broken_stack) == 3


def test_each_finding_of_the_doctor(staging: Project, tmp_path: Path) -> None:
    make_healthy(staging)
    roots = (staging.directory, staging.home)
    for root in roots:
        shutil.copytree(root, tmp_path / "kept" / root.name, symlinks=True)
    settings = staging.settings_file.read_text()
    for name in PLANTED:
        if name in ELSEWHERE or name in STACK_CHECKS:
            continue
        if staging.options[2:] and name in ("shared", "gitignore", "git-history", "git-tracked", "plaintext"):
            continue  # about files of the project's folder
        PLANTED[name](staging)
        done = staging.run(MANAGE, "doctor", "--only", name)
        assert done.returncode == 1, (name, done.stdout, done.stderr)
        assert f"{name}: " in done.stdout
        rows = json.loads(staging.run(MANAGE, "doctor", "--only", name, "--json").stdout)
        assert rows[0]["command"] == rows[0]["commands"][0]
        shown = [command for row in rows for command in row["commands"]]
        check(staging, done.stdout, *shown)
        for root in roots:
            shutil.rmtree(root)
            shutil.copytree(tmp_path / "kept" / root.name, root, symlinks=True)
        staging.settings_file.write_text(settings)
        staging.settings_file.chmod(0o600)


def test_a_hint_for_staging_that_is_typed_changes_staging_and_nothing_else(staging: Project) -> None:
    staging.set_up()
    production = neighbour(staging)
    production.set_up()
    before = production.state()
    said = error_of(staging.run(MANAGE, "export", "--only", "SMTP_PASSWORD"))
    hint = said.splitlines()[1].removeprefix("hint: ")
    assert " set SMTP_PASSWORD --environment staging " in hint
    done = subprocess.run(
        ["bash", "-c", hint],
        cwd=staging.here,
        env=staging.environ(),
        input="what the provider issued\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    after = production.state()
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    name = str(staging.secrets_file)
    assert changed == {name, f"{name}.bak", f"{name}.sum"}
    assert staging.values()["SMTP_PASSWORD"] == "what the provider issued"
    assert "SMTP_PASSWORD" not in production.values()


def test_a_path_in_a_hint_is_typed_from_where_the_person_is(staging: Project) -> None:
    staging.set_up()
    staging.key_file.chmod(0o440)
    hint = error_of(staging.run(MANAGE, "status")).splitlines()[1].partition(": Close it: ")[2]
    subprocess.run(["bash", "-c", hint], cwd=staging.here, env=staging.environ(), check=True)
    assert staging.key_file.stat().st_mode & 0o777 == 0o400
    assert staging.run(MANAGE, "status").returncode == 0
