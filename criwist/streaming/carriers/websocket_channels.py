"""The streams of one WebSocket that speaks a Kubernetes channel protocol: ``wire.channels`` over ``websocket``.

All channels are there from the beginning.  A client's v5 close message ends its direction of a channel; ours has no
end but that of the connection, so finishing or resetting a channel sends nothing and ends it altogether.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from wsproto.frame_protocol import CloseReason
from zope.interface import implementer

from criwist.streaming.carriers.multiplexed import MultiplexedConnection
from criwist.streaming.carriers.websocket import IMessages, WebSocket
from criwist.streaming.stream import ICarrier, Stream
from criwist.wire.channels import ChannelClosed, ChannelDecoder, ChannelError, Subprotocol, message


@implementer(ICarrier, IMessages)
class WebSocketChannels(MultiplexedConnection):
    """Carries channels.

    :param numbers: of the channels that there are; what comes for others is dropped.
    :param ready: called with the channels' streams, by number, when the connection stands.
    :param lost: called once when it is gone, after all its streams.
    """

    _log = Logger()

    def __init__(
        self,
        subprotocol: Subprotocol,
        numbers: Iterable[int],
        ready: Callable[[Mapping[int, Stream]], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(self._stop_reading, self._go_on_reading)
        self.subprotocol = subprotocol
        self._decoder = ChannelDecoder(subprotocol)
        self._streams = {number: Stream(self, number) for number in numbers}
        self._ready = ready
        self._lost = lost
        self._socket: WebSocket

    def announce(self, numbers: Iterable[int]) -> None:
        """Begin with an empty message on each of these channels, where the protocol has that."""
        if self.subprotocol.announces:
            for number in numbers:
                self._socket.send(message(self.subprotocol, number))

    def close(self) -> None:
        """End the connection; what has been sent arrives.  Idempotent."""
        self._socket.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._socket.abort()

    # -- IMessages

    def connected(self, socket: WebSocket) -> None:
        """The connection stands."""
        self._socket = socket
        self._ready(dict(self._streams))

    def message_received(self, data: bytes | str, last: bool) -> None:
        """Give the payload to its channel."""
        try:
            for event in self._decoder.receive(data, last):
                stream = self._streams.get(event.channel)
                if stream is None:
                    continue
                if isinstance(event, ChannelClosed):
                    stream.finished()
                elif event.data:
                    stream.received((event.data,))
        except ChannelError as fault:
            self._log.warn("{peer} broke the protocol: {fault}", peer=str(self.getPeer()), fault=str(fault))
            self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(fault))

    def disconnected(self, reason: Failure) -> None:
        """The connection is gone."""
        self.lose_streams(reason)
        self._lost()

    # -- ICarrier

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """One message."""
        self._socket.send(message(self.subprotocol, stream.number, tuple(chunks)))

    def finish(self, stream: Stream) -> None:
        """The protocols cannot say it: with our direction the whole stream ends."""
        stream.lost(Failure(ConnectionDone()))

    def reset(self, stream: Stream) -> None:
        """The protocols cannot say it."""

    def abandon(self, stream: Stream) -> None:
        """Finishing has done it."""

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._socket.getPeer()

    def getHost(self) -> IAddress:
        """Ours."""
        return self._socket.getHost()

    def _stop_reading(self) -> None:
        self._socket.pause_reading()

    def _go_on_reading(self) -> None:
        self._socket.resume_reading()
