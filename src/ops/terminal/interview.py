"""A conversation that can go back: answers are remembered, and questions that were answered are not asked again.

Going back runs the conversation from its start once more, with the remembered answers and nothing on the screen, up to
the question that is to be asked again. So whatever asks needs no code of its own for going back; it must only change
nothing outside of itself, or look again at what it changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import prompts
from .prompts import BackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .prompts import Choice
    from .screen import Screen

    Check = Callable[[str], str | None]


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        question: To what.
        value: The answer.
        shown: The answer as it may be shown; empty for one that may not.
        is_open: Whether it is only suggested, and the question asked again.
        is_repetition: Whether it only repeats the previous one.
    """

    question: str
    value: Any = field(repr=False)
    shown: str
    is_open: bool = False
    is_repetition: bool = False


class Interview:
    """Asks, and remembers.

    Args:
        screen: Where the questions appear, each on a page of its own.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._answers: list[Answer] = []
        self._repeated: list[Answer] = []

    @property
    def answers(self) -> list[Answer]:
        """What was answered, in order."""
        return list(self._answers)

    def run(self, conversation: Callable[[], None]) -> None:
        """Run ``conversation``, and again from its start whenever the person goes back."""
        while True:
            try:
                conversation()
            except BackError as back:
                self._go_back(back.position)
                continue
            return

    def forget_repeated(self) -> None:
        """Every question has been asked: what is left of an earlier time does not apply any more."""
        self._repeated = []
        self._screen.is_silent = False

    def select(self, question: str, choices: Sequence[Choice], default: str | None = None, *, why: str) -> str:
        """See :func:`.prompts.select`; ``why`` says above the question why it is asked."""
        titles = {choice.value: choice.title for choice in choices}

        def ask(suggested: str | None) -> str:
            self._explain(
                why, "Enter selects the highlighted line; use the arrow keys or type a number.", gap=bool(why)
            )
            return prompts.select(question, choices, suggested if suggested in titles else default, can_go_back=True)

        answer: str = self._answer(question, ask, titles.__getitem__, lambda value: value in titles)
        return answer

    def confirm(self, question: str, *, default: bool, why: str) -> bool:
        """See :func:`.prompts.confirm`."""

        def ask(suggested: bool | None) -> bool:
            meaning = default if suggested is None else suggested
            self._explain(why, f"Enter means {'yes' if meaning else 'no'}.", gap=True)
            return prompts.confirm(question, default=meaning, can_go_back=True)

        answer: bool = self._answer(question, ask, lambda value: "yes" if value else "no")
        return answer

    def ask_text(
        self,
        question: str,
        *,
        default: str = "",
        check: Check | None = None,
        hide: Callable[[str], bool] | None = None,
        why: str,
    ) -> str:
        """See :func:`.prompts.ask_text`."""

        def ask(suggested: str | None) -> str:
            proposal = suggested or default
            self._explain(
                why, "Press Enter to accept this value, or edit it." if proposal else "Press Enter when you are done."
            )
            return prompts.ask_text(question, default=proposal, check=check, hide=hide, can_go_back=True)

        answer: str = self._answer(question, ask, str, _passes(check))
        return answer

    def ask_for_word(self, word: str, *, why: str) -> None:
        """Go on only when the person types ``word``: for what cannot be undone."""
        self.ask_text(
            f"Type '{word}' to go on:", check=lambda answer: None if answer == word else f"Type: {word}", why=why
        )

    def ask_secret(self, question: str, *, check: Check | None = None, why: str, is_repetition: bool = False) -> str:
        """See :func:`.prompts.ask_secret`."""

        def ask(_suggested: str | None) -> str:
            self._explain(why, "Press Enter when you are done.")
            return prompts.ask_secret(question, check=check, can_go_back=True)

        answer: str = self._answer(question, ask, lambda _value: "", _passes(check), is_repetition=is_repetition)
        return answer

    def ask_secret_twice(self, question: str, *, check: Check | None = None, why: str) -> str:
        """Ask for a value that is not shown, and once more for the same."""
        value = self.ask_secret(question, check=check, why=why)
        self.ask_secret(
            prompts.ONCE_MORE,
            check=prompts.same_as(value),
            why="The value is not shown, so a typing mistake would only be noticed later.",
            is_repetition=True,
        )
        return value

    def _answer(
        self,
        question: str,
        ask: Callable[[Any], Any],
        shown: Callable[[Any], str],
        fits: Callable[[Any], bool] = lambda _value: True,
        *,
        is_repetition: bool = False,
    ) -> Any:
        before = self._take_repeated(question)
        if before is not None and not before.is_open and fits(before.value):
            self._answers.append(before)
            self._screen.is_silent = bool(self._repeated) and not self._repeated[0].is_open
            return before.value
        self._screen.is_silent = False
        value = ask(before.value if before else None)
        self._answers.append(Answer(question, value, shown(value), is_repetition=is_repetition))
        self._screen.end_page()
        self._screen.is_silent = bool(self._repeated)
        return value

    def _explain(self, why: str, hint: str, *, gap: bool = False) -> None:
        """Why it is asked, and what the keys do; ``why`` is empty where the whole page says it.

        Args:
            why: The reason.
            hint: The keys.
            gap: Whether the question needs an empty line above it; one that is typed brings its own.
        """
        self._screen.start_paragraph()
        if why:
            self._screen.say(why)
        if self._screen.is_plain:  # what Enter does stands behind each plain question
            hint = "Type < to go back." if self._answers else ""
        elif self._answers:
            hint += " Esc goes back."
        if hint:
            self._screen.aside(hint)
        if gap:
            self._screen.say("")

    def _take_repeated(self, question: str) -> Answer | None:
        """The answer that this question had before. Those to questions that are not asked any more are dropped."""
        for number, answer in enumerate(self._repeated):
            if answer.question == question:
                del self._repeated[: number + 1]
                return answer
        return None

    def _go_back(self, position: int | None) -> None:
        """Ask one question again: the one at ``position``, or the previous one, and what follows it."""
        answers, self._answers = self._answers, []
        self._screen.end_page()
        if position is None:
            answers, position = answers[:], len(answers) - 1
        if answers:
            answers[position] = replace(answers[position], is_open=True)
        self._repeated = answers
        self._screen.is_silent = bool(answers) and not answers[0].is_open


def _passes(check: Check | None) -> Callable[[str], bool]:
    return lambda value: check is None or check(value) is None
