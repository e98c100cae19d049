"""Every check of the doctor finds the fault that is planted for it, and finds nothing in a healthy deployment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import sys
from pathlib import Path

import pytest

from src.ops.doctor import CHECKS, Harm
from src.utils.secrets.command import manage as manage_secrets
from src.utils.secrets.command import set_up
from tests.conftest import Project, need_root
from tests.support.commands import manage, typed
from tests.support.files import everything
from tests.support.findings import (
    ELSEWHERE,
    PLANTED,
    STACK_CHECKS,
    at,
    compose_file,
    make_healthy,
    neighbour,
    rewrite,
)
from tests.support.kept import Kept

# Commands that would destroy a file permanently if the user copies them.
DESTROYS = re.compile(r"\b(shred|rm|rmdir|dd|truncate|mkfs\S*|unlink)\b(?! --cached)|(?<![>2])>(?!>)")


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("healthy"), make_healthy)


@pytest.fixture
def healthy(kept: Kept) -> Project:
    """A healthy deployment with git, Docker files and another environment."""
    return kept.put_back()


def doctor(project: Project, *arguments: str, **options: dict[str, str]) -> list[dict[str, object]]:
    done = project.run("manage_secrets.py", "doctor", "--json", *arguments, **options)  # type: ignore[arg-type]
    assert done.returncode in (0, 1), done.stderr
    findings: list[dict[str, object]] = json.loads(done.stdout)
    assert done.returncode == (1 if [f for f in findings if not f["mended"]] else 0)
    assert all(finding["command"] == finding["commands"][0] for finding in findings)  # type: ignore[index]
    assert not [name for name, value in values_of(project).items() if len(value) > 8 and value in done.stdout]
    return findings


def values_of(project: Project) -> dict[str, str]:
    try:
        return project.values()
    except Exception:  # noqa: BLE001 - the planted fault may be that nothing opens
        return {}


def test_every_check_has_its_planted_fault() -> None:
    assert len(CHECKS) >= 30
    assert set(CHECKS) - set(PLANTED) - set(ELSEWHERE) == set()


@pytest.mark.parametrize("check", [name for name in PLANTED if name not in ELSEWHERE])
def test_the_doctor_finds_nothing_until_a_fault_is_planted(check: str, healthy: Project) -> None:
    if check in STACK_CHECKS:
        from tests.support.engine import need_engine

        need_engine()
        compose_file(healthy, "services:", "services:")
    environ = {"DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG") or str(Path("~/.docker").expanduser())}
    assert doctor(healthy, "--only", check, environ=environ) == []
    PLANTED[check](healthy)
    findings = doctor(healthy, "--only", check, environ=environ)
    assert {finding["check"] for finding in findings} == {check}, findings
    assert findings[0]["command"]
    assert "could not run" not in str(findings[0]["finding"])
    commands = [str(command) for finding in findings for command in finding["commands"]]  # type: ignore[attr-defined]
    if check == "docker-files-extra":
        # The one check that names what to remove: after a look at it, and only what no secret of the catalogue needs.
        look, *commands = commands
        assert look.startswith("ls -ld ")
        commands = [command.replace("rm -- ", "") for command in commands]
    assert not any(map(DESTROYS.search, commands)), commands


def test_a_healthy_deployment_has_no_findings(healthy: Project) -> None:
    assert doctor(healthy) == []
    assert "nothing wrong" in manage(healthy, "doctor").stdout
    assert "nothing wrong" in manage(healthy, "doctor", "--offline").stdout


def test_a_small_disk_is_noticed(project: Project, small_disk: Path) -> None:
    shutil.copytree(project.directory, small_disk / "project")
    findings = doctor(Project(small_disk / "project", project.home), "--only", "disk-space")
    assert [finding["check"] for finding in findings] == ["disk-space"]


@pytest.mark.parametrize(
    "check",
    ["settings-mode", "secrets-file-mode", "master-key-mode", "master-key-folder", "docker-files-mode", "temporaries"],
)
def test_doctor_fix_fixes_what_is_safe_to_fix(check: str, healthy: Project) -> None:
    PLANTED[check](healthy)
    assert [finding["mended"] for finding in doctor(healthy, "--only", check, "--fix")] == [True]
    assert doctor(healthy, "--only", check) == []


PLAIN = {
    "old.env": ("# copied\nexport SECRET_KEY='something'\nPATH=/bin\nREDIS_PASSWORD=x\n", [2, 4]),
    ".env.bak": ("SECRETS_BACKEND=environment\nSECRET_KEY=something\n", [2]),
    ".env.production.old": ("SMTP_PASSWORD=x\n", [1]),
    "all.json": ('{"version": 1,\n "secrets": {"SECRET_KEY": "x",\n "REDIS_PASSWORD": "y"}}', [2, 3]),
    "values.yaml": ("SECRET_KEY: abc\n", [1]),
}
HARMLESS = {
    ".env.example": "SECRET_KEY=something\n",
    "empty.env": "SECRET_KEY=\nREDIS_PASSWORD=  # not set\n",
    "compose.yml": "SECRET_KEY_FILE: /run/secrets/x\nREDIS_PASSWORD: ${REDIS_PASSWORD}\n",
    "names.json": '{"SECRET_KEY": ""}',
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_text_is_reported_by_line_and_no_hint_destroys_a_file(name: str, healthy: Project) -> None:
    text, lines = PLAIN[name]
    (healthy.directory / name).write_text(text)
    (finding,) = doctor(healthy, "--only", "plaintext")
    assert f"{name} holds secrets in plain text" in str(finding["finding"])
    numbers = ", ".join(map(str, lines))
    assert f"Remove line{'s' if len(lines) > 1 else ''} {numbers} of it, and rotate" in str(finding["finding"])
    assert finding["commands"] == [finding["command"]]
    names = re.findall(r"[A-Z]+_[A-Z]+", text.replace("SECRETS_BACKEND", ""))
    assert finding["command"] == typed(healthy, manage_secrets("rotate", *names))


def test_files_without_a_value_are_left_alone(healthy: Project) -> None:
    for name, text in HARMLESS.items():
        (healthy.directory / name).write_text(text)
    assert doctor(healthy, "--only", "plaintext") == []


def test_plain_text_in_the_dotenv_store_of_another_environment_is_allowed(healthy: Project) -> None:
    healthy.set_up("--environment", "lab", "--backend", "env")
    assert "SECRET_KEY=" in (healthy.directory / ".env.lab").read_text()
    assert doctor(healthy, "--only", "plaintext") == []


def test_for_a_secret_in_composes_env_only_its_line_is_to_be_removed(healthy: Project) -> None:
    with (healthy.directory / ".env").open("a") as file:
        file.write("SECRETS_DIR=./secrets\nDATABASE_PASSWORD=x\n")
    number = (healthy.directory / ".env").read_text().splitlines().index("DATABASE_PASSWORD=x") + 1
    (finding,) = doctor(healthy, "--only", "plaintext")
    assert f"Remove line {number} of it" in str(finding["finding"])
    assert finding["command"] == typed(healthy, manage_secrets("rotate", "DATABASE_PASSWORD"))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"names": None},
        {"names": []},
        {"names": "SECRET_KEY"},
        {"names": [1]},
        {"names": {"a": 1}},
        {"names": ["A"], "revision": 5},
    ],
)
def test_a_journal_without_names_is_one_finding_and_one_error(content: dict[str, object], healthy: Project) -> None:
    path = healthy.home / ".local/state/cctv-face-detection/rotate-production.json"
    path.write_text(json.dumps({"project": str(healthy.directory)} | content))
    findings = doctor(healthy)
    assert [finding["check"] for finding in findings] == ["journal"]
    assert "cannot be understood" in str(findings[0]["finding"])
    done = healthy.run("manage_secrets.py", "rotate", "SECRET_KEY", "--yes")
    assert done.returncode == 1
    assert "error: The journal" in done.stderr
    assert "Unexpected" not in done.stderr
    assert not DESTROYS.search(done.stderr)


def test_a_failed_check_is_a_finding_and_the_other_checks_run(
    healthy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from src.ops.deployment.deployment import Deployment
    from src.ops.doctor import examine

    def broken(context: object) -> object:
        raise KeyError("canary-4711")

    PLANTED["settings-mode"](healthy)
    monkeypatch.setitem(CHECKS, "journal", dataclasses.replace(CHECKS["journal"], function=broken))  # type: ignore[arg-type]
    deployment = Deployment.locate(project_directory=str(healthy.directory), environ={"HOME": str(healthy.home)})
    findings = {finding.check.id: finding for finding in examine(deployment, offline=True).findings if finding.check}
    assert set(findings) == {"journal", "settings-mode"}
    assert "this check could not run: an internal error, KeyError at test_doctor.py" in findings["journal"].message
    assert "canary" not in findings["journal"].message


def test_without_a_set_up_it_says_where_to_begin(project: Project) -> None:
    assert [finding["command"] for finding in doctor(project, "--only", "settings")] == [typed(project, set_up())]


# --- Looking without a server, without Docker, without git ---------------------------------------------------------


def test_offline_looks_at_everything_local(healthy: Project) -> None:
    PLANTED["compose-settings"](healthy)
    assert [finding["check"] for finding in doctor(healthy, "--offline")] == ["compose-settings"]
    healthy.key_file.unlink()
    (finding, other) = doctor(healthy, "--offline")
    assert (finding["check"], other["check"]) == ("store", "compose-settings")
    assert "cannot be read: No such file or directory" in str(finding["finding"])


def test_offline_finds_a_secrets_file_that_is_missing(healthy: Project) -> None:
    healthy.secrets_file.unlink()
    (finding,) = doctor(healthy, "--offline")
    assert "secrets.enc does not exist" in str(finding["finding"])


def test_offline_touches_neither_a_server_nor_docker(healthy: Project, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        vault = f"SECRETS_BACKEND=vault\nVAULT_ADDR=http://127.0.0.1:{server.getsockname()[1]}\nVAULT_TOKEN_FILE=x\n"
        compose_file(healthy, "services:", "services:")
        fake = programs(tmp_path, docker=f"touch '{tmp_path}/called'")
        for path in (healthy.directory / ".env.staging", healthy.settings_file):  # the other environment's is left, too
            path.write_text(vault)
            assert doctor(healthy, "--offline", environ=fake) == []
            said = manage(healthy, "doctor", "--offline", environ=fake).stdout  # type: ignore[arg-type]
            assert "nothing wrong; " in said
            assert "were not made: --offline leaves out servers and Docker." in said
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not (tmp_path / "called").exists()


def programs(folder: Path, *names: str, **scripts: str) -> dict[str, str]:
    """The variables of a shell with programs of our own; only with these and ``names``, where any are given."""
    path = folder / "bin"
    path.mkdir()
    for name in names:
        scripts[name] = f'exec {shlex.quote(shutil.which(name) or name)} "$@"'
    for name, script in scripts.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    return {"PATH": str(path) if names else f"{path}:{os.environ['PATH']}"}


PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (("git",), "8 were not made: no Docker on this machine."),
        ((), "11 were not made: git is not installed (3), no Docker on this machine (8)."),
    ],
)
def test_what_was_not_looked_at_is_counted_with_the_reason(
    names: tuple[str, ...], reasons: str, healthy: Project, tmp_path: Path
) -> None:
    compose_file(healthy, "services:", "services:")
    environ = programs(tmp_path, "env", *names, python3=PYTHON)
    said = manage(healthy, "doctor", environ=environ).stdout  # type: ignore[arg-type]
    made = len(CHECKS) - int(reasons.partition(" ")[0])
    assert " ".join(said.split()) == f"✓ {made} checks, nothing wrong; {reasons}"
    said = manage(healthy, "doctor", "--only", "unhealthy", environ=environ).stdout  # type: ignore[arg-type]
    assert said.strip() == "! No check was made; 1 was not made: no Docker on this machine."


@pytest.mark.parametrize("compose", ["exit 0", "exit 1"])
def test_a_docker_that_does_not_answer_is_one_finding(compose: str, healthy: Project, tmp_path: Path) -> None:
    compose_file(healthy, "services:", "services:")
    failing = f'case "$*" in *version*) {compose} ;; esac\necho Cannot connect >&2\nexit 1'
    environ = programs(tmp_path, **{"docker": failing, "docker-compose": failing})
    (finding,) = doctor(healthy, environ=environ)
    assert (finding["check"], finding["harm"]) == ("docker", "broken")
    assert "the containers could not be looked at" in str(finding["finding"])
    assert finding["commands"][-1] == "docker info"  # type: ignore[index]
    assert [one["check"] for one in doctor(healthy, "--only", "unhealthy", environ=environ)] == ["docker"]
    said = healthy.run("manage_secrets.py", "doctor", environ=environ).stdout
    assert "7 were not made: Docker does not answer (4), see above (3)." in said


def test_a_check_that_needs_the_store_says_why_it_was_not_made(healthy: Project) -> None:
    PLANTED["store"](healthy)
    assert [finding["check"] for finding in doctor(healthy, "--only", "weak")] == ["store"]
    done = healthy.run("manage_secrets.py", "doctor", "--only", "weak")
    assert done.stdout.splitlines()[-1] == "! 1 check; 1 was not made: the store cannot be read."


def test_another_environment_that_cannot_be_read_is_a_finding(healthy: Project) -> None:
    neighbour(healthy).key_file.unlink()
    (finding,) = doctor(healthy)
    assert finding["check"] == "shared"
    assert "staging could not be compared" in str(finding["finding"])
    assert finding["command"] == typed(healthy, manage_secrets("doctor", environment="staging"))
    (healthy.directory / ".env.test").write_text("NODE_ENV=test\n")  # of no environment of ours
    assert len(doctor(healthy)) == 1


def test_a_git_that_refuses_is_a_finding(healthy: Project) -> None:
    need_root()
    os.chown(healthy.directory / ".git", 12345, 12345)
    os.chown(healthy.directory, 12345, 12345)
    findings = [finding for finding in doctor(healthy) if str(finding["check"]).startswith("git")]
    assert len(findings) == 1
    assert "git does not answer: detected dubious ownership" in str(findings[0]["finding"])


def test_a_folder_that_cannot_be_looked_into_is_one_finding(healthy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.ops.deployment.deployment import Deployment
    from src.ops.doctor import examine

    look = os.listdir

    def refuse(path: str) -> list[str]:
        if path == str(healthy.docker_directory):
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "listdir", refuse)
    deployment = Deployment.locate(project_directory=str(healthy.directory), environ={"HOME": str(healthy.home)})
    examination = examine(deployment, offline=True)
    (finding,) = examination.findings
    assert finding.message == f"this check could not run: {healthy.docker_directory}: Permission denied"
    assert list(examination.not_made.values()).count("see above") == 3


@pytest.mark.parametrize(
    ("services", "reason"),
    [("postgres redis", "the app does not run"), ("app postgres redis", "Docker does not say when the app started")],
)
def test_what_the_containers_do_not_say_is_counted(
    services: str, reason: str, healthy: Project, tmp_path: Path
) -> None:
    compose_file(healthy, "services:", "services:")
    rows = "\n".join(f"""echo '{{"Service":"{name}","State":"running","ID":"1"}}'""" for name in services.split())
    (tmp_path / "config.json").write_text('{"services": {}}')
    script = f'case "$*" in *" ps "*) {rows} ;; *" config "*) cat "{tmp_path}/config.json" ;; esac\nexit 0'
    environ = programs(tmp_path, docker=script)
    assert reason in manage(healthy, "doctor", environ=environ).stdout  # type: ignore[arg-type]


# --- One finding for one cause, the worst first ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["settings", "master-key-mode", "master-key-folder", "secrets-file-owner"])
def test_what_follows_from_a_finding_is_not_another_one(name: str, healthy: Project) -> None:
    PLANTED[name](healthy)
    assert [finding["check"] for finding in doctor(healthy)] == [name]


def test_a_secret_is_reported_once_for_the_worst_of_its_faults(healthy: Project) -> None:
    example = {"WEBHOOK_SECRET": "changeme", "SMTP_PASSWORD": "changeme"}
    rewrite(healthy, example, {"WEBHOOK_SECRET": {"updated_at": at(-91), "previous": []}})
    findings = doctor(healthy)
    assert {str(finding["finding"]) for finding in findings} == {f"{name} is a placeholder" for name in example}
    rewrite(healthy, {}, {"SECRET_KEY": {"updated_at": at(-91), "previous": []}})
    assert [finding["check"] for finding in doctor(healthy)] == ["placeholder", "placeholder", "overdue"]


def test_the_worst_comes_first(healthy: Project) -> None:
    for name in ("lost-files", "overdue", "compose-settings", "docker-files-mode"):
        PLANTED[name](healthy)
    (healthy.docker_directory / "db_password.txt").chmod(0o444)
    harms = [finding["harm"] for finding in doctor(healthy)]
    assert harms == ["exposed", "broken", "weak", "untidy"]
    assert [str(harm) for harm in Harm] == ["lost", "exposed", "broken", "weak", "untidy"]
    assert {check.harm for check in CHECKS.values()} == set(Harm)


def test_checks_that_are_followed_exist() -> None:
    assert {name for check in CHECKS.values() for name in check.follows} <= set(CHECKS)


FOLDERS = {
    "settings": lambda project: project.settings_file,
    "settings ": lambda project: project.compose_file,
    "secrets-file-checksum": lambda project: project.secrets_file.with_suffix(".enc.sum"),
    "store": lambda project: project.secrets_file,
    "store ": lambda project: project.key_file,
    "gitignore": lambda project: project.directory / ".gitignore",
    "dockerignore": lambda project: project.directory / ".dockerignore",
    "audit-trail": lambda project: project.home / ".local/state/cctv-face-detection/audit.jsonl",
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_in_the_place_of_a_file_is_one_finding(case: str, healthy: Project) -> None:
    path = FOLDERS[case](healthy)
    path.unlink()
    path.mkdir()
    assert [finding["check"] for finding in doctor(healthy)] == [case.strip()]


# --- Reading ---------------------------------------------------------------------------------------------------------

WAYS = ((), ("--offline",), ("--json",), ("--list",), ("--only", "store"))


def test_reading_makes_nothing(project: Project) -> None:
    (project.directory / ".env.production").write_text("SECRETS_BACKEND=file\n")
    before = everything(project)
    for way in WAYS:
        project.run("manage_secrets.py", "doctor", *way)
    assert everything(project) == before


def test_reading_changes_nothing(healthy: Project) -> None:
    for name in ("store", "temporaries", "settings-mode", "docker-files-extra"):
        PLANTED[name](healthy)
    before = everything(healthy)
    for way in WAYS:
        healthy.run("manage_secrets.py", "doctor", *way)
    assert everything(healthy) == before


def test_the_checks_are_listed_with_their_reasons(project: Project) -> None:
    text = manage(project, "doctor", "--list").stdout
    assert all(re.search(rf"^{name} +{check.harm} ", text, re.MULTILINE) for name, check in CHECKS.items())
    assert "no check has such a name" in project.run("manage_secrets.py", "doctor", "--only", "nothing").stderr
