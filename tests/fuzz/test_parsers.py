"""Whatever is in a file: the project's own error with a hint, or a result, and never a value in the error."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import example, given
from hypothesis import strategies as st

from src.ops import audit, backup
from src.ops.commands.rotation import Duration
from src.ops.deployment import Deployment
from src.ops.dotenv import parse_dotenv, quote, read_dotenv, update_text
from src.ops.importer import parse_import
from src.ops.journal import Journal
from src.ops.references import parse_reference
from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.flatmap import read_flat_map
from src.utils.secrets.masterkey import MasterKey, parse_master_key, read_master_key_file
from src.utils.secrets.settings import Settings, read_value_file
from tests import figures
from tests.conftest import PROJECT

from .mutation import EXAMPLES, full_or_short, json_values, mutated, reshaped

CANARY = "canary-4711-of-the-fuzzer"
KEY = Fernet.generate_key().decode()
MASTER_KEY = MasterKey([KEY], "a test")
CATALOG = load_catalog()
CORPUS = Path(__file__).parent / "corpus"
PREVIOUS = [{"value": CANARY, "replaced_at": "2026-01-01T00:00:00Z", "valid_until": None}]
DOCUMENT = {
    "version": 1,
    "secrets": {"SECRET_KEY": CANARY, "SMTP_PASSWORD": "two\nlines"},
    "metadata": {"SECRET_KEY": {"updated_at": "2026-01-02T00:00:00Z", "previous": PREVIOUS}},
}


def seeds(kind: str) -> list[bytes]:
    """The corpus: inputs that are right, and those that were once handled wrongly."""
    found = [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]
    assert found
    return found


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", name)
        yield Path(name)


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Deployment:
    return Deployment.locate(
        project_directory=str(folder),
        environment="production",
        catalog=str(PROJECT / "config/catalog.toml"),
        environ={"HOME": str(folder)},
    )


def only_own_errors(function: Callable[[], Any]) -> Any:
    """Call it; gives its result, or ``None`` after an error of the project's own."""
    figures.add("fuzzed inputs", 1, "inputs")
    try:
        return function()
    except SecretsError as error:
        refusal = error
    assert refusal.hint
    assert CANARY not in f"{refusal} {refusal.hint} {refusal!r} {refusal.__cause__!r}"
    return None


def written(folder: Path, data: bytes) -> str:
    path = folder / "input"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return str(path)


@full_or_short
@given(mutated([b"gAAAAABrBYfg" + b"x" * 80, json.dumps(DOCUMENT).encode(), b""]))
def test_an_encrypted_file_of_any_bytes(folder: Path, data: bytes) -> None:
    assert only_own_errors(FileBackend(written(folder, data), MASTER_KEY).load) is None


@full_or_short
@given(st.one_of(reshaped(DOCUMENT), json_values()))
@example([])
@example({"secrets": {"A": None}, "version": True})
def test_an_encrypted_file_with_any_content(folder: Path, content: Any) -> None:
    path = written(folder, Fernet(KEY).encrypt(json.dumps(content).encode()))

    def read_everything() -> None:
        snapshot = FileBackend(path, MASTER_KEY).load()
        assert all(isinstance(value, str) for value in snapshot.values.values())
        manager = SecretsManager(
            settings=Settings({"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": path, "SECRETS_MASTER_KEY": KEY})
        )
        for name in snapshot.values:
            only_own_errors(lambda name=name: manager.versions(name))  # type: ignore[misc]

    only_own_errors(read_everything)


@full_or_short
@given(mutated([b"x" * 64, json.dumps(DOCUMENT).encode() * 3]))
def test_an_encrypted_file_that_holds_no_json(folder: Path, content: bytes) -> None:
    only_own_errors(FileBackend(written(folder, Fernet(KEY).encrypt(content)), MASTER_KEY).load)


@full_or_short
@given(mutated(seeds("catalogue")))
def test_a_catalogue(folder: Path, data: bytes) -> None:
    catalog = only_own_errors(lambda: load_catalog(written(folder, data)))
    for spec in catalog.secrets if catalog else ():
        assert "/" not in spec.docker_file
        assert not spec.docker_file.startswith(".")


@full_or_short
@given(mutated(seeds("dotenv")))
def test_a_dotenv_file(folder: Path, data: bytes) -> None:
    lines = only_own_errors(lambda: read_dotenv(written(folder, data)))
    if lines is None:
        return
    text = data.decode()
    changed = only_own_errors(lambda: update_text(text, {"SECRET_KEY": "new"}, "a file"))
    if changed is not None:
        after = parse_dotenv(changed, "a file")
        assert after.pop("SECRET_KEY") == "new"
        lines.pop("SECRET_KEY", None)
        assert after == lines


@full_or_short
@given(st.text(max_size=40))
def test_a_value_that_can_be_quoted_reads_back_the_same(value: str) -> None:
    line = only_own_errors(lambda: quote("SECRET_KEY", value))
    if line is not None:
        assert parse_dotenv(f"SECRET_KEY={line}\n", "a file")["SECRET_KEY"] == value


@full_or_short
@given(mutated([*seeds("dotenv"), *seeds("import")]))
def test_an_import(data: bytes) -> None:
    text = data.decode(errors="replace")
    imported = only_own_errors(lambda: parse_import(text, "a file", CATALOG))
    if imported is not None:
        assert all(isinstance(value, str) for value in imported.values.values())


