"""Recognising published examples: values that documentation, templates and default set-ups hold for everybody.

Anybody can sign with a key that is printed in a manual. ``published_examples.tsv`` lists such values; they are compared
without case, separators and repetition. A list does not contain new ones, and such values are of few kinds, so each
kind is recognised, too: texts that say what to put in their place (``<key>``, ``change-me``), texts made of nothing but
the words of such texts (``my-super-secret-jwt-key``), and characters in a row or repeated.

What is random is never taken for an example: a word of an instruction proves nothing beside a long random part, or in
a passphrase of other words.
"""

from __future__ import annotations

import itertools
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .catalog import SecretSpec

CORPUS_FILE = "published_examples.tsv"
LONGEST_EXAMPLE = 256
LONGEST_PUBLISHED = 1024  # the longest of the corpus are tokens of 220 characters, written twice here and there
SHORTEST_FOLD = 4

# What examples are made of. A value is one that has a word of the first kind, and nothing but words of both kinds with
# digits and punctuation between them.
_TELLING_WORDS = frozenset(
    """
    admin administrator cctv change changed changeit changeme changethis credential credentials debug default demo dev
    devel development dummy example fake fixme generate generated insecure insert jwt key keys letmein mock mysql
    passphrase passwd password passwords passwort placeholder postgres postgresql private pwd qwerty random replace
    replaceme replaced root sample secret secretkey secrets secure supersecret temp temporary test tester testing
    tobemodified todo token tokens unsafe unsecure user username welcome your yours
    """.split()  # noqa: SIM905 - a list of them fills pages
)
_OTHER_WORDS = frozenset(
    """
    a access account actual add aes all always am an and any api app application at auth authentication authorization
    base basic be been before bit bits by byte bytes camera captcha certificate char character characters chars choose
    cipher client code complex complicated cookie create csrf custom database db deploy deployment device django do
    docker dont edit else email encrypt encrypted encryption enter environment fernet fill fix flask for from get goes
    good guess hash here hex hidden hmac hook host http https id in instead is it keep laravel least length lengthy live
    local localhost login long mail master me minimum modified modify must my need needs never no node non not of only
    openssl or our own pass paste pepper phrase pin please prod production project provide public put pw rails rand
    really redis refresh safe salt security seed server service session set shared should sign signature signing smtp so
    some something sql stage staging string strong stuff super sure text that the this to too top twilio two update
    updated use uuid very we webhook will with word write xxx you
    """.split()  # noqa: SIM905
)
_LONGEST_WORD = max(map(len, _TELLING_WORDS | _OTHER_WORDS))

# Texts that stand for a value, or say as a whole that they have to be replaced.
_STAND_IN = re.compile(
    r"<\s*[\w ./:,'-]+>|\$\{[\w.:?/ -]*\}|\{\{[^{}]*\}\}|\{%[^{}]*%\}|\[[a-z _-]*\]"
    r"|%[a-z._]+%|%\([a-z._]+\)s|__+[a-z_]+__+|([*x.?_#-])\1{2,}"
    r"|django-insecure-.*|a[ks]i[ad][a-z0-9]{0,13}example"
)
# Texts with an instruction in them, how many words there may be that are not of examples, and whether something random
# may stand beside it: a passphrase can have such words by chance, and a random value the short ones.
_INSTRUCTIONS = (
    (
        re.compile(
            r"(?<![a-z0-9])(?:(?:change|replace)(?:me|this)|placeholder|tobemodified|do[-_ ]not[-_ ]use)(?![a-z])"
        ),
        3,
        True,
    ),
    (
        re.compile(
            r"(?<![a-z0-9])(?:(?:change|replace|insert|update)[-_ .]?(?:me|this|it|with|in|before)"
            r"|(?:insert|put|add|enter|paste|your)[-_ .].*here)(?![a-z])",
            re.DOTALL,
        ),
        1,
        True,
    ),
    (
        re.compile(r"(?<![a-z0-9])(?:insecure|unsecure|example(?:key|secret|token|password)?(?!\.\w))(?![a-z])"),
        1,
        True,
    ),
    (
        re.compile(
            r"^your[-_ .]|(?<![a-z0-9])(?:fixme|(?:fill|set|edit)[-_ .]?(?:me|this|it|with|in|before))(?![a-z])"
        ),
        1,
        False,
    ),
)
# Every instruction has one of these.
_CLUE = re.compile(r"change|replace|insert|update|fill|set|edit|here|place|modified|use|secure|example|fixme|your")
# A little of a value, and signs for the rest of it: ``sk-xxxxxxxx``.
_FILLED = re.compile(r".{0,8}(?:x{6,}|\*{6,}|\.{6,}|#{6,}|0{8,}).{0,4}", re.DOTALL)

