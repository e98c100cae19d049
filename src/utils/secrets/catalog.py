"""Reads ``config/catalog.toml``, the one list of secrets, and refuses it when anything in it is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import CatalogError
from .settings import PROJECT_DIRECTORY, absent_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CATALOG_VERSION = 2
VERSIONS = (1, 2)
DEFAULT_PATH = "config/catalog.toml"
NEW_KEYS = frozenset({"judged", "min_length", "aliases", "from_url"})  # since version 2
INPUTS = ("generate", "ask", "generate_or_ask")
PREVIOUS_VALUES = ("none", "grace", "kept")
SHORTEST_LENGTH = 16
LONGEST_LENGTH = 4096

_NAME = r"[A-Z][A-Z0-9_]*"
_FILE_NAME = r"[a-z0-9][a-z0-9_.-]*\.txt"
_SLUG = r"[a-z][a-z0-9-]*"
_FEATURE = r"[a-z][a-z0-9_]*"


@dataclass(frozen=True)
class Feature:
    """Secrets that are set together or not at all.

    Attributes:
        name: What the secrets' ``feature`` refers to.
        question: What the wizard asks: yes means that the secrets are needed.
        why: What the wizard says above it.
    """

    name: str
    question: str
    why: str | None = None


@dataclass(frozen=True)
class SecretSpec:
    """One secret of the catalogue.

    Attributes:
        name: Its name in every store.
        group: Heading under which it is shown.
        description: What it is for, one line.
        why: What the wizard says above its question.
        input: Where a value comes from: ``generate``, ``ask``, or ``generate_or_ask`` (a person chooses).
        length: Characters of a generated value.
        default: What Enter means when it is asked for.
        feature: The optional feature that it belongs to; a secret without one is required.
        docker_file: Name of its file in ``secrets/``.
        rotation_days: After how many days it is due for rotation; ``None``: never.
        previous_values: What happens to the value that a new one replaces: accepted for a ``grace`` time, ``kept``
            until removed by hand, or ``none`` of that.
        consumers: The Compose services that get it.
        reload: Those of them that read a changed value when they get SIGHUP; the others are restarted.
        change_note: What a person has to do elsewhere after changing it.
        judged: Whether its values are judged: a name, for example, may be a common one.
        min_length: The fewest characters of a value that is accepted; ``None``: any.
        aliases: Other names under which people keep the same value.
        from_url: The names of URLs that have the value as their password.
    """

    name: str
    group: str
    description: str
    input: str
    docker_file: str
    why: str | None = None
    length: int | None = None
    default: str | None = None
    feature: str | None = None
    rotation_days: int | None = None
    previous_values: str = "none"
    consumers: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    change_note: str | None = None
    judged: bool = True
    min_length: int | None = None
    aliases: tuple[str, ...] = ()
    from_url: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether the application refuses to start without it."""
        return self.feature is None

    @property
    def generated(self) -> bool:
        """Whether a value can be made here."""
        return self.input != "ask"

    @property
    def mount_name(self) -> str:
        """Name of the Compose secret, and of its file in a container."""
        return self.docker_file.removesuffix(".txt")

    @property
    def previous_file(self) -> str | None:
        """Name of the file in ``secrets/`` that holds its earlier values, for a secret that keeps them."""
        return f"{self.mount_name}_previous.json" if self.previous_values != "none" else None


@dataclass(frozen=True)
class Catalog:
    """The whole list.

    Attributes:
        application: Name of the application, human-readable.
        slug: The same for paths and identifiers.
        features: By name.
        secrets: In the order of the file.
        path: Where it was read from.
    """

    application: str
    slug: str
    features: Mapping[str, Feature]
    secrets: tuple[SecretSpec, ...]
    path: str

    def find(self, name: str) -> SecretSpec | None:
        """The secret called ``name``."""
        return next((spec for spec in self.secrets if spec.name == name), None)

    def find_similar(self, name: str) -> SecretSpec | None:
        """The secret that goes by another name, or is written otherwise: ``db-password``, ``jwt_secret``."""
        wanted = name.upper().replace("-", "_").removesuffix("_FILE")
        return next((spec for spec in self.secrets if wanted in (spec.name, *spec.aliases, *spec.from_url)), None)

    def of_feature(self, feature: str) -> list[SecretSpec]:
        """The secrets of one feature."""
        return [spec for spec in self.secrets if spec.feature == feature]

    @property
    def names(self) -> list[str]:
        """Every name, in order."""
        return [spec.name for spec in self.secrets]

    @property
    def required_names(self) -> list[str]:
        """The names of the required secrets, in order."""
        return [spec.name for spec in self.secrets if spec.required]


