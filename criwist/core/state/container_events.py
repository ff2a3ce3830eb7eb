"""The events of GetContainerEvents, for a kubelet that follows them instead of listing all pods every second.

Events are derived from the differences between the entries that the cache publishes, not from the engine's own events.
While the engine's feed is down nothing is lost: the resync after the reconnection publishes what has changed, and the
differences become events.  A difference may hold several steps of a life; each becomes an event of its own, in order.
A container that was created and has ended meanwhile has three: CREATED, STARTED, STOPPED.

- A sandbox is STARTED when it becomes ready, that is when its network is set up too, and STOPPED when it is not ready
  any more.  A kubelet reads the pod's addresses in the event.
- A container is STOPPED when the cache publishes it as exited, that is when its log is complete.

Each event has the status of the pod's sandbox and of all its containers at the moment of the publication, all from one
snapshot (see ``pod_status``).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.cache import Cache, Entry
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.state.pod_status import event_response
from criwist.core.state.timestamps import Timestamps

_CREATED = pb.CONTAINER_CREATED_EVENT
_STARTED = pb.CONTAINER_STARTED_EVENT
_STOPPED = pb.CONTAINER_STOPPED_EVENT
_DELETED = pb.CONTAINER_DELETED_EVENT


@define(eq=False)
class ContainerEvents:
    """Gives every subscriber the events of all sandboxes and containers.  Its methods run on the reactor."""

    _cache: Cache
    _timestamps: Timestamps
    _subscribers: dict[object, Callable[[bytes], None]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._cache.subscribe(self._changed)

    def subscribe(self, receive: Callable[[bytes], None]) -> Callable[[], None]:
        """Call *receive* with each event from now on: a serialized ContainerEventResponse, the same for all.

        :param receive: must not raise, and must not block.
        :returns: a function that ends the subscription; idempotent.
        """
        key = object()
        self._subscribers[key] = receive

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def _changed(self, before: Entry | None, after: Entry | None) -> None:
        entry = after or before
        if entry is None or not self._subscribers:
            return
        for kind in steps_between(before, after):
            event = event_response(self._cache.snapshot, entry, kind, self._timestamps.now())
            for receive in list(self._subscribers.values()):
                receive(event)


def steps_between(before: Entry | None, after: Entry | None) -> list[pb.ContainerEventType]:
    """Return the events that lead from one entry to the next; None for one that does not exist."""
    if isinstance(after or before, SandboxEntry):
        return sandbox_steps(
            before if isinstance(before, SandboxEntry) else None, after if isinstance(after, SandboxEntry) else None
        )
    return container_steps(
        before if isinstance(before, ContainerEntry) else None, after if isinstance(after, ContainerEntry) else None
    )


def sandbox_steps(before: SandboxEntry | None, after: SandboxEntry | None) -> list[pb.ContainerEventType]:
    """Return the events that lead from one entry of a sandbox to the next; None for a sandbox that does not exist."""
    was_ready, is_ready = before is not None and before.ready, after is not None and after.ready
    steps = [_CREATED] if before is None else []
    restarted = was_ready and is_ready and _other_process(before, after)
    if was_ready and (not is_ready or restarted):
        steps.append(_STOPPED)
    if is_ready and (not was_ready or restarted):
        steps.append(_STARTED)
    if after is None:
        steps.append(_DELETED)
    return steps


def container_steps(before: ContainerEntry | None, after: ContainerEntry | None) -> list[pb.ContainerEventType]:
    """Return the events that lead from one entry of a container to the next; None for one that does not exist.

    An entry whose start is not known, because the engine could list but not inspect the container, tells of no start
    beyond its state.
    """
    if after is None:
        running = before is not None and before.state == pb.CONTAINER_RUNNING
        return [_STOPPED, _DELETED] if running else [_DELETED]
    steps = [_CREATED] if before is None else []
    started = _was_started(before, after)
    if started and before is not None and before.state == pb.CONTAINER_RUNNING:
        steps.append(_STOPPED)
    if started:
        steps.append(_STARTED)
    if after.exited and (started or before is None or not before.exited):
        steps.append(_STOPPED)
    return steps


def _other_process(before: SandboxEntry | None, after: SandboxEntry | None) -> bool:
    """Return whether both entries have a process, and not the same."""
    pids = {entry.pid for entry in (before, after) if entry is not None}
    return len(pids) == 2 and 0 not in pids


def _was_started(before: ContainerEntry | None, after: ContainerEntry) -> bool:
    """Return whether the container was started between two entries."""
    state = pb.CONTAINER_CREATED if before is None else before.state
    if after.state == pb.CONTAINER_RUNNING and state in (pb.CONTAINER_CREATED, pb.CONTAINER_EXITED):
        return True
    start = _started_at(after)
    if start == 0:
        return False
    if state == pb.CONTAINER_CREATED:
        return True
    return before is not None and _started_at(before) not in (0, start)


def _started_at(entry: ContainerEntry) -> int:
    """Return when the container was last started, in nanoseconds; 0: never, or not known.

    A start that the engine refused has the time of the creation (``translate.outcomes``).
    """
    status = pb.ContainerStatus.FromString(entry.status)
    return int(status.started_at) if status.started_at != status.created_at else 0
