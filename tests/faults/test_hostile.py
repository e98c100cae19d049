"""Other users of the machine, and hostile files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import figures
from tests.conftest import PROJECT, Project, need_program, need_root

NOBODY = 65534
CANARIES = {"SECRET_KEY": "hostile-canary-0815-" + "x" * 44, "SMTP_PASSWORD": "hostile-canary-4711"}

READER = """
import os, re, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
tries = 0
met = set()
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    for folder in sys.argv[2:]:
        for base, folders, files in os.walk(folder):
            for name in files:
                tries += 1
                met.add(re.sub(r"\\d+-[0-9a-f]{16}", "N", name))
                try:
                    with open(os.path.join(base, name), "rb") as file:
                        if b"hostile-canary" in file.read():
                            print("READ", os.path.join(base, name), flush=True)
                except OSError:
                    pass
print("met", *sorted(met))
print("tries", tries, flush=True)
"""

SLOWLY = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fchmod,rename,link,linkat", "-o", os.devnull]
SLOWLY += ["-e", "inject=fchmod:delay_enter=40000", "-e", "inject=rename,link,linkat:delay_exit=10000"]
"""Delays, so that each written file exists for a while with its content and its first mode."""


@pytest.fixture
def shared() -> Iterator[Project]:
    """A project in a folder that every user can read."""
    need_root()
    base = Path(tempfile.mkdtemp(prefix="shared-"))
    base.chmod(0o755)
    project = Project(base / "project", base / "home")
    (project.directory / "config").mkdir(parents=True)
    project.home.mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", project.directory / "config/catalog.toml")
    yield project
    shutil.rmtree(base)


def test_another_user_who_tries_to_read_every_file_all_the_time_reads_no_value(shared: Project) -> None:
    need_program("strace", "strace")
    end = shared.directory.parent / "end"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(end), str(shared.directory), str(shared.home)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for name, text in (("canaries", json.dumps(CANARIES)), ("value", CANARIES["SMTP_PASSWORD"])):
        (shared.home / name).touch(mode=0o600)
        (shared.home / name).write_text(text)
    for script, *arguments in (
        ("setup_secrets.py", "--non-interactive", "--import", str(shared.home / "canaries")),
        ("generate_docker_secrets.sh",),
        ("manage_secrets.py", "set", "SMTP_PASSWORD", "--file", str(shared.home / "value")),
        ("manage_secrets.py", "rotate", "WEBHOOK_SECRET", "--store-only", "--yes"),
        ("manage_secrets.py", "export", "--output", "plain.env"),
        ("manage_secrets.py", "rotate-master-key", "--yes"),
        ("manage_secrets.py", "migrate", "--to", "env", "--apply", "--yes"),
    ):
        command = [*SLOWLY, *shared.script(script, *arguments)]
        done = subprocess.run(
            command, env=shared.environ(), cwd=shared.directory, capture_output=True, text=True, check=False, umask=0
        )
        assert done.returncode == 0, done.stderr
    end.touch()
    said = reader.communicate(timeout=60)[0]
    assert "READ" not in said
    assert {".secrets.enc.N.tmp", "..env.production.N.tmp", "..env.N.tmp", ".plain.env.N.tmp"} <= set(said.split())
    tries = int(said.split()[-1])
    figures.add("files that another user tried to read", tries, "tries, none read")


@pytest.mark.parametrize("name", ["config/secrets.enc", ".env.production", "secrets", "config/secrets.enc.lock"])
@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
def test_files_that_another_user_puts_in_predictable_places_are_not_written_to(
    shared: Project, name: str, kind: str
) -> None:
    victim = shared.directory.parent / "victim"
    victim.write_text("precious")
    for folder in (shared.directory, shared.directory / "config"):
        folder.chmod(0o1777)
    place = shared.directory / name
    if kind == "symlink":
        place.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, place)
    else:
        os.mkfifo(place)
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    for script in ("setup_secrets.py", "generate_docker_secrets.sh"):
        arguments = ("--non-interactive",) if script.startswith("setup") else ()
        done = shared.run(script, *arguments)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "line",
    ["X=$(touch MARKER)", "X=`touch MARKER`", 'X="$(touch MARKER)"', "X='a'; touch MARKER", "X=${Y:-$(touch MARKER)}"],
)
def test_a_settings_file_is_data_and_never_a_program(project: Project, line: str, tmp_path: Path) -> None:
    project.set_up()
    marker = tmp_path / "marker"
    with (project.directory / ".env.production").open("a") as file:
        file.write(line.replace("MARKER", f"'{marker}'") + "\n")
    project.run("generate_docker_secrets.sh")
    project.run("manage_secrets.py", "status")
    project.run("setup_secrets.py", "--non-interactive")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../secret_key.txt", "/etc/x.txt", "a/b.txt", ".hidden.txt", "x\n.txt", "x.json"])
def test_a_catalogue_cannot_name_a_file_elsewhere(project: Project, name: str) -> None:
    path = project.directory / "config/catalog.toml"
    path.write_text(path.read_text().replace('"secret_key.txt"', json.dumps(name)))
    done = project.run("setup_secrets.py", "--non-interactive")
    assert (done.returncode, done.stderr.startswith("error: ")) == (1, True)
    assert "SECRET_KEY" in done.stderr
    assert not project.secrets_file.exists()


@pytest.mark.parametrize("module", ["json", "click", "src", "sitecustomize", "filelock"])
def test_modules_in_the_current_folder_are_not_run(project: Project, module: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{module}.py").write_text("open('ran', 'w')\n")
    for script, arguments in (("setup_secrets.py", ("--non-interactive",)), ("generate_docker_secrets.sh", ())):
        done = subprocess.run(
            project.script(script, *arguments), env=project.environ(), cwd=elsewhere, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert not (elsewhere / "ran").exists()
