"""From the environment to a running server."""

from __future__ import annotations

import logging
import os
import signal
import sys

import uvicorn
from dotenv import dotenv_values

from src.utils.secrets import SecretNotFoundError, SecretsError, get_secrets_manager, redaction
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.command import Spelling, here, program, set_up, spell, spell_for
from src.utils.secrets.settings import PROJECT_DIRECTORY, merge_dotenv

from . import connections
from .examples import check_for_examples
from .hardening import forbid_dumps, raise_file_limit
from .log_limit import LogLimit
from .server import Shell
from .settings import AppSettings

DOTENV_FILES = (".env.production", ".env")
SDK_PREFIXES = ("AWS_", "AZURE_", "REQUESTS_CA_BUNDLE")
SHUTDOWN_SECONDS = 10


def start(project_directory: str) -> int:
    """Run until SIGTERM or Ctrl-C; returns the exit code.

    Args:
        project_directory: Where ``.env.production`` or ``.env`` is looked for.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimit())
    redaction.install()
    forbid_dumps()
    spell_for(Spelling(here=here()))
    try:
        _read_dotenv(project_directory)
        server = _make_server()
    except SecretsError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        for hint in error.hints:
            print(f"hint: {spell(hint)}", file=sys.stderr)  # noqa: T201
        return 1
    # uvicorn stops at SIGTERM and SIGINT, and then raises the signal again for the handler that was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # the port is taken, for example: uvicorn has logged why
        return 1
    return 0 if server.started else 1


def _make_server() -> uvicorn.Server:
    catalog = load_catalog()
    settings = AppSettings.from_environment()
    spell_for(Spelling(environment=settings.environment, here=here()))
    manager = get_secrets_manager()
    if not manager.validate_required_secrets(catalog.required_names):
        missing = [name for name in catalog.required_names if manager.get_secret(name) is None]
        example, dotenv = (os.path.join(PROJECT_DIRECTORY, name) for name in (".env.example", ".env"))
        raise SecretNotFoundError(
            f"The application cannot start without its secrets: {', '.join(missing)} not set in {manager.describe()}",
            hint=[
                set_up(purpose="Make a set of secrets"),
                program("cp", "-n", example, dotenv, purpose="Or for development, and then fill it in"),
            ],
            names=missing,
        )
    check_for_examples(manager, catalog, settings, os.environ)
    app = Shell(manager, catalog, settings).application()
    room = connections.Room.for_files(raise_file_limit())
    return connections.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=connections.protocol_in(room),
            log_config=None,
            server_header=False,
            proxy_headers=False,  # src/app/peers.py reads them
            **connections.options(),
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


def _read_dotenv(directory: str) -> None:
    for name in DOTENV_FILES:
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            os.environ.update(merge_dotenv(os.environ, dotenv_values(path, interpolate=False)))
            break
    # An empty variable counts as not set, for the SDKs of the cloud stores, too: Compose cannot leave one out.
    for name in [name for name, value in os.environ.items() if name.startswith(SDK_PREFIXES) and not value]:
        del os.environ[name]
