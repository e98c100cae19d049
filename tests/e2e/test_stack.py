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
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from src.utils.secrets.catalog import load_catalog
from tests import figures
from tests.conftest import need_program, need_root
from tests.servers.ports import free_port
from tests.support.checkout import (
    Checkout,
    client,
    containers,
    copy_checkout,
    find_leaks,
    log_in,
    prepared_for_compose,
    wait_until_healthy,
)
from tests.support.engine import alone, docker, give_compose
from tests.support.forms import in_short
from tests.support.terminal import Terminal

ROOT, PERSON = 0, 1000
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
    "Where do you want to store the secrets",
    "Name of the first",
    "Password of the first",
    "SMS",
    "e-mail",
    "save the master key",
    "Write this",
]


@pytest.fixture(scope="module", params=[ROOT, PERSON], ids=["root", "uid 1000"])
def checkout(request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """A clone set up with `make secrets`, by pressing only Enter."""
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


def test_make_alone_lists_the_tasks_and_git_sees_no_secret(checkout: Checkout) -> None:
    assert "make secrets" in checkout.run("make").stdout
    checkout.run("git", "init", "--quiet")
    checkout.run("git", "add", "--all")
    tracked = checkout.run("git", "ls-files").stdout.split()
    assert ".env.production" not in tracked
    assert not [name for name in tracked if name.startswith(("secrets/", ".venv/")) or name.endswith((".enc", ".key"))]
    shutil.rmtree(checkout.directory / ".git")


def test_make_up_starts_nothing_whose_secrets_are_not_there(checkout: Checkout) -> None:
    settings = checkout.directory / ".env.production"
    settings.rename(checkout.home / "away")
    try:
        refused = checkout.run("make", "up", check=False)
    finally:
        (checkout.home / "away").rename(settings)
    assert refused.returncode == 2
    assert "secrets is missing" not in refused.stderr
    assert refused.stderr.startswith("error: ")
    assert not (checkout.directory / "secrets").exists()


# --- The stack -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(checkout: Checkout) -> Iterator[Checkout]:
    """Three healthy containers, started with the three commands."""
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


def test_the_admin_password_logs_in(stack: Checkout) -> None:
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200
    assert log_in(stack, "wrong").status_code == 401
    with client(stack) as http:
        assert http.get("/ready").json()["status"] == "ready"


def test_the_leak_scanner_finds_a_planted_leak(stack: Checkout) -> None:
    assert find_leaks(stack, b"..." + stack.values()["REDIS_PASSWORD"].encode() + b"...") == ["REDIS_PASSWORD"]


@in_short("checkout", [PERSON])
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


IN_REDIS = """
import json, redis
from src.app.settings import AppSettings
from src.utils.secrets import require_secret

settings, password = AppSettings.from_environment(), require_secret("REDIS_PASSWORD")
client = redis.Redis(settings.redis_host, settings.redis_port, password=password)
assert client.ping()
answers = {}
for command in COMMANDS:
    try:
        answers[command] = repr(client.execute_command(*command.split()))
    except redis.exceptions.NoPermissionError:
        answers[command] = "refused"
    except redis.RedisError as error:
        answers[command] = repr(error)
try:
    redis.Redis(settings.redis_host, settings.redis_port, username="operator", password=password).ping()
    answers["as operator"] = "accepted"
except redis.AuthenticationError:
    answers["as operator"] = "refused"
print(json.dumps(answers))
"""


@in_short("checkout", [PERSON])
def test_in_redis_the_application_may_do_only_what_it_does(stack: Checkout) -> None:
    commands = [
        *("CONFIG SET dir /tmp", "CONFIG GET *", "ACL LIST", "ACL SETUSER default +@all", "ACL WHOAMI", "KEYS *"),
        *("FLUSHALL", "SHUTDOWN", "SAVE", "MODULE LIST", "REPLICAOF 127.0.0.1 1", "CLIENT LIST"),
        *("MONITOR", "GET other", "SET other x", "EVAL return 0", "SUBSCRIBE x", "INFO", "SCAN 0"),
    ]
    script = IN_REDIS.replace("COMMANDS", repr(commands))
    answers = json.loads(stack.compose("exec", "-T", "app", "python", "-c", script))
    assert {command: answer for command, answer in answers.items() if answer != "refused"} == {}
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200
    assert "Redis does not answer" not in stack.compose("logs", "app")


def test_only_root_in_its_container_can_be_the_operator_of_redis(stack: Checkout) -> None:
    place = "/run/redis/operator"
    assert stack.compose("exec", "-T", "redis", "stat", "-c", "%U %a", place).split() == ["root", "600"]
    assert "Permission denied" in stack.compose("exec", "-T", "--user", "redis", "redis", "cat", place, check=False)
    assert "No such file" in stack.compose("exec", "-T", "app", "ls", place, check=False)


BECOMES_ANOTHER_USER = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}


