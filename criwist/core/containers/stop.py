"""StopContainer."""

from __future__ import annotations

from criwist import errors
from criwist.core.containers.dependencies import ContainerDependencies

#: The longest grace that the engine takes, seconds: it keeps a 32-bit number.
LONGEST_GRACE = 2**31 - 1


async def stop_container(deps: ContainerDependencies, identifier: str, grace: int) -> None:
    """See :meth:`Containers.stop`."""
    try:
        entry = await deps.known(identifier)
        await deps.docker.stop_container(entry.id, min(max(grace, 0), LONGEST_GRACE))
        await deps.cache.refresh(entry.id)
    except errors.NotFound:
        return
