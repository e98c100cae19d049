"""Every cure of the doctor, typed as it stands: the fault is gone afterwards, and nothing else is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.doctor import CHECKS
from src.ops.setup.summary import summary_file
from tests.conftest import PROJECT, Project
from tests.support.files import everything
from tests.support.findings import (
    ELSEWHERE,
    MISNAMED,
    PLANTED,
    STACK_CHECKS,
    compose_file,
    git,
    make_healthy,
    neighbour,
)
from tests.support.forms import pairs
from tests.support.in_process import run_here
from tests.support.terminal import ENTER, Terminal

pytestmark = pairs("prepared", "check", "place")
SECONDS_FOR_A_CURE = 60
TYPED = "what its provider issued 7"
# How a person answers what a cure asks for.
ANSWERS = (
    (re.compile(r"\(Y/n\)$"), ENTER),
    (re.compile(r"\(y/N\)$"), "y"),
    (re.compile(r"Stop here; nothing was changed$"), ENTER),  # the last line of a menu; Enter takes the first
    (re.compile(r"(unchanged|Repeat it|\([A-Z_]+\)):$"), TYPED + ENTER),
)
# Findings that no command can cure, and why. Their commands only show more.
SHOWN = {
    "previous-values": "each ends by itself, or is needed to read old data; no command forgets one",
}
# What only shows more may fail over the fault that it shows.
SHOWS = re.compile(r"manage_secrets\.py status --audit ")
# Findings whose command would change the virtual environment that runs the tests.
NOT_TYPED = {"packages": r"make (-C ('.*'|\S+) )?--always-make install"}
NAMES_OTHER_ENVIRONMENT = {("shared", "production")}

# A machine with Docker Compose, on which no container runs.
DOCKER = f"""#!/bin/sh
case "$*" in
*version*) exit 0 ;;
*" config "*) exec {shlex.quote(sys.executable)} -c '
import json, yaml
content = yaml.safe_load(open("docker-compose.yml"))
for service in content["services"].values():
    service["secrets"] = [one if "source" in one else {{"source": one}} for one in service.get("secrets", [])]
print(json.dumps({{"name": "x", "services": content["services"]}}))' ;;
*" ps "*) ;;
*) exit 1 ;;
esac
"""

# --- The edits that a sentence describes, where no command can decide ------------------------------------------------

EDITED_LAST = {"plaintext"}  # its message says which lines to remove
Edit = Callable[[Project], None]
EDITS: dict[str, Edit] = {}


def edits(check: str) -> Callable[[Edit], Edit]:
    def register(function: Edit) -> Edit:
        EDITS[check] = function
        return function

    return register


@edits("settings")
def _(project: Project) -> None:
    text = project.settings_file.read_text()
    project.settings_file.write_text(text.replace("SECRETS_CACHE_TTL=soon", "SECRETS_CACHE_TTL=300"))


@edits("plaintext")
def _(project: Project) -> None:
    (project.directory / "old.env").write_text("")


@edits("unknown-names")
def _(project: Project) -> None:
    with (project.directory / "config/catalog.toml").open("a") as file:
        file.write('\n[[secret]]\nname = "FORGOTTEN"\ngroup = "Application"\ndescription = "Another service"\n')
        file.write('input = "generate"\nlength = 44\nconsumers = ["app"]\n')
        file.write('docker_file = "forgotten.txt"\n')
    assert project.run("generate_docker_secrets.sh").returncode == 0


@edits("store")
def _(project: Project) -> None:
    kept = project.home.parents[1] / "kept" / project.directory.name / "config"
    for suffix in ("", ".sum"):
        shutil.copy2(kept / f"{project.secrets_file.name}{suffix}", project.secrets_file.parent)


@edits("compose-environment")
@edits("compose-needless")
@edits("compose-missing")
def _(project: Project) -> None:
    compose_file(project, "services:", "services:")


# --- A healthy deployment, made once for each environment ------------------------------------------------------------


@pytest.fixture(scope="module", params=["production", "staging"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    base = tmp_path_factory.mktemp("cures")
    directory = base / "now/a project, it's"
    (directory / "config").mkdir(parents=True)
    (base / "now/home").mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", directory / "config/catalog.toml")
    project = make_healthy(Project(directory, base / "now/home", environment=request.param))
    with project.settings_file.open("a") as file:
        file.write("# A line of mine\nMY_OWN=kept\n")
    for name in ("notes.md", "config/mine", "secrets/README.md"):
        (directory / name).write_text("mine")
    shutil.copytree(base / "now", base / "kept", symlinks=True)
    return project


@pytest.fixture
def healthy(prepared: Project) -> Iterator[Project]:
    yield prepared
    now = prepared.home.parent
    shutil.rmtree(now)
    shutil.copytree(now.parent / "kept", now, symlinks=True)


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The variables of a machine with Docker Compose."""
    (tmp_path / "bin").mkdir()
    for name in ("docker", "docker-compose"):
        (tmp_path / "bin" / name).write_text(DOCKER)
        (tmp_path / "bin" / name).chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


