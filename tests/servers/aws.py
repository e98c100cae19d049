"""AWS Secrets Manager: moto's server, over HTTP."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.session import Session

from .ports import free_port
from .process import running

REGION = "eu-central-1"


@dataclass(frozen=True)
class Aws:
    """A running server.

    Attributes:
        url: Its address.
    """

    url: str

    def environ(self, secret_id: str = "cctv-face-detection") -> dict[str, str]:
        """Return the settings to use it; the credentials are for botocore, which reads the process's environment."""
        return {
            "SECRETS_BACKEND": "aws_secrets_manager",
            "SECRETS_AWS_SECRET_ID": secret_id,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            **CREDENTIALS,
        }

    def clear(self) -> None:
        """Remove every secret, also deleted ones."""
        client = self.client()
        for secret in client.list_secrets(IncludePlannedDeletion=True)["SecretList"]:
            client.delete_secret(SecretId=secret["Name"], ForceDeleteWithoutRecovery=True)

    def client(self, service: str = "secretsmanager") -> Any:
        """Return the SDK's client, for access without the project's code."""
        return _client(self.url, service)


@functools.cache
def _client(url: str, service: str) -> Any:
    session = Session()
    session.set_credentials("testing", "testing")
    return session.create_client(service, region_name=REGION, endpoint_url=url)


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextmanager
def running_aws(**environ: str) -> Iterator[Aws]:
    """Start a server, with additional variables: https://docs.getmoto.org/en/latest/docs/configuration/index.html"""
    port = free_port()
    with running(command(port), port, environ=os.environ | environ):
        yield Aws(f"http://127.0.0.1:{port}")


def command(port: int) -> list[str]:
    """Return the command line of a server."""
    return [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-p", str(port)]
