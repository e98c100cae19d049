"""AWS Secrets Manager's automatic rotation: the Lambda function that the service calls, four steps a rotation.

Only what the application alone uses, and where it accepts the earlier value for a grace time, is rotated by itself: in
time everything that reads the store has the new value, and nobody is locked out before. A database's or Redis's
password has to change there too, which a function outside the stack cannot do:
``./scripts/manage_secrets.py rotate`` does.

Each step may come again, or late. Nothing that another writer changed in between is undone: then the rotation is given
up, and the next one starts from what is there.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from src.ops.values.generate import generate_value
from src.ops.values.grace import previous_valid_until
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.changes import Change
from src.utils.secrets.command import manage, spell
from src.utils.secrets.flatmap import METADATA_KEY, change_flat_map, read_flat_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.catalog import Catalog, SecretSpec

CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
NAMES_VARIABLE = "ROTATE_NAMES"

_LOG = logging.getLogger(__name__)


class RotationError(Exception):
    """The step cannot be done. The service logs the message, marks the rotation failed, and tries later."""


def handler(event: Mapping[str, str], _context: object) -> None:
    """What AWS Lambda calls.

    Args:
        event: ``Step``, ``SecretId`` (an ARN) and ``ClientRequestToken`` (the new version's id).

    Raises:
        RotationError: The step cannot be done.
        botocore.exceptions.ClientError: The service refuses.
    """
    from botocore.session import Session

    logging.getLogger("botocore").setLevel(logging.INFO)  # at level DEBUG it logs the secrets themselves
    client = Session().create_client("secretsmanager", region_name=os.environ["AWS_REGION"])
    names = os.environ.get(NAMES_VARIABLE, "").replace(",", " ").split()
    rotation = AwsRotation(client, load_catalog(), event["SecretId"], event["ClientRequestToken"], names)
    rotation.run(event["Step"])


class AwsRotation:
    """One rotation of the secret.

    Args:
        client: The SDK's client of Secrets Manager.
        catalog: Says what can be generated.
        secret_id: Name or ARN of the secret.
        version: Id of the version that the rotation makes.
        names: What to rotate; nothing means whatever can be.
    """

    def __init__(self, client: Any, catalog: Catalog, secret_id: str, version: str, names: list[str]) -> None:
        self._client = client
        self._specs = _rotated(catalog, names)
        self._secret_id = secret_id
        self._version = version

    def run(self, step: str) -> None:
        """Do one step.

        Args:
            step: ``createSecret``, ``setSecret``, ``testSecret`` or ``finishSecret``.

        Raises:
            RotationError: It cannot be done.
        """
        steps = {
            "createSecret": self._create,
            "setSecret": self._check,  # nobody but the application has these values: there is nobody to tell
            "testSecret": self._check,
            "finishSecret": self._finish,
        }
        if step not in steps:
            raise RotationError(f"{step} is not a step of a rotation")
        answer = self._client.describe_secret(SecretId=self._secret_id)
        if not answer.get("RotationEnabled"):
            raise RotationError(f"{self._secret_id} is not set up for rotation: aws secretsmanager rotate-secret")
        labels = answer.get("VersionIdsToStages", {}).get(self._version)
        if labels is not None and CURRENT in labels:
            _LOG.info("%s: version %s is the current one already", step, self._version)
            return
        if step != "createSecret" and PENDING not in (labels or []):
            raise RotationError(f"{step}: version {self._version} is not staged as {PENDING}; createSecret comes first")
        steps[step]()
        _LOG.info("%s of version %s is done", step, self._version)

    def _create(self) -> None:
        try:
            self._read(VersionId=self._version, VersionStage=PENDING)
        except self._client.exceptions.ResourceNotFoundException:
            pass
        else:
            return  # the step comes again: the values stay the same
        content, revision = self._read(VersionStage=CURRENT)
        snapshot = read_flat_map(content, revision, self._secret_id)
        changes = {
            spec.name: Change(generate_value(spec), previous_valid_until=previous_valid_until(spec))
            for spec in self._specs
            if spec.name in snapshot.values
        }
        if not changes:
            raise RotationError(f"{self._secret_id} holds nothing that could be rotated by itself")
        self._client.put_secret_value(
            SecretId=self._secret_id,
            ClientRequestToken=self._version,
            SecretString=json.dumps(change_flat_map(content, snapshot, changes), ensure_ascii=False),
            VersionStages=[PENDING],
        )
        _LOG.info("new values: %s", ", ".join(changes))

    def _check(self) -> str:
        """Compare the pending version with the current one; returns the current one's id.

        Raises:
            RotationError: The pending version is not the current one with new values; it is given up.
        """
        pending, _ = self._read(VersionId=self._version, VersionStage=PENDING)
        current, revision = self._read(VersionStage=CURRENT)
        if not _follows(pending, current):
            self._give_up()
        return revision

    def _finish(self) -> None:
        replaces = self._check()
        try:
            self._client.update_secret_version_stage(
                SecretId=self._secret_id,
                VersionStage=CURRENT,
                MoveToVersionId=self._version,
                RemoveFromVersionId=replaces,
            )
        except (
            self._client.exceptions.InvalidParameterException,
            self._client.exceptions.InvalidRequestException,
        ):
            self._give_up()

    def _give_up(self) -> None:
        """Take the label off, so that a new rotation can begin: the service refuses one while it is there."""
        self._client.update_secret_version_stage(
            SecretId=self._secret_id, VersionStage=PENDING, RemoveFromVersionId=self._version
        )
        raise RotationError(
            f"{self._secret_id} was changed by another writer meanwhile: version {self._version} is given up, nothing "
            "was changed. Rotate again: aws secretsmanager rotate-secret"
        )

    def _read(self, **which: str) -> tuple[dict[str, Any], str]:
        answer = self._client.get_secret_value(SecretId=self._secret_id, **which)
        try:
            content = json.loads(answer["SecretString"])
        except (KeyError, RecursionError, ValueError):
            content = None
        read_flat_map(content, "", self._secret_id)
        return content, answer["VersionId"]


def _rotated(catalog: Catalog, names: list[str]) -> list[SecretSpec]:
    """What to rotate.

    Raises:
        RotationError: One of the names cannot be.
    """
    possible = [
        spec
        for spec in catalog.secrets
        if spec.generated and spec.consumers == ("app",) and spec.previous_values != "none"
    ]
    if not names:
        return [spec for spec in possible if spec.previous_values == "grace"]
    unknown = sorted(set(names) - {spec.name for spec in possible})
    if unknown:
        raise RotationError(
            f"{NAMES_VARIABLE}: {', '.join(unknown)} cannot be rotated without the stack; possible are "
            f"{', '.join(spec.name for spec in possible)}. "
            f"{spell(manage('rotate', purpose='Rotate the others'))}"
        )
    return [spec for spec in possible if spec.name in names]


def _follows(pending: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Whether ``pending`` is ``current`` with some values replaced, and remembers each that it replaces."""
    now, later = _with_metadata(current), _with_metadata(pending)
    changed = {name for name in {*now, *later} if now.get(name) != later.get(name)}
    return all(_replaces(later.get(name), now.get(name)) for name in changed)


def _replaces(later: tuple[Any, Any] | None, now: tuple[Any, Any] | None) -> bool:
    if later is None or now is None:
        return False
    previous = (later[1] or {}).get("previous", [])
    return bool(previous) and bool(previous[0]["value"] == now[0])


def _with_metadata(content: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    metadata = json.loads(content.get(METADATA_KEY) or "{}")
    return {name: (content.get(name), metadata.get(name)) for name in {*content, *metadata} - {METADATA_KEY}}
