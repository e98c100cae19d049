"""Questions to a person at a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import questionary
from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prompt_toolkit.key_binding import KeyPressEvent

_STYLE = questionary.Style([("instruction", "fg:ansibrightblack"), ("highlighted", "bold"), ("answer", "bold")])


@dataclass(frozen=True)
class Choice:
    """One line of a menu.

    Attributes:
        value: What :func:`select` returns for it.
        title: What the person reads.
    """

    value: str
    title: str


def select(question: str, choices: Sequence[Choice], default: str | None = None) -> str:
    """Let the person choose one line, with the arrow keys or its number, and Enter.

    Args:
        question: One line.
        choices: At least one; the first nine have a number key.
        default: The choice that Enter means; the first when left out.
    """
    lines = [questionary.Choice(choice.title, value=choice.value) for choice in choices]
    answer: str = _ask(
        questionary.select(
            question,
            choices=lines,
            default=default,
            use_shortcuts=True,
            use_indicator=False,
            instruction="(arrows or number, then Enter)",
            style=_STYLE,
        )
    )
    return answer


def confirm(question: str, *, default: bool) -> bool:
    """Ask for yes or no; Enter means ``default``."""
    answer: bool = _ask(questionary.confirm(question, default=default, style=_STYLE))
    return answer


def ask_text(question: str, *, default: str = "", check: Callable[[str], str | None] | None = None) -> str:
    """Ask for a line of text.

    Args:
        question: One line.
        default: What stands there already.
        check: Says what is wrong with an answer; the person stays at the question until it returns ``None``.
    """
    answer: str = _ask(questionary.text(question, default=default, validate=_validator(check), style=_STYLE))
    return answer


def ask_secret(question: str, *, check: Callable[[str], str | None] | None = None) -> str:
    """Ask for a value that is not shown while it is typed. See :func:`ask_text`."""
    answer: str = _ask(questionary.password(question, validate=_validator(check), style=_STYLE))
    return answer


def _validator(check: Callable[[str], str | None] | None) -> Callable[[str], bool | str]:
    def validate(answer: str) -> bool | str:
        return (check(answer) if check else None) or True

    return validate


def _ask(question: questionary.Question) -> Any:
    question.application.key_bindings = merge_key_bindings(
        [bindings for bindings in (question.application.key_bindings, _abort_keys()) if bindings]
    )
    return question.unsafe_ask()


def _abort_keys() -> KeyBindings:
    """Ctrl-D leaves like Ctrl-C, also in menus and behind typed characters, where libraries give it other meanings."""
    bindings = KeyBindings()

    @bindings.add("c-d", eager=True)
    def abort(event: KeyPressEvent) -> None:
        event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return bindings
