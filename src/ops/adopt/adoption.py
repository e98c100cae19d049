"""What becomes of each value of the original, and which settings let this stack use the same data."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from src.ops.containers.stack import Stack, StackError, project_name
from src.ops.deployment.dotenv import read_dotenv
from src.ops.values.importing.names import Names
from src.utils.secrets.atomicfile import make_private_directory
from src.utils.secrets.command import program
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.judge import Origin, Verdict, all_names, judge
from src.utils.secrets.settings import read_value_file
from src.utils.secrets.snapshot import PreviousValue, SecretMetadata, utc_now

from .engine import (
    DATA_FOLDER,
    REDIS_FOLDER,
    accepts,
    can_be_asked,
    find_major,
    inspect_stack,
    keeps_append_only_file,
    read_services,
    volume_exists,
)
from .files import read_files
from .found import FoundValue
from .original import KEPT_FOLDER, PARTLY_KEPT_FOLDER, SHARED_FILES, Original, find_original

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import Catalog, SecretSpec

    from .engine import OriginalStack, Service
    from .found import Found

DATABASE_PASSWORD = "DATABASE_PASSWORD"  # pragma: allowlist secret
TRIED_MAJORS = (15, 16)
_SUPERUSER = "postgres"


class Decision(Enum):
    """What becomes of a secret."""

    TAKEN = "taken"
    REPLACED = "replaced"
    NEW = "new"
    ASKED = "not decided"
    LEFT = "left alone"


@dataclass(frozen=True)
class Row:
    """What becomes of one secret, and why.

    Attributes:
        name: The secret.
        decision: What becomes of it.
        why: From where, or for what reason.
    """

    name: str
    decision: Decision
    why: str


@dataclass
class Adoption:
    """What is taken over from a deployment of the original.

    Attributes:
        original: Where it is.
        rows: What becomes of each secret.
        values: The values that are taken.
        sources: Where each of them lies.
        histories: Earlier values that data may depend on.
        undecided: Why a value cannot be chosen, by the name of its secret.
        settings: Lines for Compose, so that it uses the same data.
        running: The original's containers that run.
        coming_back: Those that Docker starts again when it starts itself, although somebody has stopped them.
        left_alone: What is secret there and stays there: the place, and what it is.
        found: Every value that is one of a secret here.
        notes: What a person should know.
    """

    original: Original
    rows: list[Row] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict, repr=False)
    sources: dict[str, str] = field(default_factory=dict)
    histories: dict[str, SecretMetadata] = field(default_factory=dict, repr=False)
    undecided: dict[str, ConfigurationError] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    coming_back: list[str] = field(default_factory=list)
    left_alone: list[tuple[str, str]] = field(default_factory=list)
    found: list[FoundValue] = field(default_factory=list, repr=False)
    notes: list[str] = field(default_factory=list)

    @property
    def new_names(self) -> list[str]:
        """The secrets that get a new value: the original has none of them that anything depends on."""
        return [row.name for row in self.rows if row.decision in (Decision.NEW, Decision.REPLACED)]

    def obsolete_places(self, values: Mapping[str, str]) -> list[str]:
        """Where the original has values that are no longer needed there.

        Args:
            values: What the store has now.
        """
        kept = {name: {old.value for old in history.previous} for name, history in self.histories.items()}
        others = {place.partition(",")[0] for place, _what in self.left_alone}
        places = [
            one.place
            for one in self.found
            if one.is_in_file and one.value in {values.get(one.name), *kept.get(one.name, ())}
        ]
        # A file that has something else in it, too, is named with its line or not at all.
        return [place for place in dict.fromkeys(places) if place not in others]


def read_adoption(
    deployment: Deployment,
    folder: str,
    *,
    key_file: str | None = None,
    given: Collection[str] = (),
    has_import: bool = False,
) -> Adoption:
    """Read everything of a deployment of the original, and decide. Nothing is changed.

    Args:
        deployment: What takes it over.
        folder: The original's folder; this project's own, where its files were put over the original's.
        key_file: A file with the original's master key, where its settings do not have it.
        given: The secrets whose values somebody gives, so that the original's are not needed.
        has_import: Whether values come from another file, too.

    Raises:
        ConfigurationError: The folder is none of the original, or a part of it cannot be read.
        StackError: Docker does not say which data there is, or it is of a kind that was never tried.
    """
    original = find_original(folder, deployment.project_directory)
    names = Names(deployment.catalog)
    keys = [read_value_file(key_file, "--adopt-key-file")] if key_file else []
    stack = inspect_stack(original, deployment.project_directory)
    found = read_services(stack, names)
    found.add(read_files(original, names, keys))
    found.drop_composed()
    _require_readable(found, given, has_import=has_import)
    adoption = Adoption(original, running=stack.running, coming_back=stack.coming_back)
    adoption.left_alone, adoption.found, adoption.notes = found.left_alone, found.values, found.notes
    postgres = _choose_database(stack.databases)
    database = _Database(postgres, found.settings)
    for spec in deployment.catalog.secrets:
        if spec.name not in given:
            mine = [one for one in found.values if one.name == spec.name]
            _decide(adoption, deployment.catalog, spec, mine, database)
    for feature in deployment.catalog.features:
        _require_whole(adoption, deployment.catalog, feature)
    adoption.settings = _settings(deployment, stack, database, adoption)
    return adoption


def _require_readable(found: Found, given: Collection[str], *, has_import: bool) -> None:
    """Refuse a value that cannot be read for certain, where nothing else has it.

    Raises:
        ConfigurationError: There is one, or all values are in a store that is not read.
    """
    if found.store and not has_import:
        raise ConfigurationError(
            f"The original's settings name a store that is not read here ({found.store}); nothing was changed",
            hint="Write what that store has into a file of NAME=value lines, and add: --import FILE",
        )
    known = {one.name for one in found.values} | set(given)
    unread = [(name, where) for name, where in found.unread if name not in known]
    absent = list(dict.fromkeys(name for name, _ in unread))
    if absent:
        raise ConfigurationError(
            f"{', '.join(absent)} of the original cannot be read; nothing was changed",
            hint=[
                *(f"{name}: {where}" for name, where in unread),
                *(f"Give it: --set-file {name}=PATH" for name in absent),
            ],
        )
    found.notes += [f"{name}: {where}; not used, since another place has a value" for name, where in found.unread]


def is_in_place(deployment: Deployment, original: Original) -> bool:
    """Whether this project lies in the original's own folder."""
    return os.path.realpath(original.folder) == os.path.realpath(deployment.project_directory)


