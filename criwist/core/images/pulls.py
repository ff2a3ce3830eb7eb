"""Pulls: shared between those who want the same, given up when they make no progress or nobody waits for them.

Two callers who ask for one reference with equal credentials wait for one pull of the engine.  A caller who goes away
leaves the others theirs; when the last one goes, the engine's pull is cancelled by dropping its connection.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.core.images.pull_progress import PullProgress
from criwist.docker.error_responses import is_registry_denial, registry_status
from criwist.errors import CriwistError, DeadlineExceeded, PermissionDenied, Unavailable
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.reference import Reference

#: How a message has to begin for a kubelet to know that the registry, not the pod, is at fault.
REGISTRY_UNAVAILABLE = "RegistryUnavailable"
#: Answers of a registry, or of a proxy before it, that is away for now.
_AWAY = frozenset({502, 503, 504})


@define(eq=False)
class _Pull:
    """One pull of the engine, and who waits for it."""

    work: Deferred[Any] | None = None
    waiting: list[Deferred[Any]] = field(factory=list)


@define(eq=False)
class Pulls:
    """Pulls images.

    :param deadline: seconds without progress after which a pull is given up; 0: never.
    :param learn: called after a pull with its reference; what it returns is what those who wait get.
    """

    _docker: IDocker
    _clock: IReactorTime
    _deadline: float
    _learn: Callable[[Reference], Awaitable[str]]
    _under_way: dict[tuple[str, str], _Pull] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    async def pull(self, reference: Reference, auth: JSONObject | None) -> str:
        """Pull the image that *reference* names, or wait for the pull of it that is under way.

        :param reference: specific: with a tag or a digest.
        :raises DeadlineExceeded: no progress; the text names image, layer and last progress.
        :raises Unavailable: Docker is away, or (``RegistryUnavailable: …``) the registry is.
        """
        key = (str(reference), json.dumps(auth, sort_keys=True))
        shared = self._under_way.get(key)
        if shared is None:
            shared = self._under_way[key] = _Pull()
        waiter: Deferred[str] = Deferred(lambda waiter: self._gone(key, waiter))
        shared.waiting.append(waiter)
        if shared.work is None:
            shared.work = Deferred.fromCoroutine(self._work(reference, auth))
            shared.work.addBoth(self._ended, key, shared)
        return await waiter

    def _ended(self, result: str | Failure, key: tuple[str, str], shared: _Pull) -> None:
        if self._under_way.get(key) is shared:
            del self._under_way[key]
        waiting, shared.waiting = shared.waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _gone(self, key: tuple[str, str], waiter: Deferred[str]) -> None:
        shared = self._under_way.get(key)
        if shared is None or waiter not in shared.waiting:
            return
        shared.waiting.remove(waiter)
        if not shared.waiting:
            # Taken out first: who asks while the engine's pull is being cancelled gets a new one.
            del self._under_way[key]
            if shared.work is not None:
                shared.work.cancel()

    async def _work(self, reference: Reference, auth: JSONObject | None) -> str:
        self._log.info("pulling {image}", image=reference.familiar)
        try:
            await self._watched(reference, auth)
        except CancelledError:
            self._log.info("the pull of {image} was cancelled: nobody waits for it", image=reference.familiar)
            raise
        except CriwistError as error:
            self._log.warn("the pull of {image} failed: {error}", image=reference.familiar, error=str(error))
            if registry_status(error) in _AWAY:
                raise Unavailable(f"{REGISTRY_UNAVAILABLE}: {error}") from error
            if is_registry_denial(error):
                raise PermissionDenied(f"pulling {reference.familiar}: {error}") from error
            raise
        return await self._learn(reference)

    def _watched(self, reference: Reference, auth: JSONObject | None) -> Deferred[None]:
        """The engine's pull, given up when it makes no progress."""
        clock = self._clock
        progress = PullProgress(self._deadline, clock.seconds())
        pulling: Deferred[None] = Deferred.fromCoroutine(
            self._docker.pull_image(str(reference), auth, lambda message: progress.message(message, clock.seconds()))
        )
        stalled = False
        check: IDelayedCall | None = None

        def look() -> None:
            nonlocal stalled, check
            check = None
            remaining = progress.remaining(clock.seconds())
            if remaining is not None and remaining <= 0:
                stalled = True
                pulling.cancel()
            elif self._deadline > 0:
                # While the clock rests it cannot run out sooner than a whole deadline after it goes on.
                check = clock.callLater(self._deadline if remaining is None else remaining, look)

        def over(result: Any) -> Any:
            if check is not None:
                check.cancel()
            if stalled and isinstance(result, Failure):
                raise DeadlineExceeded(
                    f"pulling {reference.familiar} made no progress for {self._deadline:g} s and was cancelled; "
                    f"last: {progress.last()}"
                )
            return result

        if not pulling.called:
            look()
        return pulling.addBoth(over)
