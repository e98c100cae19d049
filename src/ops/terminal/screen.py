"""What people see between the questions."""

from __future__ import annotations

import os
import sys
import textwrap
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

from src.utils.secrets.command import spell

from .prompts import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from src.utils.secrets.command import Hint


_CONTROL_CHARACTERS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "?")


class Screen:
    """Standard output, as a terminal or as a plain stream.

    Attributes:
        heading: Stands at the top of each page.
        is_silent: Nothing is shown.
        is_plain: Nothing is drawn: lines of text, one after the other.
    """

    def __init__(self) -> None:
        self.heading = ""
        self.is_silent = False
        self.is_plain = is_plain()
        self._page_ended = False
        self._is_at_top = False

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        plain = {"color_system": None, "force_terminal": False} if self.is_plain else {}
        return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), **plain)  # type: ignore[arg-type]

    @property
    def is_terminal(self) -> bool:
        """Whether a person can see it."""
        return sys.stdout.isatty()

    def end_page(self) -> None:
        """What is shown next stands on a page of its own; what was shown can be scrolled back to."""
        self._page_ended = True

    def title(self, text: str, subtitle: str = "") -> None:
        """A heading with a line under it."""
        if self._page_ended and not self.is_silent:
            self._turn_page("")
        else:
            self._print()
        self._print(text, bold=True)
        if subtitle:
            self._print(subtitle)
        self._rule()
        self._is_at_top = True

    def say(self, *lines: str) -> None:
        """Plain lines."""
        for line in lines:
            self._print(line)

    def aside(self, text: str) -> None:
        """A line for those who look for help."""
        self._print(text, dim=True)

    def start_paragraph(self) -> None:
        """An empty line, unless the page has just begun."""
        if not (self._page_ended or self._is_at_top):
            self._print()

    def begin(self, text: str) -> None:
        """Something that takes its time begins; seen at once, in a file as well."""
        self._print(f"{text} ...", dim=True)
        if not self.is_silent:
            sys.stdout.flush()

    def done(self, text: str) -> None:
        """One thing that worked."""
        self._print(text, mark="OK:" if self.is_plain else "✓", mark_colour="green")
        if not self.is_terminal:
            sys.stdout.flush()  # a log is read while it is written

    def warn(self, text: str, *hints: Hint) -> None:
        """One thing to take care of, and below it what to do about it."""
        self._print(text, mark="Note:" if self.is_plain else "!", mark_colour="yellow")
        for hint in hints:
            self.command(hint)

    def command(self, command: Hint) -> None:
        """A command to type, under the line that it belongs to."""
        self._print(f"    {spell(command)}", colour="cyan", wrap=False)

    def commands(self, heading: str, commands: Iterable[Hint]) -> None:
        """Commands to type; never wrapped, so that they can be copied."""
        self._print()
        self._print(heading, bold=True)
        for command in commands:
            self._print(f"  {spell(command)}", colour="cyan", wrap=False)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[str], None]]:
        """A bar that moves on with each call, while something takes its time; nothing where there is no terminal."""
        if not self.is_terminal or self.is_plain or not total:
            yield lambda _name: None
            return
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(escape(label), total=total)
            yield lambda _name: progress.advance(task)

    @contextmanager
    def working(self, label: str) -> Iterator[None]:
        """Says what takes its time, for as long as it takes."""
        if self.is_silent or not self.is_terminal:
            yield
            return
        if self.is_plain:
            self.say(label)
            yield
            return
        from rich.markup import escape

        with self._console.status(escape(label)):
            yield

    def show_once(self, label: str, value: str) -> None:
        """A value that the person has to store somewhere. Only for a terminal."""
        if not self.is_terminal:
            raise AssertionError("a secret is shown on a terminal only")
        self._print()
        self._print(label, bold=True)
        shown = f"  {value}" if can_show(value) else "  (this terminal cannot show some of its characters)"
        self._print(shown, wrap=False)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]], *, last: str = "right") -> None:
        """Rows under headings.

        Args:
            headings: One for each column.
            rows: Their cells.
            last: How the last column is aligned.
        """
        if self.is_silent:
            return
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in headings[:-1]:
            table.add_column(heading, overflow="fold")
        table.add_column(headings[-1], justify="right" if last == "right" else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        self._begin()
        self._console.print(table)

    def _print(
        self,
        text: str = "",
        *,
        bold: bool | None = None,
        dim: bool | None = None,
        colour: str | None = None,
        mark: str = "",
        mark_colour: str | None = None,
        wrap: bool = True,
    ) -> None:
        """A line, broken between words. rich does that too, but takes long to import before the first question."""
        if self.is_silent:
            return
        self._begin()
        text = f"{mark} {text}" if mark else text
        lines = [part.translate(_CONTROL_CHARACTERS) for part in text.split("\n")]
        if wrap and self.is_terminal:
            lines = [
                piece
                for line in lines
                for piece in textwrap.wrap(line, self._columns(), break_on_hyphens=False) or [""]
            ]
        if not self._is_coloured():
            colour = mark_colour = None
        lines = [click.style(line, fg=colour, bold=bold, dim=dim) if colour or bold or dim else line for line in lines]
        if mark and mark_colour:
            lines[0] = click.style(mark, fg=mark_colour) + lines[0].removeprefix(mark)
        if self.is_plain or not self.is_terminal:
            lines = [click.unstyle(line) for line in lines]
        print(*lines, sep="\n")  # noqa: T201

    def _begin(self) -> None:
        if self._page_ended:
            self._turn_page(self.heading)
        self._is_at_top = False

    @staticmethod
    def _is_coloured() -> bool:
        return not os.environ.get("NO_COLOR")

    @staticmethod
    def _columns() -> int:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80

    def _turn_page(self, heading: str) -> None:
        self._page_ended = False
        if self.is_plain or not self.is_terminal:
            print()  # noqa: T201
            return
        # Scrolls, where clearing would take the earlier page away.
        sys.stdout.write("\n" * os.get_terminal_size(sys.stdout.fileno()).lines + "\x1b[H\x1b[J")
        if heading:
            self._print(heading, bold=True)
            self._rule()

    def _rule(self) -> None:
        if not self.is_plain and not self.is_silent:
            print("─" * (self._columns() if self.is_terminal else 80))  # noqa: T201


def can_show(text: str) -> bool:
    """Whether the terminal has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
