"""The release of a sandbox's network, which StopPodSandbox, RemovePodSandbox and RunPodSandbox share."""

from __future__ import annotations

from attrs import evolve

from criwist import errors
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.state.entries import SandboxEntry
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import PodNetworkRequest


async def release_network(deps: SandboxDependencies, sandbox_id: str, entry: SandboxEntry | None) -> None:
    """Mark the record as stopped; tear the network down as the record describes it.  Idempotent.

    :param entry: the sandbox's entry; None if its pause does not exist any more.
    """
    record = deps.records.load(sandbox_id)
    if record is None and entry is None:
        return
    if record is not None and not record.stopped:
        record = evolve(record, stopped=True)
        deps.records.save(record)
    try:
        pause: JSONObject | None = await deps.docker.inspect_container(sandbox_id)
    except errors.NotFound:
        pause = None
    provider = deps.networks.recorded(record, entry.network_mode if entry else "none")
    request = record.request if record else _request_of(entry)
    await provider.tear_down(request, record.network if record else None, pause)


def _request_of(entry: SandboxEntry | None) -> PodNetworkRequest:
    """Return the teardown request of another shim's pod, as far as its name tells."""
    if entry is None:
        raise errors.Internal("a sandbox with neither record nor container has no network to release")
    return PodNetworkRequest(entry.id, entry.name.pod, entry.name.namespace, entry.name.uid)
