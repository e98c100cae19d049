"""The state of a deployment, found in one place: every command, the wizard and the doctor go by it.

``docs/states.md`` has the table: what each state means, and what each command does in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from src.ops.deployment.deployment import NotSetUpError
from src.ops.deployment.journal import REENCRYPT, REENCRYPT_WORDS, Journal, JournalClosedError
from src.ops.store_kinds import load_secrets, open_store
from src.utils.secrets.backends.file import missing_text
from src.utils.secrets.command import manage, program, set_up
from src.utils.secrets.errors import (
    ConfigurationError,
    DamagedStoreError,
    DecryptionError,
    MasterKeyError,
    MasterKeyGoneError,
    MasterKeyOwnerError,
    SecretNotFoundError,
    SecretsError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
    UnsupportedVersionError,
)
from src.utils.secrets.masterkey import load_master_key
from src.utils.secrets.settings import MASTER_KEY_FAMILY, SecretsBackend

from .in_use import kind_expected
from .near_keys import find_key_for
from .summary import encrypted_file_named, summary_file
from .traces import (
    backups,
    containers,
    copies_of,
    docker_files,
    names_that_had_a_value,
    optional_that_are_lost,
    store_named,
    volumes,
    was_set_up,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind
    from src.utils.secrets.command import Command, Hint
    from src.utils.secrets.snapshot import Snapshot


class Generates(StrEnum):
    """What the set-up may make without being asked for it by name."""

    SET = "a whole set"
    MISSING = "a value for each required secret that never had one here"
    NOTHING = "nothing"


class State(Enum):
    """What there is of a deployment.

    A line has the name, what it means, what the set-up may generate, and the next steps.
    """

    FRESH = ("fresh", "Nothing shows that secrets were ever set up here.", Generates.SET, set_up())
    READY = ("ready", "The store has a value for every required secret.", Generates.NOTHING, manage("status"))
    INCOMPLETE = (
        *(
            "incomplete",
            "The store can be read and lacks a secret that is required, or that it had.",
            Generates.MISSING,
        ),
        *(set_up(), manage("rescue", purpose="For a value that was there")),
    )
    STORE_GONE = (
        *("store gone", "The encrypted file is not there: deleted, or its disk is not mounted.", Generates.NOTHING),
        *("Mount the disk", manage("rescue")),
    )
    STORE_EMPTY = (
        *("store empty", "The store answers, and no longer has the secrets that were set up here.", Generates.NOTHING),
        *("Check the place in the settings", manage("rescue")),
    )
    KEY_GONE = (
        *("key gone", "The encrypted file is there, its master key is not.", Generates.NOTHING),
        *(manage("rescue"), manage("key", "paste", purpose="With a copy of the key")),
    )
    WRONG_KEY = (
        *("wrong key", "The encrypted file was written with another master key.", Generates.NOTHING),
        manage("rescue", purpose="It tries the keys that lie near"),
    )
    DAMAGED = ("damaged", "What the store holds is not what was written there.", Generates.NOTHING, manage("rescue"))
    NEWER = (
        *("newer", "A newer version of these tools wrote the store.", Generates.NOTHING),
        "Install the version that wrote it",
    )
    UNREACHABLE = (
        *("unreachable", "The store does not answer now.", Generates.NOTHING),
        "Start it, or wait, and run the same command again",
    )
    DENIED = (
        *("denied", "The store refuses to be read.", Generates.NOTHING),
        *("Sign in", manage("policy", "STORE", purpose="What has to be allowed")),
    )
    INTERRUPTED = (
        *("interrupted", "A command was stopped in the middle.", Generates.MISSING),
        "The same command, which finishes it",
    )
    FOREIGN = (
        *("owned by another user", "This user may not read a file of the deployment.", Generates.NOTHING),
        "Run it as the user who owns the file",
    )
    MISCONFIGURED = (
        *("misconfigured", "A setting is missing or wrong.", Generates.NOTHING),
        "Correct the setting that the error names",
    )

    meaning: str
    generates: Generates
    next_steps: tuple[Hint, ...]

    def __new__(cls, name: str, meaning: str, generates: Generates, *next_steps: Hint) -> State:
        member = object.__new__(cls)
        member._value_ = name
        member.meaning = meaning
        member.generates = generates
        member.next_steps = next_steps
        return member

    @property
    def is_readable(self) -> bool:
        """Whether the store can be read."""
        return self in (State.READY, State.INCOMPLETE, State.INTERRUPTED)

    @property
    def is_rescuable(self) -> bool:
        """Whether ``rescue`` is for it: there were secrets, and they cannot be read any more."""
        return self in (State.STORE_GONE, State.STORE_EMPTY, State.KEY_GONE, State.WRONG_KEY, State.DAMAGED)


LOSSES = (
    NotSetUpError,
    SecretNotFoundError,
    StoreEmptyError,
    MasterKeyError,
    DecryptionError,
    DamagedStoreError,
)
"""The errors that do not say by themselves what has happened."""


class LostStoreError(StoreError):
    """Secrets were set up here, and cannot be read any more; they can be restored from what is left."""


class LostValueError(StoreError):
    """A secret had a value here, and its store has none any more.

    Args:
        names: Which ones.
    """

    def __init__(self, message: str, *, hint: Hint | Sequence[Hint] = (), names: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.names = tuple(names)


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        state: The state.
        kind: The store in use; ``None`` when the settings name none that there is.
        snapshot: What the store holds, where it can be read.
        cause: What the store itself said, where it cannot.
        error: What a person is told: what happened, and what to run next. ``None`` when nothing stands in the way.
        missing: The required secrets without a value, and the optional ones that had one here.
        lost: Those of ``missing`` that had one here. No new value takes its place unless somebody asks for it.
        interrupted: The command that was stopped in the middle; empty when none was.
    """

    state: State
    kind: StoreKind[Any] | None = None
    snapshot: Snapshot | None = None
    cause: SecretsError | None = None
    error: SecretsError | None = None
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    interrupted: str = ""

    def require_snapshot(self) -> Snapshot:
        """What the store holds.

        Raises:
            SecretsError: It cannot be read; says what has happened.
        """
        if self.snapshot is None:
            error = self.error or self.cause
            assert error is not None
            raise error
        return self.snapshot


