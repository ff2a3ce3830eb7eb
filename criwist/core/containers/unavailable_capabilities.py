"""Capabilities that an engine refuses to take from a container, since it could not give them in the first place.

Docker 20.10 does not know those of Linux 5.8 and later; engines from 23 on refuse what they lack themselves, inside a
machine that is a container.  A pod that drops such a capability by name gets what it asks for: it does not have it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.logger import Logger

from criwist.docker.error_responses import unavailable_capability
from criwist.errors import InvalidArgument

_log = Logger()


async def create_without(body: dict[str, Any], create: Callable[[], Awaitable[str]]) -> str:
    """Create a container of *body*, from whose ``CapDrop`` is taken what the engine says nobody has.

    :param create: creates it and returns its id.
    """
    while True:
        try:
            return await create()
        except InvalidArgument as error:
            dropped = body["HostConfig"].get("CapDrop", [])
            capability = unavailable_capability(error)
            if capability not in dropped:
                raise
            _log.info("{capability} need not be dropped: {error}", capability=capability, error=str(error))
            dropped.remove(capability)
