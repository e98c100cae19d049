"""Fixtures for all tests, and the list of programs that are missing on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The first one to see the collected tests comes last.
pytest_plugins = ["tests.support.servers", "tests.support.schedule", "tests.support.forms"]

PROJECT = Path(__file__).resolve().parent.parent
REQUIRE_ALL = bool(os.environ.get("REQUIRE_ALL"))

CLEARED_PREFIXES = (
    *("SECRETS_", "APP_", "DATABASE_", "REDIS_", "XDG_", "COMPOSE_", "SUDO_"),
    *("AWS_", "AZURE_", "IDENTITY_", "VAULT_"),
)

_missing_parts: dict[str, str] = {}


def need(part: str, present: bool, how_to_get_it: str) -> None:
    """Skip the test if a part is missing, and report it at the end; with ``REQUIRE_ALL`` set, fail."""
    if present:
        return
    _missing_parts[part] = how_to_get_it
    if REQUIRE_ALL:
        pytest.fail(f"{part} is missing: {how_to_get_it}", pytrace=False)
    pytest.skip(f"{part} is missing")


def need_program(name: str, package: str) -> str:
    """Return the path of a program, see :func:`need`."""
    path = shutil.which(name)
    need(name, path is not None, f"apt-get install {package}")
    assert path is not None
    return path


def need_root() -> None:
    """Skip the test unless root runs it, because it acts as several users."""
    need("root", os.geteuid() == 0, "run the tests as root, in a container for example")


@pytest.fixture(autouse=True)
def no_value_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has loaded is not searched for in the messages of this one."""
    from src.utils.secrets import redaction

    for name, empty in (("_snapshots", []), ("_extra_values", set()), ("_pattern", None), ("_stale", False)):
        monkeypatch.setattr(redaction, name, empty)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the figures and missing parts to the main process (pytest-xdist)."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["missing parts"] = dict(_missing_parts)
        output["figures"] = figures.export()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the figures and missing parts of another process. A process that crashed sends nothing."""
    output = getattr(node, "workeroutput", {})
    _missing_parts.update(output.get("missing parts", {}))
    if "figures" in output:
        figures.merge(output["figures"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the missing parts and how to install them; in the full form, also the figures."""
    from tests.support.forms import IN_FULL  # a plugin, so not before pytest

    if IN_FULL:
        terminalreporter.section("what this run went through")
        for line in figures.lines():
            terminalreporter.write_line(line)
    if figures.measured():
        terminalreporter.section("measured")
        for line in figures.measured():
            terminalreporter.write_line(line)
    if _missing_parts:
        terminalreporter.section("not tested, because something is missing on this machine")
        for part, how in sorted(_missing_parts.items()):
            terminalreporter.write_line(f"{part}: {how}")


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Undo an ignored Ctrl-C, as in the background of a script: all programs of the tests would inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the further cases of each test."""
    seen = set()
    for item in items:
        name = item.nodeid.partition("[")[0]
        if name in seen:
            item.add_marker("further_case")
        seen.add(name)


@pytest.fixture(autouse=True)
def measure_programs_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the programs that the first case of a test starts; those of the others run the same lines, and faster."""
    if request.node.get_closest_marker("further_case"):
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings of the shell that runs the tests."""
    for name in list(os.environ):
        if name.startswith(CLEARED_PREFIXES) or name in (
            "CREDENTIALS_DIRECTORY",
            "NO_COLOR",
        ):
            monkeypatch.delenv(name)


class Project:
    """A separate project folder, and the real scripts run on it as a user runs them.

    Args:
        directory: The project.
        home: That person's home.
        environment: The deployment.
        options: What else names it on the command line.
    """

    def __init__(
        self, directory: Path, home: Path, *, environment: str = "production", options: tuple[str, ...] = ()
    ) -> None:
        plain = environment == "production"
        self.directory = directory
        self.home = home
        self.here = directory
        self.environment = environment
        self.options = options if plain else ("--environment", environment, *options)
        self.key_file = home / ".config/cctv-face-detection" / ("master.key" if plain else f"{environment}.key")
        self.secrets_file = directory / ("config/secrets.enc" if plain else f"config/secrets.{environment}.enc")
        self.settings_file = directory / f".env.{environment}"
        self.compose_file = directory / (".env" if plain else f".env.{environment}")
        self.docker_directory = directory / ("secrets" if plain else f"secrets/{environment}")
        self.journal = home / f".local/state/cctv-face-detection/rotate-{environment}.json"

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of a user's shell, and those that coverage needs."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        base = {"HOME": str(self.home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        return base | kept | dict(extra or {})

    def script(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of a script, for this project."""
        options = [*self.options, "--project-directory", str(self.directory)]
        return [str(PROJECT / "scripts" / name), *arguments, *options]

    def run(
        self, name: str, *arguments: str, environ: Mapping[str, str] | None = None, standard_input: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a script without a terminal."""
        return subprocess.run(
            self.script(name, *arguments),
            env=self.environ(environ),
            cwd=self.here,
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def set_up(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Generate the first secrets without questions."""
        done = self.run("setup_secrets.py", "--non-interactive", *arguments, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr
        return done

    def decrypt(self) -> dict[str, object]:
        """Decrypt the file without the project's code."""
        import json

        from cryptography.fernet import Fernet

        content = json.loads(Fernet(self.key_file.read_text().strip()).decrypt(self.secrets_file.read_bytes()))
        assert isinstance(content, dict)
        return content

    def values(self) -> dict[str, str]:
        """Return the secrets in the encrypted file."""
        values = self.decrypt()["secrets"]
        assert isinstance(values, dict)
        return values

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Return mode and content of every file of this project and its home, except locks and the audit trail.

        The trail also records failed attempts.
        """
        return {
            str(path): (path.lstat().st_mode & 0o7777, path.read_bytes() if path.is_file() else b"")
            for root in (self.directory, self.home)
            for path in sorted(root.rglob("*"))
            if path.suffix != ".lock" and ".coverage" not in path.name and not _belongs_to_trail(path)
        }


def _belongs_to_trail(path: Path) -> bool:
    return (
        path.name in ("audit.jsonl", ".local")
        or path.parts[-2:] == (".local", "state")
        or (path.is_dir() and path.parts[-3:-1] == (".local", "state"))
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with the real catalogue."""
    directory, home = tmp_path / "a project", tmp_path / "home"
    (directory / "config").mkdir(parents=True)
    home.mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", directory / "config/catalog.toml")
    return Project(directory, home)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 256 KiB."""
    need_root()
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False)
    need("tmpfs mounts", mount.returncode == 0, "run the tests where root may mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of the tests."""
    return sys.executable
