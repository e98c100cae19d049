"""Other users of the machine, hostile files and hostile servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.utils.secrets.errors import SecretsError
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests import figures
from tests.conftest import PROJECT, Project, need_program, need_root
from tests.leaks import leaked
from tests.servers.aws import CREDENTIALS, REGION

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
"""Every file that is written is there for a while, with its content and the mode that it was made with."""


@pytest.fixture
def shared() -> Iterator[Project]:
    """A project in a place where everybody may look."""
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
def test_what_another_user_puts_in_a_predictable_place_is_not_written_to(shared: Project, name: str, kind: str) -> None:
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


# --- Servers ---------------------------------------------------------------------------------------------------------

Answer = Callable[[socket.socket], None]


def _send(*parts: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def _json(body: bytes, kind: bytes = b"application/json") -> Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return _send(head % (kind, len(body)), body)


OTHER_HOST = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2:1/stolen\r\nContent-Length: 0\r\n\r\n"
ANSWERS: dict[str, Answer] = {
    "nothing at all": _send(),
    "no HTTP": _send(b"220 mail.example.org ESMTP\r\n\r\n"),
    "a header without end": _send(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 2_000_000),
    "ten thousand headers": _send(b"HTTP/1.1 200 OK\r\n", b"".join(b"X-%d: y\r\n" % n for n in range(10_000)), b"\r\n"),
    "less than it promised": _send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"),
    "a redirect to another host": _send(OTHER_HOST),
    "a page": _json(b"<html>Welcome</html>", b"text/html"),
    "deep nesting": _json(b'{"SecretString": ' + b"[" * 200_000),
    "a list": _json(b"[1, 2, 3]"),
    "not text": _json(b"\xff\xfe\x00"),
    "ten megabytes of JSON of no use": _json(b'{"a": "' + b"x" * 10_000_000 + b'"}'),
}


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server that gives the same answer to whatever is asked."""
    answer = ANSWERS[request.param]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize("hostile", ANSWERS, indirect=True)
@pytest.mark.parametrize("store", ["aws", "vault"])
def test_whatever_a_server_answers_is_one_clear_error_in_time(
    hostile: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hvs.hostile-token-0815"
    environ = {
        "aws": {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": hostile, **CREDENTIALS},
        "vault": {"VAULT_ADDR": hostile, "VAULT_TOKEN": token},
    }[store]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(SecretsError) as caught:
        open_backend(Settings(environ | {"SECRETS_BACKEND": store})).load()
    assert time.monotonic() - start < 30
    assert caught.value.hint
    assert len(str(caught.value)) < 2000
    assert (
        leaked({"token": token, "key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"] + "-----"}, str(caught.value).encode())
        == []
    )
    figures.add("hostile answers", 1, "answers")
