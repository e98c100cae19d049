"""Which containers in a folder are the original's, and which are this project's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from src.ops.adopt import engine
from src.ops.adopt.original import Original
from src.ops.containers.stack import FILES_LABEL, OWN_LABEL, SERVICE_LABEL
from tests.conftest import PROJECT

if TYPE_CHECKING:
    import pytest


def container(service: str, compose_file: Path, variables: list[str], **labels: str) -> dict[str, Any]:
    known = {SERVICE_LABEL: service, FILES_LABEL: str(compose_file)}
    return {"Name": f"/{service}", "Config": {"Image": "postgres", "Env": variables, "Labels": known | labels}}


def test_each_service_has_the_label() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    assert [name for name, service in services.items() if OWN_LABEL not in service.get("labels", {})] == []


def test_containers_of_this_project_are_not_the_originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.path.realpath(tmp_path))
    own, other = folder / "docker-compose.yml", folder / "docker-compose.prod.yml"
    containers = [
        container("labelled", own, [], **{OWN_LABEL: "true"}),
        container("of-an-earlier-version", own, ["SECRETS_BACKEND=environment"]),
        container("whose-file-was-replaced", own, ["SECRET_KEY=a"]),
        container("of-another-file", other, ["SECRETS_BACKEND=file"]),
    ]
    monkeypatch.setattr(engine, "has_docker", lambda: True)
    monkeypatch.setattr(engine, "list_docker", lambda *_arguments: ["0123"])
    monkeypatch.setattr(engine, "_inspect", lambda *_arguments: json.dumps(containers))
    stack = engine.inspect_stack(Original(str(folder)), str(folder))
    assert [service.name for service in stack.services] == ["whose-file-was-replaced", "of-another-file"]
