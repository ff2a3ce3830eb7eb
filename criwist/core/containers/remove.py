"""RemoveContainer."""

from __future__ import annotations

from contextlib import suppress

from criwist import errors
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.stop import stop_container


async def remove_container(deps: ContainerDependencies, identifier: str) -> None:
    """See :meth:`Containers.remove`."""
    try:
        entry = await deps.known(identifier)
    except errors.NotFound:
        return
    async with deps.locks.hold(entry.id):
        if entry.running:
            # Apart from the removal, so that its log can be read to the end before the engine deletes it.
            await stop_container(deps, entry.id, 0)
        with suppress(errors.NotFound):
            await deps.docker.remove_container(entry.id, force=True, volumes=True)
        await deps.image_volumes.release(str(entry.name))
        await deps.logs.forget(entry.id)
        await deps.cache.refresh(entry.id)
