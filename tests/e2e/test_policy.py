"""The printed policies, on servers that enforce them."""

from __future__ import annotations

import json
import shlex

import pytest

from src.utils.secrets import SecretsManager
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import StoreDeniedError
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests.conftest import Project
from tests.servers.ministack import Account
from tests.servers.vault import Vault
from tests.support.pages import blocks_of


def printed(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> str:
    done = project.run("manage_secrets.py", "policy", *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_app_s_aws_policy_holds_two_actions_on_one_secret_and_nothing_more(project: Project) -> None:
    policy = json.loads(printed(project, "aws"))
    assert policy["Statement"] == [
        {
            "Sid": "Secrets",
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": ["arn:aws:secretsmanager:*:*:secret:cctv-face-detection-??????"],
        }
    ]


@pytest.mark.parametrize(
    ("environ", "resource"),
    [
        ({"AWS_REGION": "cn-north-1"}, "arn:aws-cn:secretsmanager:*:*:secret:cctv-face-detection-??????"),
        ({"AWS_REGION": "us-gov-west-1"}, "arn:aws-us-gov:secretsmanager:*:*:secret:cctv-face-detection-??????"),
        ({"SECRETS_AWS_SECRET_ID": "mine"}, "arn:aws:secretsmanager:*:*:secret:mine-??????"),
        ({"SECRETS_AWS_SECRET_ID": "arn:aws:x"}, "arn:aws:x"),
    ],
)
def test_the_policy_is_for_what_is_configured(environ: dict[str, str], resource: str, project: Project) -> None:
    policy = json.loads(printed(project, "aws", environ=environ))
    assert policy["Statement"][0]["Resource"] == [resource]


def test_a_customer_key_is_added(project: Project) -> None:
    app = json.loads(printed(project, "aws", "--kms-key", "arn:key"))["Statement"][1]
    deployer = json.loads(printed(project, "aws", "--role", "deployer", "--kms-key", "arn:key"))["Statement"][1]
    assert (app["Action"], app["Resource"]) == (["kms:Decrypt"], ["arn:key"])
    assert deployer["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize("role", ["app", "deployer"])
@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (KEY, KEY),
        ("mrk-1234abcd", "arn:aws:kms:eu-central-1:*:key/mrk-1234abcd"),
    ],
)
def test_the_key_of_a_new_secret_is_in_the_policies(key: str, resource: str, role: str, project: Project) -> None:
    environ = {"AWS_REGION": "eu-central-1", "SECRETS_AWS_KMS_KEY_ID": key}
    statement = json.loads(printed(project, "aws", "--role", role, environ=environ))["Statement"][1]
    assert (statement["Sid"], statement["Resource"]) == ("Key", [resource])
    given = json.loads(printed(project, "aws", "--role", role, "--kms-key", "arn:key", environ=environ))
    assert given["Statement"][1]["Resource"] == ["arn:key"]


@pytest.mark.parametrize("alias", ["alias/video/secrets", "arn:aws:kms:eu-central-1:123456789012:alias/video"])
def test_an_alias_is_not_put_into_a_policy_where_it_would_allow_nothing(alias: str, project: Project) -> None:
    environ = {"AWS_REGION": "eu-central-1", "SECRETS_AWS_KMS_KEY_ID": alias}
    done = project.run("manage_secrets.py", "policy", "aws", environ=environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is an alias, by which no policy can allow a key" in done.stderr
    query = "--query KeyMetadata.Arn --region eu-central-1"
    assert f"hint: Ask for the key's ARN: aws kms describe-key --key-id {alias} {query}" in done.stderr
    assert "policy aws --kms-key ARN" in done.stderr


def test_what_is_no_key_is_not_repeated(project: Project) -> None:
    environ = {"SECRETS_AWS_KMS_KEY_ID": "not a key"}
    done = project.run("manage_secrets.py", "policy", "aws", environ=environ)
    assert (done.returncode, "not a key" in done.stderr) == (1, False)
    assert "SECRETS_AWS_KMS_KEY_ID names no KMS key" in done.stderr


def test_only_the_deployer_may_tag_and_only_where_tags_are_set(project: Project) -> None:
    tags = {"SECRETS_AWS_TAGS": "Team=video"}
    for role, environ in (("deployer", {}), ("app", tags), ("rotation", tags)):
        assert "TagResource" not in printed(project, "aws", "--role", role, environ=environ)
    [statement] = json.loads(printed(project, "aws", "--role", "deployer", environ=tags))["Statement"]
    assert statement["Action"][-1] == "secretsmanager:TagResource"


def test_the_rotation_function_may_write_versions_of_one_secret_and_create_none(project: Project) -> None:
    [statement] = json.loads(printed(project, "aws", "--role", "rotation"))["Statement"]
    assert statement["Action"] == [
        "secretsmanager:GetSecretValue",
        "secretsmanager:DescribeSecret",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    ]
    assert statement["Resource"] == ["arn:aws:secretsmanager:*:*:secret:cctv-face-detection-??????"]


def test_in_aws_the_deployer_can_set_up_and_the_app_can_only_read(
    project: Project, aws_account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer = aws_account.user_with("deployer", printed(project, "aws", "--role", "deployer"))
    app = aws_account.user_with("app", printed(project, "aws"))
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "aws", environ=deployer)
    assert done.returncode == 0, done.stderr
    done = project.run(
        "setup_secrets.py", "--non-interactive", "--set-file", f"TWILIO_SID={__file__}", environ=deployer
    )
    assert "both or neither" in done.stderr
    (project.directory / "value").write_text("a value")
    done = project.run("setup_secrets.py", "--non-interactive", "--set-file", "SMTP_PASSWORD=value", environ=deployer)
    assert done.returncode == 0, done.stderr
    client = aws_account.client("secretsmanager")
    client.delete_secret(SecretId="cctv-face-detection", RecoveryWindowInDays=7)
    for name, value in deployer.items():
        monkeypatch.setenv(name, value)
    settings = Settings(deployer | {"SECRETS_BACKEND": "aws"})
    open_backend(settings).restore([])  # type: ignore[attr-defined]

    for name, value in app.items():
        monkeypatch.setenv(name, value)
    manager = SecretsManager(settings=Settings(app | {"SECRETS_BACKEND": "aws"}))
    assert manager.get_secret("SMTP_PASSWORD") == "a value"
    manager.refresh()
    store = open_backend(Settings(app | {"SECRETS_BACKEND": "aws"}))
    with pytest.raises(StoreDeniedError, match="AWS denies secretsmanager:PutSecretValue"):
        store.save({"SMTP_PASSWORD": Change("another")})
    client.create_secret(Name="cctv-face-detection-staging", SecretString="{}")
    staging = Settings(app | {"SECRETS_BACKEND": "aws", "SECRETS_AWS_SECRET_ID": "cctv-face-detection-staging"})
    with pytest.raises(StoreDeniedError):
        open_backend(staging).load()


def test_in_aws_the_deployer_s_policy_is_enough_for_tags_and_a_key(project: Project, aws_account: Account) -> None:
    test = "test_in_aws_the_deployer_s_policy_is_enough_for_tags_and_a_key"
    [block] = [block for block in blocks_of("docs/aws.md") if block.run_by == test]
    new = dict(word.split("=", 1) for word in shlex.split(block.text) if word.startswith("SECRETS_"))
    new["SECRETS_AWS_SECRET_ID"] = "cctv-tagged"
    policy = printed(project, "aws", "--role", "deployer", environ=new)
    deployer = aws_account.user_with("tagging-deployer", policy) | new
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "aws", environ=deployer)
    assert done.returncode == 0, done.stderr
    described = aws_account.client("secretsmanager").describe_secret(SecretId="cctv-tagged")
    assert described["KmsKeyId"] == KEY
    assert described["Tags"] == [{"Key": "Team", "Value": "video"}, {"Key": "CostCenter", "Value": "12"}]


def test_in_vault_the_deployer_can_set_up_and_the_app_can_only_read(project: Project, sealed_vault: Vault) -> None:
    client = sealed_vault.client()
    tokens = {}
    for role in ("deployer", "app"):
        client.sys.create_or_update_policy(role, printed(project, "vault", "--role", role))
        tokens[role] = client.auth.token.create(policies=[role])["auth"]["client_token"]
    environ = sealed_vault.environ() | {"VAULT_TOKEN": tokens["deployer"]}
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "vault", environ=environ)
    assert done.returncode == 0, done.stderr
    deployer = open_backend(Settings(environ))
    client.secrets.kv.v2.delete_latest_version_of_secret("cctv")
    deployer.restore([])  # type: ignore[attr-defined]

    environ |= {"VAULT_TOKEN": tokens["app"]}
    manager = SecretsManager(settings=Settings(environ))
    assert manager.get_secret("ADMIN_USERNAME") == "admin"
    manager.refresh()
    with pytest.raises(StoreDeniedError, match="Vault denies writing"):
        open_backend(Settings(environ)).save({"ADMIN_USERNAME": Change("another")})
    client.secrets.kv.v2.create_or_update_secret("cctv-staging", {"A": "1"})
    with pytest.raises(StoreDeniedError):
        open_backend(Settings(environ | {"VAULT_SECRET_PATH": "cctv-staging"})).load()


