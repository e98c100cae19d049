"""Git and Docker: nothing secret may get into a commit or an image."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import TYPE_CHECKING

from src.ops.store_kinds import open_store
from src.utils.secrets.children import Child, run_child
from src.utils.secrets.command import append_lines, manage, program
from src.utils.secrets.errors import SecretsError, StoreError
from src.utils.secrets.snapshot import utc_at

from .check import Context, Finding, Harm, check, move_out_of_the_way
from .values import other_environments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.command import Hint
    from src.utils.secrets.snapshot import Snapshot

_SECRET_PATTERNS = ("*.enc", "*.enc.*", "*.key", ".env", ".env.*", "secrets/*", "*.pem", "*.backup")
_HARMLESS = ("*.example", "*/.gitkeep", "secrets/.gitkeep", "secrets/README.md")
GIT_SECONDS = 30


@check(
    "git-tracked",
    "What git tracks is on every machine that ever cloned the repository.",
    harm=Harm.EXPOSED,
    needs="git",
)
def no_secret_is_tracked(context: Context) -> Iterator[Finding]:
    for path in _secret_paths(_git(context, "ls-files", "-z")):
        stop = program("git", "-C", context.directory, "rm", "--cached", "--", path, purpose="Stop tracking it")
        hints: list[Hint] = [stop]
        if _last_commit(context, path) is not None:
            rotate = manage("rotate", "--all", purpose="Rotate what is in it", environment=_owner(context, path)[1])
            hints += ["Commit that", rotate]
        yield Finding(f"git tracks {path}", tuple(hints))


@check("git-history", "A file that was removed is still in the history.", harm=Harm.EXPOSED, needs="git")
def no_secret_is_in_the_history(context: Context) -> Iterator[Finding]:
    tracked = set(_secret_paths(_git(context, "ls-files", "-z")))
    added = _git(context, "log", "--all", "--relative", "--diff-filter=A", "--name-only", "-z", "--format=")
    found: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
    for path in dict.fromkeys(_secret_paths(added)):
        names = () if path in tracked else _unchanged_since(context, path)
        if names:
            found.setdefault((_owner(context, path)[1], names), []).append(path)
    for (environment, names), paths in found.items():
        rotate = manage("rotate", *names, purpose="Rotate what was in it", environment=environment)
        yield Finding(f"git's history holds {', '.join(paths)}, and what was in it was not rotated since", (rotate,))


@check("gitignore", "One `git add .` is enough to publish a file that is not ignored.", harm=Harm.WEAK, needs="git")
def secrets_are_ignored_by_git(context: Context) -> Iterator[Finding]:
    if not _git(context, "rev-parse", "--is-inside-work-tree"):
        return
    lines = {}
    for path, cover in _secret_places(context).items():
        done = _run_git(context, "check-ignore", "--quiet", "--no-index", path)
        if done.code == 1:
            lines[path] = f"/{_as_pattern(cover)}"
    if lines:
        path = os.path.join(context.directory, ".gitignore")
        command = append_lines(path, *dict.fromkeys(lines.values()))
        yield Finding(f".gitignore does not cover {', '.join(lines)}", (*move_out_of_the_way(path), command))


@check("dockerignore", "What is in the build's context can end in an image.", harm=Harm.WEAK)
def secrets_stay_out_of_images(context: Context) -> Iterator[Finding]:
    if not os.path.isfile(os.path.join(context.directory, "Dockerfile")):
        return
    path = os.path.join(context.directory, ".dockerignore")
    is_there = os.path.isfile(path)
    rules = _read_rules(path) if is_there else []
    places = {name: cover for name, cover in _secret_places(context).items() if not _is_excluded(name, rules)}
    if places:
        names = ", ".join(places)
        message = f".dockerignore lets {names} into the image"
        if not is_there:
            message = f".dockerignore is missing: a build sees every file here, {names} too"
        command = append_lines(path, *dict.fromkeys(map(_as_pattern, places.values())))
        yield Finding(message, (*move_out_of_the_way(path), command))


def _secret_places(context: Context) -> dict[str, str]:
    """Files of this deployment that may be published by mistake, each with what covers all of its kind."""
    deployment = context.deployment
    folder = deployment.default_docker_directory
    settings = (
        os.path.relpath(path, context.directory) for path in (deployment.settings_file, deployment.compose_file)
    )
    places = {path: path for path in settings}
    places[deployment.default_secrets_file] = f"{deployment.default_secrets_file}*"  # its backup and checksum, too
    places[f"{folder}/db_password.txt"] = f"{folder}/"
    return {path: cover for path, cover in places.items() if not path.startswith("..")}


def _as_pattern(path: str) -> str:
    """A path as a line of an ignore file. A star at its end stays one."""
    stem, star = (path[:-1], "*") if path.endswith("*") else (path, "")
    return re.sub(r"([*?\[\]\\])", r"\\\1", stem) + star


def _read_rules(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def _is_excluded(name: str, rules: list[str]) -> bool:
    """The last rule that matches wins: https://docs.docker.com/build/concepts/context/#dockerignore-files."""
    excluded = False
    parents = [name, *[name.rsplit("/", depth)[0] for depth in range(1, name.count("/") + 1)]]
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/").removeprefix("**/")
        if any(fnmatch.fnmatchcase(part, pattern) for part in parents):
            excluded = not rule.startswith("!")
    return excluded


