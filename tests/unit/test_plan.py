"""The plan of a set-up, before anything is written."""

from __future__ import annotations

import pytest

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import Origin, Plan, make_plan
from src.ops.values.strength import weakness
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import InvalidSecretError
from src.utils.secrets.snapshot import utc_now

CATALOG = load_catalog()


def origins(plan: Plan) -> dict[str, str]:
    return {planned.spec.name: planned.origin.value for planned in plan.secrets}


def test_a_first_plan_has_every_required_secret_and_skips_the_optional_ones() -> None:
    plan = make_plan(CATALOG, {}, GivenValues())
    assert set(plan.values()) == set(CATALOG.required_names)
    assert plan.values()["ADMIN_USERNAME"] == "admin"
    assert origins(plan)["TWILIO_SID"] == "skipped"
    assert {name for name, origin in origins(plan).items() if origin == "generated"} == {
        spec.name for spec in CATALOG.secrets if spec.generated
    }


def test_existing_values_are_kept_and_change_nothing() -> None:
    existing = make_plan(CATALOG, {}, GivenValues()).values() | {"OTHER": "x"}
    plan = make_plan(CATALOG, existing, GivenValues())
    assert plan.changes() == {}
    assert plan.unknown_names == ("OTHER",)


def test_an_import_fills_what_is_missing_and_replaces_only_when_told() -> None:
    existing = {"SECRET_KEY": "there"}
    imported = {"SECRET_KEY": "imported", "REDIS_PASSWORD": "imported"}
    kept = make_plan(CATALOG, existing, GivenValues(imported=imported))
    assert kept.values()["SECRET_KEY"] == "there"
    assert kept.find("REDIS_PASSWORD").origin is Origin.IMPORTED
    replaced = make_plan(CATALOG, existing, GivenValues(imported=imported, replace_by_import=True))
    assert replaced.values()["SECRET_KEY"] == "imported"
    assert replaced.find("SECRET_KEY").replaces


def test_a_typed_value_overrides_an_import_and_the_stored_value() -> None:
    plan = make_plan(CATALOG, {"SECRET_KEY": "a"}, GivenValues(typed={"SECRET_KEY": "b"}, imported={"SECRET_KEY": "c"}))
    assert (plan.find("SECRET_KEY").origin, plan.values()["SECRET_KEY"]) == (Origin.TYPED, "b")


def test_typing_the_stored_value_keeps_it() -> None:
    plan = make_plan(CATALOG, {"SECRET_KEY": "a"}, GivenValues(typed={"SECRET_KEY": "a"}))
    assert plan.find("SECRET_KEY").origin is Origin.KEPT


def test_a_rotated_value_is_new_and_the_previous_one_expires_as_the_catalogue_says() -> None:
    existing = make_plan(CATALOG, {}, GivenValues()).values()
    names = {"JWT_SECRET_KEY", "ENCRYPTION_KEY", "WEBHOOK_SECRET"}
    plan = make_plan(CATALOG, existing, GivenValues(regenerated=names))
    changes = plan.changes()
    assert set(changes) == names
    assert all(changes[name].value != existing[name] for name in names)
    assert changes["JWT_SECRET_KEY"].previous_valid_until is not None
    assert changes["JWT_SECRET_KEY"].previous_valid_until > utc_now()
    assert changes["ENCRYPTION_KEY"].previous_valid_until is None
    assert changes["WEBHOOK_SECRET"].previous_valid_until == ""


def test_a_feature_with_half_its_secrets_is_refused() -> None:
    with pytest.raises(InvalidSecretError, match="TWILIO_SID is set, but TWILIO_TOKEN is not") as caught:
        make_plan(CATALOG, {}, GivenValues(typed={"TWILIO_SID": "x"}))
    assert caught.value.hint == "Give the missing one: --set-file TWILIO_TOKEN=PATH"


def test_a_plan_shows_no_value() -> None:
    plan = make_plan(CATALOG, {}, GivenValues(typed={"SMTP_PASSWORD": "canary-4711"}))
    assert "canary" not in repr(plan) + repr(GivenValues(typed={"A": "canary"})) + repr(plan.changes())


@pytest.mark.parametrize(
    "password", ["short", "password1234", "administrator", "aaaaaaaaaaaaaaaa", "qwertyuiop123", "a\tbcdefghijklmnop"]
)
def test_a_weak_password_is_explained(password: str) -> None:
    assert weakness(password)


@pytest.mark.parametrize("password", ["correct horse battery staple", "tr0ub4dor&3-xylophon", "ü" + "zR9!kq" * 30])
def test_a_strong_password_is_accepted(password: str) -> None:
    assert weakness(password) is None


def test_the_users_name_makes_a_password_weak() -> None:
    assert weakness("cctvfacedetection", ["cctvfacedetection"])
