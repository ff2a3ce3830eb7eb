"""RemovePodSandbox."""

from __future__ import annotations

from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.release import release_network, remove_pause
from criwist.core.sandboxes.stop import known_sandbox, stop_locked
from criwist.core.undo import in_parallel


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
        await remove_pause(deps, sandbox_id)
