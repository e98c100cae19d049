"""The files on the disk, and their meaning, read without the project's code."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from dotenv import dotenv_values

from tests.conftest import Project

TRAIL = "audit.jsonl"
TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{16}\.tmp$")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z| UTC)?")
_TOKEN = b"gAAAA"


@dataclass(frozen=True)
class Entry:
    """One file, folder or link.

    Attributes:
        mode: Its kind and permission bits.
        owner: User and group id.
        content: The bytes of a file, the target of a link, ``None`` for a folder.
        modified: When the content changed, in nanoseconds since 1970; 0 means that it does not matter. Two entries may
            differ in it and are the same.
    """

    mode: int
    owner: tuple[int, int]
    content: bytes | None
    modified: int = field(default=0, compare=False)


State = dict[str, Entry]
"""By their paths relative to the folder that contains the project's folder and the home folder."""
Contents = Mapping[str, bytes]
"""Only the files, without folders and links."""


def read_state(project: Project) -> State:
    """Return all files of a project and its home."""
    root = project.directory.parent
    return {str(path.relative_to(root)): _read_entry(path) for path in sorted(root.rglob("*"))}


def write_state(project: Project, state: State) -> None:
    """Restore a project and its home, with owners, modes and the times of files."""
    root = project.directory.parent
    shutil.rmtree(root)
    root.mkdir()
    for name, entry in sorted(state.items()):
        path = root / name
        if stat.S_ISLNK(entry.mode):
            path.symlink_to(os.fsdecode(entry.content or b""))
            continue
        if entry.content is None:
            path.mkdir()
        else:
            path.write_bytes(entry.content)
        os.chown(path, *entry.owner)
        path.chmod(stat.S_IMODE(entry.mode))
        if entry.content is not None and entry.modified:
            os.utime(path, ns=(entry.modified, entry.modified))


def contents(state: State) -> dict[str, bytes]:
    """Return the files of a state, without temporary ones."""
    return {name: entry.content for name, entry in state.items() if entry.content is not None and not is_leftover(name)}


def is_leftover(name: str) -> bool:
    """Return whether it is a temporary file."""
    return TEMPORARY.search(name) is not None


