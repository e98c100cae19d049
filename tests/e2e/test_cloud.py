"""The cloud stores, from an empty project to an application that answers /ready."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from pathlib import Path

import pytest
from dotenv import dotenv_values

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import make_plan
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.command import compose
from tests.conftest import Project
from tests.servers.aws import CREDENTIALS, REGION, Aws
from tests.servers.faulty import running_faulty
from tests.servers.keyvault import FailureError, KeyVault
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.redis import running_redis
from tests.servers.vault import Vault
from tests.support.app import running_app
from tests.support.commands import typed
from tests.support.issuer import Issuer, trust
from tests.support.terminal import CTRL_C, ENTER, Terminal

CATALOG = load_catalog()
MENU = "Where do you want to store the secrets"
CONFIRM = "Write this now"
VALUES = [
    "Name of the first administrator",
    "Password of the first administrator",
    "Do you send SMS",
    "Do you send e-mail",
]
WHAT_NEXT = "What next"
POLICY = 'path "secret/data/cctv" { capabilities = ["create", "update", "read"] }'


def machine(server: Aws | Vault | KeyVault) -> dict[str, str]:
    """Return the credentials of a machine that may use the store, without the store's address."""
    if isinstance(server, Aws):
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}
    if isinstance(server, Vault):
        return {}
    environ = server.environ()
    return {name: environ[name] for name in environ if name not in ("SECRETS_BACKEND", "AZURE_KEYVAULT_URL")}


def wizard(project: Project, environ: dict[str, str], *arguments: str) -> Terminal:
    return Terminal(
        project.script("setup_secrets.py", *arguments),
        environ=project.environ(environ),
        cwd=str(project.directory),
    )


def settings(project: Project) -> dict[str, str]:
    found = dotenv_values(project.directory / ".env.production", interpolate=False)
    return {name: value or "" for name, value in found.items()}


def answer_values(terminal: Terminal) -> None:
    for question in VALUES:
        terminal.answer(question)


def stored_in_aws(server: Aws, name: str = "cctv-face-detection") -> dict[str, str]:
    answer = server.client().get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
    content: dict[str, str] = json.loads(answer["SecretString"])
    return content


def stored_in_vault(server: Vault, path: str = "cctv") -> dict[str, str]:
    answer = server.client().secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)
    content: dict[str, str] = answer["data"]["data"]
    return content


def check_everything_works(
    project: Project, environ: dict[str, str], values: dict[str, str], postgres: Postgres, tmp_path: Path
) -> None:
    """Check that the other scripts find the store, the application reads from it, and only one value was shown."""
    done = project.run("manage_secrets.py", "get", "DATABASE_PASSWORD", environ=environ)
    assert done.stdout == values["DATABASE_PASSWORD"], done.stderr
    done = project.run("generate_docker_secrets.sh", environ=environ)
    assert done.returncode == 0, done.stderr
    assert (project.directory / "secrets/secret_key.txt").read_text() == values["SECRET_KEY"]
    postgres.set_password(values["DATABASE_PASSWORD"])
    with running_redis(values["REDIS_PASSWORD"]) as redis_port:
        servers = {
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(postgres.port),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis_port),
        }
        with running_app(environ | settings(project) | servers, tmp_path) as app:
            app.wait_until_ready()
            assert app.login(values["ADMIN_PASSWORD"], values["ADMIN_USERNAME"]).status_code == 200
            assert not any(value in app.log() for value in values.values() if len(value) > 8)


def check_screen(terminal: Terminal, values: dict[str, str]) -> None:
    shown = [name for name in CATALOG.names if len(values.get(name, "")) > 8 and values[name] in terminal.text]
    assert shown == ["ADMIN_PASSWORD"]
    assert "Read back and compared" in terminal.text
    assert "/scripts/generate_docker_secrets.sh" in terminal.text


def test_aws_from_nothing_to_ready(project: Project, aws: Aws, postgres: Postgres, tmp_path: Path) -> None:
    terminal = wizard(project, machine(aws))
    terminal.answer(MENU, "2" + ENTER)
    terminal.answer("AWS region", "\x15" + REGION + ENTER)
    terminal.answer("Name of the secret")
    terminal.wait_for(f"Connected: account 123456789012, region {REGION}")
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    values = stored_in_aws(aws)
    assert set(CATALOG.required_names) <= set(values)
    assert settings(project) == {
        "SECRETS_BACKEND": "aws_secrets_manager",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws.url,
        "SECRETS_AWS_SECRET_ID": "cctv-face-detection",
    }
    check_screen(terminal, values)
    check_everything_works(project, machine(aws), values, postgres, tmp_path)


