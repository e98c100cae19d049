"""The Docker secrets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from src.ops.containers import folder
from src.ops.containers.folder import ExtraKind
from src.ops.containers.secret_files import (
    ContainerOwner,
    SecretsFolder,
    container_owner,
    find_differences,
    find_obstacles,
    needs_file,
    render_files,
    write_files,
)
from src.ops.deployment.deployment import Deployment
from src.utils.secrets.atomicfile import move_aside
from src.utils.secrets.backends.environment import EnvironmentBackend
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import SecretNotFoundError, StoreError
from src.utils.secrets.snapshot import PreviousValue, SecretMetadata, Snapshot, utc_after, utc_now
from tests.conftest import Project, need_root

CATALOG = load_catalog()
VALUES = {name: f"value of {name} $'\"#" for name in CATALOG.required_names}


@pytest.fixture
def target(tmp_path: Path) -> SecretsFolder:
    return SecretsFolder(str(tmp_path / "secrets"), os.geteuid(), os.getegid())


def write(snapshot: Snapshot, target: SecretsFolder) -> list[str]:
    with ExitStack() as undo:
        written = write_files(render_files(CATALOG, snapshot), target, undo)
        for file in written:
            file.finish()
        undo.pop_all()
    return [Path(file.path).name for file in written]


def test_each_file_holds_the_bare_value_for_its_owner_only(target: SecretsFolder) -> None:
    write(Snapshot(VALUES), target)
    folder = Path(target.directory)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for spec in CATALOG.secrets:
        file = folder / spec.docker_file
        assert file.read_text() == VALUES.get(spec.name, "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o400


def test_each_file_has_the_time_of_its_value_and_so_has_one_that_was_there(target: SecretsFolder) -> None:
    days = {"SECRET_KEY": "2024-01-31T23:59:59Z", "JWT_SECRET_KEY": "not a time"}
    write(Snapshot(VALUES), target)
    known = {name: SecretMetadata(time) for name, time in days.items()}
    assert write(Snapshot(VALUES, known), target) == []
    folder = Path(target.directory)
    live = EnvironmentBackend({f"{name}_FILE": str(folder / f"{name.lower()}.txt") for name in days}).load()
    assert live.metadata["SECRET_KEY"].updated_at == days["SECRET_KEY"]
    assert str(live.metadata["JWT_SECRET_KEY"].updated_at) > utc_after(-60)


def test_previous_values_that_are_still_accepted_go_into_a_second_file(target: SecretsFolder) -> None:
    previous = [
        PreviousValue("valid", utc_now(), utc_after(60)),
        PreviousValue("kept", utc_now(), None),
        PreviousValue("expired", utc_now(), utc_now()),
    ]
    write(Snapshot(VALUES, {"JWT_SECRET_KEY": SecretMetadata(None, previous)}), target)
    folder = Path(target.directory)
    assert [entry["value"] for entry in json.loads((folder / "jwt_secret_key_previous.json").read_text())] == [
        "valid",
        "kept",
    ]
    assert (folder / "secret_key_previous.json").read_text() == "[]"
    environ = {"JWT_SECRET_KEY_FILE": str(folder / "jwt_secret_key.txt")}
    read = EnvironmentBackend(environ).load().versions("JWT_SECRET_KEY", utc_now())
    assert read == [VALUES["JWT_SECRET_KEY"], "valid", "kept"]


def test_missing_required_secrets_are_all_named_and_nothing_is_written(target: SecretsFolder) -> None:
    with pytest.raises(SecretNotFoundError, match="SECRET_KEY, JWT_SECRET_KEY"):
        write(Snapshot({}), target)
    assert not Path(target.directory).exists()


def test_writing_again_writes_only_what_differs(target: SecretsFolder) -> None:
    write(Snapshot(VALUES), target)
    assert write(Snapshot(VALUES), target) == []
    assert write(Snapshot(VALUES | {"REDIS_PASSWORD": "new"}), target) == ["redis_password.txt"]


def test_every_kind_of_difference_is_found(target: SecretsFolder) -> None:
    files = render_files(CATALOG, Snapshot(VALUES))
    assert find_differences(files, target) == [f"{target.directory}: the folder is missing"]
    write(Snapshot(VALUES), target)
    assert find_differences(files, target) == []
    folder = Path(target.directory)
    (folder / "db_password.txt").unlink()
    (folder / "secret_key.txt").chmod(0o440)
    (folder / "webhook_secret.txt").unlink()
    (folder / "webhook_secret.txt").symlink_to("/etc/hostname")
    (folder / "redis_password.txt").chmod(0o600)
    (folder / "redis_password.txt").write_text("other")
    (folder / "redis_password.txt").chmod(0o400)
    assert find_differences(files, target) == [
        "secret_key.txt: mode 0440 instead of 0400",
        "webhook_secret.txt: not a regular file",
        "db_password.txt: missing",
        "redis_password.txt: not the value in the store",
    ]


def test_a_wrong_owner_is_found_and_fixed(target: SecretsFolder) -> None:
    need_root()
    other = SecretsFolder(target.directory, 10001, 10002)
    write(Snapshot(VALUES), target)
    files = render_files(CATALOG, Snapshot(VALUES))
    assert f"owner {target.uid}:{target.gid} instead of 10001:10002" in find_differences(files, other)[0]
    write(Snapshot(VALUES), other)
    status = (Path(target.directory) / "db_password.txt").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (10001, 10002, 0o400)


def test_a_failure_in_the_middle_restores_every_file(target: SecretsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Snapshot(VALUES), target)
    before = {path: path.read_bytes() for path in Path(target.directory).iterdir()}
    rename, count = os.rename, 0

    def failing(old: str, new: str) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(5, "Input/output error")
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StoreError, match="Input/output error"):
        write(Snapshot({name: f"new {value}" for name, value in VALUES.items()}), target)
    assert {path: path.read_bytes() for path in Path(target.directory).iterdir()} == before
    assert find_differences(render_files(CATALOG, Snapshot(VALUES)), target) == []


def test_a_link_in_place_of_a_file_is_not_written_through(target: SecretsFolder, tmp_path: Path) -> None:
    Path(target.directory).mkdir()
    (tmp_path / "victim").write_text("precious")
    (Path(target.directory) / "db_password.txt").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="is not a regular file"):
        write(Snapshot(VALUES), target)
    assert (tmp_path / "victim").read_text() == "precious"
    assert os.listdir(target.directory) == ["db_password.txt"]


def test_everything_in_the_place_of_a_file_is_named_before_anything_is_written(target: SecretsFolder) -> None:
    folder = Path(target.directory)
    folder.mkdir()
    (folder / "db_password.txt").mkdir()
    (folder / "webhook_secret.txt").symlink_to("/etc/hostname")
    os.mkfifo(folder / "redis_password.txt")
    names = ["webhook_secret.txt", "db_password.txt", "redis_password.txt"]
    with pytest.raises(StoreError, match=", ".join(names)) as caught:
        write(Snapshot(VALUES), target)
    commands = [hint.words for hint in caught.value.hints if not isinstance(hint, str)]
    assert commands[:3] == [("mv", "-n", str(folder / name), str(folder / f"{name}.old")) for name in names]
    assert sorted(os.listdir(folder)) == sorted(names)
    for command in commands[:3]:
        subprocess.run(command, check=True)
    assert find_obstacles(names, target.directory) == []
    assert len(write(Snapshot(VALUES), target)) == len(render_files(CATALOG, Snapshot(VALUES)))


def test_moving_aside_never_meets_what_was_moved_before(tmp_path: Path) -> None:
    for name in ("a.txt", "a.txt.old", "a.txt.old-2"):
        (tmp_path / name).mkdir()
    assert move_aside(str(tmp_path / "a.txt")).words[-1] == str(tmp_path / "a.txt.old-3")


def test_the_engine_decides_who_owns_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)
    assert container_owner({}, "rootful") == ContainerOwner(10001, 10001, 10001, 10001)
    assert container_owner({"APP_UID": "5", "APP_GID": "6"}, "rootful") == ContainerOwner(5, 6, 5, 6)
    assert container_owner({}, "userns:100000:200000") == ContainerOwner(10001, 10001, 110001, 210001)
    assert container_owner({}, "rootless") == ContainerOwner(0, 0, 0, 0)
    for text in ("0", "-1", "x", str(2**31)):
        with pytest.raises(StoreError, match="APP_UID"):
            container_owner({"APP_UID": text}, "rootful")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1001)
    assert container_owner({"APP_UID": "5"}, "rootful") == ContainerOwner(1000, 1001, 1000, 1001)
    assert container_owner({}, "rootless") == ContainerOwner(0, 0, 1000, 1001)
    with pytest.raises(StoreError, match="userns-remap"):
        container_owner({}, "userns:100000:100000")


@pytest.mark.parametrize("engine", ["absent", "silent"])
def test_what_an_engine_could_not_say_is_as_it_was_before(engine: str, tmp_path: Path) -> None:
    mine = (os.geteuid(), os.getegid())
    usual = container_owner({}, "rootful")
    assert container_owner({}, engine, str(tmp_path)) == usual
    (tmp_path / "db_password.txt").touch()
    assert container_owner({}, engine, str(tmp_path)) == usual
    assert container_owner({"APP_UID": "0", "APP_GID": "7"}, engine, str(tmp_path)) == ContainerOwner(0, 7, *mine)


def test_an_app_that_reads_its_store_itself_leaves_only_the_other_services_files(tmp_path: Path) -> None:
    files = render_files(CATALOG, Snapshot(VALUES), only_services=True)
    assert [file.name for file in files] == ["db_password.txt", "redis_password.txt"]
    for spec in CATALOG.secrets:
        assert needs_file(spec, spec.docker_file, cloud=False)
        assert needs_file(spec, spec.docker_file, cloud=True) == (spec.docker_file in {file.name for file in files})
        assert not needs_file(spec, spec.previous_file or "", cloud=True)


def test_an_unused_file_that_cannot_be_read_is_not_said_to_be_the_only_copy(
    target: SecretsFolder, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Snapshot(VALUES), target)
    deployment = Deployment.locate(project_directory=str(project.directory), environ={"HOME": str(project.home)})

    def refuse(path: str) -> bytes:
        raise StoreError(f"{path} cannot be read: Permission denied", hint="ls")

    monkeypatch.setattr(folder, "read_file", refuse)
    extras = folder.find_extras(deployment, target.directory, Snapshot(VALUES), cloud=True)
    assert {extra.kind for extra in extras} == {ExtraKind.UNREADABLE}
    (advice,) = folder.describe_extras(deployment, target.directory, extras)
    assert "you cannot read them" in advice.message
    assert folder.find_prunable(extras, target.directory) == []
