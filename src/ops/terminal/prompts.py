"""Questions to a person at a terminal."""

from __future__ import annotations

import getpass
import os
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import questionary
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    Check = Callable[[str], str | None]

# Nothing here needs to know where the cursor is; over a slow line the terminal's answer would end up in the shell.
os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")

PLAIN_SETTING = "SECRETS_PLAIN"
ONCE_MORE = "Repeat it:"
_BACK = "<"


class BackError(Exception):
    """The person wants another question: the previous one, or the one at ``position`` of those answered."""

    def __init__(self, position: int | None = None) -> None:
        super().__init__()
        self.position = position


@dataclass(frozen=True)
class Choice:
    """One line of a menu.

    Attributes:
        value: What :func:`select` returns for it.
        title: What the person reads.
    """

    value: str
    title: str


def is_plain() -> bool:
    """Whether questions are plain lines that nothing is drawn over: for screen readers and simple terminals."""
    can_draw = os.environ.get("TERM") != "dumb" and "utf" in (sys.stdout.encoding or "utf-8").lower()
    return bool(os.environ.get(PLAIN_SETTING)) or not can_draw


def select(question: str, choices: Sequence[Choice], default: str | None = None, *, can_go_back: bool = False) -> str:
    """Let the person choose one line, with the arrow keys or its number, and Enter.

    Args:
        question: One line.
        choices: At least one; the first nine have a number key.
        default: The choice that Enter means; the first when left out.
        can_go_back: Whether Esc raises :class:`BackError`.
    """
    default = default or choices[0].value
    if is_plain():
        return _select_plainly(question, choices, default, can_go_back=can_go_back)
    import questionary

    lines = [
        questionary.Choice(_wrapped(choice.title, margin=7, indent="\n      "), value=choice.value)
        for choice in choices
    ]
    answer: str = _ask(
        questionary.select(
            _wrapped_question(question),
            choices=lines,
            default=default,
            use_shortcuts=True,
            use_indicator=False,
            instruction=" ",
            style=_style(),
        ),
        can_go_back=can_go_back,
    )
    return answer


def confirm(question: str, *, default: bool, can_go_back: bool = False) -> bool:
    """Ask for yes or no; Enter means ``default``."""
    if is_plain():
        meaning = f"y or n; Enter: {'yes' if default else 'no'}"
        answers = {"": default, "y": True, "yes": True, "n": False, "no": False}
        said = _ask_plainly(
            f"{question} ({meaning}) ",
            lambda text: None if text.strip().lower() in answers else "Type y or n.",
            can_go_back=can_go_back,
        )
        return answers[said.strip().lower()]
    import questionary

    answer: bool = _ask(
        questionary.confirm(_wrapped_question(question), default=default, style=_style()),
        can_go_back=can_go_back,
    )
    return answer


def ask_text(
    question: str,
    *,
    default: str = "",
    check: Check | None = None,
    hide: Callable[[str], bool] | None = None,
    can_go_back: bool = False,
) -> str:
    """Ask for a line of text.

    Args:
        question: One line.
        default: The suggested answer, which Enter accepts.
        check: Says what is wrong with an answer; the person stays at the question until it returns ``None``.
        hide: Whether what is typed is not shown: for what looks like a secret in the wrong place.
        can_go_back: Whether Esc raises :class:`BackError`.
    """
    if is_plain():
        suggestion = f" (Enter: {default})" if default else ""
        return (
            _ask_plainly(
                f"{question}{suggestion} ",
                lambda text: check(text or default) if check else None,
                can_go_back=can_go_back,
            )
            or default
        )
    answer: str = _ask(_line(question, default, check, hide=hide), can_go_back=can_go_back)
    return answer


def ask_secret(question: str, *, check: Check | None = None, can_go_back: bool = False) -> str:
    """Ask for a value that is not shown while it is typed. See :func:`ask_text`."""
    if is_plain():
        return _ask_plainly(f"{question} (not shown) ", check, can_go_back=can_go_back, read=getpass.getpass)
    answer: str = _ask(_line(question, "", check, hide=lambda _text: True), can_go_back=can_go_back)
    return answer


def ask_secret_twice(question: str, *, check: Check | None = None) -> str:
    """Ask for a value that is not shown, and once more for the same."""
    value = ask_secret(question, check=check)
    ask_secret(ONCE_MORE, check=same_as(value))
    return value


