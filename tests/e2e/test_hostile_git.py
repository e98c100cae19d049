"""The doctor asks git about a repository that a stranger has configured: no program of theirs runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Project, need_program

CHECKS = ("git-tracked", "git-history", "gitignore")
ALLOWED = {"env", "git", "python", "python3"}
PROGRAM_SETTINGS = (
    *("core.pager", "core.editor", "core.askPass", "core.sshCommand", "core.gitProxy", "core.alternateRefsCommand"),
    *("core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv", "merge.evil.driver"),
    *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "gpg.program", "gpg.ssh.program"),
    *("gpg.x509.program", "gpg.ssh.defaultKeyCommand", "pager.log", "pager.ls-files", "pager.check-ignore"),
    *("interactive.diffFilter", "sequence.editor", "uploadpack.packObjectsHook", "trailer.evil.command"),
    *("browser.evil.cmd", "man.evil.cmd", "difftool.evil.cmd", "mergetool.evil.cmd", "remote.origin.uploadpack"),
)
SHELL_SETTINGS = (
    *("alias.log", "alias.ls-files", "alias.rev-parse", "alias.check-ignore", "credential.helper"),
    *("submodule.evil.update",),
)
VARIABLES = (
    *("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_SSH", "GIT_PAGER", "PAGER", "GIT_EDITOR", "GIT_ASKPASS"),
    *("SSH_ASKPASS", "GIT_PROXY_COMMAND", "GIT_SEQUENCE_EDITOR"),
)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What is there once a program of the stranger has run."""
    return tmp_path / "ran"


@pytest.fixture
def evil(tmp_path: Path, marker: Path) -> Path:
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\nexit 0\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def repository(project: Project, evil: Path) -> Project:
    """A project in a repository in which everything that can name a program names the stranger's."""
    need_program("git", "git")
    project.set_up()
    git(project, "init", "--quiet")
    (project.directory / "README").write_text("hello\n")
    (project.directory / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (project.directory / "secrets.enc").write_text("not one\n")
    git(project, "add", "README", ".gitattributes", "secrets.enc")
    git(project, "commit", "--quiet", "--message", "first")
    sign_last_commit(project)
    hooks = project.directory / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_text(evil.read_text())
        (hooks / name).chmod(0o755)
    for name in PROGRAM_SETTINGS:
        git(project, "config", name, str(evil))
    for name in SHELL_SETTINGS:
        git(project, "config", name, f"!{evil}")
    git(project, "config", "log.showSignature", "true")
    included = project.directory / ".git/included"
    included.write_text(f"[core]\n\tfsmonitor = {evil}\n\thooksPath = {hooks}\n")
    git(project, "config", "include.path", str(included))
    return project


def git(project: Project, *arguments: str, data: str = "") -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "safe.directory=*"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=project.directory, input=data, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def sign_last_commit(project: Project) -> None:
    """Give the last commit something that looks like a signature, which only a program can judge."""
    content = git(project, "cat-file", "commit", "HEAD")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEzBAABCAAdFiEE\n -----END PGP SIGNATURE-----"
    header, text = content.split("\n\n", 1)
    signed = git(project, "hash-object", "-t", "commit", "-w", "--stdin", data=f"{header}\n{signature}\n\n{text}\n")
    git(project, "update-ref", "HEAD", signed)


def ask(project: Project, evil: Path, trace: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks that ask git, and write down every program that is started."""
    need_program("strace", "strace")
    options = [word for name in CHECKS for word in ("--only", name)]
    environ = project.environ(dict.fromkeys(VARIABLES, str(evil)))
    environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": str(evil)}
    command = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(trace)]
    command += [sys.executable, *project.script("manage_secrets.py", "doctor", *options)]  # no shim of this machine
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=project.directory)


def started(trace: Path) -> set[str]:
    """Return the programs that were started, without what was only looked for."""
    found = re.findall(r'execve\("([^"]+)".*\) = 0$', trace.read_text(), re.MULTILINE)
    assert found
    return {re.sub(r"[\d.]+$", "", os.path.basename(path)) for path in found}


def test_no_program_of_a_strangers_repository_runs(
    repository: Project, evil: Path, marker: Path, tmp_path: Path
) -> None:
    done = ask(repository, evil, tmp_path / "trace")
    assert "git tracks secrets.enc" in done.stdout
    assert not marker.exists()
    assert started(tmp_path / "trace") <= ALLOWED | {"manage_secrets.py"}


def test_what_a_partial_clone_lacks_is_not_fetched(
    repository: Project, evil: Path, marker: Path, tmp_path: Path
) -> None:
    for name, value in (
        ("remote.origin.url", f"ext::{evil}"),
        ("remote.origin.promisor", "true"),
        ("extensions.partialClone", "origin"),
        ("core.repositoryFormatVersion", "1"),
        ("protocol.ext.allow", "always"),
    ):
        git(repository, "config", name, value)
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    (repository.directory / ".git/objects" / tree[:2] / tree[2:]).unlink()
    done = ask(repository, evil, tmp_path / "trace")
    assert "git does not answer" in done.stdout
    assert not marker.exists()
    assert started(tmp_path / "trace") <= ALLOWED | {"manage_secrets.py"}


def test_the_corpus_is_one_that_runs_programs(repository: Project, marker: Path) -> None:
    """Without the doctor's care they do run; otherwise the tests above would prove nothing."""
    done = subprocess.run(
        ["git", "log", "--all"], cwd=repository.directory, capture_output=True, text=True, check=False
    )
    assert marker.exists(), done.stderr