# --- Looking ---------------------------------------------------------------------------------------------------------


def doctor(project: Project, machine: dict[str, str], *arguments: str) -> list[dict[str, object]]:
    done = run_here(project, "manage_secrets.py", "doctor", "--json", *arguments, environ=machine)
    assert done.returncode in (0, 1), done.stderr
    findings: list[dict[str, object]] = json.loads(done.stdout)
    return findings


def commands_of(findings: list[dict[str, object]]) -> list[str]:
    shown = [command for finding in findings for command in finding["commands"]]  # type: ignore[attr-defined]
    return list(dict.fromkeys(shown))


def is_sentence(command: str) -> bool:
    return command[0].isupper()


def belongs(project: Project, path: str) -> bool:
    """Whether the tools may change a file for this deployment."""
    if path.startswith(f"{project.docker_directory}/staging/") and project.environment == "production":
        return False
    own = (project.secrets_file, project.key_file, project.settings_file, project.compose_file, project.journal)
    name = project.settings_file.name
    return (
        any(path.startswith(str(prefix)) for prefix in own)
        or (path.startswith(f"{project.docker_directory}/") and not path.endswith("README.md"))
        or path.startswith(f"{project.home}/.local/state/")
        or path == str(project.directory / f"config/.{name}.lock")
        or path == summary_file(deployment_of(project))
    )


def deployment_of(project: Project) -> Deployment:
    return Deployment.locate(
        project_directory=str(project.directory), environment=project.environment, environ=project.environ()
    )


def names(finding: dict[str, object], path: str, project: Project) -> bool:
    """Whether a finding and its cure are about a file."""
    text = json.dumps(finding)
    if "/.git/" in path:
        return "git -C " in text
    return os.path.relpath(path, project.directory) in text or path in text


def known_values(project: Project) -> dict[str, set[str]]:
    """Each secret with all values that the store has for it, earlier ones included."""
    content = project.decrypt()
    values: dict[str, set[str]] = {name: {value} for name, value in content["secrets"].items()}  # type: ignore[attr-defined]
    for name, entry in content["metadata"].items():  # type: ignore[attr-defined]
        values.setdefault(name, set()).update(old["value"] for old in entry.get("previous", []))
    return values


# --- Typing ----------------------------------------------------------------------------------------------------------


def type_in(project: Project, command: str, machine: dict[str, str]) -> None:
    """Type a command in the project's folder, and answer what it asks."""
    terminal = Terminal(
        ["sh", "-c", command], environ=project.environ(machine), cwd=str(project.directory), columns=200
    )
    deadline = time.monotonic() + SECONDS_FOR_A_CURE
    while terminal.is_running():
        assert time.monotonic() < deadline, "\n".join(terminal.lines)
        terminal.settle(0.1)
        last = terminal.lines[-1].strip() if terminal.lines else ""
        for question, keys in ANSWERS:
            if question.search(last):
                terminal.screen.reset()
                terminal.process.send(keys)
                break
    code = terminal.finish()
    assert code == 0 or (code == 1 and SHOWS.search(command)), (command, terminal.text)


CASES = [name for name in PLANTED if name not in ELSEWHERE]


@pytest.mark.parametrize("check", CASES)
def test_a_cure_that_is_typed_removes_the_fault_and_nothing_else(
    check: str, healthy: Project, machine: dict[str, str]
) -> None:
    if check in STACK_CHECKS:
        compose_file(healthy, "services:", "services:")
    assert doctor(healthy, machine) == []
    values = known_values(healthy)
    PLANTED[check](healthy)
    if check != "store":
        values = known_values(healthy)
    planted = everything(healthy)
    others = neighbour(healthy)

    findings = doctor(healthy, machine, "--only", check)
    assert {finding["check"] for finding in findings} == {check}
    found = doctor(healthy, machine)
    assert len(found) == len(findings)
    assert {finding["check"] for finding in found} <= {check, *CHECKS[check].follows}
    assert everything(healthy) == planted  # reading changes nothing

    commands = commands_of(findings)
    if check in NOT_TYPED:
        assert all(re.fullmatch(NOT_TYPED[check], command) for command in commands)
        return
    for command in commands:
        if is_sentence(command):
            assert check in EDITS, command
            EDITS[check](healthy)
        else:
            type_in(healthy, command, machine)
    if check in EDITED_LAST:
        EDITS[check](healthy)
    cured = everything(healthy)

    if check in SHOWN:
        assert doctor(healthy, machine, "--only", check) == findings
        assert cured == planted
    else:
        assert doctor(healthy, machine, "--only", check) == []
        assert doctor(healthy, machine) == []
    if check == "misnamed":
        values["JWT_SECRET_KEY"] = values.pop(MISNAMED)
    after = known_values(healthy)
    assert [name for name in values if not values[name] <= after.get(name, set())] == []
    changed = {path for path in planted if planted[path] != cured.get(path)}
    if (check, healthy.environment) in NAMES_OTHER_ENVIRONMENT:
        changed = {path for path in changed if not belongs(others, path)}
    assert [
        path
        for path in changed
        if not belongs(healthy, path) and not any(names(finding, path, healthy) for finding in findings)
    ] == []
    assert {"# A line of mine", "MY_OWN=kept"} <= set(healthy.settings_file.read_text().splitlines())


