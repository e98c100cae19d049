"""What ``make up`` does when Compose says that the stack did not start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from src.ops.containers.servers import RefusedError, reachable_servers, sign_in
from src.ops.containers.stack import Stack
from src.ops.setup.state import inspect_deployment
from src.ops.terminal.report import DONE, report_error
from src.utils.secrets.command import compose
from src.utils.secrets.errors import SecretsError

from .options import deployment_options, run_click

if TYPE_CHECKING:
    from src.ops.containers.servers import Server
    from src.ops.deployment.deployment import Deployment

_SECONDS = 20  # for each answer; signing in to a server takes longer than asking Docker


@click.command("up")
@deployment_options
def start_failed(deployment: Deployment) -> int:
    """Say why, as far as that can be seen, and where to look.

    A server on the data of an earlier deployment has the password of that one. ``apply``, which comes next, tells it
    the new one, so that this is no failure.
    """
    refusing = _find_refusing(deployment)
    if refusing is None:
        return report_error("The stack did not start", compose("logs", purpose="See what each service logs"))
    click.echo(f"{refusing.title} has another {refusing.secret} than the store, from before; it gets the new one now.")
    return DONE


def _find_refusing(deployment: Deployment) -> Server | None:
    """The server that keeps the application from being ready, if one does."""
    snapshot = inspect_deployment(deployment).snapshot
    stack = Stack(deployment, seconds=_SECONDS)
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
