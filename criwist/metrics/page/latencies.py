"""Durations of calls during the last minutes: the difference between two states of the recorder's histograms.

A histogram counts from criwist's start on.  States of it are kept while somebody looks; until there is one that is five
minutes old, the durations are those since the start.  Used by one thread at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, field, frozen
from prometheus_client import Histogram

#: Seconds between two states that are kept, and how many are.
SPACING: Final = 30.0
KEPT: Final = 11
#: Seconds that the oldest of them is old when all are there, and half a minute more before it is replaced.
WINDOW: Final = SPACING * (KEPT - 1)
#: The part of the calls that :attr:`Latency.within` holds for.
MOST: Final = 0.99

#: By group and call: the sum of the seconds, and the count up to each bound.
_Counts = Mapping[tuple[str, str], tuple[float, Mapping[float, float]]]


@frozen
class Latency:
    """The durations of one call."""

    #: ``CRI``, ``Docker`` or ``reactor``.
    group: str
    #: ``RunPodSandbox``, ``GET /containers/{id}/json``; ``""`` for the reactor.
    call: str
    count: int
    #: Seconds.
    mean: float
    #: Seconds: 99 of 100 calls took no longer; infinite beyond the last bucket.
    within: float


@define(eq=False)
class Latencies:
    """The durations since the oldest state that is kept.

    :param histograms: by group; a histogram has one label, or none.
    """

    _histograms: Mapping[str, Histogram]
    _states: deque[tuple[float, _Counts]] = field(factory=lambda: deque(maxlen=KEPT), init=False)

    @property
    def since_start(self) -> bool:
        """Whether the last reading has everything since criwist's start."""
        return len(self._states) < KEPT

    def read(self, at: float) -> tuple[Latency, ...]:
        """Return the latencies, in each group those first that took most time together.

        :param at: seconds of a monotonic clock.
        """
        now = dict(_counts(self._histograms))
        if not self._states or at - self._states[-1][0] >= SPACING:
            self._states.append((at, now))
        since: _Counts = {} if self.since_start else self._states[0][1]
        found = [_latency(key, counts, since.get(key)) for key, counts in now.items()]
        groups = list(self._histograms)
        called = [one for one in found if one.count]
        return tuple(sorted(called, key=lambda one: (groups.index(one.group), -one.mean * one.count, one.call)))

    def clear(self) -> None:
        """Forget the states."""
        self._states.clear()


def _counts(
    histograms: Mapping[str, Histogram],
) -> Iterable[tuple[tuple[str, str], tuple[float, Mapping[float, float]]]]:
    for group, histogram in histograms.items():
        sums: dict[str, float] = {}
        bounds: dict[str, dict[float, float]] = {}
        for family in histogram.collect():
            for sample in family.samples:
                bound = sample.labels.get("le")
                call = next((value for name, value in sample.labels.items() if name != "le"), "")
                if bound is not None:
                    bounds.setdefault(call, {})[float(bound)] = sample.value
                elif sample.name.endswith("_sum"):
                    sums[call] = sample.value
        for call, counts in bounds.items():
            yield (group, call), (sums.get(call, 0.0), counts)


def _latency(
    key: tuple[str, str],
    now: tuple[float, Mapping[float, float]],
    before: tuple[float, Mapping[float, float]] | None,
) -> Latency:
    total, counts = now
    total_before, counts_before = before or (0.0, {})
    calls = {bound: count - counts_before.get(bound, 0) for bound, count in counts.items()}
    count = max(calls.values(), default=0)
    within = min((bound for bound, below in calls.items() if below >= MOST * count), default=0.0)
    return Latency(*key, int(count), (total - total_before) / count if count else 0.0, within)
