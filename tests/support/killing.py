"""Kills a command of the tools at a chosen call of Compose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.checkout import Checkout

_KILLING = """#!/bin/sh
# Counts the calls that change something, and kills the process that makes the one that was chosen, before or after it.
case " $* " in
{looks}) ;;
*" exec "*|*" restart "*)
    echo "$*" >> {home}/calls
    if [ "$(wc -l < {home}/calls)" = "$KILL_AT" ] && [ "$KILL_WHEN" = before ]; then kill -KILL $PPID; exit 1; fi
    {real} "$@"; code=$?
    if [ "$(wc -l < {home}/calls)" = "$KILL_AT" ] && [ "$KILL_WHEN" = after ]; then kill -KILL $PPID; fi
    exit $code;;
esac
exec {real} "$@"
"""


@contextmanager
def killing(stack: Checkout, *, looks: Sequence[str] = ("-check",)) -> Iterator[None]:
    """Replace scripts/compose.sh with a wrapper that kills its caller.

    The stack's ``KILL_AT`` says at which call, and ``KILL_WHEN`` whether before or after it.

    Args:
        stack: Whose script.
        looks: Parts of calls that change nothing, and are not counted.
    """
    script = stack.directory / "scripts/compose.sh"
    real = stack.directory / "scripts/compose-real.sh"
    script.rename(real)
    # The real script would replace the process that the wrapper waits for, and this process must be killed.
    patterns = "|".join(f'*"{part}"*' for part in looks)
    script.write_text(_KILLING.format(home=stack.home, real="scripts/compose-real.sh", looks=patterns))
    script.chmod(0o755)
    (stack.home / "calls").unlink(missing_ok=True)
    try:
        yield
    finally:
        real.replace(script)
        for name in ("KILL_AT", "KILL_WHEN"):
            stack.environ.pop(name, None)