def files_to_move(original: Original) -> list[tuple[str, str]] | None:
    """The files of the original that are called as this project's own: where each is, and where it will be.

    Returns:
        ``None`` when they were moved before.

    Raises:
        ConfigurationError: One of them is a link, which would lead elsewhere from there.
    """
    kept, partly = (os.path.join(original.folder, name) for name in (KEPT_FOLDER, PARTLY_KEPT_FOLDER))
    if os.path.lexists(kept):
        return None
    found = [name for name in SHARED_FILES if _is_somewhere(name, (original.folder, partly))]
    for path in (os.path.join(original.folder, name) for name in found):
        if os.path.islink(path):
            raise ConfigurationError(
                f"{path} is a link, and is in the place of a file of this project; nothing was changed",
                hint="Put the file itself there, and run this again",
            )
    return [(os.path.join(original.folder, name), os.path.join(kept, name)) for name in found]


def move_files(original: Original) -> None:
    """Move them, unchanged. Each is in one of two places at any moment; running it again goes on.

    Raises:
        ConfigurationError: One cannot be moved.
    """
    kept, partly = (os.path.join(original.folder, name) for name in (KEPT_FOLDER, PARTLY_KEPT_FOLDER))
    here = original.folder
    try:
        make_private_directory(partly)
        for here, there in files_to_move(original) or ():
            target = os.path.join(partly, os.path.relpath(there, kept))
            make_private_directory(os.path.dirname(target))
            if os.path.lexists(here) and not os.path.lexists(target):
                os.rename(here, target)
        os.rename(partly, kept)
    except OSError as error:
        raise ConfigurationError(
            f"{here} cannot be moved to {kept}: {error.strerror}", hint="Correct that, and run this again"
        ) from None


def _is_somewhere(name: str, folders: Sequence[str]) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for folder in folders)


class _Database:
    """The original's database, which knows what its password is."""

    def __init__(self, service: Service | None, settings: Mapping[str, str]) -> None:
        self.service = service
        environ = service.environ if service else {}
        self.user = environ.get("POSTGRES_USER") or settings.get("DATABASE_USER") or _SUPERUSER
        self.name = environ.get("POSTGRES_DB") or settings.get("DATABASE_NAME") or self.user

    def find_right(self, passwords: Sequence[str]) -> tuple[str | None, bool]:
        """The password that it accepts, and whether it could be asked."""
        service = self.service
        if service is None or not service.is_running or not can_be_asked(service, self.user, self.name):
            return None, False
        # One of several lines is none that can be typed in one.
        answers = {one: accepts(service, self.user, self.name, one) for one in passwords if one.isprintable()}
        right = next((one for one, answer in answers.items() if answer), None)
        return right, right is not None or all(answer is False for answer in answers.values())