def inspect_deployment(deployment: Deployment, kind: StoreKind[Any] | None = None) -> Inspection:
    """Look at the store in use, and at what is left where it has none. Changes nothing.

    Args:
        deployment: What is looked at.
        kind: Another store than the one in use.
    """
    try:
        kind = kind or kind_expected(deployment)
        store = open_store(deployment, kind)
        snapshot = load_secrets(deployment, store)
    except SecretsError as cause:
        return _explain(deployment, kind, cause)
    required = [spec for spec in deployment.catalog.secrets if spec.required]
    absent = [spec for spec in required if not snapshot.values.get(spec.name)]
    optional = optional_that_are_lost(deployment, snapshot)
    missing = (*(spec.name for spec in absent), *optional)
    lost = (*names_that_had_a_value(deployment, snapshot, absent), *optional)
    interrupted = find_interrupted(deployment, kind)
    state = State.INTERRUPTED if interrupted else State.INCOMPLETE if missing else State.READY
    error = lost_values(deployment, lost) if lost else None
    return Inspection(state, kind, snapshot, None, error, missing, lost, interrupted)


def explain(deployment: Deployment, error: SecretsError) -> SecretsError:
    """``error``, or the one that says what has happened, when it is about the secrets of this deployment."""
    if isinstance(error, ConfigurationError) and not isinstance(error, NotSetUpError):
        unreadable = _unreadable_file(deployment, None)
        return _foreign(unreadable) if unreadable else _explain_setting(deployment, error)
    if not isinstance(error, LOSSES):
        return error
    found = inspect_deployment(deployment)
    if found.error is None:
        # Where nothing is set up, it is no help that no setting names a key.
        gone = find_settings_gone(deployment) if isinstance(error, NotSetUpError) else None
        if gone is not None:
            return gone
        is_unset = isinstance(error, MasterKeyGoneError) and not any(map(deployment.is_configured, MASTER_KEY_FAMILY))
        return found.cause if is_unset and found.state is State.FRESH and found.cause is not None else error
    if isinstance(error, SecretNotFoundError):
        is_about_it = found.state.is_rescuable or not {*error.names}.isdisjoint(found.lost)
    elif isinstance(error, NotSetUpError) or not deployment.is_configured("SECRETS_BACKEND"):
        is_about_it = found.state.is_rescuable or found.error is not found.cause
    else:
        is_about_it = found.cause is not None and str(found.cause) == str(error)
    return found.error if is_about_it else error


def _explain_setting(deployment: Deployment, error: SecretsError) -> SecretsError:
    """``error``, or that the settings are gone, when that is why a setting of a store is missing."""
    if deployment.is_configured("SECRETS_BACKEND") or store_named(deployment) is None:
        return error
    found = inspect_deployment(deployment)
    return found.error if found.error is not None and str(found.cause) == str(error) else error


