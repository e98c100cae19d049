"""Taking over a deployment of the original, with a person or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.ops.adopt.adoption import files_to_move, is_in_place, move_files, read_adoption
from src.ops.adopt.original import KEPT_FOLDER
from src.ops.terminal.prompts import confirm
from src.ops.terminal.report import DeclinedError
from src.utils.secrets.command import make, program, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.ops.adopt.adoption import Adoption
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.options import Options
    from src.ops.setup.plan import Plan
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.command import Hint

_MOVED = (
    f"This project lies in the original's folder, and has files of the same names. Those are moved to {KEPT_FOLDER}/:"
)


def offer(screen: Screen, folder: str) -> bool:
    """Whether a person wants to take over what is in a folder."""
    screen.say(f"A deployment of the original system is in {folder}.")
    screen.say("Its database opens with its own password only, and this set-up can take over both.")
    return confirm("Take over its secrets and data?", default=True)


def read_and_show(screen: Screen, deployment: Deployment, options: Options, folder: str) -> Adoption:
    """Read the original, and show what becomes of everything. Nothing is changed.

    Raises:
        SecretsError: See :func:`.read_adoption`; or files would be moved before everything is decided.
    """
    adoption = read_adoption(
        deployment,
        folder,
        key_file=options.adopt_key_file,
        given=options.set_files,
        has_import=options.import_source is not None,
    )
    show_adoption(screen, adoption)
    if is_in_place(deployment, adoption.original) and files_to_move(adoption.original) is not None:
        for error in adoption.undecided.values():
            raise error
    return adoption


def make_room(
    screen: Screen, deployment: Deployment, adoption: Adoption, *, dry_run: bool, ask: Callable[[str], bool]
) -> bool:
    """Move away the original's files whose names this project uses, where both are in one folder.

    Args:
        screen: Where that is shown.
        deployment: What takes the original over.
        adoption: What was read.
        dry_run: Whether nothing may be moved.
        ask: Asks whether to.

    Returns:
        Whether the store can be looked at now: a dry run cannot go that far.

    Raises:
        DeclinedError: The person does not want it.
        ConfigurationError: One cannot be moved.
    """
    pairs = files_to_move(adoption.original) if is_in_place(deployment, adoption.original) else None
    if pairs is None:
        return True
    if pairs:
        screen.say(_MOVED)
        for here, there in pairs:
            screen.say(f"  {adoption.original.shown(here)} -> {adoption.original.shown(there)}")
    if dry_run:
        screen.say("Dry run: nothing was moved or written.")
        return False
    if pairs and not ask("Move them?"):
        raise DeclinedError("Stopped before anything was moved; nothing was changed", hint=set_up())
    move_files(adoption.original)
    return True


def show_adoption(screen: Screen, adoption: Adoption) -> None:
    """What becomes of each secret, which data is used, and what is left alone."""
    screen.title(f"Taking over {adoption.original.folder}", "Values are never shown.")
    screen.table(("Secret", "What happens", "Why"), [(row.name, row.decision.value, row.why) for row in adoption.rows])
    if adoption.settings:
        screen.say("", "So that the same data is used, these lines go into the settings for Compose:")
        for name, value in adoption.settings.items():
            screen.say(f"  {name}={value}")
    for note in adoption.notes:
        screen.warn(note)
    if adoption.left_alone:
        screen.say("", "Left alone:")
        for place, what in adoption.left_alone:
            screen.say(f"  {place}: {what}")
    screen.say("")


def show_kept(screen: Screen, adoption: Adoption, plan: Plan) -> None:
    """Where the store has a value already, which stays."""
    kept = [name for name, value in adoption.values.items() if plan.find(name).value not in (None, value)]
    if kept:
        screen.warn(f"The store has another value, which is kept (--replace takes the original's): {', '.join(kept)}")


def show_rest(screen: Screen, deployment: Deployment, adoption: Adoption, plan: Plan) -> None:
    """What is to be done about the original itself."""
    places = adoption.obsolete_places(plan.values())
    if places:
        screen.say("", f"When everything works, what these places in {adoption.original.folder} hold may be deleted:")
        for place in places:
            screen.say(f"  {place}")
        if is_in_place(deployment, adoption.original) and files_to_move(adoption.original) is None:
            screen.say(f"  The files are in {KEPT_FOLDER}/ now.")


def how_to_start(adoption: Adoption) -> list[Hint]:
    """The commands that stop the original, whose data stays, and start this stack on it."""
    commands: list[Hint] = []
    if adoption.coming_back:
        commands.append(program("docker", "update", "--restart", "no", *adoption.coming_back))
    if adoption.running:
        commands.append(program("docker", "stop", *adoption.running))
    return [*commands, make("up")]
