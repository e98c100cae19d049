"""Dependencies are pinned by hash, and have licenses that allow their use here."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.support.lock_files import INSTALLED, packages

LOCKED = (
    *sorted(path.relative_to(PROJECT) for path in PROJECT.glob("requirements*.txt")),
    *sorted(path.relative_to(PROJECT) for path in PROJECT.glob("tests/servers/*.txt")),
    Path("bench/requirements.txt"),
)
ALLOWED = re.compile(r"\b(MIT(-0)?|BSD|BSD-[23]-Clause|Apache([ -]2\.0)?|MPL|PSF-2\.0|LGPL-3\.0-only)\b")


@pytest.mark.parametrize("file", LOCKED, ids=str)
def test_every_dependency_is_pinned_with_hashes(file: Path) -> None:
    entries = re.split(r"\n(?=\S)", (PROJECT / file).read_text().strip())
    pinned = [entry for entry in entries if not entry.startswith("#")]
    assert pinned
    assert [entry.split()[0] for entry in pinned if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_what_an_application_of_the_original_imports_is_installed_with_the_tools() -> None:
    wanted = {"questionary", "cryptography", "boto3", "hvac", "azure-keyvault-secrets"}
    assert wanted <= set(packages("requirements-secrets.txt"))


@pytest.mark.parametrize("file", INSTALLED)
def test_every_package_that_people_install_has_a_license_that_is_allowed(file: str) -> None:
    for name in packages(file):
        try:
            found = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or system
        said = " ".join(
            text
            for field in ("License-Expression", "License", "Classifier")
            for text in found.get_all(field) or []
            if field != "Classifier" or text.startswith("License ::")
        )
        assert ALLOWED.search(said), f"{name}: {said[:200]}"
        assert not re.search(r"\b(AGPL|GPL-[23]|GNU General Public)", said), name
