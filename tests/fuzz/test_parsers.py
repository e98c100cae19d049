"""A file with any content gives a result, or the project's own error with a hint and without a value."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import example, given
from hypothesis import strategies as st

from src.ops.commands.rotate import Duration
from src.ops.deployment import audit
from src.ops.deployment.deployment import Deployment
from src.ops.deployment.dotenv import parse_dotenv, quote, read_dotenv, update_text
from src.ops.deployment.journal import Journal
from src.ops.doctor.check import Context
from src.ops.doctor.files import nothing_is_half_done
from src.ops.lifecycle import backup
from src.ops.lifecycle.rotate import Rotator
from src.ops.store_kinds.named_stores import parse_store_name
from src.ops.values.importer import parse_import
from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.flatmap import read_flat_map
from src.utils.secrets.masterkey import MasterKey, parse_master_key, read_master_key_file
from src.utils.secrets.settings import Settings, read_value_file
from src.utils.secrets.snapshot import SecretMetadata, age_in_days
from tests import figures
from tests.conftest import PROJECT

from .mutation import EXAMPLES, almost_json, full_or_short, json_values, mutated, reshaped

CANARY = "canary-4711-of-the-fuzzer"
KEY = Fernet.generate_key().decode()
MASTER_KEY = MasterKey([KEY], "a test")
CATALOG = load_catalog()
CORPUS = Path(__file__).parent / "corpus"
PREVIOUS = [{"value": CANARY, "replaced_at": "2026-01-01T00:00:00Z", "valid_until": None}]
WRONG_TIME = [{**PREVIOUS[0], "valid_until": 9}]
DOCUMENT = {
    "version": 1,
    "secrets": {"SECRET_KEY": CANARY, "SMTP_PASSWORD": "two\nlines"},
    "metadata": {"SECRET_KEY": {"updated_at": "2026-01-02T00:00:00Z", "previous": PREVIOUS}},
}


def seeds(kind: str) -> list[bytes]:
    """Return the corpus: valid inputs, and inputs that were once handled wrongly."""
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


def only_own_errors(function: Callable[[], Any], outcomes: Counter[str] | None = None) -> Any:
    """Call it and count the outcome; returns its result, or ``None`` after one of the project's own errors."""
    figures.add("fuzzed inputs", 1, "inputs")
    counted = Counter() if outcomes is None else outcomes
    try:
        result = function()
    except SecretsError as error:
        refusal = error
        counted[type(error).__name__] += 1
    else:
        counted["read"] += 1
        return result
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


def test_a_changed_encrypted_file_is_refused_or_has_the_same_content(folder: Path) -> None:
    tokens = [Fernet(KEY).encrypt(json.dumps(content).encode()) for content in (DOCUMENT, {"SECRET_KEY": CANARY}, {})]
    others = [Fernet(Fernet.generate_key()).encrypt(b"{}"), tokens[0] + b"\n", tokens[0] + tokens[1]]
    outcomes: Counter[str] = Counter()

    @full_or_short
    @given(mutated([*tokens, *others]))
    def check(data: bytes) -> None:
        snapshot = only_own_errors(FileBackend(written(folder, data), MASTER_KEY).load, outcomes)
        if snapshot is not None:
            assert dict(snapshot.values) in (DOCUMENT["secrets"], {"SECRET_KEY": CANARY}, {})

    check()
    assert {"read", "DamagedStoreError", "DecryptionError"} <= outcomes.keys(), outcomes


def test_an_encrypted_file_whose_content_is_almost_right(folder: Path) -> None:
    outcomes: Counter[str] = Counter()

    @full_or_short
    @given(almost_json(DOCUMENT))
    @example(b'{"version": 1, "secrets": {"A": "b"}, "metadata": ' + b'{"A":' * 100_000)
    @example(json.dumps(DOCUMENT | {"version": 2}).encode())
    @example(
        json.dumps(DOCUMENT | {"metadata": {"SECRET_KEY": {"previous": [PREVIOUS[0] | {"valid_until": 9}]}}}).encode()
    )
    @example(json.dumps(DOCUMENT).encode())
    def check(content: bytes) -> None:
        path = written(folder, Fernet(KEY).encrypt(content))
        only_own_errors(lambda: read_everything(path), outcomes)

    check()
    assert {"read", "DamagedStoreError", "UnsupportedVersionError"} <= outcomes.keys(), outcomes


def read_everything(path: str) -> None:
    """Return each value of an encrypted file, with its previous ones."""
    snapshot = FileBackend(path, MASTER_KEY).load()
    assert all(isinstance(value, str) for value in snapshot.values.values())
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": path, "SECRETS_MASTER_KEY": KEY}
    manager = SecretsManager(settings=Settings(environ))
    for name in snapshot.values:
        only_own_errors(lambda name=name: manager.versions(name))  # type: ignore[misc]
        only_own_errors(lambda name=name: read_metadata(snapshot.metadata.get(name)))  # type: ignore[misc]


def read_metadata(metadata: SecretMetadata | None) -> None:
    """Return what the commands show of it."""
    if metadata is not None:
        age_in_days(metadata.updated_at)
        json.dumps(metadata.to_document())
        assert repr(metadata)


