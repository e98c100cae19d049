"""The files that come from the catalogue, and from the table of failures."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from src.ops.setup.state import State
from src.ops.store_kinds import all_kinds, kind_of
from src.utils.secrets.command import set_up, spell, typed
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import SecretsBackend

from .error_list import all_messages

if TYPE_CHECKING:
    from src.ops.store_kinds.base import StoreKind
    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.command import Hint
    from src.utils.secrets.failures import Failure

_INPUTS = {"generate": "generated", "ask": "asked", "generate_or_ask": "generated or typed"}


def render_all(catalog: Catalog) -> dict[str, str]:
    """Text by file name, relative to the project."""
    return {
        ".env.example": render_env_example(catalog),
        ".env.production.example": render_settings_example(catalog),
        "docs/secrets.md": render_table(catalog),
        "docs/errors.md": render_errors(),
        "docs/messages.md": render_messages(),
        "docs/states.md": render_states(),
    }


def render_env_example(catalog: Catalog) -> str:
    """Development: every secret as an empty line to fill in."""
    lines = [
        f"# {catalog.application}, development: cp .env.example .env, fill in what is required, python main.py",
        "# Or let `make secrets` write .env for you (choice 5). An empty line means: not set.",
        "# Instead of NAME=value, NAME_FILE=path takes the value from a file.",
        f"SECRETS_BACKEND={SecretsBackend.ENV.value}",
    ]
    group = ""
    for spec in catalog.secrets:
        if spec.group != group:
            group = spec.group
            lines += ["", f"# {group}"]
        lines += [f"# {spec.description} ({_need(catalog, spec)})", f"{spec.name}={spec.default or ''}"]
    return "\n".join(lines) + "\n"


def render_settings_example(catalog: Catalog) -> str:
    """Production: the settings that the wizard writes. No secret."""
    lines = [
        f"# {catalog.application}, production: where the secrets are. `make secrets` writes .env.production for you.",
        "# No secret belongs in here.",
        *_example_lines(catalog, kind_of(SecretsBackend.FILE)),
        "# Another store instead: one of these groups, without the lines above.",
    ]
    for kind in all_kinds():
        if kind.is_read_by_app:
            lines += [*(f"# {line}" for line in _example_lines(catalog, kind)), "#"]
    lines += ["# Seconds after which a running application reads the store again.", "# SECRETS_CACHE_TTL=300"]
    return "\n".join(lines) + "\n"


def _example_lines(catalog: Catalog, kind: StoreKind[Any]) -> list[str]:
    examples = [
        f"{setting.name}{'_FILE' * setting.is_secret}={setting.example.replace('{slug}', catalog.slug)}"
        for setting in kind.settings
        if setting.example
    ]
    return [f"SECRETS_BACKEND={kind.name}", *examples]


def render_states() -> str:
    """The states of a deployment, and what the tools do in each."""
    lines = [
        "# The states of a deployment",
        "",
        "Written from `src/ops/setup/state.py` by `make catalog`. Every command, the wizard, `doctor` and `make up`",
        "look at the deployment in the same way and find one of these states; the error of a command says which.",
        "",
        "In every state no generated value takes the place of one that is or was there, nothing that is left is",
        "removed, and the first command that an error names leads forward. New values whatever there is: "
        + _shown(set_up("--start-over"))
        + ",",
        "which asks for the word and keeps everything aside.",
        "",
        "| state | what it means | `get`, `status`, `rotate`, ... | the set-up generates | next |",
        "| --- | --- | --- | --- | --- |",
    ]
    for state in State:
        commands = "work" if state.is_readable else "say that nothing is set up" if state is State.FRESH else "refuse"
        steps = "<br>".join(map(_shown, state.next_steps))
        lines.append(f"| {state.value} | {state.meaning} | {commands} | {state.generates} | {steps} |")
    return "\n".join(lines) + "\n"


def _shown(hint: Hint) -> str:
    if isinstance(hint, str):
        return hint
    command = f"`{typed(hint)}`"
    return f"{hint.purpose}: {command}" if hint.purpose else command


def render_table(catalog: Catalog) -> str:
    """The table of all secrets for the documentation."""
    lines = [
        "# The secrets",
        "",
        "Written from `config/catalog.toml` by `make catalog`; [catalog.md](catalog.md) explains the catalogue.",
        "",
        "| name | what it is for | value | needed | Docker file | rotate after | used by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spec in catalog.secrets:
        value = _INPUTS[spec.input] + (f", {spec.length} characters" if spec.length else "")
        rotation = f"{spec.rotation_days} days" if spec.rotation_days else "-"
        lines.append(
            f"| `{spec.name}` | {spec.description} | {value} | {_need(catalog, spec)} | `{spec.docker_file}` "
            f"| {rotation} | {', '.join(spec.consumers)} |"
        )
    return "\n".join(lines) + "\n"


def render_errors() -> str:
    """What the cloud stores can answer, what this program says then, and what to do about it."""
    lines = [
        "# Errors of the cloud stores",
        "",
        "Written from the stores' files in `src/utils/secrets/backends` by `make catalog`. Every error has a class, a",
        "message and a hint; all classes are `SecretsError`. While a store is unavailable (`StoreUnavailableError`), a",
        "running application goes on with the last good values; when it refuses, or its secrets are deleted, too, but",
        "then `/ready` answers 503 and says why. `{where}`, `{action}`, `{reason}` and the like are filled in.",
    ]
    for kind in all_kinds():
        table = _failures(kind)
        if not table:
            continue
        lines += [
            "",
            f"## {kind.title}",
            "",
            "| message | what to do | class | reported as |",
            "| --- | --- | --- | --- |",
        ]
        for failure in table:
            hint = "<br>".join(map(spell, failure.hints))
            codes = ", ".join(f"`{code}`" for code in failure.codes)
            codes += f", saying {_cell(failure.says)}" if failure.says else ""
            lines.append(f"| {failure.message} | {hint} | `{_public_name(failure.error)}` | {codes} |")
    return "\n".join(lines) + "\n"


def _public_name(error: type[SecretsError]) -> str:
    """The class of ``errors.py`` that it is, or is a special case of."""
    return next(kind.__name__ for kind in error.__mro__ if kind.__module__ == SecretsError.__module__)


def _failures(kind: StoreKind[Any]) -> tuple[Failure, ...]:
    """The table of failures beside a store's backend; empty when it has none."""
    module = f"src.utils.secrets.backends.{kind.name}_failures"
    if importlib.util.find_spec(module) is None:
        return ()
    table: tuple[Failure, ...] = importlib.import_module(module).FAILURES
    return table


def render_messages() -> str:
    """Every other error, and what it says to do."""
    lines = [
        "# Every error",
        "",
        "Written from the source by `make catalog`. Each heading says what the errors under it have in common;",
        "`{path}`, `{name}` and the like are filled in. An error is the `error:` line, the cure its `hint:` lines.",
        "[Troubleshooting](troubleshooting.md) says more about those that people meet most, and",
        "[errors of the cloud stores](errors.md) has what the three can answer.",
    ]
    for kind, messages in all_messages().items():
        lines += ["", f"## {kind.rstrip('.')}".replace("``", "`"), "", "| error | cure |", "| --- | --- |"]
        lines += [f"| {_cell(message.text)} | {_cell(message.hint)} |" for message in messages]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """``text`` as code in a table, a line each."""
    text = text.replace("|", "\\|").replace("`", "'")
    return "<br>".join(f"`{line}`" for line in text.splitlines() if line)


def _need(catalog: Catalog, spec: SecretSpec) -> str:
    if spec.feature is None:
        return "required"
    others = [other.name for other in catalog.of_feature(spec.feature) if other is not spec]
    return f"optional, together with {', '.join(others)}" if others else "optional"
