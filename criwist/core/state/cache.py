"""The copy of what Docker knows of our sandboxes and containers, and its publication.

Docker is the truth.  Whatever tells us that a container may have changed - an event, a listing after a
connection, a write of our own - leads to the same act: *refresh* its id, that is inspect it and publish what came
out, or drop it if it is gone.  Refreshes of one id never overlap and are coalesced, so an old answer cannot
overwrite a newer one and a storm of events costs two inspections, not a hundred.

What is published is a :class:`Snapshot`: immutable, replaced whole, read from any thread without a lock.  Lists are
answered from items that were serialized when they last changed; a List of everything is one cached string.

A container that the engine lists and cannot inspect is published as it is listed, and one whose inspection cannot be
understood stays as it was known: neither keeps the others from being seen.

A container that has exited is published as such only when its log is complete (``IContainerLogs.settled``, two
seconds at most): who sees EXITED may read the log to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from criwist import errors, labels
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.state.not_ready import NotReady
from criwist.core.undo import in_parallel
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.interfaces.logs import IContainerLogs
from criwist.translate.list_entry import as_inspected
from criwist.wire.protobuf import repeated_field

#: Inspections under way at once while a listing is taken over.  More would only queue inside dockerd.
PARALLEL_INSPECTIONS = 8

#: Seconds a read waits for a fresh snapshot.  A kubelet gives its reads two minutes; a person gives up sooner.
FRESH_WITHIN = 10.0

Entry = SandboxEntry | ContainerEntry
_FIRST_FIELD = 1
_E = TypeVar("_E", SandboxEntry, ContainerEntry)


@frozen(slots=False, eq=False)
class Snapshot:
    """All sandboxes and containers at one moment, by id.

    ``fresh`` is False while nothing tells us of changes, that is while the engine's event feed is down.
    """

    sandboxes: Mapping[str, SandboxEntry] = field(factory=dict)
    containers: Mapping[str, ContainerEntry] = field(factory=dict)
    fresh: bool = False

    @cached_property
    def image_volumes(self) -> frozenset[str]:
        """Ids of the images that are mounted in containers."""
        return frozenset(image for entry in self.containers.values() for image in entry.image_volumes)

    @cached_property
    def newest_sandboxes(self) -> tuple[SandboxEntry, ...]:
        """Newest first, as clients of the CRI expect."""
        return tuple(sorted(self.sandboxes.values(), key=lambda entry: (-entry.created_at, entry.id)))

    @cached_property
    def newest_containers(self) -> tuple[ContainerEntry, ...]:
        """Newest first."""
        return tuple(sorted(self.containers.values(), key=lambda entry: (-entry.created_at, entry.id)))

    @cached_property
    def list_sandboxes_response(self) -> bytes:
        """A serialized ListPodSandboxResponse of all."""
        return list_response(self.newest_sandboxes)

    @cached_property
    def list_containers_response(self) -> bytes:
        """A serialized ListContainersResponse of all."""
        return list_response(self.newest_containers)

    def containers_of(self, sandbox_id: str) -> list[ContainerEntry]:
        """The containers of one sandbox, newest first."""
        return [entry for entry in self.newest_containers if entry.sandbox_id == sandbox_id]

    def sandbox(self, identifier: str) -> SandboxEntry:
        """The sandbox with this id or unambiguous id prefix.

        :raises NotFound: if there is none.
        """
        return _one("sandbox", self.sandboxes, identifier)

    def container(self, identifier: str) -> ContainerEntry:
        """The container with this id or unambiguous id prefix.

        :raises NotFound: if there is none.
        """
        return _one("container", self.containers, identifier)


def list_response(entries: Iterable[Entry]) -> bytes:
    """A serialized List response, whose items are its field 1."""
    return repeated_field(_FIRST_FIELD, (entry.item for entry in entries))


@define(eq=False)
class Cache:
    """Keeps the copy.  :attr:`snapshot` may be read from any thread, all else is the reactor's.

    :param describe: makes an entry of an inspected container; None if it is none of ours.
    """

    _docker: IDocker
    _logs: IContainerLogs
    _describe: Callable[[JSONObject], Entry | None]
    snapshot: Snapshot = field(factory=Snapshot, init=False)
    _refreshes: dict[str, _Refresh] = field(factory=dict, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    #: Why a reader should not wait for the engine; None while waiting makes sense.
    _disconnect_reason: str | None = field(default=None, init=False)
    _listeners: list[Callable[[Entry | None, Entry | None], None]] = field(factory=list, init=False)
    _log = Logger()

    @property
    def disconnect_reason(self) -> str | None:
        """Why the engine cannot be reached; None while it can.  Any thread."""
        return self._disconnect_reason

    def subscribe(self, listener: Callable[[Entry | None, Entry | None], None]) -> None:
        """Call *listener* with the old and the new entry of whatever changes; None where there is none."""
        self._listeners.append(listener)

    def current(self) -> Snapshot:
        """The snapshot, if it is fresh.  Any thread.

        :raises NotYet: otherwise.
        """
        snapshot = self.snapshot
        if not snapshot.fresh:
            raise NotReady("Docker's pods and containers", self.ready, FRESH_WITHIN)
        return snapshot

    async def ready(self) -> None:
        """Return when the snapshot is fresh.

        :raises Unavailable: at once while the engine is away, or as soon as it turns out to be.
        """
        if self.snapshot.fresh:
            return
        if self._disconnect_reason is not None:
            raise errors.Unavailable(self._disconnect_reason)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        await waiter

    def disconnected(self, why: str) -> None:
        """The event feed broke, or the engine cannot be reached: what we have may be out of date."""
        self._disconnect_reason = why
        self.snapshot = evolve(self.snapshot, fresh=False)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(errors.Unavailable(why))

    def connected(self) -> None:
        """The engine answers again; readers may wait for :meth:`resync`."""
        self._disconnect_reason = None

    async def resync(self, before_use: Callable[[], Awaitable[None]]) -> None:
        """List everything of ours, refresh it all, drop what is gone, and be fresh.

        :param before_use: awaited when the copy is complete, before anybody is told that it is fresh.
        """
        listed: set[str] = set()
        for kind in (labels.SANDBOX, labels.CONTAINER):
            found = await self._docker.containers({"label": [f"{labels.TYPE}={kind}"]})
            listed.update(str(one["Id"]) for one in found)
        gate = DeferredSemaphore(PARALLEL_INSPECTIONS)
        known = listed | set(self.snapshot.sandboxes) | set(self.snapshot.containers)

        async def refresh(identifier: str) -> None:
            try:
                await gate.run(self.refresh, identifier)
            except (errors.EngineFailure, errors.Internal) as error:
                self._log.error(
                    "{container} is shown as it was last known, if it was: {error}",
                    container=identifier,
                    error=str(error),
                )

        await in_parallel(*map(refresh, known))
        await before_use()
        self.snapshot = evolve(self.snapshot, fresh=True)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    async def refresh(self, identifier: str) -> None:
        """Inspect a container and publish it.  What is published is no older than this call.

        Cancelling a caller leaves the inspection to the others.
        """
        refresh = self._refreshes.get(identifier)
        if refresh is None:
            refresh = self._refreshes[identifier] = _Refresh()
        waiter: Deferred[None] = Deferred()
        refresh.next.append(waiter)
        if not refresh.running:
            refresh.running = True
            Deferred.fromCoroutine(self._run(identifier, refresh))  # which does not fail
        await waiter

    async def _run(self, identifier: str, refresh: _Refresh) -> None:
        while refresh.next:
            waiters, refresh.next = refresh.next, []
            error: errors.CriwistError | None = None
            try:
                await self._inspect(identifier)
            except errors.CriwistError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - who waits must hear of it, whatever it is
                self._log.failure("refresh of {container}", container=identifier)
                error = errors.Internal(f"container {identifier} cannot be understood: {fault}")
            for waiter in waiters:
                if waiter.called:
                    continue  # cancelled
                if error is None:
                    waiter.callback(None)
                else:
                    waiter.errback(error)
        refresh.running = False
        del self._refreshes[identifier]

    async def _inspect(self, identifier: str) -> None:
        try:
            inspected = await self._inspected(identifier)
        except errors.NotFound:
            self._publish(identifier, None)
            return
        entry = self._describe(inspected)
        before = self.snapshot.containers.get(identifier)
        if isinstance(entry, ContainerEntry) and before is not None and entry.exited and not before.exited:
            await self._logs.settled(identifier)
        self._publish(identifier, entry)

    async def _inspected(self, identifier: str) -> JSONObject:
        try:
            return await self._docker.inspect_container(identifier)
        except errors.EngineFailure as error:
            listed = await self._docker.containers({"id": [identifier]})
            if not listed:
                raise errors.NotFound("container", identifier) from error
            self._log.warn("{container} is shown as it is listed: {error}", container=identifier, error=str(error))
            return as_inspected(listed[0])

    def publish(self, entry: Entry) -> None:
        """Publish an entry that was made without an inspection: a sandbox whose record changed."""
        self._publish(entry.id, entry)

    def _publish(self, identifier: str, entry: Entry | None) -> None:
        old = self.snapshot
        before: Entry | None = old.sandboxes.get(identifier) or old.containers.get(identifier)
        if before == entry:
            return
        self.snapshot = evolve(
            old,
            sandboxes=_replaced(old.sandboxes, identifier, entry, SandboxEntry),
            containers=_replaced(old.containers, identifier, entry, ContainerEntry),
        )
        for listener in self._listeners:
            listener(before, entry)


@define(eq=False)
class _Refresh:
    """The refreshes of one id: the one under way, and who waits for the next."""

    next: list[Deferred[None]] = field(factory=list)
    running: bool = False


def _replaced(old: Mapping[str, Any], identifier: str, entry: Entry | None, kind: type) -> Mapping[str, Any]:
    if isinstance(entry, kind):
        return MappingProxyType({**old, identifier: entry})
    if identifier not in old:
        return old
    return MappingProxyType({key: value for key, value in old.items() if key != identifier})


def _one(kind: str, entries: Mapping[str, _E], identifier: str) -> _E:
    exact = entries.get(identifier)
    if exact is not None:
        return exact
    matches = [entry for key, entry in entries.items() if key.startswith(identifier)] if identifier else []
    if len(matches) == 1:
        return matches[0]
    raise errors.NotFound(kind, identifier, f"{len(matches)} ids begin so" if matches else "")
