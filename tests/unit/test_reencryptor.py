"""The order of a re-encryption: earlier values leave the store only after the application has proven that it can go on.

The containers are a stand-in here, because a real application answers wrongly only by a fault of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from src.ops.containers.stack import StackError
from src.ops.deployment.deployment import Deployment
from src.ops.lifecycle import reencrypt
from src.ops.lifecycle.apply import Drift
from src.ops.lifecycle.reencrypt import NAME, Reencryptor
from src.ops.store_kinds import open_store
from src.utils.secrets.errors import SecretsError, StoreError
from tests.conftest import Project

PROVEN = {"current": 0, "rewritten": 3, "unreadable": 0, "discarded": 0, "is_proven": True}


class Containers:
    """A stack whose application gives the same answer each time, and puts down what it was asked."""

    is_used = True

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.states = dict.fromkeys(("app", "postgres", "redis"), "running")

    def services(self) -> dict[str, dict[str, str]]:
        return {name: {"State": state} for name, state in self.states.items()}

    def require_docker(self) -> None:
        pass

    def require_own(self) -> None:
        pass

    def execute(self, service: str, command: Sequence[str], standard_input: str) -> str:
        assert service == "app"
        assert not any(json.loads(standard_input)["current"] in word for word in command)
        self.asked.append(command[-1])
        return self.answer


@pytest.fixture
def deployment(project: Project, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose ENCRYPTION_KEY has one earlier value."""
    project.set_up("--backend", "file")
    assert project.run("manage_secrets.py", "rotate", NAME, "--yes").returncode == 0
    monkeypatch.setattr(reencrypt, "find_drift", lambda *_: Drift())
    return Deployment.locate(project_directory=str(project.directory), environ={"HOME": str(project.home)})


def start(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    answer: str | Mapping[str, object],
    *,
    discards: bool = False,
) -> tuple[Reencryptor, Containers, list[int]]:
    """Return it with its containers, and how many earlier values the store had whenever these were told."""
    containers = Containers(answer if isinstance(answer, str) else json.dumps(answer))
    told: list[int] = []

    class Applier:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, *_: object) -> None:
            told.append(earlier(deployment))

    monkeypatch.setattr(reencrypt, "Stack", lambda _: containers)
    monkeypatch.setattr(reencrypt, "Applier", Applier)
    return Reencryptor(deployment, lambda _: None, lambda _: None, discards=discards), containers, told


def earlier(deployment: Deployment) -> int:
    return len(open_store(deployment).load().metadata[NAME].previous)


def test_the_earlier_values_go_after_the_proof_and_before_the_app_is_told(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = open_store(deployment).load().values[NAME]
    reencryptor, containers, told = start(deployment, monkeypatch, PROVEN)
    reencryptor.run(reencryptor.plan())
    assert containers.asked == ["count", "run"]
    assert told == [0]
    assert earlier(deployment) == 0
    assert open_store(deployment).load().values[NAME] == value


@pytest.mark.parametrize(
    "answer",
    [PROVEN | {"is_proven": False}, PROVEN | {"unreadable": 1, "is_proven": False}, "", "done", "{}", "[]"],
    ids=["not proven", "unreadable", "nothing", "a word", "no numbers", "a list"],
)
def test_without_the_proof_the_earlier_values_stay(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, answer: str | Mapping[str, object]
) -> None:
    reencryptor, _, told = start(deployment, monkeypatch, answer)
    with pytest.raises(SecretsError) as caught:
        reencryptor.run(reencryptor.plan())
    assert caught.value.hints
    assert earlier(deployment) == 1
    assert told == []


def test_a_value_that_changed_after_the_proof_keeps_the_earlier_ones(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    reencryptor, containers, _ = start(deployment, monkeypatch, PROVEN)
    plan = reencryptor.plan()
    answer = containers.execute

    def execute(service: str, command: Sequence[str], standard_input: str) -> str:
        assert project.run("manage_secrets.py", "rotate", NAME, "--yes", "--store-only").returncode == 0
        return answer(service, command, standard_input)

    monkeypatch.setattr(containers, "execute", execute)
    with pytest.raises(StoreError, match="changed by another writer"):
        reencryptor.run(plan)
    assert earlier(deployment) == 2


def test_only_who_asks_for_it_discards(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    reencryptor, containers, _ = start(deployment, monkeypatch, PROVEN, discards=True)
    reencryptor.run(reencryptor.plan())
    assert containers.asked == ["count", "discard"]


@pytest.mark.parametrize("service", ["app", "postgres"])
def test_a_service_that_does_not_run_is_named(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    reencryptor, containers, _ = start(deployment, monkeypatch, PROVEN)
    containers.states[service] = "exited"
    with pytest.raises(StackError, match=f"The {service} container does not run"):
        reencryptor.plan()
    assert earlier(deployment) == 1