def test_vault_from_nothing_to_ready_with_a_token_that_is_kept(
    project: Project, vault: Vault, postgres: Postgres, tmp_path: Path
) -> None:
    terminal = wizard(project, {})
    terminal.answer(MENU, "3" + ENTER)
    terminal.answer("Address of Vault", "\x15" + vault.url + ENTER)
    terminal.answer("How do you sign in")
    terminal.answer("Token:", "root" + ENTER)
    terminal.answer("Keep it for later")
    terminal.answer("Secrets engine")
    terminal.answer("Path in it")
    terminal.wait_for("Connected: http")
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    token_file = project.home / ".config/cctv-face-detection/vault-token"
    assert token_file.read_text() == "root\n"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o400
    assert settings(project) == {
        "SECRETS_BACKEND": "hashicorp_vault",
        "VAULT_ADDR": vault.url,
        "VAULT_MOUNT_POINT": "secret",
        "VAULT_SECRET_PATH": "cctv",
        "VAULT_TOKEN_FILE": str(token_file),
    }
    values = stored_in_vault(vault)
    check_screen(terminal, values)
    check_everything_works(project, {}, values, postgres, tmp_path)


def test_azure_from_nothing_to_ready(project: Project, keyvault: KeyVault, postgres: Postgres, tmp_path: Path) -> None:
    terminal = wizard(project, machine(keyvault))
    terminal.answer(MENU, "4" + ENTER)
    terminal.answer("Address of the key vault", "vault.example" + ENTER)
    terminal.answer("The address has this form", "\x15" + keyvault.url + ENTER)
    terminal.wait_for("Connected: https")
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    values = {name.upper().replace("-", "_"): found[-1].value for name, found in keyvault.secrets.items()}
    assert set(values) == set(CATALOG.required_names)
    check_screen(terminal, values)
    check_everything_works(project, machine(keyvault), values, postgres, tmp_path)


def test_an_app_role_is_enough_and_its_secret_id_is_not_shown(project: Project, vault: Vault) -> None:
    client = vault.client()
    client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy("deployer", POLICY)
    client.auth.approle.create_or_update_approle("deployer", token_policies=["deployer"])
    role_id = client.auth.approle.read_role_id("deployer")["data"]["role_id"]
    secret_id = client.auth.approle.generate_secret_id("deployer")["data"]["secret_id"]
    terminal = wizard(project, {"VAULT_ADDR": vault.url})
    terminal.wait_for(f"found VAULT_ADDR={vault.url}")
    terminal.answer(MENU, "3" + ENTER)
    terminal.answer("How do you sign in", "2" + ENTER)
    terminal.answer("Role id", role_id + ENTER)
    terminal.answer("Secret id", secret_id + ENTER)
    terminal.answer("Keep it for later", "n")
    for question in ("Secrets engine", "Path in it", *VALUES, CONFIRM):
        terminal.answer(question)
    assert terminal.finish() == 0
    assert secret_id not in terminal.text
    assert "export VAULT_SECRET_ID" in terminal.text
    assert settings(project)["VAULT_ROLE_ID"] == role_id
    done = project.run("manage_secrets.py", "get", "ADMIN_USERNAME", environ={"VAULT_SECRET_ID": secret_id})
    assert done.stdout == "admin", done.stderr


def test_a_signed_token_is_enough_and_its_file_is_read_again(project: Project, vault: Vault, tmp_path: Path) -> None:
    issuer = Issuer()
    trust(vault, issuer)
    vault.client().sys.create_or_update_policy("app", POLICY)
    token = issuer.sign()
    terminal = wizard(project, {"VAULT_ADDR": vault.url})
    terminal.answer(MENU, "3" + ENTER)
    terminal.answer("How do you sign in", "4" + ENTER)
    terminal.answer("Role to sign in as", "cctv" + ENTER)
    terminal.answer("Signed token", token + ENTER)
    terminal.answer("Keep it for later")
    for question in ("Secrets engine", "Path in it", *VALUES, CONFIRM):
        terminal.answer(question)
    assert terminal.finish() == 0
    assert token.split(".")[2] not in terminal.text
    kept = settings(project)
    assert (kept["VAULT_AUTH_METHOD"], kept["VAULT_AUTH_ROLE"]) == ("jwt", "cctv")
    Path(kept["VAULT_JWT_FILE"]).write_text(issuer.sign())
    done = project.run("manage_secrets.py", "get", "ADMIN_USERNAME")
    assert done.stdout == "admin", done.stderr
    assert project.run("manage_secrets.py", "doctor", "--offline").returncode in (0, 1)
    # What the shell says outranks the settings, as a whole.
    done = project.run("manage_secrets.py", "get", "ADMIN_USERNAME", environ={"VAULT_TOKEN": vault.token})
    assert done.stdout == "admin", done.stderr


