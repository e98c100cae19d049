"""Settings, and the NAME / NAME_FILE convention."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.ops.store_kinds import all_kinds
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import CatalogError, ConfigurationError
from src.utils.secrets.settings import CREDENTIALS, SecretsBackend, Settings, merge_dotenv, read_variable


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("file", SecretsBackend.FILE),
        ("encrypted_file", SecretsBackend.FILE),
        ("aws", SecretsBackend.AWS),
        ("aws_secrets_manager", SecretsBackend.AWS),
        ("vault", SecretsBackend.VAULT),
        ("hashicorp_vault", SecretsBackend.VAULT),
        ("azure", SecretsBackend.AZURE),
        ("azure_keyvault", SecretsBackend.AZURE),
        ("env", SecretsBackend.ENV),
        ("Environment", SecretsBackend.ENV),
    ],
)
def test_every_name_of_a_store_chooses_it(name: str, backend: SecretsBackend) -> None:
    assert Settings({"SECRETS_BACKEND": name}).backend is backend


def test_without_a_setting_the_store_is_the_environment() -> None:
    assert Settings({}).backend is SecretsBackend.ENV


def test_an_unknown_store_is_an_error_that_lists_the_five() -> None:
    with pytest.raises(ConfigurationError, match="SECRETS_BACKEND is not a known store") as caught:
        Settings({"SECRETS_BACKEND": "s3"})
    assert all(backend.value in caught.value.hint for backend in SecretsBackend)


@pytest.mark.parametrize("text", ["five", "-1", "nan", "inf"])
def test_a_cache_time_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="SECRETS_CACHE_TTL"):
        Settings({"SECRETS_CACHE_TTL": text})


def test_the_secrets_file_is_relative_to_the_project() -> None:
    assert Settings({}, project_directory="/p").file_path == "/p/config/secrets.enc"
    assert Settings({"SECRETS_FILE_PATH": "/x/y.enc"}, project_directory="/p").file_path == "/x/y.enc"


def test_a_variable_is_read_from_itself_or_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("from a file\n")
    assert read_variable({"NAME": "itself"}, "NAME") == "itself"
    assert read_variable({"NAME_FILE": str(file)}, "NAME") == "from a file"
    assert read_variable({}, "NAME") is None


def test_an_empty_variable_or_file_means_not_set(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_variable({"NAME": "", "NAME_FILE": ""}, "NAME") is None
    assert read_variable({"NAME_FILE": str(tmp_path / "empty")}, "NAME") is None
    assert read_variable({"NAME": "", "NAME_FILE": str(tmp_path / "empty")}, "NAME") is None


def test_a_files_value_loses_exactly_one_trailing_newline(tmp_path: Path) -> None:
    (tmp_path / "value").write_text(" two \n\n")
    assert read_variable({"NAME_FILE": str(tmp_path / "value")}, "NAME") == " two \n"


def test_a_variable_and_its_file_both_set_is_an_error_without_the_value() -> None:
    with pytest.raises(ConfigurationError, match="NAME and NAME_FILE are both set") as caught:
        read_variable({"NAME": "hunter2hunter2", "NAME_FILE": "/x"}, "NAME")
    assert "hunter2" not in str(caught.value) + caught.value.hint


def _directory(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def _large(path: Path) -> None:
    path.write_bytes(b"x" * (1024 * 1024 + 1))


def _missing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_directory, "not a regular file"),
        (_fifo, "not a regular file"),
        (_binary, "not UTF-8"),
        (_large, "larger than 1 MiB"),
        (_missing, "No such file"),
    ],
)
@pytest.mark.timeout(10)  # reading must not wait for the writer of a FIFO
def test_a_value_file_that_cannot_hold_a_value_is_refused(make: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "value"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_variable({"NAME_FILE": str(path)}, "NAME")
    assert "NAME_FILE" in str(caught.value)
    assert caught.value.hint


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a usable path"):
        read_variable({"NAME_FILE": "a\0b"}, "NAME")


def test_the_environment_overrides_a_dotenv_file() -> None:
    assert merge_dotenv({"A": "shell"}, {"A": "file", "B": "file"}) == {"A": "shell", "B": "file"}


def test_an_empty_variable_does_not_hide_a_line() -> None:
    assert merge_dotenv({"A": ""}, {"A": "file", "C": None}) == {"A": "file"}


@pytest.mark.parametrize("exported", ["SECRETS_MASTER_KEY", "SECRETS_MASTER_KEY_FILE", "SECRETS_MASTER_KEY_COMMAND"])
def test_an_exported_master_key_hides_every_master_key_line(exported: str) -> None:
    lines = {"SECRETS_MASTER_KEY": "line", "SECRETS_MASTER_KEY_FILE": "line"}
    assert merge_dotenv({exported: "shell"}, lines) == {exported: "shell"}


def test_an_exported_value_hides_the_line_with_its_file() -> None:
    assert merge_dotenv({"TOKEN": "shell"}, {"TOKEN_FILE": "/line"}) == {"TOKEN": "shell"}
    assert merge_dotenv({"TOKEN_FILE": "/shell"}, {"TOKEN": "line"}) == {"TOKEN_FILE": "/shell"}


def test_a_dotenv_file_never_runs_a_program_for_the_key() -> None:
    assert merge_dotenv({}, {"SECRETS_MASTER_KEY_COMMAND": "touch /tmp/x"}) == {}


def test_a_key_among_systemds_credentials_hides_the_line(tmp_path: Path) -> None:
    (tmp_path / "secrets_master_key").write_text("key")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert merge_dotenv(environ, {"SECRETS_MASTER_KEY_FILE": "/line"}) == environ


def test_the_known_names_are_those_given_or_those_of_the_catalogue(tmp_path: Path) -> None:
    assert Settings({}, names=["A", "B"]).known_names() == ("A", "B")
    assert Settings({}).known_names() == tuple(load_catalog().names)
    with pytest.raises(CatalogError, match="The catalogue cannot be read"):
        Settings({}, project_directory=str(tmp_path)).known_names()


def test_settings_do_not_show_the_environment() -> None:
    assert "hunter2" not in repr(Settings({"SECRETS_BACKEND": "env", "X": "hunter2"}))


@pytest.mark.parametrize(
    ("environ", "lines"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, {"AWS_REGION": "us-east-1"}),
        ({"AWS_ACCESS_KEY_ID": "key"}, {"AWS_PROFILE": "other"}),
        ({"VAULT_TOKEN": "token"}, {"VAULT_TOKEN_FILE": "/file", "VAULT_ROLE_ID": "role"}),
        ({"VAULT_ROLE_ID": "role"}, {"VAULT_TOKEN_FILE": "/file"}),
    ],
)
def test_a_way_to_sign_in_from_the_environment_hides_the_ones_in_the_file(
    environ: dict[str, str], lines: dict[str, str | None]
) -> None:
    assert merge_dotenv(environ, lines) == environ


def test_a_secret_id_from_the_environment_goes_with_the_role_in_the_file() -> None:
    merged = merge_dotenv({"VAULT_SECRET_ID": "id"}, {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID_FILE": "/file"})
    assert merged == {"VAULT_SECRET_ID": "id", "VAULT_ROLE_ID": "role"}


def test_the_credentials_of_every_store_are_known() -> None:
    """The list is for programs that get no credential; each store says by itself which settings are some."""
    known = {name for kind in all_kinds() for name in kind.secret_settings}
    assert known <= set(CREDENTIALS)


def test_the_names_of_openbao_s_tools_count_as_those_of_the_shell_and_vault_s_outrank_them() -> None:
    lines = {"VAULT_ADDR": "https://file", "VAULT_TOKEN_FILE": "/file"}
    merged = merge_dotenv({"BAO_ADDR": "https://shell", "BAO_TOKEN": "shell"}, lines)
    assert (merged["VAULT_ADDR"], merged["VAULT_TOKEN"]) == ("https://shell", "shell")
    assert "VAULT_TOKEN_FILE" not in merged
    vault = Settings({"SECRETS_BACKEND": "vault", "BAO_ADDR": "https://bao", "VAULT_ADDR": "https://vault"})
    assert vault.environ["VAULT_ADDR"] == "https://vault"
    # Compose sets what is not to count to nothing.
    blank = Settings({"SECRETS_BACKEND": "vault", "BAO_TOKEN": "host's", "VAULT_TOKEN": ""})
    assert not blank.environ["VAULT_TOKEN"]


def test_the_environment_store_follows_the_environment_whatever_else_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAO_ADDR", "https://bao")
    settings = Settings()
    monkeypatch.setenv("A_NEW_ONE", "later")
    assert settings.environ["A_NEW_ONE"] == "later"
