"""An AWS that checks signatures and IAM policies, which moto's server does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.session import Session

from tests.conftest import need

from .aws import CREDENTIALS, REGION
from .ports import free_port
from .process import running

PROGRAM = os.path.join(os.path.dirname(sys.executable), "..", "ministack", "bin", "ministack")


@dataclass(frozen=True)
class Account:
    """An account with a user for each policy.

    Attributes:
        url: The server's address.
    """

    url: str

    def client(self, service: str) -> Any:
        """Return the SDK's client of an administrator."""
        session = Session()
        session.set_credentials("test", "test")
        return session.create_client(service, region_name=REGION, endpoint_url=self.url)

    def user_with(self, name: str, policy: str) -> dict[str, str]:
        """Make a user with this policy; returns the user's credentials as variables."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            **CREDENTIALS,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }


@contextmanager
def running_account() -> Iterator[Account]:
    """Start a server."""
    need("ministack", os.path.exists(PROGRAM), "make install-dev")
    port = free_port()
    environ = os.environ | {"AUTH": "true", "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"}
    with running([PROGRAM], port, environ=environ):
        yield Account(f"http://127.0.0.1:{port}")
