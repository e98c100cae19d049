"""What the tools know about a kind of store, in one place.

A store is read and written by ``src/utils/secrets/backends/<name>.py``. Everything that people are asked, shown and
allowed of it is its :class:`StoreKind`, in the file of the same name here. To add a store, see
``docs/add-a-store.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.command import Hint
    from src.utils.secrets.settings import SecretsBackend

    Check = Callable[[str], str | None]

StoreT = TypeVar("StoreT", bound="Backend")


class Role(StrEnum):
    """Who a policy is for."""

    APP = "app"
    DEPLOYER = "deployer"
    ROTATION = "rotation"


@dataclass(frozen=True)
class Setting:
    """An environment variable that says where a store is, or how to sign in there.

    Attributes:
        name: The variable.
        question: What the wizard asks for it; empty: it is not asked for.
        why: Why it is asked. One sentence.
        default: What is suggested where nothing else is known.
        check: Says what is wrong with an answer; ``None`` when nothing is.
        part: What it is called in a reference such as ``aws:REGION/ID``; empty: it is not part of one.
        example: A value for ``.env.production.example``, with ``{slug}`` for the application; empty: none there.
        says_where: Whether it is part of the place. Two environments never share a place.
        is_detectable: Whether its value is shown in the menu as a sign that this machine uses the store.
        is_path: Whether it is the path of a file or folder.
        is_secret: Whether it is a credential: kept in a file of its own, named by ``..._FILE``, never in the settings.
    """

    name: str
    question: str = ""
    why: str = ""
    default: str = ""
    check: Check | None = None
    part: str = ""
    example: str = ""
    says_where: bool = False
    is_detectable: bool = False
    is_path: bool = False
    is_secret: bool = False


@dataclass(frozen=True)
class PolicyOption:
    """An option of ``policy`` that only one store has.

    Attributes:
        name: Without the dashes.
        help: What it is.
        metavar: The name of its value in the help.
        choices: The values that it may have; empty: any.
        default: Its value when it is left out.
    """

    name: str
    help: str
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    default: str = ""


@dataclass(frozen=True)
class CredentialFault:
    """What is wrong with the credentials in use.

    Attributes:
        message: What, in one line.
        hints: What to do about it, one for each step.
    """

    message: str
    hints: tuple[Hint, ...]


class Questions(Protocol):
    """What a store can ask a person. The wizard answers to it."""

    asks_all: bool
    """Whether everything is asked again, since the first answers did not lead to the store."""

    @property
    def deployment(self) -> Deployment:
        """The deployment with the answers so far."""

    def ask(self, setting: Setting, *, default: str = "") -> None:
        """Ask for a setting that is not made yet."""

    def select(self, question: str, options: Sequence[tuple[str, str]], *, why: str) -> str:
        """Let the person choose; each option is its value and its line."""

    def answer(self, name: str, value: str) -> None:
        """Set a variable without a question."""

    def ask_credential(self, setting: Setting) -> None:
        """Ask for a credential, unseen, and offer to keep it in a file of its own."""


class StoreKind(Generic[StoreT]):
    """One kind of store.

    Attributes:
        backend: Its line in the list of stores.
        note: What it is, for its line in the menu.
        settings: Its settings, in the order in which they are asked for.
        place_note: What is said behind the path of a store on this machine; empty for others.
        sdk_variables: What the names of the variables begin with that its SDK reads from the process's environment.
        keeps_history: Whether it keeps earlier values, and when each secret changed.
        copies_history: Whether it takes over what another store knows of earlier values, as it is.
        is_shared: Whether it may hold secrets of others, which are none of our business.
        is_read_by_app: Whether the application's container can read it by itself, without files of secrets.
        can_purge: Whether what was deleted stands in the way until it is restored or purged.
        has_master_key: Whether it is an encrypted file with a key of its own.
        is_dotenv: Whether its values stand in a dotenv file, in plain text.
        has_policy: Whether there is something to allow in it: see :meth:`policy`.
        policy_options: What the policy depends on besides.
    """

    backend: ClassVar[SecretsBackend]
    note: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]] = ()
    place_note: ClassVar[str] = ""
    sdk_variables: ClassVar[tuple[str, ...]] = ()
    keeps_history: ClassVar[bool] = True
    copies_history: ClassVar[bool] = True
    is_shared: ClassVar[bool] = False
    is_read_by_app: ClassVar[bool] = True
    can_purge: ClassVar[bool] = False
    has_master_key: ClassVar[bool] = False
    is_dotenv: ClassVar[bool] = False
    has_policy: ClassVar[bool] = False
    policy_options: ClassVar[tuple[PolicyOption, ...]] = ()

    def __repr__(self) -> str:
        return f"<StoreKind {self.name}>"

    @property
    def name(self) -> str:
        """Its value of ``SECRETS_BACKEND``."""
        return str(self.backend.value)

    @property
    def short_name(self) -> str:
        """What it is called on the command line."""
        return min((self.name, *self.backend.aliases), key=len)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.backend.title

    @property
    def reference_forms(self) -> list[str]:
        """How the command line names such a store: alone, and with its place."""
        parts = "/".join(setting.part for setting in self._parts)
        return [self.short_name, *([f"{self.short_name}:{parts}"] if parts else [])]

    @property
    def place_settings(self) -> list[str]:
        """The variables that say where the secrets are; the last one is what environments differ in."""
        return [setting.name for setting in self.settings if setting.says_where]

    @property
    def kept_settings(self) -> list[str]:
        """The variables that a later run needs to find the store; none of them is secret."""
        return [f"{setting.name}_FILE" if setting.is_secret else setting.name for setting in self.settings]

    @property
    def secret_settings(self) -> list[str]:
        """The variables that are credentials themselves."""
        return [setting.name for setting in self.settings if setting.is_secret]

    def setting(self, name: str) -> Setting:
        """The setting called ``name``."""
        return next(setting for setting in self.settings if setting.name == name)

    def parse_place(self, place: str) -> dict[str, str]:
        """The settings in the place of a reference: ``REGION/ID`` of ``aws:REGION/ID``.

        Raises:
            ConfigurationError: It does not have the form of this kind of store.
        """
        parts = self._parts
        texts = place.split("/", len(parts) - 1) if len(parts) > 1 else [place]
        if not parts or len(texts) != len(parts) or not all(texts):
            raise ConfigurationError(
                f"What was given does not name a store of the kind {self.short_name}",
                hint=f"Use {' or '.join(self.reference_forms)}",
            )
        pairs = zip(parts, texts, strict=True)
        return {setting.name: _absolute(text) if setting.is_path else text for setting, text in pairs}

    def open(self, deployment: Deployment) -> StoreT:
        """The store of ``deployment``, to read and to write.

        Raises:
            SecretsError: A setting is missing or wrong.
        """
        from src.utils.secrets.manager import open_backend

        self.export_settings(deployment)
        store: StoreT = open_backend(deployment.settings(self.backend))  # type: ignore[assignment]
        return store

    def files(self, deployment: Deployment) -> list[str]:
        """The files that changing the store writes, beside those of a server."""
        return [deployment.settings_file]

    def export_settings(self, deployment: Deployment) -> None:
        """Give the SDK, which reads the process's environment, what the settings file and the person say."""
        for name, value in deployment.variables().items():
            if name.startswith(self.sdk_variables) and (name in deployment.answers or not os.environ.get(name)):
                os.environ[name] = value

    def check_access(self, store: StoreT, names: Iterable[str]) -> str:  # noqa: ARG002
        """Ask whether ``names`` can be written, as far as the store tells beforehand.

        Returns:
            Where they would be written, human-readable: account, region, address, path.

        Raises:
            StoreDeletedError: Some were deleted and stand in the way.
            SecretsError: The store cannot be reached, or refuses.
        """
        return store.describe()

    def restore(self, store: StoreT, names: Iterable[str]) -> None:  # noqa: ARG002
        """Restore what was deleted.

        Args:
            store: Where.
            names: The ``names`` of the ``StoreDeletedError``.

        Raises:
            SecretsError: It cannot be restored.
        """
        raise ConfigurationError(f"{self.title} cannot restore what was deleted", hint="See its own documentation")

    def purge(self, store: StoreT, names: Iterable[str]) -> None:  # noqa: ARG002
        """Remove permanently what was deleted. See :meth:`restore`."""
        raise ConfigurationError(f"{self.title} cannot purge what was deleted", hint="See its own documentation")

    def check_storable(self, name: str, value: str) -> None:
        """Refuse a value that the store cannot hold, before anything is written.

        Raises:
            InvalidSecretError: It would read back differently.
        """

    def empty(self, store: StoreT, names: Iterable[str], revision: str) -> None:
        """Take ``names`` out of the store, when everything is in another one.

        Raises:
            SecretsError: It cannot be written.
        """
        from src.utils.secrets.changes import Change

        store.save({name: Change(None) for name in names}, expected_revision=revision)

    def erase_hints(self, deployment: Deployment, names: Iterable[str]) -> tuple[Hint, ...]:  # noqa: ARG002
        """What is left after :meth:`empty`, and the commands that delete it permanently; nothing when nothing is."""
        return ()

    def ask(self, questions: Questions) -> None:
        """Ask what is missing to reach the store."""
        is_configured = questions.deployment.is_configured
        for setting in self.settings:
            if setting.question and not setting.is_secret:
                questions.ask(setting)
            elif setting.question and (
                questions.asks_all or not (is_configured(setting.name) or is_configured(f"{setting.name}_FILE"))
            ):
                questions.ask_credential(setting)

    def at_hand(self, deployment: Deployment) -> str:
        """What this machine already has set for the store, for its line in the menu; empty when nothing is."""
        variables = deployment.variables()
        found = [setting.name for setting in self.settings if setting.is_detectable and variables.get(setting.name)]
        return f"found {', '.join(f'{name}={variables[name]}' for name in found)}" if found else ""

    def policy(self, deployment: Deployment, role: Role, options: Mapping[str, str]) -> str:  # noqa: ARG002
        """The least that ``role`` must be allowed, in the form that the store's own tools take.

        Args:
            deployment: Names the place.
            role: Whom it is for.
            options: The values of :attr:`policy_options`, by name.

        Raises:
            ConfigurationError: A setting that it needs is missing.
        """
        raise ConfigurationError(f"{self.title} has no policy", hint="The file's owner and mode say who may read it")

    def credential_fault(self, store: Any, deployment: Deployment) -> CredentialFault | None:  # noqa: ARG002
        """What is wrong with the credentials in use; ``None`` when they last."""
        return None

    @property
    def _parts(self) -> list[Setting]:
        return [setting for setting in self.settings if setting.part]


def is_given(answer: str) -> str | None:
    """The check of an answer that may be anything but empty."""
    return None if answer.strip() else "This cannot be empty."


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
