"""One deployment: where its files are, and what its settings say."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.catalog import DEFAULT_PATH, Catalog, load_catalog
from src.utils.secrets.command import Spelling, here, manage
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import (
    PRODUCTION,
    SecretsBackend,
    Settings,
    absent_path,
    is_environment_name,
    merge_dotenv,
    with_vault_names,
)

from .dotenv import expand_variables, read_dotenv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.catalog import SecretSpec


class NotSetUpError(ConfigurationError):
    """Nothing says which store to use."""


def is_environment_file(path: str) -> bool:
    """Whether a dotenv file belongs to an environment, by its name."""
    prefix, name = os.path.basename(path)[:5], os.path.basename(path)[5:]
    return prefix == ".env." and is_environment_name(name)


def find_environment_files(project_directory: str) -> dict[str, str]:
    """The settings file of each environment of a project, by the environment's name, in the order of the names."""
    paths = sorted(glob.glob(os.path.join(glob.escape(project_directory), ".env.*")))
    return {os.path.basename(path)[5:]: path for path in paths if is_environment_file(path)}


@dataclass(frozen=True)
class Deployment:
    """The files of one environment of one project.

    Attributes:
        project_directory: What every relative path starts from.
        environment: ``production``, or the name of one beside it.
        catalog: Its secrets.
        settings_file: Its dotenv file of settings (``.env.production``), ``--env-file`` where that was given.
        environ: The variables of the process.
        answers: Settings that a person gave just now; they outrank everything.
    """

    project_directory: str
    environment: str
    catalog: Catalog
    settings_file: str
    environ: Mapping[str, str] = field(repr=False)
    answers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def locate(
        cls,
        *,
        project_directory: str,
        environment: str = PRODUCTION,
        catalog: str | None = None,
        env_file: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Deployment:
        """The deployment that the command line names.

        Raises:
            ConfigurationError: The environment's name cannot be used, or ``env_file`` is missing.
            CatalogError: The catalogue cannot be used.
        """
        if not is_environment_name(environment):
            raise ConfigurationError(
                "--environment: what was given cannot be the name of an environment",
                hint="Use up to 21 of a-z, 0-9 and -, starting with a letter; 'example' is taken",
            )
        directory = os.path.abspath(project_directory)
        if not os.path.isdir(directory):
            raise ConfigurationError(
                f"--project-directory names no folder: {absent_path(directory)}",
                hint="Name the folder of the project: --project-directory DIR",
            )
        if env_file is not None and not os.path.isfile(env_file):
            raise ConfigurationError(
                f"--env-file names no file: {absent_path(env_file)}",
                hint="Leave it out, or name the settings file: --env-file FILE",
            )
        return cls(
            project_directory=directory,
            environment=environment,
            catalog=load_catalog(catalog or os.path.join(directory, DEFAULT_PATH)),
            settings_file=os.path.abspath(env_file) if env_file else os.path.join(directory, f".env.{environment}"),
            environ=with_vault_names(os.environ if environ is None else environ),
        )

    @property
    def is_production(self) -> bool:
        """Whether this is the deployment with the plain names."""
        return self.environment == PRODUCTION

    @property
    def usual_settings_file(self) -> str:
        """Where its settings are, unless ``--env-file`` was given."""
        return os.path.join(self.project_directory, f".env.{self.environment}")

    @property
    def compose_file(self) -> str:
        """The dotenv file with Compose's settings, and with the secrets of the environment store."""
        return os.path.join(self.project_directory, ".env" if self.is_production else f".env.{self.environment}")

    @property
    def default_secrets_file(self) -> str:
        """The encrypted file, relative to the project."""
        return SecretsBackend.FILE.default_place(self.environment)

    @property
    def default_key_file(self) -> str:
        """Where the wizard puts the master key."""
        return os.path.join(self._private_directory, f"{'master' if self.is_production else self.environment}.key")

    def default_credential_file(self, name: str) -> str:
        """Where the wizard puts a credential for a store on a server."""
        return os.path.join(self._private_directory, name if self.is_production else f"{self.environment}.{name}")

    @property
    def _private_directory(self) -> str:
        return self._own_directory("XDG_CONFIG_HOME", ".config", "/etc")

    @property
    def state_directory(self) -> str:
        """Where the audit trail and the journals are, outside of the project."""
        return self._own_directory("XDG_STATE_HOME", os.path.join(".local", "state"), "/var/lib")

    @property
    def backup_directory(self) -> str:
        """Where backups go when nobody says where: outside of the project."""
        return os.path.join(self.state_directory, "backups")

    @property
    def docker_directory(self) -> str:
        """Where the Docker secrets of this deployment are."""
        lines = read_dotenv(self.compose_file)
        said = lines.get("SECRETS_DIR") or self.default_docker_directory
        expanded = expand_variables(said, {**lines, **self.environ})
        return os.path.join(self.project_directory, os.path.expanduser(expanded))

    @property
    def spelling(self) -> Spelling:
        """How commands for this deployment are typed from where the person is."""
        return self.spelling_from(here())

    def spelling_from(self, folder: str) -> Spelling:
        """How commands for this deployment are typed in ``folder``."""
        own_catalog = os.path.join(self.project_directory, DEFAULT_PATH)
        return Spelling(
            environment=self.environment,
            project_directory=self.project_directory,
            env_file=None if self.settings_file == self.usual_settings_file else self.settings_file,
            catalog=None if self.catalog.path == own_catalog else self.catalog.path,
            here=folder,
        )

    @property
    def default_docker_directory(self) -> str:
        """Where the Docker secrets go, relative to the project."""
        return "secrets" if self.is_production else f"secrets/{self.environment}"

    @property
    def compose_project_name(self) -> str:
        """Keeps this environment's containers and volumes apart from the others'."""
        return self.catalog.slug if self.is_production else f"{self.catalog.slug}-{self.environment}"

    def find_secret(self, name: str) -> SecretSpec:
        """The secret called ``name``.

        Raises:
            ConfigurationError: The catalogue has none; the hint suggests one that is written alike.
        """
        spec = self.catalog.find(name)
        if spec is not None:
            return spec
        import difflib

        known, separator, _value = name.partition("=")
        if separator:
            raise ConfigurationError(
                "A name has no = in it, and a value is never an argument: it may be in the shell's history now",
                hint=[
                    f"Give the name alone: {known}",
                    manage("rotate", known, purpose="If that was a secret, rotate it"),
                ]
                if known in self.catalog.names
                else "Give the name alone",
            )
        similar = self.catalog.find_similar(name)
        alike = [similar.name] if similar else difflib.get_close_matches(name.upper(), self.catalog.names, n=1)
        raise ConfigurationError(
            f"No secret of that name is in {self.shown(self.catalog.path)}",
            hint=f"Did you mean {alike[0]}?" if alike else f"Known names: {', '.join(self.catalog.names)}",
        )

    def variables(self) -> dict[str, str]:
        """The environment, completed with this deployment's dotenv files and with defaults."""
        return self._defaults() | self._configured()

    def is_configured(self, name: str) -> bool:
        """Whether a setting was made by anybody, rather than being a default."""
        return bool(self._configured().get(name))

    def _configured(self) -> dict[str, str]:
        merged = merge_dotenv(self.environ, read_dotenv(self.settings_file))
        if self._backend_name(merged) in (SecretsBackend.ENV.value, *SecretsBackend.ENV.aliases):
            merged = merge_dotenv(merged, read_dotenv(self.compose_file))
        return merged | dict(self.answers)

    def settings(self, backend: SecretsBackend | None = None) -> Settings:
        """The settings, as the run-time library understands them."""
        return Settings(
            self.variables(),
            project_directory=self.project_directory,
            backend=backend,
            names=self.catalog.names,
        )

    @property
    def has_dotenv_secrets(self) -> bool:
        """Whether secrets stand in the dotenv file itself, or in files that it names. What a shell has set is none."""
        lines = read_dotenv(self.compose_file)
        return any(lines.get(name) or lines.get(f"{name}_FILE") for name in self.catalog.names)

    def shown(self, path: str) -> str:
        """``path`` as people write it: relative inside the project, with ``~`` inside the home folder."""
        relative = os.path.relpath(path, self.project_directory)
        if not relative.startswith(".."):
            return relative
        home = self._home()
        return "~" + path[len(home) :] if path.startswith(home + os.sep) else path

    def _own_directory(self, setting: str, in_home: str, for_root: str) -> str:
        """A folder for this application, outside of the project.

        Where the home folder is none (a service's may be missing, ``/`` or the project itself), it is in systemd's
        state directory (``StateDirectory=``), or where root keeps such things. Others have only the project left,
        where no master key may be: see :func:`src.ops.setup.master_key.check_key_path`.
        """
        base, home = self.environ.get(setting), self._home()
        if not base and not self._is_home_usable(home):
            base = self.environ.get("STATE_DIRECTORY", "").partition(":")[0]
            base = base or (for_root if os.geteuid() == 0 else os.path.join(self.project_directory, in_home))
        return os.path.join(base or os.path.join(home, in_home), self.catalog.slug)

    def _is_home_usable(self, home: str) -> bool:
        real, project = os.path.realpath(home), os.path.realpath(self.project_directory)
        return real != "/" and os.path.isdir(real) and not f"{real}/".startswith(f"{project}/")

    def _home(self) -> str:
        return self.environ.get("HOME") or os.path.expanduser("~")

    def _defaults(self) -> dict[str, str]:
        stores = [backend for backend in SecretsBackend if backend.place_setting]
        return {backend.place_setting: backend.default_place(self.environment) for backend in stores}

    @staticmethod
    def _backend_name(variables: Mapping[str, str]) -> str:
        return (variables.get("SECRETS_BACKEND") or SecretsBackend.ENV.value).strip().lower()
