"""What is recognized, but not read: encrypted files, and formats of other programs; each with what converts it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from src.utils.secrets.command import manage, program

from .entries import NOTHING_CHANGED, ImportRefusedError
from .statements import NAME

if TYPE_CHECKING:
    from src.utils.secrets.command import Hint

    from .entries import Content, IsOurs

_FERNET = re.compile(rb"\s*gAAAA[A-Za-z0-9_-]{60,}={0,2}\s*")
_SOPS_VALUE = re.compile(r"ENC\[AES256_GCM,data:[^\]]*\]")
_DOTENVX_VALUE = re.compile(r"encrypted:[A-Za-z0-9+/]{40,}={0,2}")
_YAML = re.compile(rf"""[ \t]*(?:-[ \t]+)?(?P<quote>["']?)(?P<name>{NAME})(?P=quote)[ \t]*:(?:[ \t]|\Z)""")
_AWS_OPTIONS = ("--query", "SecretString", "--output", "text", "--secret-id", "ID")
_YAML_START = re.compile(r"---[ \t]*")
_KUBERNETES = re.compile(r"""kind:[ \t]*["']?Secret["']?[ \t]*""")
_PIPE = "Then run the same with --import -, and pipe the output into it"
_AS_LINES = 'Write the lines as NAME=\'value\', or write JSON: {"NAME": "value"}'
_FORMS = {
    "YAML": _YAML,
    "a list in YAML": re.compile(rf"""[ \t]*-[ \t]+["']?(?P<name>{NAME})="""),
    "written for PowerShell": re.compile(rf"[ \t]*\$env:(?P<name>{NAME})[ \t]*=", re.IGNORECASE),
    "written for the Windows command line": re.compile(rf"""[ \t]*@?setx?[ \t]+"?(?P<name>{NAME})=""", re.IGNORECASE),
    "written for csh": re.compile(rf"[ \t]*setenv[ \t]+(?P<name>{NAME})[ \t]"),
    "written for fish": re.compile(rf"[ \t]*set[ \t]+(?:-\S+[ \t]+)+(?P<name>{NAME})[ \t]"),
}


def path_in_command(source: str) -> str:
    """``source`` as a command takes it; ``FILE`` where it came in through a pipe."""
    return os.path.abspath(source) if os.path.isfile(source) else "FILE"


def refuse_encrypted(data: bytes, source: str) -> None:
    """Refuse a file that is encrypted as a whole.

    Args:
        data: What it holds.
        source: Where it comes from, human-readable.

    Raises:
        ImportRefusedError: It is encrypted; says what decrypts it.
    """
    path = path_in_command(source)
    age = program("age", "--decrypt", "--identity", "KEY_FILE", path, purpose="Decrypt it")
    gpg = program("gpg", "--decrypt", path, purpose="Decrypt it")
    ansible = program("ansible-vault", "view", path, purpose="Decrypt it")
    git_crypt = program("git-crypt", "unlock", purpose="In its repository, decrypt it")
    known: tuple[tuple[bytes, str, Hint], ...] = (
        (b"$ANSIBLE_VAULT;", "ansible-vault", ansible),
        (b"-----BEGIN AGE ENCRYPTED FILE-----", "age", age),
        (b"age-encryption.org/", "age", age),
        (b"-----BEGIN PGP MESSAGE-----", "PGP", gpg),
        (b"\0GITCRYPT\0", "git-crypt", git_crypt),
    )
    start = data.lstrip(b" \t\r\n").removeprefix(b"\xef\xbb\xbf")[:64]
    for mark, tool, hint in known:
        if start.startswith(mark):
            steps = (hint,) if tool == "git-crypt" else (hint, _PIPE)
            raise ImportRefusedError(f"{source} is encrypted with {tool}; {NOTHING_CHANGED}", hint=steps)
    if _FERNET.fullmatch(data):
        raise ImportRefusedError(
            f"{source} is an encrypted file of these tools, not its content; {NOTHING_CHANGED}",
            hint=[
                manage("rescue", purpose="Restore the secrets in it"),
                "An import needs the decrypted content",
            ],
        )


def refuse_objects(content: Mapping[str, object], source: str) -> None:
    """Refuse the output of other programs in JSON.

    Args:
        content: The object.
        source: Where it comes from, human-readable.

    Raises:
        ImportRefusedError: It is one; says what converts it.
    """
    path = path_in_command(source)
    if isinstance(content.get("sops"), dict):
        decrypt = program("sops", "decrypt", "--input-type", "json", "--output-type", "json", path)
        raise _converted(source, "is encrypted with sops", decrypt)
    if content.get("kind") in ("Secret", "SecretList", "List"):
        raise _kubernetes(source, is_json=content["kind"] == "Secret")
    if "SecretString" in content:
        raise _converted(
            source,
            "is what AWS Secrets Manager answers, with the values inside a text",
            program("aws", "secretsmanager", "get-secret-value", *_AWS_OPTIONS),
        )
    data = content.get("data")
    if isinstance(data, dict) and ("request_id" in content or "lease_id" in content or _is_table(data.get("data"))):
        inner = ".data.data" if _is_table(data.get("data")) else ".data"
        raise _converted(source, "is what Vault answers, with the values inside", program("jq", inner, path))
    if content.get("format") == "secrets-backup" and "lock" in content:
        restore = manage("restore", path, purpose="Restore it")
        raise ImportRefusedError(f"{source} is a backup; {NOTHING_CHANGED}", hint=restore)
    if any(isinstance(value, dict) and "computed" in value for value in content.values()):
        raise _converted(
            source,
            "is what Doppler prints about secrets",
            program("doppler", "secrets", "download", "--no-file", "--format", "json"),
        )


def refuse_lines(content: Content, is_ours: IsOurs, source: str) -> None:
    """Refuse lines that are encrypted, or written for other programs.

    Args:
        content: The lines.
        is_ours: Whether a name is one of a secret.
        source: Where they come from, human-readable.

    Raises:
        ImportRefusedError: They are; says what converts them.
    """
    _refuse_encrypted_values(content, is_ours, source)
    if any(_KUBERNETES.fullmatch(stray.text) for stray in content.strays):
        raise _kubernetes(source, is_json=False)
    named = bool(content.entries)
    for stray in content.strays:
        for form, pattern in _FORMS.items():
            found = pattern.match(stray.text)
            if found and (is_ours(found["name"]) or not named):
                raise _foreign(form, stray.place, source)
        if _YAML_START.fullmatch(stray.text) and not named:
            raise _foreign("YAML", stray.place, source)
    if content.strays and not named:
        raise ImportRefusedError(
            f"{source} has no names, so nothing tells which secret it is; {NOTHING_CHANGED}",
            hint=["For one value use --set-file NAME=PATH", "A file with several values needs lines like NAME=value"],
        )


def _refuse_encrypted_values(content: Content, is_ours: IsOurs, source: str) -> None:
    path = path_in_command(source)
    ours = [entry for entry in content.entries if is_ours(entry.name)]
    values = [entry.value for entry in (ours or content.entries) if isinstance(entry.value, str)]
    names = [entry.name for entry in content.entries]
    if any(stray.text.startswith("sops:") or _SOPS_VALUE.search(stray.text) for stray in content.strays):
        decrypt = program("sops", "decrypt", "--input-type", "yaml", "--output-type", "json", path)
        raise _converted(source, "is encrypted with sops", decrypt)
    if any(name.startswith("sops_") for name in names) or any(map(_SOPS_VALUE.fullmatch, values)):
        # As dotenv, sops writes line ends in a way that only sops reads.
        decrypt = program("sops", "decrypt", "--input-type", "dotenv", "--output-type", "json", path)
        raise _converted(source, "is encrypted with sops", decrypt)
    is_dotenvx = any(name.startswith("DOTENV_PUBLIC_KEY") for name in names) and not ours
    if is_dotenvx or any(map(_DOTENVX_VALUE.fullmatch, values)):
        decrypt = program("dotenvx", "decrypt", "--stdout", "-f", path)
        raise _converted(source, "is encrypted with dotenvx", decrypt)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _converted(source: str, what: str, *steps: Hint) -> ImportRefusedError:
    return ImportRefusedError(f"{source} {what}; {NOTHING_CHANGED}", hint=[*steps, _PIPE])


def _kubernetes(source: str, *, is_json: bool) -> ImportRefusedError:
    path = path_in_command(source)
    values = ".data | map_values(@base64d)"
    if is_json:
        return _converted(source, "is a Secret of Kubernetes, with the values as base64", program("jq", values, path))
    return _converted(
        source,
        "is a Secret of Kubernetes, with the values as base64",
        f"From the cluster, get the values: kubectl get secret NAME -o json | jq '{values}'",
    )


def _foreign(form: str, line: int, source: str) -> ImportRefusedError:
    path = path_in_command(source)
    steps: dict[str, list[Hint]] = {
        "YAML": [program("yq", "-o", "json", path, purpose="Convert it"), _PIPE],
        "written for csh": [program("csh", "-c", 'source "$1"; env -0', path, purpose="Convert it"), _PIPE],
        "written for fish": [program("fish", "-c", "source $argv[1]; env -0", path, purpose="Convert it"), _PIPE],
        "written for the Windows command line": [_AS_LINES],
    }
    return ImportRefusedError(
        f"Line {line} of {source} is {form}, which is not read; {NOTHING_CHANGED}", hint=steps.get(form, [_AS_LINES])
    )
