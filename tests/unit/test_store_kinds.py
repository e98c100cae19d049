"""Each kind of store describes itself completely: what is asked, named and allowed of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.store_kinds import all_kinds, kind_of
from src.ops.store_kinds.base import Role, StoreKind
from src.ops.store_kinds.named_stores import parse_store_name
from src.utils.secrets.command import spell
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend
from tests.conftest import PROJECT

KINDS = all_kinds()
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.short_name)
with_place = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if len(kind.reference_forms) > 1], ids=lambda kind: kind.short_name
)


def deployment_of(environment: str = "production", **environ: str) -> Deployment:
    return Deployment.locate(project_directory=str(PROJECT), environment=environment, environ=environ)


def test_the_first_five_lines_of_the_menu_stay_where_they_are() -> None:
    assert [kind.short_name for kind in KINDS[:5]] == ["file", "aws", "vault", "azure", "env"]


@every_kind
def test_a_kind_has_its_own_file_its_backend_and_a_line_in_the_menu(kind: StoreKind[Any]) -> None:
    assert kind_of(kind.backend) is kind
    assert kind.note
    assert kind.title
    assert callable(importlib.import_module(f"src.utils.secrets.backends.{kind.name}").open_backend)


@every_kind
def test_a_setting_that_is_asked_for_says_why(kind: StoreKind[Any]) -> None:
    for setting in kind.settings:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", setting.name)
        if setting.question:
            assert setting.why.endswith(".")
            assert setting.question.endswith((":", "?"))
        assert not (setting.is_secret and setting.says_where)


@every_kind
def test_no_secret_is_kept_in_the_settings_file(kind: StoreKind[Any]) -> None:
    assert not set(kind.kept_settings) & set(kind.secret_settings)


@with_place
def test_a_reference_names_the_settings_that_say_where(kind: StoreKind[Any]) -> None:
    _, form = kind.reference_forms
    place = form.partition(":")[2].replace("PATH", "/some/path" if kind.has_master_key else "PATH")
    answers = kind.parse_place(place)
    assert set(answers) <= set(kind.place_settings)
    reference = parse_store_name(f"{kind.short_name}:{place}", deployment_of())
    assert reference.kind is kind
    assert {name: reference.deployment.variables()[name] for name in answers} == answers


@pytest.mark.parametrize("text", ["aws:", "aws:only-a-region", "vault:/x", "vault:secret/", "env:x", "nosuch:a/b"])
def test_a_reference_of_another_form_is_refused_and_not_repeated(text: str) -> None:
    if text == "aws:":
        assert parse_store_name(text, deployment_of()).kind.short_name == "aws"
        return
    with pytest.raises(ConfigurationError) as caught:
        parse_store_name(text, deployment_of())
    assert text not in f"{caught.value} {caught.value.hint}"
    assert "Use " in caught.value.hint


@every_kind
def test_environments_do_not_share_a_default_place(kind: StoreKind[Any]) -> None:
    name = kind.backend.place_setting
    if not name:
        return
    assert name in kind.place_settings
    places = [deployment_of(environment).variables()[name] for environment in ("production", "staging", "test")]
    assert len(set(places)) == 3


@every_kind
def test_a_policy_is_there_where_the_kind_says_so(kind: StoreKind[Any]) -> None:
    deployment = deployment_of(AZURE_KEYVAULT_URL="https://name.vault.azure.net")
    if kind.has_policy:
        assert len({kind.policy(deployment, role, {}) for role in Role}) > 1
        return
    with pytest.raises(ConfigurationError):
        kind.policy(deployment, Role.APP, {})


def test_only_a_kind_itself_is_named_in_the_code() -> None:
    """A branch for one store elsewhere is what the next store breaks."""
    naming = re.compile(r"SecretsBackend\.(AWS|VAULT|AZURE)\b")
    found = [
        str(path.relative_to(PROJECT))
        for path in sorted(Path(PROJECT, "src/ops").rglob("*.py"))
        if path.parent.name != "store_kinds" and naming.search(path.read_text())
    ]
    assert found == []


def test_every_backend_has_a_kind() -> None:
    assert [kind.backend for kind in KINDS] == list(SecretsBackend)


@every_kind
def test_a_store_that_keeps_what_was_removed_says_how_to_delete_it(kind: StoreKind[Any]) -> None:
    staging = deployment_of("staging", AWS_REGION="eu-central-1", AZURE_KEYVAULT_URL="https://ours.vault.azure.net")
    typed = [spell(hint) for hint in kind.erase_hints(staging, ["SECRET_KEY"])]
    expected = {
        "aws": "delete-secret --secret-id cctv-face-detection-staging --region eu-central-1",
        "vault": "vault kv metadata delete -mount=secret cctv-staging",
        "azure": "az keyvault secret purge --vault-name ours --name SECRET-KEY",
    }
    assert [text in typed[-1] for text in [expected.get(kind.short_name)] if text] == [True] * bool(typed)
    assert bool(typed) == (kind.short_name in expected)
