"""Keys, tokens and passphrases: read only from where nobody else could have put them."""

from __future__ import annotations

import os
import pwd
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hvac
import pytest

from src.ops.commands.shared.backup_lock import read_lock
from src.ops.commands.shared.given_keys import read_key
from src.ops.deployment.deployment import Deployment
from src.utils.secrets.backends.hashicorp_vault_login import Login
from src.utils.secrets.errors import MasterKeyOwnerError, SecretsError, UntrustedPlaceError
from src.utils.secrets.masterkey import generate_master_key, load_master_key
from src.utils.secrets.trusted_place import require_trusted_place
from tests.conftest import PROJECT, Project, need_root

STRANGER = 65534
PERSON = 54321


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file in a folder in a folder, all of them one's own."""
    need_root()
    path = tmp_path / "outer/inner/file"
    path.parent.mkdir(parents=True)
    path.write_text(generate_master_key().text())
    path.chmod(0o400)
    return path


def is_trusted(path: Path | str) -> bool:
    try:
        require_trusted_place(str(path), "The file")
    except UntrustedPlaceError:
        return False
    return True


def folder_of_a_stranger(place: Path) -> Path:
    os.chown(place.parent, STRANGER, STRANGER)
    return place


def folder_of_a_stranger_further_up(place: Path) -> Path:
    os.chown(place.parent.parent, STRANGER, STRANGER)
    return place


def folder_open_to_all(place: Path) -> Path:
    place.parent.chmod(0o777)
    return place


def folder_open_to_all_further_up(place: Path) -> Path:
    place.parent.parent.chmod(0o707)
    return place


def folder_open_to_a_group(place: Path) -> Path:
    os.chown(place.parent, 0, 100)
    place.parent.chmod(0o770)
    return place


def link_of_a_stranger(place: Path) -> Path:
    link = place.parent.parent / "link"
    link.symlink_to("inner/file")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    return link


def link_of_a_stranger_behind_ones_own(place: Path) -> Path:
    link = place.parent.parent / "own"
    link.symlink_to(os.path.join("..", "outer", link_of_a_stranger(place).name))
    return link


def own_link_through_a_folder_of_a_stranger(place: Path) -> Path:
    link = place.parent.parent / "own"
    link.symlink_to(folder_of_a_stranger(place))
    return link


def linked_folder_of_a_stranger(place: Path) -> Path:
    link = place.parent.parent / "folder"
    link.symlink_to(place.parent)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    return link / place.name


def file_of_a_stranger_in_a_shared_folder(place: Path) -> Path:
    place.parent.chmod(0o1777)
    os.chown(place, STRANGER, STRANGER)
    return place


def folder_of_a_stranger_in_a_shared_folder(place: Path) -> Path:
    place.parent.parent.chmod(0o1777)
    return folder_of_a_stranger(place)


UNTRUSTED = [
    folder_of_a_stranger,
    folder_of_a_stranger_further_up,
    folder_open_to_all,
    folder_open_to_all_further_up,
    folder_open_to_a_group,
    link_of_a_stranger,
    link_of_a_stranger_behind_ones_own,
    own_link_through_a_folder_of_a_stranger,
    linked_folder_of_a_stranger,
    file_of_a_stranger_in_a_shared_folder,
    folder_of_a_stranger_in_a_shared_folder,
]


@pytest.mark.parametrize("make", UNTRUSTED)
def test_a_file_that_a_stranger_could_have_put_there_is_refused(make: Callable[[Path], Path], place: Path) -> None:
    assert is_trusted(place)
    assert not is_trusted(make(place))


def test_ones_own_file_is_read_in_a_shared_folder_and_through_ones_own_links(place: Path) -> None:
    place.parent.chmod(0o1777)
    link = place.parent / "link"
    link.symlink_to("../../outer/inner/file")
    assert is_trusted(place)
    assert is_trusted(link)


def test_a_secret_of_kubernetes_is_read(tmp_path: Path) -> None:
    """The folder is open to all, with the sticky bit, and every file is a link into a folder that is a link."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026/token").write_text("x")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/token")
    tmp_path.chmod(0o3777)
    assert is_trusted(tmp_path / "token")


def test_a_group_that_only_the_owner_is_in_is_no_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(PERSON))
    os.chown(place.parent, PERSON, PERSON)
    place.parent.chmod(0o775)
    assert is_trusted(place)
    os.chown(place.parent, PERSON, 100)
    place.parent.chmod(0o775)
    assert not is_trusted(place)


def test_a_group_that_others_have_as_theirs_is_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of daemon is named like daemon; that of sync is nogroup, which others have, too."""
    for name, trusted in (("daemon", True), ("sync", False)):
        user = pwd.getpwnam(name)
        monkeypatch.setenv("SUDO_UID", str(user.pw_uid))
        os.chown(place.parent, user.pw_uid, user.pw_gid)
        place.parent.chmod(0o775)
        assert is_trusted(place) is trusted


