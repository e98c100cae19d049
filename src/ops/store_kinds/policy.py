"""The least that the application, and the person who deploys, must be allowed to do in a store on a server."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from src.utils.secrets.backends.hashicorp_vault import DEFAULT_MOUNT_POINT
from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment

AWS_READ_ACTIONS = ("GetSecretValue", "DescribeSecret")
AWS_ROTATION_ACTIONS = ("PutSecretValue", "UpdateSecretVersionStage")
AWS_WRITE_ACTIONS = ("CreateSecret", "PutSecretValue", "UpdateSecretVersionStage", "RestoreSecret")
ARN_SUFFIX = "-??????"
"""What the service adds to a secret's name: https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples.html"""


class Role(Enum):
    """Who the policy is for."""

    APP = "app"
    DEPLOYER = "deployer"
    ROTATION = "rotation"


def aws_policy(deployment: Deployment, role: Role, *, kms_key: str | None = None) -> str:
    """The IAM policy document.

    Args:
        deployment: Names the secret.
        role: Whom it is for.
        kms_key: ARN of the customer key that the secret is encrypted with, if it has one.
    """
    variables = deployment.variables()
    secret_id = variables["SECRETS_AWS_SECRET_ID"]
    resources = [secret_id]
    if not secret_id.startswith("arn:"):
        prefix = f"arn:{_partition(variables.get('AWS_REGION') or '')}:secretsmanager:*:*:secret:{secret_id}"
        # Not NAME-*: that would open NAME-staging, too. The bare name is what a secret is called before it exists.
        resources = [prefix, prefix + ARN_SUFFIX] if role is Role.DEPLOYER else [prefix + ARN_SUFFIX]
    more = {Role.APP: (), Role.DEPLOYER: AWS_WRITE_ACTIONS, Role.ROTATION: AWS_ROTATION_ACTIONS}
    actions = AWS_READ_ACTIONS + more[role]
    statements = [_statement("Secrets", [f"secretsmanager:{action}" for action in actions], resources)]
    if kms_key:
        keys = ["kms:Decrypt", *(["kms:GenerateDataKey"] if role is not Role.APP else [])]
        statements.append(_statement("Key", keys, [kms_key]))
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


def vault_policy(deployment: Deployment, role: Role, *, engine_version: int = 2) -> str:
    """The policy in HCL.

    Args:
        deployment: Names engine and path.
        role: Whom it is for.
        engine_version: Of the key-value engine.
    """
    variables = deployment.variables()
    mount = (variables.get("VAULT_MOUNT_POINT") or DEFAULT_MOUNT_POINT).strip("/")
    path = variables["VAULT_SECRET_PATH"].strip("/")
    capabilities = ["create", "update", "read"] if role is Role.DEPLOYER else ["read"]
    if engine_version == 1:
        return _hcl(f"{mount}/{path}", capabilities)
    rules = [_hcl(f"{mount}/data/{path}", capabilities)]
    if role is Role.DEPLOYER:
        rules.append(_hcl(f"{mount}/metadata/{path}", ["read"]))
        rules.append(_hcl(f"{mount}/undelete/{path}", ["update"]))
    return "\n\n".join(rules)


def azure_policy(deployment: Deployment, role: Role) -> str:
    """The commands that assign the role.

    Raises:
        ConfigurationError: No vault is configured.
    """
    url = deployment.variables().get("AZURE_KEYVAULT_URL")
    if not url:
        raise ConfigurationError(
            "AZURE_KEYVAULT_URL not set",
            hint="Give the vault's address: export AZURE_KEYVAULT_URL=https://NAME.vault.azure.net",
        )
    vault = (urlsplit(url).hostname or "").split(".")[0]
    name = "Key Vault Secrets Officer" if role is Role.DEPLOYER else "Key Vault Secrets User"
    principal = "User" if role is Role.DEPLOYER else "ServicePrincipal"
    return (
        f"scope=$(az keyvault show --name {vault} --query id --output tsv)\n"
        f'az role assignment create --role "{name}" --assignee-principal-type {principal} \\\n'
        '    --assignee-object-id OBJECT_ID --scope "$scope"'
    )


def _statement(name: str, actions: list[str], resources: list[str]) -> dict[str, object]:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _hcl(path: str, capabilities: list[str]) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{listed}]\n}}'