def raise_explained(deployment: Deployment, error: SecretsError) -> NoReturn:
    """Raise what :func:`explain` makes of ``error``, which is being handled.

    Raises:
        SecretsError: Always.
    """
    told = explain(deployment, error)
    if told is error:
        raise error
    raise told from None


def find_interrupted(deployment: Deployment, kind: StoreKind[Any]) -> str:
    """The command that was stopped in the middle, as far as anything shows one; empty when none was."""
    try:
        if Journal(deployment, REENCRYPT).read():  # it finishes its rotation, too
            return " ".join(REENCRYPT_WORDS)
        if Journal(deployment, "rotate").read():
            return "rotate"
        if kind.has_master_key and _is_between_keys(deployment):
            return "rotate-master-key"
    except JournalClosedError:
        return ""
    except SecretsError:
        return "rotate"  # a journal that cannot be understood was left by something, too
    return ""


def lost_values(deployment: Deployment, names: tuple[str, ...]) -> LostValueError:
    """The error for secrets that are no longer in the store."""
    are = "is" if len(names) == 1 else "are"
    return LostValueError(
        f"{', '.join(names)} {are} no longer in the store, but had a value here",
        hint=[
            manage("rescue", purpose="See where it is left, and restore it"),
            *(set_value(deployment, name, purpose="Or give it a new one") for name in names),
            *(
                manage("remove", name, purpose="Or say that it is no longer used")
                for name in names
                if name not in deployment.catalog.required_names
            ),
        ],
        names=names,
    )


def set_value(deployment: Deployment, name: str, *, purpose: str = "") -> Command:
    """The command that gives a secret a new value: generated, where it can be."""
    spec = deployment.catalog.find(name)
    generate = ["--generate"] if spec is not None and spec.generated else []
    return manage("set", name, *generate, purpose=purpose)


def _is_between_keys(deployment: Deployment) -> bool:
    environ = deployment.settings(SecretsBackend.FILE).environ
    return bool(environ.get("SECRETS_MASTER_KEY_FILE")) and len(load_master_key(environ)) > 1


def _explain(deployment: Deployment, kind: StoreKind[Any] | None, error: SecretsError) -> Inspection:
    unreadable = _unreadable_file(deployment, kind)
    if unreadable:
        return Inspection(State.FOREIGN, kind, None, error, _foreign(unreadable))
    if kind is None:
        return Inspection(State.MISCONFIGURED, None, None, error, error)
    if isinstance(error, MasterKeyError) and not os.path.lexists(_file_path(deployment)):
        # What is missing first is the file: without one, no key is needed.
        error = StoreEmptyError(missing_text(_file_path(deployment)), hint=set_up(purpose="Make a first set"))
    state = _state_of(deployment, kind, error)
    if state is State.FRESH:
        return Inspection(state, kind, None, error)
    gone = find_settings_gone(deployment) if state is State.MISCONFIGURED else None
    told = gone or (_lost(deployment, kind, state, error) if state.is_rescuable else error)
    return Inspection(state, kind, None, error, told)


def find_settings_gone(deployment: Deployment, chosen: StoreKind[Any] | None = None) -> ConfigurationError | None:
    """What is told where only the summary still says in which store the secrets are; ``None`` where that is not so.

    Args:
        deployment: Whose settings.
        chosen: The store that a set-up connects to. If it is the one that the summary names, all is well.
    """
    if deployment.is_configured("SECRETS_BACKEND"):
        return None
    named = store_named(deployment)
    if named is None or named is chosen or named.is_dotenv:
        return None
    return ConfigurationError(
        f"{deployment.shown(deployment.settings_file)} does not name a store any more; "
        f"{deployment.shown(summary_file(deployment))} says that the secrets are in {named.title}",
        hint=[
            "If you have a copy of that file, put it back",
            set_up("--backend", named.short_name, purpose="Or connect to the store again; what it has stays"),
        ],
    )


def _state_of(deployment: Deployment, kind: StoreKind[Any], error: SecretsError) -> State:
    if isinstance(error, StoreDeletedError):
        return State.STORE_EMPTY
    if isinstance(error, StoreEmptyError):
        if not was_set_up(deployment, kind):
            return State.FRESH
        return State.STORE_GONE if kind.has_master_key else State.STORE_EMPTY
    states = {
        MasterKeyGoneError: State.KEY_GONE,
        MasterKeyOwnerError: State.FOREIGN,
        DecryptionError: State.WRONG_KEY,
        DamagedStoreError: State.DAMAGED,
        UnsupportedVersionError: State.NEWER,
        StoreUnavailableError: State.UNREACHABLE,
        StoreDeniedError: State.DENIED,
    }
    state = next((states[kind_] for kind_ in type(error).__mro__ if kind_ in states), State.MISCONFIGURED)
    if state is State.DAMAGED and kind.has_master_key and find_key_for(deployment, _file_path(deployment)):
        return State.WRONG_KEY  # an earlier file, put back under a newer key, looks the same to that key
    return state


