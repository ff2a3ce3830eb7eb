"""What to do when Docker says that a container's name is taken.

The name is the container's CRI identity, so whoever holds it is an earlier attempt at the same thing: left by a
crash between create and answer, or by an engine that could not remove it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from secrets import token_hex

from twisted.logger import Logger

from criwist import errors
from criwist.interfaces import IDocker, JSONObject

_log = Logger()

#: Engine API, POST /containers/create, 409: ``Conflict. The container name "/x" is already in use by container
#: "<id>". You have to remove (or rename) …``
_HOLDER = re.compile(r'already in use by container "?([0-9a-f]{12,64})')


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
        match = _HOLDER.search(str(conflict))
        if match is None:
            raise
        holder = match.group(1)
        if not await stale(holder):
            raise errors.AlreadyExists(f"{name} exists already: it is container {holder}") from conflict
    try:
        await docker.remove_container(holder, force=True, volumes=True)
        _log.info("removed {container}, a leftover that held the name {name}", container=holder, name=name)
        return await docker.create_container(name, body)
    except errors.NotFound:
        return await docker.create_container(f"{name}_{token_hex(4)}", body)
