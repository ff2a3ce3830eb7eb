"""Pulls: shared by equal requests, cancelled when they stall or when their last caller cancels.

Callers that ask for one reference with equal credentials wait for one pull of the engine.  A caller that cancels does
not affect the others; when the last one cancels, the engine's pull is cancelled by closing its connection.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.core.images.pull_progress import PullProgress
from criwist.errors import (
    CriwistError,
    DeadlineExceeded,
    EngineFailure,
    PermissionDenied,
    RegistryDenied,
    RegistryUnavailable,
    Unavailable,
)
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.interfaces.metrics import NO_METRICS, OK, IMetrics, code_of
from criwist.reference import Reference

#: A kubelet recognizes by this beginning of a message that the registry, not the pod, is at fault.
REGISTRY_UNAVAILABLE = "RegistryUnavailable"


@frozen
class PullState:
    """A pull under way.  Sizes are bytes."""

    reference: Reference
    downloaded: int
    #: Of the layers whose download has begun.
    announced: int


@define(eq=False)
class _Pull:
    """One pull of the engine, and its callers."""

    work: Deferred[Any] | None = None
    waiters: list[Deferred[Any]] = field(factory=list)


@define(eq=False)
class Pulls:
    """Pulls images.

    :param deadline: seconds without progress after which a pull is cancelled; 0: never.
    :param metrics: counts pulls of the engine.
    :param image_id: called after a pull with its reference; returns the image's id, the result of the pull.
    """

    _docker: IDocker
    _clock: IReactorTime
    _deadline: float
    _image_id: Callable[[Reference], Awaitable[str]]
    _metrics: IMetrics = NO_METRICS
    _under_way: dict[tuple[str, str], _Pull] = field(factory=dict, init=False)
    #: Progress of the engine's pulls.
    _progress: dict[PullProgress, Reference] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def under_way(self) -> list[PullState]:
        """Return the engine's pulls under way.  On the reactor's thread."""
        return [PullState(reference, one.downloaded, one.announced) for one, reference in self._progress.items()]

    async def pull(self, reference: Reference, auth: JSONObject | None) -> str:
        """Pull the image that *reference* names, or wait for an equal pull under way; return the image's id.

        :param reference: specific: with a tag or a digest.
        :raises DeadlineExceeded: no progress; the text names image, layer and last progress.
        :raises Unavailable: Docker is unreachable, or (``RegistryUnavailable: …``) the registry is.
        :raises PermissionDenied: the registry rejects the credentials, or wants some.
        """
        key = (str(reference), json.dumps(auth, sort_keys=True))
        shared = self._under_way.get(key)
        if shared is None:
            shared = self._under_way[key] = _Pull()
        waiter: Deferred[str] = Deferred(lambda waiter: self._caller_cancelled(key, waiter))
        shared.waiters.append(waiter)
        if shared.work is None:
            shared.work = Deferred.fromCoroutine(self._run(reference, auth))
            shared.work.addBoth(self._ended, key, shared)
        return await waiter

    def _ended(self, result: str | Failure, key: tuple[str, str], shared: _Pull) -> None:
        if self._under_way.get(key) is shared:
            del self._under_way[key]
        waiters, shared.waiters = shared.waiters, []
        for waiter in waiters:
            waiter.callback(result)

    def _caller_cancelled(self, key: tuple[str, str], waiter: Deferred[str]) -> None:
        shared = self._under_way.get(key)
        if shared is None or waiter not in shared.waiters:
            return
        shared.waiters.remove(waiter)
        if not shared.waiters:
            # Taken out first: a caller that comes while the engine's pull is being cancelled gets a new one.
            del self._under_way[key]
            if shared.work is not None:
                shared.work.cancel()

    async def _run(self, reference: Reference, auth: JSONObject | None) -> str:
        self._log.info("pulling {image}", image=reference.familiar)
        try:
            await self._pull_with_deadline(reference, auth)
        except CancelledError:
            self._log.info("the pull of {image} was cancelled by its last caller", image=reference.familiar)
            raise
        except CriwistError as error:
            self._log.warn("the pull of {image} failed: {error}", image=reference.familiar, error=str(error))
            if isinstance(error, RegistryUnavailable):
                raise Unavailable(f"{REGISTRY_UNAVAILABLE}: pulling {reference.familiar}: {error}") from error
            if isinstance(error, RegistryDenied):
                raise PermissionDenied(f"pulling {reference.familiar}: {error}") from error
            if isinstance(error, EngineFailure):
                raise EngineFailure(f"pulling {reference.familiar}: {error}") from error
            raise
        return await self._image_id(reference)

    def _pull_with_deadline(self, reference: Reference, auth: JSONObject | None) -> Deferred[None]:
        """Run the engine's pull; cancel it when it makes no progress."""
        clock = self._clock
        progress = PullProgress(self._deadline, clock.seconds())
        began = self._metrics.now()
        self._progress[progress] = reference
        pulling: Deferred[None] = Deferred.fromCoroutine(
            self._docker.pull_image(str(reference), auth, lambda message: progress.update(message, clock.seconds()))
        )
        stalled = False
        check: IDelayedCall | None = None

        def check_progress() -> None:
            nonlocal stalled, check
            check = None
            remaining = progress.remaining(clock.seconds())
            if remaining is not None and remaining <= 0:
                stalled = True
                pulling.cancel()
            elif self._deadline > 0:
                # A stopped clock starts again with a whole deadline, so no earlier check is needed.
                check = clock.callLater(self._deadline if remaining is None else remaining, check_progress)

        def ended(result: Any) -> Any:
            if check is not None:
                check.cancel()
            del self._progress[progress]
            code = code_of(result.value) if isinstance(result, Failure) else OK
            if stalled and code != OK:
                code = DeadlineExceeded.__name__
            self._metrics.image_pull(code, self._metrics.now() - began, progress.downloaded)
            if stalled and isinstance(result, Failure):
                raise DeadlineExceeded(
                    f"pulling {reference.familiar} made no progress for {self._deadline:g} s and was cancelled; "
                    f"last: {progress.describe()}"
                )
            return result

        if not pulling.called:
            check_progress()
        return pulling.addBoth(ended)
