"""What to do when Docker says that a container's name is taken.

The name is the container's CRI identity, so whoever holds it is an earlier attempt at the same thing: left by a
crash between create and answer, or by an engine that could not remove it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from secrets import token_hex

from twisted.logger import Logger

from criwist import errors
from criwist.docker.error_responses import name_holder
from criwist.interfaces.engine import IDocker, JSONObject

_log = Logger()


async def create_named(docker: IDocker, name: str, body: JSONObject, stale: Callable[[str], Awaitable[bool]]) -> str:
    """Create a container under *name*, and return its id; take the name over from a holder that is *stale*.

    A stale holder is removed.  If the engine has lost it while it still reserves the name (it answers that there
    is no such container), the container is created under the name with a random seventh part, as the older
    shims did.

    :param stale: told the holder's id, says whether it may go.
    :raises AlreadyExists: the holder is not stale.
    """
    try:
        return await docker.create_container(name, body)
    except errors.FailedPrecondition as conflict:
        holder = name_holder(conflict)
        if holder is None:
            raise
        if not await stale(holder):
            raise errors.AlreadyExists(f"{name} exists already: it is container {holder}") from conflict
    try:
        await docker.remove_container(holder, force=True, volumes=True)
        _log.info("removed {container}, a leftover that held the name {name}", container=holder, name=name)
        return await docker.create_container(name, body)
    except errors.NotFound:
        return await docker.create_container(f"{name}_{token_hex(4)}", body)
