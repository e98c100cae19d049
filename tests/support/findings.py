"""A deployment in which all is well, and for each check of the doctor a fault to plant in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.fernet import Fernet

from src.ops.doctor import CHECKS
from tests.conftest import PROJECT, Project, need_root
from tests.support.commands import manage
from tests.support.files import write_read_only

STACK_CHECKS = {check.id for check in CHECKS.values() if check.needs in ("stack", "compose")}
MISNAMED = " jwt-secret.key "
Plant = Callable[[Project], None]
PLANTED: dict[str, Plant] = {}


def plants(check: str) -> Callable[[Plant], Plant]:
    def register(function: Plant) -> Plant:
        PLANTED[check] = function
        return function

    return register


def make_healthy(project: Project) -> Project:
    for name in (".gitignore", ".dockerignore", "Dockerfile", "requirements.txt", "requirements-secrets.txt"):
        shutil.copy(PROJECT / name, project.directory / name)
    git(project, "init", "--quiet")
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    neighbour(project).set_up()
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "first")
    return project


def neighbour(project: Project) -> Project:
    """Another environment of the same project."""
    other = "staging" if project.environment == "production" else "production"
    return Project(project.directory, project.home, environment=other)


def git(project: Project, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=project.directory, check=True, capture_output=True)


def rewrite(project: Project, values: dict[str, str], metadata: dict[str, object] | None = None) -> None:
    content = project.decrypt()
    content["secrets"] |= values  # type: ignore[operator]
    content["metadata"] |= metadata or {}  # type: ignore[operator]
    key = project.key_file.read_text().strip()
    write_read_only(project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    project.secrets_file.with_suffix(".enc.sum").unlink(missing_ok=True)
    assert project.run("generate_docker_secrets.sh").returncode == 0


def at(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def settings(project: Project, line: str) -> None:
    with project.settings_file.open("a") as file:
        file.write(f"{line}\n")


# --- The faults ------------------------------------------------------------------------------------------------------


@plants("settings")
def _(project: Project) -> None:
    settings(project, "SECRETS_CACHE_TTL=soon")


@plants("settings-mode")
def _(project: Project) -> None:
    project.settings_file.chmod(0o644)


@plants("settings-secret")
def _(project: Project) -> None:
    settings(project, "VAULT_TOKEN=s.abcdef")


@plants("dotenv-mode")
def _(project: Project) -> None:
    """Everything is in the dotenv file, as the environment store has it."""
    text = project.settings_file.read_text()
    project.settings_file.write_text(text.replace("SECRETS_BACKEND=file", "SECRETS_BACKEND=environment"))
    with project.compose_file.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in project.values().items())
    project.compose_file.chmod(0o644)


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
    path = project.settings_file
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
    Path(f"{project.secrets_file}.lost-2026-01-01T000000Z").touch(0o400)


@plants("journal")
def _(project: Project) -> None:
    project.journal.write_text(json.dumps({"project": str(project.directory), "names": ["SECRET_KEY"]}))


@plants("temporaries")
def _(project: Project) -> None:
    (project.secrets_file.parent / f".{project.secrets_file.name}.4194999-0000000000000000.tmp").touch(0o600)


@plants("docker-files-mode")
def _(project: Project) -> None:
    (project.docker_directory / "db_password.txt").chmod(0o444)


@plants("docker-folder-mode")
def _(project: Project) -> None:
    project.docker_directory.chmod(0o755)


@plants("docker-files-extra")
def _(project: Project) -> None:
    (project.docker_directory / "old_token.txt").touch(0o400)


@plants("docker-files")
def _(project: Project) -> None:
    manage(project, "set", "SECRET_KEY", "--generate")


@plants("docker-files-example")
def _(project: Project) -> None:
    path = project.docker_directory / "jwt_secret_key.txt"
    path.chmod(0o600)
    path.write_text("your-jwt-secret-key-here")


@plants("compose-settings")
def _(project: Project) -> None:
    lines = project.compose_file.read_text().splitlines(keepends=True)
    project.compose_file.write_text("".join(line for line in lines if not line.startswith("APP_")))


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
    git(project, "add", "--force", str(project.secrets_file))


@plants("git-history")
def _(project: Project) -> None:
    git(project, "add", "--force", str(project.settings_file))
    git(project, "commit", "--quiet", "--message", "a mistake")
    git(project, "rm", "--quiet", "--cached", str(project.settings_file))
    git(project, "commit", "--quiet", "--message", "mended, or so it seems")
    time.sleep(1.1)  # git counts in seconds: what is rotated in the same one may have been committed


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


@plants("misnamed")
def _(project: Project) -> None:
    content = project.decrypt()
    values: dict[str, str] = content["secrets"]  # type: ignore[assignment]
    values[MISNAMED] = values.pop("JWT_SECRET_KEY")
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
    neighbour(project).set_up("--import", "x.json", "--replace")
    (project.directory / "x.json").unlink()


@plants("overdue")
def _(project: Project) -> None:
    rewrite(project, {}, {"SECRET_KEY": {"updated_at": at(-91), "previous": []}})


@plants("unknown-names")
def _(project: Project) -> None:
    rewrite(project, {"FORGOTTEN": Fernet.generate_key().decode()})


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


# Of these, other tests plant the faults.
ELSEWHERE = {
    "credentials-expiry": "tests/contract/test_vault.py",
    "disk-space": "below, on a small disk",
    "docker": "tests/e2e/test_doctor.py",
    "stale-containers": "tests/e2e/test_rotation.py",
    "unhealthy": "tests/e2e/test_rotation.py",
    "database-password": "tests/e2e/test_rotation.py",
    "redis-password": "tests/e2e/test_rotation.py",
}
