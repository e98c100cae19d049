"""A deployment of the original system, in the shapes that it has; every value is made for the tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

MASTER_KEY = """a"b#c$d'e,f;g h{i}|j<k>l`m~n!o%p^q&r*s(t)u_v+w=x\\y/z?A.B:C@D0123"""
DATABASE_PASSWORD = "kV9/rT2@wQ7+zL4x"
REDIS_PASSWORD = "rd-Z8mW3nB6vC1kJ5hG0"
STRONG = {
    "SECRET_KEY": "Yw7mN2pQ9sT4vX1zB6dF3gH8jK5lM0nR",  # pragma: allowlist secret
    "JWT_SECRET_KEY": "c4R8tY2uI6oP0aS5dF9gH3jK7lZ1xC4v",  # pragma: allowlist secret
    "ENCRYPTION_KEY": "9qW3eR7tY1uI5oP2aS6dF0gH4jK8lZ3x",  # pragma: allowlist secret
}
COMPOSE = """\
services:
  postgres:
    image: {postgres}
    restart: always
    environment:
      POSTGRES_DB: ${{POSTGRES_DB}}
      POSTGRES_USER: ${{POSTGRES_USER}}
      POSTGRES_PASSWORD: ${{POSTGRES_PASSWORD}}
    volumes: [postgres_data:/var/lib/postgresql/data]
  redis:
    image: {redis}
    command: redis-server --appendonly yes --requirepass ${{REDIS_PASSWORD}}
    volumes: [redis_data:/data]
  api:
    image: {redis}
    entrypoint: [sleep, infinity]
    stop_signal: SIGKILL
    environment:
      DATABASE_URL: postgresql://${{POSTGRES_USER}}:${{POSTGRES_PASSWORD}}@postgres:5432/${{POSTGRES_DB}}
      REDIS_URL: redis://:${{REDIS_PASSWORD}}@redis:6379/0
      SECRET_KEY: ${{SECRET_KEY}}
      ENCRYPTION_KEY: ${{ENCRYPTION_KEY}}
      JWT_SECRET: ${{JWT_SECRET}}
      ALLOWED_HOSTS: localhost
volumes:
  postgres_data:
  redis_data:
"""
CONFIG = """\
database:
  host: postgres
  name: faces
  user: faces_app
  password: {database}
redis:
  password: {redis}
cameras:
  sources:
    - name: Door
      url: rtsp://viewer:{camera}@10.0.0.9/stream1
      location: Entrance
      active: true
alerting:
  email:
    smtp_server: mail.example.org
    username: alerts
    password: {smtp}
    recipients: [a@example.org]
  webhook:
    url: https://hooks.example.org/services/abc
    headers:
      Authorization: Bearer {bearer}
api:
  authentication:
    secret_key: ${{SECRET_KEY}}
"""
CONFIGURED = {
    "database": DATABASE_PASSWORD,
    "redis": REDIS_PASSWORD,
    "camera": "cam-7Hq2Lw9Zx4",
    "smtp": "mjYk-44Rt-09Lw-xPq8",
    "bearer": "bt_5fG8hJ2kL6zX9cV",
}


def encrypt(values: Mapping[str, str], master_key: str = MASTER_KEY) -> bytes:
    """What the original's set-up writes."""
    derived = PBKDF2HMAC(SHA256(), 32, b"cctv_face_detection_salt", 480_000).derive(master_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived)).encrypt(json.dumps(dict(values)).encode())


@dataclass
class OriginalFolder:
    """The folder of an original deployment.

    Attributes:
        folder: The folder.
        dotenv: Lines of its ``.env``, by name.
    """

    folder: Path
    dotenv: dict[str, str] = field(default_factory=dict)

    def write_dotenv(self, **values: str) -> None:
        """Write ``.env``, with more lines than before."""
        self.dotenv |= values
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.dotenv.items()))

    def write_encrypted(self, values: Mapping[str, str], master_key: str = MASTER_KEY) -> None:
        """Write the encrypted file and its settings."""
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        (self.folder / "config/secrets.enc").write_bytes(encrypt(values))
        lines = f"SECRETS_BACKEND=file\nSECRETS_FILE_PATH=config/secrets.enc\nSECRETS_MASTER_KEY={master_key}\n"
        (self.folder / ".env.production").write_text(lines)

    def write_config(self, **values: str) -> None:
        """Write ``config/config.yaml``."""
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        (self.folder / "config/config.yaml").write_text(CONFIG.format(**CONFIGURED | values))

    def write_docker_file(self, name: str, value: str) -> None:
        """Write one of the files for Docker."""
        (self.folder / "secrets").mkdir(parents=True, exist_ok=True)
        (self.folder / "secrets" / name).write_text(f"{value}\n")

    def write_compose(self, postgres: str, redis: str) -> None:
        """Write the Compose file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "docker-compose.prod.yml").write_text(COMPOSE.format(postgres=postgres, redis=redis))

    def state(self) -> dict[str, bytes]:
        """Every file and what it holds."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }
