"""One attack on a running application, and what came of it."""

from __future__ import annotations

import dataclasses
import time

from tests.support.abuse import CONNECTIONS, KINDS, Tally, running_attack
from tests.support.probes import Login, Probe, log_in, probing

PATHS = ("/health", "/ready")
SECONDS_BEFORE_LOGIN = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        tally: The attacker's counts.
        probes: What an honest user saw of each path meanwhile.
        login_meanwhile: The right password from another address, during the attack.
        login_afterwards: The same when the attack was over.
    """

    tally: Tally
    probes: dict[str, Probe]
    login_meanwhile: Login
    login_afterwards: Login


def abuse(port: int, kind: str, seconds: float, password: str, patience: float) -> Outcome:
    """Attack an application, and use it meanwhile.

    Args:
        port: Where it listens.
        kind: One of ``KINDS``.
        seconds: How long.
        password: The administrator's.
        patience: For how many seconds a login is tried again while the application is busy.
    """
    with running_attack(port, kind, seconds) as attack, probing(port, *PATHS) as probes:
        time.sleep(SECONDS_BEFORE_LOGIN)
        meanwhile = log_in(port, password, patience)
        tally = attack.tally()
    return Outcome(tally, probes, meanwhile, log_in(port, password, patience))


def missing_force(kind: str, tally: Tally) -> list[str]:
    """Why this was no attack; empty if it was one."""
    reached = [
        ("connections", tally.opened, CONNECTIONS * 4 // 5),
        ("answers", tally.answers, KINDS[kind].least_answers),
        ("requests", tally.sent, KINDS[kind].least_sent),
    ]
    return [f"only {count} {what}, not {least}" for what, count, least in reached if count < least]
