"""The Lambda function for automatic rotation, called as AWS Secrets Manager calls it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore
import pytest

from src.ops.aws_lambda.rotation import RotationError, handler
from src.ops.values.generate import generate_value
from src.utils.secrets import SecretsManager
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.changes import Change
from src.utils.secrets.settings import PROJECT_DIRECTORY, Settings
from tests.servers.aws import Aws
from tests.servers.faulty import Answer, running_faulty

from .stores import AwsStore

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
ROTATED = {"SECRET_KEY", "JWT_SECRET_KEY"}
VALUES = {spec.name: generate_value(spec) for spec in load_catalog().secrets if spec.generated} | {"OF_OTHERS": "1"}


class Service:
    """The store, set up for rotation; calls the function as the service does."""

    def __init__(self, store: AwsStore) -> None:
        self.store = store
        self.client = store.server.client()
        self.token = str(uuid.uuid4())
        store.open().save({name: Change(value) for name, value in VALUES.items()})
        self.client.rotate_secret(
            SecretId=store.secret_id, RotationRules={"AutomaticallyAfterDays": 30}, RotateImmediately=False
        )

    def event(self, step: str) -> dict[str, str]:
        arn = self.client.describe_secret(SecretId=self.store.secret_id)["ARN"]
        return {"Step": step, "SecretId": arn, "ClientRequestToken": self.token}

    def call(self, *steps: str) -> None:
        for step in steps:
            handler(self.event(step), None)

    def labels(self) -> dict[str, list[str]]:
        answer = self.client.describe_secret(SecretId=self.store.secret_id)
        found: dict[str, list[str]] = answer["VersionIdsToStages"]
        return found

    def changed(self) -> set[str]:
        return {name for name, value in self.store.raw().items() if value != VALUES.get(name)}


def manager_of(service: Service) -> SecretsManager:
    return SecretsManager(settings=Settings(service.store.environ))


@pytest.fixture
def store(aws_server: Aws) -> AwsStore:
    return AwsStore(aws_server)


@pytest.fixture
def service(store: AwsStore) -> Service:
    return Service(store)


def test_the_four_steps_change_only_secrets_with_two_accepted_versions(service: Service) -> None:
    before = next(version for version, labels in service.labels().items() if "AWSCURRENT" in labels)
    for step in STEPS[:3]:
        service.call(step)
        assert service.changed() == set(), step
    service.call("finishSecret")
    assert service.changed() == ROTATED
    assert "AWSCURRENT" in service.labels()[service.token]
    assert "AWSPREVIOUS" in service.labels()[before]
    manager = manager_of(service)
    for name, value in VALUES.items():
        assert manager.versions(name) == ([service.store.raw()[name], value] if name in ROTATED else [value])
    metadata = service.store.open().load().metadata
    assert all(metadata[name].previous[0].valid_until is not None for name in ROTATED)


def test_each_step_can_run_twice(service: Service) -> None:
    service.call("createSecret")
    pending = service.client.get_secret_value(SecretId=service.store.secret_id, VersionStage="AWSPENDING")
    service.call("createSecret", "setSecret", "setSecret", "testSecret", "testSecret", "finishSecret")
    assert service.store.raw().items() <= json.loads(pending["SecretString"]).items()
    service.call(*STEPS, "finishSecret")
    assert service.changed() == ROTATED
    assert service.store.raw().items() <= json.loads(pending["SecretString"]).items()


@pytest.mark.parametrize("step", [*STEPS[1:], "deleteSecret"])
def test_a_step_out_of_order_is_refused(service: Service, step: str) -> None:
    with pytest.raises(RotationError, match=r"createSecret comes first|is not a step"):
        service.call(step)
    assert service.changed() == set()


def test_a_second_rotation_keeps_every_value_that_is_still_accepted(service: Service) -> None:
    service.call(*STEPS)
    middle = service.store.raw()
    service.token = str(uuid.uuid4())
    service.call(*STEPS)
    manager = manager_of(service)
    for name in ROTATED:
        assert manager.versions(name) == [service.store.raw()[name], middle[name], VALUES[name]]


@pytest.mark.parametrize("name", ["DATABASE_PASSWORD", "SECRET_KEY", "ANOTHER"])
@pytest.mark.parametrize("done", [1, 2, 3])
def test_changes_of_another_writer_are_never_undone(service: Service, done: int, name: str) -> None:
    service.call(*STEPS[:done])
    service.store.open().save({name: Change("x" * 43)})
    with pytest.raises(RotationError, match="changed by another writer meanwhile"):
        service.call(*STEPS[done:])
    assert service.changed() == {name}
    assert service.store.raw()[name] == "x" * 43
    assert not [labels for labels in service.labels().values() if "AWSPENDING" in labels]
    service.token = str(uuid.uuid4())
    service.call(*STEPS)
    assert service.changed() == {name, *ROTATED}


@pytest.mark.parametrize("change", [{"OF_OTHERS": "2"}, {"SECRET_KEY": "y" * 64}, {"ANOTHER": "3"}])
def test_a_change_at_the_last_moment_is_not_undone(service: Service, change: dict[str, str]) -> None:
    service.call(*STEPS[:3])
    rivals: list[dict[str, str]] = [change]

    def another_writer(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        if headers.get("X-Amz-Target", "").endswith("UpdateSecretVersionStage") and rivals:
            service.store.open().save({name: Change(value) for name, value in rivals.pop().items()})
        return None

    with running_faulty(service.store.server.url) as server:
        server.fault = another_writer
        os.environ["AWS_ENDPOINT_URL"] = server.url
        with pytest.raises(RotationError, match="nothing was changed"):
            service.call("finishSecret")
    assert service.changed() == set(change)
    assert service.store.raw().items() >= change.items()


@pytest.mark.parametrize("step", range(4))
def test_a_failed_step_leaves_the_old_values_and_can_be_repeated(service: Service, step: int) -> None:
    service.call(*STEPS[:step])
    with running_faulty(service.store.server.url) as server:
        operations: list[str] = []

        def refuse(fails: int) -> Callable[[str, str, dict[str, str]], Answer | None]:
            def fault(method: str, path: str, headers: dict[str, str]) -> Answer | None:
                operations.append(headers["X-Amz-Target"])
                if len(operations) <= fails:
                    return None
                body = json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
                return 400, {"x-amzn-errortype": "AccessDeniedException"}, body

            return fault

        os.environ["AWS_ENDPOINT_URL"] = server.url
        for succeeding in range(9):
            operations.clear()
            server.fault = refuse(succeeding)
            try:
                service.call(STEPS[step])
            except botocore.exceptions.ClientError:
                assert service.changed() == set()
            else:
                break
        assert 2 <= succeeding < 8  # each request of the step has failed once
        server.fault = None
    os.environ["AWS_ENDPOINT_URL"] = service.store.server.url
    service.call(*STEPS[step:])
    assert service.changed() == ROTATED


def test_a_secret_that_is_not_set_up_for_rotation_is_left_alone(store: AwsStore) -> None:
    store.open().save({"SECRET_KEY": Change(VALUES["SECRET_KEY"])})
    with pytest.raises(RotationError, match="not set up for rotation"):
        handler({"Step": "createSecret", "SecretId": store.secret_id, "ClientRequestToken": str(uuid.uuid4())}, None)
    assert store.raw() == {"SECRET_KEY": VALUES["SECRET_KEY"]}


def test_the_names_can_be_chosen(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROTATE_NAMES", "ENCRYPTION_KEY, JWT_SECRET_KEY")
    service.call(*STEPS)
    assert service.changed() == {"ENCRYPTION_KEY", "JWT_SECRET_KEY"}
    assert service.store.open().load().metadata["ENCRYPTION_KEY"].previous[0].valid_until is None


@pytest.mark.parametrize(
    "name", ["DATABASE_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD", "WEBHOOK_SECRET", "NOT_IN_THE_CATALOGUE"]
)
def test_secrets_that_a_server_or_a_person_must_know_are_refused(
    service: Service, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROTATE_NAMES", name)
    with pytest.raises(RotationError, match=f"{name} cannot be rotated without the stack"):
        service.call("createSecret")
    assert service.changed() == set()


def test_no_value_is_in_the_log_at_any_level(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.call(*STEPS)
    assert "new values: SECRET_KEY" in caplog.text
    values = {*VALUES.values(), *service.store.raw().values()} - {"1"}
    assert not [value for value in values if value in caplog.text]


def test_the_package_needs_nothing_but_the_sdk(service: Service, tmp_path: Path) -> None:
    def build() -> bytes:
        subprocess.run(
            [sys.executable, f"{PROJECT_DIRECTORY}/scripts/build_lambda.py"], check=True, capture_output=True
        )
        return Path(PROJECT_DIRECTORY, "build/rotation-lambda.zip").read_bytes()

    archive = build()
    assert build() == archive
    (tmp_path / "a.zip").write_bytes(archive)
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        opened.extractall(tmp_path / "task")
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
for name in ("cryptography", "click", "dotenv", "filelock", "zxcvbn", "questionary", "rich"):
    sys.modules[name] = None  # not in AWS's runtime
from src.ops.aws_lambda.rotation import handler
for event in json.loads(sys.argv[2]):
    handler(event, None)
"""
    events: list[Any] = [service.event(step) for step in STEPS]
    subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path / "task"), json.dumps(events)],
        check=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert service.changed() == ROTATED