def test_the_policies_also_work_in_a_version_1_engine(project: Project, sealed_vault: Vault) -> None:
    client = sealed_vault.client()
    client.sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
    environ = sealed_vault.environ(mount="old")
    for role in ("deployer", "app"):
        policy = printed(project, "vault", "--role", role, "--kv-version", "1", environ={"VAULT_MOUNT_POINT": "old"})
        client.sys.create_or_update_policy(role, policy)
        environ["VAULT_TOKEN"] = client.auth.token.create(policies=[role])["auth"]["client_token"]
        if role == "deployer":
            done = project.run("setup_secrets.py", "--non-interactive", "--backend", "vault", environ=environ)
            assert done.returncode == 0, done.stderr
    assert SecretsManager(settings=Settings(environ)).get_secret("ADMIN_USERNAME") == "admin"


@pytest.mark.parametrize(
    ("role", "name"), [("app", "Key Vault Secrets User"), ("deployer", "Key Vault Secrets Officer")]
)
def test_the_azure_commands_name_the_vault_and_the_built_in_role(role: str, name: str, project: Project) -> None:
    text = printed(project, "azure", "--role", role, environ={"AZURE_KEYVAULT_URL": "https://cctv.vault.azure.net"})
    assert "az keyvault show --name cctv" in text
    assert f'--role "{name}"' in text
    assert ("vaults/secrets/getSecret/action" in text) == (role == "app")
    assert ("--name cctv --object-id OBJECT_ID --secret-permissions get" in text) == (role == "app")


def test_without_a_vault_the_azure_commands_say_what_is_missing(project: Project) -> None:
    done = project.run("manage_secrets.py", "policy", "azure")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: AZURE_KEYVAULT_URL not set" in done.stderr
