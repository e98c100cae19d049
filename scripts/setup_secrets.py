#!/usr/bin/env python3
"""Sets up a complete set of secrets: asks a few questions, or none (--non-interactive)."""

from __future__ import annotations

import gc
import os
import sys

gc.disable()  # a short life: the first question comes a tenth sooner
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from src.utils.interpreter import use_project_interpreter

use_project_interpreter("click", "cryptography", "dotenv", "filelock", "questionary", "rich")

import click

from src.ops.commands.shared.options import deployment_options, run_click, version_option
from src.ops.deployment.deployment import Deployment
from src.ops.setup.options import START_OVER, Options
from src.ops.terminal.prompts import PLAIN_SETTING
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.settings import SecretsBackend

BACKENDS = [name for backend in SecretsBackend for name in (backend.value, *backend.aliases)]


def _split_pairs(_context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    files = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not (name and separator and path):
            raise UsageError("--set-file is NAME=PATH, where PATH is a file that holds the value")
        files[name] = path
    return files


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--backend",
    type=click.Choice(BACKENDS, case_sensitive=False),
    metavar="|".join(min((backend.value, *backend.aliases), key=len) for backend in SecretsBackend),
    help="The store; asked for when left out.",
)
@click.option("--non-interactive", is_flag=True, help="Ask nothing; implies --yes.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and stop.")
@click.option("--yes", is_flag=True, help="Write without asking for confirmation.")
@click.option("--import", "import_source", metavar="FILE|-", help="Take values from a file, or a folder.")
@click.option("--replace", is_flag=True, help="Let imported values replace existing ones.")
@click.option(
    "--set-file",
    multiple=True,
    metavar="NAME=PATH",
    callback=_split_pairs,
    help="Take a value from a file. Repeatable.",
)
@click.option("--accept", "accepted", multiple=True, metavar="NAME", help="Take its value although it looks odd.")
@click.option("--adopt", metavar="FOLDER", help="Take over a deployment of the original system.")
@click.option("--adopt-key-file", metavar="PATH", help="The original's master key, where its .env.production lacks it.")
@click.option("--master-key-file", metavar="PATH", help="The master key's file: read if it is there, else written.")
@click.option("--start-over", is_flag=True, help="Give up the secrets that are or were here; they are kept aside.")
@click.option("--confirm", "word", metavar="WORD", default="", help=f"Confirms --start-over: '{START_OVER}'.")
@click.option("--plain", is_flag=True, help="Plain numbered questions, for screen readers. Also: SECRETS_PLAIN=1.")
@version_option
@deployment_options
def main(
    backend: str | None,
    non_interactive: bool,
    dry_run: bool,
    yes: bool,
    import_source: str | None,
    replace: bool,
    set_file: dict[str, str],
    accepted: tuple[str, ...],
    adopt: str | None,
    adopt_key_file: str | None,
    master_key_file: str | None,
    start_over: bool,
    word: str,
    plain: bool,
    deployment: Deployment,
) -> None:
    """Set up the secrets: generate, ask, import, encrypt, verify.

    Running it again keeps what is there and offers to add, change or rotate.

    \b
    Examples:
      make secrets
      ./scripts/setup_secrets.py --non-interactive --backend file
      ./scripts/setup_secrets.py --import old.env --dry-run
    """
    if not non_interactive and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("This asks questions and needs a terminal; without one, give --non-interactive")
    options = Options(
        backend=SecretsBackend.from_name(backend) if backend else None,
        non_interactive=non_interactive,
        dry_run=dry_run,
        yes=yes,
        import_source=import_source,
        replace=replace,
        set_files=set_file,
        accepted=accepted,
        adopt=adopt,
        adopt_key_file=adopt_key_file,
        master_key_file=master_key_file,
        start_over=start_over,
        word=word,
    )
    if word and not start_over:
        raise UsageError("--confirm goes with --start-over")
    if non_interactive and start_over and word != START_OVER:
        raise UsageError(f"--start-over needs the word: --confirm '{START_OVER}'")
    if adopt_key_file and not adopt:
        raise UsageError("--adopt-key-file goes with --adopt")
    if adopt and start_over:
        raise UsageError("--adopt keeps what is there; --start-over gives it up. Give one of them")
    if plain:
        os.environ[PLAIN_SETTING] = "1"
    if non_interactive:
        # Also what the SDKs would ask.
        os.environ["SECRETS_NON_INTERACTIVE"] = "1"
        _run_unattended(deployment, options)
    else:
        _run_wizard(deployment, options)


def _run_wizard(deployment: Deployment, options: Options) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from src.ops.containers.preflight import find_problems

    with ThreadPoolExecutor(1) as pool:
        problems = pool.submit(find_problems, deployment)  # meanwhile, what the first question needs is imported
        from src.ops.wizard.conversation import Wizard

        Wizard(deployment, options, Screen(), problems.result).run()


def _run_unattended(deployment: Deployment, options: Options) -> None:
    from src.ops.setup.given import read_given
    from src.ops.setup.in_use import kind_expected
    from src.ops.setup.inspect import inspect_store, read_store_in_use, start_over
    from src.ops.setup.plan import plan_setup
    from src.ops.store_kinds import kind_of
    from src.ops.wizard.review import show_import, show_plan, write_and_show

    screen = Screen()
    adoption = None
    if options.adopt is not None:
        from src.ops.wizard.adopt import make_room, read_and_show

        adoption = read_and_show(screen, deployment, options, options.adopt)
    given, imported = read_given(
        deployment,
        sys.stdin.buffer,
        import_source=options.import_source,
        set_files=options.set_files,
        replace=options.replace,
        accepted=options.accepted,
        adoption=adoption,
    )
    show_import(screen, imported, given)
    if adoption is not None and not make_room(
        screen, deployment, adoption, dry_run=options.dry_run, ask=lambda _question: True
    ):
        return
    kind = kind_of(options.backend) if options.backend is not None else kind_expected(deployment)
    in_use = None if options.start_over else read_store_in_use(deployment, kind)
    if in_use is not None:
        given.take_over(in_use)
    if options.start_over:
        found = start_over(deployment, kind, master_key_file=options.master_key_file)
    else:
        found = inspect_store(deployment, kind, options.master_key_file)
    plan = plan_setup(deployment, found, given)
    if in_use is not None:
        screen.say(f"Taken over from {in_use.place}: {', '.join(in_use.snapshot.values)}")
    show_plan(screen, deployment, found, plan, imported=imported, adoption=adoption)
    if options.dry_run:
        screen.say("Dry run: nothing was written.")
        return
    write_and_show(screen, deployment, found, plan, adoption)


if __name__ == "__main__":
    sys.exit(run_click(main))