_LEET = str.maketrans("0134578@$!|", "oieastbasil")
_ROW_SHARE = 0.8  # of the steps from one character to the next: how many of a value in a row go up or down by one
_SHORTEST_ROW = 4
_SHORTEST_REPETITION = 6
_LEAST_SHARE = 0.5  # of a value: what has to be letters or digits for its fold to stand for it
_LEAST_SHARE_OF_DIGITS = 2 / 3
_SHORTEST_WORD = 3  # of those that count
_CERTAIN_WORD = 5  # letters of a telling word that nothing random has by chance
_LONGEST_MIXED = 9  # of letters and digits without a separator, beside a short instruction

_SIGNS = "_!?.,;:-+*#$%&@=~()[]{}<>/\\|^ "
_SEPARATORS = re.compile(r"[\W_]+")
_LETTERS = re.compile(r"[a-z]+")
_corpus: frozenset[str] | None = None


def is_example_of(spec: SecretSpec, value: str | None) -> bool:
    """Whether a secret that is generated has a value that everybody can know; others are not judged.

    Args:
        spec: The secret.
        value: Its value; none is no example.
    """
    return spec.judged and spec.generated and is_published_example(value or "")


def is_published_example(value: str, *, by_words: bool = True) -> bool:
    """Whether ``value`` is one that everybody can know: a placeholder, a default, an example of documentation.

    Args:
        value: A secret's value. It is neither kept nor shown.
        by_words: Whether a text of nothing but the words of examples is one, too. People choose such passwords.
    """
    text = value.strip().strip("\"'`").strip()
    if not text or len(text) > LONGEST_PUBLISHED:
        return False
    text = text.lower()
    return (len(text) <= LONGEST_EXAMPLE and _is_of_a_kind(text, by_words)) or _is_in_corpus(text)


def fold(value: str) -> str:
    """``value`` without case, separators and repetition: ``Change-Me changeme`` gives ``changeme``.

    Args:
        value: Any text.
    """
    return _unit_of(_bare(value.strip().lower()))


def _bare(text: str) -> str:
    """The letters and digits of a text."""
    return _SEPARATORS.sub("", text)


def _unit_of(text: str) -> str:
    """What a text repeats, or the text: it is found in two copies of the text other than where they begin."""
    size = (text + text).find(text, 1)
    return text[:size] if 0 < size < len(text) else text


def _is_in_corpus(text: str) -> bool:
    bare = _bare(text)
    # A few digits between signs, or a word between many signs, say nothing about the whole value.
    if len(bare) < len(text) * (_LEAST_SHARE_OF_DIGITS if bare.isdecimal() else _LEAST_SHARE):
        return False
    corpus = _read_corpus()
    unit = _unit_of(bare)
    return any(
        len(found) >= SHORTEST_FOLD and found in corpus
        for found in (unit, unit.rstrip("0123456789"), _unit_of(_bare(text.translate(_LEET))))
    )


def _read_corpus() -> frozenset[str]:
    """The folded values of the corpus; read once, when the first value is judged."""
    global _corpus
    if _corpus is None:
        with open(os.path.join(os.path.dirname(__file__), CORPUS_FILE), encoding="utf-8") as file:
            values = (line.partition("\t")[0] for line in file if not line.startswith("# "))
            _corpus = frozenset(fold(value) for value in values)
    return _corpus


