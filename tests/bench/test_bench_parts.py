"""The measurements and tables of the benchmark."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from bench.measure import Calls, cpu_seconds, measure, resident
from bench.table import Table, mebibytes, microseconds, milliseconds


class MeasureTests(SynchronousTestCase):
    """Latencies, and the CPU time and memory of a process."""

    def test_percentiles(self) -> None:
        """The median is the middle of the ordered latencies, and no percentile exceeds the largest."""
        calls = Calls(tuple(float(number) for number in range(100, 0, -1)), 0.0)
        self.assertEqual([calls.percentile(part) for part in (0, 50, 99, 100)], [1.0, 51.0, 100.0, 100.0])

    def test_warm_up_does_not_count(self) -> None:
        """Every call after the warm-up has a latency, those before have none."""
        made: list[float] = []
        calls = measure(lambda: made.append(0.0), os.getpid(), count=5, warm_up=3)
        self.assertEqual((len(made), len(calls.latencies)), (8, 5))

    def test_processor_time(self) -> None:
        """The CPU time of this process is the time that Python reports."""
        self.assertLess(abs(cpu_seconds(os.getpid()) - time.process_time()), 0.1)

    def test_memory(self) -> None:
        """A Python process has some MiB of resident memory."""
        self.assertGreater(resident(os.getpid()), 5 << 20)


class TableTests(SynchronousTestCase):
    """Tables of text."""

    def test_layout(self) -> None:
        """The first column is flush left, the others right, between rules."""
        table = Table("title", ("call", "a"))
        table.add("one", microseconds(0.0012345))
        table.add("fourteen", milliseconds(0.5))
        self.assertEqual(
            str(table),
            "title\n\n"
            "========  ========\n"
            "call             a\n"
            "========  ========\n"
            "one       1,234 µs\n"
            "fourteen  500.0 ms\n"
            "========  ========\n",
        )

    def test_units(self) -> None:
        """Sizes are in MiB."""
        self.assertEqual(mebibytes(3 << 19), "1.5 MiB")
