"""What is wrong with a secret's value: the same judgement at every way in, in ``status``, and when the app starts.

A value is refused when everybody can know it, or when it is too short. It is asked about when it is probably not the
value itself: it has a line end, it is the name of a file, it stands for something that another program puts in its
place, or another program has encrypted it. The rest is said. Nothing of a value is ever part of what is said.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from .command import program
from .placeholders import is_example_of, is_published_example

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .catalog import SecretSpec
    from .command import Hint

LONGEST_PATH = 1024
BYTE_ORDER_MARK = "\ufeff"
SECRETS_MOUNT = "/run/secrets/"
SHORTEST_IN_USE = 16
PLACEHOLDER, SHORT = "a placeholder", "short"


class Verdict(IntEnum):
    """What a fault means."""

    WARN = 1
    ASK = 2
    REFUSE = 3


class Origin(Enum):
    """Where a value comes from."""

    TYPED = "typed"
    FILE = "a file with one value"
    IMPORT = "a file with many values"
    STORE = "the store in use"


@dataclass(frozen=True)
class Objection:
    """One thing that is wrong with a value.

    Attributes:
        verdict: What it means.
        fault: What it is, in a few words: "a placeholder".
        text: The same in a sentence that goes on after the secret's name: "is a published example ...".
        hints: What to do about it, where that is known.
        corrected: The value without the fault, where that is certain.
        is_example: Whether everybody can know the value.
    """

    verdict: Verdict
    fault: str
    text: str
    hints: tuple[Hint, ...] = ()
    corrected: str | None = field(default=None, repr=False)
    is_example: bool = False


def judge(
    spec: SecretSpec,
    value: str,
    origin: Origin,
    *,
    names: Collection[str] = (),
    others: Mapping[str, str] | None = None,
) -> list[Objection]:
    """What is wrong with a value, the gravest first; empty when nothing is.

    Args:
        spec: The secret.
        value: The value. It is neither kept nor shown.
        origin: Where it comes from. In a store, a relative path is none: nothing says what it starts from.
        names: The names of all secrets, and their other names: none of them stands in front of a value.
        others: The values of other secrets, by name.
    """
    if not spec.judged:
        return []
    stand_ins = list(_stand_ins(spec, value, names))
    found = [*_odd_characters(value), *stand_ins, *_paths(value, origin)]
    examples = [] if stand_ins else list(_examples(spec, value))
    found += examples
    if not any(example.verdict is Verdict.REFUSE for example in examples):
        found += _lengths(spec, value, origin)
    twins = sorted(name for name, other in (others or {}).items() if name != spec.name and other == value)
    if twins:
        found.append(Objection(Verdict.WARN, "used twice", f"has the same value as {', '.join(twins)}"))
    return sorted(found, key=lambda objection: -objection.verdict)


def all_names(specs: Collection[SecretSpec]) -> frozenset[str]:
    """The names of secrets, and those under which people keep the same values."""
    return frozenset(name for spec in specs for name in (spec.name, *spec.aliases))


def _examples(spec: SecretSpec, value: str) -> Iterator[Objection]:
    if is_example_of(spec, value):
        text = "is a published example that everybody can know"
        yield Objection(Verdict.REFUSE, PLACEHOLDER, text, is_example=True)
    elif not spec.generated and is_published_example(value, by_words=False):
        yield Objection(Verdict.ASK, PLACEHOLDER, "looks like a published example", is_example=True)


def _lengths(spec: SecretSpec, value: str, origin: Origin) -> Iterator[Objection]:
    # A value that is in use is not to be replaced because a generated one would be longer still.
    usual = min(spec.length or 0, SHORTEST_IN_USE) if origin is Origin.STORE else spec.length or 0
    size = f"{len(value)} character{'' if len(value) == 1 else 's'}"
    fault = f"{SHORT}, {size}"
    if spec.min_length is not None and len(value) < spec.min_length:
        text = f"has {size}; use at least {spec.min_length}"
        yield Objection(Verdict.REFUSE, fault, text)
    elif spec.input == "generate" and len(value) < usual:
        yield Objection(Verdict.WARN, fault, f"has {size}; a generated one has {spec.length}")


# --- Characters ------------------------------------------------------------------------------------------------------

_LINE_ENDS = "\r\n"
# Letters and signs that show nothing, though Unicode has them among letters, marks and symbols.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}


def _odd_characters(value: str) -> Iterator[Objection]:
    is_text = "\n" in value.strip(_LINE_ENDS)  # a certificate, for example: it ends with a line end, too
    bare = value.strip(_LINE_ENDS + BYTE_ORDER_MARK)
    if not bare.strip():
        yield Objection(Verdict.REFUSE, "empty", "has nothing in it that can be seen")
        return
    if bare != value and not (is_text and value.removesuffix("\n") == bare):
        which = "a line end" if value.strip(_LINE_ENDS) != value else "a byte order mark"
        yield Objection(Verdict.ASK, f"{which} at an end", f"begins or ends with {which}", corrected=bare)
    if bare != bare.strip(" "):
        corrected = bare.strip(" ") if bare == value else None  # what is kept at the ends is not taken away with them
        yield Objection(Verdict.ASK, "a space at an end", "begins or ends with a space", corrected=corrected)
    if any(_is_control(character) for character in bare):
        yield Objection(Verdict.ASK, "control characters", "has control characters in it")
    if any(_is_invisible(character) for character in bare):
        yield Objection(Verdict.ASK, "invisible characters", "has characters in it that cannot be seen")


def _is_control(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) == "Cc"


def _is_invisible(character: str) -> bool:
    if character.isascii():
        return False
    return unicodedata.category(character) in ("Cf", "Zs", "Zl", "Zp") or character in _BLANKS


# --- What is not the value itself ------------------------------------------------------------------------------------

# So narrow that no random password has one by chance.
_EXPANSION = re.compile(
    r"\$\{(?:[A-Z]{2}[A-Z_][A-Z0-9_]*|[a-z]{2}[a-z_][a-z0-9_]*)(?::?[-=?+][^{}]*)?\}"
    r"|\$\((?:[\w./~-]*/[a-z]+|[a-z]{4,}|[a-z][\w.-]*\s[^()]*)\)|\$\{\{\s*[\w.]+\s*\}\}"
)
_WHOLE_EXPANSION = re.compile(
    r"\$(?:[A-Z][A-Z0-9_]{2,}|[a-z]+(?:_[a-z0-9]+)+)|\$\{[A-Za-z_]\w*[^{}]*\}|`[a-z/.~][\w ./:@=~-]+`"
    r"|%[A-Z][A-Z0-9_]{2,}%|\{\{.*\}\}",
    re.DOTALL,
)
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=")

# What the values of each program begin with, what they are, and the command that gives the value itself.
_STAND_INS: tuple[tuple[str, str, str], ...] = (
    (r"ENC\[AES256_GCM,", "was encrypted by sops", "sops decrypt FILE"),
    (r"encrypted:[A-Za-z0-9+/=]{20,}", "was encrypted by dotenvx", "dotenvx get NAME"),
    (r"ENC\[(?:PKCS7|GPG),", "was encrypted by hiera-eyaml", "eyaml decrypt -f FILE"),
    (r"EJ\[\d+:", "was encrypted by ejson", "ejson decrypt FILE"),
    (r"ENC\([A-Za-z0-9+/=]+\)", "was encrypted by jasypt", ""),
    (r"\{cipher\}", "was encrypted by Spring Cloud Config", ""),
    (r"\$ANSIBLE_VAULT;", "was encrypted by ansible-vault", "ansible-vault view FILE"),
    (r"(?:!vault\b)", "was encrypted by ansible-vault", "ansible-vault view FILE"),
    (r"vault:v\d+:", "was encrypted by Vault's transit engine",
     "vault write -field=plaintext transit/decrypt/KEY ciphertext=-"),
    (r"-----BEGIN AGE ENCRYPTED FILE-----|age-encryption\.org/v1", "was encrypted by age",
     "age --decrypt --identity KEY FILE"),
    (r"-----BEGIN PGP MESSAGE-----", "was encrypted by GnuPG", "gpg --decrypt FILE"),
    (r"U2FsdGVkX1", "was encrypted by openssl", "openssl enc -d -base64 -CIPHER -in FILE"),
    (r"gAAAAA[A-Za-z0-9_-]{60,}", "is a Fernet token: something encrypted, not the value", ""),
    (r"AQ(?:ICA|ECA)H[A-Za-z0-9+/=]{40,}", "was encrypted by AWS KMS",
     "aws kms decrypt --ciphertext-blob fileb://FILE"),
    (r"op://", "is a reference of 1Password", "op read REFERENCE"),
    (r"ref\+[a-z0-9]+://|secretref\+", "is a reference of vals", "vals get REFERENCE"),
    (r"arn:aws[a-z-]*:secretsmanager:", "names a secret of AWS", "aws secretsmanager get-secret-value --secret-id ARN"),
    (r"arn:aws[a-z-]*:ssm:", "names a parameter of AWS", "aws ssm get-parameter --with-decryption --name ARN"),
    (r"@Microsoft\.KeyVault\(|https://[a-z0-9-]+\.vault\.azure\.net/", "names a secret of Azure Key Vault",
     "az keyvault secret show --id ADDRESS"),
    (r"projects/[^/\s]+/secrets/|gcp?(?:sm|secretmanager)://|sm://", "names a secret of Google Cloud",
     "gcloud secrets versions access latest --secret NAME"),
    (r"bws?://|bitwarden://", "is a reference of Bitwarden", "bw get password NAME"),
    (r"(?:vault|hvault|hashivault)://|vault:[\w/-]+[#:]\w+|secret/data/", "names a secret of Vault",
     "vault kv get PATH"),
    (r"(?:awssm|aws-sm|awsssm|aws-ssm|ssm|akv|azurekv|azkv|keyring|keychain|doppler|infisical|l?pass|secrets?)://",
     "is a reference that another program replaces", ""),
    ((r"\$(?:2[abxy]?\$\d\d|argon2(?:id?|d)|scrypt|pbkdf2|[156y]\$[./A-Za-z0-9=,$]{8,})"
      r"|pbkdf2[:_]sha\d+|scrypt:\d+:|SCRAM-SHA-256\$|\{SSHA\d*\}"),
     "is a hash: nobody can get the value back from it", ""),
)  # fmt: skip
_STAND_IN = re.compile("|".join(f"(?P<s{number}>{row[0]})" for number, row in enumerate(_STAND_INS)))


def _stand_ins(spec: SecretSpec, value: str, names: Collection[str]) -> Iterator[Objection]:
    text = value.strip(_LINE_ENDS + BYTE_ORDER_MARK + " ")
    assigned = _ASSIGNMENT.match(text)
    if assigned and assigned[1].removesuffix("_FILE") in names:
        yield Objection(
            Verdict.ASK, "a whole line, with a name", "begins with a name and =, as a line of a settings file"
        )
    if _EXPANSION.search(text) or _WHOLE_EXPANSION.fullmatch(text):
        what = "stands for something that a shell or Compose would put in its place"
        yield Objection(Verdict.ASK, "an expansion", what, is_example=is_example_of(spec, text))
    found = _STAND_IN.match(text)
    if found:
        _pattern, text, command = _STAND_INS[int((found.lastgroup or "s0")[1:])]
        hints = (program(*command.split(), purpose="The value itself comes from something like"),) if command else ()
        yield Objection(Verdict.ASK, "not the value itself", text, hints)


def _paths(value: str, origin: Origin) -> Iterator[Objection]:
    text = value.strip()
    if not text or len(text) > LONGEST_PATH or "\n" in text or "\0" in text:
        return
    is_absolute = text.startswith(("/", "~/"))
    is_there = os.path.exists(os.path.expanduser(text)) if is_absolute else os.path.isfile(text)
    if text.startswith(SECRETS_MOUNT) or (is_there and (is_absolute or origin is not Origin.STORE)):
        yield Objection(Verdict.ASK, "a path", "is a path, not what is in the file")
