"""AWS Secrets Manager: one secret, a flat JSON object that the console and other programs can read and edit.

Everything is read with one ``GetSecretValue``. A write is a compare-and-set: the new version gets a staging label of
its own, is read back, and then ``AWSCURRENT`` moves to it from exactly the version that was changed, which the service
refuses if another writer was faster.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

from ..bounded import TIMES_TO_WRITE, Budget, BudgetError, pool_classes
from ..errors import (
    ConfigurationError,
    SecretsError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from ..failures import CredentialsEndedError, RefusalError, ResponseGuard
from ..flatmap import read_flat_map, save_flat_map
from ..settings import SecretsBackend, Settings
from ..snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from ..changes import Change

CURRENT = "AWSCURRENT"
MAX_SECRET_BYTES = 65536  # https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
REQUEST_ATTEMPTS = 3
LOST_RACE_CODES = ("InvalidParameterException", "InvalidRequestException")
_ARN = re.compile(r"arn:[\w-]+:secretsmanager:(?P<region>[\w-]+):\d*:secret:")
# What a tag may consist of, as far as a list of them can hold it: https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
_TAG = re.compile(r"(?!aws:)(?P<Key>[\w .:/+@-]{1,128})=(?P<Value>[\w .:/=+@-]{0,256})", re.IGNORECASE)
MAX_TAGS = 50
_ENDPOINTS = {
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",  # pragma: allowlist secret
    "sts": "AWS_ENDPOINT_URL_STS",
}
ABSENT = "absent"
NO_VALUE = "no value"


class AwsBackend:
    """Secrets in AWS Secrets Manager.

    Args:
        connect: Returns the secret's region, and what makes the SDK's client of a service.
        secret_id: Name or ARN of the secret.
        budget: What an operation may take; the clients keep to it.
        environ: The settings.
    """

    live = False
    empty_revision = ABSENT

    def __init__(
        self,
        connect: Callable[[], tuple[str, Callable[[str], Any]]],
        secret_id: str,
        budget: Budget,
        environ: Mapping[str, str],
    ) -> None:
        self._connect = connect
        self._budget = budget
        self._environ = environ
        self._clients: dict[str, Any] = {}
        self.secret_id = secret_id
        self.region = ""
        with budget.spent():
            self._reconnect()

    def load(self) -> Snapshot:
        """Read everything, in one request."""
        with self._budget.spent():
            content, revision = self._read(VersionStage=CURRENT)
        return read_flat_map(content, revision, self.describe())

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Write ``changes`` as a new version, again if another writer was faster."""
        with self._budget.spent(TIMES_TO_WRITE):
            return save_flat_map(self, changes, expected_revision, progress)

    def check_access(self, names: Iterable[str]) -> str:  # noqa: ARG002 - they are all in one secret
        """Ask AWS who is asking; what may be written shows only when it is tried."""
        self._settings_of_new_secret()
        try:
            with self._budget.spent():
                account = self._call("get_caller_identity", service="sts")["Account"]
        except SecretsError:
            # Some networks let only Secrets Manager through; whether that works, reading it shows.
            account = "unknown"
        return f"account {account}, region {self.region}, secret {self.secret_id}"

    def restore(self, names: Iterable[str]) -> None:  # noqa: ARG002
        """Take the deletion of the secret back."""
        with self._budget.spent():
            self._call("restore_secret", SecretId=self.secret_id)

    def describe(self) -> str:
        """Region and secret."""
        return f"AWS Secrets Manager, secret {self.secret_id} in {self.region}"

    def _read(self, **which: str) -> tuple[dict[str, Any], str]:
        answer = self._call("get_secret_value", SecretId=self.secret_id, **which)
        if "SecretBinary" in answer:
            raise StoreError(
                f"{self.describe()} is binary, not text",
                hint="Name another secret: SECRETS_AWS_SECRET_ID",
            )
        with ResponseGuard(self.describe()):
            text = answer["SecretString"]
        try:
            # A file that Windows has saved begins with a byte order mark.
            content = json.loads(text.removeprefix("\ufeff"))
        except (AttributeError, ValueError, TypeError, RecursionError):
            content = None
        read_flat_map(content, "", self.describe())
        with ResponseGuard(self.describe()):
            return content, answer["VersionId"]

    def read_if_any(self) -> tuple[dict[str, Any], str]:
        """What is there, and its version."""
        try:
            return self._read(VersionStage=CURRENT)
        except StoreEmptyError:
            return {}, ABSENT

    def _encode(self, content: Mapping[str, Any]) -> str:
        text = json.dumps(content, ensure_ascii=False)
        size = len(text.encode())
        if size > MAX_SECRET_BYTES:
            raise StoreError(
                f"The secrets would take {size} bytes in {self.describe()}; {MAX_SECRET_BYTES} is the most it holds",
                hint="Keep large data elsewhere and only its key here. Nothing was written",
            )
        return text

    def write(self, content: Mapping[str, Any], replaces: str) -> str | None:
        """Make ``content`` the current version; returns its id, or ``None`` when another writer was faster."""
        from uuid import uuid4

        text = self._encode(content)
        version = str(uuid4())
        if replaces == ABSENT:
            try:
                self._call(
                    "create_secret",
                    Name=self.secret_id,
                    ClientRequestToken=version,
                    SecretString=text,
                    **self._settings_of_new_secret(),
                )
            except RefusalError as error:
                if error.code != "ResourceExistsException":
                    raise
                replaces = self._current_version() or NO_VALUE
                if replaces != NO_VALUE:
                    return None
            else:
                return version
        label = f"pending-{version}"
        self._call(
            "put_secret_value",
            SecretId=self.secret_id,
            ClientRequestToken=version,
            SecretString=text,
            VersionStages=[label],
        )
        try:
            return version if self._commit(version, text, replaces) else None
        finally:
            self._remove_label(label, version)

    def _settings_of_new_secret(self) -> dict[str, Any]:
        key = self._environ.get("SECRETS_AWS_KMS_KEY_ID")
        tags = parse_tags(self._environ.get("SECRETS_AWS_TAGS") or "")
        return ({"KmsKeyId": key} if key else {}) | ({"Tags": tags} if tags else {})

    def _commit(self, version: str, text: str, replaces: str) -> bool:
        stored = self._call("get_secret_value", SecretId=self.secret_id, VersionId=version)
        if stored.get("SecretString") != text:
            raise StoreError(
                f"What was written to {self.describe()} reads back differently", hint="Nothing was changed"
            )
        removal = {} if replaces == NO_VALUE else {"RemoveFromVersionId": replaces}
        try:
            self._call(
                "update_secret_version_stage",
                SecretId=self.secret_id,
                VersionStage=CURRENT,
                MoveToVersionId=version,
                **removal,
            )
        except (RefusalError, StoreUnavailableError) as error:
            lost_race = isinstance(error, RefusalError) and error.code in LOST_RACE_CODES
            if isinstance(error, RefusalError) and not lost_race:
                raise
            # Either another writer was faster, or it was done, and only the answer got lost.
            if self._current_version() == version:
                return True
            if lost_race:
                return False
            raise
        return True

    def _current_version(self) -> str | None:
        answer = self._call("describe_secret", SecretId=self.secret_id)
        stages: Mapping[str, list[str]] = answer.get("VersionIdsToStages", {})
        return next((version for version, labels in stages.items() if CURRENT in labels), None)

    def _remove_label(self, label: str, version: str) -> None:
        # A version without a label is removed by the service in time; one that keeps it only takes up room.
        try:
            self._call(
                "update_secret_version_stage",
                SecretId=self.secret_id,
                VersionStage=label,
                RemoveFromVersionId=version,
            )
        except SecretsError as error:
            import logging

            logging.getLogger(__name__).warning("The staging label %s stays behind: %s", label, error)

    def _call(self, operation: str, service: str = "secretsmanager", **parameters: Any) -> Any:
        """Make a request; with credentials that are no longer valid, once again with what their source gives now."""
        try:
            return self._request(operation, service, parameters)
        except CredentialsEndedError:
            self._reconnect()
        return self._request(operation, service, parameters)

    def _reconnect(self) -> None:
        """Get the credentials from their source, which making a client does."""
        with self._refusals("connecting", ValueError):
            self.region, self._make_client = self._connect()
            self._clients = {"secretsmanager": self._make_client("secretsmanager")}

    def _request(self, operation: str, service: str, parameters: Mapping[str, Any]) -> Any:
        action = f"{service}:{''.join(map(str.capitalize, operation.split('_')))}"
        with self._refusals(action, written=parameters.get("SecretString")):
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return getattr(self._clients[service], operation)(**parameters)

    @contextmanager
    def _refusals(self, action: str, *known: type[Exception], written: str | None = None) -> Iterator[None]:
        """Turn what the SDK raises into our errors.

        Args:
            action: What is tried.
            known: What it may raise besides its own errors and those of the system.
            written: The JSON that must not be repeated.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        where = f"{self.secret_id} in {self.region}" if self.region else self.secret_id
        errors = (BotoCoreError, ClientError, OSError, *known)
        try:
            with ResponseGuard(where, errors, (ResponseParserError,)):
                yield
        except errors as error:
            from .aws_secrets_manager_failures import classified

            raise classified(error, where, action, self._environ, written) from None


def parse_tags(text: str) -> list[dict[str, str]]:
    """The tags in ``Name=value,Other=value``, as the service takes them.

    Raises:
        ConfigurationError: It has another form, or the service would refuse it.
    """
    pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
    found = [match for match in map(_TAG.fullmatch, pieces) if match]
    tags = [{part: words.strip() for part, words in match.groupdict().items()} for match in found]
    names = {tag["Key"] for tag in tags}
    if len(names) != len(pieces) or "" in names or len(pieces) > MAX_TAGS:
        raise ConfigurationError(
            "SECRETS_AWS_TAGS is no list of tags that AWS takes",
            hint=(
                "Write it as Name=value,Other=value: each name once, none that begins with aws:",
                f"Letters, digits, spaces and . : / = + - @ _ are possible, and at most {MAX_TAGS} tags",
            ),
        )
    return tags


def open_backend(settings: Settings) -> AwsBackend:
    """The store for these settings."""
    _quieten_sdk()
    environ = settings.environ
    secret_id = environ.get("SECRETS_AWS_SECRET_ID") or SecretsBackend.AWS.default_place()
    budget = Budget("AWS Secrets Manager", settings.load_timeout)
    return AwsBackend(lambda: _connect(environ, secret_id, budget), secret_id, budget, environ)


def _connect(environ: Mapping[str, str], secret_id: str, budget: Budget) -> tuple[str, Callable[[str], Any]]:
    """The region of the secret, and what makes the SDK's clients."""
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    )
    session = _make_session(environ, config, budget)
    session.register_component("data_loader", _make_loader(session.get_config_variable("data_path")))
    named = _ARN.match(secret_id)
    region = (
        # An ARN is in one region, whatever else is said.
        (named["region"] if named else None)
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or session.get_config_variable("region")
    )
    if not region:
        raise ConfigurationError(
            "AWS_REGION not set",
            hint="Set the region that the secret is in, for example: export AWS_REGION=eu-central-1",
        )
    session.region = region  # the SDK itself reads another variable, and asks the token service, too

    def make_client(service: str) -> Any:
        url = environ.get(_ENDPOINTS[service]) or environ.get("AWS_ENDPOINT_URL") or None
        return session.create_client(service, region_name=region, endpoint_url=url)

    return str(region), make_client


