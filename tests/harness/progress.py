"""What a run of the tests shows: how long it will take, what runs and what is left, and how long each group took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from attrs import define, field

from tests.harness.scheduler import Group, Plan

#: A group's name to the seconds that each of its tests takes on average; ``--write-durations`` writes it anew.
DURATIONS = Path(__file__).resolve().parents[1] / "durations.json"
#: Seconds between two lines of progress.
_EVERY = 30.0
#: How many of the running tests a line names.
_NAMED = 4


def read_durations() -> dict[str, float]:
    """Return the average seconds of a test in each group."""
    document: dict[str, float] = json.loads(DURATIONS.read_text())
    return document


def expected_seconds(groups: Sequence[Group], alone: float, workers: int) -> float:
    """Return how long a run lasts: the work, shared by the workers, or the longest group; then what runs alone."""
    shared = sum(group.seconds for group in groups) / max(workers, 1)
    longest = max((group.seconds for group in groups), default=0.0)
    return max(shared, longest) + alone


def as_minutes(seconds: float) -> str:
    """Return a duration as a person says it: ``40 s``, ``7 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@define(eq=False)
class Progress:
    """Prints a line now and then while tests run.

    :param write: prints a line.
    :param clock: seconds, monotonic.
    """

    _write: Callable[[str], None]
    _clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _printed: float = field(init=False)
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _expected: float = field(default=0.0, init=False)
    _weights: Mapping[str, float] = field(factory=dict, init=False)
    _weight_done: float = field(default=0.0, init=False)
    _running: dict[str, None] = field(factory=dict, init=False)
    #: Test id to seconds, of tests that have ended.
    seconds: dict[str, float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._printed = self._clock()

    def begin(self, weights: Mapping[str, float], expected: float) -> None:
        """Print how many tests there are and how long they will take.

        :param weights: the tests' ids, to the seconds that each is expected to take.
        """
        self._weights, self._total, self._expected = weights, len(weights), expected
        self._began = self._printed = self._clock()
        if expected > _EVERY:
            self._write(f"{self._total} tests, about {as_minutes(expected)} if nothing else uses this machine")

    def started(self, test: str) -> None:
        """Note that a test begins."""
        self._running[test] = None
        self._print()

    def ended(self, test: str) -> None:
        """Note that a test has ended."""
        if test in self._running:
            del self._running[test]
            self._done += 1
            self._weight_done += self._weights.get(test, 0.0)
        self._print()

    def took(self, report: pytest.TestReport) -> None:
        """Add a phase of a test: its setup, call or teardown."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def _print(self) -> None:
        now = self._clock()
        if now - self._printed < _EVERY:
            return
        self._printed = now
        elapsed = now - self._began
        names = [test.rpartition("/")[2] for test in self._running]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        self._write(
            f"{as_minutes(elapsed)}: {self._done} of {self._total} tests done{self._left(elapsed)}"
            + (f"; running: {', '.join(names[:_NAMED])}{more}" if names else "")
        )

    def _left(self, elapsed: float) -> str:
        """How much time is left, by what is left of the expected work at the pace so far."""
        whole = sum(self._weights.values())
        if not whole or self._weight_done / whole < 0.02:
            return ""
        return f", about {as_minutes(elapsed * (whole / self._weight_done - 1))} left"


def write_durations(seconds: Mapping[str, float], plan: Plan) -> None:
    """Write how long the tests of each group took, for the next runs."""
    groups: dict[str, list[float]] = {}
    for test, each in seconds.items():
        groups.setdefault(plan.group(test), []).append(each)
    document = {name: round(sum(each) / len(each), 3) for name, each in sorted(groups.items())}
    DURATIONS.write_text(json.dumps(document, indent=0) + "\n")
