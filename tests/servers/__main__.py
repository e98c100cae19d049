"""Starts a server for each cloud store, prints how to use it, and waits for Ctrl-C."""

from __future__ import annotations

import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from .aws import running_aws
from .keyvault import running_keyvault
from .vault import running_vault


def main() -> None:
    """Run the servers."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_aws() as aws,
        running_vault() as vault,
        running_keyvault(Path(directory)) as keyvault,
    ):
        for title, environ in (
            ("AWS Secrets Manager", aws.environ()),
            ("HashiCorp Vault", vault.environ()),
            ("Azure Key Vault", keyvault.environ()),
        ):
            settings = " ".join(f"{name}={value}" for name, value in environ.items() if name != "SECRETS_BACKEND")
            print(f"{title}:\n  env {settings} make secrets\n", flush=True)  # noqa: T201
        print("Everything in them is gone when you press Ctrl-C.", flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