def _make_session(environ: Mapping[str, str], config: Any, budget: Budget) -> Any:
    """A session whose clients all have the same limits, also those that it makes by itself to get credentials."""
    from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
    from botocore.session import Session

    classes = pool_classes(budget, AWSHTTPConnectionPool, AWSHTTPSConnectionPool)

    class BoundedSession(Session):  # type: ignore[misc]
        region: str | None = None

        def create_client(self, service_name: str, region_name: str | None = None, **named: Any) -> Any:
            given = named.pop("config", None)
            merged = config.merge(given) if given else config
            client = super().create_client(service_name, region_name or self.region, config=merged, **named)
            http_session = client._endpoint.http_session  # noqa: SLF001 - the SDK has no public way to it
            http_session._pool_classes_by_scheme = classes  # noqa: SLF001
            http_session._manager.pool_classes_by_scheme = classes  # noqa: SLF001
            http_session.send = _without_retries_of(http_session.send)
            return client

    session = BoundedSession(profile=environ.get("AWS_PROFILE") or None)
    may_ask = _somebody_answers()
    for provider in session.get_component("credential_provider").providers:
        if hasattr(provider, "_prompter"):
            provider._prompter = _code_prompt(budget, may_ask=may_ask)  # noqa: SLF001
        if provider.METHOD == "assume-role" and may_ask:
            provider.cache = _cache_of_roles()
        if provider.METHOD == "custom-process":
            provider._popen = _bounded_process(budget)  # noqa: SLF001
    return session


