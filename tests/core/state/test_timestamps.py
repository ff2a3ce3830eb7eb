"""Timestamps that a kubelet compares."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.core.state.timestamps import Timestamps


class TimestampTests(SynchronousTestCase):
    """Timestamps over the steps of a clock."""

    def test_never_fall(self) -> None:
        """While the clock is behind the last timestamp, that one is returned again."""
        times = iter([5, 9, 3, 8, 11])
        timestamps = Timestamps(lambda: next(times))
        self.assertEqual([timestamps.now() for _ in range(5)], [5, 9, 9, 9, 11])
