"""Judging passwords that people type, with zxcvbn. https://github.com/dropbox/zxcvbn"""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets.placeholders import is_example_of, is_published_example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.utils.secrets.catalog import Catalog, SecretSpec

LOWEST_SCORE = 3  # of 4: more than 10^8 guesses
SHORTEST_PASSWORD = 12
SHORTEST_GENERATED = 16
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


def weakness_of(spec: SecretSpec, value: str, catalog: Catalog) -> str | None:
    """What is wrong with a value that a person gave: a published example, or a weak one where people choose."""
    if is_example_of(spec, value):
        return "It is a published example: everybody can know it."
    if spec.input != "generate_or_ask":
        return None
    return weakness(value, [catalog.application, catalog.slug])


def fault_of(spec: SecretSpec, value: str, catalog: Catalog) -> str | None:
    """What is wrong with a value that is in a store, in a few words; ``None`` when it is strong.

    What only its provider can issue is not judged, but for placeholders.
    """
    if spec.default is None and is_published_example(value):
        return "a placeholder"
    if spec.input == "ask":
        return None
    if spec.input == "generate_or_ask":
        return "weak" if weakness_of(spec, value, catalog) else None
    if len(value) < min(SHORTEST_GENERATED, spec.length or SHORTEST_GENERATED):
        return f"short, {len(value)} characters"
    # A generated value of full length has no need of the slow judgement.
    if spec.length is not None and len(value) >= spec.length and len(set(value)) > SHORTEST_GENERATED:
        return None
    return "weak" if weakness(value) else None
