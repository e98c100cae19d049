"""Ctrl-C while files are being written."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.setup import apply
from src.ops.setup.apply import apply_setup
from src.ops.setup.given import GivenValues
from src.ops.setup.inspect import inspect_store
from src.ops.setup.plan import plan_setup
from src.ops.store_kinds import kind_of
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.errors import StoreError
from src.utils.secrets.settings import SecretsBackend
from tests.conftest import Project


def set_up(project: Project, backend: SecretsBackend) -> None:
    deployment = Deployment.locate(project_directory=str(project.directory), environ={"HOME": str(project.home)})
    store = inspect_store(deployment, kind_of(backend), None)
    apply_setup(deployment, store, plan_setup(deployment, store, GivenValues(regenerated={"SECRET_KEY"})))


def before(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function, with Ctrl-C just before it starts."""

    def interrupted(*arguments: object, **keywords: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return function(*arguments, **keywords)

    return interrupted


STEPS = ["make_directories", "_save", "write_settings", "_compare"]


@pytest.mark.parametrize(
    ("existing", "step"),
    [(False, "write_key_file"), *[(existing, step) for existing in (False, True) for step in STEPS]],
)
def test_an_interrupt_at_any_step_of_the_encrypted_file_undoes_all_of_them(
    existing: bool, step: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if existing:
        project.set_up()
    state = project.state()
    monkeypatch.setattr(apply, step, before(getattr(apply, step)))
    with pytest.raises(KeyboardInterrupt):
        set_up(project, SecretsBackend.FILE)
    after = {path: entry for path, entry in project.state().items() if not path.endswith(".bak")}
    assert after == state


@pytest.mark.parametrize("step", ["write_settings", "_compare"])
def test_an_interrupt_at_any_step_of_the_dotenv_file_undoes_it(
    step: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.directory / ".env").write_text("# mine\n")
    (project.directory / ".env").chmod(0o640)
    state = project.state()
    monkeypatch.setattr(apply, step, before(getattr(apply, step)))
    with pytest.raises(KeyboardInterrupt):
        set_up(project, SecretsBackend.ENV)
    assert project.state() == state


def test_a_failure_does_not_undo_a_later_write_of_another_program(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set_up()
    settings = project.directory / ".env.production"
    theirs = "SECRETS_BACKEND=file\n# theirs\n"

    def fail(*_: object) -> None:
        settings.write_text(theirs)
        raise StoreError("does not read back")

    monkeypatch.setattr(apply, "_compare", fail)
    settings.write_text("SECRETS_BACKEND=file\n")
    with pytest.raises(StoreError):
        set_up(project, SecretsBackend.FILE)
    assert settings.read_text() == theirs


def test_a_write_that_reads_back_differently_is_undone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    state = project.state()
    load = FileBackend.load

    def other(backend: FileBackend) -> object:
        snapshot = load(backend)
        snapshot.values["SECRET_KEY"] = "other"  # type: ignore[index]
        return snapshot

    monkeypatch.setattr(FileBackend, "load", other)
    with pytest.raises(StoreError, match="SECRET_KEY read back differently"):
        set_up(project, SecretsBackend.FILE)
    assert project.state() == state


def test_interrupts_are_delayed_only_inside_the_block() -> None:
    with deferred_interrupts() as check:
        check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
