"""The sandbox image: criwist's own, loaded into the engine when it is missing, or one that the operator names.

Whether it is there is asked of the copy of the engine's images, not of the engine: a pod more costs no call.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from criwist.core.images.images import Images
from criwist.core.state.engine_profile import EngineProfile
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.pause.image import PAUSE_REFERENCE, pause_archive


@define(eq=False)
class PauseImage:
    """Sees to the sandbox image.

    :param reference: as the operator gave it; ``""``: criwist's own.
    """

    reference: str
    _docker: IDocker
    _images: Images
    _engine: EngineProfile
    _one: DeferredLock = field(factory=DeferredLock, init=False)
    _log = Logger()

    async def ensure(self) -> str:
        """Make sure that the engine has the image; returns a reference to it.

        :raises Unimplemented: criwist's own does not exist for the engine's architecture.
        """
        async with self._one:  # many pods at once, one load
            if self.reference:
                await self._images.ensure(self.reference)
                return self.reference
            if self._images.snapshot.find(PAUSE_REFERENCE) is None:
                await self._load()
            return PAUSE_REFERENCE

    async def _load(self) -> None:
        archive = pause_archive(self._engine.facts.architecture)
        await self._docker.load_image(archive, self._loading)
        await self._images.refresh()
        self._log.info("loaded the sandbox image {image}", image=PAUSE_REFERENCE)

    def _loading(self, message: JSONObject) -> None:
        self._log.debug("loading {image}: {message}", image=PAUSE_REFERENCE, message=dict(message))
