"""The jobs of docs/ci.md, run as GitHub Actions and GitLab CI run them, with stores and an issuer on this machine."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import yaml

from tests.conftest import PROJECT, need, need_program
from tests.servers.aws import CREDENTIALS, REGION, running_aws
from tests.servers.certificates import Authority
from tests.servers.keyvault import KeyVault
from tests.servers.vault import PROGRAM, Vault
from tests.support.checkout import Checkout, copy_checkout
from tests.support.issuer import REQUEST_TOKEN, Answer, Issuer, answering, running_issuer
from tests.support.pages import blocks_of

PAGE = "docs/ci.md"
GITHUB = "https://token.actions.githubusercontent.com"
SUBJECTS = {
    "github": "repo:OWNER/REPOSITORY:environment:production",
    "gitlab": "project_path:GROUP/PROJECT:ref_type:branch:ref:main",
}
SYSTEMS = list(SUBJECTS)
MASK = re.compile(r"^::add-mask::.+$", re.MULTILINE)


def jobs() -> dict[tuple[str, str], dict[str, Any]]:
    """Each YAML block, parsed, by store and system."""
    found = {}
    for text in re.findall(r"^```yaml\n(.*?)^```$", (PROJECT / PAGE).read_text(), re.MULTILINE | re.DOTALL):
        content = yaml.safe_load(text)
        is_github = text.startswith("# .github/workflows/")
        assert is_github or text.startswith("# .gitlab-ci.yml\n")
        job = content["jobs"]["secrets"] if is_github else content["secrets"]
        if is_github:
            assert content["permissions"] == {"contents": "read", "id-token": "write"}
        variables = job["env" if is_github else "variables"]
        found[variables["SECRETS_BACKEND"], "github" if is_github else "gitlab"] = job
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    need_program("curl", "curl")
    need_program("jq", "jq")
    directory, home = tmp_path / "project", tmp_path / "home"
    directory.mkdir()
    (home / "bin").mkdir(parents=True)
    copy_checkout(directory)
    (directory / ".venv").symlink_to(PROJECT / ".venv")
    (home / "bin/vault").symlink_to(PROGRAM)
    (home / "bin/aws").symlink_to(PROJECT / ".venv/awscli/bin/aws")
    return Checkout(directory, home, os.geteuid(), {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"})


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def address(issuer: Issuer, system: str) -> Iterator[str]:
    """Where the issuer of the CI system is."""
    with running_issuer(issuer, SUBJECTS[system]) as url:
        yield url


def set_up(checkout: Checkout, environ: dict[str, str]) -> None:
    command = ["./scripts/setup_secrets.py", "--non-interactive"]
    done = bash(checkout, " ".join(command), environ)
    assert done.returncode == 0, done.stderr
    for leftover in (".env.production", ".env", "secrets", "config/SETUP.md"):
        assert not (checkout.directory / leftover).is_dir()
        (checkout.directory / leftover).unlink(missing_ok=True)


def bash(checkout: Checkout, script: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env=checkout.environ | environ,
        cwd=checkout.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def type_block(checkout: Checkout, test: str, system: str, environ: dict[str, str], address: str = GITHUB) -> None:
    """Run the commands of the page that prepare a store, for this issuer and subject."""
    [block] = [block for block in blocks_of(PAGE) if block.run_by == test]
    assert SUBJECTS["github"] in block.text
    text = block.text.replace(SUBJECTS["github"], SUBJECTS[system]).replace(GITHUB, address)
    done = bash(checkout, text, environ)
    assert done.returncode == 0, done.stdout + done.stderr


class Machine:
    """Runs a job of the page.

    Args:
        checkout: What the job has checked out.
        address: Where the issuer is.
        replaced: Settings of the page by those of this machine.
        more: Settings that only this machine needs.
    """

    def __init__(self, checkout: Checkout, address: str, replaced: dict[str, str], more: dict[str, str]) -> None:
        self.checkout = checkout
        self.address = address
        self.replaced = replaced
        self.more = more

    def run(self, store: str, system: str, issuer: Issuer) -> subprocess.CompletedProcess[str]:
        """What the steps print; the code is that of the first one that fails."""
        job = jobs()[store, system]
        variables = job["env" if system == "github" else "variables"]
        assert set(self.replaced) <= set(variables)
        environ = variables | self.replaced | self.more
        steps = self._github(job, environ) if system == "github" else self._gitlab(job, environ, issuer)
        done = subprocess.CompletedProcess[str]([], 0, "", "")
        for script, current in steps:
            assert "${{" not in script
            step = bash(self.checkout, script, current)
            said = done.stdout + step.stdout, done.stderr + step.stderr
            done = subprocess.CompletedProcess([], step.returncode, *said)
            if step.returncode:
                break
        return done

    def _github(self, job: dict[str, Any], environ: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
        file = self.checkout.home / "github-environment"
        file.touch()
        own = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ENV": str(file),
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }
        checkout, install, *steps = job["steps"]
        assert (list(checkout), install) == (["uses"], {"run": "make install"})
        for step in steps:
            set_before = dict(line.split("=", 1) for line in file.read_text().splitlines())
            yield step["run"], environ | own | set_before

    def _gitlab(
        self, job: dict[str, Any], environ: dict[str, str], issuer: Issuer
    ) -> Iterator[tuple[str, dict[str, str]]]:
        tokens = {
            name: issuer.sign(iss=self.address, sub=SUBJECTS["gitlab"], aud=token["aud"])
            for name, token in job["id_tokens"].items()
        }
        install, *before = job["before_script"]
        assert install == "make install"
        yield "\n".join([*before, *job["script"]]), environ | tokens | {"GITLAB_CI": "true", "CI": "true"}


def check(done: subprocess.CompletedProcess[str], system: str, password: str) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything that is required is there" in done.stdout
    assert password not in done.stdout
    masks = MASK.findall(done.stderr)
    assert masks == ([f"::add-mask::{password}"] if system == "github" else [])


def test_every_store_has_a_job_for_each_system() -> None:
    assert set(jobs()) == {(store, system) for store in ("aws", "vault", "azure") for system in SYSTEMS}


def test_a_job_reads_the_secrets_from_vault_with_its_own_token(
    system: str, checkout: Checkout, address: str, issuer: Issuer, vault_server: Vault
) -> None:
    vault_server.clear()
    administrator = vault_server.environ()
    set_up(checkout, administrator)
    password = bash(checkout, "./scripts/manage_secrets.py get DATABASE_PASSWORD", administrator).stdout
    test = "test_a_job_reads_the_secrets_from_vault_with_its_own_token"
    type_block(checkout, test, system, administrator, address)
    machine = Machine(checkout, address, {"VAULT_ADDR": vault_server.url}, {})
    check(machine.run("vault", system, issuer), system, password)
    # The job has the application's rights, and another job has none.
    jwt_of = {"VAULT_JWT": issuer.sign(iss=address, sub=SUBJECTS[system], aud="vault"), "VAULT_AUTH_ROLE": "cctv-ci"}
    reader = {"SECRETS_BACKEND": "vault", "VAULT_ADDR": vault_server.url} | jwt_of
    denied = bash(checkout, "./scripts/manage_secrets.py set SECRET_KEY --generate", reader)
    assert "denies writing" in denied.stderr
    stranger = reader | {"VAULT_JWT": issuer.sign(iss=address, sub=f"{SUBJECTS[system]}-2", aud="vault")}
    refused = bash(checkout, "./scripts/manage_secrets.py status", stranger)
    assert "Vault authentication failed" in refused.stderr


def test_a_job_reads_the_secrets_from_aws_with_its_own_token(
    system: str, checkout: Checkout, address: str, issuer: Issuer
) -> None:
    need("the AWS CLI", (PROJECT / ".venv/awscli/bin/aws").exists(), "make install-dev")
    with running_aws() as server:
        administrator = server.environ() | {"AWS_DEFAULT_REGION": REGION}
        set_up(checkout, administrator)
        password = bash(checkout, "./scripts/manage_secrets.py get DATABASE_PASSWORD", administrator).stdout
        test = "test_a_job_reads_the_secrets_from_aws_with_its_own_token"
        type_block(checkout, test, system, administrator)
        role = server.client("iam").get_role(RoleName="cctv-ci")["Role"]
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        conditions = statement["Condition"]["StringEquals"]
        assert conditions["token.actions.githubusercontent.com:sub"] == SUBJECTS[system]
        [provider] = server.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
        assert statement["Principal"] == {"Federated": provider["Arn"]}
        nobody = {name: value for name, value in CREDENTIALS.items() if "ACCESS_KEY" not in name}
        machine = Machine(checkout, address, {"AWS_ROLE_ARN": role["Arn"]}, nobody | {"AWS_ENDPOINT_URL": server.url})
        check(machine.run("aws", system, issuer), system, password)


def test_a_job_reads_the_secrets_from_azure_with_its_own_token(
    system: str, checkout: Checkout, address: str, issuer: Issuer, keyvault_server: KeyVault, tmp_path: Path
) -> None:
    keyvault_server.clear()
    administrator = keyvault_server.environ()
    set_up(checkout, administrator)
    password = bash(checkout, "./scripts/manage_secrets.py get DATABASE_PASSWORD", administrator).stdout
    authority, context = Authority(tmp_path), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served = authority.issue("localhost")
    context.load_cert_chain(served.certificate, served.key)
    both = tmp_path / "both.pem"
    both.write_text(Path(keyvault_server.ca).read_text() + authority.certificate.read_text())
    page = jobs()["azure", system]["env" if system == "github" else "variables"]
    tried: list[str] = []

    def sign_in(path: str, _headers: dict[str, str], body: bytes) -> Answer:
        """The token endpoint of a tenant, which knows one federated credential."""
        tried.append(path)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert form["client_id"] == page["AZURE_CLIENT_ID"]
        audience = "api://AzureADTokenExchange"
        given = form["client_assertion"]
        claims = jwt.decode(given, issuer.public_key, ["ES256"], audience=audience, issuer=address)
        assert claims["sub"] == SUBJECTS[system]
        token = uuid.uuid4().hex
        keyvault_server.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    with answering(sign_in, context) as port:
        machine = Machine(
            checkout,
            address,
            {"AZURE_KEYVAULT_URL": keyvault_server.url},
            {
                "AZURE_AUTHORITY_HOST": f"https://localhost:{port}",
                "AZURE_KEYVAULT_VERIFY_CHALLENGE": "false",
                "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH": "true",  # the imitation names another tenant
                "REQUESTS_CA_BUNDLE": str(both),
                "HOME": os.fspath(tmp_path),
            },
        )
        check(machine.run("azure", system, issuer), system, password)
    assert set(tried) == {f"/{page['AZURE_TENANT_ID']}/oauth2/v2.0/token"}
