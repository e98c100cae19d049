"""The library together with pydantic-settings, Django and Flask, as docs/library.md shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from src.utils.secrets import SecretsManager
from src.utils.secrets.integrations.pydantic_settings import SecretsManagerSettingsSource
from src.utils.secrets.settings import Settings
from tests.conftest import PROJECT

MANAGER = SecretsManager(
    settings=Settings(
        {
            "APP_TOKEN": "token-value",
            "APP_PORTS": "[1, 2]",
            "OTHER": "other",
            "APP_NESTED__HOST": "camera",
            "SSL_CERT_FILE": "/not/there",
        }
    )
)


class Nested(BaseModel):
    host: str


class Model(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

    token: SecretStr
    ports: list[int] = []
    nested: Nested | None = None
    renamed: str = Field("default", validation_alias="OTHER")
    missing: str = "default"

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretsManagerSettingsSource(settings_cls, MANAGER)


def test_a_pydantic_model_takes_its_values_from_the_store() -> None:
    model = Model()  # type: ignore[call-arg]
    assert model.token.get_secret_value() == "token-value"
    assert model.ports == [1, 2]
    assert model.nested == Nested(host="camera")
    assert model.renamed == "other"
    assert model.missing == "default"
    assert "token-value" not in repr(model)


def test_arguments_come_first_and_a_missing_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Model(token=SecretStr("given"))  # type: ignore[call-arg]
    assert given.token.get_secret_value() == "given"
    empty = SecretsManager(settings=Settings({}))
    monkeypatch.setattr(sys.modules[__name__], "MANAGER", empty)
    with pytest.raises(ValidationError):
        Model()  # type: ignore[call-arg]


def run(code: str, tmp_path: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "PATH": "", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def recipe(heading: str) -> str:
    """Return the Python block under a heading of docs/library.md."""
    text = (PROJECT / "docs/library.md").read_text().split(f"### {heading}\n", 1)[1]
    return text.split("```python\n", 1)[1].split("```", 1)[0]


def test_the_django_recipe_works(tmp_path: Path) -> None:
    (tmp_path / "mysite_settings.py").write_text(recipe("Django"))
    code = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite_settings'\n"
        "import django; django.setup()\n"
        "from django.core import signing\n"
        "from django.conf import settings\n"
        "old = signing.dumps('x', key='old-key')\n"
        "print(signing.loads(old), settings.SECRET_KEY, settings.DATABASES['default']['PASSWORD'])"
    )
    (tmp_path / "secret_key").write_text("new-key")
    (tmp_path / "secret_key_previous.json").write_text(
        '[{"value": "old-key", "replaced_at": "2020-01-01T00:00:00Z", "valid_until": null}]'
    )
    shown = run(code, tmp_path, SECRET_KEY_FILE=str(tmp_path / "secret_key"), DATABASE_PASSWORD="db")
    assert shown == "x new-key db"


def test_the_flask_recipe_works(tmp_path: Path) -> None:
    (tmp_path / "webapp.py").write_text(recipe("Flask"))
    code = "from webapp import app; print(app.config['SECRET_KEY'], app.test_client().get('/').status_code)"
    assert run(code, tmp_path, SECRET_KEY="key") == "key 404"


def test_importing_the_library_does_not_import_the_integrations() -> None:
    code = "import sys, src.utils.secrets; print([name for name in sys.modules if 'pydantic' in name])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