def _is_of_a_kind(text: str, by_words: bool) -> bool:
    if _STAND_IN.fullmatch(text) or _FILLED.fullmatch(text) or _is_row(text) or _is_instruction(text):
        return True
    if not by_words:
        return False
    without_signs = text.rstrip(_SIGNS)
    without_tail = without_signs.rstrip(_SIGNS + "0123456789")
    letters = {without_tail, *(form.translate(_LEET) for form in (without_tail, without_signs, text))}
    return any(map(_is_made_of_words, letters))


def _is_row(text: str) -> bool:
    """Whether characters follow each other or repeat: ``12345678``, ``0123456789abcdef``, ``0000``, ``abcabc``."""
    bare = _bare(text)
    kinds = set(bare or text)
    if len(kinds) == 1:
        # Other letters stand for nothing: a row of them is weak, and nobody has published it.
        return text.isdecimal() or (len(bare or text) >= SHORTEST_FOLD - 1 and (not bare.isalpha() or kinds == {"x"}))
    if not bare:
        return len(kinds) == len("*-") and len(text) >= _SHORTEST_REPETITION
    if len(bare) >= _SHORTEST_REPETITION and 2 * len(bare) >= len(text) and len(_unit_of(bare)) < SHORTEST_FOLD:
        return True
    steps = [ord(right) - ord(left) for left, right in itertools.pairwise(text)]
    up, down = steps.count(1), steps.count(-1)
    in_row = up + down if text.isdecimal() else max(up, down)  # what can be spoken goes to and fro: hijihife
    return len(text) >= _SHORTEST_ROW and in_row >= _ROW_SHARE * len(steps)


def _is_instruction(text: str) -> bool:
    """Whether a text tells to replace it, and is neither a passphrase nor random in the rest."""
    if not _CLUE.search(text):
        return False
    parts = _SEPARATORS.split(text)
    strange, is_random = sum(map(_is_strange, parts)), any(map(_is_mixed, parts))
    return any(
        strange <= most and (may_be_random or not is_random) and pattern.search(text)
        for pattern, most, may_be_random in _INSTRUCTIONS
    )


def _is_strange(part: str) -> bool:
    is_word = part.isalpha() and len(part) >= _SHORTEST_WORD
    return is_word and part not in _TELLING_WORDS and part not in _OTHER_WORDS


def _is_mixed(part: str) -> bool:
    return len(part) > _LONGEST_MIXED and not part.isalpha() and not part.isdecimal()


def _is_made_of_words(text: str) -> bool:
    """Whether ``text`` is nothing but words of examples, one after the other, with few digits between them."""
    groups = _LETTERS.findall(text)
    letters = sum(map(len, groups))
    if 2 * letters < len(_bare(text)):
        return False
    telling, in_long_words = 0, 0
    for group in groups:
        best = _best_way(group)
        if best is None:
            return False
        telling, in_long_words = max(telling, best[0]), in_long_words + best[1]
    # Much of what can be spoken falls into words of two letters, with a word like "dev" by chance.
    return telling >= _CERTAIN_WORD or (telling > 0 and 2 * in_long_words >= letters)


def _best_way(letters: str) -> tuple[int, int] | None:
    """Letters cut into words: the size of the longest telling one, and of the long ones; ``None`` if none fit."""
    ways: list[tuple[int, int] | None] = [(0, 0)] + [None] * len(letters)
    for start, way in enumerate(ways):
        if way is None:
            continue
        for end in range(start + 1, min(start + _LONGEST_WORD, len(letters)) + 1):
            word, size = letters[start:end], end - start
            is_telling = word in _TELLING_WORDS
            if is_telling or word in _OTHER_WORDS:
                new = (max(way[0], is_telling * size), way[1] + (size if size >= _SHORTEST_WORD else 0))
                ways[end] = max(ways[end] or new, new)
    return ways[-1]
