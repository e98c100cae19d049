"""Unit and contract tests with other Pythons, under other conditions: ``make test-pythons``.

Each run has its own copy of the project and its own environment, made from the same lock files. Each also has another
condition: an ordinary user, no UTF-8, another time zone. Only the environments in ``.venv/pythons`` stay.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.checkout import copy_checkout

PROJECT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
LOCKED = ("requirements.txt", "requirements-secrets.txt", "requirements-dev.txt")
TESTS = ("tests/unit", "tests/contract")
ENVIRONMENTS = PROJECT / ".venv/pythons"
OTHER_UID = 54321
REQUIRE_ALL = bool(os.environ.get("REQUIRE_ALL"))


class UnavailableConditionError(Exception):
    """This machine cannot provide a condition."""


@dataclass(frozen=True)
class Condition:
    """The conditions of a run.

    Attributes:
        name: The heading.
        folder: Name of the folder of the copy.
        environ: Additional variables.
        ordinary_user: Whether an ordinary user, not root, runs the tests.
        ignores_interrupts: Whether Ctrl-C is ignored, as in the background of a script.
        charmap: Encoding of a locale to make.
    """

    name: str
    folder: str
    environ: Mapping[str, str] = field(default_factory=dict)
    ordinary_user: bool = False
    ignores_interrupts: bool = False
    charmap: str = ""


ORDINARY_USER = Condition(
    "an ordinary user, a path with a space, LANG=C, time of Newfoundland",
    "a path with spaces",
    {"LANG": "C", "TZ": "America/St_Johns"},
    ordinary_user=True,
)
LATIN_1 = Condition(
    "a locale with Latin-1, Ctrl-C ignored, time of Nepal",
    "latin-1",
    {"LC_ALL": "de_DE", "PYTHONUTF8": "0", "TZ": "Asia/Kathmandu"},
    ignores_interrupts=True,
    charmap="ISO-8859-1",
)
ELSEWHERE = Condition("an umlaut in the path, time of the Chatham Islands", "ümlaut", {"TZ": "Pacific/Chatham"})


def main() -> int:
    """Run all installed Pythons; returns the exit code."""
    found = {version: interpreters(version) for version in VERSIONS}
    for version in [version for version in VERSIONS if not found[version]]:
        say(f"Python {version} is not here: not tested")
    codes = [run(python, condition) for python, condition in distribute(found, current_version())]
    return max(codes, default=0)


def current_version() -> str:
    """Return the version of the Python that runs the other tests."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreters(version: str) -> list[str]:
    """Return every Python of this version: on the PATH, and in pyenv's folder."""
    folders = [*os.get_exec_path(), "/usr/local/bin", "/usr/bin"]
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates = [f"{folder}/python{version}" for folder in folders]
    candidates += sorted(glob.glob(f"{glob.escape(pyenv)}/versions/{version}.*/bin/python{version}"))
    real = [path for candidate in candidates if (path := _interpreter(candidate, version))]
    return list(dict.fromkeys(real))


def _interpreter(candidate: str, version: str) -> str:
    """Return the path of the Python itself, not of pyenv's shim; empty if it is no Python, or an incomplete one."""
    if not os.access(candidate, os.X_OK):
        return ""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys._base_executable)"
    done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
    found, _, path = done.stdout.strip().partition(" ")
    return os.path.realpath(path) if done.returncode == 0 and found == version else ""


def distribute(found: Mapping[str, Sequence[str]], current: str) -> list[tuple[str, Condition]]:
    """Return which Python runs under which condition: each other version once, and each condition once."""
    waiting = [version for version in found if version != current and found[version]]
    runs = []
    for condition in (ORDINARY_USER, LATIN_1):
        python = _suitable(condition, [*waiting, current], found)
        if not python:
            _leave_out(f"no Python that an ordinary user may run: {condition.name}")
            continue
        waiting = [version for version in waiting if python not in found[version]]
        runs.append((python, condition))
    return [*runs, *((found[version][0], ELSEWHERE) for version in waiting)]


def _suitable(condition: Condition, versions: Sequence[str], found: Mapping[str, Sequence[str]]) -> str:
    for version in versions:
        for path in found[version]:
            if not condition.ordinary_user or is_open_to_all(path):
                return path
    return ""


def is_open_to_all(path: str) -> bool:
    """Return whether every user may run it; pyenv's Pythons in root's home are only for root."""
    return all(part.stat().st_mode & 0o001 for part in (Path(path), *Path(path).parents))


def run(python: str, condition: Condition) -> int:
    """Run the tests once; returns the exit code."""
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    say(f"{version}: {condition.name}")
    with tempfile.TemporaryDirectory(prefix="pythons-") as base:
        try:
            return _run_in(Path(base), python, condition)
        except UnavailableConditionError as error:
            return _leave_out(f"{error}: {condition.name}")


def _run_in(base: Path, python: str, condition: Condition) -> int:
    base.chmod(0o755)
    project = base / condition.folder / "project"
    project.mkdir(parents=True)
    copy_checkout(project)
    subprocess.run(["git", "init", "--quiet", project], check=True)
    become = _become(condition)
    # Another user may not enter this user's folders.
    environment = base / "environment" if become else ENVIRONMENTS / os.path.basename(python)
    make_environment(python, environment)
    (project / ".venv").symlink_to(environment)
    pytest = [str(environment / "bin/python"), "-m", "pytest", "-q", "-n", "2", "-p", "randomly", *TESTS]
    shielded = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if condition.ignores_interrupts else []
    environ = _environ(condition, base)
    if become:
        _give_away(base)
    elif REQUIRE_ALL:
        environ["REQUIRE_ALL"] = "1"
    return subprocess.run([*become, *shielded, *pytest], cwd=project, env=environ, check=False).returncode


def _become(condition: Condition) -> list[str]:
    """Return the start of a command that another user runs; empty if this user is not root."""
    if not condition.ordinary_user or os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        raise UnavailableConditionError("setpriv is missing (apt-get install util-linux)")
    return ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups", "--"]


def _give_away(base: Path) -> None:
    for path in (base, *base.rglob("*")):
        os.chown(path, OTHER_UID, OTHER_UID, follow_symlinks=False)


def make_environment(python: str, directory: Path) -> None:
    """Make an environment with all locked packages, unless it exists."""
    wanted = hashlib.sha256(b"".join((PROJECT / name).read_bytes() for name in LOCKED) + python.encode()).hexdigest()
    stamp = directory / "locked.sha256"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([python, "-m", "venv", "--clear", directory], check=True)
    for name in LOCKED:
        subprocess.run(
            [
                *(directory / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--require-hashes", "--only-binary", ":all:", "-r", PROJECT / name),
            ],
            check=True,
        )
    stamp.write_text(wanted)


def _environ(condition: Condition, base: Path) -> dict[str, str]:
    """Return the variables of a new login."""
    home, temporary = base / "home", base / "tmp"
    home.mkdir()
    temporary.mkdir()
    environ = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    locale = {"LOCPATH": _make_locale(condition, base)} if condition.charmap else {}
    return {**environ, **locale, **condition.environ}


def _make_locale(condition: Condition, base: Path) -> str:
    name = condition.environ["LC_ALL"]
    folder = base / "locales"
    folder.mkdir()
    try:
        subprocess.run(
            ["localedef", "-i", name, "-f", condition.charmap, folder / name], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise UnavailableConditionError("localedef makes no such locale (apt-get install locales)") from None
    return str(folder)


def _leave_out(reason: str) -> int:
    say(f"left out: {reason}")
    return 1 if REQUIRE_ALL else 0


def say(text: str) -> None:
    print(f"== {text}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
