"""The page: its editions, made in a thread while somebody looks.

While a page is open, an edition is made each second, and the kernel is read every five.  A look without updates, from a
browser without JavaScript, keeps the readings going for :data:`LINGER` seconds, so that a reload has a plot.  After
that nothing is read and nothing is kept but the last events and warnings.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from criwist.core.assembly import Core
from criwist.core.state.cache import Snapshot
from criwist.metrics.page import view
from criwist.metrics.page.document import Edition, update
from criwist.metrics.page.figures import read_figures
from criwist.metrics.page.history import INTERVAL, History
from criwist.metrics.page.latencies import Latencies, Latency
from criwist.metrics.page.recent import RecentEvents, RecentWarnings
from criwist.metrics.page.resources import FILES, Document, PackageFile, Updates
from criwist.metrics.page.state import NodeState, collect
from criwist.metrics.page.updates import Clients
from criwist.metrics.recorder import Recorder

#: Seconds between two editions while a page is open.
UPDATE_INTERVAL: Final = 1.0
#: Seconds for which an edition is new enough for the next look.
FRESH: Final = 0.5
#: Seconds that the readings go on after the last look.
LINGER: Final = 120.0


@define(eq=False)
class Page:
    """Makes editions, and gives the resources that serve them.

    :param any_host: whether it is served to whatever name a client knows it by: with TLS.
    :param host: the node's name, in the title.
    """

    _reactor: Any
    _core: Core
    _recorder: Recorder
    _any_host: bool = False
    _host: str = field(factory=socket.gethostname)
    _started: float = field(factory=time.time, init=False)
    _clients: Clients = field(init=False)
    _events: RecentEvents = field(init=False)
    _warnings: RecentWarnings = field(factory=RecentWarnings, init=False)
    #: Held while a thread makes an edition.
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False)
    _maker: _Maker = field(init=False)
    _edition: Edition | None = field(default=None, init=False)
    _made_at: float = field(default=0.0, init=False)
    #: Until when the readings go on without an open page.
    _until: float = field(default=0.0, init=False)
    _watching: bool = field(default=False, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._clients = Clients(self._reactor)
        self._events = RecentEvents(self._core.cache)
        self._maker = _Maker(self._core, Latencies(self._recorder.durations))

    def resources(self) -> dict[bytes, Resource]:
        """Return the resources by their path below ``/``."""
        found: dict[bytes, Resource] = {name.encode("ascii"): PackageFile(name) for name in FILES}
        return found | {
            b"": Document(self.html, self._any_host),
            b"updates": Updates(self._clients, self._watch, self._any_host),
        }

    def start(self) -> None:
        """Begin to remember warnings."""
        globalLogPublisher.addObserver(self._warnings)

    def stop(self) -> None:
        """End all updates, and readings."""
        globalLogPublisher.removeObserver(self._warnings)
        self._watching = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._clients.end()

    def html(self) -> Deferred[bytes]:
        """Return a Deferred that fires with the document as of now."""
        self._watch()
        return self.look().addCallback(lambda edition: self._in_thread(edition.html))

    def look(self) -> Deferred[Edition]:
        """Return a Deferred that fires with an edition as of now."""
        return self._one_at_a_time.run(self._look)

    def _look(self) -> Deferred[Edition]:
        now = self._reactor.seconds()
        if self._edition is not None and now - self._made_at < FRESH:
            return succeed(self._edition)
        state = collect(
            self._core,
            host=self._host,
            started=self._started,
            at=time.time(),
            events=self._events.newest(),
            warnings=self._warnings.newest(),
        )

        def made(edition: Edition) -> Edition:
            self._edition, self._made_at = edition, now
            return edition

        return self._in_thread(self._maker.edition, state, now, self._edition).addCallback(made)

    def _in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def _watch(self) -> None:
        """Make editions from now on, for a while at least."""
        self._until = self._reactor.seconds() + LINGER
        if not self._watching:
            self._watching = True
            self._next()

    def _next(self) -> None:
        self._call = None
        if self._clients:
            self._until = self._reactor.seconds() + LINGER
        if not self._watching:
            return
        if self._reactor.seconds() >= self._until:
            self._watching = False
            self._one_at_a_time.run(self._forget)
            return
        self.look().addCallbacks(self._clients.publish, self._failed).addBoth(self._schedule)

    def _schedule(self, result: object) -> None:
        if self._watching and self._call is None:
            interval = UPDATE_INTERVAL if self._clients else INTERVAL
            self._call = self._reactor.callLater(interval, self._next)

    def _failed(self, failure: Failure) -> None:
        """Log why there is no edition, and end the updates: an open page says that it is not live."""
        self._log.failure("the page could not be made", failure)
        self._clients.end()

    def _forget(self) -> None:
        self._edition = None
        self._maker.clear()


@define(eq=False)
class _Maker:
    """Makes editions, in one thread at a time."""

    _core: Core
    _latencies: Latencies
    _history: History = field(factory=History, init=False)
    _read_at: float | None = field(default=None, init=False)
    #: As of the last reading.
    _read_latencies: tuple[Latency, ...] = field(default=(), init=False)
    #: What the last edition's pods were made of.
    _snapshot: Snapshot | None = field(default=None, init=False)

    def edition(self, state: NodeState, now: float, before: Edition | None) -> Edition:
        """Return the next edition, after a reading of the kernel if one is due.

        :param now: seconds of the reactor's clock.
        """
        pods = before.lists["pods"] if before is not None and state.snapshot is self._snapshot else None
        # A reading that is a little early is better than one that is a whole update late.
        if self._read_at is None or now - self._read_at >= INTERVAL - UPDATE_INTERVAL / 2:
            self._read_at, pods = now, None
            self._history.record(now, read_figures(self._core.stats))
            self._read_latencies = self._latencies.read(now)
        self._snapshot = state.snapshot
        since_start = self._latencies.since_start
        lists = view.lists(state, self._history, self._read_latencies, since_start=since_start, pods=pods)
        if before is None:
            return Edition(0, state.host, lists, b"")
        return Edition(before.number + 1, state.host, lists, update(before.lists, lists))

    def clear(self) -> None:
        """Forget all readings."""
        self._history.clear()
        self._latencies.clear()
        self._read_at, self._snapshot = None, None
