"""RemovePodSandbox."""

from __future__ import annotations

from twisted.logger import Logger

from criwist import errors
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.release import release_network
from criwist.core.sandboxes.stop import known_sandbox, stop_locked
from criwist.core.undo import in_parallel

_log = Logger()


async def remove_sandbox(deps: SandboxDependencies, identifier: str) -> None:
    """See :meth:`Sandboxes.remove`."""
    await deps.cache.ready()
    entry = known_sandbox(deps, identifier)
    sandbox_id = entry.id if entry else identifier
    async with deps.locks.hold(sandbox_id):
        record = deps.records.load(sandbox_id)
        if entry is None and record is None:
            return
        if entry is not None and (entry.running or record is None or not record.stopped):
            await stop_locked(deps, sandbox_id)
        elif entry is None:
            await release_network(deps, sandbox_id, None)
        containers = deps.cache.snapshot.containers_of(sandbox_id)
        await in_parallel(*(deps.remove_container(one.id) for one in containers))
        try:
            await deps.docker.remove_container(sandbox_id, force=True, volumes=True)
        except errors.NotFound:
            _log.debug("sandbox {sandbox} does not exist any more", sandbox=sandbox_id)
        deps.resolv_confs.forget(sandbox_id)
        deps.records.remove(sandbox_id)
        await deps.cache.refresh(sandbox_id)
