"""Timestamps of pod statuses and events, which a kubelet compares with each other.

A kubelet that follows events keeps the status of a pod that has the latest timestamp, and drops any other.  So the
timestamps must not fall when the node's clock is set back.  Two rules make them comparable:

- The timestamp of a status is read *before* the snapshot that the status is made of.
- The timestamp of an event is read *after* the snapshot with the change is published.

A status that misses a change then never has a later timestamp than the change's event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from attrs import define, field


@define(eq=False)
class Timestamps:
    """Nanoseconds since the epoch that never fall.

    :param read: returns the node's time in nanoseconds since the epoch.
    """

    _read: Callable[[], int] = time.time_ns
    _last: int = field(default=0, init=False)
    #: Held for the two lines of :meth:`now` only.
    _lock: Lock = field(factory=Lock, init=False)

    def now(self) -> int:
        """Return the time, or the last timestamp while the node's clock is behind it.  Any thread."""
        with self._lock:
            self._last = max(self._last, self._read())
            return self._last
