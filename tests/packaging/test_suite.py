"""The suite itself, in several processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import PROJECT


def run_in_two_processes(*arguments: str, environ: Mapping[str, str]) -> str:
    """Return what pytest prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    kept.pop("REQUIRE_ALL", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-v", "-p", "no:cacheprovider", *arguments],
        cwd=PROJECT,
        env=kept | dict(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_missing_programs_are_listed_at_the_end(tmp_path: Path) -> None:
    arguments = ["tests/unit/test_dotenv.py", "-k", "difficult"]
    said = run_in_two_processes(*arguments, environ={"PATH": str(tmp_path)})
    assert re.search(r"^=+ not tested, because .*\n+Docker Compose v2: https://", said, re.MULTILINE), said


def test_measurements_are_printed_at_the_end() -> None:
    said = run_in_two_processes("tests/e2e/test_docs_commands.py", "-k", "every_block", environ={})
    assert re.search(r"^=+ measured =+\n+Blocks of commands in the docs: \d+", said, re.MULTILINE), said


def test_tests_that_share_a_server_of_their_module_stay_in_one_process() -> None:
    said = run_in_two_processes("tests/contract/test_vault.py", "-k", "app_role or missing or bad_token", environ={})
    processes = re.findall(r"^\[(gw\d)\].* PASSED", said, re.MULTILINE)
    assert len(processes) > 2, said
    assert len(set(processes)) == 1, said


def test_every_process_finds_the_same_tests_and_the_short_form_has_a_case_of_each() -> None:
    plain = {name: value for name, value in os.environ.items() if name != "PROVE"}
    listings = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
            cwd=PROJECT,
            env=plain | environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for environ in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}, {"PROVE": "1"})
    ]
    first, second, full = (
        [line for line in listing.communicate()[0].splitlines() if "::" in line] for listing in listings
    )
    assert len(first) > 1000
    assert first == second
    assert set(first) < set(full)
    assert {name.partition("[")[0] for name in first} == {name.partition("[")[0] for name in full}


def test_no_module_of_tests_imports_another() -> None:
    pattern = re.compile(r"^\s*(from [\w.]*\btest_\w+ import|import [\w.]*\btest_\w+)", re.MULTILINE)
    modules = sorted((PROJECT / "tests").rglob("*.py"))
    assert [str(path) for path in modules if pattern.search(path.read_text(encoding="utf-8"))] == []
