"""The values that a person or the command line gives, by the names of secrets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.values.door import Given, admit
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.judge import Origin
from src.utils.secrets.settings import read_value_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import BinaryIO

    from src.ops.adopt.adoption import Adoption
    from src.ops.deployment.deployment import Deployment
    from src.ops.values.door import Ask
    from src.ops.values.importer import Imported
    from src.utils.secrets.errors import SecretsError
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
        warnings: What is wrong with values that are taken all the same, a sentence each.
        left_out: The names whose imported values are examples, and which nobody needs.
        never_used: The names that get a first value although something shows an earlier set-up: nothing depends on
            a value that they may have had.
        undecided: Why a value that is needed cannot be chosen, by name.
        compose_settings: Lines for Compose.
    """

    typed: dict[str, str] = field(default_factory=dict, repr=False)
    imported: dict[str, str] = field(default_factory=dict, repr=False)
    regenerated: set[str] = field(default_factory=set)
    replace_by_import: bool = False
    histories: dict[str, SecretMetadata] = field(default_factory=dict, repr=False)
    in_use: StoreInUse | None = None
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    never_used: set[str] = field(default_factory=set)
    undecided: dict[str, SecretsError] = field(default_factory=dict)
    compose_settings: dict[str, str] = field(default_factory=dict)

    def adopt(self, adoption: Adoption) -> None:
        """Take over what is known of a deployment of the original, besides the values."""
        self.histories.update(adoption.histories)
        self.never_used.update(adoption.new_names)
        self.undecided.update(adoption.undecided)
        self.compose_settings.update(adoption.settings)

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
    standard_input: BinaryIO,
    *,
    import_source: str | None,
    set_files: Mapping[str, str],
    replace: bool,
    accepted: Collection[str] = (),
    ask: Ask | None = None,
    adoption: Adoption | None = None,
) -> tuple[GivenValues, Imported | None]:
    """The values that the command line names files for, judged.

    Args:
        deployment: Whose.
        standard_input: Read when ``import_source`` is ``-``.
        import_source: A file with many values.
        set_files: Name, and path of the file with its value.
        replace: Whether imported values replace existing ones.
        accepted: The names whose values are taken although something about them is odd.
        ask: Asks a person about such values; left out where nobody answers.
        adoption: What a deployment of the original has.

    Raises:
        ConfigurationError: A file cannot be read or used, or a name is not in the catalogue.
        InvalidSecretError: Values are refused.
    """
    catalog = deployment.catalog
    for name in accepted:
        deployment.find_secret(name)
    imported = _read_import(deployment, standard_input, import_source) if import_source is not None else None
    source = "standard input" if import_source == "-" else import_source or ""
    found = [
        Given(deployment.find_secret(name), value, Origin.IMPORT, source)
        for name, value in (imported.values if imported else {}).items()
    ]
    found += _adopted(deployment, adoption, set_files) if adoption is not None else []
    for name, path in set_files.items():
        spec = deployment.find_secret(name)
        found.append(Given(spec, read_value_file(path, f"--set-file {name}"), Origin.FILE, path))
    admitted = admit(catalog, found, accepted=accepted, ask=ask)
    given = GivenValues(replace_by_import=replace)
    for one in found:
        if one.spec.name in admitted.values:
            kind = given.imported if one.origin is Origin.IMPORT else given.typed
            kind[one.spec.name] = admitted.values[one.spec.name]
    if adoption is not None:
        given.adopt(adoption)
    given.warnings, given.left_out = admitted.warnings, admitted.left_out
    return given, dataclasses.replace(imported, values=dict(given.imported)) if imported else None


def _adopted(deployment: Deployment, adoption: Adoption, set_files: Collection[str]) -> list[Given]:
    """The values of a deployment of the original, less those that are given in files."""
    return [
        Given(deployment.find_secret(name), value, Origin.IMPORT, adoption.sources[name])
        for name, value in adoption.values.items()
        if name not in set_files
    ]


def _read_import(deployment: Deployment, standard_input: BinaryIO, path: str) -> Imported:
    """What a file brings; one that brings nothing is the wrong one."""
    from src.ops.values.importer import read_import

    catalog, settings = deployment.catalog, deployment.variables()
    imported = read_import(path, catalog, standard_input=standard_input, settings=settings)
    if not imported.values:
        others = [f"It has other names: {', '.join(imported.unknown)}"] if imported.unknown else []
        raise ConfigurationError(
            f"{'standard input' if path == '-' else path} has no value for any secret of the catalogue; "
            "nothing was changed",
            hint=[*others, f"It needs lines like {catalog.names[0]}=VALUE, or JSON with such names"],
        )
    return imported
