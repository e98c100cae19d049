"""Recognising published examples: values that documentation, templates and default set-ups hold for everybody.

Anybody can sign with a key that is printed in a manual. Such values are of few kinds, and each kind is recognised, not
only the examples that are known: texts that say what to put in their place (``<key>``, ``change-me``), texts made of
nothing but the words of such texts (``my-super-secret-jwt-key``), characters in a row or repeated, and a list of keys
that well-known projects publish.
"""

from __future__ import annotations

import itertools
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .catalog import SecretSpec

LONGEST_EXAMPLE = 256

# What examples are made of. A value is one that has a word of the first kind, and nothing but words of both kinds with
# digits and punctuation between them.
_TELLING_WORDS = frozenset(
    """
    admin administrator cctv change changed changeit changeme credential credentials debug default demo dev devel
    development dummy example fixme generate generated insecure insert jwt key keys letmein mock mysql passphrase
    passwd password passwords passwort placeholder postgres postgresql private pwd qwerty random replace replaced
    root sample secret secretkey secrets secure supersecret temp temporary test tester testing tobemodified todo
    token tokens unsafe unsecure user username welcome your yours
    """.split()  # noqa: SIM905 - a list of them fills pages
)
_OTHER_WORDS = frozenset(
    """
    a access account actual add aes all always am an and api app application at auth authentication authorization
    basic be been before bit bits by byte bytes captcha certificate char character characters chars choose cipher
    client code complex complicated cookie create csrf custom database db deploy deployment device django do docker
    dont edit else email encrypt encrypted encryption enter fernet fill fix flask for get goes good guess hash here
    hex hidden hmac hook host http https id in instead is it keep laravel least length lengthy live local localhost
    login long mail master me minimum modified modify must my need needs never no node non not of only or pass
    pepper phrase pin please prod production project provide public put pw rails rand really redis refresh safe salt
    security seed server service session set shared should sign signature signing smtp so some something sql stage
    staging string strong stuff super sure text that the this too top twilio two update updated use uuid very we
    webhook will with word write x xx xxx you
    """.split()  # noqa: SIM905
)
_LONGEST_WORD = max(map(len, _TELLING_WORDS | _OTHER_WORDS))

# Texts that say themselves that they have to be replaced, whatever else stands beside them.
_INSTRUCTION = re.compile(
    r"<[^<>]*>|\$\{.*\}|\{\{.*\}\}|\{%.*%\}|\[[a-z _-]*\]|%\(?[a-z_]+\)?s?%?|__+[a-z_]+__+|([*x.?_-])\1{2,}"
    r"|(?:.*[^a-z0-9])?(?:change|replace|fill|set|insert|edit|update)[-_ .]?(?:me|this|it|with|in|before)(?:[^a-z].*)?"
    r"|your(?:[-_ .].*)|(?:.*[^a-z0-9])?your[-_ .].*here.*"
    r"|(?:.*[^a-z0-9])?(?:placeholder|changeme|change_?it|tobemodified|fixme|insecure|unsecure|do[-_ ]not[-_ ]use)"
    r"(?:[^a-z].*)?"
    r"|.*example(?:key|secret|token|password)?",
    re.DOTALL,
)

# Published as they are, without the characters that are neither letters nor digits.
_PUBLISHED = frozenset(
    """
    09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7
    192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf 5y2lf4q8znxec a0zr98j3yxrxhhjmnlwxrt
    255d861b5ea159969aa3922530ec40b1 6116487bcda152c2b5b5c8022c45e263 wjalrxutnfemik7mdengbpxrficyexamplekey
    cw0x689rpijtrr7oe8heqskimvjaplesbxpwf4e4 zmdfctf760grry167zsipd67pevs0agov2oasom1pg allyourbase foobared
    foobar keyboardcat shhhhh minioadmin hunter2 correcthorsebatterystaple trustno1 iloveyou abc123 abcd1234
    a1b2c3d4 1q2w3e4r 1qaz2wsx qwertyuiop qwerty123 asdfghjkl zxcvbnm opensesame guest toor dragon monkey sunshine
    football baseball master welcome1 raspberry ubnt adminadmin calvin vagrant cisco sesame
    reallyreallyreallyreallyverysafe mmuserpassword temporarykey averyimportantsecret generateanewkey cats
    """.split()  # noqa: SIM905 - a list of them fills pages
)

_LEET = str.maketrans("0134578@$!|", "oieastbasil")
_ROW_SHARE = 0.8  # of the steps from one character to the next: how many of a value in a row go up or down by one
_SHORTEST_ROW = 4


def is_example_of(spec: SecretSpec, value: str | None) -> bool:
    """Whether a secret that is generated has a value that everybody can know; others are not judged.

    Args:
        spec: The secret.
        value: Its value; none is no example.
    """
    return spec.generated and is_published_example(value or "")


def is_published_example(value: str) -> bool:
    """Whether ``value`` is one that everybody can know: a placeholder, a default, an example of documentation.

    Args:
        value: A secret's value. It is neither kept nor shown.
    """
    text = value.strip().strip("\"'`").lower()
    if not text or len(text) > LONGEST_EXAMPLE:
        return False
    if _INSTRUCTION.fullmatch(text) or _is_row(text):
        return True
    bare = re.sub(r"[\W_]", "", text)
    if bare in _PUBLISHED:
        return True
    without_tail = re.sub(r"[\W\d_]+$", "", text)
    return any(map(_is_made_of_words, (without_tail, without_tail.translate(_LEET), text.translate(_LEET))))


def _is_row(text: str) -> bool:
    """Whether the characters follow each other, or are one digit: ``12345678``, ``0123456789abcdef``, ``0000``."""
    if len(set(text)) == 1:
        return text.isdecimal()
    steps = [abs(ord(right) - ord(left)) for left, right in itertools.pairwise(text)]
    return len(text) >= _SHORTEST_ROW and sum(step == 1 for step in steps) >= _ROW_SHARE * len(steps)


def _is_made_of_words(text: str) -> bool:
    """Whether ``text`` is nothing but words of examples, one after the other, with few digits between them."""
    letters = re.sub(r"[^a-z]", "", text)
    if 2 * len(letters) < len(re.sub(r"[\W_]", "", text)):
        return False
    # For each position: whether a way there has a telling word, None where there is no way.
    ways: list[bool | None] = [False] + [None] * len(letters)
    for end in range(1, len(letters) + 1):
        for start in range(max(0, end - _LONGEST_WORD), end):
            word, before = letters[start:end], ways[start]
            if before is not None and (word in _TELLING_WORDS or word in _OTHER_WORDS):
                ways[end] = bool(ways[end]) or before or word in _TELLING_WORDS
    return bool(ways[-1])
