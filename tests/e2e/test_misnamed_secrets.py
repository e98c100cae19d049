"""Values in a store under names that are nearly right: what is said, and what puts them under the right one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.ops.values.near_names import near_names
from src.utils.secrets.catalog import load_catalog
from tests.conftest import Project
from tests.servers.keyvault import KeyVault
from tests.support.commands import error_of, manage
from tests.support.files import write_read_only
from tests.support.terminal import Terminal

VALUE = "the value under the wrong name 4711"  # pragma: allowlist secret


def put(project: Project, values: dict[str, str | None]) -> None:
    """Change the encrypted file as a program does that knows no catalogue; ``None`` takes a name out."""
    content = project.decrypt()
    present: dict[str, str] = content["secrets"]  # type: ignore[assignment]
    for name, value in values.items():
        if value is None:
            del present[name]
        else:
            present[name] = value
    key = project.key_file.read_text().strip()
    write_read_only(project.secrets_file, Fernet(key).encrypt(json.dumps(content).encode()))
    project.secrets_file.with_suffix(".enc.sum").unlink(missing_ok=True)


def doctor(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> list[dict[str, object]]:
    done = project.run("manage_secrets.py", "doctor", "--json", *arguments, environ=environ)
    assert VALUE not in done.stdout + done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def commands_of(finding: dict[str, object]) -> list[str]:
    commands: list[str] = finding["commands"]  # type: ignore[assignment]
    return commands


def type_in(project: Project, command: object, answer: str = "") -> int:
    assert isinstance(command, str)
    terminal = Terminal(["bash", "-c", command], environ=project.environ(), cwd=str(project.directory), columns=200)
    if answer:
        terminal.wait_for(r"\(Y/n\)|\(y/N\)")
        terminal.process.send(answer)
    return terminal.finish()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        *(("secret_key", "SECRET_KEY"), (" SECRET_KEY", "SECRET_KEY"), ("SECRET_KEY\n", "SECRET_KEY")),
        *(("Secret-Key", "SECRET_KEY"), ("secret.key", "SECRET_KEY"), ("SECRETKEY", "SECRET_KEY")),
        *(
            ("\ufeffSECRET_KEY", "SECRET_KEY"),
            ("JWT SECRET KEY", "JWT_SECRET_KEY"),
            ("\xa0smtpPassword", "SMTP_PASSWORD"),
        ),
        *(("SECRET_KEY", None), ("SECRET_KEY_OLD", None), ("MY_SECRET_KEY", None), ("SECRETKEYS", None)),
        *(("-SECRET_KEY", None), ("", None), ("_", None), ("POSTGRES_PASSWORD", None)),
    ],
)
def test_case_blanks_and_punctuation_are_what_a_name_may_differ_in(wrong: str, right: str | None) -> None:
    found = near_names(load_catalog(), {wrong: "x", "OTHER": "y"}, is_shared=False)
    assert found == ({wrong: right} if right else {})
    assert near_names(load_catalog(), {wrong: ""}, is_shared=False) == {}


def test_in_a_store_with_secrets_of_others_only_what_is_missing_counts() -> None:
    values = {"secretkey": "x", "SECRET_KEY": "y", "jwt.secret.key": "z"}
    assert near_names(load_catalog(), values, is_shared=True) == {"jwt.secret.key": "JWT_SECRET_KEY"}
    assert len(near_names(load_catalog(), values, is_shared=False)) == 2


def test_a_required_secret_under_a_wrong_name_is_one_finding_and_no_new_value_is_suggested(project: Project) -> None:
    project.set_up()
    value = project.values()["JWT_SECRET_KEY"]
    put(project, {"jwt_secret_key": value, "JWT_SECRET_KEY": None, "SECRET_KEY": None})
    misnamed, missing = sorted(doctor(project), key=lambda finding: finding["check"] == "missing")
    assert (misnamed["check"], misnamed["harm"]) == ("misnamed", "broken")
    assert misnamed["finding"] == "'jwt_secret_key' in the store is not read; the name is JWT_SECRET_KEY"
    assert missing["finding"] == "required and not set: SECRET_KEY"
    only = doctor(project, "--only", "missing")
    assert [finding["commands"] for finding in only] == [misnamed["commands"], missing["commands"]]
    assert "--generate" not in str(misnamed["commands"])
    assert type_in(project, misnamed["command"]) == 0
    assert (project.values()["JWT_SECRET_KEY"], "jwt_secret_key" in project.values()) == (value, False)


def test_the_other_half_of_a_feature_is_found_under_its_wrong_name(project: Project) -> None:
    project.set_up()
    put(project, {"TWILIO_SID": "AC5f0c", "twilio-token": VALUE})
    (finding,) = doctor(project)
    assert finding["check"] == "misnamed"
    (again,) = doctor(project, "--only", "incomplete-feature")
    assert again["commands"] == finding["commands"]
    assert type_in(project, finding["command"]) == 0
    assert project.values()["TWILIO_TOKEN"] == VALUE
    assert doctor(project) == []


def test_a_wrong_name_with_the_same_value_is_taken_out_after_a_question(project: Project) -> None:
    project.set_up()
    put(project, {"Secret.Key": project.values()["SECRET_KEY"]})
    before = project.values()
    (finding,) = doctor(project)
    assert str(finding["finding"]).endswith("the name is SECRET_KEY, which has the same value")
    assert finding["commands"] == [finding["command"]]
    assert type_in(project, finding["command"], "n") == 1
    assert project.values() == before
    assert type_in(project, finding["command"], "y") == 0
    after = project.values()
    assert after == {name: value for name, value in before.items() if name != "Secret.Key"}
    assert doctor(project) == []
    put(project, {"Secret.Key": after["SECRET_KEY"]})
    manage(project, "set", "SECRET_KEY", "--from", "Secret.Key")
    assert project.values() == after


def test_of_two_different_values_the_person_says_which_is_right(project: Project) -> None:
    project.set_up()
    right = project.values()["WEBHOOK_SECRET"]
    put(project, {"webhook_secret": VALUE})
    (finding,) = doctor(project)
    assert str(finding["finding"]).endswith("the name is WEBHOOK_SECRET, which has another value")
    take, drop = commands_of(finding)
    said = project.run("manage_secrets.py", "doctor").stdout
    assert "If the value under the wrong name is the right one" in said
    assert type_in(project, drop, "y") == 0
    assert project.values()["WEBHOOK_SECRET"] == right
    assert doctor(project) == []
    put(project, {"webhook_secret": VALUE})
    assert type_in(project, take) == 0
    assert (project.values()["WEBHOOK_SECRET"], "webhook_secret" in project.values()) == (VALUE, False)
    manage(project, "rollback", "WEBHOOK_SECRET", "--yes")
    assert project.values()["WEBHOOK_SECRET"] == right


def test_of_two_wrong_names_for_one_secret_no_value_gets_lost(project: Project) -> None:
    project.set_up()
    put(project, {"smtp_password": VALUE, "Smtp Password": f"{VALUE} or another"})
    first, second = doctor(project)
    assert len(commands_of(first)) == 1
    assert "is for another one" in str(second["finding"])
    assert type_in(project, first["command"]) == 0
    assert project.values()["SMTP_PASSWORD"] == f"{VALUE} or another"
    (left,) = doctor(project)
    assert type_in(project, commands_of(left)[0]) == 0
    assert project.values()["SMTP_PASSWORD"] == VALUE
    assert doctor(project) == []


def test_a_name_that_cannot_be_typed_is_shown_and_typed_with_escapes(project: Project) -> None:
    project.set_up()
    put(project, {"\ufeffSMTP_PASSWORD\x1b\n": VALUE})
    (finding,) = doctor(project)
    assert r"'\ufeffSMTP_PASSWORD\x1b\n' in the store" in str(finding["finding"])
    assert type_in(project, finding["command"]) == 0
    assert project.values()["SMTP_PASSWORD"] == VALUE


def test_only_names_outside_the_catalogue_that_are_not_nearly_ours_are_unknown(project: Project) -> None:
    project.set_up()
    put(project, {"smtp_password": VALUE, "FORGOTTEN": VALUE})
    findings = {str(finding["check"]): str(finding["finding"]) for finding in doctor(project)}
    assert findings["unknown-names"] == "not in the catalogue: FORGOTTEN"
    assert set(findings) == {"misnamed", "unknown-names"}


def test_status_names_it_without_its_value(project: Project) -> None:
    project.set_up()
    put(project, {"smtp_password": VALUE})
    said = manage(project, "status").stdout
    assert "'smtp_password' in the store is not read; the name is SMTP_PASSWORD" in said
    assert "doctor --only misnamed" in said
    assert VALUE not in said
    assert json.loads(manage(project, "status", "--json").stdout)["misnamed"] == {"smtp_password": "SMTP_PASSWORD"}


@pytest.mark.parametrize("name", ["FORGOTTEN", "SECRET_KEY", "smtp_password", "nothing-canary"])
def test_set_from_takes_no_other_names_and_does_not_repeat_them(name: str, project: Project) -> None:
    project.set_up()
    put(project, {"smtp_password": VALUE, "FORGOTTEN": VALUE})
    before = project.state()
    said = error_of(project.run("manage_secrets.py", "set", "WEBHOOK_SECRET", "--from", name), 2)
    assert "--from: the store has no such name, or it is not one of WEBHOOK_SECRET" in said
    assert not {name, VALUE} & set(shlex.split(said.replace("'", "")))
    assert project.state() == before


def test_set_takes_a_value_from_one_place_only(project: Project, tmp_path: Path) -> None:
    project.set_up()
    put(project, {"secret_key": VALUE})
    for more in (("--generate",), ("--file", str(tmp_path / "value"))):
        done = project.run("manage_secrets.py", "set", "SECRET_KEY", "--from", "secret_key", *more)
        assert "Only one of --file, --generate and --from" in error_of(done, 2)


def test_a_value_from_a_wrong_name_is_judged_like_a_typed_one(project: Project) -> None:
    project.set_up()
    put(project, {"secret_key": "changeme"})
    before = project.values()
    assert "SECRET_KEY" in error_of(project.run("manage_secrets.py", "set", "SECRET_KEY", "--from", "secret_key"))
    assert project.values() == before


def test_remove_leaves_unknown_names_alone(project: Project) -> None:
    project.set_up()
    put(project, {"FORGOTTEN": VALUE})
    error_of(project.run("manage_secrets.py", "remove", "FORGOTTEN", "--yes"))
    assert project.values()["FORGOTTEN"] == VALUE


def test_in_a_key_vault_the_other_name_stays_for_those_who_may_need_it(
    project: Project, keyvault_server: KeyVault
) -> None:
    keyvault_server.clear()
    environ = keyvault_server.environ()
    done = project.run("setup_secrets.py", "--non-interactive", "--backend", "azure", environ=environ)
    assert done.returncode == 0, done.stderr
    keyvault_server.put("smtppassword", VALUE)
    (finding,) = [one for one in doctor(project, environ=environ) if one["check"] == "misnamed"]
    words = shlex.split(str(finding["command"]))
    done = project.run("manage_secrets.py", *words[1:5], environ=environ)
    assert done.returncode == 0, done.stderr
    got = project.run("manage_secrets.py", "get", "SMTP_PASSWORD", environ=environ)
    assert got.stdout == VALUE
    assert keyvault_server.secrets["smtppassword"][-1].value == VALUE
    assert [one for one in doctor(project, environ=environ) if one["check"] == "misnamed"] == []
    error_of(project.run("manage_secrets.py", "remove", "SMTPPASSWORD", "--yes", environ=environ))
