"""What ``make up`` says when Compose did not start the stack."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from src.ops.containers.servers import RefusedError, reachable_servers, sign_in
from src.ops.containers.stack import Stack
from src.ops.setup.state import inspect_deployment
from src.ops.terminal.report import report_error
from src.utils.secrets.command import compose, manage
from src.utils.secrets.errors import SecretsError

from .options import deployment_options, run_click

if TYPE_CHECKING:
    from src.ops.containers.servers import Server
    from src.ops.deployment.deployment import Deployment

SECONDS_FOR_DOCKER = 20


@click.command("up")
@deployment_options
def start_failed(deployment: Deployment) -> int:
    """Say why, as far as that can be seen, and where to look."""
    refusing = _find_refusing(deployment)
    hints = [compose("logs", purpose="See what each service logs")]
    if refusing is None:
        return report_error("The stack did not start", *hints)
    said = f"{refusing.title} refuses the {refusing.secret} in the store"
    return report_error(f"The stack did not start: {said}", manage("apply", purpose="Give it that password"), *hints)


def _find_refusing(deployment: Deployment) -> Server | None:
    """The server that keeps the application from being ready, if one does."""
    snapshot = inspect_deployment(deployment).snapshot
    stack = Stack(deployment, seconds=SECONDS_FOR_DOCKER)
    try:
        for server in reachable_servers(stack.running()):
            value = snapshot.values.get(server.secret) if snapshot else None
            if value is not None:
                sign_in(stack, server, value)
    except RefusedError:
        return server
    except SecretsError:
        return None  # Docker itself has said what is wrong
    return None


if __name__ == "__main__":
    sys.exit(run_click(start_failed))
