"""Files of images.

The Engine API reads files of containers, not of images.  So a container is created from the image, its files are read,
and it is removed without ever being started.
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

#: The label of the containers made here.  Older versions made them to read accounts only, hence the value.
_PURPOSE_LABEL, _PURPOSE = "io.criwist.purpose", "accounts"


@define(eq=False)
class ImageFiles:
    """Reads files of images."""

    _docker: IDocker
    _log = Logger()

    @asynccontextmanager
    async def opened(self, image: str) -> AsyncIterator[str]:
        """Create a container of the image for the time of the block; yield its id.

        It has no CRI name, so kubelet does not see it.

        :raises NotFound: no such image.
        """
        labels = {_PURPOSE_LABEL: _PURPOSE}
        body = {"Image": image, "Entrypoint": ["/"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
        container = await self._docker.create_container(f"criwist-looks-{token_hex(8)}", body)
        try:
            yield container
        finally:
            await self._docker.remove_container(container, force=True, volumes=True)

    async def has(self, image: str, path: str) -> bool:
        """Return whether the image has anything at a path relative to its root.

        :raises NotFound: no such image.
        """
        async with self.opened(image) as container:
            return await self._docker.has_path(container, posixpath.normpath(posixpath.join("/", path)))

    async def clear(self) -> None:
        """Remove the containers that a crash left between their creation and their removal."""
        for container in await self._docker.containers({"label": [f"{_PURPOSE_LABEL}={_PURPOSE}"]}):
            self._log.info(
                "removing {container}, which was made to read files of an image", container=text(container, "Id")
            )
            with suppress(NotFound):
                await self._docker.remove_container(text(container, "Id"), force=True, volumes=True)
