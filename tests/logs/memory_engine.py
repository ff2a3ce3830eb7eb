"""As much of IDocker as logs ask for, in memory, and answers whose end and breaks the test decides."""

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
    """What the receiver of a body has as its transport."""

    def __init__(self) -> None:
        self.paused = False
        self.lost = False

    def pauseProducing(self) -> None:
        """No more, for now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """More."""
        self.paused = False

    def loseConnection(self) -> None:
        """No more."""
        self.lost = True


class Body:
    """The answer to a request for a log."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: Protocol | None = None

    def deliverBody(self, protocol: Protocol) -> None:
        """Who gets it."""
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Some of it."""
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def end(self) -> None:
        """That was all."""
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(ResponseDone()))

    def end_with_connection(self) -> None:
        """That was all, or the connection broke."""
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(PotentialDataLoss()))

    def break_off(self) -> None:
        """The engine is gone."""
        assert self.protocol is not None
        self.protocol.connectionLost(connectionDone)


class MemoryEngine:
    """Notes the requests for logs, and answers them when the test says so."""

    def __init__(self, facts: EngineFacts | None = None) -> None:
        self.facts = facts
        #: Parameters and answers, the oldest first.
        self.requests: list[tuple[Mapping[str, str], Deferred[Any]]] = []

    async def logs(self, container: str, parameters: Mapping[str, str]) -> Any:
        """``GET /containers/{id}/logs``."""
        answer: Deferred[Any] = Deferred()
        self.requests.append((parameters, answer))
        return await answer

    def answer(self) -> Body:
        """Answer the last request with a log."""
        body = Body()
        self.requests[-1][1].callback(body)
        return body

    def refuse(self, error: Exception) -> None:
        """Answer the last request with an error."""
        self.requests[-1][1].errback(error)

    @property
    def parameters(self) -> Mapping[str, str]:
        """Those of the last request."""
        return self.requests[-1][0]
