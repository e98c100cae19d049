"""What people see between the questions."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from src.ops.plan import Plan


class Screen:
    """Standard output, as a terminal or as a plain stream."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

    @property
    def is_terminal(self) -> bool:
        """Whether a person can see it."""
        return sys.stdout.isatty()

    def title(self, text: str, subtitle: str = "") -> None:
        """A heading with a line under it."""
        self._console.print()
        self._console.print(f"[bold]{escape(text)}[/bold]")
        if subtitle:
            self._console.print(escape(subtitle))
        self._console.rule(characters="─")

    def say(self, *lines: str) -> None:
        """Plain lines."""
        for line in lines:
            self._console.print(escape(line))

    def done(self, text: str) -> None:
        """One thing that worked."""
        self._console.print(f"[green]✓[/green] {escape(text)}")

    def warn(self, text: str) -> None:
        """One thing to take care of."""
        self._console.print(f"[yellow]![/yellow] {escape(text)}")

    def command(self, command: str) -> None:
        """A command to type, under the line that it belongs to."""
        self._console.print(f"    [cyan]{escape(command)}[/cyan]", soft_wrap=True)

    def commands(self, heading: str, commands: Iterable[str]) -> None:
        """Commands to type; never wrapped, so that they can be copied."""
        self._console.print()
        self._console.print(f"[bold]{escape(heading)}[/bold]")
        for command in commands:
            self._console.print(f"  [cyan]{escape(command)}[/cyan]", soft_wrap=True)

    def review(self, plan: Plan) -> None:
        """What will become of each secret: name, origin and length, never a value."""
        rows = [
            (planned.spec.name, planned.origin.value, str(len(planned.value)) if planned.value else "-")
            for planned in plan.secrets
        ]
        self.table(("Secret", "Origin", "Length"), rows)
        if plan.unknown_names:
            self.say(f"Not in the catalogue, kept as they are: {', '.join(plan.unknown_names)}")

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[str], None]]:
        """A bar that moves on with each call, while something takes its time; nothing where there is no terminal."""
        if not self.is_terminal:
            yield lambda _name: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(escape(label), total=total)
            yield lambda _name: progress.advance(task)

    def show_once(self, label: str, value: str) -> None:
        """A value that the person has to store somewhere. Only for a terminal."""
        if not self.is_terminal:
            raise AssertionError("a secret is shown on a terminal only")
        self._console.print()
        self._console.print(f"[bold]{escape(label)}[/bold]")
        self._console.print(f"  {escape(value)}", soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]], *, last: str = "right") -> None:
        """Rows under headings.

        Args:
            headings: One for each column.
            rows: Their cells.
            last: How the last column is aligned.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in headings[:-1]:
            table.add_column(heading, overflow="fold")
        table.add_column(headings[-1], justify="right" if last == "right" else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        self._console.print(table)
