"""The next command for a person, as data, and the one place that spells it.

An error or a finding says what to run next as a :class:`Command`: which program, with which words. How that is typed
depends on where the person is, which deployment they work on, and what their machine has. A :class:`Spelling` knows,
and :func:`spell` uses the one of this process. Nothing else puts a command line together.
"""

from __future__ import annotations

import os

from .settings import PRODUCTION, PROJECT_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_SCRIPT, _MAKE, _COMPOSE, _PROGRAM, _TEXT, _APPEND = "script", "make", "compose", "program", "text", "append"


class Command:
    """What to run next. Made by the functions below.

    Args:
        kind: What it is: one of this project's scripts, a task of the Makefile, Compose, or another program.
        words: Program and arguments. A word that is an absolute path, alone or behind ``NAME=``, is shown as it is
            typed from where the person is.
        purpose: What it is for; stands before it.
        environment: The environment that it is for; ``None``: the one that the person works on.
    """

    __slots__ = ("environment", "kind", "purpose", "words")

    def __init__(self, kind: str, words: Sequence[str], purpose: str = "", environment: str | None = None) -> None:
        self.kind = kind
        self.words = tuple(words)
        self.purpose = purpose
        self.environment = environment

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Command) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"<Command {spell(self)}>"

    @property
    def text(self) -> str:
        """How it is typed: see :func:`spell`."""
        return spell(self)

    @property
    def _parts(self) -> tuple[object, ...]:
        return (self.kind, self.words, self.purpose, self.environment)


if TYPE_CHECKING:
    Hint = str | Command


def script(name: str, *words: str, purpose: str = "") -> Command:
    """One of this project's scripts, by its name."""
    return Command(_SCRIPT, (name, *words), purpose)


def manage(*words: str, purpose: str = "", environment: str | None = None) -> Command:
    """A command of ``manage_secrets.py``."""
    return Command(_SCRIPT, ("manage_secrets.py", *words), purpose, environment)


def set_up(*options: str, purpose: str = "", environment: str | None = None) -> Command:
    """The set-up: ``make secrets``, or its script where options are given."""
    return Command(_SCRIPT, ("setup_secrets.py", *options), purpose, environment)


def write_docker_files(*options: str, purpose: str = "") -> Command:
    """The script that writes the secrets as files for Compose."""
    return Command(_SCRIPT, ("generate_docker_secrets.sh", *options), purpose)


def make(task: str, *options: str, purpose: str = "") -> Command:
    """A task of the Makefile."""
    return Command(_MAKE, (*options, task), purpose)


def compose(*words: str, purpose: str = "") -> Command:
    """A command of Docker Compose, for the stack of the deployment."""
    return Command(_COMPOSE, words, purpose)


def program(*words: str, purpose: str = "") -> Command:
    """Another program, which knows nothing of deployments."""
    return Command(_PROGRAM, words, purpose)


def export_typed(name: str, purpose: str = "") -> Command:
    """Takes the value of a variable from the keyboard, unseen, and so not from the shell's history."""
    return Command(_TEXT, (f"printf 'Paste it: '; read -rs {name}; export {name}",), purpose)


def append_lines(path: str, *lines: str, purpose: str = "") -> Command:
    """Adds lines to the end of a text file, whatever its last line ends with."""
    return Command(_APPEND, (path, *lines), purpose)


