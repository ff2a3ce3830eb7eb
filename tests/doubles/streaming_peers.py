"""Clients of the streaming server, for tests: SPDY and WebSocket over any transport.

Each sends its upgrade request when connected, and records the response and everything that it receives later.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from criwist.wire.spdy import SpdyConnection
from criwist.wire.spdy_events import (
    GoAwayReceived,
    HeadersReceived,
    PingReceived,
    PongReceived,
    StreamReplied,
    StreamReset,
)
from criwist.wire.spdy_frames import ResetStatus
from criwist.wire.spdy_reader import DataReceived


@define(eq=False)
class PeerStream:
    """The client's side of one stream."""

    received: bytearray = field(factory=bytearray)
    replied: bool = False
    finished: bool = False
    #: The status of the server's reset.
    reset: int | None = None


class SpdyClient(Protocol):
    """A SPDY client.

    :param target: path of the URL.
    :param versions: offered in X-Stream-Protocol-Version, in a header each.
    """

    transport: Any

    def __init__(self, target: str, versions: tuple[str, ...] = ("v4.channel.k8s.io",)) -> None:
        self._target = target
        self._versions = versions
        self._head = b""
        self.connection = SpdyConnection(server=False)
        #: Status line and headers of the response; ``b""`` until they are complete.
        self.response = b""
        #: The body of a response other than 101.
        self.body = b""
        self.streams: dict[int, PeerStream] = {}
        self.frames = 0
        self.pings = 0
        self.pongs = 0
        #: The status of the server's GOAWAY.
        self.goaway: int | None = None
        self.lost = False

    # -- To the server

    def connectionMade(self) -> None:
        lines = [f"POST {self._target} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"X-Stream-Protocol-Version: {version}" for version in self._versions]
        self._write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())

    def open(self, *, fin: bool = False, **headers: str) -> int:
        """Open a stream; return its number."""
        number, data = self.connection.open_stream(
            [(name.encode(), value.encode()) for name, value in headers.items()], fin=fin
        )
        self.streams[number] = PeerStream()
        self._write(data)
        return number

    def send(self, number: int, data: bytes, *, fin: bool = False) -> None:
        """Send data on a stream."""
        self._write(self.connection.data(number, len(data), fin=fin) + data)

    def reset(self, number: int) -> None:
        """Reset a stream."""
        self._write(self.connection.reset(number, ResetStatus.CANCEL))

    def ping(self) -> None:
        """Send a ping."""
        self._write(self.connection.ping())

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._write(data)

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    # -- From the server

    def dataReceived(self, data: bytes) -> None:
        if not self.response:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self.response = head
        if not self.response.startswith(b"HTTP/1.1 101"):
            self.body += data
            return
        for event in self.connection.receive_data(data):
            self._event(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def _event(self, event: object) -> None:
        match event:
            case DataReceived(stream_id, data, fin):
                self.frames += 1
                self.streams[stream_id].received += data
                self.streams[stream_id].finished |= fin
            case StreamReplied(stream_id=stream_id, fin=fin):
                self.streams[stream_id].replied = True
                self.streams[stream_id].finished |= fin
            case StreamReset(stream_id=stream_id, status=status):
                self.streams[stream_id].reset = status
            case PingReceived(ping_id=ping_id):
                self.pings += 1
                self._write(self.connection.pong(ping_id))
            case PongReceived():
                self.pongs += 1
            case GoAwayReceived(status=status):
                self.goaway = status
            case HeadersReceived():
                pass
            case _:
                raise AssertionError(f"the server sent an unexpected {event!r}")


class WebSocketClient(Protocol):
    """A WebSocket client.

    :param target: path and query of the URL.
    :param subprotocols: offered, in order.
    """

    transport: Any

    def __init__(self, target: str, subprotocols: tuple[str, ...] = ("v5.channel.k8s.io",)) -> None:
        self._request = Request(host="node", target=target, subprotocols=list(subprotocols))
        self.connection = WSConnection(ConnectionType.CLIENT)
        #: The sub-protocol that the server chose; ``""`` for none; None until the server has responded.
        self.chosen: str | None = None
        #: The HTTP status of a refusal.
        self.refused: int | None = None
        self.body = b""
        #: Whole messages.
        self.messages: list[bytes | str] = []
        self._partial: list[Any] = []
        self.pings = 0
        #: The code of the server's close.
        self.closed: int | None = None
        self.lost = False

    def connectionMade(self) -> None:
        self._write(self.connection.send(self._request))

    def send(self, message: bytes | str, *, last: bool = True) -> None:
        """Send a message, or a fragment."""
        event = (
            TextMessage(data=message, message_finished=last)
            if isinstance(message, str)
            else BytesMessage(data=message, message_finished=last)
        )
        self._write(self.connection.send(event))

    def send_ping(self) -> None:
        """Send a ping."""
        self._write(self.connection.send(Ping()))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._write(data)

    def close(self) -> None:
        """Begin the closing handshake."""
        self._write(self.connection.send(CloseConnection(code=1000)))

    def channel(self, number: int) -> bytes:
        """Return all payload of one channel of a binary protocol."""
        payloads = [one[1:] for one in self.messages if isinstance(one, bytes) and one[:1] == bytes((number,))]
        return b"".join(payloads)

    def dataReceived(self, data: bytes) -> None:
        self.connection.receive_data(data)
        for event in self.connection.events():
            self._event(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def _event(self, event: object) -> None:
        match event:
            case AcceptConnection(subprotocol=chosen):
                self.chosen = chosen or ""
            case RejectConnection(status_code=status):
                self.refused = status
            case RejectData(data=data):
                self.body += data
            case BytesMessage(data=data, message_finished=last) | TextMessage(data=data, message_finished=last):
                self._partial.append(data)
                if last:
                    text = isinstance(self._partial[0], str)
                    self.messages.append("".join(self._partial) if text else b"".join(self._partial))
                    self._partial.clear()
            case Ping():
                self.pings += 1
                self._write(self.connection.send(event.response()))
            case CloseConnection(code=code):
                if self.closed is None:
                    self.closed = int(code)
                    if self.connection.state.name == "REMOTE_CLOSING":
                        self._write(self.connection.send(event.response()))

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(bytes(data))
