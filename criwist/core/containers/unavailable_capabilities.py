"""Capabilities that the engine cannot drop because it does not have them.

Docker 20.10 does not know those of Linux 5.8 and later.  Engines from 23 on reject those that they lack themselves,
inside a machine that is a container.  A container never has such a capability, so the request to drop it is fulfilled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.logger import Logger

from criwist.errors import CapabilityUnavailable

_log = Logger()


async def create_without(body: dict[str, Any], create: Callable[[], Awaitable[str]]) -> str:
    """Create a container of *body*; return its id.  Capabilities that the engine lacks are taken out of ``CapDrop``.

    :param create: creates the container of *body* and returns its id.
    """
    while True:
        try:
            return await create()
        except CapabilityUnavailable as error:
            dropped = body["HostConfig"].get("CapDrop", [])
            if error.capability not in dropped:
                raise
            _log.info("{capability} need not be dropped: {error}", capability=error.capability, error=str(error))
            dropped.remove(error.capability)