def test_an_access_list_is_seen(place: Path) -> None:
    place.parent.chmod(0o755)
    entries = [(0x01, 7, -1), (0x02, 7, 1234), (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(place.parent, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert not is_trusted(place)


def test_a_folder_that_somebody_else_has_to_close_is_not_closed_by_the_hint(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parent.chmod(0o777)
    with pytest.raises(UntrustedPlaceError) as caught:
        require_trusted_place(str(place), "The file")
    assert "chmod go-w" in caught.value.hint
    monkeypatch.setattr(os, "geteuid", lambda: PERSON)
    with pytest.raises(UntrustedPlaceError) as caught:
        require_trusted_place(str(place), "The file")
    assert "Keep the file in a folder" in caught.value.hint
    assert "chmod" not in caught.value.hint


def test_root_trusts_the_person_whose_home_it_has(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(place.parent, PERSON, PERSON)
    assert not is_trusted(place)
    monkeypatch.setenv("HOME", str(place.parent))
    assert is_trusted(place)


def test_links_in_a_circle_and_missing_files_are_left_to_who_opens_them(place: Path) -> None:
    (place.parent / "a").symlink_to("b")
    (place.parent / "b").symlink_to("a")
    assert is_trusted(place.parent / "a")
    assert is_trusted(place.parent / "missing/file")


def test_an_open_descriptor_is_read(place: Path) -> None:
    with place.open() as file:
        assert is_trusted(f"/dev/fd/{file.fileno()}")


def test_systemds_credentials_are_trusted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of_a_stranger(place)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place.parent))
    assert is_trusted(place)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place.parent.parent / "other"))
    assert not is_trusted(place)


@pytest.fixture
def read_only_mount(place: Path) -> Iterator[None]:
    folder_of_a_stranger(place)
    folder = str(place.parent)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    yield
    subprocess.run(["umount", folder], check=True)


def test_a_read_only_mount_is_trusted(place: Path, read_only_mount: None) -> None:
    assert is_trusted(place)


# --- Every way in ----------------------------------------------------------------------------------------------------


def sign_in(environ: dict[str, str]) -> None:
    Login(environ).token(hvac.Client("http://127.0.0.1:9"))


def read_passphrase(path: str) -> None:
    deployment = Deployment.locate(project_directory=str(PROJECT), environ={})
    read_lock(path, None, deployment, is_new=False)


DOORS: dict[str, Callable[[str], object]] = {
    "master key": lambda path: load_master_key({"SECRETS_MASTER_KEY_FILE": path}),
    "--key-file": read_key,
    "--passphrase-file": read_passphrase,
    "VAULT_TOKEN_FILE": lambda path: sign_in({"VAULT_TOKEN_FILE": path}),
    "VAULT_ROLE_ID_FILE": lambda path: sign_in({"VAULT_ROLE_ID_FILE": path}),
    "VAULT_SECRET_ID_FILE": lambda path: sign_in({"VAULT_ROLE_ID": "x", "VAULT_SECRET_ID_FILE": path}),
}


@pytest.mark.parametrize("door", DOORS)
def test_each_way_in_refuses_it_and_says_why(door: str, place: Path) -> None:
    folder_of_a_stranger(place)
    with pytest.raises((UntrustedPlaceError, MasterKeyOwnerError), match="belongs to another user") as caught:
        DOORS[door](str(place))
    assert str(place.parent) in str(caught.value)
    assert ("ls -ld" if door.startswith(("VAULT", "--pass")) else "install -m 400") in caught.value.hint


def test_a_key_in_a_place_of_another_is_used_again_as_its_hints_say(project: Project, tmp_path: Path) -> None:
    """What is there in the home already stays as it is."""
    need_root()
    elsewhere = tmp_path / "elsewhere/master.key"
    project.set_up("--master-key-file", str(elsewhere))
    kept = project.home / "master.key"
    kept.write_text("something else")
    os.chown(elsewhere.parent, STRANGER, STRANGER)
    done = project.run("manage_secrets.py", "status")
    assert done.returncode == 1
    hints = [line.split(": ", 2)[2] for line in done.stderr.splitlines() if line.startswith("hint: ")][:2]
    for hint in (hints[0], f"{hints[1]} --yes"):
        subprocess.run(["sh", "-c", hint], env=project.environ(), cwd=project.here, check=True)
    assert project.run("manage_secrets.py", "status").returncode == 0
    assert kept.read_text() == "something else"


def test_no_key_is_written_where_it_would_not_be_read(project: Project) -> None:
    (project.home / "open").mkdir()
    (project.home / "open").chmod(0o777)
    done = project.run("setup_secrets.py", "--non-interactive", "--master-key-file", str(project.home / "open/key"))
    assert done.returncode == 1
    assert "can be written by others" in done.stderr
    assert not list((project.home / "open").iterdir())
    assert not project.secrets_file.exists()


def test_a_folder_that_is_open_is_closed_as_its_hint_says(project: Project) -> None:
    project.set_up()
    project.key_file.parent.chmod(0o777)
    done = project.run("manage_secrets.py", "status")
    hint = done.stderr.splitlines()[1].split(": ", 2)[2]
    subprocess.run(["sh", "-c", hint], env=project.environ(), cwd=project.here, check=True)
    assert project.run("manage_secrets.py", "status").returncode == 0


def test_the_login_of_vaults_own_program_too(place: Path) -> None:
    (place.parent / ".vault-token").write_text("x")
    folder_of_a_stranger(place)
    with pytest.raises(SecretsError, match="belongs to another user"):
        sign_in({"HOME": str(place.parent)})
