"""Taking over a deployment of the original, with a person or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.ops.adopt.adoption import files_to_move, is_in_place, move_files, read_adoption
from src.ops.adopt.original import KEPT_FOLDER
from src.ops.terminal.report import DeclinedError
from src.utils.secrets.command import program, set_up

if TYPE_CHECKING:
    from src.ops.adopt.adoption import Adoption
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.options import Options
    from src.ops.terminal.screen import Screen

_MOVED = (
    f"This project lies in the original's folder, and has files of the same names. Those are moved to {KEPT_FOLDER}/:"
)


def adopt_unattended(screen: Screen, deployment: Deployment, options: Options) -> Adoption | None:
    """Read the original, show what becomes of everything, and move away what is in the way.

    Returns:
        What is taken over; ``None`` when this is as far as a dry run can look.
    """
    assert options.adopt is not None
    adoption = read_adoption(deployment, options.adopt, options.adopt_key_file)
    show_adoption(screen, adoption)
    pairs = files_to_move(adoption.original) if is_in_place(deployment, adoption.original) else []
    if pairs:
        _show_moves(screen, adoption, pairs)
        if options.dry_run:
            screen.say("Dry run: nothing was moved or written.")
            return None
        move_files(adoption.original)
    return adoption


def ask_to_adopt(screen: Screen, deployment: Deployment, options: Options, folder: str) -> Adoption | None:
    """The same with a person; ``None`` when the person does not want to."""
    from src.ops.terminal.prompts import confirm

    if options.adopt is None:
        screen.say(f"A deployment of the original system is in {folder}.")
        screen.say("Its database opens with its own password only. Nothing there is changed.")
        if not confirm("Take over its secrets and data?", default=True):
            return None
    adoption = read_adoption(deployment, folder, options.adopt_key_file)
    show_adoption(screen, adoption)
    pairs = files_to_move(adoption.original) if is_in_place(deployment, adoption.original) else []
    if not pairs:
        return adoption
    _show_moves(screen, adoption, pairs)
    if options.dry_run:
        raise DeclinedError("Dry run: nothing was moved or written, and the store was not looked at")
    if not confirm("Move them?", default=True):
        raise DeclinedError("Stopped before anything was moved; nothing was changed", hint=set_up())
    move_files(adoption.original)
    return adoption


def show_adoption(screen: Screen, adoption: Adoption) -> None:
    """What becomes of each secret, which data is used, and what is left alone."""
    screen.title(f"Taking over {adoption.original.folder}", "It stays as it is. Values are never shown.")
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


def show_rest(screen: Screen, deployment: Deployment, adoption: Adoption) -> None:
    """What is to be done about the original itself."""
    if adoption.running:
        screen.say("", "Before you start this stack, stop the original; its data stays:")
        screen.command(program("docker", "stop", *adoption.running))
    if adoption.places:
        moved = is_in_place(deployment, adoption.original)
        screen.say("", f"When everything works, what these places in {adoption.original.folder} hold may be deleted:")
        for place in adoption.places:
            screen.say(f"  {place}")
        if moved:
            screen.say(f"  Until then {KEPT_FOLDER}/ has them.")


def _show_moves(screen: Screen, adoption: Adoption, pairs: list[tuple[str, str]]) -> None:
    screen.say(_MOVED)
    for here, there in pairs:
        screen.say(f"  {adoption.original.shown(here)} -> {adoption.original.shown(there)}")