def _read_entry(path: Path) -> Entry:
    status = path.lstat()
    content = None
    if stat.S_ISLNK(status.st_mode):
        content = os.fsencode(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    return Entry(status.st_mode, (status.st_uid, status.st_gid), content, status.st_mtime_ns)


class UnreadableError(AssertionError):
    """The application could not read its secrets."""


class Meaning:
    """The content of files, as the application and users read it.

    Args:
        files: The files, see :data:`Contents`.
        project: Their folder; nothing is read from it.
        known: Values and their names.
        older: The previous files; their keys are used, too.
    """

    def __init__(
        self, files: Contents, project: Project, known: Mapping[str, str], older: Contents | None = None
    ) -> None:
        self._files = files
        self._project = project
        self._known = dict(known)
        self._old_keys = key_files(older or {})
        self.keys = key_files(files)

    def values(self) -> dict[str, str] | None:
        """Return what the application reads; ``None`` if nothing was set up.

        Raises:
            UnreadableError: It was set up, and a file is missing, damaged or does not fit.
        """
        name = next((name for name in (".env.production", ".env") if self._in_project(name) in self._files), None)
        if name is None:
            return None
        settings = self._settings(name)
        backend = settings.get("SECRETS_BACKEND")
        if name == ".env" and backend is None:
            return None
        if backend == "environment":
            return {
                name: value for name, value in settings.items() if value and not name.startswith(("SECRETS_", "APP_"))
            }
        if backend != "file":
            raise UnreadableError(f"{name} names the store {backend}")
        return self._decrypted_values(settings)

    def _decrypted_values(self, settings: Mapping[str, str | None]) -> dict[str, str]:
        path = self._in_project(settings.get("SECRETS_FILE_PATH") or "config/secrets.enc")
        key_file = self._place(settings.get("SECRETS_MASTER_KEY_FILE") or "")
        token = self._files.get(path)
        if not token:
            raise UnreadableError(f"{path} is named and not there")
        for key in self.keys.get(key_file, ()):
            text = _decrypt(key, token)
            if text is not None:
                values = json.loads(text)["secrets"]
                assert isinstance(values, dict)
                return values
        raise UnreadableError(f"{path} does not open with {key_file}")

    def by_file(self) -> dict[str, str]:
        """Return the meaning of each file, without what differs between runs. It is equal if two runs did the same."""
        names = {value: f"<{name}>" for name, value in self._all_values().items() if len(value) > 5}
        self._known = {**names, **self._known}
        return {self._shown_name(name): self._shown(name, content) for name, content in sorted(self._files.items())}

    def _all_values(self) -> dict[str, str]:
        """Return the keys in use, and those of encrypted files that are not in use yet."""
        found: dict[str, str] = {}
        for content in self._files.values():
            texts = [_decrypt(key, content) for key in self._all_keys()] if content.startswith(_TOKEN) else []
            for text in filter(None, texts):
                found |= json.loads(text)["secrets"]
        return found | (self.values() or {})

    def _all_keys(self) -> set[str]:
        return {key for found in (self.keys, self._old_keys) for keys in found.values() for key in keys}

    def _shown(self, name: str, content: bytes) -> str:
        if content.startswith(_TOKEN):
            return self._shown_token(content)
        if name in self.keys:
            return " ".join(self._key_name(key) for key in self.keys[name])
        if name.endswith(".sum"):
            return self._shown_checksum(name, content)
        if name.endswith(TRAIL):
            return shown_trail(content)
        text = content.decode(errors="backslashreplace")
        if text.startswith("{"):
            document = json.loads(text)
            if isinstance(document.get("data"), str):
                document["data"] = self._shown_token(document["data"].encode())
            document.pop("revision", None)
            text = json.dumps(document, indent=1)
        return self._labelled(text)

    def _shown_token(self, token: bytes) -> str:
        opening = [name for name, keys in self.keys.items() if any(_decrypt(key, token) for key in keys)]
        for key in self._all_keys():
            text = _decrypt(key, token)
            if text is not None:
                document = json.loads(text)
                shown = [self._shown_name(name) for name in sorted(opening)]
                return f"opened by {shown}: {self._labelled(json.dumps(document, indent=1, sort_keys=True))}"
        return "opened by no key"

    def _shown_checksum(self, name: str, content: bytes) -> str:
        of = self._files.get(name.removesuffix(".sum"), b"")
        return "right" if hashlib.sha256(of).hexdigest().encode() in content else "wrong"

    def _labelled(self, text: str) -> str:
        for value, label in sorted(self._known.items(), key=lambda item: -len(item[0])):
            text = text.replace(value, label)
        for key in self._all_keys():
            text = text.replace(key_id(key), f"<id of {self._key_name(key)}>")
        return _TIME.sub("<time>", text)

    def _shown_name(self, name: str) -> str:
        return self._labelled(name)

    def _key_name(self, key: str) -> str:
        return "an old key" if any(key in keys for keys in self._old_keys.values()) else "a new key"

    def _settings(self, name: str) -> dict[str, str | None]:
        text = self._files[self._in_project(name)].decode()
        return dotenv_values(stream=io.StringIO(text), interpolate=False)

    def _in_project(self, name: str) -> str:
        return self._place(str(self._project.directory / name))

    def _place(self, path: str) -> str:
        whole = path.replace("~", str(self._project.home), 1) if path.startswith("~") else path
        return os.path.relpath(whole, self._project.directory.parent) if whole else ""


def shown_trail(content: bytes) -> str:
    """Return the actions in an audit trail; each line is checked."""
    lines, previous = [], "0" * 64
    for line in content.splitlines():
        entry = json.loads(line)
        assert entry["previous"] == previous, "the audit trail's lines do not follow each other"
        previous = hashlib.sha256(line).hexdigest()
        lines.append(f"{entry['command']} {entry['names']}: {entry['result']}")
    return "\n".join(lines)


def key_files(files: Contents) -> dict[str, list[str]]:
    """Return the files that contain keys, and the keys."""
    found = {}
    for name, content in files.items():
        keys = re.split(rb"[,\s]+", content.strip())
        if all(re.fullmatch(rb"[\w-]{43}=", key) for key in keys):
            found[name] = [key.decode() for key in keys]
    return found


def key_id(key: str) -> str:
    """Return the id of a key, as in settings files."""
    return hashlib.sha256(b"cctv-face-detection master key id\0" + key.encode()).hexdigest()[:8]


@lru_cache(maxsize=4096)
def _decrypt(key: str, token: bytes) -> bytes | None:
    try:
        return Fernet(key).decrypt(token)
    except InvalidToken:
        return None
