"""What a run of the tests prints: ``tests.harness.progress``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.progress import Progress, as_minutes, expected_seconds
from tests.harness.scheduler import Group


class ProgressTests(SynchronousTestCase):
    """A run whose clock the test advances."""

    def setUp(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.progress = Progress(self.lines.append, lambda: self.now)

    def test_how_long_it_will_take(self) -> None:
        """A run that takes longer than a line of progress says so at its start; a short one says nothing."""
        self.progress.begin({"a": 1.0}, 5.0)
        self.assertEqual(self.lines, [])
        self.progress.begin({"a": 1.0, "b": 1.0}, 300.0)
        self.assertEqual(self.lines, ["2 tests, about 5 min if nothing else uses this machine"])

    def test_what_runs_and_what_is_left(self) -> None:
        """A line now and then has the tests done, the time left at the pace so far, and the tests that run."""
        self.progress.begin({"x/a.py::1": 10.0, "x/a.py::2": 30.0}, 20.0)
        self.progress.started("x/a.py::1")
        self.now = 10.0
        self.progress.ended("x/a.py::1")
        self.assertEqual(self.lines, [])
        self.now = 31.0
        self.progress.started("x/a.py::2")
        self.assertEqual(self.lines, ["31 s: 1 of 2 tests done, about 2 min left; running: a.py::2"])
        self.progress.ended("x/a.py::2")
        self.assertEqual(len(self.lines), 1)

    def test_expected_seconds(self) -> None:
        """The work is shared by the workers; the longest group and the tests that run alone are not."""
        groups = [Group("a", "", (), 60.0), Group("b", "", (), 20.0)]
        self.assertEqual(expected_seconds(groups, 5.0, 4), 65.0)
        self.assertEqual(expected_seconds(groups, 5.0, 1), 85.0)
        self.assertEqual(expected_seconds([], 0.0, 4), 0.0)

    def test_as_minutes(self) -> None:
        """Durations are given in seconds up to a minute and a half."""
        self.assertEqual([as_minutes(each) for each in (3.4, 89.0, 150.0)], ["3 s", "89 s", "2 min"])
