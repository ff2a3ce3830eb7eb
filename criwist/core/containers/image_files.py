"""Looking into images.

Docker shows files of containers, not of images; so a container is made of the image, never started, looked into and
removed.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from secrets import token_hex

from attrs import define
from twisted.logger import Logger

from criwist.errors import NotFound
from criwist.interfaces.engine import IDocker
from criwist.translate.engine_json import text

#: Label of the containers made here; "accounts" is what the first of them were for.
_PURPOSE, _LOOKING = "io.criwist.purpose", "accounts"


@define(eq=False)
class ImageFiles:
    """Looks into images."""

    _docker: IDocker
    _log = Logger()

    @asynccontextmanager
    async def opened(self, image: str) -> AsyncIterator[str]:
        """A container of the image that nobody starts.  It has no CRI name, and so is none of kubelet's.

        :raises NotFound: no such image.
        """
        labels = {_PURPOSE: _LOOKING}
        body = {"Image": image, "Entrypoint": ["/"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
        container = await self._docker.create_container(f"criwist-looks-{token_hex(8)}", body)
        try:
            yield container
        finally:
            await self._docker.remove_container(container, force=True, volumes=True)

    async def has(self, image: str, path: str) -> bool:
        """Whether the image has something at a path relative to its root.

        :raises NotFound: no such image.
        """
        async with self.opened(image) as container:
            return await self._docker.has_path(container, posixpath.normpath(posixpath.join("/", path)))

    async def clear(self) -> None:
        """Remove the containers that a crash left between their making and their removal."""
        for container in await self._docker.containers({"label": [f"{_PURPOSE}={_LOOKING}"]}):
            self._log.info("removing {container}, made to look into an image", container=text(container, "Id"))
            with suppress(NotFound):
                await self._docker.remove_container(text(container, "Id"), force=True, volumes=True)
