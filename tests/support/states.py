"""Deployments in each state, made from a healthy one as it happens to people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken

from src.ops.setup.state import State
from tests.conftest import Project, need_root
from tests.contract.contract import Store
from tests.contract.stores import AwsStore, AzureStore, VaultStore
from tests.support.files import write_read_only

from .in_process import run_here

if TYPE_CHECKING:
    import pytest

Make = Callable[["Case"], None]
FILE_STATES: dict[str, tuple[State, Make]] = {}
ENVIRONMENT_STATES: dict[str, tuple[State, Make]] = {}
SERVER_STATES: dict[str, tuple[State, Make]] = {}
SERVERS = {
    "aws": ("aws_server", AwsStore),
    "vault": ("vault_server", VaultStore),
    "azure": ("keyvault_server", AzureStore),
}
LONG = 12


@dataclass
class Case:
    """One deployment.

    Attributes:
        project: Its files.
        kind: Its store on the command line.
        store: The server's part of it.
        environ: What the person's shell has set.
        originals: Its values before anything happened.
        safe: What the person keeps elsewhere: keys.
    """

    project: Project
    kind: str
    store: Store | None = None
    environ: dict[str, str] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict)
    safe: list[bytes] = field(default_factory=list)

    def run(self, name: str, *arguments: str, standard_input: str = "") -> tuple[int, str, str]:
        """Run a script inside this process: its exit code, output and errors."""
        done = run_here(self.project, name, *arguments, environ=self.environ, standard_input=standard_input)
        return done.returncode, done.stdout, done.stderr

    def surviving(self) -> set[str]:
        """Every value that can still be read: in files, through keys that are left or kept elsewhere, on the server."""
        contents = [path.read_bytes() for root in (self.project.directory, self.project.home) for path in _files(root)]
        keys = [key for content in [*contents, *self.safe] for key in _keys(content)]
        texts = [content.decode(errors="replace") for content in contents]
        texts += [text for content in contents for key in keys if (text := _decrypt(key, content))]
        held = json.dumps(self.server_values(), ensure_ascii=False)
        return {value for value in self.originals.values() if any(value in text for text in [*texts, held])}

    def server_values(self) -> dict[str, str]:
        """What the server holds; nothing where there is none."""
        if self.store is None:
            return {}
        try:
            return self.store.raw()
        except Exception:  # noqa: BLE001 - each server has its own error for a secret that is not there
            return {}

    def values(self) -> dict[str, str]:
        """What the store holds now, read without the project's code."""
        if self.kind == "file":
            key = next((key for key in _key_files(self.project) if self._opens(key)), None)
            return (
                {}
                if key is None
                else json.loads(Fernet(key).decrypt(self.project.secrets_file.read_bytes()))["secrets"]
            )
        if self.kind == "env":
            from dotenv import dotenv_values

            return {name: value for name, value in dotenv_values(self.project.compose_file).items() if value}
        return self.server_values()

    def _opens(self, key: bytes) -> bool:
        path = self.project.secrets_file
        return path.is_file() and bool(_decrypt(key, path.read_bytes()))


def make_ready(project: Project, kind: str, request: pytest.FixtureRequest) -> Case:
    """A deployment with Docker files, and a change behind it."""
    case = Case(project, kind)
    if kind in SERVERS:
        fixture, store = SERVERS[kind]
        case.store = store(request.getfixturevalue(fixture))
        case.environ = dict(case.store.environ)
    (project.directory / "value").write_text("smtp-value-before")
    _succeed(
        case,
        "setup_secrets.py",
        "--non-interactive",
        "--backend",
        kind,
        "--set-file",
        f"SMTP_PASSWORD={project.directory}/value",
    )
    (project.directory / "value").write_text("smtp-value-of-today")
    _succeed(case, "manage_secrets.py", "set", "SMTP_PASSWORD", "--file", str(project.directory / "value"))
    _succeed(case, "generate_docker_secrets.sh")
    (project.directory / "value").unlink()
    case.environ.pop("SECRETS_BACKEND", None)  # the settings name it from now on
    case.originals = {name: value for name, value in case.values().items() if len(value) >= LONG and name.isupper()}
    case.originals = {name: value for name, value in case.originals.items() if name in _names(project)}
    return case


