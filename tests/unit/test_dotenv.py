"""Dotenv files: python-dotenv, a POSIX shell and Compose must read what was written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.ops.deployment.dotenv import expand_variables, parse_dotenv, quote, read_dotenv, update_text, write_dotenv
from src.utils.secrets.errors import ConfigurationError, InvalidSecretError, StoreError
from tests.support.engine import compose_command

DIFFICULT = {
    "DOLLAR": "a$b${HOME}$(id)`id`",
    "HASH": "a #b#c",
    "EQUALS": "=a=b=",
    "DOUBLE": 'say "hi"',
    "SINGLE": "it's",
    "BACKSLASH": "a\\b\\n",
    "SPACES": "  a  b  ",
    "NEWLINES": "a\nb\n\nc",
    "UNICODE": "pässwörd-密码-🔑",
    "BANG": "wow!",
    "PERCENT": "100%{x}~*?[a]|&;<>()",
    "LONG": "x$" * 32768,
    "PLAIN": "abc-DEF_123",
    "TAB": "a\tb",
}
printable = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1)
nasty = st.text("ab'\"\\$`!# =\n{}()é", min_size=1, max_size=12)


def read_by_python(path: Path) -> dict[str, str | None]:
    return dict(dotenv_values(path, interpolate=False))


def read_by_shell(path: Path, names: list[str]) -> dict[str, str | None]:
    script = f'set -a; . "{path}"; exec env -0'
    done = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, check=True, env={"HOME": "/nowhere"})
    found = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
    return {name: found.get(name) for name in names}


def read_by_compose(path: Path, names: list[str]) -> dict[str, str | None]:
    services = {"s": {"image": "i", "environment": {name: f"${{{name}}}" for name in names}}}
    file = path.with_name("compose.json")
    file.write_text(json.dumps({"name": "test", "services": services}))
    done = subprocess.run(
        [*compose_command(), "--env-file", str(path), "-f", str(file), "config", "--format", "json"],
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
    )
    environment = json.loads(done.stdout)["services"]["s"]["environment"]
    # `config` prints a $ as $$, so that its output can be read again.
    return {name: environment[name].replace("$$", "$") for name in names}


def test_difficult_values_read_back_the_same_everywhere(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_dotenv(str(path), DIFFICULT)
    assert read_by_python(path) == DIFFICULT
    assert read_by_shell(path, list(DIFFICULT)) == DIFFICULT
    assert read_by_compose(path, list(DIFFICULT)) == DIFFICULT
    assert read_dotenv(str(path)) == DIFFICULT


@given(st.lists(st.one_of(printable, nasty), min_size=20, max_size=60))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_value_either_reads_back_the_same_everywhere_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    path = tmp_path_factory.mktemp("dotenv") / ".env"
    accepted = {}
    for number, value in enumerate(values):
        try:
            quote("NAME", value)
        except InvalidSecretError:
            continue
        accepted[f"NAME_{number}"] = value
    write_dotenv(str(path), accepted, heading="# any\n")
    assert read_by_python(path) == accepted
    assert read_by_shell(path, list(accepted)) == accepted
    assert read_by_compose(path, list(accepted)) == accepted


@pytest.mark.parametrize(
    "value", ["it's $5", 'it\'s "x"', "double\\\\backslash", "'end\\", "carriage\rreturn", "end\\"]
)
def test_values_that_the_three_read_differently_are_refused_with_advice(value: str) -> None:
    with pytest.raises(InvalidSecretError, match="NAME cannot be written") as caught:
        quote("NAME", value)
    assert "NAME_FILE" in caught.value.hint
    assert value not in str(caught.value) + caught.value.hint


def test_rewriting_keeps_every_line_that_the_user_added() -> None:
    text = "# a comment\n\nexport A=1\nB='two words' # why\n  C=3\n\n# the end"
    assert update_text(text + "\n", {"B": "new", "D": "4"}, "x") == text.replace("'two words'", "new") + "\nD=4\n"


def test_a_line_is_replaced_in_place_and_its_repetition_dropped() -> None:
    assert update_text("A=1\nB=2\nA=3\n", {"A": "4"}, "x") == "A=4\nB=2\n"


def test_a_line_can_be_removed() -> None:
    assert update_text("A=1\nB=2\n", {"A": None, "C": None}, "x") == "B=2\n"


def test_a_file_without_a_last_newline_is_completed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1")
    write_dotenv(str(path), {"B": "2"})
    assert path.read_text() == "A=1\nB=2\n"


def test_a_new_file_is_private_and_has_its_heading(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_dotenv(str(path), {"A": "1"}, heading="# heading\n")
    assert path.read_text() == "# heading\nA=1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_closed_unless_it_is_not_private(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    write_dotenv(str(path), {"A": "2"}, private=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_dotenv(str(path), {"A": "2"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_writing_what_is_there_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_dotenv(str(path), {"A": "1"})
    inode = path.stat().st_ino
    write_dotenv(str(path), {"A": "1"})
    assert path.stat().st_ino == inode


def test_an_invalid_line_is_named_by_its_number() -> None:
    with pytest.raises(ConfigurationError, match=r"Line 3 of settings is not NAME=value"):
        parse_dotenv("A=1\n\n'broken\n", "settings")


def test_a_malicious_file_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=$(touch {tmp_path}/ran)\nB=`touch {tmp_path}/ran`\nC=${{A}}\n")
    assert read_dotenv(str(path))["C"] == "${A}"
    assert not (tmp_path / "ran").exists()


def test_a_symbolic_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("A=1\n")
    (tmp_path / ".env").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="symbolic link"):
        write_dotenv(str(tmp_path / ".env"), {"A": "2"})
    assert (tmp_path / "real").read_text() == "A=1\n"


def test_a_line_stands_for_what_compose_takes_it_for(tmp_path: Path) -> None:
    forms = {
        "PLAIN": "./secrets",
        "BRACED": "${HOME}/sec",
        "BARE": "$HOME/sec",
        "DEFAULT_FOR_EMPTY": "${EMPTY:-/run}/x",
        "NO_DEFAULT_FOR_EMPTY": "${EMPTY-/run}/x",
        "DEFAULT": "${ABSENT-/run}/x",
        "ABSENT_ONE": "a${ABSENT}/x",
        "DOLLAR": "a$$b",
    }
    path = tmp_path / ".env"
    lines = {"EMPTY": "", "HOME": os.environ["HOME"], **forms}
    path.write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
    ours = {name: expand_variables(text, lines) for name, text in forms.items()}
    assert ours["BRACED"] == f"{os.environ['HOME']}/sec"
    assert ours == read_by_compose(path, list(forms))
