"""Every error of this project, read out of its source, so that the page about them cannot miss one."""

from __future__ import annotations

import ast
import glob
import os
from dataclasses import dataclass

from src.utils.secrets.settings import PROJECT_DIRECTORY


@dataclass(frozen=True, order=True)
class Message:
    """One error as it stands in the source.

    Attributes:
        text: What it says; ``{...}`` stands for what differs.
        hint: What to do.
        error: Its class.
    """

    text: str
    hint: str
    error: str


def all_messages() -> list[Message]:
    """The errors with a hint in ``src``, by text; those of the cloud stores have a table of their own."""
    found = set()
    for path in glob.glob(os.path.join(PROJECT_DIRECTORY, "src", "**", "*.py"), recursive=True):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        found |= {message for node in ast.walk(tree) if (message := _message(node))}
    return sorted(found)


def _message(node: ast.AST) -> Message | None:
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    hints = [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
    if not (name.endswith("Error") and hints):
        return None
    text, hint = _template(node.args[0]), _template(hints[0])
    return Message(text, hint, name) if text.strip("{}.") else None


def _template(node: ast.expr) -> str:
    """A text of the source, with ``{name}`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + _name(node.value) + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_template(node.body)} / {_template(node.orelse)}".strip(" /")
    return "{...}"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return "..."
