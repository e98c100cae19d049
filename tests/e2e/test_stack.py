"""From a fresh clone to three healthy containers, with the README's commands, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from src.utils.secrets.catalog import load_catalog
from tests import figures
from tests.conftest import PROJECT, need_program, need_root
from tests.leaks import leaked
from tests.servers.ports import free_port
from tests.terminal import Terminal

from .engine import docker, give_compose, standin_images

CATALOG = load_catalog()
LENGTHS = {
    "SECRET_KEY": 64,
    "JWT_SECRET_KEY": 64,
    "ENCRYPTION_KEY": 32,
    "WEBHOOK_SECRET": 43,
    "DATABASE_PASSWORD": 43,
    "REDIS_PASSWORD": 43,
    "ADMIN_USERNAME": 5,
    "ADMIN_PASSWORD": 24,
}
QUESTIONS = [
    "Where shall the secrets",
    "Name of the first",
    "Password of the first",
    "SMS",
    "e-mail",
    "master key go",
    "Write this",
]


@dataclass
class Checkout:
    """A fresh clone that belongs to somebody, and that person's shell."""

    directory: Path
    home: Path
    uid: int
    environ: dict[str, str]
    transcript: str = ""
    seconds: float = 0

    def command(self, *command: str) -> list[str]:
        """``command`` as that person runs it."""
        if self.uid == os.geteuid():
            return list(command)
        group = Path("/var/run/docker.sock").stat().st_gid if Path("/var/run/docker.sock").exists() else self.uid
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={self.uid},{group}", "--", *command]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        done = subprocess.run(
            self.command(*command),
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker-compose in the clone; returns what it prints."""
        done = self.run("docker-compose", *arguments, check=check)
        return done.stdout + ("" if check else done.stderr)

    @property
    def key_file(self) -> Path:
        return self.home / ".config/cctv-face-detection/master.key"

    def values(self) -> dict[str, str]:
        """The secrets, opened with three lines of plain cryptography."""
        fernet = Fernet(self.key_file.read_bytes().strip())
        text = fernet.decrypt((self.directory / "config/secrets.enc").read_bytes())
        values = json.loads(text)["secrets"]
        assert isinstance(values, dict)
        return values


def copy_checkout(target: Path) -> None:
    """What git would give to somebody who clones the project now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)


