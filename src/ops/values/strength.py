"""Judging values with zxcvbn, besides what the library judges. https://github.com/dropbox/zxcvbn"""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets.judge import SHORT, Objection, Origin, Verdict, all_names, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from src.utils.secrets.catalog import Catalog, SecretSpec

LOWEST_SCORE = 3  # of 4: more than 10^8 guesses
SHORTEST_PASSWORD = 12
FEWEST_DIFFERENT = 16
LONG_ENOUGH = (
    40  # with that many different characters: no need of the slow judgement, which takes seconds here and there
)
WEAK = "weak"
_JUDGED_CHARACTERS = 72  # zxcvbn's own limit; its time grows fast with the length


def weakness(password: str, known_words: Sequence[str] = ()) -> str | None:
    """What is wrong with ``password``, for the person who typed it; ``None`` when it is strong.

    Args:
        password: What was typed.
        known_words: What an attacker would try first, such as the application's name.
    """
    if len(password) < SHORTEST_PASSWORD:
        return f"It has {len(password)} characters; use at least {SHORTEST_PASSWORD}."
    if not password.isprintable():
        return "It has characters that cannot be typed everywhere; use letters, digits and signs."
    from zxcvbn import zxcvbn

    judged = zxcvbn(password[:_JUDGED_CHARACTERS], user_inputs=list(known_words))
    if judged["score"] >= LOWEST_SCORE:
        return None
    feedback = judged["feedback"]
    advice = [feedback["warning"], *feedback["suggestions"]]
    return "It is too easy to guess. " + " ".join(f"{text.rstrip('.')}." for text in advice if text)


def examine(
    spec: SecretSpec, value: str, origin: Origin, catalog: Catalog, others: Mapping[str, str] | None = None
) -> list[Objection]:
    """What is wrong with a value, the gravest first: see :func:`.judge.judge`; and whether it can be guessed."""
    found = judge(spec, value, origin, names=all_names(catalog.secrets), others=others)
    if any(one.verdict is Verdict.REFUSE or one.fault.startswith(SHORT) for one in found):
        return found
    guessed = _weakness_of(spec, value, catalog)
    weak = [Objection(Verdict.WARN, WEAK, f"is weak. {guessed}")] if guessed else []
    return sorted([*found, *weak], key=lambda objection: -objection.verdict)


def fault_of(spec: SecretSpec, value: str, catalog: Catalog, others: Mapping[str, str] | None = None) -> str | None:
    """What is wrong with a value that is in a store, in a few words; ``None`` when it is strong."""
    found = examine(spec, value, Origin.STORE, catalog, others)
    return found[0].fault if found else None


def fault_of_typed(spec: SecretSpec, value: str, catalog: Catalog) -> str | None:
    """Why a person at a prompt is asked for another value, in sentences; ``None`` when this one can be taken.

    A weak one is asked for again, too: there is somebody who can think of another.
    """
    found = judge(spec, value, Origin.TYPED, names=all_names(catalog.secrets))
    if found and found[0].verdict is Verdict.REFUSE:
        return f"It {found[0].text}."
    return _weakness_of(spec, value, catalog) if spec.input == "generate_or_ask" else None


def _weakness_of(spec: SecretSpec, value: str, catalog: Catalog) -> str | None:
    """Whether a value can be guessed, where people choose it or it is not as it would be generated."""
    enough = spec.length if spec.length and spec.input == "generate" else LONG_ENOUGH
    is_as_generated = len(value) >= enough and len(set(value)) > FEWEST_DIFFERENT
    if not spec.judged or spec.input == "ask" or is_as_generated:
        return None  # what only its provider can issue is not judged, and the slow judgement is not needed
    return weakness(value, [catalog.application, catalog.slug])
