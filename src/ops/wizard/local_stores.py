"""Finding a store on this machine: the encrypted file, or the variables in a dotenv file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from src.ops.setup.in_use import kind_expected
from src.ops.setup.inspect import inspect_store, start_over
from src.ops.setup.master_key import NoPlaceForKeyError, check_key_path
from src.ops.setup.options import START_OVER
from src.ops.setup.state import LostStoreError, explain
from src.ops.terminal.prompts import Choice
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.masterkey import looks_like_master_key

from .leave import leave_for
from .master_key import ask_for_key_path
from .trouble import show_error
from .values import ValueQuestions

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.setup.given import GivenValues
    from src.ops.setup.inspect import FoundStore
    from src.ops.setup.state import LostValueError
    from src.ops.store_kinds.base import StoreKind
    from src.ops.terminal.interview import Interview
    from src.ops.terminal.screen import Screen


class LocalStores:
    """Looks into a store on this machine, with a person who can say what to do if it does not open.

    Args:
        deployment: What is set up.
        screen: Where everything is shown.
        interview: Asks.
    """

    def __init__(self, deployment: Deployment, screen: Screen, interview: Interview) -> None:
        self._deployment = deployment
        self._screen = screen
        self._interview = interview

    def inspect(self, kind: StoreKind[Any], key_file: str | None) -> FoundStore:
        """What the store holds.

        Args:
            kind: Which one.
            key_file: The master key's file, when the command line names it.

        Raises:
            SecretsError: It does not open, and the person chose to stop.
        """
        named = key_file
        while True:
            try:
                return inspect_store(self._deployment, kind, key_file)
            except NoPlaceForKeyError as error:
                self._screen.warn(str(error))
                key_file = ask_for_key_path(self._deployment, self._interview)
            except SecretsError as error:
                if not kind.has_master_key:
                    raise
                told = explain(self._deployment, error)
                self._screen.warn(str(told))
                # A rescue works on the store in use, which may be another one.
                can_rescue = kind is kind_expected(self._deployment)
                rescue = [Choice("rescue", "Restore the secrets: paste the key, or use what is left elsewhere")]
                answer = self._interview.select(
                    "The secrets file is unchanged. What do you want to do?",
                    [
                        *(rescue if can_rescue else []),
                        Choice("key", "Name another key file"),
                        Choice("new", "Start over with new secrets, and keep the old file"),
                        Choice("stop", "Stop here"),
                    ],
                    why="Only its key opens it. The key may be in another file, or in a backup.",
                )
                if answer == "stop":
                    raise told from None
                if answer == "rescue":
                    leave_for(self._deployment, "rescue")
                if answer == "new":
                    confirm_start_over(self._interview)
                    return start_over(self._deployment, kind, master_key_file=named)
                key_file = self._interview.ask_text(
                    "Path of the key file:",
                    check=self._check_existing_key_path,
                    hide=looks_like_master_key,
                    why="The file with the key that encrypted the secrets.",
                )

    def _check_existing_key_path(self, path: str) -> str | None:
        if looks_like_master_key(path):
            return "That is a key itself. Esc goes back; choose to paste the key there."
        if not os.path.isfile(os.path.expanduser(path)):
            return "There is no such file."
        return check_key_path(path, self._deployment)


def ask_about_obstacle(deployment: Deployment, obstacle: SecretsError, screen: Screen, interview: Interview) -> None:
    """Go on when the person gives up what is left of the secrets.

    Raises:
        SecretsError: ``obstacle``, when the person stops.
    """
    show_error(screen, obstacle)
    stop = Choice("stop", "Stop here; nothing was changed")
    menu = [stop, Choice("new", "Start over with new secrets")]
    if isinstance(obstacle, LostStoreError):
        menu = [Choice("rescue", "Restore the secrets from what is left"), menu[1], stop]
    answer = interview.select(
        "What next?",
        menu,
        why="New secrets cannot open what the old ones protect. What is left of the old ones is kept.",
    )
    if answer == "stop":
        raise obstacle
    if answer == "rescue":
        leave_for(deployment, "rescue")
    confirm_start_over(interview)


def ask_about_lost_values(
    deployment: Deployment, given: GivenValues, obstacle: LostValueError, screen: Screen, interview: Interview
) -> None:
    """Let the person restore values that are no longer in the store, or have new ones made.

    Raises:
        LostValueError: The person stops.
    """
    show_error(screen, obstacle)
    answer = interview.select(
        "What do you want to do?",
        [
            Choice("rescue", "Restore them from what is left"),
            Choice("new", "Give them new values"),
            Choice("stop", "Stop here; nothing was changed"),
        ],
        why="A new value does not open what the old one protects: a database keeps its password.",
    )
    if answer == "stop":
        raise obstacle
    if answer == "rescue":
        leave_for(deployment, "rescue")
    lost = [spec for spec in deployment.catalog.secrets if spec.name in obstacle.names]
    given.regenerated.update(spec.name for spec in lost if spec.generated)
    ValueQuestions(deployment, given, screen, interview).ask_for([spec for spec in lost if not spec.generated])


def confirm_start_over(interview: Interview) -> None:
    """Go on only when the person types the word."""
    why = "The application loses everything that only the old secrets open: encrypted data, logins, databases."
    interview.ask_for_word(START_OVER, why=why)
