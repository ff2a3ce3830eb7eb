"""The figures of the last minutes: one point every few seconds, for each pod and each container.

A figure is four bytes, so the history of 110 pods with a container each takes some hundred kilobytes.  What is gone is
forgotten at the next point.  It is used by one thread at a time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, field, frozen

#: Seconds between two points.
INTERVAL: Final = 5.0
#: Points, that is five minutes.
POINTS: Final = 60
#: Pods and containers that are remembered; a node has fewer.
MAX_SERIES: Final = 4096


@frozen
class Figure:
    """What a pod or a container uses at one moment.  None: not known."""

    #: Nanoseconds since the epoch, and of CPU time.
    timestamp: int
    cpu: int | None
    #: CPUs in use, as the stats' readers share it; for the first point.
    cores: float | None
    #: The working set in bytes.
    memory: int | None
    #: The limit of the memory in bytes.
    limit: int | None


@define
class _Series:
    cpu: array[float]
    memory: array[float]
    last: Figure | None = None


def _gaps() -> array[float]:
    return array("f", [math.nan]) * POINTS


@define(eq=False)
class History:
    """The points, oldest first in every result."""

    _series: dict[str, _Series] = field(factory=dict, init=False)
    #: Where the next point goes, in every series.
    _next: int = field(default=0, init=False)
    _recorded_at: float | None = field(default=None, init=False)

    def record(self, at: float, figures: Mapping[str, Figure]) -> None:
        """Add a point, after gaps for those that were missed.

        :param at: seconds of a monotonic clock.
        :param figures: by id.  A series that is not in it has a gap; one of gaps alone is forgotten.
        """
        if self._recorded_at is not None:
            missed = round((at - self._recorded_at) / INTERVAL) - 1
            for _ in range(min(max(missed, 0), POINTS)):
                self._add({})
        self._recorded_at = at
        self._add(figures)

    def clear(self) -> None:
        """Forget everything."""
        self._series.clear()
        self._recorded_at = None

    def cpu(self, identifier: str) -> list[float]:
        """Return the CPUs in use at each point; NaN is a gap."""
        return self._values(self._series[identifier].cpu) if identifier in self._series else [math.nan] * POINTS

    def memory(self, identifier: str) -> list[float]:
        """Return the working set at each point, in bytes."""
        return self._values(self._series[identifier].memory) if identifier in self._series else [math.nan] * POINTS

    def limit(self, identifier: str) -> int | None:
        """Return the limit of the memory, as of the last point."""
        series = self._series.get(identifier)
        return series.last.limit if series is not None and series.last is not None else None

    def sums(self, identifiers: Iterable[str]) -> tuple[list[float], list[float]]:
        """Return CPUs and bytes of several series together; a gap is where none of them has a value."""
        cpu, memory = [math.nan] * POINTS, [math.nan] * POINTS
        for identifier in identifiers:
            series = self._series.get(identifier)
            if series is not None:
                _add_to(cpu, self._values(series.cpu))
                _add_to(memory, self._values(series.memory))
        return cpu, memory

    def _values(self, ring: array[float]) -> list[float]:
        return ring[self._next :].tolist() + ring[: self._next].tolist()

    def _add(self, figures: Mapping[str, Figure]) -> None:
        position = self._next
        self._next = (position + 1) % POINTS
        for identifier in figures:
            if identifier not in self._series and len(self._series) < MAX_SERIES:
                self._series[identifier] = _Series(_gaps(), _gaps())
        for identifier, series in list(self._series.items()):
            figure = figures.get(identifier)
            series.cpu[position] = _rate(series.last, figure)
            series.memory[position] = math.nan if figure is None or figure.memory is None else figure.memory
            series.last = figure
            if figure is None and all(map(math.isnan, series.memory)) and all(map(math.isnan, series.cpu)):
                del self._series[identifier]


def _add_to(sums: list[float], values: list[float]) -> None:
    for index, value in enumerate(values):
        if not math.isnan(value):
            sums[index] = value if math.isnan(sums[index]) else sums[index] + value


def _rate(before: Figure | None, now: Figure | None) -> float:
    """Return the CPUs in use between two readings; NaN if it is not known."""
    if now is None or now.cpu is None:
        return math.nan
    if before is None or before.cpu is None or before.cpu > now.cpu or before.timestamp >= now.timestamp:
        return math.nan if now.cores is None else now.cores
    return (now.cpu - before.cpu) / (now.timestamp - before.timestamp)