def _decide(
    adoption: Adoption, catalog: Catalog, spec: SecretSpec, found: Sequence[FoundValue], database: _Database
) -> None:
    if found and spec.name == DATABASE_PASSWORD:
        _decide_password(adoption, catalog, spec, found, database)
    elif found:
        _choose(adoption, catalog, spec, found)
    elif spec.generated or spec.default is not None:
        adoption.rows.append(Row(spec.name, Decision.NEW, "the original has none"))


def _decide_password(
    adoption: Adoption, catalog: Catalog, spec: SecretSpec, found: Sequence[FoundValue], database: _Database
) -> None:
    """Let the running database decide on its password."""
    right, was_asked = database.find_right(list(dict.fromkeys(one.value for one in found)))
    if right is not None:
        accepted = [one for one in found if one.value == right]
        _choose(adoption, catalog, spec, accepted, "; the running database accepts it")
        return
    if was_asked:
        why = "the running database accepts none of those found; it gets the new one when this stack starts"
        adoption.rows.append(Row(spec.name, Decision.REPLACED, why))
        return
    good = [one for one in found if not _fault_of(catalog, spec, one.value)]
    if len({one.value for one in good}) > 1:
        adoption.undecided[spec.name] = _several(good, database)
        adoption.rows.append(Row(spec.name, Decision.ASKED, "several values, and no running database to ask"))
        return
    _choose(adoption, catalog, spec, found)


def _choose(
    adoption: Adoption, catalog: Catalog, spec: SecretSpec, found: Sequence[FoundValue], proof: str = ""
) -> None:
    """Take a value without a fault; one that a running container has comes first."""
    faults = {one.value: _fault_of(catalog, spec, one.value) for one in found}
    good = [one for one in found if not faults[one.value]]
    if not good:
        decision = Decision.REPLACED if spec.generated else Decision.LEFT
        kept = "; kept as an earlier value" if spec.previous_values == "kept" else ""
        why = f"{found[0].place}: {faults[found[0].value]}{proof}{kept}"
        adoption.rows.append(Row(spec.name, decision, why))
        _keep_earlier(adoption, spec, list(faults))
        return
    chosen = next((one for one in good if one.is_running), good[0])
    adoption.values[spec.name], adoption.sources[spec.name] = chosen.value, chosen.place
    adoption.rows.append(Row(spec.name, Decision.TAKEN, f"{chosen.place}{proof}"))
    others = [one for one in found if one.value != chosen.value]
    _keep_earlier(adoption, spec, [one.value for one in others])
    if others and spec.previous_values != "kept":
        places = ", ".join(dict.fromkeys(one.place for one in others))
        adoption.notes.append(f"{spec.name}: another value is in {places}; it stays there, and is not used")


def _fault_of(catalog: Catalog, spec: SecretSpec, value: str) -> str:
    """Why a value is not taken; empty when it is, or when a person can be asked."""
    found = judge(spec, value, Origin.IMPORT, names=all_names(catalog.secrets))
    grave = [one for one in found if one.verdict is Verdict.REFUSE or (one.is_example and not spec.generated)]
    return grave[0].text if grave else ""


def _keep_earlier(adoption: Adoption, spec: SecretSpec, values: Sequence[str]) -> None:
    """Keep what data may be encrypted with."""
    if spec.previous_values != "kept" or not values:
        return
    now = utc_now()
    adoption.histories[spec.name] = SecretMetadata(
        now, [PreviousValue(value, now, None) for value in dict.fromkeys(values)]
    )
    adoption.notes.append(
        f"{spec.name}: the other value is kept as an earlier one, which this application still decrypts with. "
        "What the original encrypted by itself is its own application's affair"
    )


def _several(good: Sequence[FoundValue], database: _Database) -> ConfigurationError:
    container = database.service.container if database.service else ""
    return ConfigurationError(
        f"There are different values for {DATABASE_PASSWORD}, and no running database to ask which one is right: "
        f"{', '.join(dict.fromkeys(one.place for one in good))}; nothing was changed",
        hint=[
            program("docker", "start", container, purpose="Start the database, so that it can be asked")
            if container
            else "Start the original, and run this again",
            f"Or give the right one: --set-file {DATABASE_PASSWORD}=PATH",
        ],
    )


def _require_whole(adoption: Adoption, catalog: Catalog, feature: str) -> None:
    """Leave a feature alone of which the original has a part only."""
    members = [spec.name for spec in catalog.of_feature(feature)]
    absent = [name for name in members if name not in adoption.values]
    if not absent or len(absent) == len(members):
        return
    present = set(members) - set(absent)
    for name in present:
        del adoption.values[name]
    why = f"there is no {', '.join(absent)} with it"
    adoption.rows = [Row(row.name, Decision.LEFT, why) if row.name in present else row for row in adoption.rows]


