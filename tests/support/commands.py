"""Running the scripts without a terminal, and reading their output."""

from __future__ import annotations

import subprocess

from src.utils.secrets.command import Command, Spelling
from tests.conftest import Project

DIFFICULT = {
    "SECRET_KEY": "dollar $HOME ${X} $(id) `id` and 32 characters",
    "JWT_SECRET_KEY": "quotes ' and \" and \\ and \\n and 32 characters",
    "ENCRYPTION_KEY": "hash # and = and % and 32 characters",
    "WEBHOOK_SECRET": "two\nlines of 32 characters at least\n\n",
    "DATABASE_PASSWORD": "pässwörd-密码-🔑",
    "REDIS_PASSWORD": "x" * 65536,
    "SMTP_PASSWORD": "  spaces  ",
}
ACCEPT = [word for name in DIFFICULT for word in ("--accept", name)]


def manage(project: Project, *arguments: str, code: int = 0, **options: str) -> subprocess.CompletedProcess[str]:
    done = project.run("manage_secrets.py", *arguments, **options)  # type: ignore[arg-type]
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def typed(project: Project, command: Command) -> str:
    """``command`` as a person types it in the folder of ``project``."""
    folder = str(project.directory)
    return Spelling(environment=project.environment, project_directory=folder, here=folder).spell(command)


def error_of(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert "Traceback" not in done.stderr
    return done.stderr
