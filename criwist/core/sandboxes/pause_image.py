"""The sandbox image: criwist's own, loaded into the engine when it is missing, or one that the operator names.

Whether the engine has the image is read from the cache of its images, so a further pod costs no call.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from criwist.core.images.images import Images
from criwist.core.state.engine_profile import EngineProfile
from criwist.errors import EngineFailure
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.pause.image import PAUSE_REFERENCE, is_pause_image, pause_archive


@define(eq=False)
class PauseImage:
    """Loads or pulls the sandbox image.

    :param reference: as the operator gave it; ``""``: criwist's own.
    """

    reference: str
    _docker: IDocker
    _images: Images
    _engine: EngineProfile
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _log = Logger()

    async def ensure(self) -> str:
        """Load or pull the image if the engine does not have it; return a reference to it.

        :raises Unimplemented: criwist's own does not exist for the engine's architecture.
        :raises EngineFailure: the engine has loaded it, and has another one under its name.
        """
        async with self._lock:  # concurrent pods share one load
            if self.reference:
                await self._images.ensure(self.reference)
                return self.reference
            if not self._is_loaded():
                await self._load()
            return PAUSE_REFERENCE

    def _is_loaded(self) -> bool:
        """Whether the image of this name is criwist's own."""
        found = self._images.snapshot.find(PAUSE_REFERENCE)
        if found is None:
            return False
        if is_pause_image(self._images.image(found.id) or {}, self._engine.facts.architecture):
            return True
        self._log.warn(
            "{image} is the name of image {other}, which is not criwist's sandbox image; it loses that name",
            image=PAUSE_REFERENCE,
            other=found.id,
        )
        return False

    async def _load(self) -> None:
        archive = pause_archive(self._engine.facts.architecture)
        await self._docker.load_image(archive, self._log_progress)
        await self._images.refresh()
        if not self._is_loaded():
            raise EngineFailure(f"the engine does not have the sandbox image {PAUSE_REFERENCE} that it has loaded")
        self._log.info("loaded the sandbox image {image}", image=PAUSE_REFERENCE)

    def _log_progress(self, message: JSONObject) -> None:
        self._log.debug("loading {image}: {message}", image=PAUSE_REFERENCE, message=dict(message))
