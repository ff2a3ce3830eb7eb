"""The connection to the engine's events: connect, follow, detect a break, reconnect.

1. Connect: read the engine's facts (``IDocker.connect``).
2. Follow ``/events`` from where the last feed broke, or from now.
3. When the feed is established, list the images, and resync the cache with a full listing.  Events that arrive
   meanwhile refresh the images and containers that they name, so no change between listing and inspection is missed.
4. When the feed breaks, or the listing or an inspection gets no answer, mark the cache stale and go to 1, after a
   backoff that grows from a tenth of a second to five.  Docker may come and go; that never ends this process.

The ``exec_die`` event reports the end of an exec to its subscribers.  A break may hide that event, so after each
reconnection all subscribers are notified, and read the exec's state themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist import errors, labels
from criwist.core.state.cache import Cache
from criwist.interfaces.engine import EngineFacts, IDocker, JSONObject
from criwist.interfaces.metrics import NO_METRICS, IMetrics

#: Seconds between attempts to connect to the engine: the first time, and at most.
MIN_BACKOFF = 0.1
MAX_BACKOFF = 5.0

#: Events that may change something in a container that the CRI shows.  All others (exec_*, top, attach, health…) change
#: nothing of it.
_CHANGES = frozenset(
    {"create", "start", "die", "stop", "kill", "oom", "pause", "unpause", "rename", "update", "destroy", "restart"}
)


@define(eq=False)
class EventFeed:
    """Keeps *cache* up to date.

    :param connected: awaited at each connection, before the feed is established, with the engine's facts.
    :param before_listing: awaited at each connection, when the feed is established: lists what containers refer to.
    :param before_use: awaited at each connection, when the cache is complete, before it is fresh.
    :param after_resync: awaited at each connection, when the cache is fresh.
    :param image_event: called with each image event.
    :param oom_event: called with the id of a container, after an event that a process of it was killed for want of
        memory; once for each event, whatever a reconnection repeats.
    """

    _docker: IDocker
    _cache: Cache
    _clock: IReactorTime
    _connected: Callable[[EngineFacts], Awaitable[None]] = field(kw_only=True)
    _before_listing: Callable[[], Awaitable[None]] = field(kw_only=True)
    _before_use: Callable[[], Awaitable[None]] = field(kw_only=True)
    _after_resync: Callable[[], Awaitable[None]] = field(kw_only=True)
    _image_event: Callable[[JSONObject], None] = field(kw_only=True)
    _oom_event: Callable[[str], None] = field(kw_only=True)
    _metrics: IMetrics = field(kw_only=True, default=NO_METRICS)
    _running: Deferred[None] | None = field(default=None, init=False)
    _since: str = field(default="", init=False)
    _backoff: float = field(default=MIN_BACKOFF, init=False)
    #: The engine's time of the latest event, and of the latest one before the connection, nanoseconds: a resumed feed
    #: begins with events that were counted before.
    _latest: int = field(default=0, init=False)
    _counted_before: int = field(default=0, init=False)
    #: The reason of the last disconnection that was logged; ``""`` after a resync.
    _logged_reason: str = field(default="", init=False)
    #: Fails when a refresh failed, so that the cache is out of date although the feed is up.
    _stale: Deferred[None] = field(factory=Deferred, init=False)
    _exec_subscribers: dict[str, list[Deferred[int | None]]] = field(factory=dict, init=False)
    _log = Logger()

    def start(self) -> None:
        """Connect, follow and reconnect until :meth:`stop`."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError))

    def stop(self) -> None:
        """Disconnect.  Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def exec_ended(self, exec_id: str) -> Deferred[int | None]:
        """Subscribe to the end of an exec: the Deferred fires with its exit code, or with None if it may have ended.

        Subscribe before starting the exec; after None read ``inspect_exec``.  Cancel the Deferred to unsubscribe.
        """

        def unsubscribe(subscriber: Deferred[int | None]) -> None:
            subscribers = self._exec_subscribers.get(exec_id, [])
            if subscriber in subscribers:
                subscribers.remove(subscriber)
            if not subscribers:
                self._exec_subscribers.pop(exec_id, None)

        subscriber: Deferred[int | None] = Deferred(unsubscribe)
        self._exec_subscribers.setdefault(exec_id, []).append(subscriber)
        return subscriber

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except errors.CriwistError as error:
                self._disconnected(str(error))
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - no answer of the engine, however strange, may end the process
                self._log.failure("following the engine's events failed")
                self._disconnected("the engine's answers cannot be parsed; see criwist's log")
            await deferLater(self._clock, self._backoff, lambda: None)
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)

    async def _follow(self) -> None:
        facts = await self._docker.connect()
        self._cache.connected()
        await self._connected(facts)
        established: Deferred[None] = Deferred()
        self._counted_before = self._latest
        self._stale = Deferred()
        feed = Deferred.fromCoroutine(
            self._docker.events(self._since, lambda: established.callback(None), self._dispatch)
        )
        under_way = [self._stale, Deferred.fromCoroutine(self._resync(facts, established)), feed]
        try:
            await gatherResults(under_way, consumeErrors=True)  # until one fails, and the feed always does
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            for one in under_way:
                one.cancel()

    async def _resync(self, facts: EngineFacts, established: Deferred[None]) -> None:
        await established
        await self._before_listing()
        await self._cache.resync(self._before_use)
        self._backoff = MIN_BACKOFF
        self._logged_reason = ""
        self._log.info(
            "connected to Docker {version} (API {major}.{minor}): {sandboxes} pods, {containers} containers",
            version=facts.version,
            major=facts.api_version[0],
            minor=facts.api_version[1],
            sandboxes=len(self._cache.snapshot.sandboxes),
            containers=len(self._cache.snapshot.containers),
        )
        self._notify_all_exec_subscribers()
        try:
            await self._after_resync()
        except errors.CriwistError as error:
            self._log.error("the recovery after the connection is not complete: {error}", error=str(error))

    def _disconnected(self, error: str) -> None:
        self._metrics.disconnected()
        reason = error if error.startswith("Docker ") else f"Docker is away: {error}"
        self._cache.disconnected(reason)
        if reason != self._logged_reason:  # once, not at every attempt
            self._logged_reason = reason
            self._log.warn("{reason}; reconnecting", reason=reason)

    def _dispatch(self, event: JSONObject) -> None:
        self._count(event)
        self._since = _resume_point(event) or self._since
        kind = event.get("Type")
        if kind == "image":
            self._image_event(event)
        elif kind == "container":
            self._container_event(event)

    def _count(self, event: JSONObject) -> None:
        time = event.get("timeNano")
        if not isinstance(time, int) or time <= self._counted_before:
            return
        self._latest = time
        self._metrics.event(max(0.0, self._clock.seconds() - time / 1e9))
        if event.get("Type") == "container" and event.get("Action") == "oom":
            self._oom_event(str((event.get("Actor") or {}).get("ID", "")))

    def _container_event(self, event: JSONObject) -> None:
        action = str(event.get("Action", event.get("status", "")))
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        if action.startswith("exec_die"):
            for subscriber in self._exec_subscribers.pop(str(attributes.get("execID", "")), []):
                subscriber.callback(_exit_code(attributes))
        elif action in _CHANGES and labels.TYPE in attributes:
            refreshing = Deferred.fromCoroutine(self._cache.refresh(str(actor.get("ID", event.get("id", "")))))
            refreshing.addErrback(self._refresh_failed)

    def _refresh_failed(self, failure: Failure) -> None:
        """Reconnect and resync if the engine did not answer.  An error of the one container needs no resync."""
        failure.trap(errors.CriwistError)
        if failure.check(errors.Unavailable, errors.DeadlineExceeded) and not self._stale.called:
            self._stale.errback(failure)

    def _notify_all_exec_subscribers(self) -> None:
        by_exec, self._exec_subscribers = self._exec_subscribers, {}
        for subscribers in by_exec.values():
            for subscriber in subscribers:
                subscriber.callback(None)


def _exit_code(attributes: JSONObject) -> int | None:
    """Return the exit code in an ``exec_die`` event; None without a valid one."""
    text = str(attributes.get("exitCode", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _resume_point(event: JSONObject) -> str:
    """Return the ``since`` parameter that resumes a feed at *event*, inclusive."""
    nanoseconds: Any = event.get("timeNano")
    if not isinstance(nanoseconds, int):
        return ""
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"