def same_as(value: str) -> Check:
    """A check that only ``value`` passes."""
    return lambda again: None if again == value else "The two entries do not match."


def _line(
    question: str, default: str, check: Check | None, *, hide: Callable[[str], bool] | None = None
) -> questionary.Question:
    """A line to type, with what is wrong with it above the question.

    questionary's own would show that in one line at the end of the screen, and cut it at the screen's edge.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.validation import ValidationError, Validator
    from questionary import Question

    class Judge(Validator):
        fault = ""

        def validate(self, document: Document) -> None:
            self.fault = (check(document.text) if check else None) or ""
            if self.fault:
                raise ValidationError(cursor_position=len(document.text))

    judge = Judge()

    def message() -> StyleAndTextTuples:
        is_wrong = session.default_buffer.validation_error is not None
        fault = _wrapped(f"! {judge.fault}") if is_wrong else ""
        return [
            ("class:fault", fault + "\n"),
            ("class:qmark", "?"),
            ("class:question", f" {_wrapped_question(question)} "),
        ]

    is_hidden = Condition(lambda: hide is not None and hide(session.default_buffer.text))
    session: PromptSession[str] = PromptSession(message, validator=judge, is_password=is_hidden, style=_style())
    session.default_buffer.reset(Document(default))
    return Question(session.app)


def _select_plainly(question: str, choices: Sequence[Choice], default: str, *, can_go_back: bool) -> str:
    print(_wrapped(question))  # noqa: T201
    for number, choice in enumerate(choices, 1):
        print(_wrapped(f"{number}. {choice.title}", margin=4, indent="\n   "))  # noqa: T201
    values = {str(number): choice.value for number, choice in enumerate(choices, 1)}
    suggested = next(number for number, value in values.items() if value == default)
    said = _ask_plainly(
        f"Number, 1 to {len(choices)} (Enter: {suggested}) ",
        lambda text: None if (text.strip() or suggested) in values else f"Type a number from 1 to {len(choices)}.",
        can_go_back=can_go_back,
    )
    return values[said.strip() or suggested]


def _ask_plainly(prompt: str, check: Check | None, *, can_go_back: bool, read: Callable[[str], str] = input) -> str:
    while True:
        try:
            said = read(_wrapped(prompt) + " ")
        except UnicodeDecodeError:
            print(_wrapped("That has bytes in it that this terminal's encoding does not have. Type it again."))  # noqa: T201
            continue
        if can_go_back and said == _BACK:
            raise BackError
        fault = check(said) if check else None
        if fault is None:
            return said
        print(_wrapped(fault))  # noqa: T201


def _wrapped(text: str, *, margin: int = 1, indent: str = "\n") -> str:
    """``text``, broken between words where the screen is narrow: what does not fit would be cut, or break anywhere.

    Args:
        text: One line.
        margin: How many columns are taken by something else.
        indent: What separates two lines.
    """
    columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 80
    return indent.join(
        textwrap.wrap(text, max(20, columns - margin), break_long_words=False, break_on_hyphens=False) or [""]
    )


def _wrapped_question(question: str) -> str:
    """Leaves room for the mark before it, and for a short answer behind it."""
    return _wrapped(question, margin=9)


def _style() -> questionary.Style:
    import questionary

    return questionary.Style(
        [
            ("qmark", "fg:#5f819d"),
            ("question", "bold"),
            ("instruction", "fg:ansibrightblack"),
            ("highlighted", "bold"),
            ("answer", "bold"),
            ("fault", "fg:ansired"),
        ]
    )


def _ask(question: questionary.Question, *, can_go_back: bool) -> Any:
    from prompt_toolkit.key_binding import merge_key_bindings

    question.application.key_bindings = merge_key_bindings(
        [bindings for bindings in (question.application.key_bindings, _leaving_keys(can_go_back)) if bindings]
    )
    return question.unsafe_ask()


def _leaving_keys(can_go_back: bool) -> KeyBindings:
    """Ctrl-D leaves like Ctrl-C, also in menus and behind typed characters, where libraries give it other meanings."""
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("c-d", eager=True)
    def abort(event: KeyPressEvent) -> None:
        event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    if can_go_back:

        @bindings.add("escape", eager=True)
        def go_back(event: KeyPressEvent) -> None:
            event.app.exit(exception=BackError())

    return bindings
