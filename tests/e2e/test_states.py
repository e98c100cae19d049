"""Every command in every state, for every store: nothing is generated over a value, and none is lost."""

from __future__ import annotations

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.setup.state import Generates, State, inspect_deployment
from src.utils.secrets.catalog import load_catalog
from tests.conftest import Project
from tests.support.forms import in_short
from tests.support.in_process import run_here
from tests.support.states import SERVER_STATES, SERVERS, Case, all_cases, find_state, make_ready
from tests.support.terminal import ENTER, Terminal

MANAGE, SET_UP, WRITE = "manage_secrets.py", "setup_secrets.py", "generate_docker_secrets.sh"
READS = [
    (MANAGE, "status"),
    (MANAGE, "status", "--json"),
    (MANAGE, "get", "SECRET_KEY"),
    (MANAGE, "export", "--format", "json"),
    (MANAGE, "history", "SECRET_KEY"),
]
CHANGES = [
    (WRITE,),
    (MANAGE, "set", "JWT_SECRET_KEY", "--generate"),
    (MANAGE, "rotate", "SECRET_KEY", "--store-only", "--yes"),
    (MANAGE, "remove", "SMTP_PASSWORD", "--yes"),
    (MANAGE, "rollback", "SECRET_KEY", "--yes"),
    (MANAGE, "backup", "--key-file", "backup.key", "--output", "new.backup"),
    (MANAGE, "migrate", "--to", "env"),
    (SET_UP, "--non-interactive", "--dry-run"),
    (SET_UP, "--non-interactive"),
]
LOOKS = [
    (MANAGE, "doctor"),
    (MANAGE, "doctor", "--offline"),
    (MANAGE, "rescue"),
    (MANAGE, "rescue", "--json"),
    (MANAGE, "rescue", "--dry-run"),
    (MANAGE, "key", "path"),
    (WRITE, "--check"),
]
CASES = all_cases()


def first_and_last_of_each_state() -> list[tuple[str, str]]:
    """For the two kinds of files: the first and the last case of each state; the cases of a server, each on one."""
    by_state: dict[tuple[str, State], list[tuple[str, str]]] = {}
    for kind, name in CASES:
        if kind not in SERVERS:
            by_state.setdefault((kind, find_state(kind, name)[0]), []).append((kind, name))
    on_servers = [(list(SERVERS)[number % len(SERVERS)], name) for number, name in enumerate(SERVER_STATES)]
    return [case for cases in by_state.values() for case in (cases[0], cases[-1])] + on_servers


@pytest.fixture
def case(request: pytest.FixtureRequest, project: Project) -> Case:
    """A deployment in the state that the test names."""
    kind, name = request.param
    made = make_ready(project, kind, request)
    find_state(kind, name)[1](made)
    return made


def in_each_state(*names: str) -> pytest.MarkDecorator:
    cases = [(kind, name) for kind, name in CASES if not names or name in names]
    return pytest.mark.parametrize("case", cases, ids=[f"{kind}, {name}" for kind, name in cases], indirect=True)


def state_of(case: Case) -> State:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in case.project.environ(case.environ).items():
            patch.setenv(name, value)
        deployment = Deployment.locate(project_directory=str(case.project.directory))
        return inspect_deployment(deployment).state


def expected(request: pytest.FixtureRequest) -> State:
    kind, name = request.node.callspec.params["case"]
    return find_state(kind, name)[0]


@in_each_state()
def test_no_command_loses_or_replaces_a_value(case: Case, request: pytest.FixtureRequest) -> None:
    state = expected(request)
    assert state_of(case) is state
    before, on_server = case.project.state(), case.server_values()
    for command in LOOKS:
        _code, output, errors = case.run(*command)
        check_messages(output, errors)
        assert case.project.state() == before, command
        if state.is_rescuable and command[1] == "doctor" and (case.store is None or "--offline" not in command):
            assert "manage_secrets.py rescue" in output
    if not state.is_readable:
        for command in (*READS, *CHANGES):
            code, output, errors = case.run(*command)
            assert code in (1, 2), (command, output)
            check_messages(output, errors)
            assert case.project.state() == before, command
            if state.is_rescuable and code == 1:
                assert "rescue" in first_command(errors), errors
    else:
        check_set_up(case, state)
    assert case.server_values() == on_server or state.generates is Generates.MISSING
    assert case.surviving() == set(case.originals.values())


def check_set_up(case: Case, state: State) -> None:
    """A second set-up keeps each value, and makes at most those that never were."""
    before = case.values()
    code, output, errors = case.run(SET_UP, "--non-interactive")
    check_messages(output, errors)
    after = case.values()
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert added <= {"NEW_TOKEN"}
    is_lost = any(name not in before for name in case.originals)
    assert code == (1 if is_lost else 0), errors
    if is_lost:
        assert "rescue" in first_command(errors)
        assert case.run(WRITE)[0] == case.run(WRITE, "--check")[0] == 1
        assert "rescue" in first_command(case.run(WRITE)[2])
        assert "rescue" in case.run(MANAGE, "status")[1]
    elif state is State.INCOMPLETE:
        assert added == {"NEW_TOKEN"}


