"""A pod as a kubelet that follows events reads it: the sandbox's status and the statuses of all its containers.

Both are serialized when they change (see ``entries``), and concatenated here.
"""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.cache import Snapshot
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.wire.protobuf import message_field, repeated_field


def pod_status_response(snapshot: Snapshot, entry: SandboxEntry, timestamp: int) -> bytes:
    """Return a serialized PodSandboxStatusResponse without ``info``.

    :param timestamp: nanoseconds since the epoch, read before the snapshot was.
    """
    response = pb.PodSandboxStatusResponse
    return (
        message_field(response.STATUS_FIELD_NUMBER, entry.status)
        + repeated_field(response.CONTAINERS_STATUSES_FIELD_NUMBER, _container_statuses(snapshot, entry.id))
        + response(timestamp=timestamp).SerializeToString()
    )


def event_response(
    snapshot: Snapshot, entry: SandboxEntry | ContainerEntry, kind: pb.ContainerEventType, timestamp: int
) -> bytes:
    """Return a serialized ContainerEventResponse about a sandbox or container, with its pod as it is in *snapshot*.

    :param entry: the entry that changed; for an object that is gone, its last one.
    :param timestamp: nanoseconds since the epoch, read after the snapshot was published.
    """
    sandbox_id, status = _pod(snapshot, entry)
    response = pb.ContainerEventResponse
    head = response(container_id=entry.id, container_event_type=kind, created_at=timestamp)
    return (
        head.SerializeToString()
        + message_field(response.POD_SANDBOX_STATUS_FIELD_NUMBER, status)
        + repeated_field(response.CONTAINERS_STATUSES_FIELD_NUMBER, _container_statuses(snapshot, sandbox_id))
    )


def _container_statuses(snapshot: Snapshot, sandbox_id: str) -> list[bytes]:
    return [container.status for container in snapshot.containers_of(sandbox_id)]


def _pod(snapshot: Snapshot, entry: SandboxEntry | ContainerEntry) -> tuple[str, bytes]:
    """Return the id and the serialized status of the sandbox that describes the pod in an event.

    A kubelet drops the pod from its cache at the DELETED event of the sandbox that the event describes.  The removal of
    a pod's earlier sandbox must not do that, so such an event describes the pod's newest sandbox.
    """
    sandbox_id = entry.id if isinstance(entry, SandboxEntry) else entry.sandbox_id
    sandbox = snapshot.sandboxes.get(sandbox_id)
    if sandbox is not None:
        return sandbox_id, sandbox.status
    if isinstance(entry, ContainerEntry):
        return sandbox_id, _of_container(entry).SerializeToString()
    newest = next((other for other in snapshot.newest_sandboxes if other.name.uid == entry.name.uid), None)
    if newest is not None:
        return newest.id, newest.status
    return sandbox_id, _of_removed(entry).SerializeToString()


def _of_removed(entry: SandboxEntry) -> pb.PodSandboxStatus:
    """Return the last status of a sandbox that is gone.  It has no process and no network any more."""
    status = pb.PodSandboxStatus.FromString(entry.status)
    status.state = pb.SANDBOX_NOTREADY
    status.ClearField("network")
    return status


def _of_container(entry: ContainerEntry) -> pb.PodSandboxStatus:
    """Return what a container's name tells of its sandbox, which was removed before the container."""
    name = entry.name
    metadata = pb.PodSandboxMetadata(name=name.pod, uid=name.uid, namespace=name.namespace)
    return pb.PodSandboxStatus(id=entry.sandbox_id, metadata=metadata, state=pb.SANDBOX_NOTREADY)
