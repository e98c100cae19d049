"""What the user sees: every page of every path through the wizard, at 40, 80 and 120 columns.

The pictures are in ``tests/e2e/screens``. After an intended change: ``PROVE=1 UPDATE_SCREENS=1 make test
PYTEST_ARGS=tests/e2e/test_screens.py``, then check `git diff`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.servers.aws import CREDENTIALS, REGION, Aws
from tests.servers.keyvault import KeyVault
from tests.servers.vault import Vault
from tests.support.checkout import make_own_project
from tests.support.forms import pairs
from tests.support.terminal import CTRL_C, DOWN, ENTER, Terminal

SCREENS = Path(__file__).parent / "screens"
WIDTHS = (40, 80, 120)
STRONG = "correct horse $'\" #battery"
CLEAR = "\x15"
KEY = "<the last six characters of the key>"

Step = tuple[str, str]
"""A text that must be on the screen, and the keys to type then."""

STORE, NAME, PASSWORD = "Where do you want to store the secrets", "Name of the first", "Password of the first"
SMS, MAIL = "Do you send SMS", "Do you send e-mail"
KEY_PLACE, WRITE = "Where do you want to save the master key", "Write this now"
VALUES: list[Step] = [(NAME, ENTER), (PASSWORD, ENTER), (SMS, ENTER), (MAIL, ENTER)]
FIRST_RUN: list[Step] = [(STORE, ENTER), *VALUES, (KEY_PLACE, ENTER), (WRITE, ENTER)]
CHANGES = "What do you want to do"

WRONG_ANSWERS: list[Step] = [
    (STORE, "9x" + ENTER),
    (NAME, CLEAR + ENTER),
    ("This cannot be empty", "somebody" + ENTER),
    (PASSWORD, DOWN + ENTER),
    (r"\(ADMIN_PASSWORD\)", "short" + ENTER),
    ("use at least 12", CLEAR + STRONG + ENTER),
    ("Repeat it", "another" + ENTER),
    ("The two entries do not match", CLEAR + STRONG + ENTER),
    (SMS, "q"),
    (SMS, "y"),
    (r"\(TWILIO_SID\)", ENTER),
    ("This cannot be empty", "sid" + ENTER),
    ("Repeat it", "sid" + ENTER),
    (r"\(TWILIO_TOKEN\)", "token" + ENTER),
    ("Repeat it", "token" + ENTER),
    (MAIL, ENTER),
    (KEY_PLACE, "3" + ENTER),
    ("Path of the key file", "master.key" + ENTER),
    ("may not be in", CLEAR + "~/keys/master.key" + ENTER),
    (WRITE, "2" + ENTER),
    ("Which answer do you want to change", "2" + ENTER),
    (NAME, CLEAR + "admin" + ENTER),
    (WRITE, ENTER),
]
LOCAL_PATHS: dict[str, list[Step]] = {
    "file": FIRST_RUN,
    "file, key shown": [
        *FIRST_RUN[:-2],
        (KEY_PLACE, "4" + ENTER),
        ("Have you stored it", "y"),
        ("The last 6 characters", "wrong" + ENTER),
        ("These are not the last 6 characters", CLEAR + KEY + ENTER),
        (WRITE, ENTER),
    ],
    "environment": [(STORE, "5" + ENTER), *VALUES, (WRITE, ENTER)],
    "wrong answers": WRONG_ANSWERS,
}
SECOND_RUN: list[Step] = [
    (STORE, ENTER),
    (CHANGES, "2" + ENTER),
    (SMS, ENTER),
    (MAIL, "y"),
    (r"\(SMTP_PASSWORD\)", "mail-secret" + ENTER),
    ("Repeat it", "mail-secret" + ENTER),
    (CHANGES, "4" + ENTER),
    ("Which secret do you want to regenerate", "2" + ENTER),
    (CHANGES, ENTER),
    (WRITE, ENTER),
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The tools' own project: a person in its folder sees the shortest commands."""
    return make_own_project(tmp_path / "a project", tmp_path / "home")


