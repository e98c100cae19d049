"""Secrets for the application.

    from src.utils.secrets import get_secret, require_secret

    require_secret("DATABASE_PASSWORD")     # the value, or an error that says what to do
    get_secret("SMTP_PASSWORD")             # the value, or None when it is not set
    get_secret("LOG_LEVEL", "info")         # the value, or a default

Where they come from is the environment's choice (``SECRETS_BACKEND``); the code is the same for every store. A store
that cannot be read raises a :class:`SecretsError` with a ``hint``; it never turns into ``None``.
``get_secret_json`` parses the value; ``get_secrets_manager()`` gives the rest: earlier values, an immediate refresh.
"""

from .errors import SecretNotFoundError, SecretsError
from .manager import SecretsManager, get_secret, get_secret_json, get_secrets_manager, require_secret
from .settings import SecretsBackend

__all__ = [
    "SecretNotFoundError",
    "SecretsBackend",
    "SecretsError",
    "SecretsManager",
    "get_secret",
    "get_secret_json",
    "get_secrets_manager",
    "require_secret",
]
