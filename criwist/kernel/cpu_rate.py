"""The rate of CPU time between two readings.

A node has several readers: kubelet's eviction manager, its summary, crictl, metrics.  The rate between two readings
that follow each other within milliseconds would be noise.  So two earlier readings are kept, at least :data:`WINDOW`
apart, and a rate spans at least that time, except while only one earlier reading exists.
"""

from __future__ import annotations

from attrs import define

#: Seconds.
WINDOW = 1.0


@define
class CpuRate:
    """The rate of one cgroup.  Not safe for use by several threads at once."""

    #: Seconds of a monotonic clock, nanoseconds of CPU time.
    _older: tuple[float, int] | None = None
    _newer: tuple[float, int] | None = None
    _last: int | None = None

    def update(self, at: float, cpu: int) -> int | None:
        """Take a reading; return CPUs in use times 10^9 since an earlier one, None for the first.

        A reading that is no later than the one before, of another thread, has the same rate.

        :param at: seconds of a monotonic clock.
        :param cpu: nanoseconds of CPU time.  If it fell, the cgroup is another one, and the reading is the first.
        """
        reading = (at, cpu)
        if self._newer is None:
            self._newer = reading
        elif at > self._newer[0]:
            if cpu < self._newer[1]:
                self._older, self._newer, self._last = None, reading, None
                return None
            if at - self._newer[0] >= WINDOW:
                self._older, self._newer = self._newer, reading
            since, before = self._older or self._newer
            self._last = round(max(0, cpu - before) / (at - since))
        return self._last
