"""What the carriers of streams have in common: knowing their streams, and passing back-pressure on both ways."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from criwist.streaming.stream import Stream


class MultiplexedConnection:
    """Base of the ICarriers.

    :param pause_reading: stops reading the connection.
    :param resume_reading: goes on reading it.
    """

    def __init__(self, pause_reading: Callable[[], None], resume_reading: Callable[[], None]) -> None:
        self.full = False
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._streams: dict[int, Stream] = {}
        self._held: set[Stream] = set()

    # -- ICarrier

    def hold(self, stream: Stream) -> None:
        """Stop reading until every stream that holds has released."""
        if not self._held:
            self._pause_reading()
        self._held.add(stream)

    def release(self, stream: Stream) -> None:
        """Read again, when nobody holds."""
        if stream in self._held:
            self._held.discard(stream)
            if not self._held:
                self._resume_reading()

    def gone(self, stream: Stream) -> None:
        """Forget it."""
        self._streams.pop(stream.number, None)

    # -- For the connection

    def pause_streams(self) -> None:
        """The transport is full."""
        self.full = True
        for stream in list(self._streams.values()):
            stream.pause_producer()

    def resume_streams(self) -> None:
        """The transport has room; the first streams to fill it again leave the others paused."""
        self.full = False
        for stream in list(self._streams.values()):
            if self.full:
                return
            stream.resume_producer()

    def lose_streams(self, reason: Failure) -> None:
        """The connection is gone."""
        for stream in list(self._streams.values()):
            stream.lost(reason)
