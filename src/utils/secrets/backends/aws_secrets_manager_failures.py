"""What AWS answers, and what botocore raises: the causes, and what to do about each.

Sources: https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html,
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors,
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html, and the exceptions of botocore.
"""

from __future__ import annotations

import json

from ..command import manage, set_up
from ..errors import (
    ConfigurationError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from ..failures import (
    ANY_CODE,
    LATER_HINT,
    CredentialsEndedError,
    Failure,
    RefusalError,
    class_names,
    network_codes,
    network_failures,
    root_cause,
    see_policy,
    status_codes,
    store_error,
    unreadable_file,
)
from ..settings import CREDENTIALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ERRORS_PAGE = "https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html"


FAILURES = (
    Failure(
        "NoCredentialsError PartialCredentialsError",
        StoreDeniedError,
        "No AWS credentials were found",
        (
            "Sign in: aws configure, or aws sso login",
            "On EC2 or ECS, attach a role to the machine or task",
            see_policy("aws"),
        ),
    ),
    Failure(
        "CredentialRetrievalError MetadataRetrievalError",
        StoreDeniedError,
        "The AWS credentials cannot be obtained: {reason}",
        ("Try it with the tool of AWS: aws sts get-caller-identity", "Then check AWS_PROFILE and ~/.aws/config"),
    ),
    Failure(
        "ProfileNotFound",
        ConfigurationError,
        "The AWS profile that AWS_PROFILE names does not exist",
        "List the profiles: aws configure list-profiles",
    ),
    Failure(
        "ConfigParseError ConfigNotFound InvalidConfigError InfiniteLoopConfigError UnknownCredentialError"
        " InvalidProxiesConfigError InvalidDefaultsMode InvalidRetryConfigurationError"
        " InvalidSTSRegionalEndpointsConfigError InvalidIMDSEndpointError InvalidIMDSEndpointModeError"
        " InvalidEndpointConfigurationError",
        ConfigurationError,
        "The AWS configuration cannot be used: {reason}",
        ("Correct it in ~/.aws/config or the AWS_ variables", "Or name another profile: AWS_PROFILE"),
    ),
    Failure(
        "MissingDependencyException",
        ConfigurationError,
        "The AWS profile signs in with `aws login`, which needs a part of the SDK that is not installed here",
        'Hand the credentials over: eval "$(aws configure export-credentials --format env)"',
    ),
    Failure(
        "LoginInsufficientPermissions",
        StoreDeniedError,
        "AWS does not allow this user `aws login`: {reason}",
        "Allow signin:AuthorizeOAuth2Access and signin:CreateOAuth2Token, or sign in another way: aws sso login",
    ),
    Failure(
        "LoginError LoginRefreshRequired LoginTokenLoadError LoginAuthorizationCodeError",
        StoreDeniedError,
        "The sign-in to AWS has ended",
        "Sign in again: aws login",
    ),
    Failure(
        "TokenRetrievalError SSOTokenLoadError SSOError"
        " NoAuthTokenError UnauthorizedSSOTokenError GetRoleCredentials:UnauthorizedException"
        " CreateToken:InvalidGrantException CreateToken:ExpiredTokenException",
        StoreDeniedError,
        "The sign-in to AWS has ended",
        "Sign in again: aws sso login",
    ),
    Failure(
        "GetRoleCredentials:ForbiddenException GetRoleCredentials:ResourceNotFoundException",
        StoreDeniedError,
        "AWS does not give this user the role of the profile: {reason}",
        "Check sso_account_id and sso_role_name of the profile: aws configure sso",
    ),
    Failure(
        "AssumeRoleWithWebIdentity:ExpiredTokenException AssumeRoleWithWebIdentity:InvalidIdentityToken"
        " AssumeRoleWithWebIdentity:IDPRejectedClaim AssumeRoleWithWebIdentity:IDPCommunicationError",
        StoreDeniedError,
        "AWS does not accept the web identity token: {reason}",
        (
            "The file that AWS_WEB_IDENTITY_TOKEN_FILE names has to be renewed by what wrote it",
            "The role has to trust its issuer and audience: aws iam list-open-id-connect-providers",
        ),
    ),
    Failure(
        "AssumeRole:AccessDenied AssumeRoleWithWebIdentity:AccessDenied AssumeRoleWithSAML:AccessDenied",
        StoreDeniedError,
        "AWS denies the role itself: {action}: {reason}",
        (
            "Who asks: aws sts get-caller-identity",
            "The role's trust policy has to name that identity, or the conditions of its token",
        ),
    ),
    Failure(
        "AssumeRole:RegionDisabledException AssumeRoleWithWebIdentity:RegionDisabledException",
        ConfigurationError,
        "AWS STS is switched off for this account in the region: {where}",
        "Switch it on in the account's settings (IAM), or use another region: AWS_REGION",
    ),
    Failure(
        "UnrecognizedClientException InvalidSignatureException SignatureDoesNotMatch RequestExpired"
        " RequestTimeTooSkewed",
        StoreDeniedError,
        "The clock of this machine differs from that of AWS: {reason}",
        "Set it: timedatectl set-ntp true",
        says="signature expired|not yet current|skewed|request has expired|request time",
    ),
    Failure(
        "ExpiredTokenException ExpiredToken RequestExpired",
        CredentialsEndedError,
        "The AWS credentials have expired",
        "Sign in again: aws sso login, or renew AWS_SESSION_TOKEN",
    ),
    Failure(
        "UnrecognizedClientException InvalidClientTokenId InvalidSignatureException SignatureDoesNotMatch"
        " IncompleteSignature MissingAuthenticationToken AuthFailure",
        CredentialsEndedError,
        "AWS does not know these credentials",
        "Check who you are: aws sts get-caller-identity",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS cannot use the KMS key of {where}: these credentials may not",
        manage("policy", "aws", "--kms-key", "ARN", purpose="Allow kms:Decrypt and kms:GenerateDataKey on the key"),
        says="access to KMS is|perform: kms:",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where} by a policy of the organization",
        "Ask who runs your AWS organization: no policy of this account can allow it",
        says="service control policy|resource control policy",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where} by the policy of the VPC endpoint",
        "Its policy has to allow it; see which there are: aws ec2 describe-vpc-endpoints",
        says="VPC endpoint policy",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where}, since a policy forbids it explicitly: {reason}",
        "Find the statement with Effect Deny: no other one outranks it",
        says="explicit deny",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where}, since the limit of this identity does not include it: {reason}",
        "Add it to the permissions boundary or the session policy",
        says="permissions boundary|session policy",
    ),
    Failure(
        "AccessDeniedException AccessDenied",
        StoreDeniedError,
        "AWS denies {action} on {where}",
        see_policy("aws"),
    ),
    Failure(
        "OptInRequired SubscriptionRequiredException",
        StoreDeniedError,
        "The AWS account cannot use Secrets Manager in this region: {where}: {reason}",
        "Enable the region for the account, or set another: AWS_REGION",
    ),
    Failure(
        "ResourceNotFoundException",
        StoreEmptyError,
        "Secret not found in AWS Secrets Manager: {where}",
        (set_up(purpose="Make it"), "Or check AWS_REGION and SECRETS_AWS_SECRET_ID"),
    ),
    Failure(
        "InvalidRequestException",
        StoreDeletedError,
        "The secret is scheduled for deletion in AWS Secrets Manager: {where}",
        (set_up(purpose="Let the set-up restore it"), "Or: aws secretsmanager restore-secret --secret-id NAME"),
        says="delet",
    ),
    Failure(
        "InvalidRequestException",
        StoreDeniedError,
        "The secret is of another AWS account, and encrypted with that account's default key: {where}",
        "Its owner has to encrypt it with a customer key, and to allow you the key",
        says="default KMS|different AWS account",
    ),
    Failure(
        "InvalidParameterException InvalidRequestException",
        ConfigurationError,
        "The secret is a replica, which only its primary region can change: {where}",
        "Set AWS_REGION to the secret's PrimaryRegion: aws secretsmanager describe-secret --secret-id NAME",
        says="replica",
    ),
    Failure(
        "ValidationException",
        ConfigurationError,
        "AWS cannot use SECRETS_AWS_SECRET_ID: {reason}",
        "Name a secret by letters, digits and /_+=.@- only, or by its whole ARN",
        says=r"invalid name|secretId|\barn\b",
    ),
    Failure(
        "ThrottlingException Throttling TooManyRequestsException RequestLimitExceeded http-429",
        StoreUnavailableError,
        "AWS Secrets Manager is throttling requests",
        LATER_HINT,
    ),
    Failure(
        "DecryptionFailure EncryptionFailure KMSAccessDeniedException KMSDisabledException KMSInvalidStateException"
        " KMSNotFoundException",
        StoreDeniedError,
        "AWS cannot use the KMS key of {where}: {reason}",
        (
            "The key has to exist and be enabled: aws kms describe-key --key-id KEY",
            manage("policy", "aws", "--kms-key", "ARN", purpose="Allow kms:Decrypt and kms:GenerateDataKey on the key"),
        ),
    ),
    Failure(
        "LimitExceededException",
        StoreError,
        "An AWS Secrets Manager quota is used up: {action} on {where}",
        "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html",
    ),
    Failure(
        "NoRegionError InvalidRegionError UnknownRegionError UnknownEndpointError",
        ConfigurationError,
        "AWS_REGION not set, or not the name of a region",
        "Set the region that the secret is in, for example: export AWS_REGION=eu-central-1",
    ),
    Failure(
        "JSONDecodeError",
        ConfigurationError,
        "The program in credential_process of the AWS profile prints no JSON",
        "Run it by itself: aws configure get credential_process",
    ),
    Failure(
        "ValueError",
        ConfigurationError,
        "AWS_ENDPOINT_URL, or an endpoint_url of the profile, is not a usable address",
        "Give scheme and host: export AWS_ENDPOINT_URL=https://secretsmanager.eu-central-1.amazonaws.com",
        says=r"invalid endpoint|invalid port|\bport could not",
    ),
    Failure(
        "ValueError",
        ConfigurationError,
        "The AWS settings cannot be used: {reason}",
        "Check the AWS_ variables and the profile",
    ),
    Failure(
        "OSError",
        ConfigurationError,
        "A file or program that the AWS settings name cannot be used: {reason}",
        "Check that it is there, and that this user may read it",
    ),
    Failure(
        "InvalidHeader",
        ConfigurationError,
        "The AWS credentials hold an invalid character, such as the end of a line",
        "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN again, without it",
    ),
    *network_failures("AWS", address="AWS_REGION and AWS_ENDPOINT_URL", ca="AWS_CA_BUNDLE"),
    Failure(
        "InternalServiceError InternalServiceErrorException InternalFailure ServiceUnavailable"
        " ServiceUnavailableException http-5xx",
        StoreUnavailableError,
        "AWS Secrets Manager has an internal error ({code})",
        LATER_HINT,
    ),
    Failure(
        ANY_CODE,
        StoreError,
        "AWS refuses {action} on {where}: {reason} ({code})",
        f"What AWS says of this code: {ERRORS_PAGE}",
    ),
)


