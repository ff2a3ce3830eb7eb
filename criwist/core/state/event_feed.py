"""The engine's life as we see it: connect, follow its events, notice that it went, come back.

1. Connect: ask the engine what it is (``IDocker.connect``).
2. Follow ``/events`` from where the last feed broke, or from now.
3. When the feed stands, take over a full listing.  Events that arrive meanwhile refresh what they name, so
   nothing that happens between listing and inspection is missed.
4. When the feed breaks, or the listing or an inspection gets no answer, mark the copy stale and go to 1, after a
   pause that grows from a tenth of a second to five: Docker may come and go, it never ends this process.

Who waits for the end of an exec is told by the ``exec_die`` event.  A break may hide that event, so after each
reconnection all who wait are told to look for themselves.
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

#: Seconds between attempts to reach the engine: the first, and the longest.
MIN_BACKOFF = 0.1
MAX_BACKOFF = 5.0

#: Container events after which a container may look different.  All others (exec_*, top, attach, health…) do not
#: change anything that the CRI shows.
_CHANGES = frozenset(
    {"create", "start", "die", "stop", "kill", "oom", "pause", "unpause", "rename", "update", "destroy", "restart"}
)


@define(eq=False)
class EventFeed:
    """Keeps *cache* fed.

    :param connected: awaited at each connection, before the listing, with the engine's facts.
    :param before_use: awaited at each connection, when the copy is complete, before it is used.
    :param taken_over: awaited at each connection, when the copy is in use.
    :param image_event: called with each image event.
    """

    _docker: IDocker
    _cache: Cache
    _clock: IReactorTime
    _connected: Callable[[EngineFacts], Awaitable[None]]
    _before_use: Callable[[], Awaitable[None]]
    _taken_over: Callable[[], Awaitable[None]]
    _image_event: Callable[[JSONObject], None]
    _running: Deferred[None] | None = field(default=None, init=False)
    _since: str = field(default="", init=False)
    _pause: float = field(default=MIN_BACKOFF, init=False)
    _said: str = field(default="", init=False)
    #: Fails when something shows that the copy is out of date though the feed stands.
    _doubt: Deferred[None] = field(factory=Deferred, init=False)
    _exec_ends: dict[str, list[Deferred[int | None]]] = field(factory=dict, init=False)
    _log = Logger()

    def start(self) -> None:
        """Begin, and go on until :meth:`stop`."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError))

    def stop(self) -> None:
        """End the feed.  Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def exec_ended(self, exec_id: str) -> Deferred[int | None]:
        """Fires with the exit code when the engine says that the exec ended, with None when it may have.

        Ask before starting the exec; after None look with ``inspect_exec``.  Cancel it when no longer interested.
        """

        def forget(waiter: Deferred[int | None]) -> None:
            waiters = self._exec_ends.get(exec_id, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._exec_ends.pop(exec_id, None)

        waiter: Deferred[int | None] = Deferred(forget)
        self._exec_ends.setdefault(exec_id, []).append(waiter)
        return waiter

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except errors.CriwistError as error:
                self._went_away(str(error))
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - no answer of the engine, however strange, may end us
                self._log.failure("following the engine failed")
                self._went_away("the engine's answers cannot be understood; see criwist's log")
            await deferLater(self._clock, self._pause, lambda: None)
            self._pause = min(self._pause * 2, MAX_BACKOFF)

    async def _follow(self) -> None:
        facts = await self._docker.connect()
        self._cache.connected()
        await self._connected(facts)
        standing: Deferred[None] = Deferred()
        self._doubt = Deferred()
        feed = Deferred.fromCoroutine(self._docker.events(self._since, lambda: standing.callback(None), self._deliver))
        under_way = [self._doubt, Deferred.fromCoroutine(self._take_over(facts, standing)), feed]
        try:
            await gatherResults(under_way, consumeErrors=True)  # until one fails, and the feed always does
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            for one in under_way:
                one.cancel()

    async def _take_over(self, facts: EngineFacts, standing: Deferred[None]) -> None:
        await standing
        await self._cache.resync(self._before_use)
        self._pause = MIN_BACKOFF
        self._said = ""
        self._log.info(
            "Docker {version} (API {major}.{minor}): {sandboxes} pods, {containers} containers",
            version=facts.version,
            major=facts.api_version[0],
            minor=facts.api_version[1],
            sandboxes=len(self._cache.snapshot.sandboxes),
            containers=len(self._cache.snapshot.containers),
        )
        self._everyone_look()
        try:
            await self._taken_over()
        except errors.CriwistError as error:
            self._log.error("not everything could be made good after the connection: {error}", error=str(error))

    def _went_away(self, why: str) -> None:
        told = why if why.startswith("Docker ") else f"Docker is away: {why}"
        self._cache.disconnected(told)
        if told != self._said:  # once, not at every attempt
            self._said = told
            self._log.warn("{why}; trying again", why=told)

    def _deliver(self, event: JSONObject) -> None:
        self._since = _resume_point(event) or self._since
        kind = event.get("Type")
        if kind == "image":
            self._image_event(event)
        elif kind == "container":
            self._container_event(event)

    def _container_event(self, event: JSONObject) -> None:
        action = str(event.get("Action", event.get("status", "")))
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        if action.startswith("exec_die"):
            for waiter in self._exec_ends.pop(str(attributes.get("execID", "")), []):
                waiter.callback(_exit_code(attributes))
        elif action in _CHANGES and labels.TYPE in attributes:
            refreshing = Deferred.fromCoroutine(self._cache.refresh(str(actor.get("ID", event.get("id", "")))))
            refreshing.addErrback(self._missed)

    def _missed(self, failure: Failure) -> None:
        """A change could not be looked at.  Unless it is the container's own fault, everything is listed anew."""
        failure.trap(errors.CriwistError)
        if failure.check(errors.Unavailable, errors.DeadlineExceeded) and not self._doubt.called:
            self._doubt.errback(failure)

    def _everyone_look(self) -> None:
        waiting, self._exec_ends = self._exec_ends, {}
        for waiters in waiting.values():
            for waiter in waiters:
                waiter.callback(None)


def _exit_code(attributes: JSONObject) -> int | None:
    """What an ``exec_die`` event says of the end."""
    text = str(attributes.get("exitCode", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _resume_point(event: JSONObject) -> str:
    """The ``since`` that resumes a feed at *event*, itself included."""
    nanoseconds: Any = event.get("timeNano")
    if not isinstance(nanoseconds, int):
        return ""
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"