def check_messages(output: str, errors: str) -> None:
    for text in ("Traceback", "Unexpected", "report this", "internal error"):
        assert text not in output + errors


def first_command(errors: str) -> str:
    hints = [line.removeprefix("hint: ") for line in errors.splitlines() if line.startswith("hint: ")]
    commands = [hint for hint in hints if "scripts/" in hint or "make " in hint]
    return commands[0] if commands else ""


@in_short("case", first_and_last_of_each_state())
@in_each_state()
def test_pressing_only_enter_in_the_wizard_loses_nothing(case: Case, request: pytest.FixtureRequest) -> None:
    terminal = Terminal(
        case.project.script(SET_UP), environ=case.project.environ(case.environ), cwd=str(case.project.directory)
    )
    press_enter(terminal, times=8 if expected(request) in (State.UNREACHABLE, State.DENIED) else 40)
    assert "Traceback" not in terminal.text
    assert case.surviving() == set(case.originals.values())
    present = case.values()
    assert {name: present[name] for name in case.originals if name in present} == {
        name: value for name, value in case.originals.items() if name in present
    }
    if expected(request).is_readable or expected(request) is State.STORE_GONE:
        assert set(case.originals) <= set(present)


def press_enter(terminal: Terminal, times: int = 40) -> int:
    for _ in range(times):
        terminal.settle(0.4)
        if not terminal.is_running():
            break
        terminal.process.send(ENTER)
    else:
        terminal.process.send("\x03")
    return terminal.finish()


@in_each_state(
    "the file deleted",
    "the whole folder of the file deleted",
    "file and settings deleted",
    "settings deleted, and a secret set in the shell",
    "settings deleted, and secrets in the file for Compose",
    "the key moved into the project's folder",
    "a key in the settings that is not the file's",
    "a name that is asked for taken out of the file",
    "the key file deleted",
    "a folder in the place of the key",
    "a link that leads nowhere in the place of the key",
    "a folder in the place of the file",
    "a pipe in the place of the file",
    "a huge file",
    "the settings emptied",
    "the key file emptied",
    "the line with the key file deleted, and the file",
    "another key in its place",
    "an earlier file put back after a new key",
    "a file of zeros",
    "half a file",
    "a value taken out of the file",
    "the file emptied",
    "a line taken out",
    "a value taken out of the store",
    "everything taken out of the store",
)
def test_the_first_hint_restores_everything(case: Case) -> None:
    _code, _output, errors = case.run(SET_UP, "--non-interactive")
    command = first_command(errors).partition(": ")[2]
    terminal = Terminal(
        ["sh", "-c", command], environ=case.project.environ(case.environ), cwd=str(case.project.directory)
    )
    assert press_enter(terminal) == 0, terminal.text
    assert state_of(case) is State.READY
    assert {name: value for name, value in case.values().items() if name in case.originals} == case.originals
    assert case.surviving() == set(case.originals.values())
    assert case.run(WRITE)[0] == 0
    assert case.run(WRITE, "--check")[0] == 0


@pytest.mark.parametrize("kind", ["file", "env", *SERVERS])
def test_a_whole_set_is_made_only_when_there_is_nothing(
    kind: str, project: Project, request: pytest.FixtureRequest
) -> None:
    environ = {}
    if kind in SERVERS:
        fixture, store = SERVERS[kind]
        environ = dict(store(request.getfixturevalue(fixture)).environ)
    case = Case(project, kind, environ=environ)
    for command in (*READS, *LOOKS):
        _code, output, errors = case.run(*command)
        check_messages(output, errors)
    done = run_here(project, SET_UP, "--non-interactive", "--backend", kind, environ=environ)
    assert done.returncode == 0, done.stderr
    assert state_of(case) is State.READY


def test_a_real_process_says_the_same(project: Project, request: pytest.FixtureRequest) -> None:
    case = make_ready(project, "file", request)
    case.project.secrets_file.unlink()
    assert state_of(case) is State.STORE_GONE
    for command in (READS[0], CHANGES[-1], LOOKS[-1]):
        done = project.run(*command)
        code, output, errors = case.run(*command)
        assert (done.returncode, done.stdout, done.stderr) == (code, output, errors)


@pytest.mark.parametrize("kind", ["file", "env", *SERVERS])
def test_starting_over_needs_the_word_and_keeps_everything(
    kind: str, project: Project, request: pytest.FixtureRequest
) -> None:
    case = make_ready(project, kind, request)
    before = case.project.state()
    for arguments in (("--yes",), ("--confirm", "yes"), ()):
        code, _output, errors = case.run(SET_UP, "--non-interactive", "--start-over", *arguments)
        assert code == 2
        assert "--confirm 'start over'" in errors
    assert case.project.state() == before
    code, _output, errors = case.run(SET_UP, "--non-interactive", "--start-over", "--confirm", "start over")
    assert code == 0, errors
    present = case.values()
    generated = {
        spec.name for spec in load_catalog(str(project.directory / "config/catalog.toml")).secrets if spec.generated
    }
    assert all(present[name] != value for name, value in case.originals.items() if name in generated)
    assert case.run(WRITE)[0] == 0
    assert state_of(case) is State.READY
    kept = case.surviving()
    assert kept == set(case.originals.values())
