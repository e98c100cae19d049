"""Runs a click command the way every command here runs: see :mod:`.report`."""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from src.ops.deployment.deployment import Deployment
from src.ops.terminal.report import WrongUsageError, run_to_exit_code, version
from src.ops.terminal.usage import usage_message
from src.utils.secrets.command import Spelling, here, script, spell_for
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import PRODUCTION, PROJECT_DIRECTORY, is_environment_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_click(command: click.Command) -> int:
    """Parse the command line and run the command; returns the exit code."""
    spell_for(spelling_of(sys.argv[1:]))
    return run_to_exit_code(lambda: _invoke(command))


def spelling_of(arguments: Sequence[str]) -> Spelling:
    """How commands are typed for the deployment that a command line names, until that is looked at more closely.

    What names nothing may be a secret in the wrong place, and is not repeated.
    """
    said: dict[str, str] = {}
    arguments = list(arguments)
    if "--" in arguments:  # what follows is for another program
        del arguments[arguments.index("--") :]
    for position, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in _NAMES_SOMETHING and (separator or position + 1 < len(arguments)):
            said[name] = value if separator else arguments[position + 1]
    known = {name: value for name, value in said.items() if _NAMES_SOMETHING[name](value)}
    paths = {name: os.path.abspath(known[name]) for name in ("--env-file", "--catalog") if name in known}
    return Spelling(
        environment=known.get("--environment", PRODUCTION),
        project_directory=os.path.realpath(known.get("--project-directory", PROJECT_DIRECTORY)),
        env_file=paths.get("--env-file"),
        catalog=paths.get("--catalog"),
        here=here(),
    )


def completion_variable(program: str) -> str:
    """The variable that a shell sets to have a script list completions."""
    return f"_{program.replace('-', '_').replace('.', '_')}_COMPLETE".upper()


_NAMES_SOMETHING = {
    "--environment": is_environment_name,
    "--env-file": os.path.isfile,
    "--project-directory": os.path.isdir,
    "--catalog": os.path.isfile,
}
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
accept_option = click.option(
    "--accept", "accepted", multiple=True, metavar="NAME", help="Take its value although it looks odd. Repeatable."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(version())
        context.exit()


version_option = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)


def deployment_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options that say which deployment of which project; the command gets it as ``deployment``."""

    @click.option(
        "--environment", default=PRODUCTION, metavar="NAME", help="Environment to work on (default: production)."
    )
    @click.option("--env-file", metavar="FILE", help="The settings file, in place of .env.production.")
    @click.option("--project-directory", default=PROJECT_DIRECTORY, metavar="DIR", help="The project's folder.")
    @click.option("--catalog", metavar="FILE", help="The catalogue, in place of config/catalog.toml.")
    @functools.wraps(function)
    def wrapper(
        *, environment: str, env_file: str | None, project_directory: str, catalog: str | None, **options: Any
    ) -> object:
        deployment = Deployment.locate(
            project_directory=project_directory, environment=environment, catalog=catalog, env_file=env_file
        )
        spell_for(deployment.spelling)
        try:
            return function(deployment=deployment, **options)
        except SecretsError as error:
            from src.ops.setup.state import raise_explained

            raise_explained(deployment, error)

    return wrapper


def _invoke(command: click.Command) -> object:
    program = os.path.basename(sys.argv[0])
    # As it has to be typed, so that what click prints can be copied; completion goes by the bare name.
    typed, completion = f"./scripts/{program}", completion_variable(program)
    try:
        return command.main(prog_name=typed, complete_var=completion, standalone_mode=False)
    except click.UsageError as error:
        message, hints = usage_message(error)
        if error.ctx:
            hints += (script(program, *error.ctx.command_path.split()[1:], "--help"),)
        raise WrongUsageError(message, hint=hints) from None
    except click.Abort:
        raise KeyboardInterrupt from None
