"""The catalogue, and its possible mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from src.ops.generated.render import render_all
from src.ops.values.generate import generate_value
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.errors import CatalogError
from tests.conftest import PROJECT

GOOD = """
version = 1
[application]
name = "Test"
slug = "test"
[[feature]]
name = "mail"
question = "Mail?"
[[secret]]
name = "KEY"
group = "G"
description = "D"
input = "generate"
length = 32
docker_file = "key.txt"
previous_values = "grace"
[[secret]]
name = "MAIL"
group = "G"
description = "D"
input = "ask"
feature = "mail"
docker_file = "mail.txt"
"""


def write(folder: Path, text: str) -> str:
    path = folder / "catalog.toml"
    path.write_text(text)
    return str(path)


def test_a_good_catalogue_is_read(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, GOOD))
    assert catalog.names == ["KEY", "MAIL"]
    assert catalog.required_names == ["KEY"]
    assert catalog.find("MAIL") is not None
    assert catalog.find("OTHER") is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("version = 1", "version = 3", "version: must be 1 or 2"),
        ("version = 1", "", "version: must be 1 or 2"),
        ("version = 1", "version = 1\nvresion = 1", "unknown key vresion"),
        ("version = 1", "version = = 1", "not valid TOML"),
        ("[application]", "[app]", "unknown key app"),
        ('slug = "test"', 'slug = "../x"', r"slug '\.\./x' must match"),
        ('slug = "test"', "", "slug must be one line of text"),
        ('slug = "test"', 'slug = "test"\nicon = "x"', r"\[application\]: unknown key icon"),
        ('name = "KEY"', 'name = "key"', "must match"),
        ('name = "KEY"', 'name = "KEY_FILE"', "KEY_FILE: a name may not"),
        ('name = "KEY"', 'name = "SECRETS_X"', "SECRETS_X: a name may not"),
        ('name = "KEY"', 'name = "MAIL"', "MAIL: MAIL is already used by MAIL"),
        ("length = 32", "", "KEY: length goes with"),
        ("length = 32", "length = 8", "KEY: length must be a whole number from 16 to 4096"),
        ("length = 32", "length = 5000", "length must be"),
        ("length = 32", 'length = "32"', "length must be"),
        ("length = 32", "length = true", "length must be"),
        ("length = 32", 'length = 32\ndefault = "x"', "KEY: default goes with input 'ask'"),
        ("length = 32", 'length = 32\nfeature = "mail"', "KEY: a secret of a feature is asked for"),
        ("length = 32", "length = 32\nrotation_days = 0", "rotation_days must be"),
        ("length = 32", "length = 32\nlenght = 32", r"\[\[secret\]\] KEY: unknown key lenght"),
        ("length = 32", 'length = 32\nconsumers = "app"', "consumers must be a list"),
        ('input = "generate"', 'input = "invent"', "input must be one of: generate, ask"),
        ('"grace"', '"always"', "previous_values must be one of"),
        ('docker_file = "key.txt"', 'docker_file = "../key.txt"', "docker_file '../key.txt' must match"),
        ('docker_file = "key.txt"', 'docker_file = "/etc/key.txt"', "must match"),
        ('docker_file = "key.txt"', 'docker_file = ".key.txt"', "must match"),
        ('docker_file = "key.txt"', 'docker_file = "mail.txt"', "MAIL: mail.txt is already used by KEY"),
        ('description = "D"', 'description = "a\\nb"', "description must be one line"),
        ('description = "D"', 'description = "D"\nwhy = ""', "why must be one line of text"),
        ('feature = "mail"', 'feature = "sms"', "MAIL: feature 'sms' is not one of: mail"),
        ('feature = "mail"', "", r"\[\[feature\]\] mail: no secret belongs to it"),
        ('question = "Mail?"', "", "question must be"),
        ("[[feature]]", '[[feature]]\nname = "mail"\nquestion = "?"\n[[feature]]', "duplicate name"),
    ],
)
def test_a_fault_is_reported_with_file_and_entry(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(CatalogError, match=complaint) as caught:
        load_catalog(path)
    assert path in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('version = 1\nsecret = 5\n[application]\nname = "x"\nslug = "x"', "secret: must be a list"),
        ('version = 1\nsecret = [5]\n[application]\nname = "x"\nslug = "x"', r"\[\[secret\]\] 1: is missing"),
        ('version = 1\n[application]\nname = "x"\nslug = "x"', r"\[\[secret\]\]: there is none"),
        ("version = 1\n", r"\[application\]: is missing"),
    ],
)
def test_the_wrong_shape_is_reported(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=complaint):
        load_catalog(write(tmp_path, text))


def test_a_missing_catalogue_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read: No such file"):
        load_catalog(str(tmp_path / "none.toml"))


def test_bytes_that_are_no_text_are_reported(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match="not valid TOML"):
        load_catalog(str(tmp_path / "catalog.toml"))


def test_generated_values_have_exactly_the_catalogues_length() -> None:
    for spec in load_catalog().secrets:
        if spec.generated:
            values = {generate_value(spec) for _ in range(50)}
            assert len(values) == 50
            assert all(re.fullmatch(rf"[A-Za-z0-9_-]{{{spec.length}}}", value) for value in values)


def test_the_files_that_come_from_the_catalogue_are_up_to_date() -> None:
    for name, text in render_all(load_catalog()).items():
        assert (PROJECT / name).read_text() == text, f"{name} is stale: run `make catalog`"


def _services(name: str) -> dict[str, dict[str, list[object]]]:
    services = yaml.safe_load((PROJECT / name).read_text())["services"]
    assert isinstance(services, dict)
    return services


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-stack.yml"])
def test_every_service_gets_the_secrets_that_the_catalogue_gives_it_and_no_others(name: str) -> None:
    expected: dict[str, set[str]] = {}
    for spec in load_catalog().secrets:
        for service in spec.consumers:
            expected.setdefault(service, set()).add(spec.mount_name)
            if service == "app" and spec.previous_file:
                expected[service].add(spec.previous_file.removesuffix(".json"))
    given = {
        service: {str(entry["source"] if isinstance(entry, dict) else entry) for entry in content.get("secrets", [])}
        for service, content in _services(name).items()
    }
    assert given == expected


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-stack.yml"])
def test_the_app_gets_every_secret_as_a_file_and_none_as_a_value(name: str) -> None:
    environment = _services(name)["app"]["environment"]
    assert isinstance(environment, dict)
    for spec in load_catalog().secrets:
        assert environment[f"{spec.name}_FILE"] == f"/run/secrets/{spec.mount_name}"
        assert spec.name not in environment


def test_compose_lists_each_file_that_is_written() -> None:
    files = {
        str(entry["file"]).rsplit("/", 1)[1]
        for entry in yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["secrets"].values()
    }
    catalog = load_catalog()
    written = {spec.docker_file for spec in catalog.secrets} | {
        s.previous_file for s in catalog.secrets if s.previous_file
    }
    assert files == written


# --- Version 2 -------------------------------------------------------------------------------------------------------

SECOND = GOOD.replace("version = 1", "version = 2").replace(
    "length = 32",
    'length = 32\nmin_length = 20\njudged = false\naliases = ["APP_KEY", "OLD_KEY"]\nfrom_url = ["KEY_URL"]',
)


def test_version_2_says_how_a_value_is_judged_and_where_else_it_is_kept(tmp_path: Path) -> None:
    spec = load_catalog(write(tmp_path, SECOND)).find("KEY")
    assert spec is not None
    assert (spec.min_length, spec.judged, spec.aliases, spec.from_url) == (
        20,
        False,
        ("APP_KEY", "OLD_KEY"),
        ("KEY_URL",),
    )
    other = load_catalog(write(tmp_path, SECOND)).find("MAIL")
    assert other is not None
    assert (other.min_length, other.judged, other.aliases, other.from_url) == (None, True, (), ())


@pytest.mark.parametrize("name", ["app-key", "APP_KEY", "key_url", "key", "OLD_KEY_FILE"])
def test_a_secret_is_found_under_its_other_names(name: str, tmp_path: Path) -> None:
    spec = load_catalog(write(tmp_path, SECOND)).find_similar(name)
    assert spec is not None
    assert spec.name == "KEY"


def test_in_version_1_a_secret_with_a_default_is_not_judged(tmp_path: Path) -> None:
    text = GOOD.replace('input = "generate"\nlength = 32', 'input = "ask"\ndefault = "admin"')
    for version, judged in (("1", False), ("2", True)):
        spec = load_catalog(write(tmp_path, text.replace("version = 1", f"version = {version}"))).find("KEY")
        assert spec is not None
        assert spec.judged is judged


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("version = 2", "version = 1", "unknown key aliases, from_url, judged, min_length"),
        ("min_length = 20", "min_length = 33", "min_length is more than length"),
        ("min_length = 20", "min_length = 0", "min_length must be a whole number"),
        ("judged = false", 'judged = "no"', "judged must be true or false"),
        ('"OLD_KEY"', '"old key"', "aliases must be a list of names"),
        ('from_url = ["KEY_URL"]', 'from_url = "KEY_URL"', "from_url must be a list of names"),
        ('"OLD_KEY"', '"MAIL"', "MAIL is already used by KEY"),
        ('"OLD_KEY"', '"APP_KEY"', "APP_KEY is already used by KEY"),
    ],
)
def test_a_mistake_in_version_2_is_named(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=complaint):
        load_catalog(write(tmp_path, SECOND.replace(old, new)))
