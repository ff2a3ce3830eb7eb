"""The cache of Docker's sandboxes and containers, and its publication.

Docker is the truth.  Each sign that a container may have changed (an event, a listing after a connection, a write by
criwist) leads to the same act: *refresh* its id, that is inspect it and publish the result, or drop it if it is gone.
Refreshes of one id never overlap and are coalesced, so an old answer cannot overwrite a newer one and a storm of events
costs two inspections, not a hundred.

The cache publishes a :class:`Snapshot`: immutable, replaced whole, read from any thread without a lock.  A List is
answered from items that were serialized when they last changed; a List of everything is one cached string.

A container that the engine lists but cannot inspect is published as it is listed, and one whose inspection cannot be
parsed stays as it was published before: neither hides the others.

An exited container is published as exited only when its log is complete (``IContainerLogs.settled``, two seconds at
most), so a client that reads EXITED may read the log to its end.
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

#: Inspections under way at once during a resync.  More would only queue inside dockerd.
PARALLEL_INSPECTIONS = 8

#: Seconds that a read waits for a fresh snapshot.  A kubelet gives a read two minutes; a person gives up sooner.
FRESH_WITHIN = 10.0

Entry = SandboxEntry | ContainerEntry
_FIRST_FIELD = 1
_E = TypeVar("_E", SandboxEntry, ContainerEntry)


@frozen(slots=False, eq=False)
class Snapshot:
    """All sandboxes and containers at one moment, by id.

    ``fresh`` is False while changes go unnoticed, that is while the engine's event feed is down.
    """

    sandboxes: Mapping[str, SandboxEntry] = field(factory=dict)
    containers: Mapping[str, ContainerEntry] = field(factory=dict)
    fresh: bool = False

    @cached_property
    def image_volumes(self) -> frozenset[str]:
        """Ids of the images that are mounted in containers as image volumes."""
        return frozenset(image for entry in self.containers.values() for image in entry.image_volumes)

    @cached_property
    def newest_sandboxes(self) -> tuple[SandboxEntry, ...]:
        """All sandboxes, newest first, as clients of the CRI expect."""
        return tuple(sorted(self.sandboxes.values(), key=lambda entry: (-entry.created_at, entry.id)))

    @cached_property
    def newest_containers(self) -> tuple[ContainerEntry, ...]:
        """All containers, newest first."""
        return tuple(sorted(self.containers.values(), key=lambda entry: (-entry.created_at, entry.id)))

    @cached_property
    def list_sandboxes_response(self) -> bytes:
        """A serialized ListPodSandboxResponse of all sandboxes."""
        return list_response(self.newest_sandboxes)

    @cached_property
    def list_containers_response(self) -> bytes:
        """A serialized ListContainersResponse of all containers."""
        return list_response(self.newest_containers)

    @cached_property
    def _by_sandbox(self) -> Mapping[str, list[ContainerEntry]]:
        """The containers of each sandbox that has any, newest first."""
        found: dict[str, list[ContainerEntry]] = {}
        for entry in self.newest_containers:
            found.setdefault(entry.sandbox_id, []).append(entry)
        return found

    def containers_of(self, sandbox_id: str) -> list[ContainerEntry]:
        """Return the containers of one sandbox, newest first."""
        return list(self._by_sandbox.get(sandbox_id, ()))

    def sandbox(self, identifier: str) -> SandboxEntry:
        """Return the sandbox with this id or unambiguous id prefix.

        :raises NotFound: if there is none.
        """
        return _one("sandbox", self.sandboxes, identifier)

    def container(self, identifier: str) -> ContainerEntry:
        """Return the container with this id or unambiguous id prefix.

        :raises NotFound: if there is none.
        """
        return _one("container", self.containers, identifier)


def list_response(entries: Iterable[Entry]) -> bytes:
    """Return a serialized List response of either kind; both have their items in field 1."""
    return repeated_field(_FIRST_FIELD, (entry.item for entry in entries))


@define(eq=False)
class Cache:
    """Publishes snapshots.  Its methods run on the reactor, unless they say otherwise.

    :param describe: makes an entry of an inspected container; None if no Kubernetes shim made the container.
    """

    _docker: IDocker
    _logs: IContainerLogs
    _describe: Callable[[JSONObject], Entry | None]
    #: May be read from any thread.
    snapshot: Snapshot = field(factory=Snapshot, init=False)
    _refreshes: dict[str, _Refresh] = field(factory=dict, init=False)
    #: Readers that wait for a fresh snapshot.
    _readers: list[Deferred[None]] = field(factory=list, init=False)
    _disconnect_reason: str | None = field(default=None, init=False)
    _listeners: list[Callable[[Entry | None, Entry | None], None]] = field(factory=list, init=False)
    _log = Logger()

    @property
    def disconnect_reason(self) -> str | None:
        """Why the engine cannot be reached; None while it can, so that it makes sense to wait for it.  Any thread."""
        return self._disconnect_reason

    def subscribe(self, listener: Callable[[Entry | None, Entry | None], None]) -> None:
        """Call *listener* at each change, with the old and the new entry; None for one that does not exist."""
        self._listeners.append(listener)

    def current(self) -> Snapshot:
        """Return the snapshot.  Any thread.

        :raises NotReady: it is not fresh.
        """
        snapshot = self.snapshot
        if not snapshot.fresh:
            raise NotReady("Docker's pods and containers", self.ready, FRESH_WITHIN)
        return snapshot

    async def ready(self) -> None:
        """Return when the snapshot is fresh.

        :raises Unavailable: the engine is disconnected, or disconnects meanwhile.
        """
        if self.snapshot.fresh:
            return
        if self._disconnect_reason is not None:
            raise errors.Unavailable(self._disconnect_reason)
        reader: Deferred[None] = Deferred()
        self._readers.append(reader)
        await reader

    async def known(self, identifier: str) -> None:
        """Return when the snapshot is fresh, and no inspection of this id is under way.  It asks Docker nothing.

        :raises Unavailable: the engine is disconnected, or disconnects meanwhile.
        """
        await self.ready()
        refresh = self._refreshes.get(identifier)
        if refresh is not None:
            onlooker: Deferred[None] = Deferred()
            refresh.onlookers.append(onlooker)
            await onlooker

    def disconnected(self, reason: str) -> None:
        """Mark the snapshot as stale: the event feed broke, or the engine cannot be reached."""
        self._disconnect_reason = reason
        self.snapshot = evolve(self.snapshot, fresh=False)
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.errback(errors.Unavailable(reason))

    def connected(self) -> None:
        """Let readers wait for :meth:`resync`: the engine answers again."""
        self._disconnect_reason = None

    async def resync(self, before_use: Callable[[], Awaitable[None]]) -> None:
        """List all sandboxes and containers, refresh them, drop those that are gone, and publish a fresh snapshot.

        Sandboxes are published before their containers, and dropped after them.

        :param before_use: awaited when the cache is complete, before it is fresh.
        """
        sandboxes, containers = await self._listed(labels.SANDBOX), await self._listed(labels.CONTAINER)
        gate = DeferredSemaphore(PARALLEL_INSPECTIONS)

        async def refresh(identifier: str) -> None:
            try:
                await gate.run(self.refresh, identifier)
            except (errors.EngineFailure, errors.Internal) as error:
                self._log.error(
                    "container {container} could not be refreshed; lists show its last known state, if any: {error}",
                    container=identifier,
                    error=str(error),
                )

        await in_parallel(*map(refresh, sandboxes))
        await in_parallel(*map(refresh, containers | set(self.snapshot.containers)))
        await in_parallel(*map(refresh, set(self.snapshot.sandboxes) - sandboxes))
        await before_use()
        self.snapshot = evolve(self.snapshot, fresh=True)
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.callback(None)

    async def _listed(self, kind: str) -> set[str]:
        """Return the ids of all sandboxes or of all containers in the engine."""
        found = await self._docker.containers({"label": [f"{labels.TYPE}={kind}"]})
        return {str(one["Id"]) for one in found}

    async def refresh(self, identifier: str) -> None:
        """Inspect a container and publish it.  The published entry is no older than this call.

        Cancelling one caller does not affect the others.
        """
        refresh = self._refreshes.get(identifier)
        if refresh is None:
            refresh = self._refreshes[identifier] = _Refresh()
        waiter: Deferred[None] = Deferred()
        refresh.waiters.append(waiter)
        if not refresh.running:
            refresh.running = True
            Deferred.fromCoroutine(self._run(identifier, refresh))  # which does not fail
        await waiter

    async def _run(self, identifier: str, refresh: _Refresh) -> None:
        while refresh.waiters:
            waiters, refresh.waiters = refresh.waiters, []
            error: errors.CriwistError | None = None
            try:
                await self._inspect(identifier)
            except errors.CriwistError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - the waiters get any error
                self._log.failure("refreshing container {container} failed", container=identifier)
                error = errors.Internal(f"the inspection of container {identifier} cannot be parsed: {fault}")
            for waiter in waiters:
                if waiter.called:
                    continue  # cancelled
                if error is None:
                    waiter.callback(None)
                else:
                    waiter.errback(error)
        refresh.running = False
        del self._refreshes[identifier]
        for onlooker in refresh.onlookers:
            if not onlooker.called:  # cancelled
                onlooker.callback(None)

    async def _inspect(self, identifier: str) -> None:
        try:
            inspected = await self._inspect_or_list(identifier)
        except errors.NotFound:
            self._publish(identifier, None)
            return
        entry = self._describe(inspected)
        before = self.snapshot.containers.get(identifier)
        if isinstance(entry, ContainerEntry) and before is not None and entry.exited and not before.exited:
            await self._logs.settled(identifier)
        self._publish(identifier, entry)

    async def _inspect_or_list(self, identifier: str) -> JSONObject:
        try:
            return await self._docker.inspect_container(identifier)
        except errors.EngineFailure as error:
            listed = await self._docker.containers({"id": [identifier]})
            if not listed:
                raise errors.NotFound("container", identifier) from error
            self._log.warn(
                "container {container} is shown as it is listed, it cannot be inspected: {error}",
                container=identifier,
                error=str(error),
            )
            return as_inspected(listed[0])

    def publish(self, entry: Entry) -> None:
        """Publish an entry without an inspection: of a sandbox whose record changed."""
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
    """The refreshes of one id.

    ``waiters`` wait for the next inspection, not for one under way; ``onlookers`` for the end of all, and cause none.
    """

    waiters: list[Deferred[None]] = field(factory=list)
    onlookers: list[Deferred[None]] = field(factory=list)
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
    raise errors.NotFound(kind, identifier, f"{len(matches)} ids have this prefix" if matches else "")
