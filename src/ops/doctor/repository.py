"""Git and Docker: nothing secret may get into a commit or an image."""

from __future__ import annotations

import fnmatch
import os
import shutil
from typing import TYPE_CHECKING

from src.ops.deployment.children import Child, run_child
from src.utils.secrets.command import manage, program

from .check import Context, Finding, check

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET_PATTERNS = ("*.enc", "*.enc.*", "*.key", ".env", ".env.*", "secrets/*", "*.pem", "*.backup")
_HARMLESS = ("*.example", "*/.gitkeep", "secrets/.gitkeep", "secrets/README.md")
GIT_SECONDS = 30


@check("git-tracked", "What git tracks is on every machine that ever cloned the repository.")
def no_secret_is_tracked(context: Context) -> Iterator[Finding]:
    for path in _secret_paths(_git(context, "ls-files", "-z")):
        yield Finding(
            f"git tracks {path}",
            (
                program("git", "-C", context.directory, "rm", "--cached", "--", path, purpose="Stop tracking it"),
                "Commit that",
                manage("rotate", "--all", purpose="Rotate what is in it"),
            ),
        )


@check("git-history", "A file that was removed is still in the history.")
def no_secret_is_in_the_history(context: Context) -> Iterator[Finding]:
    tracked = set(_secret_paths(_git(context, "ls-files", "-z")))
    added = _git(context, "log", "--all", "--diff-filter=A", "--name-only", "-z", "--format=")
    for path in dict.fromkeys(_secret_paths(added)):
        if path not in tracked:
            yield Finding(f"git's history holds {path}", (manage("rotate", "--all", purpose="Rotate what was in it"),))


@check("gitignore", "One `git add .` is enough to publish a file that is not ignored.")
def secrets_are_ignored_by_git(context: Context) -> Iterator[Finding]:
    if not _git(context, "rev-parse", "--is-inside-work-tree"):
        return
    deployment = context.deployment
    paths = [deployment.settings_file, deployment.compose_file]
    paths += [os.path.join(context.directory, deployment.default_secrets_file)]
    paths += [os.path.join(context.directory, deployment.default_docker_directory, "db_password.txt")]
    for path in dict.fromkeys(paths):
        relative = os.path.relpath(path, context.directory)
        if relative.startswith(".."):
            continue
        done = _run_git(context, "check-ignore", "--quiet", "--no-index", relative)
        if done.code == 1:
            hint = f"Add the line /{relative} to {os.path.join(context.directory, '.gitignore')}"
            yield Finding(f".gitignore does not cover {relative}", (hint,))


@check("dockerignore", "What is in the build's context can end in an image.")
def secrets_stay_out_of_images(context: Context) -> Iterator[Finding]:
    if not os.path.isfile(os.path.join(context.directory, "Dockerfile")):
        return
    path = os.path.join(context.directory, ".dockerignore")
    if not os.path.isfile(path):
        hint = f"Make {path} with the line *, and lines such as !src for what the image needs"
        yield Finding(".dockerignore is missing: a build sees every file here", (hint,))
        return
    with open(path, encoding="utf-8") as file:
        rules = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    for name in (".env", ".env.production", "config/secrets.enc", "secrets/db_password.txt"):
        if not _is_excluded(name, rules):
            yield Finding(f".dockerignore lets {name} into the image", (f"Add the line {name} to {path}",))


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


def _git(context: Context, *arguments: str) -> str:
    """What git says; nothing where this is no repository."""
    done = _run_git(context, *arguments)
    return done.output if done.code == 0 else ""


def _run_git(context: Context, *arguments: str) -> Child:
    if not shutil.which("git"):
        return Child(128, "", "")
    # What a stranger's repository configures must not run here.
    command = [
        "git",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-C",
        context.directory,
        *arguments,
    ]
    return run_child(command, seconds=GIT_SECONDS)
