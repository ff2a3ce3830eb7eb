"""The rate between two readings of CPU time."""

from __future__ import annotations

from criwist.kernel.cpu_rate import CpuRate

SECOND = 10**9


def test_first_reading_has_no_rate() -> None:
    """A rate needs two readings, and the second has one, however soon it is."""
    rate = CpuRate()
    assert rate.update(10.0, 7 * SECOND) is None
    assert rate.update(10.5, 7 * SECOND + SECOND // 4) == SECOND // 2


def test_readers_in_a_row() -> None:
    """The rate of a reading that follows another at once is that of the last second, not of the gap."""
    rate = CpuRate()
    rate.update(0.0, 0)
    assert rate.update(10.0, 5 * SECOND) == SECOND // 2
    assert rate.update(10.001, 5 * SECOND + 1_000_000) == round((5 * SECOND + 1_000_000) / 10.001)
    assert rate.update(20.0, 15 * SECOND) == SECOND, "the reading ten seconds before is the other end"


def test_frequent_readings() -> None:
    """However often a cgroup is read, a rate spans at least a second and at most two once there are enough readings."""
    rate = CpuRate()
    for tick in range(100):
        rate.update(tick / 10, 0)
    assert rate.update(10.5, SECOND) in range(SECOND // 2, SECOND + 1)


def test_new_cgroup() -> None:
    """CPU time that fell is a cgroup's that was made anew: its first reading has no rate."""
    rate = CpuRate()
    rate.update(0.0, 5 * SECOND)
    assert rate.update(2.0, SECOND) is None
    assert rate.update(4.0, 2 * SECOND) == SECOND // 2


def test_readings_that_overtake_each_other() -> None:
    """A reading of another thread that is older than the last one has the last rate, and spoils no later one."""
    rate = CpuRate()
    rate.update(0.0, 0)
    assert rate.update(2.0, SECOND) == SECOND // 2
    assert rate.update(1.9, SECOND - 1) == SECOND // 2
    assert rate.update(4.0, 2 * SECOND) == SECOND // 2
