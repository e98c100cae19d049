"""Behaviour that only Azure Key Vault has."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.azure_keyvault import AzureBackend, decode_name, encode_name
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    ConfigurationError,
    InvalidSecretError,
    PartlyWrittenError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from src.utils.secrets.snapshot import PreviousValue, SecretMetadata
from tests.servers.keyvault import FailureError, KeyVault, Version

from .stores import AzureStore


@pytest.fixture
def store(keyvault_server: KeyVault) -> AzureStore:
    return AzureStore(keyvault_server)


def azure(store: AzureStore) -> AzureBackend:
    backend = store.open()
    assert isinstance(backend, AzureBackend)
    return backend


DAY = 86400
DENIED = FailureError(403, "Forbidden", "Caller is not authorized", "ForbiddenByRbac")


def newest(store: AzureStore, name: str) -> Version:
    return store.server.secrets[name][-1]


def open_without_list(store: AzureStore, *names: str) -> AzureBackend:
    """Open the vault as an identity that may do everything but list; it is told the names."""
    store.server.permissions -= {"list"}
    backend = open_backend(Settings(store.environ, names=names))
    assert isinstance(backend, AzureBackend)
    return backend


def deny(*names: str) -> Callable[[str, str], FailureError | None]:
    return lambda method, path: DENIED if any(path.lower().startswith(f"/secrets/{name}") for name in names) else None


def test_eleven_secrets_are_read_in_parallel(store: AzureStore) -> None:
    store.put({f"SECRET_{number}": str(number) for number in range(11)})
    at_once = 8
    all_there = threading.Barrier(at_once)
    requests = itertools.count()

    def wait_for_the_others(_method: str, path: str) -> None:
        # The vault answers the first eight reads when all have arrived. Reads one by one would never be answered.
        if path != "/secrets" and next(requests) < at_once:
            all_there.wait(10)

    store.server.fault = wait_for_the_others
    assert len(store.open().load().values) == 11
    assert len(store.server.requests) == 12


def test_more_secrets_than_a_page_holds_are_all_read(store: AzureStore) -> None:
    store.put({f"SECRET_{number}": str(number) for number in range(60)})
    assert len(store.open().load().values) == 60


def test_previous_values_need_a_request_only_if_there_are_any(store: AzureStore) -> None:
    store.open().save({"A": Change("1"), "B": Change("2")})
    store.open().save({"A": Change("3", previous_valid_until=None)})
    store.server.requests.clear()
    assert store.open().load().versions("A", "2030") == ["3", "1"]
    assert len(store.server.requests) == 1 + 2 + 1


def test_the_case_of_a_name_does_not_matter(store: AzureStore) -> None:
    store.server.put("Api-Key", "1")
    assert store.open().load().values == {"API_KEY": "1"}
    store.open().save({"API_KEY": Change("2")})
    assert list(store.server.secrets) == ["api-key"]


def test_other_secrets_and_tags_are_not_changed(store: AzureStore) -> None:
    store.server.put("somebody-elses", "theirs")
    store.server.put("ours", "1")
    store.server.secrets["ours"][-1].tags["team"] = "cctv"
    store.open().save({"OURS": Change("2")})
    assert len(store.server.secrets["somebody-elses"]) == 1
    assert store.server.secrets["ours"][-1].tags["team"] == "cctv"


def test_a_new_value_keeps_the_content_type_the_tags_and_a_future_expiry(store: AzureStore) -> None:
    expiry = int(time.time()) + 30 * DAY
    tags = {"team": "cctv", "previous-owner": "ops"}
    store.server.put("ours", "1", content_type="text/plain", tags=tags, exp=expiry)
    for value in "23":
        store.open().save({"OURS": Change(value, previous_valid_until=None)})
    version = newest(store, "ours")
    assert (version.value, version.content_type, version.attributes["exp"]) == ("3", "text/plain", expiry)
    assert version.tags.items() > tags.items()
    assert store.open().load().versions("OURS", "2030") == ["3", "2", "1"]
    assert "nbf" not in version.attributes


def test_a_new_value_does_not_take_over_an_expiry_that_has_passed(
    store: AzureStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.server.put("ours", "canary-1", exp=1735689600)
    store.server.put("other", "1", exp=1735689600)
    store.open().save({"OURS": Change("canary-2")})
    assert newest(store, "ours").attributes.get("exp") is None
    told = [record.message for record in caplog.records if "its new value" in record.message]
    assert told == ["OURS had expired on 2025-01-01 in Azure Key Vault; its new value has no expiry date"]
    assert "canary" not in caplog.text


@pytest.mark.parametrize("days", [-400, 400])
def test_a_new_value_is_valid_from_now_on_where_the_old_one_had_a_not_before(
    days: int, store: AzureStore, caplog: pytest.LogCaptureFixture
) -> None:
    before = int(time.time())
    store.server.put("ours", "1", nbf=before + days * DAY)
    store.open().save({"OURS": Change("2")})
    assert before <= newest(store, "ours").attributes["nbf"] <= time.time()
    assert ("OURS was not to be used before" in caplog.text) == (days > 0)


def test_a_new_value_of_a_disabled_secret_is_enabled_and_keeps_what_others_set(store: AzureStore) -> None:
    store.server.put("off", "1", enabled=False, content_type="text/plain", tags={"team": "cctv"})
    store.open().save({"OFF": Change("2")})
    version = newest(store, "off")
    assert (version.content_type, version.tags, version.attributes["enabled"]) == ("text/plain", {"team": "cctv"}, True)


def test_an_earlier_value_from_another_store_keeps_what_others_set(store: AzureStore) -> None:
    expiry = int(time.time()) + DAY
    store.server.put("ours", "1", content_type="text/plain", tags={"team": "cctv"}, exp=expiry)
    store.server.demands_expiry = True
    history = SecretMetadata("2026-01-01T00:00:00Z", [PreviousValue("0", "2026-01-01T00:00:00Z", None)])
    store.open().save({"OURS": Change("2", history=history)})
    earlier, version = store.server.secrets["ours"][-2:]
    assert (earlier.value, earlier.content_type, earlier.tags) == ("0", "text/plain", {"team": "cctv"})
    assert earlier.attributes["exp"] == version.attributes["exp"] == expiry
    assert store.open().load().versions("OURS", "2030") == ["2", "0"]


def test_a_recovered_secret_keeps_what_others_set(store: AzureStore) -> None:
    store.server.put("ours", "1", content_type="text/plain", tags={"team": "cctv"})
    store.server.put("other", "1")
    store.open().save({"OURS": Change(None)})
    azure(store).restore(["OURS"])
    store.open().save({"OURS": Change("2")})
    version = newest(store, "ours")
    assert (version.content_type, version.tags["team"]) == ("text/plain", "cctv")


def test_a_write_that_an_azure_policy_refuses_says_how_to_set_an_expiry_date(store: AzureStore) -> None:
    store.server.put("our-key", "1")
    store.server.demands_expiry = True
    with pytest.raises(StoreDeniedError, match="forbids writing OUR_KEY") as error:
        store.open().save({"OUR_KEY": Change("2")})
    assert "policy azure" in error.value.hint
    assert "set-attributes --vault-name localhost:" in error.value.hint
    assert "--name OUR-KEY --expires DATE" in error.value.hint
    newest(store, "our-key").attributes["exp"] = int(time.time()) + DAY
    store.open().save({"OUR_KEY": Change("2")})
    assert store.raw() == {"OUR_KEY": "2"}
    store.server.permissions -= {"set"}
    with pytest.raises(StoreDeniedError, match="denies writing OUR_KEY") as error:
        store.open().save({"OUR_KEY": Change("3")})
    assert "--expires" not in error.value.hint


def test_a_secret_with_too_many_tags_is_refused_before_anything_is_written(store: AzureStore) -> None:
    tags = {f"tag-{number}": "theirs" for number in range(14)}
    store.server.put("full", "1", tags=tags)
    store.open().save({"FULL": Change("2", previous_valid_until=None)})
    assert len(newest(store, "full").tags) == 15
    with pytest.raises(
        StoreError, match=r"FULL would have 16 tags in .*, 14 of them set by others; .* at most 15"
    ) as error:
        store.open().save({"A": Change("1"), "FULL": Change("3", previous_valid_until=None)})
    assert "Nothing was written" in error.value.hint
    assert store.raw() == {"FULL": "2"}


def test_without_the_list_permission_the_names_of_the_catalogue_are_read(store: AzureStore) -> None:
    store.put({"JWT_SECRET_KEY": "1", "SMTP_PASSWORD": "2", "NOT_OURS": "3"})  # pragma: allowlist secret
    store.server.permissions = frozenset({"get"})
    manager = SecretsManager(settings=Settings(store.environ))
    assert manager.get_secret("JWT_SECRET_KEY") == "1"
    assert manager.get_secret("SMTP_PASSWORD") == "2"
    assert manager.get_secret("TWILIO_TOKEN") is None
    manager.refresh()


def test_without_the_list_permission_earlier_values_are_read_too(store: AzureStore) -> None:
    store.open().save({"A": Change("1"), "B": Change("1")})
    store.open().save({"A": Change("2", previous_valid_until=None)})
    loaded = open_without_list(store, "A", "B", "MISSING").load()
    assert loaded.values == {"A": "2", "B": "1"}
    assert loaded.versions("A", "2030") == ["2", "1"]


def test_without_the_list_permission_names_are_read_in_parallel(store: AzureStore) -> None:
    names = [f"SECRET_{number}" for number in range(11)]
    store.put({name: name for name in names})
    at_once = 8
    all_there = threading.Barrier(at_once)
    requests = itertools.count()

    def wait_for_the_others(_method: str, path: str) -> None:
        if path != "/secrets" and next(requests) < at_once:
            all_there.wait(10)

    store.server.fault = wait_for_the_others
    assert open_without_list(store, *names).load().values == {name: name for name in names}
    assert len(store.server.requests) == 12


def test_a_list_that_is_throttled_first_and_denied_then_is_replaced_by_the_names(store: AzureStore) -> None:
    store.put({"A": "1"})
    throttled = [FailureError(429, "Throttled", "Too many requests", **{"Retry-After": "0"})]
    store.server.fault = lambda method, path: throttled.pop() if throttled else None
    assert open_without_list(store, "A").load().values == {"A": "1"}


def test_without_the_list_permission_a_vault_without_our_names_is_empty(store: AzureStore) -> None:
    store.put({"NOT_OURS": "1"})
    with pytest.raises(StoreEmptyError) as error:
        open_without_list(store, "A", "B").load()
    assert "make secrets" in error.value.hint


def test_without_any_permission_the_denial_of_the_list_is_reported(store: AzureStore) -> None:
    store.put({"A": "1"})
    store.server.permissions = frozenset()
    for names in (("A", "B"), ()):
        with pytest.raises(StoreDeniedError, match="denies listing secrets") as error:
            open_without_list(store, *names).load()
        assert "policy azure" in error.value.hint


def test_without_the_list_permission_a_forbidden_secret_only_fails_when_it_is_read(store: AzureStore) -> None:
    store.put({"A": "1", "THEIRS": "2"})
    store.server.fault = deny("theirs")
    values = open_without_list(store, "A", "THEIRS", "MISSING").load().values
    assert (values["A"], values.get("MISSING")) == ("1", None)
    with pytest.raises(StoreDeniedError, match="Azure Key Vault denies reading THEIRS"):
        values.get("THEIRS")


def test_without_the_list_permission_a_forbidden_secret_does_not_count_as_an_empty_vault(store: AzureStore) -> None:
    store.put({"THEIRS": "2"})
    store.server.fault = deny("theirs")
    values = open_without_list(store, "THEIRS", "MISSING").load().values
    with pytest.raises(StoreDeniedError, match="Azure Key Vault denies reading THEIRS"):
        values.get("THEIRS")


def test_without_the_list_permission_keys_of_certificates_are_not_read(store: AzureStore) -> None:
    store.put({"A": "1", "CERTIFICATE": "pem"})
    store.server.managed.add("certificate")
    assert open_without_list(store, "A", "CERTIFICATE").load().values == {"A": "1"}


def test_a_vault_that_cannot_be_listed_for_another_reason_is_not_read_by_name(store: AzureStore) -> None:
    store.put({"A": "1"})
    store.server.fault = lambda method, path: FailureError(401, "Unauthorized", "wrong tenant")
    with pytest.raises(StoreDeniedError, match="does not accept the credential"):
        open_without_list(store, "A").load()
    assert {path for _, path in store.server.requests} == {"/secrets"}


def test_without_the_list_permission_secrets_are_written_and_keep_what_others_set(store: AzureStore) -> None:
    store.server.put("a", "1", content_type="text/plain", tags={"team": "cctv"})
    store.server.put("not-in-the-catalogue", "1", tags={"team": "ops"})
    backend = open_without_list(store, "A", "B")
    planned_on = backend.load().revision
    changes = {"A": Change("2"), "B": Change("1"), "NOT_IN_THE_CATALOGUE": Change("2")}
    saved = backend.save(changes, expected_revision=planned_on)
    assert dict(saved.values) == store.raw() == {"A": "2", "B": "1", "NOT_IN_THE_CATALOGUE": "2"}
    assert saved.revision == backend.load().revision
    assert (newest(store, "a").content_type, newest(store, "a").tags["team"]) == ("text/plain", "cctv")
    assert newest(store, "not-in-the-catalogue").tags["team"] == "ops"
    backend.save({"NOT_IN_THE_CATALOGUE": Change(None)})
    assert store.raw() == {"A": "2", "B": "1"}


def test_without_the_list_permission_lost_tags_of_a_disabled_secret_are_reported(
    store: AzureStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.server.put("a", "1")
    store.server.put("off", "1", enabled=False, tags={"team": "cctv"})
    open_without_list(store, "A", "OFF").save({"OFF": Change("2")})
    assert store.raw()["OFF"] == "2"
    assert "OFF: its tags and dates cannot be read" in caplog.text


def test_without_the_list_permission_and_a_catalogue_the_error_names_both(store: AzureStore) -> None:
    store.put({"A": "1"})
    store.server.permissions -= {"list"}
    settings = Settings(store.environ, project_directory=store.environ["HOME"])
    with pytest.raises(StoreDeniedError, match=r"denies listing secrets.*The catalogue cannot be read") as error:
        open_backend(settings).load()
    assert "policy azure" in error.value.hint


def test_access_is_checked_without_the_list_permission(store: AzureStore) -> None:
    store.put({"A": "1"})
    assert open_without_list(store, "A").check_access(["A"]) == store.server.url


def test_a_disabled_secret_only_fails_when_it_is_read(store: AzureStore) -> None:
    store.put({"A": "1"})
    store.server.put("off", "2", enabled=False)
    values = store.open().load().values
    assert values["A"] == "1"
    with pytest.raises(StoreDeniedError, match="OFF is disabled in Azure Key Vault"):
        values.get("OFF")
    with pytest.raises(StoreDeniedError, match="OFF is disabled in Azure Key Vault"):
        values["OFF"]
    with pytest.raises(KeyError):
        values["MISSING"]
    store.open().save({"OFF": Change("3")})
    assert store.open().load().values["OFF"] == "3"


def test_a_forbidden_secret_only_fails_when_it_is_read(store: AzureStore) -> None:
    store.put({"A": "1", "THEIRS": "2"})
    denied = FailureError(403, "Forbidden", "Caller is not authorized", "ForbiddenByRbac")
    store.server.fault = lambda method, path: denied if "/theirs" in path else None
    values = store.open().load().values
    assert values["A"] == "1"
    with pytest.raises(StoreDeniedError, match="Azure Key Vault denies reading THEIRS"):
        values.get("THEIRS")


def test_an_expired_secret_is_used_with_a_warning(store: AzureStore, caplog: pytest.LogCaptureFixture) -> None:
    store.server.put("old", "1", exp=int(time.time()) - 86400)
    store.server.put("young", "2", nbf=int(time.time()) + 86400)
    with caplog.at_level(logging.WARNING):
        assert store.open().load().values == {"OLD": "1", "YOUNG": "2"}
    assert "OLD has expired on" in caplog.text
    assert "YOUNG is not to be used before" in caplog.text


def test_keys_of_certificates_are_not_read(store: AzureStore) -> None:
    store.put({"A": "1"})
    store.server.put("certificate", "pem")
    store.server.managed.add("certificate")
    assert store.open().load().values == {"A": "1"}


def test_a_deleted_name_can_be_recovered_or_purged(store: AzureStore) -> None:
    store.open().save({"A": Change("1"), "B": Change("2"), "C": Change("3")})
    store.open().save({"A": Change(None), "B": Change(None)})
    backend = azure(store)
    with pytest.raises(StoreDeletedError, match="Deleted in Azure Key Vault, but not gone") as writing:
        backend.save({"C": Change("4"), "A": Change("5")})
    with pytest.raises(StoreDeletedError) as checking:
        backend.check_access(["A"])
    assert writing.value.names == checking.value.names == ("A",)
    assert store.raw() == {"C": "3"}
    backend.restore(["A"])
    backend.purge(["B"])
    backend.save({"A": Change("5"), "B": Change("6")})
    assert store.raw() == {"A": "5", "B": "6", "C": "3"}


def test_a_conflict_is_explained_without_the_right_to_list_deleted_secrets(store: AzureStore) -> None:
    store.open().save({"A": Change("1"), "B": Change("2")})
    store.open().save({"A": Change(None)})
    denied = FailureError(403, "Forbidden", "Caller is not authorized", "ForbiddenByRbac")
    store.server.fault = lambda method, path: denied if path == "/deletedsecrets" else None
    with pytest.raises(StoreDeletedError) as error:
        store.open().save({"A": Change("3")})
    assert error.value.names == ("A",)


def test_short_throttling_is_retried_and_long_throttling_is_explained(store: AzureStore) -> None:
    store.put({"A": "1"})
    short = [FailureError(429, "Throttled", "Too many requests", **{"Retry-After": "1"}) for _ in range(2)]
    store.server.fault = lambda method, path: short.pop() if short else None
    assert store.open().load().values == {"A": "1"}
    store.server.fault = lambda method, path: FailureError(429, "Throttled", "no", **{"Retry-After": "3600"})
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"throttling.*it asks to wait 3600 s"):
        store.open().load()
    assert time.monotonic() - start < 5


def test_a_partial_write_names_what_is_written_and_a_second_run_completes_it(store: AzureStore) -> None:
    changes = {name: Change(name.lower()) for name in ("A", "B", "C")}
    store.put({"OTHER": "1"})
    broken = FailureError(500, "InternalError", "down")
    store.server.fault = lambda method, path: broken if (method, path) == ("PUT", "/secrets/B") else None
    with pytest.raises(PartlyWrittenError, match="written: A; not confirmed: B, C") as error:
        store.open().save(changes)
    assert "run the same command again" in error.value.hint
    store.server.fault = None
    store.open().save(changes)
    assert store.raw() == {"OTHER": "1", "A": "a", "B": "b", "C": "c"}
    assert len(store.server.secrets["a"]) == 1


def test_with_parallel_writers_each_secret_is_complete(store: AzureStore) -> None:
    values = {f"{writer}" * 1000 for writer in range(8)}
    backends = [store.open() for _ in values]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: pair[0].save({"A": Change(pair[1])}), zip(backends, values, strict=True)))
    assert store.raw()["A"] in values


def test_values_beyond_the_limits_are_refused_before_anything_is_written(store: AzureStore) -> None:
    with pytest.raises(StoreError, match="LARGE is 25601 bytes long; 25600 is the most"):
        store.open().save({"A": Change("1"), "LARGE": Change("x" * 25601)})
    with pytest.raises(InvalidSecretError, match="too long a name"):
        store.open().save({"A": Change("1"), "N" * 128: Change("1")})
    for number in range(11):
        store.open().save({"KEPT": Change(str(number), previous_valid_until=None)})
    with pytest.raises(StoreError, match="more than 10 earlier values"):
        store.open().save({"A": Change("1"), "KEPT": Change("11", previous_valid_until=None)})
    assert store.raw() == {"KEPT": "10"}


def test_without_any_credential_it_fails_within_seconds_and_says_what_was_tried(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name)
    # Only the credentials from programs and files of this machine, without the metadata address.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
    start = time.monotonic()
    with pytest.raises(StoreDeniedError, match=r"Azure authentication failed.*tried: .*AzureCliCredential"):
        store.open().load()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("url", ["http://x.vault.azure.net", "x.vault.azure.net", "https://x/secrets/y"])
def test_an_address_that_is_no_key_vault_is_refused(url: str, store: AzureStore) -> None:
    with pytest.raises(ConfigurationError, match="is not the address of a key vault"):
        store.open(AZURE_KEYVAULT_URL=url)


def test_a_server_that_is_no_key_vault_gets_no_token(store: AzureStore) -> None:
    store.put({"A": "1"})
    with pytest.raises(ConfigurationError, match="is no key vault of that name"):
        store.open(AZURE_KEYVAULT_VERIFY_CHALLENGE="").load()


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_any_name_has_an_encoding_that_reads_back(name: str) -> None:
    encoded = encode_name(name)
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
    assert decode_name(encoded) == name
    assert decode_name(encoded.lower()) == name


def test_a_foreign_name_that_looks_encoded_is_read_as_it_is() -> None:
    assert decode_name("hex--zz") == "HEX__ZZ"
    assert decode_name(encode_name("HEX__61")) == "HEX__61"
