"""``rescue``: the secrets back from what is left of them."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from src.ops.containers.stack import Stack
from src.ops.setup.state import set_value
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.report import WRONG_USAGE, DeclinedError, report_error
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import make, manage
from src.utils.secrets.masterkey import looks_like_master_key

from .shared.backup_lock import read_lock
from .shared.given_keys import ask_for_key, read_key
from .shared.options import deployment_options, json_option, yes_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.rescue import Rescue, Search, Source
    from src.utils.secrets.masterkey import MasterKey

_PASTE, _NAME, _STOP = "paste", "name", "stop"


@click.command("rescue")
@click.option("--from", "origin", metavar="SOURCE", help="Take them from this one: a name that it lists, or a backup.")
@click.option("--key-file", metavar="PATH|-", help="A key to try: of the encrypted file, or of a backup.")
@click.option("--passphrase-file", metavar="PATH|-", help="Read a backup's passphrase from a file.")
@click.option("--replace", is_flag=True, help="Let restored values replace those that the store has.")
@click.option("--dry-run", is_flag=True, help="Show what can be restored; write nothing.")
@json_option
@yes_option
@deployment_options
def rescue_command(
    origin: str | None,
    key_file: str | None,
    passphrase_file: str | None,
    replace: bool,
    dry_run: bool,
    as_json: bool,
    yes: bool,
    deployment: Deployment,
) -> int | None:
    """Restore secrets that are lost.

    From earlier files, other keys, Docker files, containers, or a backup. Looks everywhere first and changes nothing.
    What it replaces is kept. In a store that can be read only what it lacks is restored, unless --replace is given.

    \b
    Examples:
      ./scripts/manage_secrets.py rescue
      ./scripts/manage_secrets.py rescue --from secrets --yes
      ./scripts/manage_secrets.py rescue --from /mnt/usb/secrets.backup
    """
    from src.ops.lifecycle.rescue import plan_rescue, require_target, search

    screen = Screen()
    screen.is_silent = as_json
    if passphrase_file and key_file:
        raise UsageError("--passphrase-file or --key-file, not both")
    keys = [read_key(key_file)] if key_file else []
    can_ask = sys.stdin.isatty() and sys.stdout.isatty() and not (yes or dry_run or as_json)
    with screen.working("Looking for what is left"):
        found = search(deployment, keys)
    if found.is_complete and not replace and origin is None:
        _show_nothing(screen, deployment, found, as_json=as_json)
        return None
    if not (dry_run or as_json):
        require_target(found.inspection)
    if found.inspection.error is not None and not found.is_readable:
        screen.warn(str(found.inspection.error))
    source, found = _choose(screen, deployment, found, origin, keys, can_ask=can_ask)
    if source.is_locked and (can_ask or key_file or passphrase_file):
        source = _open(screen, deployment, source, keys, passphrase_file)
    if source.is_locked:
        if as_json:
            click.echo(json.dumps(_document(deployment, found), indent=2))
        return _stop_at_locked(screen, source, is_dry_run=dry_run)
    others = [other for other in found.usable if other is not source]
    rescue = plan_rescue(
        deployment, found.inspection, source, others if origin is None else (), replace_present=replace
    )
    _show_rescue(screen, deployment, found, rescue, others, as_json=as_json)
    if dry_run:
        screen.say("Dry run: nothing was written.")
        return None
    if not yes and not can_ask:
        options = {"--from": origin, "--key-file": key_file, "--passphrase-file": passphrase_file}
        given = [text for option, value in options.items() if value for text in (option, value)]
        return _stop_unconfirmed([*given, *(["--replace"] if replace else [])], as_json=as_json)
    confirm_or_stop(f"Restore them from {source.title}?", yes=yes)
    _write(screen, deployment, rescue)
    return None


def _open(
    screen: Screen, deployment: Deployment, source: Source, keys: Sequence[MasterKey], passphrase_file: str | None
) -> Source:
    from src.ops.lifecycle.backup import Lock
    from src.ops.lifecycle.rescue import open_source

    # Standard input, which may have had the key, can be read only once.
    lock = Lock(key=keys[0]) if keys else read_lock(passphrase_file, None, deployment, is_new=False)
    source = open_source(deployment, source, lock)
    if source.note:
        screen.warn(source.note)
    return source


def _choose(
    screen: Screen,
    deployment: Deployment,
    found: Search,
    origin: str | None,
    keys: list[MasterKey],
    *,
    can_ask: bool,
) -> tuple[Source, Search]:
    """The source to take: the one that was named, the one that a person chooses, else the best."""
    from src.ops.lifecycle.rescue import choose_source, require_sources

    if origin is not None:
        return choose_source(deployment, found.sources, origin, keys), found
    if can_ask:
        return _ask_for_source(screen, deployment, found, keys)
    for source in found.sources:
        screen.say(f"  {_line(deployment, found, source)}")
    screen.say("")
    require_sources(found)
    return found.sources[0], found


def _ask_for_source(
    screen: Screen, deployment: Deployment, found: Search, given: Sequence[MasterKey]
) -> tuple[Source, Search]:
    """Which one to take; a key that is pasted may open more of them."""
    from src.ops.lifecycle.rescue import choose_source, search
    from src.ops.terminal.prompts import Choice, ask_text, select

    keys = list(given)
    while True:
        menu = [Choice(source.name, _line(deployment, found, source)) for source in found.sources]
        menu += [
            Choice(_PASTE, "Paste a copy of the master key"),
            Choice(_NAME, "Name the file of a backup"),
            Choice(_STOP, "Stop here; nothing was changed"),
        ]
        answer = select("Where do you want to restore the secrets from?", menu)
        if answer == _STOP:
            raise DeclinedError(
                "Stopped; nothing was changed", hint=manage("rescue", purpose="Run it again at any time")
            )
        if answer == _NAME:
            path = ask_text("Path of the backup:", check=_is_file, hide=looks_like_master_key)
            return choose_source(deployment, found.sources, path, keys), found
        if answer != _PASTE:
            return choose_source(deployment, found.sources, answer), found
        keys.append(ask_for_key())
        found = search(deployment, keys)
        if not any(source.key is not None and source.key.ids == keys[-1].ids for source in found.sources):
            screen.warn(f"This key (id {keys[-1].ids[0]}) opens nothing that is here.")


def _is_file(path: str) -> str | None:
    return None if os.path.isfile(os.path.expanduser(path)) else "There is no such file."


def _line(deployment: Deployment, found: Search, source: Source) -> str:
    if source.is_locked:
        return f"{source.title} ({_time(source.as_of)}): {source.note}"
    wanted = found.wanted(deployment)
    return f"{source.count(wanted)} of {len(wanted)} from {source.title} ({_time(source.as_of)})"


def _time(as_of: float) -> str:
    return datetime.fromtimestamp(as_of, UTC).strftime("%Y-%m-%d %H:%M UTC") if as_of else "unknown"


def _rows(rescue: Rescue, others: Sequence[Source]) -> list[dict[str, Any]]:
    from src.ops.values.fingerprint import fingerprint

    rows = []
    for planned in rescue.plan.secrets:
        name, value = planned.spec.name, planned.value
        has = {other.name: other.snapshot.values.get(name) for other in others}
        rows.append(
            {
                "name": name,
                "change": planned.origin.value,
                "replaces": planned.replaces,
                "fingerprint": fingerprint(value) if value else None,
                "from": rescue.added.get(name),
                "same_in": [other for other, found in has.items() if found and found == value],
                "differs_in": [other for other, found in has.items() if found and found != value],
            }
        )
    return rows


def _document(
    deployment: Deployment, found: Search, rescue: Rescue | None = None, others: Sequence[Source] = ()
) -> dict[str, Any]:
    return {
        "state": found.inspection.state.value,
        "sources": _source_rows(found, deployment),
        "chosen": rescue.source.name if rescue else None,
        "secrets": _rows(rescue, others) if rescue else [],
    }


def _source_rows(found: Search, deployment: Deployment) -> list[dict[str, Any]]:
    return [
        {
            "name": source.name,
            "title": source.title,
            "secrets": source.count(deployment.catalog.names),
            "as_of": _time(source.as_of),
            "locked": source.is_locked,
        }
        for source in found.sources
    ]


def _show_nothing(screen: Screen, deployment: Deployment, found: Search, *, as_json: bool) -> None:
    screen.done("The store can be read and has every required secret; nothing has to be restored.")
    if as_json:
        click.echo(json.dumps(_document(deployment, found), indent=2))


def _show_rescue(
    screen: Screen, deployment: Deployment, found: Search, rescue: Rescue, others: list[Source], *, as_json: bool
) -> None:
    from src.ops.lifecycle.rescue import check_logins

    if as_json:
        click.echo(json.dumps(_document(deployment, found, rescue, others), indent=2))
        return
    rows = [
        (
            row["name"],
            "replaced" if row["replaces"] else row["change"],
            row["fingerprint"],
            ", ".join(map(_short, row["differs_in"])) or "-",
        )
        for row in _rows(rescue, others)
        if row["fingerprint"]
    ]
    screen.say(f"From {rescue.source.title}:", "")
    screen.table(("Secret", "Change", "Fingerprint", "Different in"), rows, last="left")
    screen.say("Equal fingerprints mean equal values; they are valid for this run only.")
    for name, title in rescue.added.items():
        screen.say(f"{name} comes from {title}.")
    if rescue.plan.others:
        screen.say(f"Also restored, though not in the catalogue: {', '.join(rescue.plan.others)}")
    _show_logins(screen, rescue, check_logins(deployment, rescue.source.snapshot))
    key = rescue.found.key
    if key is not None and key.file is not None:
        what = "a new master key, in" if key.is_new and key.key.source == key.file else "the master key in"
        screen.say(f"The encrypted file is opened with {what} {deployment.shown(key.file)}.")


def _show_logins(screen: Screen, rescue: Rescue, accepted: dict[str, bool]) -> None:
    """What the running servers say; what nobody has tried is unverified."""
    for name, is_accepted in accepted.items():
        if is_accepted:
            screen.done(f"The running server accepts {name}.")
        else:
            screen.warn(f"The running server refuses {name}. Another source may have the right one.")
    if not rescue.source.is_verified and not accepted:
        screen.warn("These values are unverified: no server runs here that could be asked.")


def _short(name: str) -> str:
    return os.path.basename(name)


def _write(screen: Screen, deployment: Deployment, rescue: Rescue) -> None:
    from src.ops.deployment.interrupts import deferred_interrupts
    from src.ops.setup.apply import apply_setup
    from src.ops.setup.summary import names_set, try_to_write_summary

    with deferred_interrupts():
        report = apply_setup(deployment, rescue.found, rescue.plan, action="rescue")
        # What is still missing had a value here, and nothing else may remember that.
        fault = try_to_write_summary(deployment, rescue.found, {*rescue.plan.values(), *names_set(deployment)})
    for path in report.written_files:
        screen.done(deployment.shown(path))
    if report.place:
        screen.done(f"{rescue.found.kind.title}: {report.place}")
    screen.done("Restored, read back and compared.")
    for path in report.kept:
        screen.say(f"What was there before is kept: {deployment.shown(path)}")
    if fault:
        screen.warn(fault)
    key = rescue.found.key
    if key is not None and key.new_file is not None:
        screen.warn(f"The master key is in {deployment.shown(key.new_file)} now. Keep a copy away from this machine.")
    missing = [name for name in deployment.catalog.required_names if name not in rescue.plan.values()]
    if missing:
        screen.warn(f"Still without a value: {', '.join(missing)}")
        screen.commands("Next, if anything else still has them:", [manage("rescue")])
        screen.commands("If nothing has:", [set_value(deployment, name) for name in missing])
        return
    start = manage("apply") if Stack(deployment).is_used else make("up")
    screen.commands("Next:", [start, manage("doctor")])


def _stop_unconfirmed(options: Sequence[str], *, as_json: bool) -> int:
    hint = manage("rescue", *options, "--yes", purpose="To do it")
    why = "with --json" if as_json else "without a terminal"
    report_error(f"Nothing was written: {why}, this needs --yes", hint, needs_doctor=False)
    return WRONG_USAGE


def _stop_at_locked(screen: Screen, source: Source, *, is_dry_run: bool) -> int | None:
    """A backup is to be opened, and nobody can be asked what opens it."""
    message = f"{source.title} needs its passphrase or key"
    hints = (
        manage("rescue", "--from", source.name, "--passphrase-file", "PATH", "--yes", purpose="With its passphrase"),
        manage("rescue", "--from", source.name, "--key-file", "PATH", "--yes", purpose="With its key"),
    )
    if is_dry_run:
        screen.warn(message, *hints)
        screen.say("Dry run: nothing was written.")
        return None
    report_error(message, *hints, needs_doctor=False)
    return WRONG_USAGE