def classified(
    error: Exception, where: str, action: str, environ: Mapping[str, str], written: str | None = None
) -> SecretsError:
    """What an error of the SDK means.

    Args:
        error: What it raised.
        where: What was accessed.
        action: What was tried.
        environ: The settings.
        written: The JSON object that was to be written; none of its values is repeated, and no credential.
    """
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnectionError

    if isinstance(error, ClientError):
        code, codes, reason = _answer_codes(error)
        action = _action(error.operation_name)
    elif isinstance(error, (NoConnectionError, HTTPClientError)):
        codes, reason = network_codes(error), root_cause(error)
        code, where = codes[0], error.kwargs.get("endpoint_url") or where
    elif isinstance(error, OSError):
        code, codes, reason = "OSError", ["OSError"], unreadable_file(error, environ)
    else:
        codes, reason = class_names(error), str(error)
        code = codes[0]
    values = json.loads(written).values() if written else ()
    hidden = [*(value for value in values if isinstance(value, str)), *(environ.get(name, "") for name in CREDENTIALS)]
    found = store_error(FAILURES, codes, where=where, action=action, reason=reason, code=code, hidden=hidden)
    return RefusalError(str(found), hint=found.hints, code=code) if type(found) is StoreError else found


def _answer_codes(error: Any) -> tuple[str, list[str], str]:
    """The service's code, all codes of its answer, and its words."""
    details = error.response.get("Error", {})
    code, reason = str(details.get("Code", "")), str(details.get("Message") or "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    *pages, exact, hundred = status_codes(status, reason)
    # Where there is no code in the answer, the SDK takes the status for one.
    if not code or code.isdigit():
        return f"HTTP {status}", [*pages, exact, hundred], reason
    return code, [*pages, f"{error.operation_name}:{code}", code, exact, hundred], reason


def _action(operation: str) -> str:
    """``secretsmanager:GetSecretValue``, as policies name it."""
    if operation.startswith(("AssumeRole", "GetCallerIdentity", "GetSessionToken")):
        return f"sts:{operation}"
    if operation in ("GetRoleCredentials", "CreateToken"):
        return f"sso:{operation}"
    return f"secretsmanager:{operation}"
