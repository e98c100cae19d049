"""Going back, changing an answer in the review, and plain questions."""

from __future__ import annotations

import re
import stat

import pytest
from dotenv import dotenv_values

from src.ops.terminal.prompts import PLAIN_SETTING
from tests.conftest import Project
from tests.support.terminal import CTRL_C, CTRL_D, DOWN, ENTER, Terminal
from tests.support.wizard import FIRST_RUN, store_shown_key, wizard

ESC = "\x1b"
STRONG = "correct horse $'\" #battery"


@pytest.mark.parametrize("question", range(1, len(FIRST_RUN)), ids=FIRST_RUN[1:])
def test_esc_goes_back_to_the_previous_question_and_the_dialogue_continues(project: Project, question: int) -> None:
    terminal = wizard(project)
    for text in FIRST_RUN[:question]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[question], ESC)
    for text in FIRST_RUN[question - 1 :]:
        terminal.answer(text)
    assert terminal.finish() == 0, terminal.text
    assert len(project.values()) == 8


def test_esc_at_the_first_question_asks_it_again(project: Project) -> None:
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0], ESC)
    for text in FIRST_RUN:
        terminal.answer(text)
    assert terminal.finish() == 0


def test_going_back_suggests_the_answer_that_was_given(project: Project) -> None:
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer(FIRST_RUN[1], "-person" + ENTER)
    terminal.answer(FIRST_RUN[2], DOWN + ENTER)
    terminal.answer(r"\(ADMIN_PASSWORD\)", ESC)
    terminal.answer(FIRST_RUN[2], ESC)
    terminal.answer(FIRST_RUN[1] + ".*admin-person")
    terminal.answer(FIRST_RUN[2])
    for text in FIRST_RUN[3:]:
        terminal.answer(text)
    assert terminal.finish() == 0
    assert project.values()["ADMIN_USERNAME"] == "admin-person"


def test_one_answer_can_be_changed_at_the_review_and_the_others_stay(project: Project) -> None:
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer(FIRST_RUN[1], "-person" + ENTER)
    terminal.answer(FIRST_RUN[2], DOWN + ENTER)
    for _ in range(2):
        terminal.answer(r"\(ADMIN_PASSWORD\)|Repeat it", STRONG + ENTER)
    for text in FIRST_RUN[3:6]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[6], "2" + ENTER)
    terminal.wait_for("Which answer do you want to change")
    assert STRONG not in terminal.text
    terminal.answer("Which answer do you want to change", "5" + ENTER)  # SMS
    terminal.answer(FIRST_RUN[3], "y")
    for name in ("TWILIO_SID", "TWILIO_TOKEN"):
        terminal.answer(rf"\({name}\)", name + ENTER)
        terminal.answer("Repeat it", name + ENTER)
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0, terminal.text
    values = project.values()
    assert (values["ADMIN_USERNAME"], values["ADMIN_PASSWORD"]) == ("admin-person", STRONG)
    assert (values["TWILIO_SID"], values["TWILIO_TOKEN"]) == ("TWILIO_SID", "TWILIO_TOKEN")


def test_another_store_can_be_chosen_at_the_review(project: Project) -> None:
    terminal = wizard(project)
    for text in FIRST_RUN[:6]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[6], "2" + ENTER)
    terminal.answer("Which answer do you want to change", "1" + ENTER)
    terminal.answer(FIRST_RUN[0], "5" + ENTER)
    terminal.wait_for("plain text, readable by you only")
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0, terminal.text
    assert (project.directory / ".env").exists()
    assert not project.secrets_file.exists()


def test_esc_in_the_list_of_answers_goes_back_to_the_review(project: Project) -> None:
    terminal = wizard(project)
    for text in FIRST_RUN[:6]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[6], "2" + ENTER)
    terminal.answer("Which answer do you want to change", ESC)
    terminal.wait_for("Review: nothing is written yet")
    terminal.answer(FIRST_RUN[6], "1" + ENTER)
    assert terminal.finish() == 0, terminal.text
    assert len(project.values()) == 8


