"""Every block of commands in the README and the guides, run in order as a reader would type it.

A block that is not run says why in a comment before it: ``<!-- not run: reason -->``. The end of the run lists those.
A block that another test runs, because it needs more set-up, names that test: ``<!-- run by: test_name -->``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import figures
from tests.conftest import PROJECT, need, need_program, need_root
from tests.servers.aws import CREDENTIALS, REGION, running_aws
from tests.servers.keyvault import KeyVault
from tests.servers.vault import PROGRAM, running_vault
from tests.support.checkout import Checkout, linked_checkout, prepared_for_compose
from tests.support.engine import need_engine
from tests.support.pages import Block, blocks_of
from tests.support.terminal import ENTER, Terminal

PASSPHRASE = "several unlikely words together 7"
# In this order, with their readers: a page may use what the reader's previous page has set up.
PAGES = {
    "docs/development.md": "developer",
    "README.md": "deployer",
    "docs/first-deployment.md": "deployer",
    "docs/compose.md": "deployer",
    "docs/operations.md": "deployer",
    "docs/rotation.md": "deployer",
    "docs/backup.md": "deployer",
    "docs/database-password.md": "deployer",
    "docs/troubleshooting.md": "deployer",
    "docs/kubernetes.md": "deployer",
    "docs/unattended.md": "deployer",
    "docs/catalog.md": "deployer",
    "docs/another-application.md": "deployer",
    "docs/security.md": "deployer",
    "SECURITY.md": "deployer",
    "docs/migration.md": "deployer",
    "docs/aws.md": "deployer on AWS",
    "docs/aws-rotation.md": "deployer on AWS",
    "docs/vault.md": "deployer on Vault",
    "docs/azure.md": "deployer on Azure",
}
AWS_CLI = PROJECT / ".venv/awscli/bin/aws"
LONGEST_BLOCK_SECONDS = 300


def all_blocks() -> list[Block]:
    pages = ["README.md", "SECURITY.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]
    return [block for page in pages for block in blocks_of(page)]


def test_every_block_is_run_or_says_why_not_and_nine_of_ten_are() -> None:
    blocks = all_blocks()
    left_out = [block for block in blocks if block.reason]
    here = {block.page for block in blocks if not (block.reason or block.run_by)}
    assert here == set(PAGES)
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


# --- The readers ------------------------------------------------------------------------------------------------------


class Reader:
    """A reader with a checkout and a terminal, who types the commands of a page and answers the questions.

    Attributes:
        checkout: The clone.
        environ: Additional variables of this reader's shell.
        usb: A USB stick.
        examples: The reader's own values for the examples in the page.
    """

    def __init__(self, checkout: Checkout, port: str = "8000") -> None:
        self.checkout = checkout
        self.environ: dict[str, str] = {}
        self._folder = checkout.directory.parent
        self.usb = self._folder / "usb"
        self._shell = self._folder / "shell"
        self._applies_later = False  # the page says when
        self.examples = {
            "http://127.0.0.1:8000": f"http://127.0.0.1:{port}",
            "/mnt/usb": str(self.usb),
            "/run/cctv-secrets": str(self._folder / "tmpfs"),
            "rotate NAME": "rotate JWT_SECRET_KEY",
        }

    def open_page(self, page: str) -> None:
        """Begin a page: a new shell, and an empty USB stick."""
        self._applies_later = any("secrets.py apply\n" in block.text for block in blocks_of(page))
        self._shell.unlink(missing_ok=True)
        shutil.rmtree(self.usb, ignore_errors=True)
        self.usb.mkdir()

    def type(self, block: Block) -> None:
        """Run one block, which must succeed, in the shell that ran the previous blocks."""
        text = self._filled_in(block.text)
        shell = shlex.quote(str(self._shell))
        script = (
            f"test ! -f {shell} || . {shell}\n{text}\n{{ declare -px; printf 'cd -- %q\\n' \"$PWD\"; }} > {shell}\n"
        )
        terminal = Terminal(
            ["/bin/bash", "-eo", "pipefail", "-c", script],
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
            keys = self._answer(terminal)
            if keys:
                terminal.screen.reset()
                terminal.process.send(keys)
        assert terminal.finish() == 0, f"{text}\n{terminal.text}"

    def _answer(self, terminal: Terminal) -> str:
        """Return the keys for an open question, where the cursor is. Enter answers nearly all of them."""
        questions = re.findall(r"^\? (.*)", "\n".join(terminal.lines), re.MULTILINE)
        if not questions or terminal.screen.cursor.x == 0:
            return ""
        if re.search(r"Repeat it|[Pp]assphrase|\((SMTP_PASSWORD|TWILIO_\w+)\)", questions[-1]):
            return "\x15" + PASSPHRASE + ENTER
        if "Apply the change to them now" in questions[-1] and self._applies_later:
            return "n"
        return "y" if "Remove them permanently" in questions[-1] else ENTER

    def _filled_in(self, text: str) -> str:
        for example, own in self.examples.items():
            text = text.replace(example, own)
        # A command may end with 1 if the page says so.
        return re.sub(r"^(.*?)(\s+#.*exit code 1.*)$", r"\1 || test $? = 1\2", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="docs-"))
    yield base
    shutil.rmtree(base, ignore_errors=True)


@contextmanager
def deployer(folder: Path, name: str) -> Iterator[Reader]:
    """A reader with an engine and the command line clients of the clouds."""
    need_root()
    need_engine()
    need_program("curl", "curl")
    need("the AWS CLI", AWS_CLI.exists(), "make install-dev")
    checkout = linked_checkout(make_folder(folder / name))
    with prepared_for_compose(checkout, f"docs-{name}-{os.getpid()}") as settings:
        (checkout.home / "bin/vault").symlink_to(PROGRAM)
        (checkout.home / "bin/aws").symlink_to(AWS_CLI)
        (checkout.home / ".config/fish/conf.d").mkdir(parents=True)
        yield Reader(checkout, settings["APP_PORT"])


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def readers(request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[[str], Reader]]:
    """Return the readers by name; each is created at its first use."""
    present: dict[str, Reader] = {}
    with ExitStack() as stack:

        def find(who: str) -> Reader:
            if who not in present:
                present[who] = READERS[who](request, folder, stack)
            return present[who]

        yield find


def _developer(_request: pytest.FixtureRequest, folder: Path, _stack: ExitStack) -> Reader:
    return Reader(linked_checkout(make_folder(folder / "development")))


def _deployer(request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Reader:
    """The encrypted file, and two servers to migrate to."""
    reader = stack.enter_context(deployer(folder, "file"))
    aws, vault = request.getfixturevalue("aws_server"), request.getfixturevalue("vault_server")
    aws.clear()
    vault.clear()
    servers = {**aws.environ(), **vault.environ()}
    reader.environ = {
        key: value for key, value in servers.items() if key.startswith(("AWS_", "VAULT_ADDR", "VAULT_TOKEN"))
    }
    return reader


def _deployer_on_aws(request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Reader:
    reader = stack.enter_context(deployer(folder, "aws"))
    server = stack.enter_context(running_aws(MOTO_IAM_LOAD_MANAGED_POLICIES="true"))
    reader.environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": REGION}
    return reader


def _deployer_on_vault(request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Reader:
    """Signed in with `vault login` with the root token, on a Vault without an engine."""
    reader = stack.enter_context(deployer(folder, "vault"))
    server = stack.enter_context(running_vault())
    server.client().sys.disable_secrets_engine("secret")
    reader.environ = {"VAULT_ADDR": server.url}
    token = reader.checkout.home / ".vault-token"
    token.touch(0o600)
    token.write_text(server.token)
    return reader


def _deployer_on_azure(request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Reader:
    reader = stack.enter_context(deployer(folder, "azure"))
    server: KeyVault = request.getfixturevalue("keyvault_server")
    server.clear()
    reader.environ = server.environ()
    del reader.environ["SECRETS_BACKEND"]
    reader.examples["https://NAME.vault.azure.net"] = reader.environ.pop("AZURE_KEYVAULT_URL")
    return reader


READERS = {
    "developer": _developer,
    "deployer": _deployer,
    "deployer on AWS": _deployer_on_aws,
    "deployer on Vault": _deployer_on_vault,
    "deployer on Azure": _deployer_on_azure,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_in_their_order(readers: Callable[[str], Reader], page: str) -> None:
    reader = readers(PAGES[page])
    PREPARATIONS.get(page, lambda _reader: None)(reader)
    reader.open_page(page)
    for block in blocks_of(page):
        if not (block.reason or block.run_by):
            reader.type(block)


def _prepare_operations(reader: Reader) -> None:
    """Set up what the page assumes: a provider's secret, and programs that need one."""
    checkout = reader.checkout
    checkout.run("scripts/setup_secrets.py", "--non-interactive", "--import", str(_provider_file(reader)))
    checkout.run("scripts/generate_docker_secrets.sh")
    checkout.compose("up", "-d", "--force-recreate", "--wait")
    for program, test in (("backup-database.sh", "-n $DATABASE_PASSWORD"), ("report.sh", "-s $DATABASE_PASSWORD_FILE")):
        (checkout.directory / program).write_text(f"#!/bin/sh\ntest {test}\n")
        (checkout.directory / program).chmod(0o755)


def _provider_file(reader: Reader) -> Path:
    path = reader.checkout.home / "provider.env"
    path.write_text("TWILIO_SID=AC5f0c21\nTWILIO_TOKEN=5f0c21e9\n")
    return path


def _prepare_rotation(reader: Reader) -> None:
    (reader.checkout.directory / "token.txt").write_text("5f0c issued by the provider")


def _prepare_migration(reader: Reader) -> None:
    """Set up another environment, and an old encrypted file."""
    checkout = reader.checkout
    checkout.run("scripts/setup_secrets.py", "--non-interactive", "--environment", "staging")
    shutil.copy(checkout.directory / "config/secrets.enc", checkout.directory / "old.enc")
    shutil.copy(checkout.key_file, checkout.directory / "old.key")


PREPARATIONS = {
    "docs/operations.md": _prepare_operations,
    "docs/rotation.md": _prepare_rotation,
    "docs/migration.md": _prepare_migration,
}
