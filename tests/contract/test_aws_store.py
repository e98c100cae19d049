"""AWS Secrets Manager keeps the contract."""

from __future__ import annotations

import pytest

from tests.servers.aws import Aws

from .contract import StoreContract
from .stores import AwsStore


class TestAwsStore(StoreContract):
    @pytest.fixture
    def store(self, aws_server: Aws) -> AwsStore:
        return AwsStore(aws_server)