def test_a_key_that_was_shown_stays_the_same_after_going_back(project: Project) -> None:
    terminal = wizard(project)
    for text in FIRST_RUN[:5]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[5], "2" + ENTER)
    key = store_shown_key(terminal)
    terminal.answer(FIRST_RUN[6], ESC)
    terminal.answer("The last 6 characters", ESC)
    terminal.answer("Have you stored it", ESC)
    terminal.answer(FIRST_RUN[5])
    assert store_shown_key(terminal) == key
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0, terminal.text
    assert project.key_file.read_text().strip() == key


# --- The summary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["file", "env"])
def test_a_summary_without_secrets_can_be_read_again(project: Project, store: str) -> None:
    done = project.set_up("--backend", store)
    path = project.directory / "config/SETUP.md"
    assert "config/SETUP.md" in done.stdout
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = project.values() if store == "file" else dotenv_values(project.directory / ".env", interpolate=False)
    assert [name for name, value in values.items() if value and len(value) > 8 and value in text] == []
    assert "| `SECRET_KEY` | Signs the session cookie | set |" in text
    assert "| `SMTP_PASSWORD` | Password of your mail server account | not used |" in text
    assert ("config/secrets.enc" in text) == (store == "file")
    before = path.stat().st_mtime_ns
    project.set_up("--backend", store)
    assert path.stat().st_mtime_ns == before


def test_an_unwritable_summary_is_reported_and_is_no_failure(project: Project) -> None:
    (project.directory / "config/SETUP.md").mkdir()
    done = project.set_up()
    assert "The summary was not written" in done.stdout
    assert len(project.values()) == 8


# --- Plain ------------------------------------------------------------------------------------------------------------


def plainly(terminal: Terminal, keys: list[str]) -> None:
    for question, key in zip(FIRST_RUN, keys, strict=True):
        terminal.answer(question, key + "\n")


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["--plain"], {}), ([], {PLAIN_SETTING: "1"}), ([], {"TERM": "dumb"}), ([], {"PYTHONIOENCODING": "latin-1"})],
    ids=["--plain", PLAIN_SETTING, "a terminal that can do nothing", "a terminal without UTF-8"],
)
def test_plain_questions_draw_nothing(project: Project, arguments: list[str], environ: dict[str, str]) -> None:
    terminal = wizard(project, *arguments, environ=environ)
    plainly(terminal, [""] * len(FIRST_RUN))
    assert terminal.finish() == 0, terminal.text
    assert "\x1b" not in terminal.transcript
    assert not re.search(r"[─✓»]", terminal.transcript)
    assert len(project.values()) == 8


def test_plain_answers_are_checked_and_can_be_changed(project: Project) -> None:
    terminal = wizard(project, "--plain")
    terminal.answer(FIRST_RUN[0], "9\n")
    terminal.wait_for("Type a number from 1 to 5")
    terminal.answer("Number", "1\n")
    terminal.answer(FIRST_RUN[1], "somebody\n")
    terminal.answer(FIRST_RUN[2], "<\n")
    terminal.answer(FIRST_RUN[1] + ".*Enter: somebody", "\n")
    terminal.answer(FIRST_RUN[2], "2\n")
    terminal.answer(r"\(ADMIN_PASSWORD\)", "short\n")
    terminal.wait_for("use at least 12")
    terminal.process.send(STRONG + "\n")
    terminal.answer("Repeat it", STRONG + "\n")
    terminal.answer(FIRST_RUN[3], "perhaps\n")
    terminal.wait_for("Type y or n")
    terminal.process.send("n\n")
    for question in FIRST_RUN[4:]:
        terminal.answer(question, "\n")
    assert terminal.finish() == 0, terminal.text
    assert STRONG not in terminal.text
    assert (project.values()["ADMIN_USERNAME"], project.values()["ADMIN_PASSWORD"]) == ("somebody", STRONG)


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["Ctrl-C", "Ctrl-D"])
def test_plain_questions_can_be_left(project: Project, key: str) -> None:
    before = project.state()
    terminal = wizard(project, "--plain")
    terminal.answer(FIRST_RUN[0], "\n")
    terminal.answer(FIRST_RUN[1], key)
    assert terminal.finish() == 130
    assert project.state() == before