# --- The data --------------------------------------------------------------------------------------------------------


def _choose_database(databases: Sequence[Service]) -> Service | None:
    """The one database of the original.

    Raises:
        StackError: There are several.
    """
    volumes = {service.volumes[DATA_FOLDER]: service for service in databases if DATA_FOLDER in service.volumes}
    if len(volumes) > 1:
        raise StackError(
            "The original has several databases, and it is not known which one to take over: "
            f"{', '.join(f'{service.name} ({volume})' for volume, service in volumes.items())}; nothing was changed",
            hint=program("docker", "rm", "CONTAINER", purpose="Remove the containers of the others; their data stays"),
        )
    return databases[0] if databases else None


def _settings(deployment: Deployment, stack: OriginalStack, database: _Database, adoption: Adoption) -> dict[str, str]:
    """The lines for Compose."""
    lines = {}
    postgres, redis = database.service, stack.redis
    volume = _volume_of(postgres, DATA_FOLDER, adoption)
    if postgres is not None and volume:
        _require_tried(postgres)
        lines = {
            "POSTGRES_IMAGE": postgres.image,
            "POSTGRES_VOLUME": volume,
            "POSTGRES_VOLUME_EXTERNAL": "true",
            "DATABASE_NAME": database.name,
            "DATABASE_USER": database.user,
        }
    elif any(one.name == DATABASE_PASSWORD for one in adoption.found):
        adoption.notes.append("No volume of a database was found: this stack makes a new one, which is empty")
    volume = _volume_of(redis, REDIS_FOLDER, adoption)
    if redis is not None and volume:
        lines |= {"REDIS_IMAGE": redis.image, "REDIS_VOLUME": volume, "REDIS_VOLUME_EXTERNAL": "true"}
        if keeps_append_only_file(redis):
            lines["REDIS_APPENDONLY"] = "yes"
    present = read_dotenv(deployment.compose_file)
    if lines and not is_in_place(deployment, adoption.original):
        own = present.get("COMPOSE_PROJECT_NAME") or project_name(deployment.project_directory)
        _require_no_data(deployment, own, present)
        if stack.project == own:  # both folders have one name, and Compose would take their containers for the same
            lines["COMPOSE_PROJECT_NAME"] = f"{own}-adopted"
    return lines


def _require_no_data(deployment: Deployment, project: str, present: Mapping[str, str | None]) -> None:
    """Refuse to give up the data of this deployment for the original's.

    Raises:
        StackError: It has data.
    """
    volumes = () if present.get("POSTGRES_VOLUME") else Stack(deployment).resources(project).volumes
    if volumes:
        raise StackError(
            f"This deployment has data of its own: {', '.join(volumes)}; nothing was changed",
            hint=[
                "Take the original over in a fresh clone",
                program(
                    "docker", "volume", "rm", *volumes, purpose="Or, if this data is not needed, remove it for good"
                ),
            ],
        )


def _volume_of(service: Service | None, folder: str, adoption: Adoption) -> str:
    """The volume with a service's data; empty when there is none.

    Raises:
        StackError: The data lies in a folder.
    """
    if service is None:
        return ""
    if folder in service.folders:
        raise StackError(
            f"The original's {service.name} keeps its data in a folder, not in a volume: {service.folders[folder]}; "
            "this is not taken over, and nothing was changed",
            hint="Make a volume of it first, and let the original use that: docs/from-the-original.md",
        )
    volume = service.volumes.get(folder, "")
    if re.fullmatch(r"[0-9a-f]{64}", volume):
        adoption.notes.append(
            f"The volume of {service.name} has no name: `docker volume prune` removes it while no container uses it"
        )
    if volume and not volume_exists(volume):
        adoption.notes.append(f"Docker has no volume {volume} here: {service.name} starts without data")
        return ""
    return volume


def _require_tried(postgres: Service) -> None:
    """Refuse a database that nobody has started this application with.

    Raises:
        StackError: It is of another major version, or nothing says of which.
    """
    if postgres.environ.get("PGDATA", DATA_FOLDER) != DATA_FOLDER:
        raise StackError(
            "The original's database keeps its files in another folder of its volume (PGDATA); "
            "this is not taken over, and nothing was changed",
            hint="Move it with a dump: docs/from-the-original.md",
        )
    major = find_major(postgres)
    if major in TRIED_MAJORS:
        return
    tried = " and ".join(map(str, TRIED_MAJORS))
    what = f"PostgreSQL {major}" if major else "a PostgreSQL of an unknown version"
    raise StackError(
        f"The original's database is {what}; this application was tried with {tried}, so it is not started on it, "
        "and nothing was changed",
        hint="Move the data with a dump: docs/from-the-original.md",
    )
