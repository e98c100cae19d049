"""Judging passwords that people type, with zxcvbn. https://github.com/dropbox/zxcvbn"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LOWEST_SCORE = 3  # of 4: more than 10^8 guesses
SHORTEST_PASSWORD = 12
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
