"""Containers with a process that the kernel killed for want of memory.

The kernel's log names the container of each such process, before the process is killed (``IOomKills``).  So when a
container has ended, and its entry is made, the log has the kill.  It is read then, and at each scrape of the metrics.
Where the log cannot be read, the engine's events are counted, and the reason of an exit is the engine's word.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

from criwist.core.state.cache import Cache
from criwist.interfaces.kernel_metrics import IOomKills
from criwist.interfaces.metrics import IMetrics

#: Containers that are kept in memory: more than a node has, ended ones included.
_MOST = 4096


@define(eq=False)
class OomKills:
    """Knows the containers, and counts the kills.  Its methods run on the reactor."""

    _log: IOomKills
    _metrics: IMetrics
    _cache: Cache | None = field(default=None, init=False)
    _killed: OrderedDict[str, None] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        for container_id in self._log.read():  # before this start of criwist: known, and not counted
            self._keep(container_id)

    def follow(self, cache: Cache) -> None:
        """Count the kills of the containers in *cache*."""
        self._cache = cache

    def read(self) -> None:
        """Read what was killed since the last call."""
        for container_id in self._log.read():
            self._keep(container_id)
            self._count(container_id)

    def has(self, container_id: str) -> bool:
        """Return whether the kernel killed a process of the container, as far as its log reaches back."""
        self.read()
        return container_id in self._killed

    def event(self, container_id: str) -> None:
        """Take an event of the engine: count it, unless the kernel's log is counted."""
        if self._log.available:
            self.read()
        else:
            self._count(container_id)

    def _keep(self, container_id: str) -> None:
        self._killed[container_id] = None
        self._killed.move_to_end(container_id)
        if len(self._killed) > _MOST:
            self._killed.popitem(last=False)

    def _count(self, container_id: str) -> None:
        entry = None if self._cache is None else self._cache.snapshot.containers.get(container_id)
        if entry is not None:
            self._metrics.oom_kill(entry.name)