def _secret_paths(text: str) -> list[str]:
    return [
        path
        for path in filter(None, (line.strip() for line in text.replace("\n", "\0").split("\0")))
        if _matches(path, _SECRET_PATTERNS) and not _matches(path, _HARMLESS)
    ]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (path, os.path.basename(path)))


def _last_commit(context: Context, path: str) -> int | None:
    """When a commit last had new content of a file, in seconds since 1970; ``None`` when none ever had."""
    said = _git(context, "log", "--all", "-1", "--diff-filter=AM", "--format=%ct", "--", f":(literal){path}")
    return int(said) if said.strip().isdecimal() else None


def _unchanged_since(context: Context, path: str) -> tuple[str, ...]:
    """What ``rotate`` needs to change what a file in the history may hold; nothing when all of it was rotated."""
    committed = _last_commit(context, path)
    owner, _name = _owner(context, path)
    snapshot = _snapshot(context, owner)
    if committed is None or snapshot is None:
        return ("--all",)
    then = utc_at(committed)
    rotated = [spec.name for spec in owner.catalog.secrets if spec.rotation_days and snapshot.values.get(spec.name)]
    changes = {name: entry.updated_at or "" for name, entry in snapshot.metadata.items()}
    old = tuple(name for name in rotated if changes.get(name, "") <= then)
    return ("--all",) if len(old) == len(rotated) > 0 else old


def _snapshot(context: Context, owner: Deployment) -> Snapshot | None:
    if owner is context.deployment:
        return context.known_snapshot
    try:
        return open_store(owner).load() if context.can_ask(owner) else None
    except SecretsError:
        return None  # the check `shared` says so


def _owner(context: Context, path: str) -> tuple[Deployment, str | None]:
    """The deployment that a file belongs to, by its name; and what that is called when it is another one."""
    for other in other_environments(context.deployment):
        name = other.environment
        own = (f".env.{name}", f"*secrets.{name}.enc*", f"*{name}.key", f"secrets/{name}/*")
        if other.is_production:
            own = (".env", ".env.production", "*secrets.enc*", "*master.key")
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in own):
            return other, name
    return context.deployment, None


def _git(context: Context, *arguments: str) -> str:
    """What git says; nothing where this is no repository.

    Raises:
        StoreError: It is one, and git does not say anything of it.
    """
    done = _run_git(context, *arguments)
    if done.code == 0:
        return done.output
    if not _is_repository(context.directory):
        return ""
    said = [line for line in done.errors.splitlines() if line.startswith("fatal: ")] or [done.reason.text]
    raise StoreError(
        f"git does not answer: {said[0].removeprefix('fatal: ')}",
        hint=program("git", "-C", context.directory, "status", purpose="See all that it says"),
    )


def _is_repository(folder: str) -> bool:
    while not os.path.lexists(os.path.join(folder, ".git")):
        if folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)
    return True


def _run_git(context: Context, *arguments: str) -> Child:
    command = ["git", "--no-pager", *_NOTHING_RUNS, "-C", context.directory, *arguments]
    environ = {name: value for name, value in os.environ.items() if name in _GIT_NEEDS or name.startswith("LC_")}
    return run_child(command, seconds=GIT_SECONDS, environ=environ | _GIT_ALONE)


# What a repository, which may be a stranger's, configures must not run here: https://git-scm.com/docs/git-config. The
# commands above are left with these ways: a hook, the monitor of the file system, a signature, and a fetch of what a
# partial clone lacks.
_OFF = (
    *("core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false", "protocol.allow=never"),
    *("core.sshCommand=false", "credential.helper=", "core.askPass="),
)
_NOTHING_RUNS = tuple(word for setting in _OFF for word in ("-c", setting))
# The person's own settings count: which folders are safe is one of them.
_GIT_NEEDS = ("PATH", "HOME", "XDG_CONFIG_HOME", "LANG", "LANGUAGE", "TMPDIR")
_GIT_ALONE = {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