def capabilities(config: dict[str, Any]) -> set[str]:
    """Return what a container gets back of what it has dropped."""
    return {name.removeprefix("CAP_") for name in config["CapAdd"] or ()}


@pytest.mark.parametrize("damage", ["an empty file", "a folder"])
@in_short("checkout", [PERSON])
def test_redis_does_not_start_without_a_password(damage: str, stack: Checkout, tmp_path: Path) -> None:
    secret = tmp_path / "redis_password"
    secret.mkdir() if damage == "a folder" else secret.touch()
    mount = ("--volume", f"{secret}:/run/secrets/redis_password:ro")
    output = stack.compose("run", "--rm", "--no-deps", "-T", *mount, "redis", check=False)
    assert "no password for Redis" in output or "Is a directory" in output
    assert "Ready to accept connections" not in output


@pytest.mark.parametrize("service", ["app", "postgres", "redis"])
def test_each_container_is_bounded_and_its_files_are_read_only(service: str, stack: Checkout) -> None:
    config = containers(stack)[service]["HostConfig"]
    assert config["ReadonlyRootfs"] is True
    assert bool(config.get("Init")) is (service == "app")
    assert config["Memory"] > 0
    assert 0 < config["PidsLimit"] <= 256
    assert config["CapDrop"] == ["ALL"]
    assert capabilities(config) == (set() if service == "app" else BECOMES_ANOTHER_USER)
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert {"Name": "core", "Hard": 0, "Soft": 0} in config["Ulimits"]
    assert config["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    bindings = config["PortBindings"]
    assert {address["HostIp"] for addresses in bindings.values() for address in addresses} <= {"127.0.0.1"}
    assert service == "app" or not bindings


def test_each_container_sees_only_its_own_secrets(stack: Checkout) -> None:
    for service in ("app", "postgres", "redis"):
        expected = {spec.mount_name for spec in CATALOG.secrets if service in spec.consumers}
        if service == "app":
            expected |= {spec.previous_file for spec in CATALOG.secrets if spec.previous_file}
        assert set(stack.compose("exec", "-T", service, "ls", "/run/secrets").split()) == expected


@in_short("checkout", [PERSON])
def test_the_files_are_up_to_date_and_stopping_is_quick_and_clean(stack: Checkout) -> None:
    assert "up to date" in stack.run("./scripts/generate_docker_secrets.sh", "--check").stdout
    start = time.monotonic()
    stack.compose("stop")
    assert time.monotonic() - start < 15
    codes = {name: item["State"]["ExitCode"] for name, item in containers(stack).items()}
    assert codes == {"app": 0, "postgres": 0, "redis": 0}
    stack.compose("start")
    wait_until_healthy(stack)


@in_short("checkout", [ROOT])
def test_a_volume_with_its_old_password_is_explained_and_fixed_without_losing_data(stack: Checkout) -> None:
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
    assert "is out of date" in stack.run("./scripts/generate_docker_secrets.sh", "--check", check=False).stderr
    stack.run("./scripts/generate_docker_secrets.sh")
    stack.compose("up", "-d", "--force-recreate")
    wait_until_healthy(stack)  # the app uses the previous password, and says so
    log = stack.compose("logs", "app")
    assert "An earlier DATABASE_PASSWORD works" in log
    assert "keeps the password it was first made with" in log
    stack.compose(
        *("exec", "-T", "postgres", "psql", "-q", "-U", "cctv", "-c", "ALTER ROLE cctv PASSWORD 'that nobody knows'")
    )
    asked = ("exec", "-T", "app", "python", "-m", "src.app.healthcheck")
    while "make database-password" not in stack.compose(*asked, check=False):
        time.sleep(0.5)
    with client(stack) as http:
        ready = http.get("/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready"}  # the port is for strangers, too
    stack.run("make", "database-password")
    wait_until_healthy(stack)
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200
    answer = stack.compose("exec", "-T", "postgres", "psql", "-qAt", "-U", "cctv", "-c", "SELECT answer FROM precious")
    assert answer.strip() == "42"
    assert find_leaks(stack, stack.compose("logs").encode()) == []


@in_short("checkout", [ROOT])
def test_another_environment_runs_next_to_it_with_its_own_volumes(stack: Checkout) -> None:
    python, script, manage = ".venv/bin/python", "scripts/setup_secrets.py", "scripts/manage_secrets.py"
    stack.run(python, script, "--non-interactive", "--environment", "staging")
    images = {name: value for name, value in dotenv_values(stack.directory / ".env").items() if name.endswith("IMAGE")}
    with (stack.directory / ".env.staging").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in images.items())
        file.write(f"APP_PORT={free_port()}\n")
    stack.run("./scripts/generate_docker_secrets.sh", "--environment", "staging")
    flags = ("--env-file", ".env.staging")
    project = "cctv-face-detection-staging"
    with alone(project):
        try:
            stack.compose(*flags, "up", "-d", "--no-build")
            made = set(docker("volume", "ls", "--quiet", "--filter", f"name={project}").split())
            assert made == {f"{project}_postgres_data", f"{project}_redis_data"}
            containers_of_staging = stack.compose(*flags, "ps", "-aq").split()
            mounts = [
                mount for item in json.loads(docker("inspect", *containers_of_staging)) for mount in item["Mounts"]
            ]
            assert {mount["Name"] for mount in mounts if mount["Type"] == "volume"} == made
            secrets = [mount["Source"] for mount in mounts if mount["Destination"].startswith("/run/secrets/")]
            assert secrets
            assert all("/secrets/staging/" in source for source in secrets)
            assert stack.compose(*flags, "exec", "-T", "app", "printenv", "SECRETS_ENVIRONMENT").strip() == "staging"
            # Its changes reach it, by the command that is printed, and nobody else.
            printed = stack.run(
                python, manage, "set", "WEBHOOK_SECRET", "--generate", "--environment", "staging"
            ).stdout
            command = printed.split("\nNext:\n", 1)[1].splitlines()[0].strip()
            assert command.endswith("manage_secrets.py apply --environment staging")
            stack.run("bash", "-c", f"{command} --yes")
            read = ("exec", "-T", "app", "cat", "/run/secrets/webhook_secret")
            get = (python, manage, "get", "WEBHOOK_SECRET", "--environment", "staging")
            assert stack.compose(*flags, *read) == stack.run(*get).stdout
            assert stack.compose(*read) == stack.values()["WEBHOOK_SECRET"]
        finally:
            stack.compose(*flags, "down", "--volumes", "--timeout", "5", check=False)
    wait_until_healthy(stack)