class Session:
    """One run of the wizard, with a picture of each page."""

    def __init__(self, project: Project, columns: int, environ: Mapping[str, str] | None = None) -> None:
        self.project = project
        self.pages: list[str] = []
        self.terminal = Terminal(
            project.script("setup_secrets.py"),
            environ=project.environ(environ),
            cwd=str(project.directory),
            columns=columns,
        )

    def play(self, steps: Sequence[Step]) -> None:
        """Type the keys of each step at its question."""
        for pattern, keys in steps:
            # On a narrow screen, a line can break anywhere.
            self.terminal.wait_for(r"\s*".join(re.findall(r"\\.|[^ ]", pattern)))
            self.terminal.settle()
            self._take_picture()
            self.terminal.process.send(keys.replace(KEY, (self.shown_key() or "")[-6:]))

    def finish(self) -> int:
        """The last page, and the exit code."""
        code = self.terminal.finish()
        self._take_picture()
        return code

    def shown_key(self) -> str | None:
        """A master key that was shown."""
        match = re.search(r"(?<![\w-])([A-Za-z0-9_-]{43}=)", re.sub(r"\n", "", self.terminal.text))
        return match[1] if match else None

    def picture(self, masked: Sequence[str] = ()) -> str:
        """Return all pages, with placeholders for what differs between runs."""
        text = "".join(f"----- {number}\n{page}\n" for number, page in enumerate(self.pages, 1))
        key = self.shown_key()
        shown = re.search(r"\(ADMIN_PASSWORD\):\s+([\w-]{24})", self.terminal.text)
        for value in [*masked, *([key] if key else []), *([shown[1]] if shown else [])]:
            text = re.sub(r"\s*".join(map(re.escape, value)), lambda found: re.sub(r"\S", "x", found[0]), text)
        return text

    def _take_picture(self) -> None:
        self.pages.append("\n".join(self.terminal.lines))


def compare(session: Session, name: str, columns: int, masked: Sequence[str] = ()) -> None:
    path = SCREENS / f"{name.replace(', ', '-').replace(' ', '-')}-{columns}.txt"
    picture = session.picture(masked)
    assert max(map(len, picture.splitlines())) <= columns
    if os.environ.get("UPDATE_SCREENS"):
        SCREENS.mkdir(exist_ok=True)
        path.write_text(picture)
    assert picture == path.read_text()


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", LOCAL_PATHS)
def test_the_pages_of_a_first_run_match_the_stored_ones(project: Project, name: str, columns: int) -> None:
    session = Session(project, columns)
    session.play(LOCAL_PATHS[name])
    assert session.finish() == 0
    compare(session, name, columns)


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_pages_of_a_second_run_match_the_stored_ones(project: Project, columns: int) -> None:
    project.set_up()
    session = Session(project, columns)
    session.play(SECOND_RUN)
    assert session.finish() == 0
    compare(session, "second run", columns)


@pairs("columns", "question")
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("question", range(len(FIRST_RUN)), ids=[pattern for pattern, _ in FIRST_RUN])
def test_the_pages_after_leaving_match_the_stored_ones(project: Project, question: int, columns: int) -> None:
    session = Session(project, columns)
    session.play([*FIRST_RUN[:question], (FIRST_RUN[question][0], CTRL_C)])
    assert session.finish() == 130
    session.pages = session.pages[-1:]
    compare(session, f"left at {question + 1}", columns)


def leave_at_each(start: Callable[[], Session], steps: Sequence[Step], *, first: int = 0) -> None:
    """Quit at each question in turn, from number ``first`` on; nothing may have changed."""
    for number in range(first, len(steps)):
        session = start()
        before = session.project.state()
        session.play([*steps[:number], (steps[number][0], CTRL_C)])
        assert session.finish() == 130
        assert "Interrupted. Nothing was changed." in session.pages[-1]
        assert session.project.state() == before


