"""What a store's server, a proxy in front of it, or a setting of the user does wrong, and what is said about it.

Each row has a source: the service's documentation, a public report, or the answer of the real server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from botocore.exceptions import ClientError
from requests.exceptions import InvalidHeader

from src.utils.secrets.backends.aws_secrets_manager_failures import classified as classified_by_aws
from src.utils.secrets.backends.azure_keyvault_failures import classified
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    ConfigurationError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests.conftest import PROJECT
from tests.servers.aws import CREDENTIALS, Aws
from tests.servers.certificates import Authority, ServerCertificate
from tests.servers.faulty import Answer, running_faulty, whole_answer
from tests.servers.keyvault import FailureError, KeyVault
from tests.servers.ports import free_port
from tests.servers.raw import running_raw
from tests.servers.vault import Vault

PAGE = b"<!DOCTYPE html><html><head><title>Please sign in</title></head><body>page-canary</body></html>"
AWS = {"SECRETS_BACKEND": "aws", "AWS_REGION": "eu-central-1", **CREDENTIALS}
VAULT = {"SECRETS_BACKEND": "vault", "VAULT_TOKEN": "root"}
OURS = re.compile(
    "^(AWS|AZURE|VAULT|IDENTITY|HTTPS?_PROXY|https?_proxy|NO_PROXY|no_proxy|ALL_PROXY|REQUESTS_CA_BUNDLE)"
)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Load a store with these settings alone, which SDKs read in the process's environment."""

    def load(environ: Mapping[str, str]) -> None:
        for name in filter(OURS.match, list(os.environ)):
            monkeypatch.delenv(name)
        for name, value in (dict(environ) | {"HOME": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        open_backend(Settings(dict(environ) | {"HOME": str(tmp_path)})).load()

    return load


Load = Callable[[Mapping[str, str]], None]


@contextmanager
def explained(kind: type[SecretsError], said: str) -> Iterator[None]:
    """Expect an error of this kind with a cause and a cure, which blames neither this program nor a stranger."""
    with pytest.raises(SecretsError) as raised:
        yield
    error, whole = raised.value, f"{raised.value}\n{raised.value.hint}"
    assert re.search(said, str(error)), str(error)
    assert isinstance(error, kind), type(error)
    assert error.hint
    assert "canary" not in whole
    assert not re.search(r"\b[Bb]ug\b|Unexpected|Traceback|\x1b|<html|\bNone\b|Error\(", whole), whole
    assert len(str(error)) < 500


def answering(status: int, body: bytes, content_type: str) -> Callable[..., None]:
    return lambda connection: connection.sendall(whole_answer(status, {"Content-Type": content_type}, body))


def aws_json(code: str, message: str, status: int = 400) -> Callable[..., None]:
    return answering(status, json.dumps({"__type": code, "message": message}).encode(), "application/x-amz-json-1.1")


def sts_xml(code: str, message: str, status: int = 403) -> Callable[..., None]:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
    return answering(status, body.encode(), "text/xml")


def vault_json(status: int, *errors: str) -> Callable[..., None]:
    return answering(status, json.dumps({"errors": errors}).encode(), "application/json")


# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
DENIED = "User: arn:aws:iam::123456789012:user/me is not authorized to perform: secretsmanager:GetSecretValue because "
AWS_ANSWERS = [
    ("AccessDeniedException", "Access to KMS is not allowed", StoreDeniedError, "KMS key of .* may not"),
    ("AccessDeniedException", DENIED + "no identity-based policy allows it", StoreDeniedError, "^AWS denies secretsm"),
    (
        "AccessDeniedException",
        "User: assumed-role/kms-app/x is not authorized",
        StoreDeniedError,
        "^AWS denies secretsm",
    ),
    ("AccessDeniedException", DENIED + "no service control policy allows it", StoreDeniedError, "of the organization"),
    ("AccessDeniedException", DENIED + "no VPC endpoint policy allows it", StoreDeniedError, "of the VPC endpoint"),
    ("AccessDeniedException", DENIED + "no permissions boundary allows it", StoreDeniedError, "the limit of this"),
    ("AccessDeniedException", "with an explicit deny in a resource-based policy", StoreDeniedError, "explicitly"),
    ("ExpiredTokenException", "The security token included in the request is expired", StoreDeniedError, "expired"),
    ("InvalidSignatureException", "Signature expired: 20261128T1 is now earlier", StoreDeniedError, "The clock of"),
    ("InvalidSignatureException", "The request signature we calculated differs", StoreDeniedError, "does not know"),
    ("UnrecognizedClientException", "The security token is invalid", StoreDeniedError, "does not know these"),
    ("ValidationException", "Invalid name. Must be a valid name.", ConfigurationError, "cannot use SECRETS_AWS_SE"),
    ("ValidationException", "1 validation error detected: too much", StoreError, "1 validation error .*Validation"),
    # https://github.com/gruntwork-io/cloud-nuke/issues/435
    ("InvalidParameterException", "Operation not permitted on a replica secret.", ConfigurationError, "a replica"),
    (
        "InvalidRequestException",
        "You can't access a secret from a different AWS account if you encrypt it with the default KMS service key.",
        StoreDeniedError,
        "another AWS account",
    ),
    ("InvalidRequestException", "it was marked for deletion.", StoreDeletedError, "scheduled for deletion"),
    ("DecryptionFailure", "KMS said no", StoreDeniedError, "cannot use the KMS key .*KMS said no"),
    ("OptInRequired", "You are not subscribed", StoreDeniedError, "in this region"),
    ("InternalServiceError", "", StoreUnavailableError, "internal error"),
    ("LimitExceededException", "too many versions", StoreError, "quota is used up"),
    ("ResourceNotFoundException", "can't find", StoreEmptyError, "Secret not found"),
    ("SomethingNewException", "Line one\nline \x1b[31mtwo", StoreError, r"Line one line \[31mtwo \(SomethingNew"),
]


@pytest.mark.parametrize(("code", "message", "kind", "said"), AWS_ANSWERS)
def test_what_aws_answers_is_explained(
    code: str, message: str, kind: type[SecretsError], said: str, opened: Load
) -> None:
    with running_raw(aws_json(code, message)) as port, explained(kind, said):
        opened(AWS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})


ROLE = "[default]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = me\n"
ME = "[profile me]\naws_access_key_id = a\naws_secret_access_key = b\n"


@pytest.mark.parametrize(
    ("code", "message", "kind", "said"),
    [
        ("AccessDenied", "User: me is not authorized to perform: sts:AssumeRole", StoreDeniedError, "sts:AssumeRole"),
        ("RegionDisabledException", "STS is not activated", ConfigurationError, "STS is switched off"),
        ("ExpiredToken", "The security token is expired", StoreDeniedError, "have expired"),
    ],
)
def test_a_refused_role_is_not_blamed_on_the_secret(
    code: str, message: str, kind: type[SecretsError], said: str, opened: Load, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(ROLE + ME)
    role = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    with running_raw(sts_xml(code, message)) as sts, explained(kind, said):
        opened(AWS | role | {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{sts}"})


def test_a_refused_web_identity_is_explained(opened: Load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token-canary")
    web = {
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/app",
    }
    with (
        running_raw(sts_xml("InvalidIdentityToken", "No OpenIDConnect provider found", 400)) as sts,
        explained(StoreDeniedError, "web identity token: No OpenIDConnect"),
    ):
        opened(AWS | web | {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{sts}"})
    (tmp_path / "token").unlink()
    with explained(ConfigurationError, "No such file or directory: AWS_WEB_IDENTITY_TOKEN_FILE"):
        opened(AWS | web)


NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
LOOP = ROLE + "[profile me]\nrole_arn = arn:aws:iam::123456789012:role/b\nsource_profile = default\n"
AWS_SETTINGS: list[tuple[dict[str, str], str, type[SecretsError], str]] = [
    ({"AWS_ENDPOINT_URL": "localhost:4566"}, "", ConfigurationError, "AWS_ENDPOINT_URL.*not a usable address"),
    ({"AWS_ENDPOINT_URL": "http://"}, "", ConfigurationError, "AWS_ENDPOINT_URL.*not a usable address"),
    ({"AWS_REGION": "eu central"}, "", ConfigurationError, "AWS_REGION"),
    ({"AWS_PROFILE": "canary"}, "", ConfigurationError, "AWS_PROFILE"),
    ({"AWS_DEFAULTS_MODE": "fast"}, "", ConfigurationError, "AWS configuration cannot be used: .*defaults mode"),
    ({}, "[default\nregion = x\n", ConfigurationError, "Unable to parse config file"),
    (NO_KEYS, ROLE, ConfigurationError, "source_profile"),
    (NO_KEYS, LOOP, ConfigurationError, "Infinite loop"),
    (NO_KEYS, "[default]\nrole_arn = x\ncredential_source = Nowhere\n", ConfigurationError, "credential source"),
    (NO_KEYS, "[default]\ncredential_process = echo canary\n", ConfigurationError, "prints no JSON"),
    (NO_KEYS, "[default]\ncredential_process = false\n", StoreDeniedError, "credentials cannot be obtained"),
    (NO_KEYS, "[default]\ncredential_process = /nowhere/x\n", ConfigurationError, "No such file or directory"),
    (NO_KEYS, "[default]\nlogin_session = arn:aws:iam::1:user/x\n", ConfigurationError, "aws login"),
    (
        NO_KEYS,
        "[default]\nsso_start_url = https://x\nsso_account_id = 1\nsso_role_name = x\n",
        ConfigurationError,
        "SSO",
    ),
    (
        NO_KEYS,
        "[default]\nsso_start_url = https://x\nsso_region = eu-central-1\nsso_account_id = 1\nsso_role_name = x\n",
        StoreDeniedError,
        "sign-in to AWS has ended",
    ),
    (NO_KEYS, "", StoreDeniedError, "No AWS credentials"),
    (NO_KEYS | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://a.b/c"}, "", ConfigurationError, "Unsupported host"),
    ({"AWS_ACCESS_KEY_ID": "canary\n"}, "", ConfigurationError, "an invalid character"),
    ({"AWS_SESSION_TOKEN": "canary\r\n"}, "", ConfigurationError, "an invalid character"),
]


@pytest.mark.parametrize(("environ", "config", "kind", "said"), AWS_SETTINGS)
def test_a_wrong_setting_for_aws_is_named(
    environ: dict[str, str], config: str, kind: type[SecretsError], said: str, opened: Load, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(config)
    with running_raw(aws_json("ResourceNotFoundException", "")) as port, explained(kind, said):
        opened(
            AWS
            | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_CONFIG_FILE": str(tmp_path / "config")}
            | environ
        )


VAULT_ANSWERS = [
    (503, "Vault is sealed", StoreUnavailableError, "Vault is sealed"),
    (500, "local node not active but active cluster node not found", StoreUnavailableError, "no active node"),
    (400, "Upgrading from non-versioned to versioned data.", StoreUnavailableError, "upgrading the secrets engine"),
    (404, "namespace not found", ConfigurationError, "no such namespace"),
    (403, 'source address "10.1.1.1" unauthorized through CIDR restrictions', StoreDeniedError, "another address"),
    (413, "http: request body too large", StoreError, "more room than Vault allows"),
    (429, "rate limit quota exceeded", StoreUnavailableError, "limiting the rate"),
    (501, "", StoreUnavailableError, "not initialised"),
    (500, "1 error occurred: * disk full", StoreUnavailableError, "internal error: 1 error occurred: . disk full"),
    (418, "I am a\n\x1b[31mteapot", StoreError, r"I am a \[31mteapot \(HTTP 418\)"),
    (418, "it was sent with X-Vault-Token: root", StoreError, "its reason holds a secret"),
]


@pytest.mark.parametrize(("status", "message", "kind", "said"), VAULT_ANSWERS)
def test_what_vault_answers_is_explained(
    status: int, message: str, kind: type[SecretsError], said: str, opened: Load
) -> None:
    with running_raw(vault_json(status, *filter(None, [message]))) as port, explained(kind, said):
        opened(VAULT | {"VAULT_ADDR": f"http://127.0.0.1:{port}"})


def test_an_address_that_the_server_does_not_know_is_no_missing_secret(opened: Load) -> None:
    mount = {"data": {"type": "kv", "options": {"version": "2"}}}
    gone = {"errors": ['no handler for route "secret/data/cctv". route entry not found.']}
    with running_faulty("http://127.0.0.1:1") as faulty:
        faulty.fault = lambda method, path, headers: (
            (404 if "/data/" in path else 200),
            {"Content-Type": "application/json"},
            json.dumps(gone if "/data/" in path else mount).encode(),
        )
        with explained(ConfigurationError, "has no such address: no handler for route"):
            opened(VAULT | {"VAULT_ADDR": faulty.url})


ROLE_ID = {"VAULT_TOKEN": "", "VAULT_ROLE_ID": "role-canary", "VAULT_SECRET_ID": "secret-canary"}


@pytest.mark.parametrize(
    ("status", "message", "kind", "said"),
    [
        # HashiCorp Vault 1.14: https://github.com/hashicorp/vault/issues/4451
        (500, "invalid secret id", StoreDeniedError, "does not accept this AppRole: invalid secret id"),
        (
            500,
            'failed to validate: invalid role_id "role-canary"',
            StoreDeniedError,
            "not accept this AppRole: its rea",
        ),
        (400, "invalid role or secret ID", StoreDeniedError, "does not accept this AppRole"),
        (404, 'no handler for route "auth/approle/login". route entry not found.', StoreDeniedError, "no such way"),
        (503, "Vault is sealed", StoreUnavailableError, "Vault is sealed"),
        (500, "1 error occurred: * disk full", StoreUnavailableError, "internal error"),
    ],
)
def test_a_refused_app_role_is_not_a_fault_of_the_server(
    status: int, message: str, kind: type[SecretsError], said: str, opened: Load
) -> None:
    with running_raw(vault_json(status, message)) as port, explained(kind, said):
        opened(VAULT | ROLE_ID | {"VAULT_ADDR": f"http://127.0.0.1:{port}"})


def test_a_scheme_that_the_vault_does_not_speak_is_named(opened: Load) -> None:
    said = answering(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain; charset=utf-8")
    with running_raw(said) as port, explained(ConfigurationError, "speaks TLS .* and VAULT_ADDR says http"):
        opened(VAULT | {"VAULT_ADDR": f"http://127.0.0.1:{port}"})


VAULT_SETTINGS: list[tuple[dict[str, str], type[SecretsError], str]] = [
    ({"VAULT_ADDR": "http://127.0.0.1:1/v1"}, ConfigurationError, "ends in /v1"),
    ({"VAULT_ADDR": "http://me:x@127.0.0.1:1"}, ConfigurationError, "a user name or"),  # pragma: allowlist secret
    ({"VAULT_ADDR": "vault.example.org:8200"}, ConfigurationError, "not a usable address"),
    ({"VAULT_ADDR": "https://[::1:8200"}, ConfigurationError, "not a usable address"),
    ({"VAULT_ADDR": "http://[::1:8200"}, ConfigurationError, "not a usable address"),
    ({"VAULT_ADDR": "http://127.0.0.1:1"}, StoreUnavailableError, "cannot be reached: .*Connection refused"),
    ({"VAULT_ADDR": "https://nowhere.invalid"}, StoreUnavailableError, "cannot be reached: .*nowhere.invalid: "),
    ({"VAULT_TOKEN": "canary\nx"}, ConfigurationError, "characters that no token has"),
    ({"VAULT_CACERT": "/canary/ca.pem"}, ConfigurationError, "VAULT_CACERT names no file"),
    ({"VAULT_CLIENT_CERT": "/canary/ca.pem"}, ConfigurationError, "VAULT_CLIENT_CERT names no file"),
    ({"VAULT_AUTH_METHOD": "canary"}, ConfigurationError, "Unknown VAULT_AUTH_METHOD"),
    ({"VAULT_TOKEN": "", "VAULT_AUTH_ROLE": "app"}, ConfigurationError, "no token of a Kubernetes service account"),
    ({"VAULT_AUTH_METHOD": "approle"}, ConfigurationError, "by approle, VAULT_ROLE_ID has to be set"),
    ({"VAULT_AUTH_METHOD": "jwt"}, ConfigurationError, "by jwt, VAULT_AUTH_ROLE has to be set"),
    ({"VAULT_TOKEN": ""}, StoreDeniedError, "no token was found"),
]


@pytest.mark.parametrize(("environ", "kind", "said"), VAULT_SETTINGS)
def test_a_wrong_setting_for_vault_is_named(
    environ: dict[str, str], kind: type[SecretsError], said: str, opened: Load
) -> None:
    with running_raw(vault_json(404)) as port, explained(kind, said):
        opened(VAULT | {"VAULT_ADDR": f"http://127.0.0.1:{port}"} | environ)


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """The TLS of a server on this machine, whose CA is ``ca.pem``."""
    return served_with(Authority(tmp_path).issue("localhost"))


def served_with(certificate: ServerCertificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


@pytest.fixture
def keyvault(keyvault_server: KeyVault) -> KeyVault:
    """An empty vault."""
    keyvault_server.clear()
    return keyvault_server


ADDRESSES = {"aws": "AWS_ENDPOINT_URL", "vault": "VAULT_ADDR", "azure": "AZURE_KEYVAULT_URL"}
BUNDLES = {"aws": "AWS_CA_BUNDLE", "vault": "VAULT_CACERT", "azure": "REQUESTS_CA_BUNDLE"}
At = Callable[..., dict[str, str]]


@pytest.fixture
def at(keyvault: KeyVault) -> At:
    """Return the settings of a store at an address, trusting the CA in a file."""

    def settings(name: str, url: str, ca: str | Path = "") -> dict[str, str]:
        environ = {"aws": AWS, "vault": VAULT, "azure": keyvault.environ() | {"REQUESTS_CA_BUNDLE": ""}}[name]
        found = environ | {ADDRESSES[name]: url} | ({BUNDLES[name]: str(ca)} if ca else {})
        return {variable: value for variable, value in found.items() if value}

    return settings


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_server_without_tls_is_told_from_a_wrong_certificate(name: str, opened: Load, at: At) -> None:
    # It answers what it does not understand at once.
    with running_faulty("http://127.0.0.1:1") as plain, explained(ConfigurationError, "does not speak TLS"):
        opened(at(name, plain.url.replace("http:", "https:")))


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_untrusted_certificate_and_a_missing_file_of_cas_are_told_apart(
    name: str, opened: Load, at: At, context: ssl.SSLContext, tmp_path: Path
) -> None:
    with running_raw(answering(404, b"{}", "application/json"), context) as port:
        url = f"https://127.0.0.1:{port}"
        with explained(StoreUnavailableError, "certificate of .* is not accepted"):
            opened(at(name, url))
        with explained(ConfigurationError, "file with the certificates of the CAs|names no file"):
            opened(at(name, url, tmp_path / "nowhere.pem"))
        (tmp_path / "empty.pem").write_text("")
        with explained(ConfigurationError, "file with the certificates of the CAs"):
            opened(at(name, url, tmp_path / "empty.pem"))
        with explained(ConfigurationError, "file with the certificates of the CAs"):
            opened(at(name, url) | {"REQUESTS_CA_BUNDLE": str(tmp_path / "nowhere.pem")})


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    ("host", "days", "said"),
    [
        ("localhost", -1, "has expired, or is not valid yet: .*expired"),
        ("elsewhere.example.org", 1, "does not match the host name"),
    ],
)
def test_a_certificate_that_does_not_fit_says_why(
    host: str, days: int, said: str, name: str, opened: Load, at: At, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    context = served_with(authority.issue(host, is_local=host == "localhost", days=days))
    with (
        running_raw(answering(404, b"{}", "application/json"), context) as port,
        explained(StoreUnavailableError, said),
    ):
        opened(at(name, f"https://127.0.0.1:{port}", authority.certificate))


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_server_that_demands_a_client_certificate_is_explained(
    name: str, opened: Load, at: At, context: ssl.SSLContext, tmp_path: Path
) -> None:
    # With 1.3, this server closes the connection before its refusal can be read.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "ca.pem")
    with (
        running_raw(answering(404, b"{}", "application/json"), context) as port,
        explained(ConfigurationError, "demands a certificate of its clients"),
    ):
        opened(at(name, f"https://127.0.0.1:{port}", tmp_path / "ca.pem"))


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_server_that_hangs_up_and_one_that_is_not_there_are_told_apart(name: str, opened: Load, at: At) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped = threading.Event()

        def hang_up() -> None:
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    server.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        try:
            with explained(StoreUnavailableError, "ends the connection while TLS begins|reset"):
                opened(at(name, f"https://127.0.0.1:{server.getsockname()[1]}"))
        finally:
            stopped.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    with explained(StoreUnavailableError, "cannot be reached: https://127.0.0.1:1/?: Connection refused"):
        opened(at(name, "https://127.0.0.1:1"))


@pytest.mark.parametrize("name", ["aws", "vault"])
@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (200, StoreUnavailableError, "unexpected response"),
        (302, StoreUnavailableError, "web page|elsewhere"),
        (403, StoreUnavailableError, "refuses the request with a web page"),
        (407, ConfigurationError, "user name and a password"),
        (502, StoreUnavailableError, "web page|internal error"),
        (503, StoreUnavailableError, "web page|internal error"),
    ],
)
def test_a_page_of_a_proxy_is_not_taken_for_the_store_s_answer(
    status: int, kind: type[SecretsError], said: str, name: str, opened: Load, at: At
) -> None:
    page = whole_answer(status, {"Content-Type": "text/html", "Location": "https://sign-in.example.org/"}, PAGE)
    with running_raw(lambda connection: connection.sendall(page)) as port:
        with pytest.raises(SecretsError) as raised:
            opened(at(name, f"http://127.0.0.1:{port}"))
        assert isinstance(raised.value, kind)
        assert re.search(said, str(raised.value))
        assert "canary" not in str(raised.value)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    ("proxy", "kind", "said"),
    [
        ("http://127.0.0.1:{closed}", StoreUnavailableError, "The proxy .*Connection refused"),
        ("http://127.0.0.1:{refusing}", ConfigurationError, "demands a user name and a password"),
        ("socks5://127.0.0.1:{closed}", SecretsError, "proxy"),
        ("nonsense://", SecretsError, "proxy"),
    ],
)
def test_a_proxy_that_does_not_work_is_named(
    proxy: str, kind: type[SecretsError], said: str, name: str, opened: Load, at: At
) -> None:
    with running_raw(answering(407, b"", "text/plain")) as refusing:
        url = proxy.format(closed=free_port(), refusing=refusing)
        with explained(kind, said):
            opened(at(name, "https://store.example.org") | {"HTTPS_PROXY": url})


def test_what_is_written_is_not_repeated_when_the_service_quotes_it(opened: Load, tmp_path: Path) -> None:
    value = "quoted-canary"

    def quote(method: str, path: str, headers: dict[str, str]) -> Answer:
        if headers["X-Amz-Target"].endswith("GetSecretValue"):
            code, said = "ResourceNotFoundException", ""
        else:
            code, said = "ValidationException", f"1 validation error detected: Value '{value}' failed"
        return 400, {"x-amzn-errortype": code}, json.dumps({"__type": code, "message": said}).encode()

    with running_faulty("http://127.0.0.1:1") as faulty:
        faulty.fault = quote
        with explained(StoreEmptyError, "not found"):
            opened(AWS | {"AWS_ENDPOINT_URL": faulty.url})
        with explained(StoreError, "its reason holds a secret"):
            open_backend(Settings(AWS | {"AWS_ENDPOINT_URL": faulty.url})).save({"A": Change(value)})


# https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
AZURE_ANSWERS = [
    (
        403,
        "Forbidden",
        "ForbiddenByConnection",
        "Public network access is disabled",
        StoreDeniedError,
        "public network",
    ),
    (403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized", StoreDeniedError, "The firewall of"),
    (403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized", StoreDeniedError, "denies listing secrets"),
    (403, "RequestDisallowedByPolicy", None, "Resource was disallowed by policy", StoreDeniedError, "A policy of the"),
    (401, "Unauthorized", None, "AKV10032: Invalid issuer. Expected one of x", StoreDeniedError, "another tenant than"),
    (401, "Unauthorized", None, "AKV10000: Request is missing a token", StoreDeniedError, "not accept the credential"),
    (400, "BadParameter", None, "Too many tags", StoreError, "at most 15 tags"),
    (400, "BadParameter", None, "The name is\n\x1b[31mwrong", StoreError, r"The name is \[31mwrong \(BadParameter\)"),
    (404, "SecretNotFound", None, "A secret was not found", StoreEmptyError, "Secret not found"),
    (404, "NotFound", None, "default backend", ConfigurationError, "no key vault at this address"),
    (400, "BadParameter", None, "Not in the staging slot", StoreError, "Not in the staging slot"),
    (409, "Conflict", "ObjectIsBeingDeleted", "Secret x is being deleted", StoreUnavailableError, "has not finished"),
    (500, "InternalError", None, "trouble", StoreUnavailableError, "internal error"),
    (418, "Teapot", None, "", StoreError, r"no reason given \(Teapot\)"),
]


@pytest.mark.parametrize(("status", "code", "inner", "message", "kind", "said"), AZURE_ANSWERS)
def test_what_azure_answers_is_explained(
    status: int,
    code: str,
    inner: str | None,
    message: str,
    kind: type[SecretsError],
    said: str,
    keyvault: KeyVault,
    opened: Load,
) -> None:
    keyvault.fault = lambda method, path: FailureError(status, code, message, inner)
    with explained(kind, said):
        opened(keyvault.environ())


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (200, StoreUnavailableError, "no JSON"),
        (403, StoreUnavailableError, "refuses the request with a web page"),
        (407, ConfigurationError, "user name and a password"),
        (502, StoreUnavailableError, "web page"),
    ],
)
def test_a_page_of_a_proxy_is_not_taken_for_the_vault_s_answer(
    status: int,
    kind: type[SecretsError],
    said: str,
    keyvault: KeyVault,
    opened: Load,
    capfd: pytest.CaptureFixture[str],
) -> None:
    page = whole_answer(status, {"Content-Type": "text/html"}, PAGE)
    keyvault.interfere = lambda right: page if b'"value"' in right else right
    with explained(kind, said):
        opened(keyvault.environ())
    assert "Traceback" not in capfd.readouterr().err


CLIENT = {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000000"}
WORKLOAD = CLIENT | {"AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential", "AZURE_FEDERATED_TOKEN_FILE": "/canary/t"}
CERTIFICATE = CLIENT | {
    "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    "AZURE_CLIENT_CERTIFICATE_PATH": "/canary/t",
}
AZURE_SETTINGS: list[tuple[dict[str, str], type[SecretsError], str]] = [
    ({"AZURE_TOKEN_CREDENTIALS": "no-such-one"}, ConfigurationError, "AZURE_TOKEN_CREDENTIALS: no-such-one"),
    (WORKLOAD, ConfigurationError, "a file that is named for it is not there"),
    (WORKLOAD | {"AZURE_TENANT_ID": "another"}, ConfigurationError, "another tenant"),
    (CERTIFICATE, ConfigurationError, "No such file or directory: AZURE_CLIENT_CERTIFICATE_PATH"),
    (CERTIFICATE | {"AZURE_TENANT_ID": "b c"}, ConfigurationError, "No such file|tenant"),
    (CERTIFICATE | {"AZURE_AUTHORITY_HOST": "http://x"}, ConfigurationError, "https"),
    ({"IDENTITY_HEADER": "canary\n"}, ConfigurationError, "an invalid character"),
    ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1/"}, StoreUnavailableError, "what issues the tokens cannot be reached"),
    ({"IDENTITY_HEADER": "wrong"}, StoreDeniedError, "no credential was accepted; tried: ManagedIdentityCredential"),
    ({"REQUESTS_CA_BUNDLE": ""}, StoreUnavailableError, "certificate of Azure Key Vault is not accepted"),
    ({"REQUESTS_CA_BUNDLE": "/canary/ca.pem"}, ConfigurationError, "file with the certificates of the CAs"),
    ({"HTTPS_PROXY": "http://127.0.0.1:1"}, StoreUnavailableError, "The proxy on the way to Azure Key Vault"),
    ({"HTTPS_PROXY": "socks5://127.0.0.1:1"}, ConfigurationError, "a SOCKS proxy"),
]


@pytest.mark.parametrize(("environ", "kind", "said"), AZURE_SETTINGS)
def test_a_wrong_setting_for_azure_is_named(
    environ: dict[str, str], kind: type[SecretsError], said: str, keyvault: KeyVault, opened: Load
) -> None:
    with explained(kind, said):
        opened({name: value for name, value in (keyvault.environ() | environ).items() if value})


# https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("Multiple user assigned identities exist, please specify the clientId", "has several managed identities"),
        ("Identity not found", "that AZURE_CLIENT_ID names is not assigned"),
    ],
)
def test_what_the_metadata_service_answers_is_explained(
    description: str, said: str, keyvault: KeyVault, opened: Load
) -> None:
    body = json.dumps({"error": "invalid_request", "error_description": description}).encode()
    here = {name: value for name, value in keyvault.environ().items() if not name.startswith("IDENTITY_")}
    with running_raw(answering(400, body, "application/json")) as port, explained(ConfigurationError, said):
        opened(here | {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{port}"})


# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("AADSTS7000215", StoreDeniedError, "secret of the application is wrong"),
        ("AADSTS7000222", StoreDeniedError, "secret of the application is wrong or has ended"),
        ("AADSTS700016", StoreDeniedError, "no such application"),
        ("AADSTS90002", ConfigurationError, "no such tenant"),
        ("AADSTS700213", StoreDeniedError, "federated token"),
        ("AADSTS700027", StoreDeniedError, "certificate"),
        ("AADSTS50076", StoreDeniedError, "a second factor"),
        ("AADSTS700082", StoreDeniedError, "sign-in has ended"),
        ("AADSTS53003", StoreDeniedError, "Conditional Access blocks"),
        ("AADSTS1234567", StoreDeniedError, r"no credential was accepted; .*AADSTS1234567"),
    ],
)
def test_what_entra_answers_is_explained(code: str, kind: type[SecretsError], said: str) -> None:
    attempted = f"Attempted credentials:\n\tEnvironmentCredential: {code}: Something with canary in it."
    error = classified(ClientAuthenticationError(attempted), "https://x.vault.azure.net", "listing secrets", None, {})
    with explained(kind, said):
        raise error
    assert code in str(error)


def test_what_iam_identity_center_and_a_header_answer_is_explained() -> None:
    """No server here can show these: https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html."""
    refused = {
        "Error": {"Code": "ForbiddenException", "Message": "No access"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    with explained(StoreDeniedError, "does not give this user the role of the profile: No access"):
        raise classified_by_aws(ClientError(refused, "GetRoleCredentials"), "x", "connecting", {})
    header = ServiceRequestError("x", error=InvalidHeader("Invalid header value: canary"))
    with explained(ConfigurationError, "an invalid character"):
        raise classified(header, "https://x.vault.azure.net", "listing secrets", None, {})


def test_a_long_answer_takes_no_time(opened: Load) -> None:
    start = time.monotonic()
    with running_raw(answering(400, b"a" * 4_000_000, "text/plain")) as port, explained(StoreError, "aaaa"):
        opened(VAULT | {"VAULT_ADDR": f"http://127.0.0.1:{port}"})
    assert time.monotonic() - start < 5


def test_a_connection_that_breaks_while_a_refusal_is_looked_into_is_no_bug(opened: Load) -> None:
    answers = {
        "/v1/sys/internal/ui/mounts/secret": (200, {"data": {"type": "kv", "options": {"version": "2"}}}),
        "/v1/secret/data/cctv": (403, {"errors": ["permission denied"]}),
        "/v1/auth/token/lookup-self": (200, "what is cut off"),
    }

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        status, content = answers[path]
        return status, {"Content-Type": "application/json"}, json.dumps(content).encode()

    with running_faulty("http://127.0.0.1:1") as faulty:
        faulty.fault = answer
        faulty.interfere = lambda right: b"" if b"what is cut off" in right else right
        with explained(StoreDeniedError, "Vault denies reading on secret/cctv"):
            opened(VAULT | {"VAULT_ADDR": faulty.url})


def test_a_client_s_key_that_does_not_fit_or_is_encrypted_is_named(
    opened: Load, at: At, context: ssl.SSLContext, tmp_path: Path
) -> None:
    other, client = Authority(tmp_path).issue("other"), Authority(tmp_path).issue("client")
    certificate = {"VAULT_CLIENT_CERT": str(client.certificate), "VAULT_CLIENT_KEY": str(other.key)}
    with running_raw(answering(404, b"{}", "application/json"), context) as port:
        environ = at("vault", f"https://127.0.0.1:{port}", tmp_path / "ca.pem")
        with explained(ConfigurationError, "do not belong together"):
            opened(environ | certificate)
        (tmp_path / "key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")  # pragma: allowlist secret
        with explained(ConfigurationError, "encrypted with a passphrase"):
            opened(environ | certificate | {"VAULT_CLIENT_KEY": str(tmp_path / "key")})


def test_a_load_that_works_imports_no_table_of_failures(aws: Aws, vault: Vault, keyvault: KeyVault) -> None:
    aws.client().create_secret(Name="cctv-face-detection", SecretString='{"A": "1"}')
    vault.client().secrets.kv.v2.create_or_update_secret("cctv", {"A": "1"})
    keyvault.put("a", "1")
    program = (
        "import sys\n"
        "from src.utils.secrets.manager import open_backend\n"
        "from src.utils.secrets.settings import Settings\n"
        "assert open_backend(Settings()).load().values == {'A': '1'}\n"
        "print([name for name in sys.modules if name.endswith('_failures')])\n"
    )
    for server in (aws, vault, keyvault):
        environ = {name: value for name, value in os.environ.items() if not OURS.match(name)} | server.environ()
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