def test_an_agent_that_signs_in_is_asked_nothing_more(project: Project, vault: Vault) -> None:
    with running_faulty(vault.url) as agent:
        agent.added = {"X-Vault-Token": vault.token}
        terminal = wizard(project, {})
        terminal.answer(MENU, "3" + ENTER)
        terminal.answer("Address of Vault", "\x15" + agent.url + ENTER)
        terminal.answer("How do you sign in", "5" + ENTER)
        for question in ("Secrets engine", "Path in it", *VALUES, CONFIRM):
            terminal.answer(question)
        assert terminal.finish() == 0
        assert settings(project)["VAULT_AUTH_METHOD"] == "agent"
        done = project.run("manage_secrets.py", "get", "ADMIN_USERNAME")
        assert done.stdout == "admin", done.stderr


def test_a_wrong_answer_is_explained_and_can_be_changed(project: Project, vault: Vault) -> None:
    before = project.state()
    terminal = wizard(project, {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}", "VAULT_TOKEN": "root"})
    terminal.answer(MENU, "3" + ENTER)
    terminal.answer("Secrets engine")
    terminal.answer("Path in it")
    terminal.wait_for("Vault cannot be reached")
    terminal.answer(WHAT_NEXT, "1" + ENTER)
    terminal.wait_for("Vault cannot be reached")
    terminal.answer(WHAT_NEXT, "2" + ENTER)
    terminal.answer("Address of Vault", "\x15" + vault.url + ENTER)
    terminal.answer("Namespace")
    terminal.answer("How do you sign in")
    terminal.answer("Token:", "wrong" + ENTER)
    terminal.answer("Keep it for later", "n")
    terminal.answer("Secrets engine")
    terminal.answer("Path in it")
    terminal.wait_for("Vault authentication failed")
    assert project.state() == before
    terminal.answer(WHAT_NEXT, "3" + ENTER)
    terminal.answer(MENU, "3" + ENTER)
    terminal.answer("Secrets engine")
    terminal.answer("Path in it")
    terminal.answer(WHAT_NEXT, "4" + ENTER)
    assert terminal.finish() == 1
    assert "error: Vault cannot be reached" in terminal.text
    assert project.state() == before


@pytest.mark.parametrize("question", ["AWS region", "Name of the secret", VALUES[0], CONFIRM])
def test_leaving_at_any_question_writes_nothing_anywhere(question: str, project: Project, aws: Aws) -> None:
    before = project.state()
    terminal = wizard(project, machine(aws))
    terminal.answer(MENU, "2" + ENTER)
    for text in ("AWS region", "Name of the secret", *VALUES, CONFIRM):
        if text == question:
            terminal.answer(text, CTRL_C)
            break
        terminal.answer(text)
    assert terminal.finish() == 130
    assert project.state() == before
    assert aws.client().list_secrets()["SecretList"] == []


def test_a_second_run_asks_nothing_about_the_store_and_rotates_one_secret(project: Project, aws: Aws) -> None:
    environ = machine(aws)
    first = project.run(
        "setup_secrets.py", "--non-interactive", "--backend", "aws", environ=environ | {"AWS_REGION": REGION}
    )
    assert first.returncode == 0, first.stderr
    before = stored_in_aws(aws)
    terminal = wizard(project, environ)
    terminal.answer(MENU)
    terminal.wait_for("8 secrets are there")
    terminal.answer("What do you want to do", "4" + ENTER)
    terminal.answer("Which secret do you want to regenerate", "1" + ENTER)
    terminal.answer("What do you want to do", "1" + ENTER)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    after = stored_in_aws(aws)
    assert [name for name in CATALOG.names if after.get(name) != before.get(name)] == ["SECRET_KEY"]
    assert json.loads(after["_METADATA"])["SECRET_KEY"]["previous"][0]["value"] == before["SECRET_KEY"]


def test_moving_from_the_encrypted_file_copies_the_secrets(project: Project, aws: Aws) -> None:
    project.set_up()
    before = project.values()
    terminal = wizard(project, machine(aws))
    terminal.answer(MENU, "2" + ENTER)
    terminal.answer("AWS region", "\x15" + REGION + ENTER)
    terminal.answer("Name of the secret")
    terminal.wait_for("Your secrets are currently in the encrypted file")
    terminal.answer("Copy 8 of them to the new store")
    terminal.answer("Do you send SMS")
    terminal.answer("Do you send e-mail")
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    stored = stored_in_aws(aws)
    assert {name: stored[name] for name in before} == before
    assert project.values() == before


def test_moving_without_questions_copies_the_secrets(project: Project, vault: Vault) -> None:
    project.set_up()
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": "root"}
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "vault", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "Taken over from the encrypted file" in done.stdout
    stored = stored_in_vault(vault)
    assert {name: stored[name] for name in project.values()} == project.values()


def test_without_the_store_the_check_says_how_to_start_with_the_existing_files(project: Project, vault: Vault) -> None:
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": vault.token}
    away = environ | {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}"}
    project.run("setup_secrets.py", "--non-interactive", "--backend", "vault", environ=environ)
    start = compose("up", "-d", purpose="To start with the files that are there")
    hint = f"hint: {typed(project, start)}\n"
    done = project.run("generate_docker_secrets.sh", "--check", environ=away)
    assert (done.returncode, hint in done.stderr) == (1, False)
    project.run("generate_docker_secrets.sh", environ=environ)
    done = project.run("generate_docker_secrets.sh", "--check", environ=away)
    assert (done.returncode, hint in done.stderr) == (1, True), done.stderr


def test_a_secret_scheduled_for_deletion_is_restored_on_request(project: Project, aws: Aws) -> None:
    environ = machine(aws) | {"AWS_REGION": REGION}
    project.run("setup_secrets.py", "--non-interactive", "--backend", "aws", environ=environ)
    before = stored_in_aws(aws)
    aws.client().delete_secret(SecretId="cctv-face-detection", RecoveryWindowInDays=7)
    terminal = wizard(project, environ)
    terminal.answer(MENU)
    terminal.wait_for("scheduled for deletion")
    terminal.answer("The secret was deleted. What do you want to do", "1" + ENTER)
    terminal.answer("What do you want to do")
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    assert stored_in_aws(aws) == before


def test_deleted_names_in_azure_are_recovered_or_purged_on_request(project: Project, keyvault: KeyVault) -> None:
    keyvault.put("smtp-password", "old")
    keyvault.answer("DELETE", "/secrets/smtp-password", {}, {})
    environ = machine(keyvault) | {"AZURE_KEYVAULT_URL": keyvault.url}
    terminal = wizard(project, environ)
    terminal.answer(MENU, "4" + ENTER)
    terminal.wait_for("SMTP_PASSWORD in https")
    terminal.answer("The secret was deleted. What do you want to do", "2" + ENTER)
    terminal.answer("Type 'purge'", "purge" + ENTER)
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    assert keyvault.deleted == {}
    keyvault.answer("DELETE", "/secrets/admin-password", {}, {})
    terminal = wizard(project, environ)
    terminal.answer(MENU)
    terminal.answer("The secret was deleted. What do you want to do", "1" + ENTER)
    terminal.answer("What do you want to do")
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    assert keyvault.deleted == {}
    assert "admin-password" in keyvault.secrets


def test_azure_without_the_list_permission_works_with_every_command(project: Project, keyvault: KeyVault) -> None:
    environ = machine(keyvault) | {"AZURE_KEYVAULT_URL": keyvault.url}
    keyvault.permissions = frozenset({"get", "set"})
    for _ in range(2):
        done = project.run("setup_secrets.py", "--non-interactive", "--backend", "azure", environ=environ)
        assert done.returncode == 0, done.stderr
    assert {len(versions) for versions in keyvault.secrets.values()} == {1}
    keyvault.permissions = frozenset({"get"})
    for command in (
        ("manage_secrets.py", "status"),
        ("generate_docker_secrets.sh",),
        ("generate_docker_secrets.sh", "--check"),
        ("manage_secrets.py", "doctor"),
    ):
        done = project.run(*command, environ=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "denies" not in done.stdout + done.stderr
    done = project.run("manage_secrets.py", "rotate", "WEBHOOK_SECRET", "--yes", environ=environ)
    assert done.returncode == 1
    assert "error: Azure Key Vault denies writing WEBHOOK_SECRET" in done.stderr


def test_a_server_that_stops_in_the_middle_is_reported_and_running_again_completes(
    project: Project, keyvault: KeyVault
) -> None:
    environ = machine(keyvault) | {"AZURE_KEYVAULT_URL": keyvault.url}
    before = project.state()

    def stop_at_the_fourth(method: str, path: str) -> FailureError | None:
        keyvault.is_down = keyvault.is_down or (method == "PUT" and len(keyvault.secrets) == 3)
        return None

    keyvault.fault = stop_at_the_fourth
    terminal = wizard(project, environ)
    terminal.answer(MENU, "4" + ENTER)
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 1
    text = " ".join(terminal.text.split())
    assert "error: Azure Key Vault cannot be reached" in text
    assert "written: SECRET_KEY, JWT_SECRET_KEY, ENCRYPTION_KEY; not confirmed: WEBHOOK_SECRET" in text
    assert "Traceback" not in text
    assert project.state() == before
    written = {name: found[-1].version for name, found in keyvault.secrets.items()}
    keyvault.fault, keyvault.is_down = None, False
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "azure", environ=environ)
    assert done.returncode == 0, done.stderr
    assert len(keyvault.secrets) == 8
    assert {name: keyvault.secrets[name][-1].version for name in written} == written


@pytest.mark.parametrize("backend", ["aws", "vault"])
def test_a_server_that_stops_before_the_write_leaves_everything_as_it_was(
    backend: str, project: Project, aws: Aws, vault: Vault
) -> None:
    before = project.state()
    with running_faulty(aws.url if backend == "aws" else vault.url) as faulty:
        environ = {
            "aws": machine(aws) | {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": faulty.url},
            "vault": {"VAULT_ADDR": faulty.url, "VAULT_TOKEN": "root"},
        }[backend]

        def refuse_writes(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
            is_write = "CreateSecret" in headers.get("X-Amz-Target", "") or (method == "POST" and "/data/" in path)
            return (503, {"Content-Type": "application/json"}, b'{"errors": ["down"]}') if is_write else None

        faulty.fault = refuse_writes
        done = project.run("setup_secrets.py", "--non-interactive", "--backend", backend, environ=environ)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    assert project.state() == before


def test_staging_has_its_own_places(project: Project, aws: Aws, vault: Vault) -> None:
    flags = ("--non-interactive", "--environment", "staging", "--backend")
    environ = machine(aws) | {"AWS_REGION": REGION}
    done = project.run("setup_secrets.py", *flags, "aws", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "SECRET_KEY" in stored_in_aws(aws, "cctv-face-detection-staging")
    (project.directory / ".env.staging").unlink()
    (project.directory / "config/SETUP.staging.md").unlink()
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": "root"}
    done = project.run("setup_secrets.py", *flags, "vault", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "SECRET_KEY" in stored_in_vault(vault, "cctv-staging")


def test_a_profile_is_chosen_from_those_that_the_machine_has(project: Project, aws: Aws) -> None:
    (project.home / ".aws").mkdir()
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    (project.home / ".aws/credentials").write_text(f"[default]\n{keys}[cctv]\n{keys}")
    (project.home / ".aws/config").write_text(f"[profile cctv]\nregion = {REGION}\n")
    environ = {"AWS_ENDPOINT_URL": aws.url, "AWS_EC2_METADATA_DISABLED": "true"}
    terminal = wizard(project, environ)
    terminal.wait_for("found ~/.aws/config")
    terminal.answer(MENU, "2" + ENTER)
    terminal.answer("Which AWS profile", "2" + ENTER)
    terminal.answer("AWS region")
    terminal.answer("Name of the secret")
    answer_values(terminal)
    terminal.answer(CONFIRM)
    assert terminal.finish() == 0
    assert settings(project)["AWS_PROFILE"] == "cctv"
    assert settings(project)["AWS_REGION"] == REGION
    done = project.run("manage_secrets.py", "get", "ADMIN_USERNAME", environ={"AWS_EC2_METADATA_DISABLED": "true"})
    assert done.stdout == "admin", done.stderr


def test_a_running_app_keeps_its_secrets_without_vault_and_reports_a_denied_access(
    vault: Vault, tmp_path: Path
) -> None:
    values = {
        planned.spec.name: planned.value for planned in make_plan(CATALOG, {}, GivenValues()).secrets if planned.value
    }
    vault.client().secrets.kv.v2.create_or_update_secret("cctv", values)
    token = vault.client().auth.token.create(policies=["root"])["auth"]["client_token"]
    with running_faulty(vault.url) as faulty:
        environ = vault.environ() | {"VAULT_ADDR": faulty.url, "VAULT_TOKEN": token, "SECRETS_CACHE_TTL": "0.2"}
        with running_app(environ, tmp_path) as app:
            app.wait_until_ready()
            faulty.fault = lambda *_: (503, {"Content-Type": "application/json"}, b'{"errors": ["Vault is sealed"]}')
            app.wait_until(lambda: app.client.get("/ready") and "Vault is sealed" in app.log())
            assert app.client.get("/ready").status_code == 200
            faulty.fault = None
            app.wait_until(lambda: app.client.get("/ready") and "Secrets are read again" in app.log())
            vault.client().auth.token.revoke(token)
            app.wait_until(lambda: app.client.get("/ready").status_code == 503)
            secrets = app.client.get("/ready").json()["checks"]["secrets"]
            assert secrets["state"] == "stale"
            assert "Vault authentication failed" in secrets["reason"]
            assert app.login(values["ADMIN_PASSWORD"]).status_code == 200


def wait_for_writes(keyvault: KeyVault, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(keyvault.secrets) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_during_the_write_comes_too_late_and_the_set_is_complete(project: Project, keyvault: KeyVault) -> None:
    terminal = wizard(project, machine(keyvault) | {"AZURE_KEYVAULT_URL": keyvault.url})
    terminal.answer(MENU, "4" + ENTER)
    answer_values(terminal)
    keyvault.delay = 0.1
    terminal.answer(CONFIRM)
    wait_for_writes(keyvault, 3)
    terminal.process.send(CTRL_C)
    assert terminal.finish() == 0
    assert len(keyvault.secrets) == 8
    assert settings(project)["SECRETS_BACKEND"] == "azure_keyvault"
    assert "Read back and compared" in terminal.text


def test_after_a_crash_in_the_middle_of_the_write_running_again_completes(project: Project, keyvault: KeyVault) -> None:
    command = project.script("setup_secrets.py", "--non-interactive", "--backend", "azure")
    environ = machine(keyvault)
    keyvault.delay = 0.1
    with subprocess.Popen(
        command,
        env=project.environ(environ | {"AZURE_KEYVAULT_URL": keyvault.url}),
        cwd=project.directory,
        stdout=subprocess.DEVNULL,
    ) as process:
        wait_for_writes(keyvault, 3)
        process.kill()
    keyvault.delay = 0
    written = {name: found[-1].version for name, found in keyvault.secrets.items()}
    assert 3 <= len(written) < 8
    done = project.run("setup_secrets.py", "--non-interactive", environ=environ)
    assert done.returncode == 0, done.stderr
    assert len(keyvault.secrets) == 8
    assert {name: keyvault.secrets[name][-1].version for name in written} == written


def test_a_store_in_use_that_cannot_be_read_stops_a_move_without_questions(project: Project, aws: Aws) -> None:
    project.set_up()
    project.key_file.unlink()
    before = project.state()
    environ = machine(aws) | {"AWS_REGION": REGION}
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "aws", environ=environ)
    assert done.returncode == 1
    assert "The store in use until now cannot be read" in done.stderr
    assert project.state() == before
    assert aws.client().list_secrets()["SecretList"] == []


def test_two_environments_do_not_share_a_place(project: Project, aws: Aws, keyvault: KeyVault) -> None:
    staging = ("setup_secrets.py", "--non-interactive", "--environment", "staging", "--backend")
    for backend, environ, setting in (
        ("azure", machine(keyvault) | {"AZURE_KEYVAULT_URL": keyvault.url}, "AZURE_KEYVAULT_URL"),
        ("aws", machine(aws) | {"AWS_REGION": REGION, "SECRETS_AWS_SECRET_ID": "one"}, "SECRETS_AWS_SECRET_ID"),
    ):
        first = project.run("setup_secrets.py", "--non-interactive", "--backend", backend, environ=environ)
        assert first.returncode == 0, first.stderr
        before = project.state()
        done = project.run(*staging, backend, environ=environ)
        assert done.returncode == 1
        assert "error: .env.production has its secrets in that place already" in done.stderr
        assert f"hint: Give staging a place of its own: {setting}" in done.stderr
        assert project.state() == before
        (project.directory / ".env.production").unlink()
        (project.directory / "config/SETUP.md").unlink()
