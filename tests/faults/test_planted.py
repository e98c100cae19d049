"""The tests find faults: each planted fault makes its tests fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import figures
from tests.conftest import PROJECT, need_program, need_root
from tests.support.forms import IN_FULL

from .planted import FAULTS, Fault, copy_project, run_test


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_planted_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    need_root()
    need_program("strace", "strace")
    copy = tmp_path / "copy"
    copy_project(copy)
    fault.plant(copy)
    if not IN_FULL and not fault.is_cheap:
        return  # at least the fault can still be planted
    for test in fault.tests if IN_FULL else fault.tests[:1]:
        done = run_test(copy, test)
        assert done.returncode == 1, f"{test}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        name = re.escape(test.partition("[")[0].rpartition("::")[2])
        assert re.search(rf"^FAILED .*{name}", done.stdout, re.MULTILINE), done.stdout[-3000:]
        figures.add("planted faults", 1, "found")


def test_a_planted_fault_is_not_in_the_code_already() -> None:
    for fault in FAULTS:
        assert fault.new not in (PROJECT / fault.file).read_text() or fault.new in fault.old, fault.name
