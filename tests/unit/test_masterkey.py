"""Where the master key comes from, and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets.errors import MasterKeyError
from src.utils.secrets.masterkey import MasterKey, generate_master_key, load_master_key, parse_master_key
from tests.conftest import need, need_root

KEY = Fernet.generate_key().decode()


def key_file(folder: Path, text: str = KEY + "\n", mode: int = 0o400) -> Path:
    path = folder / "master.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_in_the_environment_opens_what_it_encrypted() -> None:
    key = load_master_key({"SECRETS_MASTER_KEY": KEY})
    assert Fernet(KEY).decrypt(key.fernet().encrypt(b"x")) == b"x"
    assert key.source == "SECRETS_MASTER_KEY"


def test_a_key_in_a_file_is_read(tmp_path: Path) -> None:
    assert load_master_key({"SECRETS_MASTER_KEY_FILE": str(key_file(tmp_path))}).text() == KEY


def test_a_keys_file_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_master_key({"SECRETS_MASTER_KEY_FILE": "~/master.key"}).text() == KEY


def test_a_command_prints_the_key_and_no_shell_sees_it(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    assert load_master_key({"SECRETS_MASTER_KEY_COMMAND": f"cat '{path}'"}).text() == KEY
    with pytest.raises(MasterKeyError, match="not a Fernet key"):
        load_master_key({"SECRETS_MASTER_KEY_COMMAND": f"echo $(cat {path})"})


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "failed with exit code 1"),
        ("/no/such/program", "cannot be run"),
        ("cat 'unclosed", "not a command line"),
        (" ", "not a command line"),
    ],
)
def test_a_command_that_gives_no_key_is_refused(command: str, reason: str) -> None:
    with pytest.raises(MasterKeyError, match=reason):
        load_master_key({"SECRETS_MASTER_KEY_COMMAND": command})


def test_a_command_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.secrets.masterkey.COMMAND_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(MasterKeyError, match="has not answered"):
        load_master_key({"SECRETS_MASTER_KEY_COMMAND": "sleep 30"})


def test_what_it_has_started_is_ended_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.secrets.masterkey.COMMAND_TIMEOUT_SECONDS", 0.5)
    script = tmp_path / "key"
    script.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/pid; wait\n")
    script.chmod(0o755)
    with pytest.raises(MasterKeyError, match="has not answered"):
        load_master_key({"SECRETS_MASTER_KEY_COMMAND": str(script)})
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 5
    while child.exists() and " Z " not in child.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_key_in_the_place_of_the_command_is_not_repeated() -> None:
    with pytest.raises(MasterKeyError) as caught:
        load_master_key({"SECRETS_MASTER_KEY_COMMAND": KEY})
    assert KEY not in str(caught.value) + caught.value.hint


def test_systemds_credentials_are_the_last_source(tmp_path: Path) -> None:
    (tmp_path / "secrets_master_key").write_text(KEY)
    (tmp_path / "secrets_master_key").chmod(0o400)
    other = Fernet.generate_key().decode()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_master_key(environ).text() == KEY
    assert load_master_key(environ | {"SECRETS_MASTER_KEY": other}).text() == other


def test_two_sources_at_once_are_refused() -> None:
    with pytest.raises(MasterKeyError, match="SECRETS_MASTER_KEY and SECRETS_MASTER_KEY_FILE are both set"):
        load_master_key({"SECRETS_MASTER_KEY": KEY, "SECRETS_MASTER_KEY_FILE": "/x"})


def test_without_a_source_the_error_names_what_finds_the_key_and_no_key_of_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/cctv-face-detection"
    folder.mkdir(parents=True)
    (folder / "master.key").touch()
    with pytest.raises(MasterKeyError, match=r"^SECRETS_MASTER_KEY not set\n") as caught:
        load_master_key({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "key paste" in caught.value.hint
    assert "rescue" in caught.value.hint
    assert "master.key" not in caught.value.hint


def test_of_several_keys_the_first_encrypts_and_all_decrypt() -> None:
    old = Fernet.generate_key().decode()
    both = load_master_key({"SECRETS_MASTER_KEY": f"{KEY},{old}"})
    assert both.fernet().decrypt(Fernet(old).encrypt(b"old")) == b"old"
    assert Fernet(KEY).decrypt(both.fernet().encrypt(b"new")) == b"new"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f" {KEY}", "spaces or a line break at an end"),
        (f"{KEY}\n", "spaces or a line break at an end"),
        (f'"{KEY}"', "quotes"),
        (f"'{KEY}'", "quotes"),
        (f"{KEY[:20]}\n{KEY[20:]}", "a space or a line break in it"),
        (f"{KEY[:20]} {KEY[20:]}", "a space or a line break in it"),
        (KEY[:-1], "43 characters instead of 44"),
        (f"{KEY}=", "45 characters instead of 44"),
        ("é" * 44, "characters that such a key never has"),
        ("$" + KEY[1:], "characters that such a key never has"),
        (f"{KEY},", "key 2 of 2 is empty"),
        (f"{KEY},short", "key 2 of 2 has 5 characters"),
    ],
    ids=[
        *("space before", "newline after", "double quotes", "single quotes", "newline inside", "space inside"),
        *("too short", "too long", "not ASCII", "wrong character", "second empty", "second too short"),
    ],
)
def test_a_malformed_key_is_refused_and_not_repeated(text: str, reason: str) -> None:
    with pytest.raises(MasterKeyError, match=reason) as caught:
        parse_master_key(text, "SECRETS_MASTER_KEY")
    assert KEY[1:20] not in str(caught.value) + caught.value.hint
    assert "SECRETS_MASTER_KEY" in str(caught.value)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o660])
def test_a_key_file_that_others_can_read_is_refused_with_the_chmod_to_run(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path, mode=mode)
    with pytest.raises(MasterKeyError, match="can be read by other users") as caught:
        load_master_key({"SECRETS_MASTER_KEY_FILE": str(path)})
    assert caught.value.hint == f"Close it: chmod 0400 {path}"


def test_an_open_key_file_on_a_read_only_mount_is_accepted(tmp_path: Path) -> None:
    need_root()
    path = key_file(tmp_path, mode=0o444)
    bound = subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=False).returncode == 0
    need("bind mounts", bound, "run the tests where root may mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path], check=True)
        assert load_master_key({"SECRETS_MASTER_KEY_FILE": str(path)}).text() == KEY
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_another_users_key_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    path = key_file(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(MasterKeyError, match=r"belongs to another user \(uid 65534\)"):
        load_master_key({"SECRETS_MASTER_KEY_FILE": str(path)})
    monkeypatch.setenv("SUDO_UID", "65534")
    assert load_master_key({"SECRETS_MASTER_KEY_FILE": str(path)}).text() == KEY


def test_an_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    need_root()
    path = key_file(tmp_path)
    tmp_path.chmod(0o755)
    code = (
        "import sys, os; os.setuid(65534); sys.path.insert(0, sys.argv[2])\n"
        "from src.utils.secrets.masterkey import load_master_key\n"
        "from src.utils.secrets.errors import MasterKeyError\n"
        "try: load_master_key({'SECRETS_MASTER_KEY_FILE': sys.argv[1]})\n"
        "except MasterKeyError as error: print(error)\n"
    )
    for parent in path.parents[:3]:
        parent.chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(path), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert "cannot be read: Permission denied" in done.stdout, done.stderr


def test_a_key_is_never_shown() -> None:
    key = parse_master_key(KEY, "a test")
    shown = repr(key) + str(key) + "".join(key.ids)
    assert KEY not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
    with pytest.raises(TypeError):
        vars(key)


def test_a_keys_id_is_eight_hex_digits_and_always_the_same() -> None:
    key = generate_master_key()
    assert key.ids == MasterKey([key.text()], "again").ids
    assert len(key.ids[0]) == 8
    assert int(key.ids[0], 16) >= 0
    assert key.ids != generate_master_key().ids
