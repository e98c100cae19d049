"""Behaviour that only AWS Secrets Manager has."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.session import Session

from src.utils.secrets.backends.aws_secrets_manager import AwsBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    ConfigurationError,
    DamagedStoreError,
    SecretsError,
    StoreChangedError,
    StoreDeletedError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from tests.servers.aws import Aws
from tests.servers.faulty import Answer, Faulty, running_faulty

from .stores import AwsStore


@pytest.fixture
def store(aws_server: Aws) -> AwsStore:
    return AwsStore(aws_server)


@pytest.fixture
def faulty(store: AwsStore) -> Iterator[Faulty]:
    """The store behind a server that can be made to fail."""
    with running_faulty(store.server.url) as server:
        store.environ["AWS_ENDPOINT_URL"] = server.url
        yield server


def refusal(code: str, message: str = "refused", status: int = 400) -> Answer:
    body = json.dumps({"__type": code, "message": message}).encode()
    return status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": code}, body


def operations(server: Faulty) -> list[str]:
    return [headers["X-Amz-Target"].removeprefix("secretsmanager.") for _, _, headers in server.requests]


def stages(store: AwsStore) -> dict[str, list[str]]:
    found: dict[str, list[str]] = store.server.client().describe_secret(SecretId=store.secret_id)["VersionIdsToStages"]
    return found


def aws(store: AwsStore) -> AwsBackend:
    backend = store.open()
    assert isinstance(backend, AwsBackend)
    return backend


def test_everything_is_loaded_with_one_request(store: AwsStore, faulty: Faulty) -> None:
    store.put({f"SECRET_{number}": "value" for number in range(200)})
    assert len(store.open().load().values) == 200
    assert operations(faulty) == ["GetSecretValue"]


def test_a_write_based_on_an_old_version_changes_nothing(store: AwsStore) -> None:
    store.open().save({"A": Change("1")})
    slow = aws(store)
    content, revision = slow.read_if_any()
    store.open().save({"A": Change("2")})
    assert slow.write(content | {"A": "3"}, revision) is None
    assert store.raw() == {"A": "2"}
    assert all(not label.startswith("pending") for labels in stages(store).values() for label in labels)


def test_two_writers_that_create_the_secret_at_once_both_succeed(store: AwsStore) -> None:
    slow = aws(store)
    content, revision = slow.read_if_any()
    store.open().save({"A": Change("1")})
    assert slow.write(content | {"B": "2"}, revision) is None
    slow.save({"B": Change("2")})
    assert store.raw() == {"A": "1", "B": "2"}
    with pytest.raises(StoreChangedError):
        slow.save({"C": Change("3")}, expected_revision=revision)


@pytest.mark.parametrize("answers_lost", [1, 99])
def test_a_commit_with_a_lost_response_is_not_reported_as_a_failure(
    answers_lost: int, store: AwsStore, faulty: Faulty
) -> None:
    store.open().save({"A": Change("1")})
    dropped: list[bool] = []

    def commit_but_drop_the_answer(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        if not headers["X-Amz-Target"].endswith("UpdateSecretVersionStage") or len(dropped) == answers_lost:
            return None
        dropped.append(True)
        if len(dropped) == 1:
            client = store.server.client()
            versions = client.list_secret_version_ids(SecretId=store.secret_id)["Versions"]
            pending = next(v for v in versions if any(s.startswith("pending") for s in v["VersionStages"]))
            current = next(v for v in versions if "AWSCURRENT" in v["VersionStages"])
            client.update_secret_version_stage(
                SecretId=store.secret_id,
                VersionStage="AWSCURRENT",
                MoveToVersionId=pending["VersionId"],
                RemoveFromVersionId=current["VersionId"],
            )
        return refusal("InternalServiceError", status=500)

    faulty.fault = commit_but_drop_the_answer
    store.open().save({"A": Change("2")})
    assert store.raw() == {"A": "2"}
    assert operations(faulty).count("PutSecretValue") == 1


def test_a_secret_without_a_value_gets_its_first_one(store: AwsStore, faulty: Faulty) -> None:
    no_value = refusal("ResourceNotFoundException", "can't find the specified secret value for staging label")
    exists = refusal("ResourceExistsException", "The operation failed because the secret already exists.")
    commits: list[Any] = []

    def secret_without_value(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        operation = headers["X-Amz-Target"].removeprefix("secretsmanager.")
        if operation == "GetSecretValue" and not commits:
            commits.append(operation)
            return no_value
        return exists if operation == "CreateSecret" else None

    store.server.client().create_secret(Name=store.secret_id)
    faulty.fault = secret_without_value
    store.open().save({"A": Change("1")})
    assert store.raw() == {"A": "1"}


KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_new_secret_gets_its_key_and_tags_and_one_that_exists_keeps_its_own(store: AwsStore) -> None:
    written = "Team = video, Cost center=12,Url=https://example.org/=,Empty="
    store.open(SECRETS_AWS_KMS_KEY_ID=KEY, SECRETS_AWS_TAGS=written).save({"A": Change("1")})
    described = store.server.client().describe_secret(SecretId=store.secret_id)
    assert described["KmsKeyId"] == KEY
    tags = {"Team": "video", "Cost center": "12", "Url": "https://example.org/=", "Empty": ""}
    assert {tag["Key"]: tag["Value"] for tag in described["Tags"]} == tags
    store.open(SECRETS_AWS_KMS_KEY_ID="alias/other", SECRETS_AWS_TAGS="Team=sound").save({"A": Change("2")})
    described = store.server.client().describe_secret(SecretId=store.secret_id)
    assert described["KmsKeyId"] == KEY
    assert {tag["Key"]: tag["Value"] for tag in described["Tags"]} == tags


def test_a_new_secret_has_the_default_key_and_no_tags_where_none_are_set(store: AwsStore) -> None:
    store.open(SECRETS_AWS_KMS_KEY_ID="", SECRETS_AWS_TAGS=" ").save({"A": Change("1")})
    described = store.server.client().describe_secret(SecretId=store.secret_id)
    assert (described.get("KmsKeyId"), described.get("Tags") or []) == (None, [])


@pytest.mark.parametrize(
    "tags",
    [
        *("canary", "=canary", " =canary", "aws:canary=1", "AWS:canary=1", "A=canary,", "A=canary;B=2"),
        "A=canary\nB=2",
        *("A=1,A=canary", "canary=" + "x" * 257, "c" * 129 + "=canary", ",".join(f"canary{n}=" for n in range(51))),
    ],
    ids=lambda tags: tags[:20],
)
def test_wrong_tags_are_refused_before_anything_is_written_and_not_repeated(tags: str, store: AwsStore) -> None:
    backend = store.open(SECRETS_AWS_TAGS=tags)
    assert isinstance(backend, AwsBackend)
    for action in (lambda: backend.check_access([]), lambda: backend.save({"A": Change("1")})):
        with pytest.raises(ConfigurationError, match="SECRETS_AWS_TAGS is no list of tags") as error:
            action()
        assert "canary" not in f"{error.value} {error.value.hints}"
    assert store.secret_id not in {secret["Name"] for secret in store.server.client().list_secrets()["SecretList"]}
    store.put({"A": "1"})
    assert backend.load().values == {"A": "1"}  # what is only for a new secret stops no application


def test_a_secret_scheduled_for_deletion_can_be_restored(store: AwsStore) -> None:
    store.put({"A": "1"})
    store.server.client().delete_secret(SecretId=store.secret_id, RecoveryWindowInDays=7)
    backend = aws(store)
    with pytest.raises(StoreDeletedError, match="scheduled for deletion"):
        backend.load()
    with pytest.raises(StoreDeletedError):
        backend.save({"A": Change("2")})
    backend.restore([])
    assert backend.load().values == {"A": "1"}


def test_content_that_is_no_json_object_is_explained(store: AwsStore) -> None:
    client = store.server.client()
    client.create_secret(Name=store.secret_id, SecretBinary=b"\0\1")
    with pytest.raises(StoreError, match="is binary"):
        store.open().load()
    for text in ("not JSON at all", "[1, 2]", '"text"', "{" * 100_000):
        client.put_secret_value(SecretId=store.secret_id, SecretString=text)
        with pytest.raises(DamagedStoreError, match="does not hold a JSON object"):
            store.open().load()


def test_damaged_metadata_is_explained(store: AwsStore) -> None:
    for metadata in ("no JSON", "[]", '{"A": 1}', '{"A": {"previous": [{}]}}'):
        store.put({"A": "1", "_METADATA": metadata})
        with pytest.raises(DamagedStoreError, match=r"_METADATA in .* is not of the known form"):
            store.open().load()


def test_values_that_are_not_text_are_read_as_json_and_kept_as_they_are(store: AwsStore) -> None:
    text = json.dumps({"PORT": 5432, "DEBUG": True, "NESTED": {"a": [1]}, "NOTHING": None, "TEXT": "t"})
    store.server.client().create_secret(Name=store.secret_id, SecretString=text)
    assert dict(store.open().load().values) == {
        "PORT": "5432",
        "DEBUG": "true",
        "NESTED": '{"a": [1]}',
        "TEXT": "t",
    }
    store.open().save({"TEXT": Change("u")})
    assert store.raw() == {"PORT": 5432, "DEBUG": True, "NESTED": {"a": [1]}, "NOTHING": None, "TEXT": "u"}


def test_a_byte_order_mark_before_the_values_is_read_over(store: AwsStore) -> None:
    store.server.client().create_secret(Name=store.secret_id, SecretString='\ufeff{"A": "1"}')
    assert store.open().load().values == {"A": "1"}
    store.open().save({"B": Change("2")})
    assert store.raw() == {"A": "1", "B": "2"}


def test_a_secret_is_read_and_written_in_the_region_of_its_arn(store: AwsStore) -> None:
    session = Session()
    session.set_credentials("testing", "testing")
    ireland = session.create_client("secretsmanager", region_name="eu-west-1", endpoint_url=store.server.url)
    arn = ireland.create_secret(Name=store.secret_id, SecretString='{"A": "in Ireland"}')["ARN"]
    store.put({"A": "in Frankfurt"})
    assert arn.startswith("arn:aws:secretsmanager:eu-west-1:")
    backend = store.open(SECRETS_AWS_SECRET_ID=arn, AWS_REGION="eu-central-1")
    assert backend.load().values == {"A": "in Ireland"}
    assert "eu-west-1" in backend.describe()
    backend.save({"A": Change("new in Ireland")})
    stored = ireland.get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")["SecretString"]
    assert json.loads(stored)["A"] == "new in Ireland"
    assert store.raw() == {"A": "in Frankfurt"}


def test_the_reserved_name_cannot_be_a_secret(store: AwsStore) -> None:
    with pytest.raises(SecretsError, match="_METADATA is reserved"):
        store.open().save({"_METADATA": Change("x")})


def test_more_than_64_kib_are_refused_and_nothing_is_written(store: AwsStore) -> None:
    store.open().save({"A": Change("1")})
    before = stages(store)
    with pytest.raises(StoreError, match="65536 is the most it holds"):
        store.open().save({"LARGE": Change("x" * 65536)})
    assert stages(store) == before


def test_throttling_is_retried_and_explained_if_it_lasts(store: AwsStore, faulty: Faulty) -> None:
    store.put({"A": "1"})
    answers = [refusal("ThrottlingException", "Rate exceeded")] * 2
    faulty.fault = lambda *_: answers.pop() if answers else None
    assert store.open().load().values == {"A": "1"}
    faulty.fault = lambda *_: refusal("ThrottlingException", "Rate exceeded")
    with pytest.raises(StoreUnavailableError, match="throttling"):
        store.open().load()


def test_a_failure_before_the_commit_leaves_the_old_version(store: AwsStore, faulty: Faulty) -> None:
    store.open().save({"A": Change("1")})
    for operation in ("PutSecretValue", "UpdateSecretVersionStage"):
        faulty.fault = lambda *request, operation=operation: (
            refusal("AccessDeniedException") if request[2]["X-Amz-Target"].endswith(operation) else None
        )
        with pytest.raises(StoreDeniedError, match=operation):
            store.open().save({"A": Change("2")})
        assert store.raw() == {"A": "1"}


def test_check_access_names_the_account(store: AwsStore) -> None:
    assert aws(store).check_access([]) == f"account 123456789012, region eu-central-1, secret {store.secret_id}"


def test_the_region_and_keys_may_come_from_the_sdk_s_own_files(
    store: AwsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile cctv]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text("[cctv]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
        store.environ.pop(name)
    store.open(AWS_PROFILE="cctv").save({"A": Change("1")})
    assert store.raw() == {"A": "1"}


def test_a_custom_service_model_is_used_and_a_missing_folder_is_ignored(
    store: AwsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(botocore.__file__).parent / "data/secretsmanager/2017-10-17"
    folder = tmp_path / "secretsmanager/2099-01-01"
    shutil.copytree(model, folder)
    with gzip.open(folder / "service-2.json.gz", "rb") as file:
        text = file.read().replace(b'"2017-10-17"', b'"2099-01-01"')
    (folder / "service-2.json").write_bytes(text)
    (folder / "service-2.json.gz").unlink()
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert aws(store)._clients["secretsmanager"].meta.service_model.api_version == "2099-01-01"
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path / "nothing"))
    assert aws(store)._clients["secretsmanager"].meta.service_model.api_version == "2017-10-17"


def test_keys_that_were_changed_in_their_file_are_used_without_a_restart(
    store: AwsStore, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container's file of credentials is replaced, and the earlier key switched off."""
    store.put({"A": "1"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    text = "[default]\naws_access_key_id = {}\naws_secret_access_key = x\n"  # pragma: allowlist secret
    keys.write_text(text.format("EARLIER"))
    backend = aws(store)
    assert backend.load().values == {"A": "1"}
    faulty.fault = lambda method, path, headers: (
        refusal("UnrecognizedClientException") if "Credential=EARLIER/" in headers["Authorization"] else None
    )
    with pytest.raises(StoreDeniedError, match="does not know these credentials"):
        backend.load()
    keys.write_text(text.format("LATER"))
    assert backend.load().values == {"A": "1"}
    assert backend.save({"A": Change("2")}).values == {"A": "2"}


def test_closed_standard_streams_are_nobody_who_could_be_asked(
    store: AwsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put({"A": "1"})
    monkeypatch.setattr("sys.stdin", None)
    assert store.open().load().values == {"A": "1"}