def load_catalog(path: str | None = None) -> Catalog:
    """Read and check a catalogue.

    Args:
        path: The file; ``config/catalog.toml`` of this project when left out.

    Raises:
        CatalogError: It is missing, not TOML, or something in it is wrong. Names the file and the entry.
    """
    path = path or os.path.join(PROJECT_DIRECTORY, DEFAULT_PATH)
    return _Reader(path).read()


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path
        self._version: object = None

    def read(self) -> Catalog:
        content = self._parse()
        self._check_keys(content, "the top level", {"version", "application", "feature", "secret"})
        self._version = content.get("version")
        if self._version not in VERSIONS:
            raise self._error("version", f"must be {' or '.join(map(str, VERSIONS))}")
        application = self._table(content.get("application"), "[application]")
        self._check_keys(application, "[application]", {"name", "slug"})
        features = self._features(content.get("feature", []))
        catalog = Catalog(
            application=self._text(application, "name", "[application]"),
            slug=self._match(application, "slug", "[application]", _SLUG),
            features=features,
            secrets=tuple(self._secrets(content.get("secret", []), features)),
            path=self.path,
        )
        self._check_uniqueness(catalog)
        return catalog

    def _parse(self) -> dict[str, Any]:
        import tomllib

        try:
            with open(self.path, "rb") as file:
                return tomllib.load(file)
        except OSError as error:
            raise CatalogError(
                f"The catalogue cannot be read: {error.strerror}: {absent_path(self.path)}",
                hint="Run this in the project's folder, or name the file: --catalog FILE",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CatalogError(
                f"{self.path} is not valid TOML: {error}", hint="Correct that line; see docs/catalog.md"
            ) from None

    def _features(self, tables: object) -> dict[str, Feature]:
        features: dict[str, Feature] = {}
        for position, table in self._tables(tables, "feature"):
            where = f"[[feature]] {position}"
            self._check_keys(table, where, set(Feature.__dataclass_fields__))
            name = self._match(table, "name", where, _FEATURE)
            if name in features:
                raise self._error(where, f"duplicate name {name!r}")
            features[name] = Feature(
                name, self._text(table, "question", where), self._optional_text(table, "why", where)
            )
        return features

    def _secrets(self, tables: object, features: Mapping[str, Feature]) -> list[SecretSpec]:
        secrets = [self._secret(position, table, features) for position, table in self._tables(tables, "secret")]
        if not secrets:
            raise self._error("[[secret]]", "there is none")
        return secrets

    def _secret(self, position: int, table: dict[str, Any], features: Mapping[str, Feature]) -> SecretSpec:
        name = self._match(table, "name", f"[[secret]] {position}", _NAME)
        where = f"[[secret]] {name}"
        known = set(SecretSpec.__dataclass_fields__)
        self._check_keys(table, where, known if self._version == CATALOG_VERSION else known - NEW_KEYS)
        if name.endswith("_FILE") or name.startswith("SECRETS_"):
            raise self._error(where, "a name may not start with SECRETS_ or end with _FILE: settings have such names")
        feature = table.get("feature")
        if feature is not None and (not isinstance(feature, str) or feature not in features):
            raise self._error(where, f"feature {feature!r} is not one of: {', '.join(features) or 'none defined'}")
        spec = SecretSpec(
            name=name,
            group=self._text(table, "group", where),
            description=self._text(table, "description", where),
            input=self._choice(table, "input", where, INPUTS),
            docker_file=self._match(table, "docker_file", where, _FILE_NAME),
            why=self._optional_text(table, "why", where),
            length=self._number(table, "length", where, SHORTEST_LENGTH, LONGEST_LENGTH),
            default=self._optional_text(table, "default", where),
            feature=feature,
            rotation_days=self._number(table, "rotation_days", where, 1, 3650),
            previous_values=self._choice(
                {"previous_values": "none", **table}, "previous_values", where, PREVIOUS_VALUES
            ),
            consumers=self._names(table, "consumers", where),
            reload=self._names(table, "reload", where),
            change_note=self._optional_text(table, "change_note", where),
            # Version 1 could not say it; there, what has a default is a name.
            judged=self._flag(table, "judged", where, default="default" not in table or self._version != 1),
            min_length=self._number(table, "min_length", where, 1, LONGEST_LENGTH),
            aliases=self._other_names(table, "aliases", where),
            from_url=self._other_names(table, "from_url", where),
        )
        if spec.min_length is not None and spec.length is not None and spec.min_length > spec.length:
            raise self._error(where, "min_length is more than length: a generated value would be refused")
        if spec.generated != (spec.length is not None):
            raise self._error(where, "length goes with input 'generate' or 'generate_or_ask', and is needed there")
        if not set(spec.reload) <= set(spec.consumers):
            raise self._error(where, "reload names services that are not in consumers")
        if spec.default is not None and spec.input != "ask":
            raise self._error(where, "default goes with input 'ask'")
        if spec.feature is not None and spec.input != "ask":
            raise self._error(where, "a secret of a feature is asked for: input must be 'ask'")
        return spec

    def _check_uniqueness(self, catalog: Catalog) -> None:
        seen: dict[str, str] = {}
        for spec in catalog.secrets:
            others = (*spec.aliases, *spec.from_url)
            for key in filter(None, (spec.name, spec.docker_file, spec.previous_file, *others)):
                if key in seen:
                    raise self._error(f"[[secret]] {spec.name}", f"{key} is already used by {seen[key]}")
                seen[key] = spec.name
        for feature in catalog.features:
            if not catalog.of_feature(feature):
                raise self._error(f"[[feature]] {feature}", "no secret belongs to it")

    def _error(self, where: str, what: str) -> CatalogError:
        return CatalogError(
            f"{self.path}, {where}: {what}", hint="Correct that entry; docs/catalog.md explains every key"
        )

    def _check_keys(self, table: Mapping[str, Any], where: str, known: set[str]) -> None:
        unknown = sorted(set(table) - known)
        if unknown:
            newer = "; these need version = 2" if set(unknown) <= NEW_KEYS and self._version != CATALOG_VERSION else ""
            raise self._error(where, f"unknown key {', '.join(unknown)}{newer}; known are {', '.join(sorted(known))}")

    def _tables(self, value: object, key: str) -> list[tuple[int, dict[str, Any]]]:
        if not isinstance(value, list):
            raise self._error(key, f"must be a list of [[{key}]] tables")
        return [(position, self._table(table, f"[[{key}]] {position}")) for position, table in enumerate(value, 1)]

    def _table(self, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(where, "is missing or not a table")
        return value

    def _text(self, table: Mapping[str, Any], key: str, where: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self._error(where, f"{key} must be one line of text")
        return value

    def _optional_text(self, table: Mapping[str, Any], key: str, where: str) -> str | None:
        return self._text(table, key, where) if key in table else None

    def _match(self, table: Mapping[str, Any], key: str, where: str, pattern: str) -> str:
        import re

        value = self._text(table, key, where)
        if not re.fullmatch(pattern, value):
            raise self._error(where, f"{key} {value!r} must match {pattern}")
        return value

    def _choice(self, table: Mapping[str, Any], key: str, where: str, choices: tuple[str, ...]) -> str:
        value = table.get(key)
        if not isinstance(value, str) or value not in choices:
            raise self._error(where, f"{key} must be one of: {', '.join(choices)}")
        return value

    def _number(self, table: Mapping[str, Any], key: str, where: str, low: int, high: int) -> int | None:
        value = table.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._error(where, f"{key} must be a whole number from {low} to {high}")
        return value

    def _flag(self, table: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            raise self._error(where, f"{key} must be true or false")
        return value

    def _other_names(self, table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
        import re

        value = table.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(name, str) and re.fullmatch(_NAME, name) for name in value
        ):
            raise self._error(where, f"{key} must be a list of names like {table['name']}")
        return tuple(value)

    def _names(self, table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise self._error(where, f"{key} must be a list of service names")
        return tuple(value)
