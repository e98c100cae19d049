"""Every block of commands in the README and the guides, run in order as a reader would type it.

A block that is not run says why in a comment before it: ``<!-- not run: reason -->``. The end of the run lists those.
One that another test runs, because it needs more around it, names it: ``<!-- run by: test_name -->``.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import figures
from tests.conftest import PROJECT, need_program, need_root
from tests.servers.aws import Aws, running_aws
from tests.servers.ports import free_port
from tests.servers.vault import PROGRAM, Vault, running_vault
from tests.terminal import ENTER, Terminal

from .engine import docker, need_engine, standin_images
from .test_stack import Checkout, linked_checkout, wait_until_healthy

PASSPHRASE = "several unlikely words together 7"
# In this order: a page may use what the one before has set up.
PAGES = [
    "docs/development.md",
    "README.md",
    "docs/first-deployment.md",
    "docs/compose.md",
    "docs/operations.md",
    "docs/backup.md",
    "docs/database-password.md",
    "docs/troubleshooting.md",
    "docs/kubernetes.md",
    "docs/unattended.md",
    "docs/cloud.md",
    "docs/catalog.md",
    "docs/security.md",
    "SECURITY.md",
]
LONGEST_BLOCK_SECONDS = 300


@dataclass(frozen=True)
class Block:
    """One block of commands.

    Attributes:
        page: Where it stands.
        number: Which one of that page.
        text: The commands.
        reason: Why it is not run.
        run_by: The other test that runs it.
    """

    page: str
    number: int
    text: str
    reason: str
    run_by: str


def blocks_of(page: str) -> list[Block]:
    pattern = r"(?:^<!-- (?:not run: (?P<reason>.*?)|run by: (?P<run_by>\w+)) -->\n)?^```sh\n(?P<text>.*?)^```$"
    found = re.finditer(pattern, (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [
        Block(page, number, match["text"], match["reason"] or "", match["run_by"] or "")
        for number, match in enumerate(found, 1)
    ]


def all_blocks() -> list[Block]:
    pages = ["README.md", "SECURITY.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]
    return [block for page in pages for block in blocks_of(page)]


def test_every_block_is_run_or_says_why_not_and_nine_of_ten_are() -> None:
    blocks = all_blocks()
    left_out = [block for block in blocks if block.reason]
    here = {block.page for block in blocks if not (block.reason or block.run_by)}
    assert here <= set(PAGES)
    tests = "".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    assert all(f"def {block.run_by}(" in tests for block in blocks if block.run_by)
    figures.say(f"Blocks of commands in the docs: {len(blocks)}, run: {len(blocks) - len(left_out)}")
    for block in left_out:
        figures.say(f"  not run: {block.page}, block {block.number}: {block.reason}")
    assert len(left_out) / len(blocks) <= 0.1
    fences = sum(
        len(re.findall(r"^```(?:sh|bash|shell|console)$", path.read_text(), re.MULTILINE))
        for path in (PROJECT / "README.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").glob("*.md"))
    )
    assert fences == len(blocks)


# --- The reader ------------------------------------------------------------------------------------------------------


class Reader:
    """Somebody with a checkout and a terminal, who types what stands there and answers what is asked."""

    def __init__(self, checkout: Checkout, usb: Path, environ: dict[str, str]) -> None:
        self.checkout = checkout
        self.usb = usb
        self.environ = environ

    def type(self, block: Block) -> None:
        """Run one block, which has to succeed."""
        text = self._filled_in(block.text)
        terminal = Terminal(
            ["/bin/bash", "-eo", "pipefail", "-c", text],
            environ=self.checkout.environ | {"TERM": "xterm", "LANG": "C.UTF-8"} | self.environ,
            cwd=str(self.checkout.directory),
            columns=120,
            rows=50,
            timeout=LONGEST_BLOCK_SECONDS,
        )
        deadline = time.monotonic() + LONGEST_BLOCK_SECONDS
        while terminal.is_running():
            assert time.monotonic() < deadline, f"{block}\n{terminal.text}"
            terminal.settle(0.4)
            keys = self._answer("\n".join(terminal.lines[-12:]))
            if keys:
                terminal.screen.reset()
                terminal.process.send(keys)
        assert terminal.finish() == 0, f"{text}\n{terminal.text}"

    def _answer(self, screen: str) -> str:
        """The keys for the question at the end of the screen; Enter is a good answer to nearly all."""
        question = re.search(r"^\? (.*)", screen, re.MULTILINE)
        if not question:
            return ""
        if re.search(r"once more|[Pp]assphrase|\((SMTP_PASSWORD|TWILIO_\w+)\)", question[1]):
            return "\x15" + PASSPHRASE + ENTER
        return ENTER

    def _filled_in(self, text: str) -> str:
        """What a reader puts in place of what is only an example."""
        environ = self.checkout.directory / ".env"
        port = re.search(r"APP_PORT=(\d+)", environ.read_text()) if environ.exists() else None
        text = text.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port[1] if port else 8000}")
        text = (
            text.replace("/mnt/usb", str(self.usb))
            .replace("/run/cctv-secrets", str(self.usb / "tmpfs"))
            .replace("rotate NAME", "rotate JWT_SECRET_KEY")
        )
        # What the text announces to end with 1 may do so.
        return re.sub(r"^(.*?)(\s+#.*exit code 1.*)$", r"\1 || test $? = 1\2", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="docs-"))
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with running_aws() as server:
        yield server


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with running_vault() as server:
        yield server


@pytest.fixture(scope="module")
def reader(folder: Path, aws: Aws, vault: Vault) -> Iterator[Reader]:
    """A deployer with an engine, and with the two servers that docs/operations.md moves to."""
    need_root()
    need_engine()
    need_program("curl", "curl")
    images = standin_images()
    checkout = linked_checkout(folder)
    name = f"docs-test-{os.getpid()}"
    settings = images | {
        "APP_IMAGE": f"{name}:latest",
        "APP_PORT": str(free_port()),
        "BUILD_NETWORK": "host",
        "COMPOSE_PROJECT_NAME": name,
    }
    (checkout.directory / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    usb = folder / "usb"
    usb.mkdir()
    (checkout.home / ".config/fish/conf.d").mkdir(parents=True)
    (checkout.home / "bin").mkdir(exist_ok=True)
    (checkout.home / "bin/vault").symlink_to(PROGRAM)
    for program, test in (("backup-database.sh", "-n $DATABASE_PASSWORD"), ("report.sh", "-s $DATABASE_PASSWORD_FILE")):
        (checkout.directory / program).write_text(f"#!/bin/sh\ntest {test}\n")
        (checkout.directory / program).chmod(0o755)
    (checkout.directory / "token.txt").write_text("a token of the provider")
    servers = {**aws.environ(), **vault.environ()}
    servers = {key: value for key, value in servers.items() if key.startswith(("AWS_", "VAULT_ADDR", "VAULT_TOKEN"))}
    try:
        yield Reader(checkout, usb, servers)
    finally:
        checkout.compose("down", "--volumes", "--timeout", "5", check=False)
        docker("image", "rm", settings["APP_IMAGE"], check=False)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_in_their_order(request: pytest.FixtureRequest, folder: Path, page: str) -> None:
    if page == "docs/development.md":
        base = folder / "development"
        base.mkdir()
        usb = folder
        by_itself = Reader(linked_checkout(base), usb, {})
        for block in blocks_of(page):
            by_itself.type(block)
        return
    reader: Reader = request.getfixturevalue("reader")
    PREPARATIONS.get(page, lambda _reader: None)(reader)
    for block in blocks_of(page):
        if not (block.reason or block.run_by):
            reader.type(block)
    if page in ("README.md", "docs/operations.md", "docs/database-password.md"):
        wait_until_healthy(reader.checkout)


def _prepare_operations(reader: Reader) -> None:
    """A secret that a provider issued, another environment, and an old file to come back from."""
    checkout = reader.checkout
    values = reader.usb / "values"
    values.write_text("TWILIO_SID=sid\nTWILIO_TOKEN=token\n")
    checkout.run("scripts/setup_secrets.py", "--non-interactive", "--import", str(values))
    checkout.run("scripts/setup_secrets.py", "--non-interactive", "--backend", "env", "--environment", "staging")
    checkout.run("scripts/generate_docker_secrets.sh")
    shutil.copy(checkout.directory / "config/secrets.enc", checkout.directory / "old.enc")
    shutil.copy(checkout.key_file, checkout.directory / "old.key")


PREPARATIONS = {"docs/operations.md": _prepare_operations}
