"""The commands in the guides."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.conftest import PROJECT


@dataclass(frozen=True)
class Block:
    """One block of commands.

    Attributes:
        page: The page's path.
        number: The number of the block in that page.
        text: The commands.
        reason: Why it is not run.
        run_by: The other test that runs it.
    """

    page: str
    number: int
    text: str
    reason: str
    run_by: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of one page, in their order."""
    pattern = r"(?:^<!-- (?:not run: (?P<reason>.*?)|run by: (?P<run_by>\w+)) -->\n)?^```sh\n(?P<text>.*?)^```$"
    found = re.finditer(pattern, (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [
        Block(page, number, match["text"], match["reason"] or "", match["run_by"] or "")
        for number, match in enumerate(found, 1)
    ]