# --- Swarm -----------------------------------------------------------------------------------------------------------


def test_swarm_secrets_have_a_version_and_the_stack_file_uses_them(swarm: Checkout) -> None:
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


@in_short("checkout", [PERSON])
def test_the_stack_of_a_swarm_becomes_healthy_with_its_secrets(swarm: Checkout) -> None:
    made = swarm.run("./scripts/generate_docker_secrets.sh", "--swarm").stdout
    command = re.search(r"SECRETS_VERSION=\d+ docker stack deploy -c docker-stack\.yml ", made)
    assert command
    name = f"swarm-test-{os.getpid()}"
    try:
        swarm.run("/bin/sh", "-ec", f"set -a; . ./.env; {command[0]}{name}")
        found = {service: healthy_task(f"{name}_{service}") for service in ("app", "postgres", "redis")}
        for task in found.values():
            [item] = json.loads(docker("inspect", task))
            config = item["HostConfig"]
            assert config["ReadonlyRootfs"] is True
            assert config["CapDrop"] == ["ALL"]
            assert capabilities(config) == (set() if task == found["app"] else BECOMES_ANOTHER_USER)
            assert min(config["Memory"], config["PidsLimit"]) > 0
            assert {"Name": "core", "Hard": 0, "Soft": 0} in config["Ulimits"]
            assert not item["NetworkSettings"]["Ports"].get("8000/tcp")
        ports = docker("service", "inspect", *(f"{name}_{service}" for service in found))
        assert not any(service["Endpoint"].get("Ports") for service in json.loads(ports))
        for network in json.loads(docker("network", "inspect", f"{name}_back", f"{name}_front")):
            assert "encrypted" in network["Options"]
        asked = docker("exec", found["app"], "python", "-c", ASKS_THE_SERVICE)
        assert asked.strip() == '200 {"status":"ready"}'
        listed = docker("exec", found["app"], "ls", "-ln", "/run/secrets")
        assert re.search(r"^-r-------- +1 10001 +10001 +[1-9]\d* .* db_password$", listed, re.MULTILINE), listed
    finally:
        docker("stack", "rm", name)
        remove_volumes(name)


