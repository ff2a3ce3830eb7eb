"""The part of IDocker that logs use, in memory; the test decides how each response ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from criwist.interfaces.engine import EngineFacts


class Transport:
    """The transport of a response body's receiver."""

    def __init__(self) -> None:
        self.paused = False
        self.lost = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def loseConnection(self) -> None:
        self.lost = True


class Body:
    """The response to a request for a log."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: Protocol | None = None

    def deliverBody(self, protocol: Protocol) -> None:
        """Connect the receiver."""
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def end(self) -> None:
        """End the body."""
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(ResponseDone()))

    def end_with_connection(self) -> None:
        """End the connection, which may or may not be the end of the body."""
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(PotentialDataLoss()))

    def break_off(self) -> None:
        """Break the connection."""
        assert self.protocol is not None
        self.protocol.connectionLost(connectionDone)


class MemoryEngine:
    """Records the requests for logs, and responds when the test asks for it."""

    def __init__(self, facts: EngineFacts | None = None) -> None:
        self.facts = facts
        #: Parameters and responses, the oldest first.
        self.requests: list[tuple[Mapping[str, str], Deferred[Any]]] = []

    async def logs(self, container: str, parameters: Mapping[str, str]) -> Any:
        """``GET /containers/{id}/logs``."""
        response: Deferred[Any] = Deferred()
        self.requests.append((parameters, response))
        return await response

    def respond(self) -> Body:
        """Respond to the last request with a log."""
        body = Body()
        self.requests[-1][1].callback(body)
        return body

    def fail(self, error: Exception) -> None:
        """Respond to the last request with an error."""
        self.requests[-1][1].errback(error)

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters of the last request."""
        return self.requests[-1][0]
