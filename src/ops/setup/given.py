"""The values that a person or the command line gives, by the names of secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.values.strength import weakness_of
from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import ConfigurationError, InvalidSecretError
from src.utils.secrets.placeholders import is_example_of
from src.utils.secrets.settings import read_value_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from src.ops.deployment.deployment import Deployment
    from src.ops.values.importer import Imported
    from src.utils.secrets.catalog import Catalog
    from src.utils.secrets.snapshot import SecretMetadata, Snapshot


@dataclass(frozen=True)
class StoreInUse:
    """What the store in use has, when another one is going to take its place.

    Attributes:
        place: Where it is, human-readable.
        snapshot: What it has for the names of the catalogue.
    """

    place: str
    snapshot: Snapshot


@dataclass
class GivenValues:
    """The values that a person or the command line gives.

    Attributes:
        typed: Values that were typed.
        imported: Values from a file.
        regenerated: Names that get a new generated value although they have one.
        replace_by_import: Whether an imported value replaces one that is there.
        histories: Earlier values of imported ones, where they come from another store.
        in_use: The store in use until now, where another one is going to take its place.
    """

    typed: dict[str, str] = field(default_factory=dict, repr=False)
    imported: dict[str, str] = field(default_factory=dict, repr=False)
    regenerated: set[str] = field(default_factory=set)
    replace_by_import: bool = False
    histories: dict[str, SecretMetadata] = field(default_factory=dict, repr=False)
    in_use: StoreInUse | None = None

    def take_over(self, in_use: StoreInUse) -> None:
        """Import what the store in use has. It is what runs, so a file comes first only if it is to replace values."""
        self.in_use, taken = in_use, in_use.snapshot
        if not self.replace_by_import:
            self.imported.update(taken.values)
        else:
            self.imported = dict(taken.values) | self.imported
        known = {name: entry for name, entry in taken.metadata.items() if self.imported[name] == taken.values[name]}
        self.histories.update(known)

    def find_conflicts(self, present: Snapshot) -> list[str]:
        """The names for which a store has another value than the one in use, which it may not take the place of."""
        if self.in_use is None or self.replace_by_import:
            return []
        used = self.in_use.snapshot.values
        return [name for name, value in used.items() if present.values.get(name) not in (None, "", value)]


def read_given(
    deployment: Deployment,
    standard_input: TextIO,
    *,
    import_source: str | None,
    set_files: Mapping[str, str],
    replace: bool,
) -> tuple[GivenValues, Imported | None]:
    """The values that the command line names files for.

    Args:
        deployment: Whose.
        standard_input: Read when ``import_source`` is ``-``.
        import_source: A file with many values.
        set_files: Name, and path of the file with its value.
        replace: Whether imported values replace existing ones.

    Raises:
        ConfigurationError: A file cannot be read or used, or a name is not in the catalogue.
    """
    given = GivenValues(replace_by_import=replace)
    imported = None
    if import_source is not None:
        from src.ops.values.importer import parse_import

        text, source = _read_import(import_source, standard_input)
        imported = parse_import(text, source, deployment.catalog)
        _refuse_import(imported, source, deployment.catalog)
        given.imported.update(imported.values)
    for name, path in set_files.items():
        spec = deployment.find_secret(name)
        value = read_value_file(path, f"--set-file {name}")
        check_value(name, value)
        fault = weakness_of(spec, value, deployment.catalog)
        if fault:
            raise InvalidSecretError(
                f"{name} in {path} is weak. {fault}",
                hint="Choose another, or leave it out: then a strong one is generated",
            )
        given.typed[name] = value
    return given, imported


def _refuse_import(imported: Imported, source: str, catalog: Catalog) -> None:
    """Refuse a file that brings nothing, which is the wrong one, and values that everybody can know."""
    if not imported.values:
        others = [f"It has other names: {', '.join(imported.unknown)}"] if imported.unknown else []
        raise ConfigurationError(
            f"{source} has no value for any secret of the catalogue; nothing was changed",
            hint=[*others, f"It needs lines like {catalog.names[0]}=VALUE, or JSON with such names"],
        )
    examples = [spec.name for spec in catalog.secrets if is_example_of(spec, imported.values.get(spec.name))]
    if examples:
        are = "is a published example" if len(examples) == 1 else "are published examples"
        raise InvalidSecretError(
            f"{', '.join(examples)} in {source} {are} that everybody can know",
            hint="Remove these lines from it: strong values are generated then. Or write your own values there",
        )


def _read_import(source: str, standard_input: TextIO) -> tuple[str, str]:
    if source != "-":
        return read_value_file(source, "--import") + "\n", source
    try:
        return standard_input.read(), "standard input"
    except UnicodeDecodeError:
        raise ConfigurationError("standard input is not UTF-8 text", hint="Check what is piped in") from None
