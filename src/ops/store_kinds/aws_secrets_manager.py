"""AWS Secrets Manager."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend

from .base import CredentialFault, PolicyOption, Role, Setting, StoreKind, is_given

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.aws_secrets_manager import AwsBackend
    from src.utils.secrets.command import Hint

    from .base import Questions

DEFAULT_REGION = "us-east-1"
READ_ACTIONS = ("GetSecretValue", "DescribeSecret")
MORE_ACTIONS = {
    Role.APP: (),
    Role.DEPLOYER: ("CreateSecret", "PutSecretValue", "UpdateSecretVersionStage", "RestoreSecret"),
    Role.ROTATION: ("PutSecretValue", "UpdateSecretVersionStage"),
}
ARN_SUFFIX = "-??????"
"""What the service adds to a secret's name: https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples.html"""


def _check_region(answer: str) -> str | None:
    return None if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", answer.strip()) else "A region looks like eu-central-1."


class AwsKind(StoreKind["AwsBackend"]):
    """See the module."""

    backend = SecretsBackend.AWS
    note = "one JSON secret in your account"
    sdk_variables = ("AWS_",)
    has_policy = True
    policy_options = (PolicyOption("kms-key", "the customer key that the secret is encrypted with", "ARN"),)
    settings = (
        Setting("AWS_PROFILE", is_detectable=True),
        Setting(
            "AWS_REGION",
            "AWS region:",
            why="The secret is in one region, and the application has to name the same one.",
            default=DEFAULT_REGION,
            check=_check_region,
            part="REGION",
            example="eu-central-1",
            says_where=True,
            is_detectable=True,
        ),
        Setting("AWS_ENDPOINT_URL"),
        Setting("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        Setting("AWS_CA_BUNDLE"),
        Setting("AWS_SECRET_ACCESS_KEY", is_secret=True),
        Setting(
            "SECRETS_AWS_SECRET_ID",
            "Name of the secret:",
            why="All values are kept together, in one secret of this name.",
            check=is_given,
            part="ID",
            example="{slug}",
            says_where=True,
        ),
        Setting("SECRETS_AWS_KMS_KEY_ID"),
        Setting("SECRETS_AWS_TAGS"),
    )

    def check_access(self, store: AwsBackend, names: Iterable[str]) -> str:
        """Account, region and secret."""
        return store.check_access(names)

    def restore(self, store: AwsBackend, names: Iterable[str]) -> None:
        """Cancel the deletion of the secret."""
        store.restore(names)

    def ask(self, questions: Questions) -> None:
        """The profile first, where there are several: it brings a region."""
        # Any of these: how to sign in, or that it was asked before.
        said = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "SECRETS_AWS_SECRET_ID")
        if questions.asks_all or not any(questions.deployment.is_configured(name) for name in said):
            profiles = _profiles(questions.deployment)
            if len(profiles) > 1:
                chosen = questions.select(
                    "Which AWS profile do you want to use?",
                    [(profile, profile) for profile in profiles],
                    why="Your AWS configuration has several accounts or roles.",
                )
                questions.answer("AWS_PROFILE", chosen)
        region = questions.deployment.variables().get("AWS_DEFAULT_REGION") or _region(questions.deployment)
        questions.ask(self.setting("AWS_REGION"), default=region or "")
        questions.ask(self.setting("SECRETS_AWS_SECRET_ID"))

    def at_hand(self, deployment: Deployment) -> str:
        """Also the SDK's own configuration file."""
        found = super().at_hand(deployment)
        if not found and (region := deployment.variables().get("AWS_DEFAULT_REGION")):
            found = f"found AWS_DEFAULT_REGION={region}"
        if not found and os.path.exists(_sdk_file(deployment, "config")):
            found = "found ~/.aws/config"
        return found

    def policy(self, deployment: Deployment, role: Role, options: Mapping[str, str]) -> str:
        """The IAM policy document."""
        import json

        variables = deployment.variables()
        secret_id = variables["SECRETS_AWS_SECRET_ID"]
        resources = [secret_id]
        if not secret_id.startswith("arn:"):
            prefix = f"arn:{_partition(variables.get('AWS_REGION') or '')}:secretsmanager:*:*:secret:{secret_id}"
            # Not NAME-*: that would open NAME-staging, too. The bare name is what a secret is called before it exists.
            resources = [prefix, prefix + ARN_SUFFIX] if role is Role.DEPLOYER else [prefix + ARN_SUFFIX]
        actions = READ_ACTIONS + MORE_ACTIONS[role]
        if role is Role.DEPLOYER and variables.get("SECRETS_AWS_TAGS"):
            actions += ("TagResource",)
        statements = [_statement("Secrets", [f"secretsmanager:{action}" for action in actions], resources)]
        if kms_key := options.get("kms-key") or _key_arn(variables):
            keys = ["kms:Decrypt", *(["kms:GenerateDataKey"] if role is not Role.APP else [])]
            statements.append(_statement("Key", keys, [kms_key]))
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)

    def erase_hints(self, deployment: Deployment, names: Iterable[str]) -> tuple[Hint, ...]:  # noqa: ARG002
        """The secret itself, without values, and its earlier version."""
        variables = deployment.variables()
        words = ["aws", "secretsmanager", "delete-secret", "--secret-id", variables["SECRETS_AWS_SECRET_ID"]]
        region = variables.get("AWS_REGION")
        words += ["--region", region] if region else []
        return (
            program(*words, purpose="AWS keeps the empty secret and its earlier versions. Delete them (after 30 days)"),
        )

    def credential_fault(self, store: AwsBackend, deployment: Deployment) -> CredentialFault | None:  # noqa: ARG002
        """A session token ends by itself."""
        if not deployment.variables().get("AWS_SESSION_TOKEN"):
            return None
        return CredentialFault(
            "AWS is used with a session token, which ends by itself", ("Use a role or a profile (docs/aws.md)",)
        )


