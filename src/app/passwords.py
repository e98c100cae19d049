"""Argon2id, two at a time: each takes 64 MiB, so unbounded parallel logins would take all memory.

https://www.rfc-editor.org/rfc/rfc9106
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 2
_LEAST_URGENT = 19

Result = TypeVar("Result")


class Passwords:
    """Hashes and checks passwords with the library's parameters (RFC 9106, low-memory profile).

    Whatever the number of cores, no more than ``AT_ONCE`` run; the others wait. How many may wait, is for the caller to
    bound (:mod:`src.app.admission`).
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2", initializer=_yield_to_requests)

    async def hash(self, password: str) -> str:
        """The hash to keep."""
        return await self._run(lambda: self._hasher.hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether ``password`` has this hash; for ``None``, after the same time, no."""
        return await self._run(lambda: self._matches(password_hash, password))

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _matches(self, password_hash: str | None, password: str) -> bool:
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None


def _yield_to_requests() -> None:
    """Linux counts niceness per thread, and the threads that Argon2 starts inherit it."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_URGENT)
