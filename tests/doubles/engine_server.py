"""The engine's side of HTTP: JSON responses, streams, and connections that are upgraded to raw streams.

:class:`EngineProtocol` is the server's end of a connection, over h11.  It passes each request as an :class:`Exchange`
to the *serve* function, which responds now or later, whole or in parts, or takes the connection over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import h11
from attrs import define, field, frozen
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

#: RFC 9110, 6.4.1: responses without a body.
_BODILESS = frozenset({204, 304})


@frozen
class Refusal(Exception):
    """Raised by the *serve* function: an error response in the engine's form."""

    status: int
    message: str


@define(eq=False)
class Exchange:
    """A request and its response."""

    method: str
    #: Without the API version.
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    _connection: EngineProtocol
    #: Called if the client disconnects before the response is complete.
    on_abandoned: list[Callable[[], None]] = field(factory=list)
    finished: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def document(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body) if self.body else {}

    def reply(self, status: int, document: Any = None) -> None:
        """Send the complete response, unless the client has gone.

        A document is sent as JSON, bytes as they are, None as an empty body.
        """
        if self.finished:
            return
        headers = [("Content-Type", "application/json")]
        if status in _BODILESS or document is None:
            body = b""
        else:
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
        if status not in _BODILESS:
            headers.append(("Content-Length", str(len(body))))
        self._connection.send(h11.Response(status_code=status, headers=headers))
        if body:
            self._connection.send(h11.Data(data=body))
        self.end()

    def refuse(self, refusal: Refusal) -> None:
        """Respond with an error."""
        self.reply(refusal.status, {"message": refusal.message})

    def begin(self, content_type: str = "application/json") -> None:
        """Send the headers of a response that is sent in parts."""
        self._connection.send(h11.Response(status_code=200, headers=[("Content-Type", content_type)]))

    def write(self, data: Any) -> None:
        """Send a part of the response, bytes or a document on its own line, unless the client has gone."""
        if not self.finished:
            self._connection.send(
                h11.Data(data=data if isinstance(data, bytes) else json.dumps(data).encode() + b"\r\n")
            )

    def end(self) -> None:
        """Complete the response."""
        if not self.finished:
            self.finished = True
            self._connection.send(h11.EndOfMessage())
            self._connection.next_request()

    def upgrade(self, protocol: IProtocol) -> None:
        """Upgrade the connection: *protocol* owns it from now on."""
        self.finished = True
        self._connection.upgrade(protocol)

    def abandoned(self) -> None:
        """Call the callbacks of a client that has disconnected."""
        if not self.finished:
            self.finished = True
            for callback in self.on_abandoned:
                callback()


@implementer(IHalfCloseableProtocol)
class EngineProtocol(Protocol):
    """The server's end of one connection."""

    def __init__(self, serve: Callable[[Exchange], None], on_lost: Callable[[EngineProtocol], None]) -> None:
        self._serve = serve
        self._on_lost = on_lost
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._exchange: Exchange | None = None
        self._upgraded: IProtocol | None = None

    @property
    def _transport(self) -> Any:
        return self.transport

    def drop(self) -> None:
        """Abort the connection, as an engine that dies does."""
        self._transport.abortConnection()

    def send(self, event: h11.Event) -> None:
        """Send an event of the response."""
        data = self._http.send(event)
        if data:
            self._transport.write(data)

    def next_request(self) -> None:
        """Read the next request after a complete response, or close the connection if the client wants that."""
        self._exchange = None
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.loseConnection()
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read_events()

    def upgrade(self, protocol: IProtocol) -> None:
        """Send status 101 and hand the connection to *protocol*."""
        self.send(h11.InformationalResponse(status_code=101, headers=[("Connection", "Upgrade"), ("Upgrade", "tcp")]))
        self._upgraded = protocol
        self._exchange = None
        protocol.makeConnection(self._transport)
        trailing = self._http.trailing_data[0]
        if trailing:
            protocol.dataReceived(trailing)

    def dataReceived(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.dataReceived(data)
            return
        self._http.receive_data(data)
        self._read_events()

    def readConnectionLost(self) -> None:
        """Close the connection, which abandons a request; pass the half-close on if the connection is upgraded."""
        if self._upgraded is None:
            self._transport.loseConnection()
        elif IHalfCloseableProtocol.providedBy(self._upgraded):
            self._upgraded.readConnectionLost()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._on_lost(self)
        if self._upgraded is not None:
            self._upgraded.connectionLost(reason)
        elif self._exchange is not None:
            self._exchange.abandoned()

    def _read_events(self) -> None:
        while self._exchange is None and self._upgraded is None:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Request):
                self._request = event
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                self._begin(self._request)

    def _begin(self, request: h11.Request) -> None:
        target = urlsplit(request.target.decode("ascii"))
        parts = target.path.split("/")
        versioned = len(parts) > 2 and parts[1][:1] == "v" and parts[1][1:2].isdigit()
        exchange = Exchange(
            method=request.method.decode("ascii"),
            path=unquote("/" + "/".join(parts[2:]) if versioned else target.path),
            query={key: values[-1] for key, values in parse_qs(target.query, keep_blank_values=True).items()},
            headers={key.decode("ascii"): value.decode("latin-1") for key, value in request.headers},
            body=bytes(self._body),
            connection=self,
        )
        self._exchange = exchange
        try:
            self._serve(exchange)
        except Refusal as refusal:
            exchange.refuse(refusal)
