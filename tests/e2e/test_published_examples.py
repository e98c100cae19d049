"""Published example values: input refuses them, and a public server does not start with them."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import make_plan
from src.utils.secrets.catalog import load_catalog
from tests.conftest import Project
from tests.support.app import running_app
from tests.support.terminal import ENTER, Terminal

CATALOG = load_catalog()
EXAMPLE = "your-jwt-secret-key-here"
GENERATED = [spec.name for spec in CATALOG.secrets if spec.generated]
REST_OF_AN_EXAMPLE_FILE = "SMTP_SERVER=smtp.gmail.com\nTWILIO_FROM_NUMBER=+1234567890\n"


@pytest.mark.parametrize("name", GENERATED)
def test_an_import_with_a_published_example_is_refused_and_names_it(name: str, project: Project) -> None:
    before = project.state()
    text = f"{name}={EXAMPLE}\n{REST_OF_AN_EXAMPLE_FILE}"
    done = project.run("setup_secrets.py", "--non-interactive", "--import", "-", standard_input=text)
    assert done.returncode == 1
    assert f"{name} in standard input is a published example" in done.stderr
    assert EXAMPLE not in done.stdout + done.stderr
    assert project.state() == before


def test_an_import_with_several_examples_names_them_all(project: Project) -> None:
    text = "".join(f"{name}=change-me\n" for name in GENERATED)
    done = project.run("setup_secrets.py", "--non-interactive", "--import", "-", standard_input=text)
    assert done.returncode == 1
    assert f"{', '.join(GENERATED)} in standard input are published examples" in done.stderr


@pytest.mark.parametrize("name", GENERATED)
def test_a_file_with_an_example_is_refused(name: str, project: Project) -> None:
    (project.directory / "value").write_text("changeme\n")
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive", "--set-file", f"{name}=value")
    assert done.returncode == 1
    assert "published example" in done.stderr
    assert "changeme" not in done.stdout + done.stderr
    assert project.state() == before


@pytest.mark.parametrize("command", [["set", "JWT_SECRET_KEY", "--file", "-"], ["set", "JWT_SECRET_KEY"]])
def test_set_refuses_an_example(command: list[str], project: Project) -> None:
    project.set_up()
    before = project.state()
    done = project.run("manage_secrets.py", *command, standard_input="changeme\n")
    assert done.returncode == 1
    assert "published example" in done.stderr
    assert "changeme" not in done.stdout + done.stderr
    assert project.state() == before


def test_a_typed_example_is_refused_at_the_prompt(project: Project) -> None:
    project.set_up()
    terminal = Terminal(
        project.script("manage_secrets.py", "set", "JWT_SECRET_KEY"),
        environ=project.environ(),
        cwd=str(project.directory),
    )
    terminal.answer("JWT_SECRET_KEY", "changeme" + ENTER)
    terminal.answer("once more|Repeat", "changeme" + ENTER)
    assert terminal.finish() == 1
    assert "published example" in terminal.text


def test_a_name_is_taken_and_an_example_that_nobody_needs_is_left_out_and_named(project: Project) -> None:
    done = project.set_up("--import", "-", standard_input="ADMIN_USERNAME=root\nSMTP_PASSWORD=password\n")
    assert "Left out, since they look like published examples: SMTP_PASSWORD" in done.stdout
    assert "SMTP_PASSWORD" not in project.values()
    assert project.values()["ADMIN_USERNAME"] == "root"


def test_a_stored_example_is_reported_everywhere(project: Project) -> None:
    """Store a value as an earlier version of these tools, or another program, stored it."""
    import json

    from cryptography.fernet import Fernet

    project.set_up()
    content = project.decrypt()
    content["secrets"]["JWT_SECRET_KEY"] = EXAMPLE  # type: ignore[index]
    project.secrets_file.chmod(0o600)
    fernet = Fernet(project.key_file.read_text().strip())
    project.secrets_file.write_bytes(fernet.encrypt(json.dumps(content).encode()))
    written = project.run("generate_docker_secrets.sh")
    assert written.returncode == 0
    assert "warning: JWT_SECRET_KEY is a published example" in written.stderr
    assert (
        "warning: JWT_SECRET_KEY is a published example" in project.run("generate_docker_secrets.sh", "--check").stderr
    )
    found = project.run("manage_secrets.py", "doctor", "--offline", "--only", "docker-files-example")
    assert found.returncode == 1
    assert "secrets/jwt_secret_key.txt holds a published example" in found.stdout
    assert project.run("manage_secrets.py", "rotate", "JWT_SECRET_KEY", "--yes").returncode == 0
    assert project.values()["JWT_SECRET_KEY"] != EXAMPLE


# --- The application's start -----------------------------------------------------------------------------------------


@pytest.fixture
def values() -> dict[str, str]:
    """A complete set of secrets, for a server that listens on every address."""
    return make_plan(CATALOG, {}, GivenValues()).values() | {"APP_HOST": "0.0.0.0"}


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET_KEY", "WEBHOOK_SECRET", "ADMIN_PASSWORD"])
def test_a_public_server_does_not_start_with_an_example_key(name: str, values: dict[str, str], tmp_path: Path) -> None:
    with running_app(values | {name: EXAMPLE}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
        assert f"The application does not start: {name} is a published example" in app.log()
        assert f"rotate {name}" in app.log()
        assert EXAMPLE not in app.log()


def test_a_server_with_a_database_does_not_start_with_an_example_key(values: dict[str, str], tmp_path: Path) -> None:
    environ = values | {"SECRET_KEY": EXAMPLE, "APP_HOST": "127.0.0.1", "DATABASE_HOST": "127.0.0.1"}
    with running_app(environ, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"SECRET_KEY": EXAMPLE, "APP_HOST": "127.0.0.1"},
        {"SECRET_KEY": EXAMPLE, "APP_HOST": "localhost"},
        {"SECRET_KEY": EXAMPLE, "SECRETS_ALLOW_WEAK": "1"},
        {"ENCRYPTION_KEY": EXAMPLE},
        {"DATABASE_PASSWORD": EXAMPLE},
    ],
    ids=["on this machine", "by its name", "when told so", "a key of data", "another server's password"],
)
def test_a_development_server_starts_and_warns(changed: dict[str, str], values: dict[str, str], tmp_path: Path) -> None:
    with running_app(values | changed, tmp_path) as app:
        assert app.get("/health").status_code == 200
        assert "is a published example that everybody can know" in app.log()
        assert EXAMPLE not in app.log()


def test_a_previous_key_that_is_an_example_is_not_accepted(values: dict[str, str], tmp_path: Path) -> None:
    previous = tmp_path / "jwt_secret_key_previous.json"
    entry = '{"value": "%s", "replaced_at": "2026-01-01T00:00:00Z", "valid_until": null}'
    environ = dict(values)
    current = tmp_path / "jwt_secret_key"
    current.write_text(environ.pop("JWT_SECRET_KEY"))
    environ["JWT_SECRET_KEY_FILE"] = str(current)
    answers = []
    for earlier in ("a-former-key-4711-kept-for-an-hour", f"{EXAMPLE}-change-this"):
        previous.write_text(f"[{entry % earlier}]")
        with running_app(environ, tmp_path) as app:
            app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
            ours = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
            token = jwt.encode(jwt.decode(ours, options={"verify_signature": False}), earlier, algorithm="HS256")
            app.client.cookies.clear()
            answers.append(app.get("/me", Authorization=f"Bearer {token}").status_code)
    assert answers == [200, 401]
