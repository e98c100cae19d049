"""Every check of the doctor finds the fault that is planted for it, and finds nothing in a healthy deployment."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from src.ops.doctor import CHECKS
from src.utils.secrets.command import manage as manage_secrets
from src.utils.secrets.command import set_up
from tests.conftest import Project
from tests.support.commands import manage, typed
from tests.support.findings import ELSEWHERE, PLANTED, STACK_CHECKS, compose_file, make_healthy

# Commands that would destroy a file permanently if the user copies them.
DESTROYS = re.compile(r"\b(shred|rm|rmdir|dd|truncate|mkfs\S*|unlink)\b(?! --cached)|(?<![>2])>(?!>)")


@pytest.fixture
def healthy(project: Project) -> Project:
    """A healthy deployment with git, Docker files and another environment."""
    return make_healthy(project)


def doctor(project: Project, *arguments: str, **options: dict[str, str]) -> list[dict[str, object]]:
    done = project.run("manage_secrets.py", "doctor", "--json", *arguments, **options)  # type: ignore[arg-type]
    assert done.returncode in (0, 1), done.stderr
    findings: list[dict[str, object]] = json.loads(done.stdout)
    assert done.returncode == (1 if [f for f in findings if not f["mended"]] else 0)
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


def test_offline_it_touches_neither_the_store_nor_docker(healthy: Project, tmp_path: Path) -> None:
    PLANTED["store"](healthy)
    fake = tmp_path / "bin/docker"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    fake.chmod(0o755)
    environ = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}
    findings = doctor(healthy, "--offline", environ=environ)
    assert [finding["check"] for finding in findings] == ["secrets-file-checksum"]
    assert not (tmp_path / "called").exists()


def test_the_checks_are_listed_with_their_reasons(project: Project) -> None:
    text = manage(project, "doctor", "--list").stdout
    assert all(name in text for name in CHECKS)
    assert "no check has such a name" in project.run("manage_secrets.py", "doctor", "--only", "nothing").stderr
