"""The list of installed packages, for the search for known vulnerabilities: `make sbom`."""

from __future__ import annotations

import json

from tests.conftest import PROJECT
from tests.support.lock_files import INSTALLED, packages
from tests.support.make import make


def test_the_sbom_names_every_package_with_its_hashes() -> None:
    make("sbom", tools="audit")
    locked = [name for file in INSTALLED for name in packages(file)]
    components = json.loads((PROJECT / "build/sbom.json").read_text())["components"]
    # A package may be there twice, with a version for each range of Pythons.
    assert {item["name"] for item in components} == set(locked)
    assert len({(item["name"], item["version"]) for item in components}) == len(components) >= len(set(locked))
    assert all(item["externalReferences"][0]["hashes"] for item in components)
