"""What is wrong with a value: what is refused, what is asked about, and what is said."""

from __future__ import annotations

import dataclasses
import random
import secrets
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from src.ops.values.door import Given, admit
from src.ops.values.generate import generate_value
from src.ops.values.strength import examine
from src.utils.secrets.catalog import SecretSpec, load_catalog
from src.utils.secrets.errors import InvalidSecretError
from src.utils.secrets.judge import Objection, Origin, Verdict, all_names, judge
from tests.conftest import PROJECT
from tests.support.forms import IN_FULL

CATALOG = load_catalog()
NAMES = all_names(CATALOG.secrets)
KEY = "Hq3v9bT1xZ_7kLwPfN2sYdR8cJmGuE5aXo4tVi6QyBn0"  # pragma: allowlist secret


def spec(name: str) -> SecretSpec:
    found = CATALOG.find(name)
    assert found is not None
    return found


def verdicts(name: str, value: str, origin: Origin = Origin.FILE) -> list[tuple[Verdict, str]]:
    return [(found.verdict, found.fault) for found in judge(spec(name), value, origin, names=NAMES)]


def gravest(name: str, value: str, origin: Origin = Origin.FILE) -> Verdict | None:
    found = verdicts(name, value, origin)
    return found[0][0] if found else None


@pytest.mark.parametrize("name", [one.name for one in CATALOG.secrets if one.generated])
@pytest.mark.parametrize("value", ["changeme", "your-jwt-secret-key-here", "CHANGE ME", "change-me-change-me"])
def test_a_published_example_is_refused_for_what_is_generated(name: str, value: str) -> None:
    assert gravest(name, value) is Verdict.REFUSE


PUBLISHED = [
    line.partition("\t")[0]
    for line in (PROJECT / "src/utils/secrets/published_examples.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("# ")
]


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("name", [one.name for one in CATALOG.secrets if one.judged])
def test_no_published_value_comes_in_anywhere(name: str, origin: Origin) -> None:
    """At least 300 of them: refused, or asked about where nobody but a provider knows."""
    assert len(PUBLISHED) > 300
    harmless = [value for value in PUBLISHED if gravest(name, value, origin) in (None, Verdict.WARN)]
    assert harmless == []
    for value in PUBLISHED:
        with pytest.raises(InvalidSecretError) as caught:
            admit(CATALOG, [Given(spec(name), value, Origin.FILE, "old.env")])
        assert len(value) < 8 or value not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("value", ["changeme", "your_app_password", "password"])
def test_it_is_asked_about_where_only_a_provider_has_the_value(value: str) -> None:
    assert gravest("SMTP_PASSWORD", value) is Verdict.ASK


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET_KEY", "WEBHOOK_SECRET", "ENCRYPTION_KEY"])
def test_a_key_has_at_least_32_characters(name: str) -> None:
    assert gravest(name, KEY[:31]) is Verdict.REFUSE
    assert gravest(name, KEY[:32]) in (None, Verdict.WARN)


def test_what_is_shorter_than_a_generated_one_is_said_at_the_door_only() -> None:
    assert verdicts("DATABASE_PASSWORD", KEY[:25]) == [(Verdict.WARN, "short, 25 characters")]
    assert verdicts("DATABASE_PASSWORD", KEY[:25], Origin.STORE) == []
    assert verdicts("DATABASE_PASSWORD", KEY[:15], Origin.STORE) == [(Verdict.WARN, "short, 15 characters")]


ODD = [
    f"{KEY}\r",
    f"{KEY}\n",
    f"{KEY}\r\n",
    f"\ufeff{KEY}",
    f" {KEY}",
    f"{KEY} ",
    f"{KEY}\t",
    f"{KEY[:20]}\x1b{KEY[20:]}",
    f"{KEY[:20]}\u200b{KEY[20:]}",
    f"{KEY[:20]}\u00a0{KEY[20:]}",
    f"{KEY[:20]}\u00ad{KEY[20:]}",
    f"{KEY}\u2060",
    f"{KEY[:20]}\u202e{KEY[20:]}",
    f"{KEY[:20]}\u3164{KEY[20:]}",
    "${DB_PASS}",
    "${CACHE_PASS:-fallback}",
    "prefix-${DB_PASS}-and-a-long-suffix-of-characters",
    "$(cat /run/secrets/database_password_of_the_app)",
    "$DATABASE_PASSWORD_OF_THE_APPLICATION_HERE",
    "`cat /etc/the-password-of-the-application`",
    "ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=,tag:A==,type:str]",
    "encrypted:BDqDBibm4wsYqMpCjTQ6BsDHmMadg9K3dAt+Z9HPMfLE",
    "$ANSIBLE_VAULT;1.1;AES256",
    "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
    "-----BEGIN AGE ENCRYPTED FILE-----",
    "-----BEGIN PGP MESSAGE-----",
    "EJ[1:WGj2t4znULHT1IRveMEdvvNXqZzNBNMsJ5iZVy6Dvxs=:kA6ekF8ViYR5ZLeSmMXWsdLfWr7wn9qS]",
    "op://Private/database/password",
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cctv-AbCdEf",
    "@Microsoft.KeyVault(SecretUri=https://cctv.vault.azure.net/secrets/x)",
    "ref+vault://secret/data/cctv#/DATABASE_PASSWORD",
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b27kA",
    "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",  # pragma: allowlist secret
    "gAAAAABl" + KEY * 3,
    "/run/secrets/a_file_that_is_not_on_this_machine",
    f"SECRET_KEY={KEY}",
    f"export POSTGRES_PASSWORD={KEY}",
]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "DATABASE_PASSWORD", "SMTP_PASSWORD"])
def test_what_is_probably_not_the_value_itself_is_asked_about(name: str, value: str) -> None:
    assert Verdict.ASK in [verdict for verdict, _fault in verdicts(name, value)]


