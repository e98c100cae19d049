"""What the guides say is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT, need_program
from tests.support.checkout import copy_checkout


def put(project: Path, place: str, code: str) -> None:
    """Put a block of a guide where its title says: a new file, the end of one, or after a line."""
    name, _, where = place.partition(", ")
    path = project / name
    if not where:
        assert not path.exists(), name
        path.write_text(code)
        return
    text = path.read_text()
    if where == "at its end":
        path.write_text(text + code)
        return
    line = where.removeprefix("after ")
    assert where != line, place
    found = [number for number, present in enumerate(text.splitlines()) if present.startswith(line)]
    found = found or [number for number, present in enumerate(text.splitlines()) if present.strip().startswith(line)]
    assert len(found) == 1, f"{place}: {len(found)} lines"
    lines = text.splitlines(keepends=True)
    lines.insert(found[0] + 1, code)
    path.write_text("".join(lines))


def test_a_sixth_store_made_by_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    need_program("redis-server", "redis-server")
    project = tmp_path / "project"
    project.mkdir()
    copy_checkout(project)
    guide = (PROJECT / "docs/add-a-store.md").read_text()
    blocks = re.findall(r'^```python title="(.*?)"\n(.*?)^```$', guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(re.findall("^```python", guide, re.MULTILINE)) > 4
    for place, code in blocks:
        put(project, place, code)
    for check in (["ruff", "check"], ["mypy", "--no-error-summary"]):
        checked = subprocess.run(
            [sys.executable, "-m", *check, "src/utils/secrets/backends/redis_json.py"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = re.findall(r"^```sh\n\.venv/bin/python (.*)\n```$", guide, re.MULTILINE)
    assert len(command) == 1
    done = subprocess.run(
        [sys.executable, *command[0].split(), "-p", "no:cacheprovider"],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    match = re.search(r"^(\d+) passed, \d+ deselected", done.stdout.splitlines()[-1].strip("= "))
    assert match, done.stdout
    assert int(match[1]) >= 19, done.stdout
