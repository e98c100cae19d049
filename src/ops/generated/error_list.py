"""Every error of this project, read out of its source, so that the page about them cannot miss one."""

from __future__ import annotations

import ast
import glob
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.utils.secrets.command import Command, Spelling, make, manage, program, script, set_up, write_docker_files
from src.utils.secrets.settings import PROJECT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Python's own, and those that never reach a person.
_NOT_SHOWN = ("AssertionError", "BackError", "TypeError", "ValidationError", "ValueError", "_CheckAndSetError")
_USAGE = ("UsageError", "WrongUsageError")
_FACTORIES: dict[str, Callable[..., Command]] = {
    # Which form of Compose a machine has makes no difference here.
    "compose": lambda *words: program("docker", "compose", *words),
    "make": make,
    "manage": manage,
    "move_aside": lambda path: program("mv", "-n", path, f"{path}.old", purpose="Move it aside"),
    "program": program,
    "removal_command": lambda _own, *options: manage("environment", "remove", "NAME", *options),
    "script": script,
    "set_value": lambda _deployment, name, purpose="": manage("set", name, purpose=purpose),
    "set_up": set_up,
    "write_docker_files": write_docker_files,
}
_DIE = re.compile(r"""\bdie (?P<message>"[^"]*"|'[^']*')(?:[\s\\]+(?P<hint>"[^"\n]*"|'[^'\n]*'))?""")


@dataclass(frozen=True, order=True)
class Message:
    """One error as it stands in the source.

    Attributes:
        text: What it says; ``{name}`` stands for what differs.
        hint: What to do; a line each.
    """

    text: str
    hint: str


def all_messages() -> dict[str, list[Message]]:
    """The errors of ``src`` and ``scripts`` by the sentence that says what all of a kind have in common.

    Those of the cloud stores have a table of their own.
    """
    trees = [ast.parse(_read(path)) for path in _paths("src/**/*.py", "scripts/*.py")]
    kinds = dict(kind for tree in trees for kind in _kinds(tree))
    found: dict[str, set[Message]] = {}
    for tree in trees:
        for name, message in _raised(tree):
            found.setdefault(kinds[name], set()).add(message)
    for path in _paths("scripts/*.sh"):
        found.setdefault("A program or package of this machine is missing or too old.", set()).update(_died(path))
    return {kind: sorted(messages) for kind, messages in sorted(found.items())}


def _paths(*patterns: str) -> list[str]:
    return [
        path
        for pattern in patterns
        for path in sorted(glob.glob(os.path.join(PROJECT_DIRECTORY, pattern), recursive=True))
    ]


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _kinds(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each class of errors with the first line of its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            first = (ast.get_docstring(node) or "").split("\n")[0]
            yield node.name, first
            if node.name == "WrongUsageError":
                yield from ((name, first) for name in _USAGE)


def _raised(tree: ast.Module) -> Iterator[tuple[str, Message]]:
    """Each error that is made, with the name of its class."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        hints = [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
        if name == "report_error":
            name, hints = "StoreError", node.args[1:]
        if not (name.endswith("Error") or name in _USAGE) or name in _NOT_SHOWN:
            continue
        text = _template(node.args[0])
        if re.sub(r"\{\w*\}|\W", "", text):
            yield name, Message(text, _hint(name, hints))


def _hint(name: str, hints: list[ast.expr]) -> str:
    steps = [step for hint in hints for step in _steps(hint)]
    if not steps:
        return "The same command with --help" if name in _USAGE else "What the text says"
    if all(re.fullmatch(r"\{\w*\}", step) for step in steps):
        return "The command that its hint names"
    return "\n".join(steps)


def _steps(node: ast.expr) -> list[str]:
    """The steps of a hint: texts, and commands as they are typed in the project's folder."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return [step for element in node.elts for step in _steps(element)]
    if isinstance(node, ast.IfExp):
        return [*_steps(node.body), *_steps(node.orelse)]
    if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
        return _steps(node.elt)
    if isinstance(node, ast.Starred):
        return _steps(node.value)
    factory = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
    if isinstance(node, ast.Call) and factory in _FACTORIES:
        return [_spell(factory, node)]
    text = _template(node)
    return [text] if text else []


def _spell(factory: str, call: ast.Call) -> str:
    # Braces would be quoted as the shell's own.
    words = [re.sub(r"\{(.*?)\}", r"@@\1@@", _template(argument)) for argument in call.args]
    purpose = "".join(_template(keyword.value) for keyword in call.keywords if keyword.arg == "purpose")
    typed = Spelling().spell(_FACTORIES[factory](*words))
    return (f"{purpose}: " if purpose else "") + re.sub("@@(.*?)@@", r"{\1}", typed)


def _died(path: str) -> Iterator[Message]:
    for match in _DIE.finditer(_read(path)):
        text, hint = (re.sub(r"\$\{?(\w+)\}?", r"{\1}", (match[group] or "")[1:-1]) for group in ("message", "hint"))
        yield Message(text, hint.partition("$(")[0] + ("..." if "$(" in hint else ""))


def _template(node: ast.expr) -> str:
    """A text of the source, with ``{name}`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _template(node.value) if _is_spelled(node.value) else "{" + _name(node.value) + "}"
    if isinstance(node, ast.Call) and _is_spelled(node):
        return " ".join(_steps(node.args[0]))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, (_template(node.body), _template(node.orelse))))
    return "{" + _name(node) + "}"


def _is_spelled(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "spell"


def _name(node: ast.expr) -> str:
    """A word for what is filled in: the last name in the expression that makes it."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute):
        return _name(node.value) if node.attr.startswith("__") else node.attr.strip("_")
    if isinstance(node, ast.Call):
        # Of a.join(b) and a.shown(b) it is b; of a.describe() it is a.
        return _name(node.args[0]) if node.args else _name(getattr(node.func, "value", node.func))
    if isinstance(node, (ast.Subscript, ast.Starred)):
        return _name(node.value)
    if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
        return _name(node.elt)
    if isinstance(node, ast.BoolOp):
        return _name(node.values[0])
    if isinstance(node, ast.IfExp):
        return _name(node.body)
    return "..."