def test_a_path_is_asked_about_when_there_is_such_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "the password of the mail server.txt"
    assert gravest("SMTP_PASSWORD", str(path)) is None
    path.touch()
    assert gravest("SMTP_PASSWORD", str(path)) is Verdict.ASK
    monkeypatch.chdir(tmp_path)
    assert gravest("SMTP_PASSWORD", path.name) is Verdict.ASK
    assert gravest("SMTP_PASSWORD", path.name, Origin.STORE) is None


@pytest.mark.parametrize(
    ("value", "corrected"),
    [(f"{KEY}\r", KEY), (f"{KEY}\r\n", KEY), (f"\ufeff{KEY}", KEY), (f"  {KEY} ", KEY), (f"{KEY}\u200b", None)],
)
def test_a_correction_is_offered_where_it_is_certain(value: str, corrected: str | None) -> None:
    (found,) = [one for one in judge(spec("SMTP_PASSWORD"), value, Origin.FILE) if one.verdict is Verdict.ASK]
    assert found.corrected == corrected
    assert KEY not in repr(found)


def test_an_example_with_a_line_end_is_still_one() -> None:
    assert gravest("SECRET_KEY", "changeme\r\n") is Verdict.REFUSE


def test_a_certificate_ends_with_a_line_end() -> None:
    assert verdicts("SMTP_PASSWORD", "-----BEGIN X-----\nabc\n-----END X-----\n") == []


@pytest.mark.parametrize("value", ["root", "admin ", "${USER}", "changeme"])
def test_a_name_is_not_judged(value: str) -> None:
    assert verdicts("ADMIN_USERNAME", value) == []
    assert examine(spec("ADMIN_USERNAME"), value, Origin.TYPED, CATALOG) == []


def test_the_value_of_another_secret_is_said() -> None:
    found = judge(spec("REDIS_PASSWORD"), KEY, Origin.FILE, others={"DATABASE_PASSWORD": KEY, "REDIS_PASSWORD": KEY})
    assert [(one.verdict, one.text) for one in found] == [(Verdict.WARN, "has the same value as DATABASE_PASSWORD")]


def test_nothing_of_a_value_is_in_what_is_said() -> None:
    for value in ODD:
        for found in judge(spec("JWT_SECRET_KEY"), f"canary{value}canary", Origin.FILE, names=NAMES):
            assert "canary" not in repr(found) + found.text + found.fault + "".join(map(str, found.hints))


