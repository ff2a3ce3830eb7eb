"""The disk space of containers' writable layers, measured in the background.

A measurement walks a directory tree, which may take long, so no request waits for one.  Layers are measured one at a
time, each soon after its container's start and then after every interval, and all callers share the results.  When a
node has so many files that a round takes longer than the interval, rounds follow each other without a pause: the walk
itself keeps its share of the CPU (``ILayerUsage``).
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from criwist.core.state.cache import Cache, Entry
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.kernel import ILayerUsage, LayerUsage

#: Seconds from a container's start to its first measurement: programs write their first files then.
FIRST_AFTER = 1.0


@define(eq=False)
class WritableLayers:
    """Measures the layers of the running containers of *cache*.

    :param interval: seconds between two measurements of one layer; 0: nothing is measured.
    """

    _clock: IReactorTime
    _cache: Cache
    _measurements: ILayerUsage
    _interval: float
    #: By container: when its next measurement is due.
    _due: dict[str, float] = field(factory=dict, init=False)
    _measured: dict[str, LayerUsage] = field(factory=dict, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _measuring: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        if self._interval:
            self._cache.subscribe(self._changed)

    def of(self, container_id: str) -> LayerUsage | None:
        """Return the last measurement, None before the first.  Any thread."""
        return self._measured.get(container_id)

    def stop(self) -> None:
        """Measure no more, and end a walk in progress."""
        self._stopped = True
        self._due.clear()
        self._schedule()
        self._measurements.stop()

    def _changed(self, before: Entry | None, after: Entry | None) -> None:
        if isinstance(after, ContainerEntry):
            if not after.running:
                self._due.pop(after.id, None)
            elif not (isinstance(before, ContainerEntry) and before.running) and not self._stopped:
                self._due[after.id] = self._clock.seconds() + FIRST_AFTER
        elif after is None and before is not None:
            self._due.pop(before.id, None)
            self._measured.pop(before.id, None)
        self._schedule()

    def _schedule(self) -> None:
        """Call :meth:`_next` when the next measurement is due, unless one is in progress."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._due and not self._measuring:
            delay = max(0.0, min(self._due.values()) - self._clock.seconds())
            self._call = self._clock.callLater(delay, self._next)

    def _next(self) -> None:
        container_id = min(self._due, key=self._due.__getitem__)
        self._measuring = True
        Deferred.fromCoroutine(self._measure(container_id))  # which does not fail

    async def _measure(self, container_id: str) -> None:
        entry = self._cache.snapshot.containers.get(container_id)
        try:
            if entry is not None:
                usage = await self._measurements.measure(container_id, entry.upper_directory)
                if usage is not None and container_id in self._cache.snapshot.containers:
                    self._measured[container_id] = usage
        except Exception:  # noqa: BLE001 - one layer must not end the measurements of the others
            self._log.failure("the writable layer of {container} could not be measured", container=container_id)
        finally:
            self._measuring = False
            if container_id in self._due:
                self._due[container_id] = self._clock.seconds() + self._interval
            self._schedule()
