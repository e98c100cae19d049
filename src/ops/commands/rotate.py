"""``rotate``: new values, in the store and in everything that uses them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from src.ops.lifecycle.status import read_status
from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import load_secrets, open_store
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.ops.values.door import Given, admit, asker
from src.utils.secrets.command import manage
from src.utils.secrets.judge import Origin
from src.utils.secrets.settings import read_value_file

from .shared.completion_code import complete_name
from .shared.next_step import show_next
from .shared.options import accept_option, deployment_options, yes_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.rotate import Rotation
    from src.utils.secrets.catalog import SecretSpec


REENCRYPTED = "ENCRYPTION_KEY"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """``90s``, ``30m``, ``24h`` or ``7d``, as seconds."""

    name = "duration"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,
    ) -> float:
        """See :class:`click.ParamType`."""
        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if found is None:
            raise UsageError("--grace is a time such as 90s, 30m, 24h or 7d", ctx)
        return float(int(found[1]) * _UNITS[found[2]])


@click.command("rotate")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option("--due", is_flag=True, help="Those that are older than their rotation period.")
@click.option("--all", "everything", is_flag=True, help="All that have a rotation period.")
@click.option("--grace", type=Duration(), default="24h", show_default=True, help="How long signing keys stay accepted.")
@click.option("--set-file", multiple=True, metavar="NAME=PATH", help="The new value of one of them is in a file.")
@accept_option
@click.option("--store-only", is_flag=True, help="Change the store and the Docker files; leave running services alone.")
@click.option(
    "--reencrypt", "reencrypts", is_flag=True, help="ENCRYPTION_KEY only: encrypt its data again, drop earlier values."
)
@click.option("--discard", "discards", is_flag=True, help="With --reencrypt: remove data that no key opens.")
@click.option("--confirm", metavar="WORD", help="With --discard: ENCRYPTION_KEY, in place of typing it.")
@click.option("--dry-run", is_flag=True, help="Show the plan; change nothing.")
@yes_option
@deployment_options
def rotate_command(
    names: tuple[str, ...],
    due: bool,
    everything: bool,
    grace: float,
    set_file: tuple[str, ...],
    accepted: tuple[str, ...],
    store_only: bool,
    reencrypts: bool,
    discards: bool,
    confirm: str | None,
    dry_run: bool,
    yes: bool,
    deployment: Deployment,
) -> None:
    """Give secrets new values. In the store and in everything that uses them, while the stack runs.

    After an interruption, run it again, with names or without: it finishes what was begun first.

    With --reencrypt, ENCRYPTION_KEY gets a new value only if the store keeps no earlier one. Otherwise, and with
    --discard, the data is encrypted with the value that the key has now.

    \b
    Examples:
      ./scripts/manage_secrets.py rotate JWT_SECRET_KEY
      ./scripts/manage_secrets.py rotate --all --dry-run
      ./scripts/manage_secrets.py rotate --due --yes         # for cron
      ./scripts/manage_secrets.py rotate ENCRYPTION_KEY --reencrypt
    """
    from src.ops.lifecycle.rotate import Rotator

    others = due or everything or bool(set_file) or store_only
    _require_usage(names, others=others, reencrypts=reencrypts, discards=discards, confirm=confirm)
    require_set_up(deployment)
    screen = Screen()
    rotator = Rotator(deployment, screen.done, screen.begin, store_only=store_only)
    unfinished = rotator.unfinished()
    finished: list[str] = []
    if unfinished:
        screen.warn(f"An earlier rotation was interrupted: {', '.join(unfinished)}")
        if dry_run:
            screen.say("Dry run: nothing was changed.")
            return
        confirm_or_stop("Finish it now?", yes=yes)
        finished = rotator.finish()
        screen.done("Everything matches the store again.")
        screen.say("Rotated by that run: " + ", ".join(finished) if finished else "Nothing had been changed yet.")
        if not (names or due or everything):
            return
    if reencrypts:
        from .shared.reencryption import reencrypt

        reencrypt(screen, deployment, discards=discards, confirm=confirm, dry_run=dry_run, yes=yes)
        return
    if [bool(names), due, everything].count(True) != 1:
        raise UsageError("Give secret names, --due or --all")
    wanted = [deployment.find_secret(name) for name in names] or _choose(deployment, due=due)
    wanted = [spec for spec in wanted if spec.name not in finished]
    if not wanted:
        screen.done("Nothing else is due.")
        return
    given = _read_given(deployment, wanted, set_file, accepted, ask=bool(names) or not yes)
    rotation = rotator.plan([spec.name for spec in wanted], given, grace, is_dry_run=dry_run)
    _show_plan(screen, rotation)
    if dry_run or not rotation.steps:
        screen.say("Nothing was changed.")
        return
    confirm_or_stop("Rotate them now?", yes=yes)
    rotator.run(rotation)
    screen.done(f"Rotated: {', '.join(rotation.names)}")
    _show_result(screen, rotation)
    if not rotation.is_live:
        show_next(screen, deployment, can_ask=not (yes or store_only))


def _require_usage(
    names: Sequence[str], *, others: bool, reencrypts: bool, discards: bool, confirm: str | None
) -> None:
    """Refuse combinations of options that mean nothing.

    Raises:
        UsageError: One was given.
    """
    if discards and not reencrypts:
        raise UsageError("--discard is for --reencrypt only")
    if confirm is not None and not discards:
        raise UsageError("--confirm is for --discard only")
    if confirm not in (None, REENCRYPTED):
        raise UsageError(f"--confirm takes the word {REENCRYPTED}")
    if reencrypts and (list(names) != [REENCRYPTED] or others):
        raise UsageError(f"--reencrypt is for {REENCRYPTED} alone, without --due, --all, --set-file and --store-only")


def _choose(deployment: Deployment, *, due: bool) -> list[SecretSpec]:
    rows = {row.name: row for row in read_status(deployment, load_secrets(deployment, open_store(deployment)))}
    return [
        spec
        for spec in deployment.catalog.secrets
        if spec.rotation_days is not None and rows[spec.name].state == "set" and (rows[spec.name].is_overdue or not due)
    ]


def _read_given(
    deployment: Deployment,
    specs: Sequence[SecretSpec],
    set_file: Sequence[str],
    accepted: Sequence[str],
    *,
    ask: bool,
) -> dict[str, str]:
    """Values that cannot be generated: from files, or typed; Enter leaves one out."""
    given, paths = {}, {}
    for text in set_file:
        name, separator, path = text.partition("=")
        if not separator or name not in [spec.name for spec in specs]:
            raise UsageError("--set-file is NAME=PATH, with the name of a secret that is rotated")
        given[name], paths[name] = read_value_file(path, f"--set-file {name}"), path
    can_ask = ask and sys.stdin.isatty() and sys.stdout.isatty()
    for spec in specs:
        if spec.name in given or spec.generated or not can_ask:
            continue
        from src.ops.terminal.prompts import ask_secret

        value = ask_secret(f"{spec.description} ({spec.name}), the new one; Enter leaves it unchanged:")
        if value:
            given[spec.name] = value
    judged = [
        Given(spec, given[spec.name], *((Origin.FILE, paths[spec.name]) if spec.name in paths else (Origin.TYPED, "")))
        for spec in specs
        if spec.name in given
    ]
    present = load_secrets(deployment, open_store(deployment)).values if judged else {}
    admitted = admit(deployment.catalog, judged, accepted=accepted, present=present, ask=asker() if ask else None)
    for warning in admitted.warnings:
        Screen().warn(warning)
    return admitted.values


def _show_plan(screen: Screen, rotation: Rotation) -> None:
    rows = [(step.spec.name, ", ".join(step.spec.consumers), step.consequence) for step in rotation.steps]
    screen.table(("Secret", "Used by", "What happens"), rows, last="left")
    for name, reason in rotation.skipped.items():
        screen.warn(f"Unchanged: {name}", reason)
    if rotation.store_only_reason and rotation.steps:
        screen.warn(rotation.store_only_reason)
    if rotation.is_live and rotation.steps:
        screen.say("", "The app restarts once; requests fail for that moment only.")


def _show_result(screen: Screen, rotation: Rotation) -> None:
    for step in rotation.steps:
        if step.spec.input != "generate_or_ask":
            continue
        if screen.is_terminal:
            screen.show_once(f"{step.spec.description} ({step.spec.name}):", step.value)
        else:
            command = manage("get", step.spec.name, "--show")
            screen.commands(f"{step.spec.description}, to see it on a terminal:", [command])
    for name in rotation.skipped:
        screen.warn(f"Unchanged: {name}")
