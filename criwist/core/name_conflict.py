"""Creation of a container whose name another container has.

The name is the container's CRI identity, so its holder is an earlier attempt at the same container: left by a crash
between the creation and the response, or by an engine that could not remove it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from secrets import token_hex

from twisted.logger import Logger

from criwist import errors, labels
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.translate.engine_json import text_map

_log = Logger()


async def create_named(docker: IDocker, name: str, body: JSONObject, stale: Callable[[str], Awaitable[bool]]) -> str:
    """Create a container under *name*; return its id.  A holder of the name that is *stale* is removed first.

    An engine may have lost the holder but still reserve the name: it responds that there is no such container.  Then
    the container is created under the name with a random seventh part, as the older shims did.

    :param stale: returns whether the holder, by its id, may be removed.
    :raises AlreadyExists: the holder is not stale, or was not made by a Kubernetes shim.
    """
    try:
        return await docker.create_container(name, body)
    except errors.NameConflict as conflict:
        holder = conflict.holder
        if await _is_foreign(docker, holder):
            raise errors.AlreadyExists(
                f"container {holder} has the name {name}, but not the label of a Kubernetes shim; rename or remove it"
            ) from conflict
        if not await stale(holder):
            raise errors.AlreadyExists(f"{name} exists already: it is container {holder}") from conflict
    try:
        await docker.remove_container(holder, force=True, volumes=True)
        _log.info("removed {container}, a leftover that held the name {name}", container=holder, name=name)
        return await docker.create_container(name, body)
    except errors.NotFound:
        return await docker.create_container(f"{name}_{token_hex(4)}", body)


async def _is_foreign(docker: IDocker, holder: str) -> bool:
    """Return whether a container that holds a name of ours lacks the label that all Kubernetes shims set."""
    try:
        inspected = await docker.inspect_container(holder)
    except errors.NotFound:
        return False  # the engine has lost it, and reserves its name
    return labels.TYPE not in text_map(inspected, "Config", "Labels")
