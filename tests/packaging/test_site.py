"""The docs as a site: `make docs`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.conftest import PROJECT
from tests.support.make import make


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROJECT / ".venv/docs/bin/mkdocs", "build", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_is_built_and_loads_nothing_from_elsewhere_and_a_broken_link_fails(tmp_path: Path) -> None:
    make("docs", tools="docs")
    pages = list((PROJECT / "build/docs").rglob("*.html"))
    assert len(pages) > len(list((PROJECT / "docs").rglob("*.md"))) / 2
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="?https?://')
    assert [page for page in pages if loaded.search(page.read_text())] == []
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    assert build(tmp_path).returncode == 0
    with (tmp_path / "docs/index.md").open("a") as file:
        file.write("\n[nowhere](nowhere.md)\n")
    broken = build(tmp_path)
    assert broken.returncode == 1
    assert "nowhere.md" in broken.stderr
