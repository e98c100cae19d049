"""Places that can do less than a usual disk, and root, who can do more: nothing is refused or taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.conftest import Project, need, need_program, need_root
from tests.support.terminal import ENTER, Terminal
from tests.support.wizard import FIRST_RUN

USER = 54321
PASSPHRASE = "several unlikely words together 7"
MANAGE = "manage_secrets.py"


def owners(project: Project) -> dict[str, int]:
    """Return the owner of everything in the project and in the home."""
    paths = [path for base in (project.directory, project.home) for path in (base, *base.rglob("*"))]
    return {str(path): path.lstat().st_uid for path in paths}


def secrets_of(project: Project, key_file: Path | None = None) -> dict[str, str]:
    key = (key_file or project.key_file).read_text().strip()
    values = json.loads(Fernet(key).decrypt(project.secrets_file.read_bytes()))["secrets"]
    assert isinstance(values, dict)
    return values


def succeed(project: Project, *command: str, **environ: str) -> str:
    done = project.run(*command, environ=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# --- A user without a home -------------------------------------------------------------------------------------------


def as_service(project: Project, *arguments: str) -> Terminal:
    """Run the wizard as a user who is not root, and whose home is the project."""
    need_program("unshare", "util-linux")
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    return Terminal(
        [*user, *project.script("setup_secrets.py", *arguments)],
        environ=project.environ({"HOME": str(project.directory)}),
        cwd=str(project.directory),
    )


def test_a_service_without_a_home_is_asked_where_the_key_goes(project: Project, tmp_path: Path) -> None:
    terminal = as_service(project)
    terminal.answer("Where do you want to store the secrets")
    terminal.wait_for("this user has no home folder outside of")
    terminal.answer("Path of the key file", "config/master.key" + ENTER)
    terminal.wait_for("may not be in the project's folder")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    terminal.process.send("\x15" + str(tmp_path / "open/key") + ENTER)
    terminal.wait_for(r"written by\s+others")
    terminal.process.send("\x15" + str(tmp_path / "keys/of the service.key") + ENTER)
    for question in FIRST_RUN[1:]:
        terminal.answer(question)
    assert terminal.finish() == 0
    assert secrets_of(project, tmp_path / "keys/of the service.key")
    assert not (project.directory / ".config").exists()


def test_a_service_without_a_home_and_a_terminal_is_told_before_anything_is_planned(project: Project) -> None:
    terminal = as_service(project, "--non-interactive")
    assert terminal.finish() == 1
    assert "There is no place for the master key" in terminal.text
    assert "--master-key-file" in terminal.text
    assert "Review" not in terminal.text
    assert not project.secrets_file.exists()


# --- Root ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(project: Project) -> Project:
    """The project and home of an ordinary user."""
    need_root()
    for path in owners(project):
        os.chown(path, USER, USER)
    return project


def change_everything(project: Project, **environ: str) -> None:
    (project.home / "passphrase").write_text(PASSPHRASE)
    os.chown(project.home / "passphrase", USER, USER)
    passphrase = ("--passphrase-file", str(project.home / "passphrase"))
    backup = ("--output", str(project.directory / "a.backup"))
    for command in (
        (MANAGE, "set", "SECRET_KEY", "--generate"),
        (MANAGE, "rotate", "JWT_SECRET_KEY", "--store-only", "--yes"),
        (MANAGE, "rollback", "SECRET_KEY", "--yes"),
        (MANAGE, "rotate-master-key", "--yes"),
        (MANAGE, "backup", *backup, *passphrase),
        (MANAGE, "doctor", "--fix", "--offline"),
    ):
        done = project.run(*command, environ=environ)
        assert done.returncode in ((0, 1) if "doctor" in command else (0,)), done.stderr


def test_through_sudo_everything_belongs_to_the_user_from_the_first_file_on(users: Project) -> None:
    sudo = {"SUDO_UID": str(USER), "SUDO_GID": str(USER), "SUDO_USER": "someone"}
    succeed(users, "setup_secrets.py", "--non-interactive", **sudo)
    change_everything(users, **sudo)
    assert {path: owner for path, owner in owners(users).items() if owner != USER} == {}


def test_a_sudo_that_has_a_home_of_its_own_leaves_the_project_to_the_user(users: Project, tmp_path: Path) -> None:
    """The key stays where the settings say; only root's own trail and journals are in root's home."""
    sudo = {"SUDO_UID": str(USER), "SUDO_GID": str(USER), "SUDO_USER": "someone"}
    succeed(users, "setup_secrets.py", "--non-interactive", **sudo)
    root_home = tmp_path / "root"
    root_home.mkdir(mode=0o700)
    change_everything(users, **sudo, HOME=str(root_home))
    assert {path: owner for path, owner in owners(users).items() if owner != USER} == {}


def test_root_leaves_the_files_that_are_there_to_their_owner(users: Project) -> None:
    succeed(users, "setup_secrets.py", "--non-interactive")
    for path in owners(users):
        os.chown(path, USER, USER)
    before = set(owners(users))
    # Without sudo, root may read the key of another user only if it is told whose it is.
    succeed(users, MANAGE, "set", "SECRET_KEY", "--generate", SUDO_UID=str(USER))
    after = owners(users)
    assert {path: after[path] for path in before if after[path] != USER} == {}


def test_a_file_that_a_stranger_has_put_there_gives_them_nothing(users: Project) -> None:
    succeed(users, "setup_secrets.py", "--non-interactive", SUDO_UID=str(USER), SUDO_GID=str(USER))
    os.chown(users.secrets_file, 12345, 12345)
    succeed(users, MANAGE, "set", "SECRET_KEY", "--generate", SUDO_UID=str(USER))
    assert users.secrets_file.stat().st_uid == 0


def test_the_doctor_of_root_sees_a_file_that_root_has_taken_away(users: Project) -> None:
    succeed(users, "setup_secrets.py", "--non-interactive", SUDO_UID=str(USER), SUDO_GID=str(USER))
    os.chown(users.secrets_file, 0, 0)
    done = users.run(MANAGE, "doctor", "--only", "secrets-file-owner", environ={"SUDO_UID": str(USER)})
    assert done.returncode == 1
    assert f"chown {USER}" in done.stdout


# --- A file system without hard links, modes or locks -----------------------------------------------------------------


@pytest.fixture
def stick() -> Iterator[Path]:
    """An exFAT file system, as USB sticks have it: without hard links and modes."""
    need_root()
    mount = need_program("mount.exfat-fuse", "exfat-fuse")
    make = need_program("mkfs.exfat", "exfatprogs")
    base = Path(tempfile.mkdtemp(prefix="stick-"))
    image, point = base / "image", base / "mnt"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    subprocess.run([make, image], capture_output=True, check=True)
    found = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    device = found.stdout.strip()
    try:
        mounted = subprocess.run([mount, device, point], capture_output=True, check=False) if device else None
        is_there = mounted is not None and mounted.returncode == 0 and os.path.ismount(point)
        need("a loop device and FUSE", is_there, "run the tests in a container that may mount")
        yield point
        subprocess.run(["umount", point], check=True)
    finally:
        if device:
            subprocess.run(["losetup", "--detach", device], check=False)
        if not os.path.ismount(point):
            shutil.rmtree(base)


def test_a_stick_takes_a_backup_and_gives_it_back(stick: Path, project: Project) -> None:
    project.set_up()
    before = secrets_of(project)
    (project.home / "passphrase").write_text(PASSPHRASE)
    passphrase = ("--passphrase-file", str(project.home / "passphrase"))
    said = succeed(project, MANAGE, "backup", "--output", str(stick / "a.backup"), *passphrase)
    assert "That disk keeps no modes" in said
    again = project.run(MANAGE, "backup", "--output", str(stick / "a.backup"), *passphrase)
    assert "exists already" in again.stderr
    succeed(project, MANAGE, "set", "SECRET_KEY", "--generate")
    succeed(project, MANAGE, "restore", str(stick / "a.backup"), *passphrase, "--yes")
    assert secrets_of(project) == before
    assert sorted(path.name for path in stick.iterdir()) == ["a.backup"]


def test_a_store_on_a_stick_is_set_up_changed_and_put_aside(stick: Path, project: Project) -> None:
    place = {"SECRETS_FILE_PATH": str(stick / "secrets.enc")}
    succeed(project, "setup_secrets.py", "--non-interactive", **place)
    for command in (
        ("set", "SECRET_KEY", "--generate"),
        ("rotate", "JWT_SECRET_KEY", "--yes"),
        ("rotate-master-key", "--yes"),
    ):
        succeed(project, MANAGE, *command, **place)
    succeed(project, "setup_secrets.py", "--non-interactive", "--start-over", "--confirm", "start over", **place)
    succeed(project, MANAGE, "status", **place)
    names = sorted(path.name for path in stick.iterdir())
    assert {"secrets.enc", "secrets.enc.sum"} <= set(names)
    assert any(name.startswith("secrets.enc.lost-") for name in names)
    assert not [name for name in names if name.endswith(".tmp")]


def test_a_key_on_a_stick_is_refused_with_what_can_be_done_about_it(stick: Path, project: Project) -> None:
    project.set_up()
    shutil.copy(project.key_file, stick / "master.key")
    done = project.run(MANAGE, "key", "verify", "--key-file", str(stick / "master.key"))
    assert done.returncode == 1
    assert "That disk keeps no modes" in done.stderr
    command = next(line for line in done.stderr.splitlines() if "install -m 400" in line).split(": ", 2)[2]
    subprocess.run(["sh", "-c", command], env=project.environ(), cwd=project.here, check=True)
    succeed(project, MANAGE, "key", "verify", "--key-file", str(project.home / "master.key"))


@pytest.mark.parametrize(
    "missing",
    ["link,linkat:error=EPERM", "link,linkat:error=EOPNOTSUPP", "fchmod:error=EPERM", "flock:error=ENOSYS"],
)
def test_a_change_works_where_a_system_call_does_not(missing: str, project: Project, tmp_path: Path) -> None:
    strace = need_program("strace", "strace")
    project.set_up()
    before = secrets_of(project)
    command = [strace, "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"inject={missing}"]
    command += project.script(MANAGE, "set", "SECRET_KEY", "--generate")
    done = subprocess.run(command, env=project.environ(), cwd=project.here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "INJECTED" in (tmp_path / "trace").read_text()
    assert "warning" not in done.stderr
    after = secrets_of(project)
    assert [name for name in before if before[name] != after[name]] == ["SECRET_KEY"]
    assert project.run(MANAGE, "rollback", "SECRET_KEY", "--yes").returncode == 0
    assert secrets_of(project) == before
    assert [path for path in project.secrets_file.parent.iterdir() if path.suffix == ".tmp"] == []