def _names(project: Project) -> set[str]:
    from src.utils.secrets.catalog import load_catalog

    return set(load_catalog(str(project.directory / "config/catalog.toml")).names)


def _succeed(case: Case, name: str, *arguments: str) -> None:
    code, _output, errors = case.run(name, *arguments)
    assert code == 0, errors


def _files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and ".venv" not in path.parts]


def _key_files(project: Project) -> list[bytes]:
    return [key for path in _files(project.home) for key in _keys(path.read_bytes())]


def _keys(content: bytes) -> list[bytes]:
    return [key for key in content.strip().split(b",") if len(key) == 44]


def _decrypt(key: bytes, content: bytes) -> str:
    try:
        return Fernet(key).decrypt(content.strip()).decode()
    except (InvalidToken, ValueError):
        return ""


def _state(table: dict[str, tuple[State, Make]], name: str, state: State) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        table[name] = (state, make)
        return make

    return register


def _take_out(case: Case, name: str) -> None:
    key = case.project.key_file.read_bytes().strip()
    content = json.loads(Fernet(key).decrypt(case.project.secrets_file.read_bytes()))
    del content["secrets"][name], content["metadata"][name]
    write_read_only(case.project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    Path(f"{case.project.secrets_file}.sum").unlink()


# --- The encrypted file ----------------------------------------------------------------------------------------------


@_state(FILE_STATES, "ready", State.READY)
def _(case: Case) -> None:
    """As it is."""


@_state(FILE_STATES, "a name that never had a value", State.INCOMPLETE)
def _(case: Case) -> None:
    _add_to_catalog(case)


@_state(FILE_STATES, "a value taken out of the file", State.INCOMPLETE)
def _(case: Case) -> None:
    _take_out(case, "DATABASE_PASSWORD")


@_state(FILE_STATES, "the file deleted", State.STORE_GONE)
def _(case: Case) -> None:
    case.project.secrets_file.unlink()


@_state(FILE_STATES, "the whole folder of the file deleted", State.STORE_GONE)
def _(case: Case) -> None:
    for path in case.project.directory.glob("config/secrets.enc*"):
        path.unlink()


@_state(FILE_STATES, "file and settings deleted", State.STORE_GONE)
def _(case: Case) -> None:
    for path in (*case.project.directory.glob("config/secrets.enc*"), case.project.settings_file):
        path.unlink()


@_state(FILE_STATES, "settings deleted, and a secret set in the shell", State.KEY_GONE)
def _(case: Case) -> None:
    case.project.settings_file.unlink()
    case.project.key_file.rename(case.project.key_file.with_name("kept.key"))
    case.environ["JWT_SECRET_KEY"] = "a value of the shell alone"


@_state(FILE_STATES, "settings deleted, and secrets in the file for Compose", State.KEY_GONE)
def _(case: Case) -> None:
    case.project.settings_file.unlink()
    (case.project.directory / "config/SETUP.md").unlink()
    case.project.key_file.rename(case.project.key_file.with_name("kept.key"))
    with case.project.compose_file.open("a") as file:
        file.write("REDIS_PASSWORD=something tried once\n")


@_state(FILE_STATES, "the key moved into the project's folder", State.KEY_GONE)
def _(case: Case) -> None:
    case.project.key_file.rename(case.project.directory / "config/old.key")


@_state(FILE_STATES, "a key in the settings that is not the file's", State.WRONG_KEY)
def _(case: Case) -> None:
    lines = case.project.settings_file.read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if "MASTER_KEY_FILE" not in line)
    case.project.settings_file.write_text(f"{text}SECRETS_MASTER_KEY={Fernet.generate_key().decode()}\n")


@_state(FILE_STATES, "a name that is asked for taken out of the file", State.INCOMPLETE)
def _(case: Case) -> None:
    name, value = "ADMIN_USERNAME", "the-boss-of-the-cameras"
    (case.project.directory / "value").write_text(value)
    _succeed(case, "manage_secrets.py", "set", name, "--file", str(case.project.directory / "value"))
    (case.project.directory / "value").unlink()
    _succeed(case, "generate_docker_secrets.sh")
    case.originals[name] = value
    _take_out(case, name)


