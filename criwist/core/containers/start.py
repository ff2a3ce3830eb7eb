"""StartContainer."""

from __future__ import annotations

from criwist import errors
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.log import logged_container
from criwist.core.containers.resources import write_cgroup
from criwist.core.state.entries import ContainerEntry


async def start_container(deps: ContainerDependencies, identifier: str) -> None:
    """See :meth:`Containers.start`."""
    entry = await deps.known(identifier)
    async with deps.locks.hold(entry.id):
        entry = await deps.known(entry.id)  # it may have ended, or be removed, while this waited for the lock
        if entry.exited:
            raise errors.FailedPrecondition(f"container {entry.id} has exited; a container runs once")
        if entry.log_path:
            deps.logs.follow(logged_container(entry))
        try:
            await deps.docker.start_container(entry.id)
            if entry.cgroup_writes:
                await _limit(deps, entry)
        finally:
            await deps.cache.refresh(entry.id)


async def _limit(deps: ContainerDependencies, entry: ContainerEntry) -> None:
    """Write the recorded limits to the cgroup; stop a container that cannot be limited."""
    try:
        await write_cgroup(deps, entry.id, entry.cgroup_writes, "config.linux.resources")
    except errors.CriwistError:
        await deps.docker.stop_container(entry.id, 0)
        raise
