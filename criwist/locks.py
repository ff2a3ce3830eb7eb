"""One lock per sandbox, per container, per name.

Operations on one thing run one after the other; operations on different things run in parallel.  A lock exists only
while a coroutine holds it or waits for it, so the table never grows with the node's history.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field
from twisted.internet.defer import DeferredLock


@define
class Locks:
    """Locks by key.  A waiter that is cancelled leaves the queue."""

    _locks: dict[str, DeferredLock] = field(factory=dict, init=False)
    _users: dict[str, int] = field(factory=dict, init=False)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold *key*'s lock for the body of an ``async with``."""
        lock = self._locks.setdefault(key, DeferredLock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    def __len__(self) -> int:
        """Return the number of keys whose lock is held or waited for."""
        return len(self._locks)