@_state(FILE_STATES, "the key file deleted", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    case.project.key_file.unlink()


@_state(FILE_STATES, "the key file deleted, and no Docker files", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    case.project.key_file.unlink()
    for path in case.project.docker_directory.iterdir():
        path.unlink()


@_state(FILE_STATES, "a folder in the place of the key", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    case.project.key_file.unlink()
    case.project.key_file.mkdir()


@_state(FILE_STATES, "a link that leads nowhere in the place of the key", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    case.project.key_file.unlink()
    case.project.key_file.symlink_to("nowhere")


@_state(FILE_STATES, "a folder in the place of the file", State.DAMAGED)
def _(case: Case) -> None:
    case.project.secrets_file.unlink()
    case.project.secrets_file.mkdir()


@_state(FILE_STATES, "a pipe in the place of the file", State.DAMAGED)
def _(case: Case) -> None:
    case.project.secrets_file.unlink()
    os.mkfifo(case.project.secrets_file)


@_state(FILE_STATES, "a huge file", State.DAMAGED)
def _(case: Case) -> None:
    case.project.secrets_file.unlink()
    with case.project.secrets_file.open("wb") as file:
        file.truncate(20_000_000)


@_state(FILE_STATES, "the settings emptied", State.KEY_GONE)
def _(case: Case) -> None:
    case.project.settings_file.write_text("")
    case.project.key_file.rename(case.project.key_file.with_name("kept.key"))


@_state(FILE_STATES, "the key file emptied", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    write_read_only(case.project.key_file, "")


@_state(FILE_STATES, "the line with the key file deleted, and the file", State.KEY_GONE)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    case.project.key_file.unlink()
    lines = case.project.settings_file.read_text().splitlines(keepends=True)
    case.project.settings_file.write_text("".join(line for line in lines if "MASTER_KEY" not in line))


@_state(FILE_STATES, "another key in its place", State.WRONG_KEY)
def _(case: Case) -> None:
    case.safe.append(case.project.key_file.read_bytes())
    write_read_only(case.project.key_file, Fernet.generate_key() + b"\n")


@_state(FILE_STATES, "an earlier file put back after a new key", State.WRONG_KEY)
def _(case: Case) -> None:
    earlier = case.project.secrets_file.read_bytes()
    _succeed(case, "manage_secrets.py", "rotate-master-key", "--yes")
    write_read_only(case.project.secrets_file, earlier)


@_state(FILE_STATES, "a file of zeros", State.DAMAGED)
def _(case: Case) -> None:
    write_read_only(case.project.secrets_file, bytes(4096))


@_state(FILE_STATES, "half a file", State.DAMAGED)
def _(case: Case) -> None:
    content = case.project.secrets_file.read_bytes()
    write_read_only(case.project.secrets_file, content[: len(content) // 2])


@_state(FILE_STATES, "a newer format", State.NEWER)
def _(case: Case) -> None:
    key = case.project.key_file.read_bytes().strip()
    content = json.loads(Fernet(key).decrypt(case.project.secrets_file.read_bytes())) | {"version": 2}
    write_read_only(case.project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    Path(f"{case.project.secrets_file}.sum").unlink()


@_state(FILE_STATES, "a rotation that was interrupted", State.INTERRUPTED)
def _(case: Case) -> None:
    case.project.journal.parent.mkdir(parents=True, exist_ok=True)
    case.project.journal.write_text(json.dumps({"project": str(case.project.directory), "names": ["SECRET_KEY"]}))


@_state(FILE_STATES, "a new master key that was interrupted", State.INTERRUPTED)
def _(case: Case) -> None:
    key = case.project.key_file.read_bytes().strip()
    write_read_only(case.project.key_file, Fernet.generate_key() + b"," + key + b"\n")


@_state(FILE_STATES, "a store that there is not", State.MISCONFIGURED)
def _(case: Case) -> None:
    text = case.project.settings_file.read_text()
    case.project.settings_file.write_text(text.replace("SECRETS_BACKEND=file", "SECRETS_BACKEND=keepass"))


@_state(FILE_STATES, "two keys at once", State.MISCONFIGURED)
def _(case: Case) -> None:
    case.environ |= {
        "SECRETS_MASTER_KEY": Fernet.generate_key().decode(),
        "SECRETS_MASTER_KEY_FILE": str(case.project.key_file),
    }


@_state(FILE_STATES, "a key of another user", State.FOREIGN)
def _(case: Case) -> None:
    need_root()
    os.chown(case.project.key_file, 12345, 12345)


# --- The environment store -------------------------------------------------------------------------------------------


@_state(ENVIRONMENT_STATES, "ready", State.READY)
def _(case: Case) -> None:
    """As it is."""


@_state(ENVIRONMENT_STATES, "a name that never had a value", State.INCOMPLETE)
def _(case: Case) -> None:
    _add_to_catalog(case)


@_state(ENVIRONMENT_STATES, "a line taken out", State.INCOMPLETE)
def _(case: Case) -> None:
    lines = case.project.compose_file.read_text().splitlines(keepends=True)
    case.project.compose_file.write_text("".join(line for line in lines if not line.startswith("DATABASE_PASSWORD")))


@_state(ENVIRONMENT_STATES, "the file emptied", State.STORE_EMPTY)
def _(case: Case) -> None:
    case.project.compose_file.write_text("SECRETS_BACKEND=environment\n")


@_state(ENVIRONMENT_STATES, "a line that is none", State.MISCONFIGURED)
def _(case: Case) -> None:
    with case.project.compose_file.open("a") as file:
        file.write("'what is this\n")


# --- The stores on a server ------------------------------------------------------------------------------------------


@_state(SERVER_STATES, "ready", State.READY)
def _(case: Case) -> None:
    """As it is."""


@_state(SERVER_STATES, "a name that never had a value", State.INCOMPLETE)
def _(case: Case) -> None:
    _add_to_catalog(case)


@_state(SERVER_STATES, "a value taken out of the store", State.INCOMPLETE)
def _(case: Case) -> None:
    assert case.store is not None
    _replace_all(case.store, {name: value for name, value in case.store.raw().items() if name != "DATABASE_PASSWORD"})


@_state(SERVER_STATES, "everything taken out of the store", State.STORE_EMPTY)
def _(case: Case) -> None:
    assert case.store is not None
    _replace_all(case.store, {"SOMETHING_ELSE": "of somebody else"})


@_state(SERVER_STATES, "no server", State.UNREACHABLE)
def _(case: Case) -> None:
    assert case.store is not None
    case.environ |= case.store.unreachable


@_state(SERVER_STATES, "wrong credentials", State.DENIED)
def _(case: Case) -> None:
    assert case.store is not None
    case.environ |= case.store.refused


def _replace_all(store: Store, values: Mapping[str, str]) -> None:
    if isinstance(store, AwsStore):
        # The stand-in gives two versions the stage AWSCURRENT otherwise.
        store.server.client().delete_secret(SecretId=store.secret_id, ForceDeleteWithoutRecovery=True)
    store.put(values)


def _add_to_catalog(case: Case) -> None:
    path = case.project.directory / "config/catalog.toml"
    path.write_text(
        path.read_text()
        + '\n[[secret]]\nname = "NEW_TOKEN"\ngroup = "New"\ndescription = "A token of a new version"\n'
        + 'input = "generate"\nlength = 43\ndocker_file = "new_token.txt"\n'
    )


def all_cases() -> list[tuple[str, str]]:
    """Each store with each of its states."""
    tables: Mapping[str, Mapping[str, object]] = {
        "file": FILE_STATES,
        "env": ENVIRONMENT_STATES,
        **dict.fromkeys(SERVERS, SERVER_STATES),
    }
    return [(kind, name) for kind, table in tables.items() for name in table]


def find_state(kind: str, name: str) -> tuple[State, Make]:
    """What makes a state, and which one it is."""
    return {"file": FILE_STATES, "env": ENVIRONMENT_STATES}.get(kind, SERVER_STATES)[name]
