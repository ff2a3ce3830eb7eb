"""The release of a sandbox's network and the removal of its pause, which several RPCs of sandboxes share."""

from __future__ import annotations

from attrs import evolve
from twisted.logger import Logger

from criwist import errors
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.state.entries import SandboxEntry
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import PodNetworkRequest

_log = Logger()


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


async def remove_pause(deps: SandboxDependencies, sandbox_id: str) -> None:
    """Remove the pause, then resolv.conf and the record.  Idempotent.

    A pause without a record looks like another shim's sandbox, which is ready while it runs.  So the record stays if
    the pause cannot be removed.
    """
    try:
        await deps.docker.remove_container(sandbox_id, force=True, volumes=True)
    except errors.NotFound:
        _log.debug("sandbox {sandbox} does not exist any more", sandbox=sandbox_id)
    deps.resolv_confs.forget(sandbox_id)
    deps.records.remove(sandbox_id)
    await deps.cache.refresh(sandbox_id)


def _request_of(entry: SandboxEntry | None) -> PodNetworkRequest:
    """Return the teardown request of another shim's pod, as far as its name tells."""
    if entry is None:
        raise errors.Internal("a sandbox with neither record nor container has no network to release")
    return PodNetworkRequest(entry.id, entry.name.pod, entry.name.namespace, entry.name.uid)
