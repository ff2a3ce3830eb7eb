"""The clients of the updates: server-sent events, one response each that does not end.

A client that does not read costs the reactor's buffer and one whole page at most.  When its buffer is full it gets
nothing; when it reads again it gets the whole page; after :data:`STALLED` seconds it is disconnected.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from criwist.metrics.page.document import Edition

#: Pages that are open at once.  The metrics address takes more connections, so Prometheus is never kept out.
MAX_CLIENTS: Final = 16
#: Seconds that a client may leave its updates unread.
STALLED: Final = 30.0
#: What a browser does after a break: connect again after so many milliseconds.
_FIRST: Final = b"retry: 3000\n\n"


@implementer(IPushProducer)
@define(eq=False)
class _Client:
    """One open page.  The transport pauses it while its buffer is full."""

    request: Request
    clock: IReactorTime
    #: The number of the edition that it has; None: it has nothing yet.
    number: int | None = None
    stalled_since: float | None = None

    def send(self, edition: Edition) -> None:
        if self.stalled_since is not None:
            if self.clock.seconds() - self.stalled_since > STALLED:
                self.request.channel.forceAbortClient()
            return
        if self.number != edition.number:
            follows = self.number is not None and self.number + 1 == edition.number
            self.request.write(edition.change if follows else edition.whole())
            self.number = edition.number

    def pauseProducing(self) -> None:
        if self.stalled_since is None:
            self.stalled_since = self.clock.seconds()

    def resumeProducing(self) -> None:
        self.stalled_since = None

    def stopProducing(self) -> None:
        self.stalled_since = None


@define(eq=False)
class Clients:
    """All open pages.  On the reactor's thread."""

    _clock: IReactorTime
    _clients: dict[Request, _Client] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        """Whether there are as many clients as there may be."""
        return len(self._clients) >= MAX_CLIENTS

    def add(self, request: Request) -> None:
        """Send editions as the response to *request* until its client is gone.  The headers are set."""
        client = self._clients[request] = _Client(request, self._clock)
        request.registerProducer(client, True)
        request.notifyFinish().addBoth(self._gone, request)
        request.write(_FIRST)

    def publish(self, edition: Edition) -> None:
        """Send what is new to every client."""
        for client in list(self._clients.values()):
            client.send(edition)

    def end(self) -> None:
        """End all responses."""
        for client in list(self._clients.values()):
            client.request.unregisterProducer()
            client.request.finish()

    def _gone(self, result: Any, request: Request) -> None:
        self._clients.pop(request, None)
