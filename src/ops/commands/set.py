"""``set``: give one secret a new value."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from src.ops.lifecycle.edit import save_values
from src.ops.lifecycle.status import misnamed_secrets
from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import kind_in_use, load_secrets, open_store_to_change
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.ops.values.door import Given, admit, asker, fault_of_text
from src.ops.values.generate import generate_value
from src.utils.secrets.command import manage, set_up
from src.utils.secrets.judge import Origin
from src.utils.secrets.settings import read_value_file

from .shared.completion_code import complete_name
from .shared.next_step import show_next
from .shared.options import accept_option, deployment_options
from .shared.values_in import read_standard_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import SecretSpec
    from src.utils.secrets.snapshot import Snapshot


@click.command("set")
@click.argument("name", shell_complete=complete_name)
@click.option("--file", "path", metavar="PATH", help="Read the value from a file, '-' for standard input.")
@click.option("--generate", is_flag=True, help="Make a new random value.")
@click.option("--from", "misnamed", metavar="NAME", help="Take the value that the store has under this wrong name.")
@accept_option
@deployment_options
def set_command(
    name: str,
    path: str | None,
    generate: bool,
    misnamed: str | None,
    accepted: tuple[str, ...],
    deployment: Deployment,
) -> None:
    """Give one secret a new value. It is typed unseen, read from a file, piped in, or generated.

    Then apply brings the running containers up to date; rotate does both, and undoes itself if a step fails.

    \b
    Examples:
      ./scripts/manage_secrets.py set SMTP_PASSWORD
      ./scripts/manage_secrets.py set TWILIO_TOKEN --file token.txt
      pass show twilio | ./scripts/manage_secrets.py set TWILIO_TOKEN
      ./scripts/manage_secrets.py set SMTP_PASSWORD --from smtp-password   # somebody wrote the name so
    """
    require_set_up(deployment)
    spec = deployment.find_secret(name)
    if misnamed is not None and (generate or path is not None):
        raise UsageError("Only one of --file, --generate and --from")
    if generate and (path is not None or not spec.generated):
        raise UsageError(f"{name} cannot be generated" if not spec.generated else "--file or --generate, not both")
    store = open_store_to_change(deployment)
    before = load_secrets(deployment, store)
    is_shared = kind_in_use(deployment).is_shared
    if misnamed is not None:
        value = _value_under(misnamed, spec, misnamed_secrets(deployment, before.values), before)
    else:
        value = generate_value(spec) if generate else _read_new_value(spec, path)
    values = {name: value} | _complete_feature(spec, deployment, dict(before.values))
    # Others may want their own in a store that is shared.
    removed = [misnamed] if misnamed is not None and not is_shared else []
    is_typed = generate or misnamed is not None or sys.stdin.isatty()
    source = path if path not in (None, "-") else "" if is_typed else "standard input"
    origin = Origin.FILE if source else Origin.TYPED
    given = [Given(deployment.find_secret(one), value, origin, source) for one, value in values.items()]
    admitted = admit(deployment.catalog, given, accepted=accepted, present=before.values, ask=asker())
    values = admitted.values
    screen = Screen()
    for warning in admitted.warnings:
        screen.warn(warning)
    if before.values.get(name) == values[name] and not removed:
        screen.say(f"{name} has this value already; nothing was changed.")
        return
    save_values(deployment, store, values, command="set", removed=removed, expected_revision=before.revision)
    screen.done(f"{', '.join(values)} set in {store.describe()}, and read back.")
    if removed:
        screen.done("The wrong name is no longer there.")
    if name in before.values and spec.change_note:
        screen.warn(f"{name}: {spec.change_note}")
    show_next(screen, deployment)


def _value_under(misnamed: str, spec: SecretSpec, near: Mapping[str, str], before: Snapshot) -> str:
    if near.get(misnamed) != spec.name:
        raise UsageError(
            f"--from: the store has no such name, or it is not one of {spec.name} in another spelling",
            hint=manage("doctor", "--only", "misnamed", purpose="See which names are nearly those of secrets"),
        )
    return before.values[misnamed]


def _read_new_value(spec: SecretSpec, path: str | None) -> str:
    if path not in (None, "-"):
        return read_value_file(path or "", "--file")
    if path == "-" or not sys.stdin.isatty():
        return read_standard_input()
    return _type_twice(spec)


def _type_twice(spec: SecretSpec) -> str:
    from src.ops.terminal.prompts import ask_secret_twice

    question = f"{spec.description} ({spec.name}):"
    return ask_secret_twice(question, check=fault_of_text)


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
        files = [word for member in (spec, *missing) for word in ("--set-file", f"{member.name}=PATH")]
        raise UsageError(
            f"{spec.name} is set together with {' and '.join(member.name for member in missing)}",
            hint=set_up("--non-interactive", *files, purpose="Give each value in a file"),
        )
    return {member.name: _type_twice(member) for member in missing}
