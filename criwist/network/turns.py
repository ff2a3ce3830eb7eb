"""One pod, one plugin chain at a time; different pods in parallel (CNI specification, "Lifecycle & Ordering")."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field
from twisted.internet.defer import DeferredLock


@define(eq=False)
class Turns:
    """Locks by sandbox id, each there only while somebody holds it or waits for it."""

    _locks: dict[str, DeferredLock] = field(factory=dict, init=False)

    @asynccontextmanager
    async def take(self, sandbox_id: str) -> AsyncIterator[None]:
        """Hold the sandbox's turn for the time of an ``async with``."""
        lock = self._locks.setdefault(sandbox_id, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            if not lock.waiting:
                self._locks.pop(sandbox_id, None)
            lock.release()