@full_or_short
@given(mutated([CANARY.encode(), b"two\nlines\n", b"\n", b"\xef\xbb\xbfx"]))
def test_a_file_with_one_value(folder: Path, data: bytes) -> None:
    value = only_own_errors(lambda: read_value_file(written(folder, data), "SECRET_KEY_FILE"))
    if value is not None:
        assert value.encode() in (data, data[:-1], data[:-2])


@full_or_short
@given(mutated([KEY.encode(), f"{KEY},{KEY}".encode(), f"{KEY}\n{KEY}\n".encode()]))
def test_a_master_key(folder: Path, data: bytes) -> None:
    path = written(folder, data)
    key = only_own_errors(lambda: read_master_key_file(path, "The master key file"))
    if key is not None:
        assert KEY not in repr(key)
    only_own_errors(lambda: parse_master_key(data.decode(errors="replace"), "SECRETS_MASTER_KEY"))


def backup_document() -> dict[str, Any]:
    lock = {"key": "scrypt", "salt": base64.b64encode(b"s" * 16).decode(), "n": 2, "r": 1, "p": 1}
    fernet = backup.Lock(passphrase="p").fernet(lock, "a file")
    content = {"secrets": DOCUMENT["secrets"], "metadata": DOCUMENT["metadata"], "settings": {"A": "b"}}
    header = {"format": backup.FORMAT, "version": backup.VERSION, "created_at": "2026-01-01T00:00:00Z"}
    token = fernet.encrypt(json.dumps(content).encode()).decode()
    return header | {"application": CATALOG.slug, "environment": "production", "lock": lock, "data": token}


@full_or_short
@given(st.one_of(reshaped(backup_document()), json_values()))
def test_a_backup_of_another_shape(folder: Path, document: Any) -> None:
    path = written(folder, json.dumps(document).encode())
    for lock in (backup.Lock(passphrase="p"), backup.Lock(key=MASTER_KEY)):
        only_own_errors(lambda lock=lock: backup.read_backup(path, lock))  # type: ignore[misc]


@full_or_short
@given(mutated([json.dumps(backup_document()).encode()]))
def test_a_backup_of_any_bytes(folder: Path, data: bytes) -> None:
    path = written(folder, data)
    only_own_errors(lambda: backup.read_backup(path, backup.Lock(passphrase="p")))


@full_or_short
@given(reshaped({"secrets": DOCUMENT["secrets"], "metadata": DOCUMENT["metadata"], "settings": {"A": "b"}}))
def test_a_backup_with_any_content(folder: Path, content: Any) -> None:
    document = backup_document()
    fernet = backup.Lock(passphrase="p").fernet(document["lock"], "a file")
    document["data"] = fernet.encrypt(json.dumps(content).encode()).decode()
    path = written(folder, json.dumps(document).encode())
    only_own_errors(lambda: backup.read_backup(path, backup.Lock(passphrase="p")))


@full_or_short
@given(st.one_of(mutated([b'{"project": "x", "names": ["SECRET_KEY"]}']), json_values()))
def test_a_journal(deployment: Deployment, content: Any) -> None:
    journal = Journal(deployment, "rotate")
    os.makedirs(os.path.dirname(journal.path), exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    Path(journal.path).write_bytes(data)
    only_own_errors(journal.read)


def two_lines_of_a_trail() -> bytes:
    first = json.dumps({"command": "set", "names": ["SECRET_KEY"], "previous": audit.FIRST}).encode()
    second = json.dumps({"command": "rotate", "previous": hashlib.sha256(first).hexdigest()}).encode()
    return first + b"\n" + second + b"\n"


@full_or_short
@given(mutated([two_lines_of_a_trail()]))
@example(b"[" * 200_000)
def test_an_audit_trail(deployment: Deployment, data: bytes) -> None:
    path = Path(audit.trail_path(deployment))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    only_own_errors(lambda: audit.read_trail(deployment))


@full_or_short
@given(st.one_of(reshaped({"SECRET_KEY": CANARY, "_METADATA": json.dumps(DOCUMENT["metadata"])}), json_values()))
def test_what_a_server_says_is_in_it(content: Any) -> None:
    snapshot = only_own_errors(lambda: read_flat_map(content, "1", "a server"))
    if snapshot is not None:
        assert all(isinstance(value, str) for value in snapshot.values.values())


@full_or_short
@given(mutated([b"file:config/x.enc", b"aws:eu-central-1/x", b"vault:secret/cctv", b"azure:https://x.vault.azure.net"]))
def test_a_store_s_name(deployment: Deployment, data: bytes) -> None:
    only_own_errors(lambda: parse_reference(data.decode(errors="replace"), deployment))


@full_or_short
@given(mutated([b"24h", b"90s", b"10m", b"7d"]))
def test_a_duration(data: bytes) -> None:
    import click

    text = data.decode(errors="replace")
    try:
        seconds = Duration().convert(text, None, None)
    except click.BadParameter:
        return
    assert 0 <= seconds < float("inf")


def test_the_short_form_is_a_part_of_the_full_one() -> None:
    assert EXAMPLES in (60, 3000)
