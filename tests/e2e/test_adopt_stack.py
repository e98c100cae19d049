"""Taking over a running deployment of the original system: its volumes, on the real engine."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.conftest import need_root
from tests.leaks import leaked
from tests.servers.ports import free_port
from tests.support.checkout import (
    Checkout,
    containers,
    linked_checkout,
    log_in,
    prepared_for_compose,
    wait_until_healthy,
)
from tests.support.engine import docker, need_engine, postgres_16_image, standin_images
from tests.support.original import DATABASE_PASSWORD, STRONG, OriginalFolder
from tests.support.pages import blocks_of
from tests.support.terminal import Terminal

pytestmark = pytest.mark.timeout(900)
QUESTIONS = [
    "Where do you want to store the secrets",
    "Name of the first administrator",
    "Password of the first administrator",
    "Do you send SMS",
    "Where do you want to save the master key",
    "Write this now",
]
USER, DATABASE = "faces_app", "faces"
PLACEHOLDER = "your-redis-password"  # pragma: allowlist secret
URL = "postgresql://faces_app:kV9%2FrT2%40wQ7%2BzL4x@postgres:5432/faces"  # pragma: allowlist secret


@dataclass
class Moving:
    """The original, and the clone that takes it over.

    Attributes:
        original: The original's folder.
        checkout: The clone.
        project: The original's Compose project.
        compose: The command line of Compose for the original.
        image: The image of its database.
    """

    original: OriginalFolder
    checkout: Checkout
    project: str
    compose: list[str]
    image: str

    @property
    def is_16(self) -> bool:
        return "16" in self.image.partition(":")[0]

    def run_compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.compose, *arguments], env=self.checkout.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def adopt(self, *arguments: str, code: int = 0) -> str:
        command = ["scripts/setup_secrets.py", "--non-interactive", "--adopt", str(self.original.folder), *arguments]
        done = self.checkout.run(*command, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        known = STRONG | {"the database's": DATABASE_PASSWORD}
        assert leaked(known, (done.stdout + done.stderr).encode()) == []
        return done.stdout + done.stderr

    def container(self, service: str) -> str:
        return self.run_compose("ps", "--format", "{{.Name}}", service).strip()


def start_original(base: Path, checkout: Checkout, image: str, password: str, folder: Path | None = None) -> Moving:
    """Start the original's stack, with data in both of its volumes."""
    original = OriginalFolder(folder or base / f"original-{os.getpid()}-{base.name[-4:].lower()}")
    original.write_compose(image, standin_images()["REDIS_IMAGE"])
    original.write_dotenv(
        POSTGRES_DB=DATABASE,
        POSTGRES_USER=USER,
        POSTGRES_PASSWORD=password,
        REDIS_PASSWORD=PLACEHOLDER,
        SECRET_KEY=STRONG["SECRET_KEY"],
        ENCRYPTION_KEY="your-encryption-key-here",
        JWT_SECRET=STRONG["JWT_SECRET_KEY"],
    )
    file = str(original.folder / "docker-compose.prod.yml")
    command = ["docker-compose", "--project-directory", str(original.folder), "--file", file]
    command[0] = str(checkout.home / "bin/docker-compose")
    moving = Moving(original, checkout, original.folder.name, command, image)
    moving.run_compose("up", "-d")
    postgres, redis = moving.container("postgres"), moving.container("redis")
    ready = 'for i in $(seq 100); do pg_isready -q -h "$(hostname -i)" && exit 0; sleep 0.2; done; exit 1'
    docker("exec", postgres, "sh", "-c", ready)
    sql = "CREATE TABLE cameras (name text); INSERT INTO cameras VALUES ('Door'), ('Garage')"
    docker("exec", postgres, "psql", "-q", "-U", USER, "-d", DATABASE, "-c", sql)
    docker("exec", redis, "redis-cli", "--no-auth-warning", "-a", PLACEHOLDER, "SET", "webhook:seen", "42")
    return moving


@pytest.fixture(scope="module", params=[16, 15], ids=["PostgreSQL 16", "PostgreSQL 15, a published password"])
def moving(request: pytest.FixtureRequest) -> Iterator[Moving]:
    """The original, running; and a fresh clone."""
    need_root()
    need_engine()
    is_16 = request.param == 16
    image = postgres_16_image() if is_16 else standin_images()["POSTGRES_IMAGE"]
    base = Path(tempfile.mkdtemp(prefix="adopt-"))
    checkout = linked_checkout(base, COLUMNS="250")
    moving = None
    try:
        with prepared_for_compose(checkout, f"adopt-test-{os.getpid()}-{request.param}"):
            often = "services: {app: {healthcheck: {interval: 1s, retries: 20, start_period: 2s}}}\n"
            (checkout.directory / "docker-compose.override.yml").write_text(often)
            moving = start_original(base, checkout, image, DATABASE_PASSWORD if is_16 else "password")
            yield moving
    finally:
        if moving is not None:
            moving.run_compose("down", "--volumes", "--timeout", "0")
        shutil.rmtree(base, ignore_errors=True)


