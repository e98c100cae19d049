"""Servers that answer slowly, without end or far too much: each operation ends in time, with little memory."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.utils.secrets.changes import Change
from src.utils.secrets.errors import ConfigurationError, SecretsError, StoreUnavailableError
from src.utils.secrets.manager import SecretsManager, open_backend
from src.utils.secrets.settings import Settings
from tests.conftest import Project
from tests.contract.stores import VaultStore
from tests.servers.aws import Aws
from tests.servers.certificates import Authority
from tests.servers.faulty import Answer as FaultyAnswer
from tests.servers.faulty import running_faulty
from tests.servers.keyvault import KeyVault
from tests.servers.raw import running_raw
from tests.servers.vault import Vault
from tests.support.terminal import Terminal

SECONDS = 1.0
LATE = 5.0
MOST_MEMORY_KIB = 80 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _drip(connection: socket.socket, first: bytes, each: bytes) -> None:
    connection.sendall(first)
    while True:
        connection.sendall(each)
        time.sleep(0.1)


def _pour(connection: socket.socket, first: bytes, each: bytes) -> None:
    connection.sendall(first)
    while True:
        connection.sendall(each)


def _send_and_wait(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    time.sleep(60)


BOMB = gzip.compress(b'{"a": "' + b"x" * 300_000_000 + b'"}', compresslevel=1)
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
ANSWERS = {
    "nothing": lambda connection: time.sleep(60),
    "the body byte by byte": lambda c: _drip(c, HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "the head byte by byte": lambda c: _drip(c, b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "the first line byte by byte": lambda c: _drip(c, b"HTTP/1.1 ", b"2"),
    "headers without end": lambda c: _drip(c, HEAD, b"X-More: y\r\n"),
    "chunks byte by byte": lambda c: _drip(c, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "chunks without end": lambda c: _pour(c, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
    "a body without end": lambda c: _pour(c, HEAD + b"Connection: close\r\n\r\n", b" " * 0x10000),
    "ten megabytes": lambda c: c.sendall(HEAD + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000),
    "a small part that becomes large": lambda c: _send_and_wait(
        c, HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB
    ),
}


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["vault", "aws", "azure"])
def settings(
    request: pytest.FixtureRequest, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A store whose server gives such answers."""
    context, variables = None, {"SECRETS_LOAD_TIMEOUT": str(SECONDS)}
    if request.param == "azure":
        keyvault: KeyVault = request.getfixturevalue("keyvault")
        authority = Authority(tmp_path)
        certificate = authority.issue("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        variables |= keyvault.environ() | {"REQUESTS_CA_BUNDLE": str(authority.certificate)}
    with running_raw(ANSWERS[answer], context) as port:
        if request.param == "azure":
            variables["AZURE_KEYVAULT_URL"] = f"https://localhost:{port}"
        elif request.param == "vault":
            address = f"http://127.0.0.1:{port}"
            variables |= {"SECRETS_BACKEND": "vault", "VAULT_ADDR": address, "VAULT_TOKEN": "s.x"}
        else:
            variables |= {
                "SECRETS_BACKEND": "aws",
                "AWS_REGION": "eu-central-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield Settings()


def test_reading_ends_in_time_and_with_little_memory(settings: Settings) -> None:
    backend = open_backend(settings)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(SecretsError) as raised:
        backend.load()
    assert time.monotonic() - start < SECONDS + LATE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY_KIB
    assert isinstance(raised.value, StoreUnavailableError)
    assert raised.value.hints


@pytest.mark.parametrize("answer", ["the body byte by byte", "chunks without end"], indirect=True)
def test_writing_ends_in_time(settings: Settings) -> None:
    backend = open_backend(settings)
    start = time.monotonic()
    with pytest.raises(SecretsError):
        backend.save({"SECRET_KEY": Change("x" * 32)})
    assert time.monotonic() - start < 3 * SECONDS + LATE


@pytest.mark.parametrize("answer", ["the body byte by byte"], indirect=True)
def test_looking_at_a_place_ends_in_time(settings: Settings) -> None:
    backend: Any = open_backend(settings)
    start = time.monotonic()
    with contextlib.suppress(SecretsError):  # AWS only leaves the account's number out
        backend.check_access(["SECRET_KEY"])
    assert time.monotonic() - start < SECONDS + LATE


# --- What AWS's SDK does to get credentials ------------------------------------------------------------------------


def write_profile(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "config").write_text(f"[profile one]\n{text}\n[profile source]\nregion = eu-central-1\n")
    (folder / "credentials").write_text("[source]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "one")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    settings = {"SECRETS_BACKEND": "aws", "AWS_REGION": "eu-central-1", "SECRETS_LOAD_TIMEOUT": str(SECONDS)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


ROLE = "role_arn = arn:aws:iam::123456789012:role/reader\nsource_profile = source"


def test_a_token_service_that_does_not_answer_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profile(tmp_path, monkeypatch, ROLE)
    with running_raw(ANSWERS["nothing"]) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="has not answered in full"):
            open_backend(Settings()).load()
        assert time.monotonic() - start < SECONDS + LATE


def test_a_program_for_credentials_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    write_profile(tmp_path, monkeypatch, f"credential_process = /bin/sh -c 'echo $$ > {pid}; exec sleep 60'")
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match="credential_process"):
        open_backend(Settings()).load()
    assert time.monotonic() - start < SECONDS + LATE
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_nobody_is_asked_for_a_code_where_nobody_answers(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profile(tmp_path, monkeypatch, f"{ROLE}\nmfa_serial = arn:aws:iam::123456789012:mfa/somebody")
    names = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_REGION", "SECRETS_BACKEND")
    environ = {name: os.environ[name] for name in names}
    reader, writer = os.pipe()  # open, and never written to
    try:
        done = subprocess.run(
            project.script("manage_secrets.py", "status"),
            env=project.environ(environ),
            cwd=project.directory,
            stdin=reader,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 1, done.stderr
    assert "asks for an MFA code" in done.stderr
    assert "hint: " in done.stderr


def test_a_code_is_asked_for_once_and_not_at_all_when_nobody_wants_to_be_asked(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: Aws
) -> None:
    write_profile(tmp_path, monkeypatch, f"{ROLE}\nmfa_serial = arn:aws:iam::123456789012:mfa/somebody")
    aws.client().create_secret(Name="cctv-face-detection", SecretString='{"ADMIN_USERNAME": "admin"}')
    names = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_REGION", "SECRETS_BACKEND")
    environ = {name: os.environ[name] for name in names} | {"AWS_ENDPOINT_URL": aws.url}
    command = project.script("manage_secrets.py", "get", "ADMIN_USERNAME", "--show")
    refused = Terminal(
        command, environ=project.environ(environ | {"SECRETS_NON_INTERACTIVE": "1"}), cwd=str(project.directory)
    )
    assert refused.finish() == 1, refused.text
    assert "asks for an MFA code" in refused.text
    first = Terminal(command, environ=project.environ(environ), cwd=str(project.directory))
    first.answer("MFA code", "123456\r")
    assert first.finish() == 0, first.text
    second = Terminal(command, environ=project.environ(environ), cwd=str(project.directory))
    assert second.finish() == 0, second.text
    assert "MFA" not in second.text
    assert "admin" in second.text


# --- A manager -------------------------------------------------------------------------------------------------------


def test_values_end_at_their_time_while_a_server_does_not_answer(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VaultStore(vault)
    store.put({"SECRET_KEY": "x" * 40})
    go_on = threading.Event()

    def wait(_method: str, _path: str, _headers: dict[str, str]) -> FaultyAnswer | None:
        go_on.wait(30)
        return None

    with running_faulty(vault.url) as faulty:
        times = {"SECRETS_CACHE_TTL": "1", "SECRETS_MAX_STALE": "3", "SECRETS_LOAD_TIMEOUT": "10"}
        for name, value in (store.environ | times | {"VAULT_ADDR": faulty.url}).items():
            monkeypatch.setenv(name, value)
        manager = SecretsManager()
        assert manager.get_secret("SECRET_KEY") == "x" * 40
        loaded = time.monotonic()
        faulty.fault = wait
        while time.monotonic() < loaded + 2:
            start = time.monotonic()
            assert manager.get_secret("SECRET_KEY") == "x" * 40
            assert time.monotonic() - start < 0.9
            time.sleep(0.1)
        time.sleep(max(0.0, loaded + 3.5 - time.monotonic()))
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="has not answered yet"):
            manager.get_secret("SECRET_KEY")
        assert time.monotonic() - start < 4
        assert manager.health().error == "StoreUnavailableError"
        faulty.fault = None
        go_on.set()
        deadline = time.monotonic() + 10
        while manager.health().error and time.monotonic() < deadline:
            time.sleep(0.1)
        assert manager.get_secret("SECRET_KEY") == "x" * 40


def refreshes(manager: SecretsManager) -> bool:
    """Whether the store can be read; an engine that is being upgraded cannot for a moment, and says so."""
    try:
        manager.refresh()
    except StoreUnavailableError as error:
        if "upgrading" not in str(error):
            raise
        return False
    return True


def test_an_engine_that_is_upgraded_is_read_on(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = "kv-to-upgrade"
    client = vault.client()
    client.sys.enable_secrets_engine("kv", path=mount, options={"version": "1"})
    try:
        client.secrets.kv.v1.create_or_update_secret("cctv", {"SECRET_KEY": "y" * 40}, mount_point=mount)
        for name, value in vault.environ("cctv", mount).items():
            monkeypatch.setenv(name, value)
        manager = SecretsManager()
        assert manager.get_secret("SECRET_KEY") == "y" * 40
        client.sys.tune_mount_configuration(mount, options={"version": "2"})
        deadline = time.monotonic() + 20
        while not (is_read := refreshes(manager)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert is_read
        assert manager.get_secret("SECRET_KEY") == "y" * 40
        backend = open_backend(Settings())
        backend.save({"SECRET_KEY": Change("z" * 40)})
        manager.refresh()
        assert manager.get_secret("SECRET_KEY") == "z" * 40
    finally:
        client.sys.disable_secrets_engine(mount)
