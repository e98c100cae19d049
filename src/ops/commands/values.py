"""``get``, ``set``, ``history``, ``rollback``, ``remove``, ``export`` and ``run``: single secrets, and all at once."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from src.ops.deployment.stores import open_writable_store
from src.ops.lifecycle.edit import (
    check_new_value,
    earlier_value,
    remove_secrets,
    removed_names,
    save_values,
)
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.ops.values.generate import generate_value
from src.utils.secrets import SecretsManager
from src.utils.secrets.changes import check_value
from src.utils.secrets.settings import MAX_VALUE_BYTES, read_value_file
from src.utils.secrets.snapshot import utc_now

from .completion_code import complete_name
from .options import deployment_options, json_option, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import SecretSpec


@click.command("get")
@click.argument("name", shell_complete=complete_name)
@click.option("--show", is_flag=True, help="Allow the value on a terminal.")
@deployment_options
def get_command(name: str, show: bool, deployment: Deployment) -> None:
    """Print one secret's value. To a pipe or file; to a terminal only with --show.

    \b
    Examples:
      ./scripts/manage_secrets.py get ADMIN_PASSWORD --show
      ./scripts/manage_secrets.py get DATABASE_PASSWORD > password.txt
    """
    _refuse_screen("The value", show)
    deployment.require_set_up()
    deployment.export_sdk_settings()
    manager = SecretsManager(settings=deployment.settings())
    if manager.get_secret(name) is None:
        deployment.find_secret(name)
    value = manager.require_secret(name)
    sys.stdout.write(value + "\n" if sys.stdout.isatty() else value)


@click.command("set")
@click.argument("name", shell_complete=complete_name)
@click.option("--file", "path", metavar="PATH", help="Read the value from a file, '-' for standard input.")
@click.option("--generate", is_flag=True, help="Make a new random value.")
@deployment_options
def set_command(name: str, path: str | None, generate: bool, deployment: Deployment) -> None:
    """Give one secret a new value. It is typed unseen, read from a file, piped in, or generated.

    A secret in use by a running stack is better changed with rotate, which brings everything else in step.

    \b
    Examples:
      ./scripts/manage_secrets.py set SMTP_PASSWORD
      ./scripts/manage_secrets.py set TWILIO_TOKEN --file token.txt
      pass show twilio | ./scripts/manage_secrets.py set TWILIO_TOKEN
    """
    deployment.require_set_up()
    spec = deployment.find_secret(name)
    if generate and (path is not None or not spec.generated):
        raise UsageError(f"{name} cannot be generated" if not spec.generated else "--file or --generate, not both")
    store = open_writable_store(deployment)
    before = store.load()
    value = generate_value(spec) if generate else _read_new_value(spec, path)
    check_value(name, value)
    check_new_value(deployment, spec, value)
    screen = Screen()
    if before.values.get(name) == value:
        screen.say(f"{name} has this value already; nothing was changed.")
        return
    values = {name: value} | _complete_feature(spec, deployment, dict(before.values))
    save_values(deployment, store, values, command="set", expected_revision=before.revision)
    screen.done(f"{', '.join(values)} set in {store.describe()}, and read back.")
    if name in before.values and spec.change_note:
        screen.warn(f"{name}: {spec.change_note}")
    screen.commands("Next:", [f"./scripts/generate_docker_secrets.sh{deployment.command_flag}"])


@click.command("history")
@click.argument("name", shell_complete=complete_name)
@json_option
@deployment_options
def history_command(name: str, as_json: bool, deployment: Deployment) -> None:
    """Show when a secret changed. And which earlier values are still accepted; no value is shown.

    \b
    Examples:
      ./scripts/manage_secrets.py history JWT_SECRET_KEY
    """
    deployment.require_set_up()
    spec = deployment.find_secret(name)
    snapshot = open_writable_store(deployment).load()
    metadata = snapshot.metadata.get(spec.name)
    current = {"state": "current" if name in snapshot.values else "not set", "since": None, "until": None}
    current["since"] = metadata.updated_at if metadata else None
    rows = [current]
    for entry in metadata.previous if metadata else ():
        state = "accepted" if entry.is_valid(utc_now()) else "kept for rollback"
        rows.append({"state": state, "since": None, "until": entry.valid_until, "replaced": entry.replaced_at})
    if as_json:
        click.echo(json.dumps({"name": name, "versions": rows}, indent=2))
        return
    cells = [
        (row["state"] or "", row["since"] or "-", row.get("replaced") or "-", _until(row["state"], row["until"]))
        for row in rows
    ]
    Screen().table(("Value", "Since", "Replaced", "Accepted until"), cells, last="left")


@click.command("rollback")
@click.argument("name", shell_complete=complete_name)
@yes_option
@deployment_options
def rollback_command(name: str, yes: bool, deployment: Deployment) -> None:
    """Bring back the value that a secret had before. Running it again undoes that.

    \b
    Examples:
      ./scripts/manage_secrets.py rollback JWT_SECRET_KEY
    """
    deployment.require_set_up()
    spec = deployment.find_secret(name)
    store = open_writable_store(deployment)
    snapshot = store.load()
    value = earlier_value(deployment, store, snapshot, name)
    screen = Screen()
    if spec.change_note:
        screen.warn(f"{name}: {spec.change_note}")
    _confirm(f"Bring the previous value of {name} back?", yes=yes)
    save_values(deployment, store, {name: value}, command="rollback", expected_revision=snapshot.revision)
    screen.done(f"{name} in {store.describe()} has its previous value again.")
    screen.commands("Next:", [f"./scripts/generate_docker_secrets.sh{deployment.command_flag}"])


@click.command("remove")
@click.argument("name", shell_complete=complete_name)
@yes_option
@deployment_options
def remove_command(name: str, yes: bool, deployment: Deployment) -> None:
    """Take an optional secret out of the store. Together with those that it is set with.

    \b
    Examples:
      ./scripts/manage_secrets.py remove SMTP_PASSWORD
    """
    deployment.require_set_up()
    store = open_writable_store(deployment)
    snapshot = store.load()
    names = removed_names(deployment, store, snapshot, name)
    _confirm(f"Remove {' and '.join(names)}, with all earlier values, for good?", yes=yes)
    remove_secrets(deployment, store, snapshot, names)
    Screen().done(f"{' and '.join(names)} removed from {store.describe()}.")


@click.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(["dotenv", "json", "shell", "kubernetes"]),
    default="dotenv",
    show_default=True,
    help="How it is written.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--output", metavar="FILE", help="Write this file (0600) in place of standard output.")
@click.option("--show", is_flag=True, help="Allow the values on a terminal.")
@deployment_options
def export_command(form: str, only: tuple[str, ...], output: str | None, show: bool, deployment: Deployment) -> None:
    """Write the secrets in plain text, for another tool.

    \b
    Examples:
      ./scripts/manage_secrets.py export --format json | jq keys
      ./scripts/manage_secrets.py export --format kubernetes | kubectl apply -f -
    """
    from src.ops.lifecycle.export import render
    from src.utils.secrets.atomicfile import replace_file

    if output is None:
        _refuse_screen("The values", show)
    deployment.require_set_up()
    text = render(form, _chosen(deployment, only), deployment)
    if output is None:
        sys.stdout.write(text)
        return
    replace_file(output, text.encode(), mode=0o600)
    Screen().warn(f"{output} holds the secrets in plain text; remove it when it has done its work.")


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.option("--only", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--files", is_flag=True, help="Give NAME_FILE paths to memory, in place of values in the environment.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@deployment_options
def run_command(only: tuple[str, ...], files: bool, command: tuple[str, ...], deployment: Deployment) -> int:
    """Run a program with the secrets in its environment. Its exit code is the program's; 125 is our own failure.

    \b
    Examples:
      ./scripts/manage_secrets.py run -- ./backup-database.sh
      ./scripts/manage_secrets.py run --only DATABASE_PASSWORD --files -- psql-wrapper
    """
    from src.ops.lifecycle.run import OWN_FAILURE, replace_process
    from src.ops.setup.leftovers import explain_empty
    from src.ops.terminal.report import report_error
    from src.utils.secrets.errors import SecretsError, StoreEmptyError

    try:
        deployment.require_set_up()
        replace_process(list(command), _chosen(deployment, only), as_files=files)
    except SecretsError as error:
        if isinstance(error, StoreEmptyError):
            error = explain_empty(deployment, error)
        report_error(str(error), error.hint)
        return OWN_FAILURE


def _chosen(deployment: Deployment, only: tuple[str, ...]) -> dict[str, str]:
    values = open_writable_store(deployment).load().values
    names = [deployment.find_secret(name).name for name in only] or deployment.catalog.names
    chosen = {name: value for name in names if (value := values.get(name)) is not None}
    missing = [name for name in only if name not in chosen]
    if missing:
        from src.utils.secrets.errors import SecretNotFoundError

        raise SecretNotFoundError(
            f"{', '.join(missing)} is not set", hint=f"./scripts/manage_secrets.py set {missing[0]}"
        )
    return chosen


def _read_new_value(spec: SecretSpec, path: str | None) -> str:
    if path not in (None, "-"):
        return read_value_file(path or "", "--file")
    if path == "-" or not sys.stdin.isatty():
        text = sys.stdin.read(MAX_VALUE_BYTES + 1)
        if len(text) > MAX_VALUE_BYTES:
            raise UsageError("Standard input is larger than 1 MiB")
        return text.removesuffix("\n")
    return _type_twice(spec)


def _type_twice(spec: SecretSpec) -> str:
    from src.ops.terminal.prompts import ask_secret_twice

    question = f"{spec.description} ({spec.name}):"
    return ask_secret_twice(question, check=lambda text: None if text else "A value is needed.")


def _complete_feature(spec: SecretSpec, deployment: Deployment, present: dict[str, str]) -> dict[str, str]:
    """The other secrets of the same feature, asked for where they are missing."""
    if spec.feature is None:
        return {}
    missing = [
        member
        for member in deployment.catalog.of_feature(spec.feature)
        if member.name != spec.name and member.name not in present
    ]
    if missing and not sys.stdin.isatty():
        names = " ".join(f"--set-file {member.name}=PATH" for member in (spec, *missing))
        raise UsageError(f"{spec.name} is set together with others: ./scripts/setup_secrets.py {names}")
    return {member.name: _type_twice(member) for member in missing}


def _refuse_screen(what: str, show: bool) -> None:
    if sys.stdout.isatty() and not show:
        raise UsageError(f"{what} would stand on the screen; add --show if that is what you want")


def _confirm(question: str, *, yes: bool) -> None:
    from src.ops.terminal.ask import confirm_or_stop

    confirm_or_stop(question, yes=yes)


def _until(state: str | None, until: str | None) -> str:
    if state == "accepted":
        return until or "removed by hand"
    return "-"
