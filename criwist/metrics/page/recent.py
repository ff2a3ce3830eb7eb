"""The last events of pods and containers, and the last warnings of the log: two short rings in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from attrs import define, field, frozen
from twisted.logger import ILogObserver, LogLevel, formatEvent
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.cache import Cache, Entry
from criwist.core.state.container_events import steps_between
from criwist.core.state.entries import ContainerEntry
from criwist.metrics.page.markup import plain

#: Events, and warnings, that are kept.
KEPT: Final = 50


@frozen
class RecentEvent:
    """Something that happened to a sandbox or a container."""

    number: int
    #: Seconds since the epoch at which criwist published it.
    at: float
    #: ``created``, ``started``, ``stopped`` or ``deleted``.
    kind: str
    namespace: str
    pod: str
    #: ``""`` for a sandbox.
    container: str
    #: Why a container has stopped.
    detail: str
    failed: bool


@frozen
class RecentWarning:
    """An entry of the log of level ``warn`` or above."""

    number: int
    #: Seconds since the epoch.
    at: float
    level: str
    text: str


@define(eq=False)
class RecentEvents:
    """Remembers the last changes that *cache* publishes, from the end of its first listing on.  On the reactor."""

    _cache: Cache
    _now: Callable[[], float] = time.time
    _events: deque[RecentEvent] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    _numbers: count[int] = field(factory=count, init=False)
    _listed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._cache.subscribe(self._changed)

    def newest(self) -> tuple[RecentEvent, ...]:
        """Return the events, newest first."""
        return tuple(reversed(self._events))

    def _changed(self, before: Entry | None, after: Entry | None) -> None:
        # What was there before criwist's start did not happen now.
        self._listed = self._listed or self._cache.snapshot.fresh
        entry = after or before
        if not self._listed or entry is None:
            return
        container = entry.name.container if isinstance(entry, ContainerEntry) else ""
        for step in steps_between(before, after):
            stopped = step == pb.CONTAINER_STOPPED_EVENT and isinstance(entry, ContainerEntry)
            detail, failed = exit_of(entry.status) if stopped else ("", False)
            self._events.append(
                RecentEvent(
                    number=next(self._numbers),
                    at=self._now(),
                    kind=pb.ContainerEventType.Name(step).removeprefix("CONTAINER_").removesuffix("_EVENT").lower(),
                    namespace=entry.name.namespace,
                    pod=entry.name.pod,
                    container=container,
                    detail=detail,
                    failed=failed,
                )
            )


def exit_of(status: bytes) -> tuple[str, bool]:
    """Return the end of a container in words, and whether it failed.

    :param status: a serialized ContainerStatus.
    """
    found = pb.ContainerStatus.FromString(status)
    reason = f" {found.reason}" if found.reason not in ("", "Completed", "Error") else ""
    return f"exit {found.exit_code}{reason}", found.exit_code != 0


@implementer(ILogObserver)
@define(eq=False)
class RecentWarnings:
    """A log observer that remembers the last entries of level ``warn`` and above, in one line each.  Any thread."""

    _warnings: deque[RecentWarning] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    _numbers: count[int] = field(factory=count, init=False)

    def __call__(self, event: dict[str, Any]) -> None:
        level = event.get("log_level")
        if level is None or level < LogLevel.warn:
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}"
        self._warnings.append(
            RecentWarning(next(self._numbers), event.get("log_time", 0.0), str(level.name), plain(text))
        )

    def newest(self) -> tuple[RecentWarning, ...]:
        """Return the entries, newest first."""
        return tuple(reversed(self._warnings.copy()))
