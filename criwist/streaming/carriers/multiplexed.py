"""The common part of the carriers: a table of their streams, and back-pressure in both directions."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from criwist.streaming.stream import Stream


class MultiplexedConnection:
    """Base class of the ICarriers.

    :param pause_reading: stops reading from the connection.
    :param resume_reading: reads from it again.
    """

    def __init__(self, pause_reading: Callable[[], None], resume_reading: Callable[[], None]) -> None:
        self.full = False
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._streams: dict[int, Stream] = {}
        self._holding: set[Stream] = set()

    # -- ICarrier

    def hold_reading(self, stream: Stream) -> None:
        if not self._holding:
            self._pause_reading()
        self._holding.add(stream)

    def release_reading(self, stream: Stream) -> None:
        if stream in self._holding:
            self._holding.discard(stream)
            if not self._holding:
                self._resume_reading()

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)

    # -- For the connection

    def pause_streams(self) -> None:
        """Pause every stream's producer: the transport is full."""
        self.full = True
        for stream in list(self._streams.values()):
            stream.pause_producer()

    def resume_streams(self) -> None:
        """Resume the producers until the transport is full again; the rest stay paused."""
        self.full = False
        for stream in list(self._streams.values()):
            if self.full:
                return
            stream.resume_producer()

    def lose_streams(self, reason: Failure) -> None:
        """Close every stream: the connection is lost."""
        for stream in list(self._streams.values()):
            stream.lost(reason)
