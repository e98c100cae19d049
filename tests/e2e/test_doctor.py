"""Every check of the doctor finds the fault that is planted for it, and finds nothing in a healthy deployment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.ops.doctor import CHECKS
from tests.conftest import PROJECT, Project, need_root
from tests.support.commands import manage
from tests.support.files import write_read_only

Plant = Callable[[Project], None]
STACK_CHECKS = {check.id for check in CHECKS.values() if check.needs == "stack"}
PLANTED: dict[str, Plant] = {}


def plants(check: str) -> Callable[[Plant], Plant]:
    def register(function: Plant) -> Plant:
        PLANTED[check] = function
        return function

    return register


# Commands that would destroy a file permanently if the user copies them.
DESTROYS = re.compile(r"\b(shred|rm|rmdir|dd|truncate|mkfs\S*|unlink)\b(?! --cached)|(?<![>2])>(?!>)")


@pytest.fixture
def healthy(project: Project) -> Project:
    """A healthy deployment with git, Docker files and another environment."""
    for name in (".gitignore", ".dockerignore", "Dockerfile", "requirements.txt", "requirements-secrets.txt"):
        shutil.copy(PROJECT / name, project.directory / name)
    git(project, "init", "--quiet")
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    project.set_up("--environment", "staging")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "first")
    return project


def git(project: Project, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=project.directory, check=True, capture_output=True)


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


def rewrite(project: Project, values: dict[str, str], metadata: dict[str, object] | None = None) -> None:
    content = project.decrypt()
    content["secrets"] |= values  # type: ignore[operator]
    content["metadata"] |= metadata or {}  # type: ignore[operator]
    key = project.key_file.read_text().strip()
    write_read_only(project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    project.secrets_file.with_suffix(".enc.sum").unlink()


def at(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def settings(project: Project, line: str) -> None:
    with (project.directory / ".env.production").open("a") as file:
        file.write(f"{line}\n")


# --- The faults ------------------------------------------------------------------------------------------------------


@plants("settings")
def _(project: Project) -> None:
    settings(project, "SECRETS_CACHE_TTL=soon")


@plants("settings-mode")
def _(project: Project) -> None:
    (project.directory / ".env.production").chmod(0o644)


@plants("settings-secret")
def _(project: Project) -> None:
    settings(project, "VAULT_TOKEN=s.abcdef")


@plants("dotenv-mode")
def _(project: Project) -> None:
    (project.directory / ".env").write_text("SECRET_KEY=x\n")
    (project.directory / ".env").chmod(0o644)


@plants("secrets-file-mode")
def _(project: Project) -> None:
    project.secrets_file.chmod(0o644)


@plants("secrets-file-owner")
def _(project: Project) -> None:
    need_root()
    os.chown(project.secrets_file, 12345, 12345)


@plants("secrets-file-checksum")
def _(project: Project) -> None:
    path = project.secrets_file.with_suffix(".enc.sum")
    path.write_text(path.read_text().replace(path.read_text().split()[4][:4], "0000"))


@plants("master-key-mode")
def _(project: Project) -> None:
    project.key_file.chmod(0o440)


@plants("master-key-folder")
def _(project: Project) -> None:
    project.key_file.parent.chmod(0o777)


@plants("master-key-apart")
def _(project: Project) -> None:
    key = project.directory / "config/master.key"
    shutil.copy2(project.key_file, key)
    path = project.directory / ".env.production"
    path.write_text(path.read_text().replace(str(project.key_file), str(key)))


@plants("master-key-two")
def _(project: Project) -> None:
    project.key_file.chmod(0o600)
    project.key_file.write_text(f"{project.key_file.read_text().strip()},{Fernet.generate_key().decode()}\n")
    project.key_file.chmod(0o400)


@plants("old-master-keys")
def _(project: Project) -> None:
    manage(project, "rotate-master-key", "--yes")
    old = next(project.key_file.parent.glob("*.old-*"))
    os.utime(old, (time.time() - 31 * 86400,) * 2)


@plants("lost-files")
def _(project: Project) -> None:
    (project.directory / "config/secrets.enc.lost-2026-01-01T000000Z").touch(0o400)


@plants("journal")
def _(project: Project) -> None:
    path = project.home / ".local/state/cctv-face-detection/rotate-production.json"
    path.write_text(json.dumps({"project": str(project.directory), "names": ["SECRET_KEY"]}))


@plants("temporaries")
def _(project: Project) -> None:
    (project.directory / "config/.secrets.enc.4194999-0000000000000000.tmp").touch(0o600)


@plants("docker-files-mode")
def _(project: Project) -> None:
    (project.directory / "secrets/db_password.txt").chmod(0o444)


@plants("docker-folder-mode")
def _(project: Project) -> None:
    (project.directory / "secrets").chmod(0o755)


@plants("docker-files-extra")
def _(project: Project) -> None:
    (project.directory / "secrets/old_token.txt").touch(0o400)


@plants("docker-files")
def _(project: Project) -> None:
    manage(project, "set", "SECRET_KEY", "--generate")


@plants("docker-files-example")
def _(project: Project) -> None:
    path = project.directory / "secrets/jwt_secret_key.txt"
    path.chmod(0o600)
    path.write_text("your-jwt-secret-key-here")


@plants("plaintext")
def _(project: Project) -> None:
    (project.directory / "old.env").write_text("export SECRET_KEY='something'\n")


@plants("disk-space")
def _(project: Project) -> None:
    """See the test below: it needs a small disk."""


@plants("audit-trail")
def _(project: Project) -> None:
    path = project.home / ".local/state/cctv-face-detection/audit.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = json.loads(lines[0]) | {"result": "failed: of somebody else"}
    path.write_text("".join([json.dumps(changed) + "\n", *lines[1:]]))


@plants("packages")
def _(project: Project) -> None:
    path = project.directory / "requirements-secrets.txt"
    path.write_text(path.read_text() + "\nclick==0.1\n")


@plants("git-tracked")
def _(project: Project) -> None:
    git(project, "add", "--force", "config/secrets.enc")


@plants("git-history")
def _(project: Project) -> None:
    git(project, "add", "--force", ".env.production")
    git(project, "commit", "--quiet", "--message", "a mistake")
    git(project, "rm", "--quiet", "--cached", ".env.production")
    git(project, "commit", "--quiet", "--message", "mended, or so it seems")


@plants("gitignore")
def _(project: Project) -> None:
    (project.directory / ".gitignore").write_text("/secrets/\n*.enc\n.env\n")


@plants("dockerignore")
def _(project: Project) -> None:
    (project.directory / ".dockerignore").write_text(".git\n")


@plants("store")
def _(project: Project) -> None:
    write_read_only(project.secrets_file, Fernet(Fernet.generate_key()).encrypt(b"{}"))


@plants("missing")
def _(project: Project) -> None:
    content = project.decrypt()
    del content["secrets"]["SECRET_KEY"]  # type: ignore[attr-defined]
    key = project.key_file.read_text().strip()
    write_read_only(project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    project.secrets_file.with_suffix(".enc.sum").unlink()


@plants("incomplete-feature")
def _(project: Project) -> None:
    rewrite(project, {"TWILIO_SID": "AC1"})


@plants("placeholder")
def _(project: Project) -> None:
    rewrite(project, {"SMTP_PASSWORD": "changeme"})


@plants("weak")
def _(project: Project) -> None:
    rewrite(project, {"WEBHOOK_SECRET": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})


@plants("reused")
def _(project: Project) -> None:
    rewrite(project, {"WEBHOOK_SECRET": project.values()["REDIS_PASSWORD"]})


@plants("shared")
def _(project: Project) -> None:
    (project.directory / "x.json").write_text(json.dumps({"JWT_SECRET_KEY": project.values()["JWT_SECRET_KEY"]}))
    project.set_up("--environment", "staging", "--import", "x.json", "--replace")
    (project.directory / "x.json").unlink()


@plants("overdue")
def _(project: Project) -> None:
    rewrite(project, {}, {"SECRET_KEY": {"updated_at": at(-91), "previous": []}})


@plants("unknown-names")
def _(project: Project) -> None:
    rewrite(project, {"FORGOTTEN": "x" * 40})


@plants("clock")
def _(project: Project) -> None:
    rewrite(project, {}, {"SECRET_KEY": {"updated_at": at(1), "previous": []}})


@plants("previous-values")
def _(project: Project) -> None:
    previous = [{"value": f"v{number}", "replaced_at": at(-1), "valid_until": None} for number in range(6)]
    rewrite(project, {}, {"ENCRYPTION_KEY": {"updated_at": at(0), "previous": previous}})


@plants("unknown-age")
def _(project: Project) -> None:
    rewrite(project, {}, {"SECRET_KEY": {"updated_at": None, "previous": []}})


COMPOSE = ("docker-compose.yml", "Dockerfile")


def compose_file(project: Project, old: str, new: str) -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    assert old in text
    (project.directory / "docker-compose.yml").write_text(text.replace(old, new, 1))


@plants("compose-environment")
def _(project: Project) -> None:
    compose_file(project, "      APP_HOST: 0.0.0.0\n", "      APP_HOST: 0.0.0.0\n      SECRET_KEY: in plain text\n")


@plants("compose-needless")
def _(project: Project) -> None:
    compose_file(
        project, "    secrets:\n      - redis_password\n", "    secrets:\n      - redis_password\n      - secret_key\n"
    )


@plants("compose-missing")
def _(project: Project) -> None:
    compose_file(project, "      WEBHOOK_SECRET_FILE: /run/secrets/webhook_secret\n", "")


ELSEWHERE = {
    "credentials-expiry": "tests/contract/test_vault.py",
    "disk-space": "below, on a small disk",
    "stale-containers": "tests/e2e/test_rotation.py",
    "unhealthy": "tests/e2e/test_rotation.py",
    "database-password": "tests/e2e/test_rotation.py",
    "redis-password": "tests/e2e/test_rotation.py",
}


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
    assert not any(DESTROYS.search(str(finding["command"])) for finding in findings)


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
    assert str(finding["command"]).startswith("./scripts/manage_secrets.py rotate ")


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
    assert finding["command"] == "./scripts/manage_secrets.py rotate DATABASE_PASSWORD"


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
    findings = {finding.check.id: finding for finding in examine(deployment, offline=True) if finding.check}
    assert set(findings) == {"journal", "settings-mode"}
    assert "this check could not run: an internal error, KeyError at test_doctor.py" in findings["journal"].message
    assert "canary" not in findings["journal"].message


def test_without_a_set_up_it_says_where_to_begin(project: Project) -> None:
    assert [finding["command"] for finding in doctor(project, "--only", "settings")] == ["make secrets"]


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
