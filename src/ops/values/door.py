"""Every way in for a value: what is wrong with it is refused, asked about, or said, and always in the same words."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import ConfigurationError, InvalidSecretError
from src.utils.secrets.judge import Origin, Verdict

from .strength import examine, fault_of_typed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.command import Hint
    from src.utils.secrets.judge import Objection

    Ask = Callable[[SecretSpec, Objection], bool]

ACCEPT = "--accept"
_PLURAL = {"is a published example that everybody can know": "are published examples that everybody can know"}


@dataclass(frozen=True)
class Given:
    """A value that somebody gives.

    Attributes:
        spec: Its secret.
        value: The value.
        origin: How it comes in.
        source: From where, human-readable; empty when it was typed.
    """

    spec: SecretSpec
    value: str = field(repr=False)
    origin: Origin
    source: str = ""


@dataclass
class Admitted:
    """What may be stored.

    Attributes:
        values: By name.
        left_out: The names whose values are examples, and which nobody needs.
        warnings: What is wrong all the same, a sentence each.
    """

    values: dict[str, str] = field(default_factory=dict, repr=False)
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def admit(
    catalog: Catalog,
    given: Sequence[Given],
    *,
    accepted: Collection[str] = (),
    present: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> Admitted:
    """Judge values before anything is changed.

    Args:
        catalog: The list of secrets.
        given: The values.
        accepted: The names whose values are taken although something about them is odd.
        present: What the store has: it is said when a value is one of another secret. Left out where a plan follows
            that compares all of them.
        ask: Asks the person whether to go on (:func:`ask_at_terminal`); left out where nobody answers.

    Raises:
        InvalidSecretError: Some of them are refused; says which, and what is wrong with each.
        ConfigurationError: A name that is accepted is none.
    """
    if not set(accepted) <= set(catalog.names):
        raise ConfigurationError(
            f"{ACCEPT} takes a name of the catalogue", hint=f"Known names: {', '.join(catalog.names)}"
        )
    admitted = Admitted()
    refused: list[tuple[Given, Objection]] = []
    others = {} if present is None else dict(present) | {one.spec.name: one.value for one in given}
    for one in given:
        check_value(one.spec.name, one.value)
        value = _settle(one, catalog, others, accepted, ask, admitted, refused)
        if value is not None:
            admitted.values[one.spec.name] = value
    if refused:
        raise _refusal(refused)
    return admitted


def ask_at_terminal(spec: SecretSpec, objection: Objection) -> bool:
    """Ask whether to correct a value, or to take it as it is."""
    from src.ops.terminal.prompts import confirm

    can_correct = objection.corrected is not None
    question = "Remove that?" if can_correct else "Take it all the same?"
    return confirm(f"{spec.name} {objection.text}. {question}", default=can_correct)


def fault_of_answer(spec: SecretSpec, value: str, catalog: Catalog) -> str | None:
    """Why a person at a prompt is asked for another value; ``None`` when this one can be taken, or asked about."""
    return fault_of_text(value) or fault_of_typed(spec, value, catalog)


def fault_of_text(value: str) -> str | None:
    """Why no store can keep what was typed."""
    if not value:
        return "This cannot be empty."
    try:
        check_value("", value)
    except InvalidSecretError:
        return "It has bytes in it that are not UTF-8 text. Check the encoding of your terminal."
    return None


def asker() -> Ask | None:
    """:func:`ask_at_terminal`, where a person answers."""
    return ask_at_terminal if sys.stdin.isatty() and sys.stdout.isatty() else None


def _settle(
    one: Given,
    catalog: Catalog,
    others: Mapping[str, str],
    accepted: Collection[str],
    ask: Ask | None,
    admitted: Admitted,
    refused: list[tuple[Given, Objection]],
) -> str | None:
    """The value to store; ``None`` when it is left out or refused."""
    value, kept = one.value, set[str]()
    while True:
        found = [o for o in examine(one.spec, value, one.origin, catalog, others) if o.fault not in kept]
        grave = next((objection for objection in found if objection.verdict is not Verdict.WARN), None)
        if grave is None:
            admitted.warnings += [f"{one.spec.name} {objection.text}" for objection in found]
            return value
        is_accepted = one.spec.name in accepted
        is_example = any(objection.is_example for objection in found)
        if is_example and not one.spec.generated and one.origin is Origin.IMPORT and not is_accepted:
            admitted.left_out.append(one.spec.name)
            return None
        if grave.verdict is Verdict.REFUSE:
            refused += [(one, objection) for objection in found if objection.verdict is Verdict.REFUSE]
            return None
        if ask is None and not is_accepted:
            refused += [(one, objection) for objection in found if objection.verdict is Verdict.ASK]
            return None
        if not is_accepted and ask is not None:
            agrees = ask(one.spec, grave)
            if agrees and grave.corrected is not None:
                value = grave.corrected
                check_value(one.spec.name, value)
                continue
            if not agrees and grave.corrected is None:
                refused.append((one, grave))
                return None
        kept.add(grave.fault)


def _refusal(refused: Sequence[tuple[Given, Objection]]) -> InvalidSecretError:
    groups: dict[tuple[str, str], list[str]] = {}
    hints: dict[Hint, None] = {}
    for one, objection in refused:
        groups.setdefault((one.source, objection.text), []).append(one.spec.name)
        hints.update(dict.fromkeys((*objection.hints, *_cures(one, objection))))
    return InvalidSecretError("; ".join(_sentence(*key, names) for key, names in groups.items()), hint=list(hints))


def _sentence(source: str, text: str, names: Sequence[str]) -> str:
    said = text if len(names) == 1 else _PLURAL.get(text, f"each {text}")
    where = f" in {source if source.isprintable() else ascii(source)}" if source else ""
    return f"{', '.join(names)}{where} {said}"


def _cures(one: Given, objection: Objection) -> list[Hint]:
    name = one.spec.name
    if objection.verdict is Verdict.ASK:
        correct: list[Hint] = [f"Remove that from {one.source}"] if objection.corrected and one.source else []
        return [*correct, f"If {name} is right as it is, add: {ACCEPT} {name}"]
    if not one.spec.generated:
        return ["Give another value"]
    if one.origin is Origin.IMPORT:
        return ["Remove these lines from it: strong values are generated then. Or write your own values there"]
    return ["Choose another, or leave it out: then a strong one is generated"]
