"""``make install`` and the scripts' own Python: what a machine is set to do elsewhere does not reach them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Project, need, need_program
from tests.pythons import VERSIONS, current_version, interpreters

STAMP = ".venv/.installed"


def make_environment(directory: Path) -> Path:
    """Make a virtual environment with the project's own script."""
    subprocess.run(["bash", PROJECT / "scripts/make_venv.sh", directory], check=True)
    return directory / "bin/python"


def works(python: Path) -> bool:
    return subprocess.run([python, "-I", "-c", "import pip"], capture_output=True, check=False).returncode == 0


def plan(checkout: Path) -> str:
    """Return the commands that `make install` would run."""
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["make", "-n", "install"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone in which `make install` has been run."""
    need_program("make", "make")
    for name in ("Makefile", "requirements.txt", "requirements-secrets.txt"):
        shutil.copy2(PROJECT / name, tmp_path / name)
    shutil.copytree(PROJECT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv/bin").mkdir(parents=True)
    program = tmp_path / ".venv/bin/python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    (tmp_path / STAMP).touch()
    assert "Nothing to be done" in plan(tmp_path)
    return tmp_path


@pytest.mark.parametrize("damage", ["removed", "dangling", "without packages"])
def test_an_environment_that_does_not_work_any_more_is_made_again(damage: str, checkout: Path) -> None:
    program = checkout / ".venv/bin/python"
    if damage == "without packages":
        # What an upgrade leaves: the link leads to another version, which has no packages.
        program.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} -S "$@"\n')
    else:
        program.unlink()
    if damage == "dangling":
        program.symlink_to("/no/such/python3.11")
    assert "make_venv.sh .venv" in plan(checkout)
    assert not (checkout / STAMP).exists()


def test_windows_line_ends_are_named_with_what_changes_them_back(checkout: Path) -> None:
    (checkout / STAMP).unlink()
    script = checkout / "scripts/lib.sh"
    unix = script.read_bytes()
    script.write_bytes(unix.replace(b"\n", b"\r\n"))
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["make", "install"], cwd=checkout, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 2
    assert "error: the scripts have Windows line ends" in done.stderr
    command = done.stderr.split("hint: Change them back: ", 1)[1].splitlines()[0]
    subprocess.run(["sh", "-c", command], cwd=checkout, check=True)
    assert script.read_bytes() == unix


def test_a_venv_is_kept_while_it_works_and_made_anew_otherwise(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    (tmp_path / "venv/mine").touch()
    make_environment(tmp_path / "venv")
    assert (tmp_path / "venv/mine").exists()
    python.unlink()
    python.symlink_to("/no/such/python3.11")
    make_environment(tmp_path / "venv")
    assert works(python)


def test_an_environment_of_another_python_is_made_anew(tmp_path: Path) -> None:
    """Nothing but the version in the path of the packages says that they are not for this one."""
    python = make_environment(tmp_path / "venv")
    packages = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    packages.parent.rename(packages.parent.with_name("python3.1"))
    assert not works(python)
    make_environment(tmp_path / "venv")
    assert works(python)


def test_an_environment_whose_python_became_another_version_is_made_anew(tmp_path: Path, checkout: Path) -> None:
    """As after an upgrade of the system: the link stays, and leads to the next version."""
    others = [path for version in VERSIONS if version != current_version() for path in interpreters(version)]
    need("another Python", bool(others), "install another of " + ", ".join(VERSIONS))
    python = make_environment(tmp_path / "venv")
    for link in sorted(python.parent.glob("python*")):
        link.unlink()
        link.symlink_to(others[0])
    assert not works(python)
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to(python)
    assert "make_venv.sh .venv" in plan(checkout)
    make_environment(tmp_path / "venv")
    assert works(python)


def test_packages_are_installed_into_the_environment_whatever_pip_is_set_to(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    wheel = build_wheel(tmp_path)
    (tmp_path / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{wheel}\n")
    home = tmp_path / "home/.config/pip"
    home.mkdir(parents=True)
    (home / "pip.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {tmp_path}\n[install]\nuser = true\ntarget = {tmp_path}/away\n"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "PIP_USER": "1",
        "PIP_PREFIX": str(tmp_path / "away"),
        "PIP_ROOT": str(tmp_path / "away"),
        "PYTHONPATH": str(tmp_path / "foreign"),
    }
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/pip.py").write_text("raise SystemExit('a foreign pip')\n")
    script = PROJECT / "scripts/install_packages.py"
    done = subprocess.run(
        [python, "-I", script, tmp_path / "requirements.txt"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "venv").rglob("tiny.py"))
    assert not (tmp_path / "away").exists()


def build_wheel(folder: Path) -> str:
    """Write a wheel with one module; returns its SHA-256."""
    import hashlib
    import zipfile

    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("command", ["setup_secrets.py", "manage_secrets.py status", "generate_docker_secrets.sh"])
def test_packages_elsewhere_are_not_for_the_scripts(command: str, project: Project) -> None:
    foreign = project.home / "foreign"
    foreign.mkdir(parents=True, exist_ok=True)
    for name in ("click", "cryptography", "dotenv", "filelock", "rich", "questionary"):
        (foreign / f"{name}.py").write_text("raise SystemExit('a foreign module')\n")
    done = project.run(*command.split(), "--help", environ={"PYTHONPATH": str(foreign)})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_without_its_bit_is_run_all_the_same(project: Project, tmp_path: Path) -> None:
    need("root or the owner", os.access(PROJECT, os.W_OK), "run this in a clone of your own")
    checkout = tmp_path / "clone"
    checkout.mkdir()
    for name in ("scripts", "src", "config"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (checkout / "scripts").iterdir():
        path.chmod(0o644)
    shutil.copy2(PROJECT / "Makefile", checkout / "Makefile")
    (checkout / ".venv").symlink_to(PROJECT / ".venv")
    done = subprocess.run(
        ["make", f"--old-file={STAMP}", "docker-secrets"],
        cwd=checkout,
        env=project.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Permission denied" not in done.stderr
    assert "error: No secrets are set up here" in done.stderr
