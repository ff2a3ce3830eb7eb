"""The streams of one WebSocket with a Kubernetes channel protocol: ``wire.channels`` over ``websocket``.

All channels exist from the beginning.  A client's v5 close message ends its direction of a channel.  The server's
direction ends with the connection only, so to finish or reset a channel sends nothing and closes the channel.
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
from criwist.streaming.carriers.websocket import IMessageReceiver, WebSocket
from criwist.streaming.stream import ICarrier, Stream
from criwist.wire.channels import ChannelClosed, ChannelDecoder, ChannelError, Subprotocol, message


@implementer(ICarrier, IMessageReceiver)
class WebSocketChannels(MultiplexedConnection):
    """A carrier whose streams are channels.

    :param numbers: the numbers of the channels; messages for other numbers are dropped.
    :param ready: called with the channels' streams, by number, when the WebSocket is connected.
    :param lost: called once when the connection is lost, after all its streams.
    """

    _log = Logger()

    def __init__(
        self,
        subprotocol: Subprotocol,
        numbers: Iterable[int],
        ready: Callable[[Mapping[int, Stream]], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(self._pause_socket, self._resume_socket)
        self.subprotocol = subprotocol
        self._decoder = ChannelDecoder(subprotocol)
        self._streams = {number: Stream(self, number) for number in numbers}
        self._ready = ready
        self._lost = lost
        self._socket: WebSocket

    def announce(self, numbers: Iterable[int]) -> None:
        """Send an empty message on each of these channels, if the protocol begins with that."""
        if self.subprotocol.announces:
            for number in numbers:
                self._socket.send(message(self.subprotocol, number))

    def close(self) -> None:
        """Close the connection when everything is sent.  Idempotent."""
        self._socket.close()

    def abort(self) -> None:
        """Drop the connection, without the bytes that are still to be sent."""
        self._socket.abort()

    # -- IMessageReceiver

    def connected(self, socket: WebSocket) -> None:
        self._socket = socket
        self._ready(dict(self._streams))

    def message_received(self, data: bytes | str, last: bool) -> None:
        try:
            for event in self._decoder.receive(data, last):
                stream = self._streams.get(event.channel)
                if stream is None:
                    continue
                if isinstance(event, ChannelClosed):
                    stream.finished()
                elif event.data:
                    stream.received((event.data,))
        except ChannelError as error:
            self._log.warn("{peer} broke the protocol: {error}", peer=str(self.getPeer()), error=str(error))
            self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error))

    def disconnected(self, reason: Failure) -> None:
        self.lose_streams(reason)
        self._lost()

    # -- ICarrier

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        self._socket.send(message(self.subprotocol, stream.number, tuple(chunks)))

    def finish(self, stream: Stream) -> None:
        """Close the whole stream: the protocols cannot close one direction."""
        stream.lost(Failure(ConnectionDone()))

    def reset(self, stream: Stream) -> None:
        """Do nothing: the protocols have no reset."""

    def abandon(self, stream: Stream) -> None:
        """Do nothing: :meth:`finish` has closed the stream."""

    def getPeer(self) -> IAddress:
        return self._socket.getPeer()

    def getHost(self) -> IAddress:
        return self._socket.getHost()

    def _pause_socket(self) -> None:
        self._socket.pause_reading()

    def _resume_socket(self) -> None:
        self._socket.resume_reading()