@pytest.fixture(scope="module", params=[0, 1000], ids=["root", "uid 1000"])
def checkout(request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """A clone in which `make secrets` was typed, and only Enter pressed."""
    need_root()
    need_program("make", "make")
    base = Path(tempfile.mkdtemp(prefix="clone-"))  # not in pytest's own folder, which only root may enter
    try:
        yield make_checkout(base, request.param)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def make_checkout(base: Path, uid: int) -> Checkout:
    """Clone the project for this user, and let that user set up the secrets."""
    start = time.monotonic()
    directory, home = base / "cctv face detection", base / "home"
    directory.mkdir()
    home.mkdir()
    copy_checkout(directory)
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    kept = ("PIP_", "SSL_", "REQUESTS_", "HTTPS_", "HTTP_", "NO_PROXY", "https_", "http_", "no_proxy")
    environ = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    environ |= {"HOME": str(home), "PATH": path, "TERM": "xterm", "LANG": "C.UTF-8"}
    base.chmod(0o755)
    for entry in (directory, home, *directory.rglob("*")):
        os.chown(entry, uid, uid)
    checkout = Checkout(directory, home, uid, environ)
    terminal = Terminal(checkout.command("make", "secrets"), environ=environ, cwd=str(directory), timeout=300)
    for question in QUESTIONS:
        terminal.answer(question)
    code = terminal.finish()
    assert code == 0, terminal.text
    checkout.transcript = terminal.text
    checkout.seconds = time.monotonic() - start
    return checkout


def linked_checkout(base: Path, **environ: str) -> Checkout:
    """A clone that uses the packages of this project, and no questions asked."""
    directory, home = base / "project", base / "home"
    directory.mkdir()
    home.mkdir()
    copy_checkout(directory)
    (directory / ".venv").symlink_to(PROJECT / ".venv")
    path = f"{give_compose(home)}:{os.environ['PATH']}"
    kept = {}
    if "COVERAGE_FILE" in os.environ:
        kept = {
            "COVERAGE_FILE": os.environ["COVERAGE_FILE"],
            "COVERAGE_PROCESS_START": str(directory / "pyproject.toml"),
        }
    base_environ = {"HOME": str(home), "PATH": path, "DOCKER_BUILDKIT": "0"}
    return Checkout(directory, home, os.geteuid(), base_environ | kept | environ)


def test_make_secrets_on_a_fresh_clone_needs_only_enter(checkout: Checkout) -> None:
    values = checkout.values()
    assert {name: len(value) for name, value in values.items()} == LENGTHS
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", value) for value in values.values())

    def mode(path: Path) -> int:
        assert path.stat().st_uid == checkout.uid
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(checkout.directory / "config/secrets.enc") == 0o400
    assert mode(checkout.directory / ".env.production") == 0o600
    assert mode(checkout.key_file) == 0o400
    assert mode(checkout.key_file.parent) == 0o700
    shown = [name for name, value in values.items() if len(value) > 8 and value in checkout.transcript]
    assert shown == ["ADMIN_PASSWORD"]
    assert checkout.transcript.count(values["ADMIN_PASSWORD"]) == 1
    assert checkout.key_file.read_text().strip() not in checkout.transcript


def test_make_alone_lists_the_tasks_and_what_git_sees_holds_no_secret(checkout: Checkout) -> None:
    assert "make secrets" in checkout.run("make").stdout
    checkout.run("git", "init", "--quiet")
    checkout.run("git", "add", "--all")
    tracked = checkout.run("git", "ls-files").stdout.split()
    assert ".env.production" not in tracked
    assert not [name for name in tracked if name.startswith(("secrets/", ".venv/")) or name.endswith((".enc", ".key"))]
    shutil.rmtree(checkout.directory / ".git")


def test_make_up_refuses_a_stack_whose_secrets_were_not_written_yet_and_says_how(checkout: Checkout) -> None:
    refused = checkout.run("make", "up", check=False)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[:2] == [
        "error: secrets is missing: the secrets have not been written as files for Compose yet",
        "hint: ./scripts/generate_docker_secrets.sh",
    ]
    assert not (checkout.directory / ".env").exists()


# --- The stack -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(checkout: Checkout) -> Iterator[Checkout]:
    """The three commands' result: three containers, healthy."""
    with prepared_for_compose(checkout, f"stack-test-{os.getpid()}-{checkout.uid}"):
        checkout.environ["PATH"] = f"{give_compose(checkout.home)}:{checkout.environ['PATH']}"
        checkout.environ["DOCKER_BUILDKIT"] = "0"
        config = checkout.home / ".docker"
        for entry in (config, *config.rglob("*")):
            os.chown(entry, checkout.uid, checkout.uid)
        start = time.monotonic()
        checkout.run("./scripts/generate_docker_secrets.sh")
        checkout.run("docker-compose", "up", "-d")
        wait_until_healthy(checkout)
        seconds = time.monotonic() - start
        who = "root" if checkout.uid == 0 else "a person"
        figures.say(
            f"From a clone to three healthy containers, as {who}: {checkout.seconds + seconds:.0f} s "
            f"({checkout.seconds:.0f} s to the secrets, packages included; {seconds:.0f} s to build and start)"
        )
        yield checkout


@contextmanager
def prepared_for_compose(checkout: Checkout, name: str, image: str = "APP_IMAGE") -> Iterator[dict[str, str]]:
    """What differs here from a deployer's machine, and at the end no container, volume or image of it.

    Other images, a free port, names of its own, and a build that shares this machine's network.

    Args:
        checkout: Whose stack.
        name: Of the project and its image.
        image: The variable that names the app's image.
    """
    settings = standin_images() | {
        image: f"{name}:latest",
        "APP_PORT": str(free_port()),
        "BUILD_NETWORK": "host",
        "COMPOSE_PROJECT_NAME": name,
    }
    env = checkout.directory / ".env"
    env.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    os.chown(env, checkout.uid, checkout.uid)
    try:
        yield settings
    finally:
        checkout.compose("down", "--volumes", "--timeout", "5", check=False)
        docker("image", "rm", settings[image], check=False)


def containers(checkout: Checkout) -> dict[str, Any]:
    """What `docker inspect` says of each service's container."""
    ids = checkout.compose("ps", "--all", "--quiet").split()
    return {
        item["Config"]["Labels"]["com.docker.compose.service"]: item for item in json.loads(docker("inspect", *ids))
    }


def wait_until_healthy(checkout: Checkout, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        states = {name: item["State"].get("Health", {}).get("Status") for name, item in containers(checkout).items()}
        if states == dict.fromkeys(("app", "postgres", "redis"), "healthy"):
            return
        assert time.monotonic() < deadline, f"{states}\n{checkout.compose('logs', check=False)}"
        time.sleep(0.5)


def client(checkout: Checkout) -> httpx.Client:
    port = dotenv_values(checkout.directory / ".env")["APP_PORT"]
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)


def log_in(checkout: Checkout, password: str) -> httpx.Response:
    with client(checkout) as http:
        return http.post("/login", json={"username": "admin", "password": password})


def test_the_admin_password_logs_in(stack: Checkout) -> None:
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200
    assert log_in(stack, "wrong").status_code == 401
    with client(stack) as http:
        assert http.get("/ready").json()["status"] == "ready"


def find_leaks(stack: Checkout, text: bytes) -> list[str]:
    return leaked(stack.values() | {"the master key": stack.key_file.read_text().strip()}, text)


def test_the_leak_hunt_finds_a_planted_leak(stack: Checkout) -> None:
    assert find_leaks(stack, b"..." + stack.values()["REDIS_PASSWORD"].encode() + b"...") == ["REDIS_PASSWORD"]


def test_no_secret_is_in_inspect_history_config_logs_or_image(stack: Checkout) -> None:
    log_in(stack, stack.values()["ADMIN_PASSWORD"])
    image = dotenv_values(stack.directory / ".env")["APP_IMAGE"] or ""
    seen = {
        "docker inspect": json.dumps(containers(stack)),
        "docker image inspect": docker("image", "inspect", image),
        "docker history": docker("history", "--no-trunc", image),
        "docker-compose config": stack.compose("config"),
        "docker-compose config, resolved": stack.compose("config", "--format", "json"),
        "logs": stack.compose("logs"),
    }
    for where, text in seen.items():
        assert text.strip(), where
        assert find_leaks(stack, text.encode()) == [], where
    layers = subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout
    assert b"src/app/server.py" in layers
    assert find_leaks(stack, layers) == []


def test_no_secret_is_in_the_arguments_of_any_process_or_the_environment_of_the_containers(stack: Checkout) -> None:
    arguments = b"".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert b"postgres" in arguments
    assert find_leaks(stack, arguments) == []
    environs = [read(Path(f"/proc/{item['State']['Pid']}/environ")) for item in containers(stack).values()]
    assert any(b"SECRET_KEY_FILE=" in environ for environ in environs)
    assert find_leaks(stack, b"".join(environs)) == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def test_the_app_has_no_rights_that_it_does_not_need(stack: Checkout) -> None:
    app = containers(stack)["app"]
    status = Path(f"/proc/{app['State']['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {str(stack.uid or 10001)}
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert app["HostConfig"]["ReadonlyRootfs"] is True
    for name in ("postgres", "redis"):
        assert not containers(stack)[name]["HostConfig"]["PortBindings"]
    tools = stack.compose("exec", "-T", "app", "sh", "-c", "command -v gcc cc curl wget pip; true")
    assert tools.strip() in ("", "/usr/local/bin/pip")


def test_each_container_sees_only_its_own_secrets(stack: Checkout) -> None:
    for service in ("app", "postgres", "redis"):
        expected = {spec.mount_name for spec in CATALOG.secrets if service in spec.consumers}
        if service == "app":
            expected |= {spec.previous_file for spec in CATALOG.secrets if spec.previous_file}
        assert set(stack.compose("exec", "-T", service, "ls", "/run/secrets").split()) == expected


def test_the_files_are_in_step_and_stopping_is_quick_and_clean(stack: Checkout) -> None:
    assert "in step" in stack.run("./scripts/generate_docker_secrets.sh", "--check").stdout
    start = time.monotonic()
    stack.compose("stop")
    assert time.monotonic() - start < 15
    codes = {name: item["State"]["ExitCode"] for name, item in containers(stack).items()}
    assert codes == {"app": 0, "postgres": 0, "redis": 0}
    stack.compose("start")
    wait_until_healthy(stack)


def test_a_volume_that_keeps_its_old_password_is_explained_and_mended_without_losing_data(stack: Checkout) -> None:
    old = stack.values()["DATABASE_PASSWORD"]
    new = stack.home / "new password"
    new.write_text('it\'s \\ "new" $HOME #1')
    new.chmod(0o644)
    stack.compose(
        "exec", "-T", "postgres", "psql", "-q", "-U", "cctv", "-c", "CREATE TABLE precious AS SELECT 42 AS answer"
    )
    stack.run(
        ".venv/bin/python", "scripts/setup_secrets.py", "--non-interactive", "--set-file", f"DATABASE_PASSWORD={new}"
    )
    assert stack.values()["DATABASE_PASSWORD"] == new.read_text() != old
    refused = stack.run("make", "up", check=False)
    assert refused.returncode == 2
    assert "is not in step with the store" in refused.stderr
    stack.run("./scripts/generate_docker_secrets.sh")
    stack.compose("up", "-d", "--force-recreate")
    wait_until_healthy(stack)  # the app remembers the earlier password, and says that it had to
    log = stack.compose("logs", "app")
    assert "An earlier DATABASE_PASSWORD works" in log
    assert "keeps the password it was first made with" in log
    stack.compose(
        *("exec", "-T", "postgres", "psql", "-q", "-U", "cctv", "-c", "ALTER ROLE cctv PASSWORD 'that nobody knows'")
    )
    with client(stack) as http:
        ready = http.get("/ready")
    assert ready.status_code == 503
    assert "make database-password" in ready.text
    stack.run("make", "database-password")
    wait_until_healthy(stack)
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200
    answer = stack.compose("exec", "-T", "postgres", "psql", "-qAt", "-U", "cctv", "-c", "SELECT answer FROM precious")
    assert answer.strip() == "42"
    assert find_leaks(stack, stack.compose("logs").encode()) == []


def test_another_environment_runs_beside_it_with_volumes_of_its_own(stack: Checkout) -> None:
    production = set(docker("volume", "ls", "--quiet").split())
    python, script = ".venv/bin/python", "scripts/setup_secrets.py"
    stack.run(python, script, "--non-interactive", "--environment", "staging")
    images = {name: value for name, value in dotenv_values(stack.directory / ".env").items() if name.endswith("IMAGE")}
    with (stack.directory / ".env.staging").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in images.items())
        file.write(f"APP_PORT={free_port()}\n")
    stack.run("./scripts/generate_docker_secrets.sh", "--environment", "staging")
    flags = ("--env-file", ".env.staging")
    try:
        stack.compose(*flags, "up", "-d", "--no-build")
        made = set(docker("volume", "ls", "--quiet").split()) - production
        assert made == {"cctv-face-detection-staging_postgres_data", "cctv-face-detection-staging_redis_data"}
        mounts = json.loads(docker("inspect", *stack.compose(*flags, "ps", "-aq", "app").split()))[0]["Mounts"]
        secrets = [mount["Source"] for mount in mounts if mount["Destination"].startswith("/run/secrets/")]
        assert secrets
        assert all("/secrets/staging/" in source for source in secrets)
    finally:
        stack.compose(*flags, "down", "--volumes", "--timeout", "5", check=False)
    wait_until_healthy(stack)


# --- Swarm -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def swarm(stack: Checkout) -> Iterator[Checkout]:
    """This engine as a Swarm of one."""
    was_active = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "active"
    if not was_active:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{free_port()}")
    before = set(docker("secret", "ls", "--quiet").split())
    try:
        yield stack
    finally:
        made = set(docker("secret", "ls", "--quiet").split()) - before
        if made:
            docker("secret", "rm", *made)
        if not was_active:
            docker("swarm", "leave", "--force")


def test_swarm_secrets_are_made_with_a_version_and_the_stack_file_takes_them(swarm: Checkout) -> None:
    for version in ("1", "2"):
        done = swarm.run("./scripts/generate_docker_secrets.sh", "--swarm")
        assert f"SECRETS_VERSION={version} docker stack deploy -c docker-stack.yml" in done.stdout
        names = set(re.findall(rf"name: (cctv-face-detection_\w+_v{version})$", done.stdout, re.MULTILINE))
        assert len(names) == len(CATALOG.secrets) + len([spec for spec in CATALOG.secrets if spec.previous_file])
        assert names <= set(docker("secret", "ls", "--format", "{{.Name}}").split())
        assert find_leaks(swarm, done.stdout.encode()) == []
    environ = swarm.environ | {"SECRETS_VERSION": "2"}
    config = subprocess.run(
        ["docker-compose", "-f", "docker-stack.yml", "config", "--format", "json"],
        cwd=swarm.directory,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    declared = {entry["name"] for entry in json.loads(config.stdout)["secrets"].values()}
    assert declared == names


def test_the_stack_of_a_swarm_becomes_healthy_with_the_secrets_that_it_keeps(swarm: Checkout) -> None:
    made = swarm.run("./scripts/generate_docker_secrets.sh", "--swarm").stdout
    command = re.search(r"SECRETS_VERSION=\d+ docker stack deploy -c docker-stack\.yml ", made)
    assert command
    name = f"swarm-test-{os.getpid()}"
    try:
        swarm.run("/bin/sh", "-ec", f"set -a; . ./.env; APP_PORT={free_port()}; {command[0]}{name}")
        deadline = time.monotonic() + 120
        while "(healthy)" not in docker("ps", "--filter", f"name={name}_app", "--format", "{{.Status}}"):
            assert time.monotonic() < deadline, docker("service", "logs", f"{name}_app")
            time.sleep(0.5)
        listed = docker(
            "exec", docker("ps", "--quiet", "--filter", f"name={name}_app").strip(), "ls", "-ln", "/run/secrets"
        )
        assert re.search(r"^-r-------- +1 10001 +10001 +[1-9]\d* .* db_password$", listed, re.MULTILINE), listed
    finally:
        docker("stack", "rm", name)
        remove_volumes(name)


def remove_volumes(stack_name: str, seconds: float = 60) -> None:
    """Remove a Swarm stack's volumes, which its containers let go of some time after it is gone."""
    deadline = time.monotonic() + seconds
    while volumes := docker("volume", "ls", "--quiet", "--filter", f"name={stack_name}_").split():
        assert time.monotonic() < deadline, volumes
        docker("volume", "rm", *volumes, check=False)
        time.sleep(0.5)


def test_without_a_swarm_it_says_how_to_make_one(stack: Checkout) -> None:
    done = stack.run("./scripts/generate_docker_secrets.sh", "--swarm", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: docker secret ls failed")
    assert "docker swarm init" in done.stderr


def docker_clients() -> list[str]:
    """Each Docker client that this machine has: Debian 12's own is older than what people install from elsewhere."""
    found = (shutil.which("docker", path=folder) for folder in os.environ["PATH"].split(os.pathsep))
    return sorted({os.path.realpath(path) for path in found if path})


@pytest.mark.parametrize("client", docker_clients())
def test_every_docker_client_reads_the_stack_file(client: str, stack: Checkout) -> None:
    done = subprocess.run(
        [client, "stack", "deploy", "--compose-file", "docker-stack.yml", f"never-{os.getpid()}"],
        cwd=stack.directory,
        env=stack.environ | {"SECRETS_VERSION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "is not a swarm manager" in done.stderr  # it has understood the file by then