# --- What a cure finds in its way ------------------------------------------------------------------------------------


def cure(project: Project, machine: dict[str, str], check: str) -> list[dict[str, object]]:
    """Type each command of what a check finds; returns what it finds afterwards."""
    for command in commands_of(doctor(project, machine, "--only", check)):
        if not is_sentence(command):
            type_in(project, command, machine)
    return doctor(project, machine, "--only", check)


def test_a_credential_moves_into_a_file_and_overwrites_none(healthy: Project, machine: dict[str, str]) -> None:
    PLANTED["settings-secret"](healthy)
    plain = healthy.environment == "production"
    usual = healthy.key_file.with_name("vault-token" if plain else "staging.vault-token")
    usual.write_text("of another store")
    assert cure(healthy, machine, "settings-secret") == []
    moved = usual.with_name("vault-token-2" if plain else "staging-2.vault-token")
    assert (usual.read_text(), moved.read_text()) == ("of another store", "s.abcdef\n")
    assert moved.stat().st_mode & 0o777 == 0o400
    assert f"VAULT_TOKEN_FILE={moved}" in healthy.settings_file.read_text()


def test_a_master_key_in_the_settings_moves_and_still_opens_the_file(healthy: Project, machine: dict[str, str]) -> None:
    values, key = healthy.values(), healthy.key_file.read_text().strip()
    text = healthy.settings_file.read_text()
    healthy.settings_file.write_text(text.replace(f"_FILE={healthy.key_file}", f"={key}"))
    healthy.key_file.unlink()
    assert cure(healthy, machine, "settings-secret") == []
    assert doctor(healthy, machine) == []
    assert healthy.values() == values
    assert key not in healthy.settings_file.read_text()


def test_a_key_in_the_project_moves_beside_another_one(healthy: Project, machine: dict[str, str]) -> None:
    PLANTED["master-key-apart"](healthy)
    key = healthy.key_file.read_text()
    healthy.key_file.unlink()
    healthy.key_file.write_text("another key")
    assert cure(healthy, machine, "master-key-apart") == []
    assert healthy.key_file.read_text() == "another key"
    moved = healthy.key_file.with_name(f"{healthy.key_file.stem}-2.key")
    assert moved.read_text() == key
    assert doctor(healthy, machine) == []


def test_a_key_that_does_not_open_the_file_stays_where_it_is(healthy: Project, machine: dict[str, str]) -> None:
    PLANTED["master-key-apart"](healthy)
    PLANTED["store"](healthy)
    healthy.key_file.unlink()
    before = everything(healthy)
    done = healthy.run("manage_secrets.py", "doctor", "--only", "master-key-apart", "--fix", environ=machine)
    assert done.returncode == 1
    assert "It could not be fixed: Failed to decrypt secrets file" in done.stdout
    assert everything(healthy) == before


def test_the_cure_of_a_checksum_keeps_the_last_change(healthy: Project, machine: dict[str, str]) -> None:
    healthy.run("manage_secrets.py", "set", "WEBHOOK_SECRET", "--generate")
    healthy.run("generate_docker_secrets.sh")
    values = healthy.values()
    PLANTED["secrets-file-checksum"](healthy)
    assert cure(healthy, machine, "secrets-file-checksum") == []
    assert healthy.values() == values
    assert doctor(healthy, machine) == []


def test_the_checksum_of_a_file_that_does_not_open_is_left_alone(healthy: Project, machine: dict[str, str]) -> None:
    PLANTED["store"](healthy)
    before = everything(healthy)
    findings = doctor(healthy, machine, "--only", "secrets-file-checksum", "--fix")
    assert [(finding["check"], finding["fixed"]) for finding in findings] == [("store", False)]
    assert everything(healthy) == before


