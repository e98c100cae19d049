"""``generate_docker_secrets.sh``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from .fixtures import PROJECT, environ_of, python
from .measure import Result, processes


def docker_files(folder: Path) -> Iterator[Result]:
    """Compare ``generate_docker_secrets.sh`` with a cold process, and a thousand secrets with eleven."""
    commands = {}
    for count in (11, 1000):
        project = folder / f"project-{count}"
        (project / "config").mkdir(parents=True)
        if count == 11:  # noqa: PLR2004
            shutil.copy(PROJECT / "config/catalog.toml", project / "config/catalog.toml")
        else:
            (project / "config/catalog.toml").write_text(_large_catalog(count))
        environ = environ_of(folder, XDG_CONFIG_HOME=str(folder / f"home-{count}"))
        script = str(PROJECT / "scripts/setup_secrets.py")
        subprocess.run(
            [sys.executable, script, "--non-interactive", "--backend", "file", "--project-directory", str(project)],
            env=environ,
            check=True,
            capture_output=True,
        )
        commands[count] = [str(PROJECT / "scripts/generate_docker_secrets.sh"), "--project-directory", str(project)]
        subprocess.run(commands[count], env=environ, check=True, capture_output=True)
    lines = dotenv_values(folder / "project-11/.env.production")
    cold = environ_of(folder, XDG_CONFIG_HOME=str(folder / "home-11"))
    cold |= {name: value or "" for name, value in lines.items()}
    cold["SECRETS_FILE_PATH"] = str(folder / "project-11/config/secrets.enc")
    read = python("from src.utils.secrets import get_secret; assert get_secret('SECRET_KEY')")
    outside = environ_of(folder)
    ours, theirs = processes([*commands[11], "--check"], read, cold, 15)
    yield Result("generate_docker_secrets.sh --check, 11 secrets", "the cold process", ours, theirs, 1.6)
    ours, theirs = processes(["env", *commands[1000], "--check"], ["env", *commands[11], "--check"], outside, 10)
    yield Result("the same, 1,000 secrets", "11 secrets", ours, theirs, 3)


def _large_catalog(count: int) -> str:
    text = (PROJECT / "config/catalog.toml").read_text()
    head = text.split("# A feature", 1)[0]
    one = (
        '[[secret]]\nname = "SECRET_{0}"\ngroup = "all"\ndescription = "Number {0}"\ninput = "generate"\nlength = 43\n'
        'docker_file = "secret_{0}.txt"\nrotation_days = 90\nconsumers = ["app"]\n'
    )
    return head + "\n".join(one.format(number) for number in range(count))