def _somebody_answers() -> bool:
    import os
    import sys

    if os.environ.get("SECRETS_NON_INTERACTIVE"):
        return False
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False  # they are closed


def _cache_of_roles() -> Any:
    """The roles that were taken with a code keep for an hour, as those of AWS's own tool do, and with them.

    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-role.html#cli-configure-role-mfa
    """
    import os
    from contextlib import suppress

    from botocore.utils import JSONFileCache

    class Cache(JSONFileCache):  # type: ignore[misc]
        def __setitem__(self, key: str, value: Any) -> None:
            with suppress(OSError):  # then the next command asks again
                super().__setitem__(key, value)

    return Cache(os.path.expanduser(os.path.join("~", ".aws", "cli", "cache")))


def _code_prompt(budget: Budget, *, may_ask: bool) -> Callable[[str], str]:
    """Asks for an MFA code, if somebody can type it."""

    def ask(prompt: str) -> str:
        from getpass import getpass

        if not may_ask:
            raise ConfigurationError(
                "The AWS profile asks for an MFA code, and there is no terminal to type it",
                hint=(
                    "Sign in first, and use the credentials of that session: aws sts get-session-token",
                    "Or set AWS_PROFILE to one without mfa_serial",
                ),
            )
        with budget.paused():
            return getpass(prompt)

    return ask