def test_a_missing_secret_gets_the_value_that_the_containers_use(healthy: Project, machine: dict[str, str]) -> None:
    value = healthy.values()["SECRET_KEY"]
    PLANTED["missing"](healthy)
    assert cure(healthy, machine, "missing") == []
    assert healthy.values()["SECRET_KEY"] == value
    PLANTED["missing"](healthy)
    shutil.rmtree(healthy.docker_directory)
    assert cure(healthy, machine, "missing") == []
    assert len(healthy.values()["SECRET_KEY"]) == 64


def test_what_was_committed_is_rotated_and_then_no_finding(healthy: Project, machine: dict[str, str]) -> None:
    PLANTED["git-tracked"](healthy)
    git(healthy, "commit", "--quiet", "--message", "a mistake")
    before = healthy.values()
    (finding,) = doctor(healthy, machine, "--only", "git-tracked")
    stop, commit, rotate = commands_of([finding])
    assert (commit, is_sentence(commit)) == ("Commit that", True)
    time.sleep(1)  # git counts in seconds
    type_in(healthy, stop, machine)
    git(healthy, "commit", "--quiet", "--message", "as the sentence says")
    assert [one["check"] for one in doctor(healthy, machine)] == ["git-history"]
    neighbours = neighbour(healthy)
    assert commands_of(doctor(neighbours, machine)) == [rotate]
    type_in(healthy, rotate, machine)
    assert doctor(healthy, machine) == []
    assert doctor(neighbours, machine) == []
    changed = {name for name, value in healthy.values().items() if before[name] != value}
    assert {"SECRET_KEY", "DATABASE_PASSWORD", "ADMIN_PASSWORD"} <= changed


def test_a_line_is_added_to_an_ignore_file_whatever_it_ends_with(healthy: Project, machine: dict[str, str]) -> None:
    for name in (".gitignore", ".dockerignore"):
        (healthy.directory / name).write_text("*.log")
        assert cure(healthy, machine, name[1:]) == []
        assert (healthy.directory / name).read_text().startswith("*.log\n")
        (healthy.directory / name).unlink()
        assert cure(healthy, machine, name[1:]) == []
    git(healthy, "check-ignore", "--no-index", str(healthy.secrets_file.with_suffix(".enc.bak")))


@pytest.mark.parametrize("place", ["settings", "compose", "checksum", "gitignore", "trail"])
def test_a_folder_in_the_place_of_a_file_moves_away(place: str, healthy: Project, machine: dict[str, str]) -> None:
    values = healthy.values()
    check, path = {
        "settings": ("settings", healthy.settings_file),
        "compose": ("settings", healthy.compose_file),
        "checksum": ("secrets-file-checksum", healthy.secrets_file.with_suffix(".enc.sum")),
        "gitignore": ("gitignore", healthy.directory / ".gitignore"),
        "trail": ("audit-trail", healthy.home / ".local/state/cctv-face-detection/audit.jsonl"),
    }[place]
    path.unlink()
    path.mkdir()
    (path / "of somebody").write_text("mine")
    commands = commands_of(doctor(healthy, machine, "--only", check))
    if path == healthy.settings_file:
        assert "setup_secrets.py" in commands.pop()
        type_in(healthy, commands[0], machine)
        healthy.set_up()  # as the wizard does, without its questions
        assert healthy.run("generate_docker_secrets.sh").returncode == 0
    for command in commands if path != healthy.settings_file else ():
        type_in(healthy, command, machine)
    assert (path.with_name(f"not-a-file-{path.name}") / "of somebody").read_text() == "mine"
    assert doctor(healthy, machine) == []
    assert healthy.values() == values


@pytest.mark.parametrize(
    "check", ["settings-secret", "settings-mode", "gitignore", "compose-settings", "master-key-apart", "overdue"]
)
def test_a_cure_names_the_settings_file_that_was_given(check: str, healthy: Project, machine: dict[str, str]) -> None:
    path = healthy.directory / "my settings [1].env"
    healthy.settings_file.rename(path)
    other = Project(healthy.directory, healthy.home, environment=healthy.environment, options=("--env-file", str(path)))
    other.settings_file = path
    other.run("generate_docker_secrets.sh")
    with (healthy.directory / ".gitignore").open("a") as file:
        file.write("*.env\n")
    with (healthy.directory / ".dockerignore").open("a") as file:
        file.write("*.env\n")
    assert doctor(other, machine) == []
    PLANTED[check](other)
    assert doctor(other, machine) != []
    assert cure(other, machine, check) == []
    assert doctor(other, machine) == []