def test_leaving_at_any_question_about_the_key_changes_nothing(project: Project) -> None:
    steps = LOCAL_PATHS["file, key shown"]
    asked = steps[: [pattern for pattern, _ in steps].index("The last 6 characters") + 1]
    leave_at_each(lambda: Session(project, 80), asked, first=len(VALUES) + 2)


def test_leaving_at_any_question_of_a_second_run_changes_nothing(project: Project) -> None:
    project.set_up()
    leave_at_each(lambda: Session(project, 80), SECOND_RUN)


# --- The cloud stores ------------------------------------------------------------------------------------------------


def _aws(request: pytest.FixtureRequest) -> tuple[list[Step], dict[str, str], str]:
    server: Aws = request.getfixturevalue("aws")
    steps = [
        (STORE, "2" + ENTER),
        ("AWS region", CLEAR + "nowhere" + ENTER),
        ("A region looks like", CLEAR + REGION + ENTER),
        ("Name of the secret", ENTER),
    ]
    return steps, {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}, server.url.rpartition(":")[2]


def _vault(request: pytest.FixtureRequest) -> tuple[list[Step], dict[str, str], str]:
    server: Vault = request.getfixturevalue("vault")
    steps = [
        (STORE, "3" + ENTER),
        ("Address of Vault", CLEAR + server.url + ENTER),
        ("How do you sign in", ENTER),
        ("Token", "wrong" + ENTER),
        ("Keep it", "n"),
        ("Secrets engine", ENTER),
        ("Path in it", ENTER),
        ("What next", "2" + ENTER),
        ("Address of Vault", ENTER),
        ("Namespace", ENTER),
        ("How do you sign in", ENTER),
        ("Token", server.token + ENTER),
        ("Keep it", "y"),
        ("Secrets engine", ENTER),
        ("Path in it", ENTER),
    ]
    return steps, {}, server.url.rpartition(":")[2]


def _azure(request: pytest.FixtureRequest) -> tuple[list[Step], dict[str, str], str]:
    server: KeyVault = request.getfixturevalue("keyvault")
    environ = server.environ()
    url = environ.pop("AZURE_KEYVAULT_URL")
    del environ["SECRETS_BACKEND"]
    steps = [
        (STORE, "4" + ENTER),
        ("Address of the key vault", "my vault" + ENTER),
        ("has this form", CLEAR + url + ENTER),
    ]
    return steps, environ, url.rpartition(":")[2]


PREPARE: dict[str, Callable[[pytest.FixtureRequest], tuple[list[Step], dict[str, str], str]]] = {
    "aws": _aws,
    "vault": _vault,
    "azure": _azure,
}


@pairs("columns", "name")
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", PREPARE)
def test_the_pages_for_a_cloud_store_match_the_stored_ones(
    request: pytest.FixtureRequest, project: Project, name: str, columns: int
) -> None:
    steps, environ, port = PREPARE[name](request)
    session = Session(project, columns, environ)
    session.play([*steps, *VALUES, (WRITE, ENTER)])
    assert session.finish() == 0, session.terminal.text
    compare(session, name, columns, [f":{port}"])


@pytest.mark.parametrize("name", PREPARE)
def test_leaving_at_any_question_about_a_cloud_store_changes_nothing(
    request: pytest.FixtureRequest, project: Project, name: str
) -> None:
    steps, environ, _ = PREPARE[name](request)
    asked = steps[: 1 + next((number for number, step in enumerate(steps) if step[0] == "What next"), len(steps))]
    leave_at_each(lambda: Session(project, 80, environ), asked, first=1)
    session = Session(project, 80, environ)
    session.play([*steps, (VALUES[0][0], CTRL_C)])
    assert session.finish() == 130
    assert "No secrets are set up here" in project.run("manage_secrets.py", "status", environ=environ).stderr
