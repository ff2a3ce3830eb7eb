"""HTTP as an engine serves it: requests in, JSON out, streams, and connections that leave HTTP.

:class:`EngineProtocol` is the server's end of a connection, over h11.  Each request becomes an :class:`Exchange`, given
to the *serve* function, which answers it now or later, whole or in parts, or takes the connection over.
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

#: RFC 9110, 6.4.1: answers that have no body.
_BODILESS = frozenset({204, 304})


@frozen
class Refusal(Exception):
    """Raised by who serves a request: an error answer, in the engine's form."""

    status: int
    message: str


@define(eq=False)
class Exchange:
    """A request and its answer."""

    method: str
    #: Without the API version.
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    _connection: EngineProtocol
    #: Called if the client goes away before the answer is whole.
    on_abandoned: list[Callable[[], None]] = field(factory=list)
    finished: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def document(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body) if self.body else {}

    def reply(self, status: int, document: Any = None) -> None:
        """Answer whole; a document is sent as JSON, bytes as they are, None as nothing; nobody there: not at all."""
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
        """Answer with an error."""
        self.reply(refusal.status, {"message": refusal.message})

    def begin(self, content_type: str = "application/json") -> None:
        """Answer in parts: the headers."""
        self._connection.send(h11.Response(status_code=200, headers=[("Content-Type", content_type)]))

    def write(self, data: Any) -> None:
        """Answer in parts: bytes, or a document on a line of its own.  Nothing is sent once the client is gone."""
        if not self.finished:
            self._connection.send(
                h11.Data(data=data if isinstance(data, bytes) else json.dumps(data).encode() + b"\r\n")
            )

    def end(self) -> None:
        """The answer is whole."""
        if not self.finished:
            self.finished = True
            self._connection.send(h11.EndOfMessage())
            self._connection.next_request()

    def upgrade(self, protocol: IProtocol) -> None:
        """Leave HTTP: the connection is *protocol*'s from here."""
        self.finished = True
        self._connection.upgrade(protocol)

    def abandoned(self) -> None:
        """The client is gone."""
        if not self.finished:
            self.finished = True
            for callback in self.on_abandoned:
                callback()


@implementer(IHalfCloseableProtocol)
class EngineProtocol(Protocol):
    """One connection."""

    def __init__(self, serve: Callable[[Exchange], None], gone: Callable[[EngineProtocol], None]) -> None:
        self._serve = serve
        self._gone = gone
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._exchange: Exchange | None = None
        self._upgraded: IProtocol | None = None

    @property
    def _transport(self) -> Any:
        return self.transport

    def drop(self) -> None:
        """As when the engine dies."""
        self._transport.abortConnection()

    def send(self, event: h11.Event) -> None:
        """Send an event of the answer."""
        data = self._http.send(event)
        if data:
            self._transport.write(data)

    def next_request(self) -> None:
        """The answer is whole: on to the next request, or the end."""
        self._exchange = None
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.loseConnection()
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read_events()

    def upgrade(self, protocol: IProtocol) -> None:
        """Answer 101 and hand over."""
        self.send(h11.InformationalResponse(status_code=101, headers=[("Connection", "Upgrade"), ("Upgrade", "tcp")]))
        self._upgraded = protocol
        self._exchange = None
        protocol.makeConnection(self._transport)
        trailing = self._http.trailing_data[0]
        if trailing:
            protocol.dataReceived(trailing)

    def dataReceived(self, data: bytes) -> None:
        """Requests, or whatever follows them."""
        if self._upgraded is not None:
            self._upgraded.dataReceived(data)
            return
        self._http.receive_data(data)
        self._read_events()

    def readConnectionLost(self) -> None:
        """The client says no more: a request under way is abandoned, a taken-over connection half closed."""
        if self._upgraded is None:
            self._transport.loseConnection()
        elif IHalfCloseableProtocol.providedBy(self._upgraded):
            self._upgraded.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our half is closed."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self._gone(self)
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
