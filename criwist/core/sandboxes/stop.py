"""StopPodSandbox."""

from __future__ import annotations

from twisted.logger import Logger

from criwist import errors
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.release import release_network
from criwist.core.state.entries import SandboxEntry
from criwist.core.undo import in_parallel

#: Seconds between SIGTERM and SIGKILL for the pause.  criwist's own ends at once; another image's may not.
PAUSE_GRACE = 10

_log = Logger()


async def stop_sandbox(deps: SandboxDependencies, identifier: str) -> None:
    """See :meth:`Sandboxes.stop`."""
    await deps.cache.ready()
    entry = known_sandbox(deps, identifier)
    if entry is None and deps.records.load(identifier) is None:
        return  # not one of criwist's; the engine would take the text for the name of any container
    sandbox_id = entry.id if entry else identifier
    async with deps.locks.hold(sandbox_id):
        await stop_locked(deps, sandbox_id)


def known_sandbox(deps: SandboxDependencies, identifier: str) -> SandboxEntry | None:
    """Return the sandbox's entry by id or id prefix; None if there is none."""
    try:
        return deps.cache.snapshot.sandbox(identifier)
    except errors.NotFound:
        return None


async def stop_locked(deps: SandboxDependencies, sandbox_id: str) -> None:
    """Stop a sandbox whose lock the caller holds."""
    running = [one.id for one in deps.cache.snapshot.containers_of(sandbox_id) if one.running]
    await in_parallel(*(_kill(deps, container_id) for container_id in running))
    entry = deps.cache.snapshot.sandboxes.get(sandbox_id)
    network_error: errors.CriwistError | None = None
    try:
        await release_network(deps, sandbox_id, entry)
    except errors.CriwistError as error:
        network_error = error
    # The pause is stopped even if the network could not be released: a pod that cannot be stopped blocks its node.
    try:
        await deps.docker.stop_container(sandbox_id, PAUSE_GRACE)
    except errors.NotFound:
        _log.debug("sandbox {sandbox} does not exist any more", sandbox=sandbox_id)
    await deps.cache.refresh(sandbox_id)
    if network_error is not None:
        raise network_error


async def _kill(deps: SandboxDependencies, container_id: str) -> None:
    try:
        await deps.docker.stop_container(container_id, 0)
    except errors.NotFound:
        return
    await deps.cache.refresh(container_id)
