"""Other programs: they end in time, with all that they started, and print no more than fits."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from src.utils.secrets import children
from src.utils.secrets.children import ChildError, run_child
from tests.conftest import PROJECT
from tests.support.terminal import ENTER, Terminal


def shell(script: str, seconds: float = 20, standard_input: bytes | str = "") -> children.Child:
    return run_child(["sh", "-c", script], seconds=seconds, standard_input=standard_input)


def is_running(process: int) -> bool:
    """Whether a process runs; one that has ended, and that nobody has asked for, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_it_prints_and_how_it_ends_is_known() -> None:
    done = shell("cat; echo bad >&2; exit 3", standard_input="in\n")
    assert (done.code, done.output, done.errors) == (3, "in\n", "bad\n")


def test_much_goes_in_and_out_at_once() -> None:
    data = b"x" * 3_000_000
    assert shell("cat", standard_input=data).output.encode() == data


def test_a_program_that_reads_nothing_ends_all_the_same() -> None:
    assert shell("exec <&-; echo done", standard_input=b"x" * 1_000_000).output == "done\n"


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ChildError, match=r"has not answered for 0\.5 s"):
        shell(f"sleep 60 & echo $! > {tmp_path}/pid; wait", seconds=0.5)
    assert time.monotonic() - started < 10
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LARGEST_OUTPUT", 100_000)
    with pytest.raises(ChildError, match="has printed more than"):
        shell("while :; do echo a line of some length; done")


def test_ctrl_c_at_the_terminal_does_not_reach_it() -> None:
    """It is the one that runs it who decides, and may be in the middle of something."""
    assert shell("ps -o sid= -p $$").output.strip() != str(os.getsid(0))


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(ChildError, match="nothing-of-the-kind cannot be run"):
        run_child(["nothing-of-the-kind"], seconds=1)


def test_a_program_that_may_ask_has_the_terminal() -> None:
    """As a password manager does, it opens the terminal itself."""
    code = (
        "from src.utils.secrets.children import run_child\n"
        "done = run_child(['sh', '-c', 'printf Word:\\  > /dev/tty; read -r word < /dev/tty; echo $word'],"
        " seconds=20, may_ask=True)\n"
        "assert done.output == 'swordfish\\n', done\n"
    )
    terminal = Terminal([sys.executable, "-c", code], environ=dict(os.environ), cwd=str(PROJECT))
    terminal.answer("Word: ", "swordfish" + ENTER)
    assert terminal.finish() == 0


def test_what_it_printed_is_not_in_its_representation() -> None:
    assert "canary" not in repr(shell("echo canary; echo canary >&2"))


def test_what_it_has_left_behind_is_not_waited_for() -> None:
    started = time.monotonic()
    done = shell("sleep 30 & echo done")
    assert (done.code, done.output) == (0, "done\n")
    assert time.monotonic() - started < 10


def test_one_that_closes_its_output_and_goes_on_is_waited_for() -> None:
    assert shell("exec >&- 2>&-; sleep 1; exit 3").code == 3
