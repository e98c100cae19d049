"""Why a value is not read: what programs make of it, and what to write instead."""

from __future__ import annotations

from .entries import OTHER_WAY

IN_SINGLE_QUOTES = "put the value into single quotes"

HASH = f"' #' begins a comment, or is part of the value: {IN_SINGLE_QUOTES}, or remove the comment"
SEMICOLON = f"';' ends the value, or is part of it: {IN_SINGLE_QUOTES}, or remove the ';'"
BACKSLASH = f"programs read a backslash without quotes differently: {IN_SINGLE_QUOTES}"
BACKSLASH_IN_SINGLE = (
    "programs read a backslash before a quote or a backslash differently: "
    "write export in front of the name to have it read as a shell does"
)
BACKSLASH_IN_DOUBLE = (
    "programs read a backslash in double quotes differently, for example as a line end: "
    f"{IN_SINGLE_QUOTES}, and write a line end as one"
)
QUOTE_INSIDE = f"programs read quotes inside a value differently: put the whole value into quotes, or: {OTHER_WAY}"
QUOTES = f"the quotes do not fit together: put the whole value into quotes and nothing behind it, or: {OTHER_WAY}"
TRIPLE = f"programs read three quotes differently: {IN_SINGLE_QUOTES}"
ANSI_C = f"only some shells read $'...': {IN_SINGLE_QUOTES}, or pipe env -0 into --import -"
EXPANSION = "a shell replaces a part of it, which is not done here: put the value itself into single quotes"
SHELL_TEXT = f"a shell reads what follows the value as something else: {IN_SINGLE_QUOTES}"
ANOTHER_WORD = f"another word follows the value: {IN_SINGLE_QUOTES}"
SEVERAL = "several assignments, or one value with '=' in it: put each on its own line, or the value into single quotes"
HEREDOC = f"'<<' begins a text over several lines, which is not read here: {IN_SINGLE_QUOTES}"
OTHER_QUOTES = f"these quotes are a part of the value to most programs: {IN_SINGLE_QUOTES}"
SEVERAL_LINES = f"it goes on in the next lines, without quotes: {IN_SINGLE_QUOTES}"
IN_URL = "its password cannot be taken out of it for certain: write the password in a line of its own"
APPENDED = "it adds to an earlier value: write the whole value"
NOT_CLEAR = "it is in a line that is not understood: put it on its own line as NAME='value'"
NOT_UTF8 = "the value is not UTF-8: save the file as UTF-8"
NOT_TEXT = "the value is not text: write it in quotes"


def inside_quotes_of(line: int) -> str:
    """A line that is inside the quotes of another."""
    return f"it is inside quotes that line {line} opens: close them there, or remove this line"