def _lost(deployment: Deployment, kind: StoreKind[Any], state: State, cause: SecretsError) -> SecretsError:
    if isinstance(cause, StoreDeletedError):
        return cause  # the store itself can still restore it, and its hints say how
    return LostStoreError(_message(deployment, state, cause), hint=_hints(deployment, kind, state))


def _message(deployment: Deployment, state: State, cause: SecretsError) -> str:
    if state is State.WRONG_KEY and isinstance(cause, DamagedStoreError):
        return (
            f"Failed to decrypt secrets file {_file_path(deployment)}: it is an earlier file, "
            "which was written with another key"
        )
    if state in (State.STORE_GONE, State.STORE_EMPTY):
        return f"{cause}, but secrets were set up here before"
    if state is State.KEY_GONE:
        return f"{cause}. {deployment.shown(_file_path(deployment))} cannot be opened without its key"
    return str(cause)


def _hints(deployment: Deployment, kind: StoreKind[Any], state: State) -> list[Hint]:
    hints: list[Hint] = [manage("rescue", purpose="See what can be restored, and restore it")]
    if state is State.STORE_GONE:
        hints.append("Nothing was changed. If its disk is only not mounted, mount it and run this again")
    elif state is State.STORE_EMPTY:
        hints.append("Nothing was changed. Check first that the settings name the right account and place")
    # How to give them up is no cure: the rescue says it when nothing is left, and the wizard offers it.
    return [*hints, *(f"Left here: {left}" for left in _left(deployment, kind))]


def _left(deployment: Deployment, kind: StoreKind[Any]) -> list[str]:
    """What may still have the secrets, a line each."""
    left = []
    if kind.has_master_key:
        path = _file_path(deployment)
        copies = copies_of(path)
        left += [deployment.shown(copy) for copy in copies[:3]]
        named = encrypted_file_named(deployment, kind)
        if named and not os.path.lexists(path) and os.path.isfile(named):
            left.append(f"{deployment.shown(named)}, which {deployment.shown(summary_file(deployment))} names")
        found = find_key_for(deployment, path)
        left += [f"{deployment.shown(found.source)}, which opens {deployment.shown(path)}"] if found else []
    if docker_files(deployment):
        left.append(f"{deployment.shown(deployment.docker_directory)}/ has the values that the containers use")
    left += [f"the backup {deployment.shown(path)}" for path in backups(deployment)[:3]]
    names = containers(deployment)
    if names:
        left.append(f"the containers {', '.join(names)}. Do not remove or restart them yet")
    kept = [] if names else volumes(deployment)
    if kept:
        left.append(f"the volumes {', '.join(kept)}. A database in them keeps its password")
    return left


def _unreadable_file(deployment: Deployment, kind: StoreKind[Any] | None) -> str:
    """A file of the deployment that is there and that this user may not read; empty when there is none."""
    paths = [deployment.settings_file, deployment.compose_file]
    if kind is not None and kind.has_master_key:
        paths.append(_file_path(deployment))
        key_file = deployment.settings(kind.backend).environ.get("SECRETS_MASTER_KEY_FILE")
        paths += [os.path.expanduser(key_file)] if key_file else []
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except PermissionError:
            return os.path.abspath(path)
        except OSError:
            continue
    return ""


def _foreign(path: str) -> StoreError:
    shown, owner = path, None
    while owner is None:
        try:
            owner = os.stat(shown).st_uid
        except PermissionError:  # it is in a folder that is closed
            shown = os.path.dirname(shown)
    if owner == os.geteuid():
        bits = "u+rx" if os.path.isdir(shown) else "u+r"
        return StoreError(
            f"{path} may not be read, though it is yours: the mode of {shown} is {os.stat(shown).st_mode & 0o777:04o}",
            hint=program("chmod", bits, shown, purpose="Let its owner read it"),
        )
    return StoreError(
        f"{path} may not be read by this user (uid {os.geteuid()}): {shown} belongs to uid {owner}",
        hint=[program("ls", "-ld", shown, purpose="Look at it"), "Run this as the user who owns it"],
    )


def _file_path(deployment: Deployment) -> str:
    return deployment.settings(SecretsBackend.FILE).file_path
