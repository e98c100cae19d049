"""Deployments that an earlier commit of this project made, as files of the tests.

One JSON document for each store: the files of the project's folder and of the home folder with their modes, what a
store on a server contains, and every value. The values were generated for these tests. ``@PROJECT@`` and
``@HOME@`` are placeholders for the two folders.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import Project
from tests.servers.aws import Aws
from tests.servers.keyvault import KeyVault, Version
from tests.servers.vault import Vault

FOLDER = Path(__file__).parent / "deployments"
KINDS = ("file", "aws", "vault", "azure", "env")
BACKUP, BACKUP_KEY = "a.backup", "backup.key"
Server = Aws | Vault | KeyVault


def save(path: Path, project: Project, server: Server | None, **more: Any) -> None:
    """Write a deployment as a document."""
    places = {"project": project.directory, "home": project.home}
    files = [
        {
            "place": name,
            "path": str(file.relative_to(folder)),
            "mode": file.stat().st_mode & 0o777,
            "data": _pack(file, project),
        }
        for name, folder in places.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".lock" and file.name != "catalog.toml"
    ]
    document = {"files": files, "server": None if server is None else _read_server(server), **more}
    path.write_text(json.dumps(document, indent=1) + "\n")


def restore(document: Mapping[str, Any], project: Project, server: Server | None) -> None:
    """Create the deployment of a document, in the folders of ``project`` and on ``server``."""
    for entry in document["files"]:
        path = {"project": project.directory, "home": project.home}[entry["place"]] / entry["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_unpack(entry["data"], project))
        path.chmod(entry["mode"])
    for folder in (project.key_file.parent.parent, project.key_file.parent, project.directory / "secrets"):
        if folder.is_dir():
            folder.chmod(0o700)
    if server is not None:
        _write_server(server, document["server"])


def _pack(file: Path, project: Project) -> str:
    data = file.read_bytes()
    if file.name == "audit.jsonl":  # each line contains the checksum of the previous line
        return base64.b64encode(data).decode()
    for folder, name in ((project.directory, b"@PROJECT@"), (project.home, b"@HOME@")):
        data = data.replace(str(folder).encode(), name)
    return base64.b64encode(data).decode()


def _unpack(text: str, project: Project) -> bytes:
    data = base64.b64decode(text)
    for folder, name in ((project.directory, b"@PROJECT@"), (project.home, b"@HOME@")):
        data = data.replace(name, str(folder).encode())
    return data


def _read_server(server: Server) -> Any:
    if isinstance(server, Aws):
        client = server.client()
        tags = client.describe_secret(SecretId="cctv-face-detection").get("Tags", [])
        value = client.get_secret_value(SecretId="cctv-face-detection", VersionStage="AWSCURRENT")
        return {"value": value["SecretString"], "tags": tags}
    if isinstance(server, Vault):
        engine = server.client().secrets.kv.v2
        read = engine.read_secret_version("cctv", raise_on_deleted_version=True)["data"]
        return {"data": read["data"], "custom_metadata": read["metadata"]["custom_metadata"]}
    return {name: [dataclasses.asdict(version) for version in versions] for name, versions in server.secrets.items()}


def _write_server(server: Server, content: Any) -> None:
    if isinstance(server, Aws):
        server.clear()
        server.client().create_secret(Name="cctv-face-detection", SecretString=content["value"], Tags=content["tags"])
    elif isinstance(server, Vault):
        engine = server.client().secrets.kv.v2
        engine.delete_metadata_and_all_versions("cctv")
        engine.create_or_update_secret("cctv", content["data"])
        if content["custom_metadata"]:
            engine.update_metadata("cctv", custom_metadata=content["custom_metadata"])
    else:
        server.clear()
        made = {name: [Version(**version) for version in versions] for name, versions in content.items()}
        server.secrets.update(made)


def environ_of(kind: str, server: Server | None) -> dict[str, str]:
    """Return the variables of the deployment's machine, with the current address of the server."""
    if server is None:
        return {}
    environ = server.environ()
    # The store is in the deployment's own settings; the address of its server differs between runs.
    del environ["SECRETS_BACKEND"]
    return environ


def wait_for_a_new_second() -> None:
    """Wait, because times are stored in whole seconds and the next change must have a later time."""
    time.sleep(1.01 - time.time() % 1)