WORDS: list[str] = [word for word in FREQUENCY_LISTS["english_wikipedia"][:8000] if len(word) > 3]
CHARACTERS = string.ascii_letters + string.digits + string.punctuation
CHOICES = random.Random(20261128)
GENERATORS: dict[str, Callable[[], str]] = {
    "this project's": lambda: generate_value(spec("SECRET_KEY")),
    "pass": lambda: "".join(CHOICES.choice(CHARACTERS) for _ in range(25)),
    "KeePass": lambda: "".join(CHOICES.choice(string.ascii_letters + string.digits + "!#%+-_@=") for _ in range(20)),
    "hexadecimal": lambda: secrets.token_hex(32),
    "25 letters and digits": lambda: "".join(CHOICES.choice(string.ascii_letters + string.digits) for _ in range(25)),
    "several words": lambda: " ".join(CHOICES.choice(WORDS) for _ in range(6)),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_no_generated_value_is_refused_or_asked_about(kind: str) -> None:
    long = dataclasses.replace(spec("DATABASE_PASSWORD"), min_length=None)
    odd = [value for value in (GENERATORS[kind]() for _ in range(1000)) if _grave(judge(long, value, Origin.FILE))]
    assert odd == []


def test_none_of_many_values_of_this_project_is() -> None:
    for name in ("SECRET_KEY", "ENCRYPTION_KEY", "WEBHOOK_SECRET", "ADMIN_PASSWORD"):
        one = spec(name)
        for _ in range(25_000 if IN_FULL else 2_500):
            assert not judge(one, generate_value(one), Origin.FILE, names=NAMES)


def _grave(found: list[Objection]) -> bool:
    return any(one.verdict is not Verdict.WARN for one in found)


# --- The door --------------------------------------------------------------------------------------------------------


def given(name: str, value: str, origin: Origin = Origin.IMPORT) -> Given:
    return Given(spec(name), value, origin, "old.env")


def test_all_refusals_are_named_at_once() -> None:
    values = [given("SECRET_KEY", "changeme"), given("JWT_SECRET_KEY", "secret"), given("SMTP_PASSWORD", f"{KEY}\r")]
    values.insert(2, given("WEBHOOK_SECRET", KEY[:31]))
    with pytest.raises(InvalidSecretError) as caught:
        admit(CATALOG, values)
    assert str(caught.value) == (
        "SECRET_KEY, JWT_SECRET_KEY in old.env are published examples that everybody can know; "
        "WEBHOOK_SECRET in old.env has 31 characters; use at least 32; "
        "SMTP_PASSWORD in old.env begins or ends with a line end"
    )
    assert "--accept SMTP_PASSWORD" in caught.value.hint


def test_what_is_accepted_by_name_is_taken_as_it_is() -> None:
    value = f"{KEY}\r"
    assert admit(CATALOG, [given("SMTP_PASSWORD", value)], accepted=["SMTP_PASSWORD"]).values == {
        "SMTP_PASSWORD": value
    }
    with pytest.raises(InvalidSecretError):
        admit(CATALOG, [given("SECRET_KEY", "changeme")], accepted=["SECRET_KEY"])


def test_a_person_can_correct_take_or_refuse_it() -> None:
    asked: list[str] = []

    def ask(_spec: object, objection: Objection) -> bool:
        asked.append(objection.fault)
        return True

    assert admit(CATALOG, [given("SMTP_PASSWORD", f" {KEY}\r\n")], ask=ask).values == {"SMTP_PASSWORD": KEY}
    assert asked == ["a line end at an end", "a space at an end"]
    kept = admit(CATALOG, [given("SMTP_PASSWORD", f"{KEY}\r")], ask=lambda *_: False)
    assert kept.values == {"SMTP_PASSWORD": f"{KEY}\r"}
    with pytest.raises(InvalidSecretError):
        admit(CATALOG, [given("SMTP_PASSWORD", "${X}")], ask=lambda *_: False)


def test_an_example_that_nobody_needs_is_left_out_of_an_import() -> None:
    admitted = admit(CATALOG, [given("SMTP_PASSWORD", "your_app_password"), given("REDIS_PASSWORD", KEY)])
    assert (admitted.values, admitted.left_out) == ({"REDIS_PASSWORD": KEY}, ["SMTP_PASSWORD"])
    with pytest.raises(InvalidSecretError, match="looks like a published example"):
        admit(CATALOG, [given("SMTP_PASSWORD", "your_app_password", Origin.FILE)])


def test_a_weak_one_is_taken_and_said() -> None:
    admitted = admit(CATALOG, [given("ADMIN_PASSWORD", "charlotte1987")])
    assert admitted.values
    assert admitted.warnings[0].startswith("ADMIN_PASSWORD is weak.")