def in_database(checkout: Checkout, sql: str) -> str:
    return docker("exec", containers(checkout)["postgres"]["Id"], "psql", "-U", USER, "-d", DATABASE, "-Atc", sql)


def signs_in(checkout: Checkout, password: str) -> bool:
    """Whether the database takes a password, over the network."""
    script = (
        'IFS= read -r PGPASSWORD; export PGPASSWORD; exec psql -w -h "$(hostname -i)" -U "$1" -d "$2" -c "SELECT 1"'
    )
    container = containers(checkout)["postgres"]["Id"]
    done = subprocess.run(
        ["docker", "exec", "-i", container, "sh", "-c", script, "sh", USER, DATABASE],
        input=f"{password}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def take_over(moving: Moving, block: str) -> str:
    """Take it over: at a terminal, as the page has it, or without one; returns what is said."""
    if not moving.is_16:
        return moving.adopt()
    checkout = moving.checkout
    words = shlex.split(block.replace("/srv/original", str(moving.original.folder)))
    terminal = Terminal(words, environ=checkout.environ, cwd=str(checkout.directory), columns=250, timeout=120)
    for question in QUESTIONS:
        terminal.answer(question)
    assert terminal.finish() == 0, terminal.text
    return terminal.text


def next_commands(said: str) -> list[str]:
    """The commands under "Next:"."""
    rest = said.partition("Next:\n")[2]
    lines = itertools.takewhile(lambda line: line.startswith("  "), rest.splitlines())
    return [line.strip() for line in lines]


def lose_everything_but_the_settings_for_compose(moving: Moving) -> None:
    """What a kill leaves behind between the first file that is written and the second."""
    moving.adopt()
    checkout = moving.checkout
    for path in (checkout.directory / ".env.production", checkout.key_file):
        path.unlink()
    for path in checkout.directory.glob("config/*"):
        if path.name != "catalog.toml":
            path.unlink()
    assert "POSTGRES_VOLUME=" in (checkout.directory / ".env").read_text()


def test_the_page_is_typed_on_a_running_original(moving: Moving) -> None:
    checkout, original = moving.checkout, moving.original
    is_16 = moving.is_16
    plan, carry_out, start = [block.text for block in blocks_of("docs/from-the-original.md")]
    if is_16:  # one more password, which is not the database's
        original.write_config(database="another-one-8Kq2Zw5x")
        original.write_dotenv(DATABASE_URL=URL)
    before = original.state()
    checkout.run("bash", "-euc", plan.replace("/srv/original", str(original.folder)))
    assert not (checkout.directory / "config/secrets.enc").exists()
    assert original.state() == before

    if not is_16:
        lose_everything_but_the_settings_for_compose(moving)
    said = take_over(moving, carry_out)
    assert leaked(STRONG | {"the database's": DATABASE_PASSWORD}, said.encode()) == []
    assert original.state() == before
    values = checkout.values()
    assert values["SECRET_KEY"] == STRONG["SECRET_KEY"]
    assert values["JWT_SECRET_KEY"] == STRONG["JWT_SECRET_KEY"]
    assert values["REDIS_PASSWORD"] != PLACEHOLDER
    if is_16:
        assert values["DATABASE_PASSWORD"] == DATABASE_PASSWORD
        assert "the running database accepts it" in said
    else:
        assert values["DATABASE_PASSWORD"] != "password"  # pragma: allowlist secret
    lines = dotenv_values(checkout.directory / ".env")
    assert lines["POSTGRES_IMAGE"] == moving.image
    assert lines["POSTGRES_VOLUME"] == f"{moving.project}_postgres_data"
    assert lines["REDIS_VOLUME"] == f"{moving.project}_redis_data"
    assert lines["REDIS_APPENDONLY"] == "yes"
    assert (lines["DATABASE_USER"], lines["DATABASE_NAME"]) == (USER, DATABASE)

    # Nothing starts on data that the original still has open; what is printed stops it.
    *stop, then = next_commands(said)
    assert then == "make up"
    generated = checkout.run("scripts/generate_docker_secrets.sh")
    assert "has this deployment's data open" in generated.stderr
    assert moving.container("postgres") in generated.stderr
    refused = checkout.run("bash", "-euc", start, check=False)
    assert refused.returncode == 2
    assert "has this deployment's data open" in refused.stderr
    for line in stop:
        checkout.run(*shlex.split(line))
    assert "data open" not in checkout.run("scripts/generate_docker_secrets.sh").stderr

    checkout.run("bash", "-euc", start)
    wait_until_healthy(checkout)
    assert in_database(checkout, "SELECT name FROM cameras ORDER BY name") == "Door\nGarage\n"
    assert in_database(checkout, "SHOW server_version").startswith(str(16 if is_16 else 15))
    assert log_in(checkout, values["ADMIN_PASSWORD"]).status_code == 200
    redis = containers(checkout)["redis"]["Id"]
    ask = [
        "docker",
        "exec",
        "-i",
        redis,
        "sh",
        "-c",
        "IFS= read -r REDISCLI_AUTH; export REDISCLI_AUTH; redis-cli GET webhook:seen",
    ]
    for password, answer in ((values["REDIS_PASSWORD"], "42"), (PLACEHOLDER, "NOAUTH")):
        done = subprocess.run(ask, input=f"{password}\n", text=True, capture_output=True, check=False)
        assert answer in done.stdout
    assert signs_in(checkout, values["DATABASE_PASSWORD"])
    assert not signs_in(checkout, "password")
    earlier = json.loads((checkout.directory / "secrets/encryption_key_previous.json").read_text())
    assert [entry["value"] for entry in earlier] == ["your-encryption-key-here"]

    # Compose does not remove data that is not its own.
    checkout.compose("down", "--volumes")
    assert moving.project in docker("volume", "ls", "--quiet")
    checkout.run("docker-compose", "up", "-d", "--wait")
    assert in_database(checkout, "SELECT count(*) FROM cameras") == "2\n"

    env, secrets = (checkout.directory / ".env").read_bytes(), checkout.values()
    moving.adopt()
    assert (checkout.directory / ".env").read_bytes() == env
    assert checkout.values() == secrets


def test_a_project_in_the_folder_of_the_original_takes_over_its_containers(tmp_path: Path) -> None:
    need_root()
    need_engine()
    checkout = linked_checkout(tmp_path, COLUMNS="250")
    folder = checkout.directory.rename(tmp_path / f"in-place-{os.getpid()}")
    checkout.directory = folder
    moving = start_original(tmp_path, checkout, standin_images()["POSTGRES_IMAGE"], DATABASE_PASSWORD, folder)
    own = standin_images() | {
        "APP_PORT": str(free_port()),
        "BUILD_NETWORK": "host",
        "APP_IMAGE": f"{folder.name}:latest",
    }
    own.pop("POSTGRES_IMAGE")
    try:
        before = (folder / ".env").read_bytes()
        said = moving.adopt()
        assert (folder / "before-adoption/.env").read_bytes() == before
        assert checkout.values()["DATABASE_PASSWORD"] == DATABASE_PASSWORD
        with (folder / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in own.items())
        for line in next_commands(said):
            checkout.run("bash", "-euc", line)
        assert log_in(checkout, checkout.values()["ADMIN_PASSWORD"]).status_code == 200
        assert in_database(checkout, "SELECT count(*) FROM cameras") == "2\n"
    finally:
        checkout.compose("down", "--timeout", "5", "--remove-orphans", check=False)
        docker("volume", "rm", f"{folder.name}_postgres_data", f"{folder.name}_redis_data", check=False)
        docker("image", "rm", own["APP_IMAGE"], check=False)


def test_a_database_of_a_version_that_was_never_tried_is_refused(moving: Moving, tmp_path: Path) -> None:
    # The file that says the version; the server is not started on it any more.
    volume = f"{moving.project}_postgres_data"
    moving.run_compose("stop", "--timeout", "0")
    moving.checkout.compose("stop", "--timeout", "5")
    write = ["run", "--rm", "--user", "0", "--entrypoint", "sh", "-v", f"{volume}:/v", moving.image, "-c"]
    was = docker(*write, "cat /v/PG_VERSION; echo 14 > /v/PG_VERSION").strip()
    state = {path: path.read_bytes() for path in moving.checkout.directory.glob(".env*")}
    try:
        said = moving.adopt(code=1)
    finally:
        docker(*write, f"echo {was} > /v/PG_VERSION")
    assert "PostgreSQL 14; this application was tried with 15 and 16" in said
    assert {path: path.read_bytes() for path in moving.checkout.directory.glob(".env*")} == state
