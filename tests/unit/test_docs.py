"""The docs have no broken link, and list every message."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Project

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []


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
def test_the_error_of_a_failed_command_is_on_the_page_of_messages(
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
