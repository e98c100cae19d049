"""The docs hold together: no link leads nowhere, and the site is built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Project, need_program

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROJECT / ".venv/docs/bin/mkdocs", "build", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_is_built_and_loads_nothing_from_elsewhere_and_a_broken_link_fails(tmp_path: Path) -> None:
    need_program("make", "make")
    subprocess.run(["make", "docs"], cwd=PROJECT, check=True, capture_output=True)
    pages = list((PROJECT / "build/docs").rglob("*.html"))
    assert len(pages) > len(PAGES) / 2
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


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("manage_secrets.py", ["status"]),
        ("manage_secrets.py", ["status", "--environment", "Wrong Name"]),
        ("manage_secrets.py", ["status", "--project-directory", "/no/such/folder"]),
        ("manage_secrets.py", ["status", "--env-file", "/no/such/file"]),
        ("manage_secrets.py", ["status", "--catalog", "/no/such/file"]),
        ("setup_secrets.py", ["--non-interactive", "--set-file", "UNKNOWN=x"]),
        ("setup_secrets.py", ["--non-interactive", "--import", "/no/such/file"]),
        ("setup_secrets.py", ["--non-interactive", "--backend", "vault"]),
        ("setup_secrets.py", ["--non-interactive", "--backend", "azure"]),
        ("manage_secrets.py", ["rotate"]),
        ("manage_secrets.py", ["statsu"]),
        ("setup_secrets.py", []),
        ("generate_docker_secrets.sh", []),
    ],
)
def test_what_a_failing_command_says_is_on_the_page_of_messages(
    project: Project, script: str, arguments: list[str]
) -> None:
    done = project.run(script, *arguments)
    if "--project-directory" in arguments:
        done = subprocess.run(
            [PROJECT / "scripts" / script, *arguments],
            env=project.environ(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode in (1, 2)
    said = done.stderr.splitlines()[0].removeprefix("error: ")
    page = (PROJECT / "docs/messages.md").read_text()
    templates = [row.split("` | `")[0].removeprefix("| `") for row in page.splitlines() if row.startswith("| `")]
    patterns = [re.sub(r"\\\{[^}]*\\\}", ".*", re.escape(template)) for template in templates]
    assert len(templates) > 100
    assert any(re.fullmatch(pattern, said) for pattern in patterns), said
