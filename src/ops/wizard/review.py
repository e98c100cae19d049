"""What a set-up is going to do, and what it did."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.setup.inspect import apply_setup
from src.ops.setup.plan import Origin
from src.ops.values.strength import weakness_of
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.apply import Report
    from src.ops.setup.inspect import Store
    from src.ops.setup.plan import Plan
    from src.ops.terminal.screen import Screen
    from src.ops.values.importer import Imported


def write_and_show(screen: Screen, deployment: Deployment, store: Store, plan: Plan) -> None:
    """Write the plan and say what was done; Ctrl-C undoes it or comes too late, and then the person sees the rest.

    Raises:
        SecretsError: It failed; what was there before is there again.
        KeyboardInterrupt: Ctrl-C came in time; the same.
    """
    with deferred_interrupts():
        with screen.progress("Writing", len(plan.written)) as progress:
            report = apply_setup(deployment, store, plan, progress)
        show_result(screen, deployment, store, plan, report)
        _write_summary(screen, deployment, store, plan)


def _write_summary(screen: Screen, deployment: Deployment, store: Store, plan: Plan) -> None:
    """The secrets are written by now, so a summary that cannot be is no failure."""
    from src.ops.setup.summary import write_summary

    try:
        path = write_summary(deployment, store, plan.values())
    except (SecretsError, OSError) as error:
        screen.warn(f"The summary was not written: {error}")
        return
    screen.say(f"To read this again: {deployment.shown(path)} (no secret is in it)")


def show_import(screen: Screen, imported: Imported) -> None:
    """What an import brought, by name."""
    screen.say(f"Imported: {', '.join(imported.values) or 'nothing'}")
    if imported.unknown:
        screen.warn(f"Not in the catalogue, left out: {', '.join(imported.unknown)}")
    if imported.other_lines:
        one = len(imported.other_lines) == 1
        lines = ", ".join(map(str, imported.other_lines))
        screen.warn(f"Left out, since {'it names' if one else 'they name'} nothing: line{'' if one else 's'} {lines}")


def show_plan(
    screen: Screen, deployment: Deployment, store: Store, plan: Plan, imported: Imported | None = None
) -> None:
    """The review: every secret, where everything goes, and what a change means elsewhere."""
    screen.title("Review: nothing is written yet")
    screen.review(plan)
    screen.say("")
    if store.backend is SecretsBackend.FILE:
        assert store.key is not None
        screen.say(f"Secrets:    {deployment.shown(deployment.settings(SecretsBackend.FILE).file_path)} (encrypted)")
        elsewhere = "stored by you" if store.key.is_new else store.key.key.source
        screen.say(f"Master key: {deployment.shown(store.key.file) if store.key.file else elsewhere}")
        screen.say(f"Settings:   {deployment.shown(deployment.settings_file)}")
    elif store.place:
        screen.say(f"Secrets:    {store.backend.title}: {store.place}")
        for credential in store.credentials:
            screen.say(f"Sign-in:    {deployment.shown(credential.path)}")
        screen.say(f"Settings:   {deployment.shown(deployment.settings_file)}")
    else:
        screen.say(f"Secrets:    {deployment.shown(deployment.compose_file)} (plain text, readable by you only)")
        if os.path.exists(deployment.settings_file) and deployment.settings_file != deployment.compose_file:
            screen.warn(
                f"{deployment.shown(deployment.settings_file)} is there and comes first: the application will not read "
                f"{deployment.shown(deployment.compose_file)}"
            )
    if imported:
        ignored = [name for name in imported.values if plan.find(name).value != imported.values[name]]
        if ignored:
            screen.warn(f"Imported, but another value is kept (--replace takes the imported one): {', '.join(ignored)}")
    for planned in plan.written:
        if planned.origin is Origin.IMPORTED and weakness_of(planned.spec, planned.value or "", deployment.catalog):
            screen.warn(f"{planned.spec.name}: the imported value is weak; change it soon")
        if planned.replaces and planned.spec.change_note:
            screen.warn(f"{planned.spec.name}: {planned.spec.change_note}")


def show_result(screen: Screen, deployment: Deployment, store: Store, plan: Plan, report: Report) -> None:
    """What was done, and the next commands."""
    screen.title("Done")
    if report.place:
        screen.done(f"{store.backend.title}: {report.place}")
    for path in report.written_files:
        screen.done(deployment.shown(path))
    screen.done("Read back and compared: every value is as planned.")
    for path in report.kept:
        screen.say(f"What was there before is kept: {deployment.shown(path)}")
    _show_passwords(screen, deployment, plan)
    if store.backend is SecretsBackend.ENV:
        screen.commands("Next:", ["python3 main.py"])
        return
    flag = deployment.command_flag
    exports = []
    if store.key is not None and store.key.file is None and store.key.is_new:
        exports = ["read -rs SECRETS_MASTER_KEY && export SECRETS_MASTER_KEY"]
    kept = {credential.setting for credential in store.credentials}
    typed = [name for name in ("VAULT_TOKEN", "VAULT_SECRET_ID") if deployment.answers.get(name) and name not in kept]
    exports += [f"read -rs {name} && export {name}" for name in typed]
    screen.commands("Next:", [*exports, f"./scripts/generate_docker_secrets.sh{flag}", deployment.start_command])
    if report.place:
        screen.say("Or, if the app is to read the store itself (docs/compose.md):")
        screen.command(f"./scripts/generate_docker_secrets.sh{flag} --cloud")
    if not store.exists:
        screen.say("And a backup, under a passphrase that you choose:")
        screen.command(f"./scripts/manage_secrets.py backup{flag}")
    if store.key is not None and store.key.is_new and store.key.file is not None:
        screen.warn(f"Keep a copy of the master key away from this machine: {deployment.shown(store.key.file)}")


def _show_passwords(screen: Screen, deployment: Deployment, plan: Plan) -> None:
    """Show a generated password that a person will have to type; elsewhere say how to read it."""
    for planned in plan.written:
        if planned.spec.input != "generate_or_ask" or planned.origin is not Origin.GENERATED:
            continue
        assert planned.value is not None
        if screen.is_terminal:
            screen.show_once(f"{planned.spec.description} ({planned.spec.name}):", planned.value)
        command = f"./scripts/manage_secrets.py get {planned.spec.name} --show{deployment.command_flag}"
        if screen.is_terminal:
            screen.command(f"{command}    # shows it again")
        else:
            screen.commands(f"{planned.spec.description}, to see it on a terminal:", [command])