def _bounded_process(budget: Budget) -> Any:
    """A ``Popen`` that is not waited for without end."""
    from subprocess import Popen, TimeoutExpired

    class Process(Popen):  # type: ignore[type-arg]
        def communicate(self, input: Any = None, timeout: float | None = None) -> Any:  # noqa: A002
            try:
                return super().communicate(input, timeout=budget.left() if timeout is None else timeout)
            except TimeoutExpired:
                self.kill()
                self.wait()
                for pipe in filter(None, (self.stdout, self.stderr)):
                    pipe.close()
                raise ConfigurationError(
                    "The program in credential_process of the AWS profile does not answer",
                    hint="Run it by itself: it prints credentials as JSON, and asks nothing",
                ) from None

    return Process


def _without_retries_of(send: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let an error of the budget through: the SDK would take it for one of the network, and try again."""

    def send_once(request: Any) -> Any:
        from botocore.exceptions import HTTPClientError

        try:
            return send(request)
        except HTTPClientError as error:
            inner = error.kwargs.get("error")
            if isinstance(inner, BudgetError):
                raise inner from None
            raise

    return send_once


def _make_loader(data_path: str | None) -> Any:
    """A loader of service models that knows a service by its folder's name.

    The SDK's own looks into every folder of its four hundred before it loads one model, a tenth of the time that a
    cold start takes.

    Args:
        data_path: ``AWS_DATA_PATH`` or ``data_path`` of the profile.
    """
    import os

    from botocore.loaders import Loader, instance_cache

    class NamesOnlyLoader(Loader):  # type: ignore[misc]
        @instance_cache  # type: ignore[untyped-decorator]
        def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002
            return [name for path in self.search_paths if os.path.isdir(path) for name in os.listdir(path)]

    paths = [os.path.expanduser(os.path.expandvars(path)) for path in data_path.split(os.pathsep)] if data_path else []
    return NamesOnlyLoader(extra_search_paths=paths)


def _quieten_sdk() -> None:
    """At level DEBUG the SDK would log the secrets themselves, before anything could redact them."""
    import logging

    logger = logging.getLogger("botocore")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
