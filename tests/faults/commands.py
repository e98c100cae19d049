"""The commands that write, the start state of each, and what each promises if it ends with 0."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from src.utils.secrets.catalog import load_catalog
from tests.conftest import PROJECT, Project
from tests.support.original import DATABASE_PASSWORD, REDIS_PASSWORD, OriginalFolder

from .interpreter import Done, Interpreter
from .states import Meaning, State, contents, is_leftover

CATALOG = load_catalog()
OLD = "old-canary-0815-with-32-characters"
NEW = "new-canary-4711-with-32-characters"
KNOWN = {OLD: "<old>", NEW: "<new>"}
GIVEN = "NEW"
"""Write a file with the new value."""
BACKUP = "secrets.backup"
BACKUP_KEY = "backup.key"
IN_PROJECT = "a project"

Preparation = Callable[["Runner"], None]
Promise = Callable[["Ended"], None]


@dataclass(frozen=True)
class Ended:
    """The states before and after a command.

    Attributes:
        project: The project's folder.
        old: The files before.
        new: The files after.
    """

    project: Project
    old: State
    new: State

    def values(self) -> dict[str, str]:
        """Return what the application reads now."""
        found = self.meaning().values()
        assert found is not None
        return found

    def old_values(self) -> dict[str, str]:
        """Return what the application read before."""
        return Meaning(contents(self.old), self.project, KNOWN).values() or {}

    def meaning(self) -> Meaning:
        """Return the meaning of the files now."""
        return Meaning(contents(self.new), self.project, KNOWN, contents(self.old))

    def content(self, name: str) -> bytes:
        """Return a file of the project."""
        content = self.new[f"{IN_PROJECT}/{name}"].content
        assert content is not None
        return content


class Runner:
    """Runs commands in one project, in forks of one interpreter."""

    def __init__(self, interpreter: Interpreter, project: Project) -> None:
        self.interpreter = interpreter
        self.project = project

    def run(
        self,
        script: str,
        *arguments: str,
        standard_input: str = "",
        umask: int = 0o022,
        strace: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a script, or the module that a shell script runs."""
        first = script if script.startswith("src.") else str(PROJECT / "scripts" / script)
        return self.interpreter.run(
            [first, *arguments, "--project-directory", str(self.project.directory)],
            environ_of(self.project) | dict(environ or {}),
            self.project.directory,
            standard_input=standard_input,
            umask=umask,
            strace=strace,
        )

    def must(self, script: str, *arguments: str, standard_input: str = "") -> None:
        """Run it, and check that it succeeds."""
        done = self.run(script, *arguments, standard_input=standard_input)
        assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class FollowUp:
    """A further run that the first run after a crash suggests.

    Attributes:
        as_long_as: It is needed while this file exists.
        said: The message of the first run.
        arguments: The arguments of the further run.
    """

    as_long_as: str
    said: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """One writing command.

    Attributes:
        name: For the test's name.
        script: The script, or the module that a shell script runs.
        arguments: Its arguments.
        prepare: Makes the start state.
        promise: Checks the result after exit code 0, without the project's code.
        after: ``SECRET_KEY`` after the command; ``None`` if it does not change.
        plain_files: Files that may contain values.
        standard_input: Its standard input.
        has_steps: Whether it may stop between two steps, so that the next run finishes it.
        follow_up: A further run that the next run may need.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    prepare: Preparation
    promise: Promise
    after: str | None = NEW
    plain_files: tuple[str, ...] = ()
    standard_input: str = ""
    has_steps: bool = False
    follow_up: FollowUp | None = None

    def run(
        self,
        runner: Runner,
        *,
        umask: int = 0o022,
        strace: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """Run it."""
        return runner.run(
            *(self.script, *self.arguments),
            standard_input=self.standard_input,
            umask=umask,
            strace=strace,
            environ=environ,
        )

    def run_again(self, runner: Runner) -> Done:
        """Run it after it was stopped, and then the further run that it suggests."""
        done = self.run(runner)
        if self.follow_up is None or not (runner.project.directory / self.follow_up.as_long_as).exists():
            return done
        assert self.follow_up.said in done.stdout, done.stdout
        return runner.run(self.script, *self.follow_up.arguments, standard_input=self.standard_input)


_SETUP, _MANAGE, _DOCKER = "setup_secrets.py", "manage_secrets.py", "src.ops.commands.docker_secrets"


ORIGINAL = "the original"

# --- The start states -----------------------------------------------------------------------------------------------


def _nothing(runner: Runner) -> None:
    """The very first run."""


def _file_store(runner: Runner) -> None:
    runner.must(_SETUP, "--non-interactive", "--import", "-", standard_input=f"SECRET_KEY={OLD}\n")


def _docker_files(runner: Runner) -> None:
    _file_store(runner)
    runner.must(_DOCKER)


def _outdated_docker_files(runner: Runner) -> None:
    _docker_files(runner)
    runner.must(_SETUP, "--non-interactive", "--import", GIVEN, "--replace")


def _dotenv(runner: Runner) -> None:
    runner.must(
        *(_SETUP, "--non-interactive", "--backend", "env", "--import", "-"), standard_input=f"SECRET_KEY={OLD}\n"
    )


def _backup_key(runner: Runner) -> None:
    _file_store(runner)
    key = runner.project.directory / BACKUP_KEY
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)


def _backup_of_new(runner: Runner) -> None:
    """A store with the old value, and a backup with the new one."""
    _backup_key(runner)
    runner.must(_MANAGE, "set", "SECRET_KEY", "--file", "value")
    runner.must(_MANAGE, "backup", "--output", BACKUP, "--key-file", BACKUP_KEY)
    (runner.project.directory / "value").write_text(OLD)
    runner.must(_MANAGE, "set", "SECRET_KEY", "--file", "value")


def _original(runner: Runner) -> None:
    """A deployment of the original system beside the project."""
    original = OriginalFolder(runner.project.directory.parent / ORIGINAL)
    original.write_dotenv(SECRET_KEY=NEW)
    original.write_config()
    for path in (original.folder, *original.folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


def prepare(runner: Runner, command: Command) -> None:
    """Make the start state of the command."""
    project = runner.project
    for folder in (project.directory, project.home):
        shutil.rmtree(folder, ignore_errors=True)
    (project.directory / "config").mkdir(parents=True)
    project.home.mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", project.directory / "config/catalog.toml")
    (project.directory / GIVEN).write_text(f"SECRET_KEY={NEW}\n")
    (project.directory / "value").write_text(NEW)
    command.prepare(runner)
    (project.directory / "value").write_text(NEW)


def environ_of(project: Project) -> dict[str, str]:
    """Return the variables of the command, so that two runs make the same calls in the same order."""
    path = f"{Path(__file__).parent / 'bin'}:{os.environ['PATH']}"
    fixed = {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "0", "PATH": path}
    return {name: value for name, value in {**project.environ(), **fixed}.items() if not name.startswith("COVERAGE_")}


# --- The promises ------------------------------------------------------------------------------------------------


def _new_value_and_unchanged_others(ended: Ended) -> None:
    assert ended.values() == {**ended.old_values(), "SECRET_KEY": NEW}


def _a_complete_set(ended: Ended) -> None:
    values = ended.values()
    assert set(CATALOG.required_names) <= set(values)
    assert values["SECRET_KEY"] == NEW
    for spec in CATALOG.secrets:
        if spec.generated and spec.name != "SECRET_KEY":
            assert len(values[spec.name]) == spec.length
    generated = [values[spec.name] for spec in CATALOG.secrets if spec.generated]
    assert len(set(generated)) == len(generated)


def _adopted(ended: Ended) -> None:
    values = ended.values()
    assert set(CATALOG.required_names) <= set(values)
    wanted = {"SECRET_KEY": NEW, "DATABASE_PASSWORD": DATABASE_PASSWORD, "REDIS_PASSWORD": REDIS_PASSWORD}
    assert {name: values[name] for name in wanted} == wanted


def _docker_files_hold_the_values(ended: Ended) -> None:
    values = ended.values()
    for spec in CATALOG.secrets:
        assert ended.content(f"secrets/{spec.docker_file}") == values.get(spec.name, "").encode(), spec.docker_file
        if spec.previous_file:
            assert isinstance(json.loads(ended.content(f"secrets/{spec.previous_file}")), list)
    assert b"APP_UID=10001\n" in ended.content(".env")


def _rotated(ended: Ended) -> None:
    _new_value_and_unchanged_others(ended)
    _docker_files_hold_the_values(ended)
    earlier = json.loads(ended.content("secrets/secret_key_previous.json"))
    assert [entry["value"] for entry in earlier] == [OLD]
    assert not [name for name in ended.new if name.endswith("rotate-production.json")]


def _another_master_key(ended: Ended) -> None:
    assert ended.values() == ended.old_values()
    name = "home/.config/cctv-face-detection/master.key"
    old, new = (state[name].content for state in (ended.old, ended.new))
    assert old is not None
    assert old != new
    assert old in [entry.content for name, entry in ended.new.items() if "/master.key.old-" in name]


def _the_same_values_in(path: str, *, gone: tuple[str, ...] = ()) -> Promise:
    def promise(ended: Ended) -> None:
        assert ended.values() == ended.old_values()
        assert f"SECRETS_FILE_PATH={path}\n".encode() in ended.content(".env.production")
        assert ended.content(path)
        assert not [name for name in gone if f"{IN_PROJECT}/{name}" in ended.new]

    return promise


def _a_backup_of_everything(ended: Ended) -> None:
    assert ended.values() == ended.old_values()
    document = json.loads(ended.content(BACKUP))
    inside = json.loads(Fernet(ended.content(BACKUP_KEY).strip()).decrypt(document["data"].encode()))
    assert inside["secrets"] == ended.values()
    assert inside["settings"]["SECRETS_BACKEND"] == "file"


_MIGRATE_AND_EMPTY = ("migrate", "--to", "file:config/other.enc", "--apply", "--delete-source", "--yes")
COMMANDS = (
    Command("first set-up", _SETUP, ("--non-interactive", "--import", GIVEN), _nothing, _a_complete_set),
    Command(
        *("later set-up", _SETUP, ("--non-interactive", "--import", GIVEN, "--replace"), _file_store),
        _new_value_and_unchanged_others,
    ),
    Command(
        *("set-up for development", _SETUP, ("--non-interactive", "--backend", "env", "--import", GIVEN), _nothing),
        _a_complete_set,
        plain_files=(".env",),
    ),
    Command(
        *("adopt", _SETUP, ("--non-interactive", "--adopt", f"../{ORIGINAL}"), _original, _adopted),
        plain_files=(f"{ORIGINAL}/",),
    ),
    Command(
        *("first Docker files", _DOCKER, (), _file_store, _docker_files_hold_the_values),
        after=None,
        plain_files=("secrets/",),
    ),
    Command(
        *("later Docker files", _DOCKER, (), _outdated_docker_files, _docker_files_hold_the_values),
        plain_files=("secrets/",),
    ),
    Command(
        *("set", _MANAGE, ("set", "SECRET_KEY", "--file", "value"), _file_store),
        _new_value_and_unchanged_others,
    ),
    Command(
        *("set in a dotenv file", _MANAGE, ("set", "SECRET_KEY", "--file", "value"), _dotenv),
        _new_value_and_unchanged_others,
        plain_files=(".env",),
    ),
    Command(
        "rotate",
        _MANAGE,
        ("rotate", "SECRET_KEY", "--store-only", "--yes", "--set-file", "SECRET_KEY=value"),
        *(_docker_files, _rotated),
        plain_files=("secrets/",),
        has_steps=True,
    ),
    Command(
        *("rotate-master-key", _MANAGE, ("rotate-master-key", "--yes"), _file_store, _another_master_key),
        after=None,
        has_steps=True,
    ),
    Command(
        *("migrate to the file", _MANAGE, ("migrate", "--to", "file", "--apply", "--yes"), _dotenv),
        _the_same_values_in("config/secrets.enc"),
        after=None,
        plain_files=(".env",),
        has_steps=True,
    ),
    Command(
        "migrate and empty the source",
        _MANAGE,
        _MIGRATE_AND_EMPTY,
        _file_store,
        _the_same_values_in("config/other.enc", gone=("config/secrets.enc", "config/secrets.enc.sum")),
        after=None,
        standard_input="delete\n",
        has_steps=True,
        follow_up=FollowUp(
            "config/secrets.enc",
            "To empty the previous store:",
            (*("migrate", "--from", "file:config/secrets.enc"), *_MIGRATE_AND_EMPTY[1:]),
        ),
    ),
    Command(
        *("backup", _MANAGE, ("backup", "--output", BACKUP, "--key-file", BACKUP_KEY), _backup_key),
        _a_backup_of_everything,
        after=None,
    ),
    Command(
        *("restore", _MANAGE, ("restore", BACKUP, "--key-file", BACKUP_KEY, "--yes"), _backup_of_new),
        _new_value_and_unchanged_others,
    ),
)


# --- True at any moment ----------------------------------------------------------------------------------------


def assert_private(state: State) -> None:
    """Check that no other user can read what our commands write."""
    others = {GIVEN, "value", "catalog.toml", "config", IN_PROJECT, "home", ".config", ".local", "state"}
    for name, entry in state.items():
        if Path(name).name not in others:
            assert stat.S_IMODE(entry.mode) & 0o077 == 0, f"{name} has mode {entry.mode:o}"


def plain_files(state: State, command: Command) -> list[str]:
    """Return the files that contain a value and must not."""
    found = []
    for name, entry in state.items():
        short = name.removeprefix(f"{IN_PROJECT}/")
        if not entry.content or short in (GIVEN, "value") or short.startswith(command.plain_files or "\0"):
            continue
        if any(value.encode() in entry.content for value in (OLD, NEW)) and not _is_part_of(short, command):
            found.append(name)
    return found


def _is_part_of(name: str, command: Command) -> bool:
    """Return whether it is a temporary file of one that may contain values."""
    return is_leftover(name) and any(Path(plain).name.strip("/") in name for plain in command.plain_files)


def expected_values(command: Command, before: Mapping[str, str] | None) -> list[str | None]:
    """Return the possible values of ``SECRET_KEY`` while the command runs."""
    old = before["SECRET_KEY"] if before else None
    return [old, command.after if command.after or before is None else old]