@full_or_short
@given(st.one_of(reshaped(DOCUMENT), json_values()))
@example([])
@example({"secrets": {"A": None}, "version": True})
def test_an_encrypted_file_with_any_content(folder: Path, content: Any) -> None:
    path = written(folder, Fernet(KEY).encrypt(json.dumps(content).encode()))
    only_own_errors(lambda: read_everything(path))


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
    imported = only_own_errors(lambda: parse_import(data, "a file", CATALOG))
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


def journals(project: str) -> st.SearchStrategy[bytes]:
    """Journals of this project and of others, complete and malformed."""
    document = {"project": project, "names": ["SECRET_KEY", "SMTP_PASSWORD"], "revision": "abc"}
    undone = {"project": project, "names": ["SECRET_KEY"], "undone_from": "abc"}
    others = reshaped(document).map(lambda found: {**found, "project": project} if isinstance(found, dict) else found)
    shapes = others | reshaped(undone) | json_values()
    return mutated([json.dumps(document).encode(), json.dumps(undone).encode()]) | shapes.map(
        lambda shape: json.dumps(shape).encode()
    )


@pytest.fixture(scope="module")
def deployment_in_use(deployment: Deployment) -> Deployment:
    """A project with secrets in its store."""
    path = os.path.join(deployment.project_directory, "in-use.enc")
    FileBackend(path, MASTER_KEY).save({"SECRET_KEY": Change("a value")})
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": path, "SECRETS_MASTER_KEY": KEY}
    return dataclasses.replace(deployment, environ={**deployment.environ, **environ})


def test_a_journal(deployment_in_use: Deployment) -> None:
    """Run what reads the journal: the command that finishes the rotation, and the doctor."""
    outcomes: Counter[str] = Counter()
    path = Path(Journal(deployment_in_use, "rotate").path)
    path.parent.mkdir(parents=True, exist_ok=True)

    @full_or_short
    @given(journals(deployment_in_use.project_directory))
    @example(b'{"project": "%s"}' % deployment_in_use.project_directory.encode())
    @example(b'{"project": "%s", "names": ["\\ud800"]}' % deployment_in_use.project_directory.encode())
    def check(data: bytes) -> None:
        path.write_bytes(data)
        rotator = Rotator(deployment_in_use, lambda _: None, lambda _: None, store_only=True)
        findings = only_own_errors(lambda: list(nothing_is_half_done(Context(deployment_in_use, offline=True))))
        names = only_own_errors(rotator.unfinished, outcomes)
        assert (findings is None) == (names is None)
        if names:
            outcomes["of this project"] += 1
            assert all(isinstance(name, str) for name in names)
            only_own_errors(rotator.finish)

    check()
    assert outcomes["of this project"] > EXAMPLES / 20, outcomes
    assert outcomes["StoreError"] > EXAMPLES / 20, outcomes


def test_earlier_values_beside_a_docker_file(folder: Path) -> None:
    outcomes: Counter[str] = Counter()
    file = folder / "secret_key.txt"
    file.write_text(CANARY)
    environ = {"SECRETS_BACKEND": "environment", "SECRET_KEY_FILE": str(file)}

    @full_or_short
    @given(mutated([json.dumps(PREVIOUS).encode()]) | almost_json({"previous": PREVIOUS}) | reshaped_list(PREVIOUS))
    @example(json.dumps(WRONG_TIME).encode())
    def check(data: bytes) -> None:
        file.with_name("secret_key_previous.json").write_bytes(data)
        manager = SecretsManager(settings=Settings(environ))
        versions = only_own_errors(lambda: manager.versions("SECRET_KEY"), outcomes)
        if versions is not None:
            assert versions[0] == CANARY
            assert all(isinstance(version, str) for version in versions)

    check()
    assert {"read", "DamagedStoreError"} <= outcomes.keys(), outcomes


def reshaped_list(entries: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    return reshaped({"entries": entries}).map(
        lambda found: json.dumps(found.get("entries") if isinstance(found, dict) else found).encode()
    )


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
def test_the_content_that_a_server_returns(content: Any) -> None:
    snapshot = only_own_errors(lambda: read_flat_map(content, "1", "a server"))
    if snapshot is not None:
        assert all(isinstance(value, str) for value in snapshot.values.values())


@full_or_short
@given(mutated([b"file:config/x.enc", b"aws:eu-central-1/x", b"vault:secret/cctv", b"azure:https://x.vault.azure.net"]))
def test_a_store_s_name(deployment: Deployment, data: bytes) -> None:
    only_own_errors(lambda: parse_store_name(data.decode(errors="replace"), deployment))


@full_or_short
@given(mutated([b"24h", b"90s", b"10m", b"7d"]))
def test_a_duration(data: bytes) -> None:
    import click

    text = data.decode(errors="replace")
    try:
        seconds = Duration().convert(text, None, None)
    except click.UsageError:
        return
    assert 0 <= seconds < float("inf")


def test_the_short_form_is_a_part_of_the_full_one() -> None:
    assert EXAMPLES in (60, 3000)
