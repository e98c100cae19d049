"""The encrypted file."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets.backends.file import NO_FILE, FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    DamagedStoreError,
    DecryptionError,
    InvalidSecretError,
    StoreChangedError,
    StoreError,
    UnsupportedVersionError,
)
from src.utils.secrets.lockedfile import locked
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.snapshot import utc_after, utc_now

KEY = Fernet.generate_key().decode()
PARTS = ("", ".sum", ".bak")
CANARY = "canary-value-4711"


def backend(path: Path, key: str = KEY, expected_key_id: str | None = None) -> FileBackend:
    return FileBackend(str(path), MasterKey([key], "a test"), expected_key_id=expected_key_id)


def write_token(path: Path, content: object, key: str = KEY) -> None:
    path.write_bytes(Fernet(key).encrypt(content if isinstance(content, bytes) else json.dumps(content).encode()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets.enc"


def test_three_lines_of_fernet_open_what_was_saved(path: Path) -> None:
    backend(path).save({"A": Change("1"), "B": Change("2")})
    content = json.loads(Fernet(KEY).decrypt(path.read_bytes()))
    assert content["version"] == 1
    assert content["secrets"] == {"A": "1", "B": "2"}
    assert content["metadata"]["A"]["updated_at"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_a_flat_map_is_read_and_becomes_the_full_form_when_it_is_saved(path: Path) -> None:
    write_token(path, {"A": "1"})
    assert backend(path).load().values == {"A": "1"}
    backend(path).save({"B": Change("2")})
    assert json.loads(Fernet(KEY).decrypt(path.read_bytes()))["secrets"] == {"A": "1", "B": "2"}


def test_a_line_break_behind_the_token_does_no_harm(path: Path) -> None:
    write_token(path, {"A": "1"})
    path.write_bytes(path.read_bytes() + b"\n")
    assert backend(path).load().values == {"A": "1"}


def test_saving_keeps_the_other_secrets_and_the_previous_file(path: Path) -> None:
    backend(path).save({"A": Change("1"), "UNKNOWN": Change("kept")})
    before = path.read_bytes()
    backend(path).save({"A": Change("2")})
    assert backend(path).load().values == {"A": "2", "UNKNOWN": "kept"}
    bak = path.with_name("secrets.enc.bak")
    assert bak.read_bytes() == before
    assert stat.S_IMODE(bak.stat().st_mode) == 0o400


def test_the_checksum_beside_the_file_is_one_that_sha256sum_checks(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "secrets.enc.sum"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"# {path.stat().st_size} bytes" in path.with_name("secrets.enc.sum").read_text()


def test_nothing_else_is_left_in_the_folder(path: Path) -> None:
    for number in range(3):
        backend(path).save({"A": Change(str(number))})
    assert sorted(os.listdir(path.parent)) == ["secrets.enc", "secrets.enc.bak", "secrets.enc.lock", "secrets.enc.sum"]


def test_a_killed_writers_leftovers_are_removed(path: Path) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    (path.parent / f".secrets.enc.{killed.pid}-0123456789abcdef.tmp").write_text("half")
    at_work = path.parent / f".secrets.enc.{os.getpid()}-0123456789abcdef.tmp"
    at_work.write_text("half")
    backend(path).save({"A": Change("1")})
    assert list(path.parent.glob(".*.tmp")) == [at_work]


def test_removing_a_secret_removes_its_earlier_values_too(path: Path) -> None:
    backend(path).save({"A": Change(CANARY), "B": Change("2")})
    backend(path).save({"A": Change("other")})
    backend(path).save({"A": Change(None)})
    assert CANARY.encode() not in Fernet(KEY).decrypt(path.read_bytes())
    assert backend(path).load().values == {"B": "2"}


def test_previous_values_are_accepted_until_they_expire(path: Path) -> None:
    store = backend(path)
    store.save({name: Change("old") for name in ("GRACE", "KEPT", "PLAIN")})
    store.save(
        {
            "GRACE": Change("new", previous_valid_until=utc_after(3600)),
            "KEPT": Change("new", previous_valid_until=None),
            "PLAIN": Change("new"),
        }
    )
    snapshot = store.load()
    assert snapshot.versions("GRACE", utc_now()) == ["new", "old"]
    assert snapshot.versions("GRACE", utc_after(3601)) == ["new"]
    assert snapshot.versions("KEPT", utc_after(10**9)) == ["new", "old"]
    assert snapshot.versions("PLAIN", utc_now()) == ["new"]
    assert snapshot.versions("MISSING", utc_now()) == []


def test_the_previous_value_is_always_kept(path: Path) -> None:
    store = backend(path)
    for value in ("1", "2", "3"):
        store.save({"A": Change(value)})
    assert [old.value for old in store.load().metadata["A"].previous] == ["2"]


def test_saving_the_same_value_changes_no_time(path: Path) -> None:
    store = backend(path)
    store.save({"A": Change("1")})
    again = store.save({"A": Change("1")})
    assert again.metadata["A"].previous == ()


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800"])
def test_a_value_that_no_store_can_keep_is_refused(value: str, path: Path) -> None:
    with pytest.raises(InvalidSecretError):
        backend(path).save({"A": Change(value)})
    assert not path.exists()


def test_a_missing_file_is_an_error_and_not_an_empty_store(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        backend(path).load()


# --- Wrong key, damaged file, newer format: three errors -------------------------------------------------------------


def test_a_wrong_key_is_recognised_by_the_keys_id(path: Path) -> None:
    backend(path).save({"A": Change(CANARY)})
    other = Fernet.generate_key().decode()
    right_id = MasterKey([KEY], "").ids[0]
    with pytest.raises(DecryptionError, match=r"^Failed to decrypt secrets file") as caught:
        backend(path, other, right_id).load()
    assert right_id in str(caught.value)
    assert MasterKey([other], "").ids[0] in str(caught.value)
    assert other not in str(caught.value)


def test_a_wrong_key_is_recognised_by_the_checksum(path: Path) -> None:
    backend(path).save({"A": Change(CANARY)})
    with pytest.raises(DecryptionError, match="is not the one it was written with"):
        backend(path, Fernet.generate_key().decode()).load()


def test_without_id_and_checksum_both_causes_are_named(path: Path) -> None:
    write_token(path, {"A": "1"})
    with pytest.raises(DecryptionError, match="is not its key, or the file is damaged"):
        backend(path, Fernet.generate_key().decode()).load()


def test_a_truncated_file_is_recognised_by_the_checksum_or_the_keys_id(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    token = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(token[:-20])
    with pytest.raises(DamagedStoreError, match="not what was last written"):
        backend(path).load()
    path.with_name("secrets.enc.sum").unlink()
    with pytest.raises(DamagedStoreError, match="not what was last written"):
        backend(path, expected_key_id=MasterKey([KEY], "").ids[0]).load()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\x00\x01\x02\xff" * 100, "not an encrypted secrets file"),
        (b'{"A": "plain"}', "not an encrypted secrets file"),
    ],
)
def test_a_file_without_a_token_is_damaged(content: bytes, reason: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedStoreError, match=reason) as caught:
        backend(path).load()
    assert "Failed to decrypt secrets file" in str(caught.value)
    assert "manage_secrets.py rescue" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not json " + CANARY.encode(), "holds no JSON"),
        (b"\xff\xfe", "holds no JSON"),
        (b"[" * 100_000, "holds no JSON"),
        (b'["list"]', "holds no JSON object"),
        ({"A": 5}, "not text"),
        ({"version": 1, "secrets": {"A": None}}, "not text"),
        ({"version": 1, "secrets": []}, "not text"),
        ({"version": 1, "secrets": {}, "metadata": 5}, "metadata"),
    ],
)
def test_a_token_that_opens_to_something_else_is_damaged(content: object, reason: str, path: Path) -> None:
    write_token(path, content)
    with pytest.raises(DamagedStoreError, match=reason) as caught:
        backend(path).load()
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("metadata", [5, {"previous": [{}]}, {"previous": 1}])
def test_damaged_metadata_only_fails_when_it_is_needed_and_is_never_overwritten(metadata: object, path: Path) -> None:
    write_token(path, {"version": 1, "secrets": {"A": "1", "B": "2"}, "metadata": {"A": metadata}})
    before = path.read_bytes()
    snapshot = backend(path).load()
    assert snapshot.values == {"A": "1", "B": "2"}
    assert snapshot.versions("B", utc_now()) == ["2"]
    with pytest.raises(DamagedStoreError, match="the metadata of A is not of the known form"):
        snapshot.versions("A", utc_now())
    with pytest.raises(DamagedStoreError, match="the metadata of A"):
        backend(path).save({"B": Change("3")})
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [2, 99, "2", None])
def test_a_newer_format_is_reported_as_newer(version: object, path: Path) -> None:
    write_token(path, {"version": version, "secrets": {"A": "1"}})
    with pytest.raises(UnsupportedVersionError, match="format version"):
        backend(path).load()


def test_a_file_over_16_mib_is_refused_unread(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(StoreError, match="larger than 16 MiB"):
        backend(path).load()


def test_more_than_16_mib_is_not_written(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    with pytest.raises(StoreError, match="larger than 16 MiB"):
        backend(path).save({"LARGE": Change("x" * 13 * 1024 * 1024)})
    assert backend(path).load().values == {"A": "1"}


def test_a_folder_or_fifo_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="not a regular file"):
        backend(path).load()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a regular file"):
        backend(path).load()


def test_a_wrong_key_never_overwrites_the_file(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    before = path.read_bytes()
    with pytest.raises(DecryptionError):
        backend(path, Fernet.generate_key().decode()).save({"A": Change("2")})
    assert path.read_bytes() == before


# --- Writers ---------------------------------------------------------------------------------------------------------


def test_a_change_based_on_an_old_file_is_refused(path: Path) -> None:
    store = backend(path)
    planned_on = store.save({"A": Change("1")}).revision
    store.save({"A": Change("2")})
    with pytest.raises(StoreChangedError, match="changed by another writer"):
        store.save({"A": Change("3")}, expected_revision=planned_on)
    with pytest.raises(StoreChangedError):
        store.save({"A": Change("3")}, expected_revision=NO_FILE)
    assert store.load().values == {"A": "2"}


def test_the_revision_is_that_of_the_bytes(path: Path) -> None:
    written = backend(path).save({"A": Change("1")})
    assert written.revision == backend(path).load().revision
    before = path.read_bytes()
    backend(path).save({"A": Change("2")})
    assert backend(path).load().revision != written.revision
    path.unlink()
    path.write_bytes(before)
    assert backend(path).load().revision == written.revision


def test_sixteen_writers_lose_no_change(path: Path) -> None:
    def write(writer: int) -> None:
        for number in range(10):
            backend(path).save({f"NAME_{writer}_{number}": Change("x")})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backend(path).load().values) == 160


def test_a_writer_that_waits_too_long_gives_the_reason(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.secrets.lockedfile.LOCK_TIMEOUT_SECONDS", 0.2)
    code = "import sys; from filelock import FileLock\nwith FileLock(sys.argv[1]): print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="Another program has been writing"):
            backend(path).save({"A": Change("1")})
        holder.communicate("\n")


def test_a_symbolic_link_is_read_through_but_never_written_through(path: Path) -> None:
    real = path.with_name("real.enc")
    backend(real).save({"A": Change("1")})
    path.symlink_to(real)
    assert backend(path).load().values == {"A": "1"}
    with pytest.raises(StoreError, match="symbolic link"):
        backend(path).save({"A": Change("2")})
    assert path.is_symlink()
    assert backend(real).load().values == {"A": "1"}


def test_a_linked_folder_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "config").symlink_to(tmp_path / "real")
    backend(tmp_path / "config/secrets.enc").save({"A": Change("1")})
    assert backend(tmp_path / "real/secrets.enc").load().values == {"A": "1"}


# --- Undoing a save ----------------------------------------------------------------------------------------------


def test_a_save_can_be_undone(path: Path) -> None:
    store = backend(path)
    first = store.save({"A": Change("1")})
    second = store.save({"A": Change("2")})
    store.revert(written=second.revision, before=first.revision)
    assert store.load().values == {"A": "1"}
    assert store.load().revision == first.revision


def test_undoing_a_first_save_leaves_no_file(path: Path) -> None:
    store = backend(path)
    first = store.save({"A": Change("1")})
    store.revert(written=first.revision, before=NO_FILE)
    assert not path.exists()
    assert not path.with_name("secrets.enc.sum").exists()


def test_a_save_is_not_undone_after_a_later_change(path: Path) -> None:
    store = backend(path)
    first = store.save({"A": Change("1")})
    second = store.save({"A": Change("2")})
    store.save({"B": Change("theirs")})
    store.revert(written=second.revision, before=first.revision)
    assert store.load().values == {"A": "2", "B": "theirs"}


def test_starting_over_keeps_the_file_and_what_lies_beside_it(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    backend(path).save({"A": Change("2")})
    before = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in PARTS}
    other = MasterKey([Fernet.generate_key().decode()], "a new key")
    FileBackend(str(path), other).start_over({"B": Change("3")}, f"{path}.lost")
    assert FileBackend(str(path), other).load().values == {"B": "3"}
    assert {suffix: Path(f"{path}.lost{suffix}").read_bytes() for suffix in PARTS} == before
    assert not Path(f"{path}.bak").exists()


@pytest.mark.parametrize("present", [("",), ("", ".sum"), PARTS, (".bak",), ()])
def test_starting_over_can_be_taken_back(present: tuple[str, ...], path: Path) -> None:
    for suffix in present:
        Path(f"{path}{suffix}").write_text(f"what was there{suffix}")
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    store = backend(path)
    written = store.start_over({"B": Change("3")}, f"{path}.lost").revision
    store.take_back(f"{path}.lost", written=written)
    Path(f"{path}.lock").unlink()
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before


def test_starting_over_is_not_taken_back_after_a_later_change(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    store = backend(path)
    written = store.start_over({"B": Change("2")}, f"{path}.lost").revision
    backend(path).save({"B": Change("theirs")})
    store.take_back(f"{path}.lost", written=written)
    assert backend(path).load().values == {"B": "theirs"}
    assert backend(Path(f"{path}.lost")).load().values == {"A": "1"}


def test_starting_over_that_fails_leaves_everything(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    with pytest.raises(StoreError, match="Cannot write"):
        backend(path).start_over({"B": Change("2")}, f"{path.parent}/nowhere/lost")
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before


@pytest.mark.parametrize("suffix", PARTS)
@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_starting_over_moves_what_is_no_file_aside(suffix: str, make: Callable[[Path], None], path: Path) -> None:
    make(Path(f"{path}{suffix}"))
    store = backend(path)
    written = store.start_over({"B": Change("2")}, f"{path}.lost").revision
    assert store.load().values == {"B": "2"}
    assert os.path.lexists(f"{path}.lost{suffix}")
    store.take_back(f"{path}.lost", written=written)
    assert sorted(os.listdir(path.parent)) == sorted({f"secrets.enc{suffix}", "secrets.enc.lock"})


@pytest.mark.parametrize("suffix", [".bak", ".lock"])
def test_what_is_in_the_place_of_a_file_beside_it_is_named(suffix: str, path: Path) -> None:
    Path(f"{path}{suffix}").mkdir()
    with pytest.raises(StoreError, match=rf"secrets\.enc\{suffix} is not a regular file") as caught:
        backend(path).save({"A": Change("1")})
    assert "mv -n" in caught.value.hint
    assert sorted(os.listdir(path.parent)) in (
        [f"secrets.enc{suffix}"],
        sorted([f"secrets.enc{suffix}", "secrets.enc.lock"]),
    )


def test_starting_over_waits_for_a_save_and_keeps_what_it_wrote(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    with ThreadPoolExecutor() as pool:
        with locked(str(path)):
            waiting = pool.submit(backend(path).start_over, {"B": Change("2")}, f"{path}.lost")
            time.sleep(0.2)
            assert not Path(f"{path}.lost").exists()
            path.unlink()
            write_token(path, {"A": "changed meanwhile"})
        waiting.result()
    assert backend(Path(f"{path}.lost")).load().values == {"A": "changed meanwhile"}


def test_a_failed_checksum_undoes_the_save(path: Path) -> None:
    store = backend(path)
    (path.parent / "secrets.enc.sum").mkdir()
    with pytest.raises(StoreError, match=r"secrets\.enc\.sum is not a regular file"):
        store.save({"A": Change("1")})
    assert not path.exists()


def test_an_empty_value_that_another_program_wrote_means_not_set(path: Path) -> None:
    write_token(path, {"A": ""})
    assert backend(path).load().versions("A", utc_now()) == []


def test_a_checksum_is_written_again_for_a_file_that_opens_and_no_other(path: Path) -> None:
    backend(path).save({"A": Change("1")})
    checksum = Path(f"{path}.sum")
    right = checksum.read_bytes()
    checksum.write_bytes(b"wrong")
    with pytest.raises(StoreError):
        backend(path, Fernet.generate_key().decode()).write_checksum()
    assert checksum.read_bytes() == b"wrong"
    backend(path).write_checksum()
    assert checksum.read_bytes() == right
    path.unlink()
    with pytest.raises(StoreError):
        backend(path).write_checksum()


def test_nothing_shows_a_value(path: Path) -> None:
    store = backend(path)
    snapshot = store.save({"A": Change(CANARY)})
    store.save({"A": Change("other")})
    later = store.load()
    shown = repr(
        [store, snapshot, snapshot.metadata, Change(CANARY), Change(None), later, later.metadata["A"].previous]
    )
    assert CANARY not in shown
    assert KEY not in shown
    with pytest.raises(TypeError):
        pickle.dumps(snapshot)
