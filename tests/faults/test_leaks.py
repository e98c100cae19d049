"""Every command runs with canaries as secrets; then its output, child processes and files are searched."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from src.utils.secrets.catalog import load_catalog
from tests import figures
from tests.conftest import PROJECT, Project, need_program
from tests.leaks import leaked

CANARIES = {
    spec.name: f'{number:02d}-Canary/{spec.name.swapcase()}+"quoted"~$HOME&é-7f3a9c'
    for number, spec in enumerate(load_catalog().secrets)
}
HISTORY = ("set", "rollback", "rotate", "restore")
MAY_CONTAIN_VALUES = ("project/secrets/", "home/canaries.json", "home/value")


def test_no_command_leaves_a_value_in_a_wrong_place(
    tmp_path: Path,
) -> None:
    need_program("strace", "strace")
    project, temporary = Project(tmp_path / "project", tmp_path / "home"), tmp_path / "temporary"
    for folder in (project.directory / "config", project.home, temporary):
        folder.mkdir(parents=True)
    (project.directory / "config/catalog.toml").write_bytes((PROJECT / "config/catalog.toml").read_bytes())
    (project.directory / ".gitignore").write_bytes((PROJECT / ".gitignore").read_bytes())
    (project.home / "canaries.json").write_text(json.dumps(CANARIES))
    (project.home / "value").write_text(CANARIES["SMTP_PASSWORD"])
    (project.home / "passphrase").write_text("correct horse battery staple")
    commands = processes = 0

    def run(script: str, *arguments: str, code: int | None = 0) -> None:
        nonlocal commands, processes
        log = tmp_path / "execve"
        tracer = ["strace", "-f", "-qq", "-v", "-s", "100000", "--seccomp-bpf", "-e", "trace=execve", "-o", str(log)]
        environ = project.environ({"TMPDIR": str(temporary), "PYTHONFAULTHANDLER": "1", "PYTHONDEVMODE": "1"})
        done = subprocess.run(
            [*tracer, *project.script(script, *arguments)],
            env=environ,
            cwd=project.directory,
            capture_output=True,
            check=False,
            timeout=180,
        )
        assert code is None or done.returncode == code, done.stderr.decode()
        calls = log.read_bytes()
        processes += len(re.findall(rb"execve\(.* = 0$", calls, re.MULTILINE))
        # strace writes non-ASCII characters as octal numbers.
        plain = calls.decode().encode().decode("unicode_escape").encode("latin-1")
        for where, data in (("output", done.stdout + done.stderr), ("processes", calls + plain)):
            assert leaked(CANARIES, data) == [], (script, arguments, where)
        commands += 1

    manage = "manage_secrets.py"
    lock = ("--passphrase-file", "../home/passphrase")
    run("setup_secrets.py", "--non-interactive", "--import", "../home/canaries.json", "--replace")
    run("generate_docker_secrets.sh")
    run("generate_docker_secrets.sh", "--check")
    run(manage, "status")
    run(manage, "status", "--json")
    run(manage, "set", "SMTP_PASSWORD", "--file", "../home/value")
    run(manage, "set", "SECRET_KEY", "--generate")
    run(manage, "history", "SECRET_KEY")
    run(manage, "rollback", "SECRET_KEY", "--yes")
    run(manage, "rotate", "WEBHOOK_SECRET", "--store-only", "--yes")
    run(manage, "rollback", "WEBHOOK_SECRET", "--yes")
    run(manage, "backup", "--output", "all.backup", *lock)
    run(manage, "restore", "all.backup", *lock, "--dry-run")
    run(manage, "restore", "all.backup", *lock, "--yes")
    run(manage, "rotate-master-key", "--yes")
    run(manage, "migrate", "--to", "file:config/other.enc", "--apply", "--yes")
    run(manage, "diff", "--to", "file:config/secrets.enc", code=None)
    run(manage, "doctor", code=None)
    run(manage, "doctor", "--json", code=None)
    run(manage, "status", "--audit")
    # Errors do not repeat the value.
    run(manage, "get", "NOT_THERE", code=None)
    run(manage, "restore", "../home/canaries.json", *lock, "--yes", code=1)
    run("setup_secrets.py", "--non-interactive", "--import", "all.backup", code=None)
    (project.home / "broken.json").write_text(json.dumps(CANARIES)[:-1])
    run("setup_secrets.py", "--non-interactive", "--import", "../home/broken.json", code=1)
    (project.home / "broken.json").unlink()
    other = project.directory / "config/other.enc"
    whole = other.read_bytes()
    other.chmod(0o600)
    other.write_bytes(whole[:-40])
    run(manage, "get", "SECRET_KEY", code=1)
    run("generate_docker_secrets.sh", code=1)
    other.write_bytes(whole)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "everything"]):
        subprocess.run([*git, *command], cwd=project.directory, check=True, capture_output=True)
    tracked = subprocess.run(
        ["git", "log", "-p", "--all", "--text"], cwd=project.directory, check=True, capture_output=True
    ).stdout
    assert b"catalog.toml" in tracked
    assert leaked(CANARIES, tracked) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "execve"]
    holding = {str(path.relative_to(tmp_path)) for path in files if leaked(CANARIES, path.read_bytes())}
    assert [name for name in holding if not name.startswith(MAY_CONTAIN_VALUES)] == []
    assert any(name.startswith("project/secrets/") for name in holding)  # the search really had input
    figures.add("searched for leaks", commands, "commands")
    figures.add("searched for leaks", processes, "processes")
    figures.add("searched for leaks", len(files), "files")


def test_a_program_at_debug_level_logs_no_value(project: Project) -> None:
    project.set_up()
    (project.directory / "values").write_text(json.dumps(CANARIES))
    done = project.run("setup_secrets.py", "--non-interactive", "--import", "values", "--replace")
    assert done.returncode == 0, done.stderr
    program = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
sys.path.insert(0, sys.argv[1])
from src.utils.secrets import get_secrets_manager
from src.utils.secrets.redaction import install
install()
manager = get_secrets_manager()
for name in sys.argv[2:]:
    value = manager.get_secret(name)
    logging.error("here it is: %s", value)
    try:
        raise ValueError(value)
    except ValueError:
        logging.exception("failed")
    logging.warning({"manager": manager, "health": manager.health()})
"""
    done = subprocess.run(
        [str(PROJECT / ".venv/bin/python"), "-c", program, str(PROJECT), *CANARIES],
        env=project.environ(
            {
                "SECRETS_BACKEND": "file",
                "SECRETS_FILE_PATH": str(project.secrets_file),
                "SECRETS_MASTER_KEY_FILE": str(project.key_file),
            }
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("here it is") == len(CANARIES)
    assert leaked(CANARIES, (done.stdout + done.stderr).encode()) == []