class Spelling:
    """How commands are typed.

    Args:
        environment: The environment that the person works on.
        project_directory: The project; the one of these tools needs no flag.
        env_file: Its settings file, where it is not the usual one.
        catalog: Its catalogue, where it is not the usual one.
        here: The folder that the person types in; ``None``: the project's.
    """

    __slots__ = ("catalog", "env_file", "environment", "here", "project_directory")

    def __init__(
        self,
        *,
        environment: str = PRODUCTION,
        project_directory: str | None = None,
        env_file: str | None = None,
        catalog: str | None = None,
        here: str | None = None,
    ) -> None:
        self.environment = environment
        is_own = project_directory is None or _is_same(project_directory, PROJECT_DIRECTORY)
        self.project_directory = None if is_own else project_directory
        self.env_file = env_file
        self.catalog = catalog
        self.here = here

    def spell(self, hint: Hint) -> str:
        """``hint`` as it is shown and typed."""
        if isinstance(hint, str):
            return hint
        ways = {_SCRIPT: self._script, _MAKE: self._make, _COMPOSE: self._compose, _APPEND: self._append}
        typed = ways[hint.kind](hint) if hint.kind in ways else self._program(hint)
        return f"{hint.purpose}: {typed}" if hint.purpose else typed

    def flags(self, environment: str | None = None) -> list[str]:
        """What the scripts need so that they work on this deployment, or on ``environment`` beside it."""
        words = []
        name = environment or self.environment
        if name != PRODUCTION:
            words += ["--environment", name]
        if self.project_directory is not None:
            words += ["--project-directory", self.project_directory]
        if self.env_file is not None and environment is None:
            words += ["--env-file", self.env_file]
        if self.catalog is not None:
            words += ["--catalog", self.catalog]
        return words

    def path(self, path: str) -> str:
        """An absolute path as it is typed: relative to where the person is, when it is in there."""
        if self.here is None or not path.startswith(self.here.rstrip(os.sep) + os.sep):
            return path
        relative = path[len(self.here.rstrip(os.sep)) + 1 :]
        return f"./{relative}" if relative.startswith("-") else relative

    def script(self, name: str) -> str:
        """One of this project's scripts, as it is called from where the person is."""
        if self._is_here(PROJECT_DIRECTORY):
            return f"./scripts/{name}"
        return _quote(os.path.join(PROJECT_DIRECTORY, "scripts", name))

    def _script(self, command: Command) -> str:
        name, *words = command.words
        flags = self.flags(command.environment)
        if name == "setup_secrets.py" and not words and set(flags[::2]) <= {"--environment"}:
            return self._make(Command(_MAKE, ("secrets",), environment=command.environment))
        if words == ["--help"] or words[1:] == ["--help"]:
            flags = []
        return " ".join([self.script(name), *self._quoted([*words, *flags])])

    def _make(self, command: Command) -> str:
        elsewhere = [] if self._is_here(PROJECT_DIRECTORY) else ["-C", PROJECT_DIRECTORY]
        flags = [] if "install" in command.words else self.flags(command.environment)
        # Make expands $ in what it is given.
        variables = [
            f"{name[2:].replace('-', '_').upper()}={value.replace('$', '$$')}"
            for name, value in zip(flags[::2], flags[1::2], strict=True)
        ]
        return " ".join(map(_quote, ["make", *elsewhere, *command.words, *variables]))

    def _compose(self, command: Command) -> str:
        folder = self.project_directory or PROJECT_DIRECTORY
        where = "" if self._is_here(folder) else f"cd {_quote(folder)} && "
        flags = [] if self.environment == PRODUCTION else ["--env-file", f".env.{self.environment}"]
        return where + " ".join(map(_quote, [*compose_program(), *flags, *command.words]))

    def _append(self, command: Command) -> str:
        path, *lines = command.words
        # The empty line ends a last line that nothing has ended yet.
        return " ".join(["printf", r"'%s\n'", *map(_quote, ["", *lines]), ">>", _quote(self.path(path))])

    def _program(self, command: Command) -> str:
        return command.words[0] if command.kind == _TEXT else " ".join(self._quoted(command.words))

    def _quoted(self, words: Iterable[str]) -> list[str]:
        quoted = []
        for word in words:
            name, separator, value = word.partition("=")
            if separator and value.startswith(os.sep) and name.isidentifier():
                quoted.append(_quote(f"{name}={self.path(value)}"))
            else:
                quoted.append(_quote(self.path(word)))
        return quoted

    def _is_here(self, folder: str) -> bool:
        return self.here is None or _is_same(self.here, folder)


def _is_same(folder: str, other: str) -> bool:
    return folder == other or os.path.realpath(folder) == os.path.realpath(other)


def here() -> str:
    """The folder that the person is in."""
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed under this person's feet
        return os.sep


_spelling = Spelling()


def spell(hint: Hint) -> str:
    """``hint`` as the person at this process types it."""
    return _spelling.spell(hint)


def typed(hint: Hint) -> str:
    """``hint`` without what it is for: what is typed, as it stands."""
    if isinstance(hint, str):
        return hint
    return spell(Command(hint.kind, hint.words, environment=hint.environment))


def spell_for(spelling: Spelling) -> None:
    """Spell commands so from now on: this process works on that deployment."""
    global _spelling
    _spelling = spelling


_compose_program: list[str] = []


def compose_program() -> list[str]:
    """How this machine calls Docker Compose: as a part of ``docker``, or by itself; asked once."""
    if not _compose_program:
        _compose_program.extend(_find_compose())
    return _compose_program


def _find_compose() -> list[str]:
    import shutil
    import subprocess

    if not shutil.which("docker-compose"):
        return ["docker", "compose"]
    if not shutil.which("docker"):
        return ["docker-compose"]
    try:
        done = subprocess.run(
            ["docker", "compose", "version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ["docker-compose"]
    return ["docker", "compose"] if done.returncode == 0 else ["docker-compose"]


def _quote(word: str) -> str:
    from shlex import quote

    if word.isprintable():
        return quote(word)
    # A hint is one line, and nothing in it steers the terminal.
    escaped = "".join(
        letter
        if letter.isprintable() and letter not in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
        for letter in word
    )
    return f"$'{escaped}'"