def _profiles(deployment: Deployment) -> list[str]:
    if not any(os.path.exists(_sdk_file(deployment, name)) for name in ("config", "credentials")):
        return []
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return sorted(Session().available_profiles, key=lambda name: (name != "default", name))
    except BotoCoreError:
        return []  # the configuration is broken: the connection will say so


def _region(deployment: Deployment) -> str | None:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        region: str | None = Session(profile=deployment.variables().get("AWS_PROFILE")).get_config_variable("region")
    except BotoCoreError:
        return None  # the profile is missing: the connection will say so
    return region


def _sdk_file(deployment: Deployment, name: str) -> str:
    """Where the SDK looks for the file that it calls ``name``: ``config`` or ``credentials``."""
    variable = {"config": "AWS_CONFIG_FILE", "credentials": "AWS_SHARED_CREDENTIALS_FILE"}[name]
    path = deployment.environ.get(variable)
    return path or os.path.join(deployment.environ.get("HOME") or os.path.expanduser("~"), ".aws", name)


def _statement(name: str, actions: list[str], resources: list[str]) -> dict[str, object]:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}


def _key_arn(variables: Mapping[str, str]) -> str:
    """The key for a new secret as a policy names it; empty for the default key.

    Raises:
        ConfigurationError: It is an alias, by which no policy can allow a key, or no key.
    """
    key = variables.get("SECRETS_AWS_KMS_KEY_ID") or ""
    region = variables.get("AWS_REGION") or ""
    if not key or re.fullmatch(r"arn:[\w-]+:kms:[\w-]+:\d+:key/[\w-]+", key):
        return key
    if re.fullmatch(r"[\w-]+", key):
        return f"arn:{_partition(region)}:kms:{region or '*'}:*:key/{key}"
    with_arn = manage("policy", "aws", "--kms-key", "ARN", purpose="Give the ARN of the key")
    if not re.fullmatch(r"(arn:[\w-]+:kms:[\w-]+:\d+:)?alias/[\w/-]+", key):
        raise ConfigurationError("SECRETS_AWS_KMS_KEY_ID names no KMS key", hint=with_arn)
    words = ["aws", "kms", "describe-key", "--key-id", key, "--query", "KeyMetadata.Arn"]
    raise ConfigurationError(
        "SECRETS_AWS_KMS_KEY_ID is an alias, by which no policy can allow a key",
        hint=(program(*words, *(["--region", region] if region else []), purpose="Ask for the key's ARN"), with_arn),
    )


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


KIND = AwsKind()