# By the address of its task: that of the service needs IPVS, which the kernel of a test machine may lack.
ASKS_THE_SERVICE = """
import urllib.request
answer = urllib.request.urlopen("http://tasks.app:8000/ready", timeout=30)
print(answer.status, answer.read().decode())
"""


def healthy_task(service: str, seconds: float = 120) -> str:
    """The container of a Swarm service, once it is healthy."""
    deadline = time.monotonic() + seconds
    listing = ("ps", "--filter", f"name={service}.", "--filter", "health=healthy", "--quiet")
    while not (task := docker(*listing).strip()):
        assert time.monotonic() < deadline, docker("service", "logs", service)
        time.sleep(0.5)
    return task


def remove_volumes(stack_name: str, seconds: float = 60) -> None:
    """Remove a Swarm stack's volumes; its containers release them some time after the stack is removed."""
    deadline = time.monotonic() + seconds
    while volumes := docker("volume", "ls", "--quiet", "--filter", f"name={stack_name}_").split():
        assert time.monotonic() < deadline, volumes
        docker("volume", "rm", *volumes, check=False)
        time.sleep(0.5)


def test_without_a_swarm_it_says_how_to_make_one(stack: Checkout) -> None:
    with alone("swarm"):
        done = stack.run("./scripts/generate_docker_secrets.sh", "--swarm", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: docker secret ls failed")
    assert "docker swarm init" in done.stderr


def docker_clients() -> list[str]:
    """Return each Docker client of this machine: Debian 12's own client is older than others that users install."""
    found = (shutil.which("docker", path=folder) for folder in os.environ["PATH"].split(os.pathsep))
    return sorted({os.path.realpath(path) for path in found if path})


@pytest.mark.parametrize("client", docker_clients())
def test_every_docker_client_reads_the_stack_file(client: str, stack: Checkout) -> None:
    with alone("swarm"):
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
