"""Secrets as a source for pydantic-settings.

    class Settings(BaseSettings):
        database_password: SecretStr

        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, **others):
            return init_settings, SecretsManagerSettingsSource(settings_cls)

Fields, aliases, ``env_prefix`` and ``case_sensitive`` mean what they mean for environment variables.
https://docs.pydantic.dev/latest/concepts/pydantic_settings/#adding-sources
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_settings import EnvSettingsSource

from ..manager import get_secrets_manager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_settings import BaseSettings

    from ..manager import SecretsManager


class SecretsManagerSettingsSource(EnvSettingsSource):
    """Takes a model's values from a :class:`SecretsManager`.

    Args:
        settings_cls: The model.
        manager: Where the secrets come from; the process's one when left out.
        options: Passed on to ``EnvSettingsSource``.

    Raises:
        SecretsError: The store cannot be read.
    """

    def __init__(self, settings_cls: type[BaseSettings], manager: SecretsManager | None = None, **options: Any) -> None:
        self._manager = manager or get_secrets_manager()
        super().__init__(settings_cls, **options)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        fields = self.settings_cls.model_fields.items()
        # A nested model's values begin with its field's name.
        beginnings = tuple(place for name, field in fields for _, place, _ in self._extract_field_info(field, name))
        values = self._manager.snapshot_values(lambda name: self._spell(name).startswith(beginnings))
        return {self._spell(name): value for name, value in values.items()}

    def _spell(self, name: str) -> str:
        return name if self.case_sensitive else name.lower()
