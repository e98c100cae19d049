"""What a set-up is going to do, and what it did."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.ops.containers.stack import Stack
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.setup.apply import apply_setup
from src.ops.setup.places import find_places
from src.ops.setup.plan import Origin
from src.utils.secrets.command import compose, export_typed, manage, spell, write_docker_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.adopt.adoption import Adoption
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.apply import Report
    from src.ops.setup.given import GivenValues
    from src.ops.setup.inspect import FoundStore
    from src.ops.setup.plan import Plan
    from src.ops.terminal.screen import Screen
    from src.ops.values.importer import Imported
    from src.utils.secrets.command import Hint


def write_and_show(
    screen: Screen, deployment: Deployment, found: FoundStore, plan: Plan, adoption: Adoption | None = None
) -> None:
    """Write the plan and say what was done; Ctrl-C undoes it or comes too late, and then the person sees the rest.

    Args:
        screen: Where it is said.
        deployment: What is set up.
        found: Where the secrets go.
        plan: What is written.
        adoption: What is taken over from the original.

    Raises:
        SecretsError: It failed; what was there before is there again.
        KeyboardInterrupt: Ctrl-C came in time; the same.
    """
    with deferred_interrupts():
        with screen.progress("Writing", len(plan.written)) as progress:
            report = apply_setup(deployment, found, plan, progress)
        show_result(screen, deployment, found, plan, report, _start(adoption))
        _write_summary(screen, deployment, found, plan)
    if adoption is not None:
        from .adopt import show_rest

        show_rest(screen, deployment, adoption, plan)


def _start(adoption: Adoption | None) -> list[Hint]:
    """What starts the stack, where that is not as usual."""
    if adoption is None:
        return []
    from .adopt import how_to_start

    return how_to_start(adoption)


def _write_summary(screen: Screen, deployment: Deployment, found: FoundStore, plan: Plan) -> None:
    """The secrets are written by now, so a summary that cannot be is no failure."""
    from src.ops.setup.summary import summary_file, try_to_write_summary

    fault = try_to_write_summary(deployment, found, plan.values())
    if fault:
        screen.warn(fault)
        return
    screen.say(f"To read this again: {deployment.shown(summary_file(deployment))} (no secret is in it)")


def show_import(screen: Screen, imported: Imported | None, given: GivenValues) -> None:
    """What an import brought, by name, and what is wrong with values that were given in files."""
    if imported is not None:
        _show_imported(screen, imported)
    if given.left_out:
        screen.warn(f"Left out, since they look like published examples: {', '.join(given.left_out)}")
    for warning in given.warnings:
        screen.warn(warning)


def _show_imported(screen: Screen, imported: Imported) -> None:
    screen.say(f"Imported: {', '.join(imported.values) or 'nothing'}")
    for name, other in imported.renamed.items():
        screen.say(f"  {name} is {other} there")
    for note in imported.notes:
        screen.warn(note)
    if imported.unknown:
        screen.warn(f"Not in the catalogue, not imported: {', '.join(imported.unknown)}")
    if imported.other_lines:
        one = len(imported.other_lines) == 1
        lines = ", ".join(map(str, imported.other_lines))
        screen.warn(f"Left out, since {'it names' if one else 'they name'} nothing: line{'' if one else 's'} {lines}")


def show_plan(
    screen: Screen,
    deployment: Deployment,
    found: FoundStore,
    plan: Plan,
    *,
    imported: Imported | None,
    adoption: Adoption | None,
) -> None:
    """The review: every secret, where everything goes, and what a change means elsewhere."""
    screen.title("Review: nothing is written yet")
    rows = [
        (planned.spec.name, planned.origin.value, str(len(planned.value)) if planned.value else "-")
        for planned in plan.secrets
    ]
    screen.table(("Secret", "Origin", "Length"), rows)
    if plan.unknown_names:
        screen.say(f"Not in the catalogue, unchanged: {', '.join(plan.unknown_names)}")
    screen.say("")
    places = find_places(deployment, found)
    width = max(len(place.label) for place in places) + 1
    for place in places:
        screen.say(f"{place.label + ':':<{width}} {place.in_text()}{_kept_lines(deployment, place.path)}")
    is_outranked = found.kind.is_dotenv and deployment.settings_file != deployment.compose_file
    if is_outranked and os.path.exists(deployment.settings_file):
        screen.warn(
            f"{deployment.shown(deployment.settings_file)} exists and comes first: the application will not read "
            f"{deployment.shown(deployment.compose_file)}"
        )
    if imported:
        ignored = [name for name in imported.values if plan.find(name).value != imported.values[name]]
        if ignored:
            screen.warn(f"Imported, but another value is kept (--replace takes the imported one): {', '.join(ignored)}")
    values = plan.values()
    for planned in plan.written:
        twins = [name for name, value in values.items() if value == planned.value and name != planned.spec.name]
        if twins and planned.spec.judged:
            screen.warn(f"{planned.spec.name} has the same value as {', '.join(twins)}")
        if planned.replaces and planned.spec.change_note:
            screen.warn(f"{planned.spec.name}: {planned.spec.change_note}")
    if adoption is not None:
        from .adopt import show_kept

        show_kept(screen, adoption, plan)


def _kept_lines(deployment: Deployment, path: str) -> str:
    """What is said of a file that is there and is only changed in part."""
    shown = (deployment.shown(name) for name in (deployment.settings_file, deployment.compose_file))
    is_there = path in shown and os.path.exists(os.path.join(deployment.project_directory, path))
    return " (its other lines stay)" if is_there else ""


def show_result(
    screen: Screen,
    deployment: Deployment,
    found: FoundStore,
    plan: Plan,
    report: Report,
    start: Sequence[Hint] = (),
) -> None:
    """What was done, and the next commands."""
    screen.title("Done")
    if report.place:
        screen.done(f"{found.kind.title}: {report.place}")
    for path in report.written_files:
        screen.done(deployment.shown(path))
    screen.done("Read back and compared: every value is as planned.")
    for path in report.kept:
        screen.say(f"What was there before is kept: {deployment.shown(path)}")
    _show_passwords(screen, plan)
    if found.kind.is_dotenv:
        screen.commands("Next:", ["python3 main.py"])
        return
    exports = [export_typed(name) for name in settings_not_kept(deployment, found)]
    is_used = Stack(deployment).is_used
    usual: list[Hint] = [manage("apply")] if is_used else [write_docker_files(), compose("up", "-d")]
    screen.commands("Next:", [*exports, *(start or usual)])
    if found.kind.is_read_by_app and not is_used:
        screen.say("Or, if the app is to read the store itself (docs/compose.md):")
        screen.command(write_docker_files("--cloud"))
    if not found.exists:
        screen.say("And a backup, under a passphrase that you choose:")
        screen.command(manage("backup"))
    if found.key is not None and found.key.new_file is not None:
        screen.warn(f"Keep a copy of the master key away from this machine: {deployment.shown(found.key.new_file)}")


def settings_not_kept(deployment: Deployment, found: FoundStore) -> list[str]:
    """The credentials that only this run knows; the next commands need them, too."""
    if found.key is not None:
        return ["SECRETS_MASTER_KEY"] if found.key.file is None and found.key.is_new else []
    kept = {credential.setting for credential in found.credentials}
    return [name for name in found.kind.secret_settings if deployment.answers.get(name) and name not in kept]


def _show_passwords(screen: Screen, plan: Plan) -> None:
    """Show a generated password that a person will have to type; elsewhere say how to read it."""
    for planned in plan.written:
        if planned.spec.input != "generate_or_ask" or planned.origin is not Origin.GENERATED:
            continue
        assert planned.value is not None
        command = manage("get", planned.spec.name, "--show")
        if screen.is_terminal:
            screen.show_once(f"{planned.spec.description} ({planned.spec.name}):", planned.value)
            screen.command(f"{spell(command)}    # shows it again")
        else:
            screen.commands(f"{planned.spec.description}, to see it on a terminal:", [command])
