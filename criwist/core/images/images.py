"""Images: pulled, removed, and looked up in a cache that the engine's events keep up to date.

A pull or a removal refreshes the image in the cache before it returns, so the caller sees its own change at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import Factory, define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.images.credentials import DockerConfigs, engine_credentials
from criwist.core.images.filesystem import ImageFilesystem
from criwist.core.images.image_cache import ImageCache, names
from criwist.core.images.pulls import Pulls, PullState
from criwist.core.images.snapshot import ImageSnapshot
from criwist.errors import CriwistError, FailedPrecondition, ImageInUse, NotFound
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.pause.image import PAUSE_REFERENCE
from criwist.reference import Reference, is_identifier, parse
from criwist.translate.image import is_pinned


def image_cache(docker: IDocker, config: Config) -> ImageCache:
    """Return the cache of the engine's images, in which the sandbox image and those that *config* names are pinned."""
    sandbox = parse(config.pod_infra_container_image or PAUSE_REFERENCE, "pod-infra-container-image")
    patterns = (*config.pinned_images, sandbox.specific().familiar)
    return ImageCache(
        docker, lambda document: is_pinned(document, patterns=patterns, labels=config.pinned_image_labels)
    )


@define(eq=False)
class Images:
    """The images of the engine.

    :param configs: finds the node's own credentials; the default reads files in ``/`` and ``/.docker`` alone.
    :param mounted: returns the ids of the images that are mounted as image volumes, so that they are not removed.
    """

    _docker: IDocker
    _config: Config
    _clock: IReactorTime
    _configs: DockerConfigs = field(factory=DockerConfigs)
    _mounted: Callable[[], Collection[str]] = field(default=tuple)
    _cache: ImageCache = field(
        kw_only=True, default=Factory(lambda self: image_cache(self._docker, self._config), takes_self=True)
    )
    _metrics: IMetrics = field(kw_only=True, default=NO_METRICS)
    _pulls: Pulls = field(init=False)
    _filesystem: ImageFilesystem = field(factory=ImageFilesystem, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        deadline = self._config.image_pull_progress_deadline
        self._pulls = Pulls(self._docker, self._clock, deadline, self._refresh_pulled, self._metrics)

    # -- Reads

    def pulls(self) -> list[PullState]:
        """Return the pulls under way.  On the reactor's thread."""
        return self._pulls.under_way()

    @property
    def snapshot(self) -> ImageSnapshot:
        """All images, as in the cache.  May be read from any thread."""
        return self._cache.snapshot

    async def refresh(self) -> None:
        """List all images and update the cache."""
        await self._cache.refresh()

    def event(self, event: JSONObject) -> None:
        """Update the cache after an image event of the engine's feed."""
        self._cache.event(event)

    def image(self, identifier: str) -> JSONObject | None:
        """Return the engine's document of the image with this id, from the cache; None if there is none."""
        return self._cache.document(identifier)

    def filesystem(self) -> pb.ImageFsInfoResponse:
        """Return the response to ImageFsInfo, see :mod:`criwist.core.images.filesystem`.  Any thread."""
        return self._filesystem.info(self._docker.facts, self.snapshot.images.values())

    # -- Changes

    async def pull(self, spec: pb.ImageSpec, auth: pb.AuthConfig | None) -> str:
        """Pull an image; return its id, under which the snapshot has it when this returns.

        :raises InvalidArgument: no reference, or malformed credentials.
        :raises DeadlineExceeded, Unavailable, PermissionDenied: see :meth:`Pulls.pull`.
        """
        return await self._pulls.pull(parse(spec.image).specific(), engine_credentials(auth))

    async def ensure(self, reference: str) -> str:
        """Return the image's id.  An image that is absent is pulled, with each of the node's credentials in turn."""
        found = self.snapshot.find(reference)
        if found is not None:
            return found.id
        wanted = parse(reference).specific()
        credentials = await self._configs.credentials_for(wanted)
        for auth in credentials[:-1]:
            try:
                return await self._pulls.pull(wanted, auth)
            except CriwistError as error:
                self._log.info("pulling {image} with other credentials: {error}", image=reference, error=str(error))
        return await self._pulls.pull(wanted, credentials[-1] if credentials else None)

    async def remove(self, reference: str) -> None:
        """Remove the image that *reference* names, with all its tags and digests.  An absent image is no error.

        An image that a container uses, or from which another image was built, loses its names; nothing else is touched.

        :raises FailedPrecondition: it has no names, and is used so; or it is an image volume of a container.
        """
        try:
            found = await self._docker.inspect_image(_engine_name(reference))
        except NotFound:
            return
        identifier = str(found.get("Id", ""))
        if identifier in self._mounted():
            raise FailedPrecondition(f"image {reference} is mounted as a volume of a container")
        references = [*names(found, "RepoTags"), *names(found, "RepoDigests")]
        try:
            for name in references:
                await self._untag(name)
            await self._remove_nameless(identifier, had_names=bool(references))
        finally:
            await self._cache.refresh_image(identifier)

    async def _untag(self, name: str) -> None:
        """Remove one reference, and with the last one the image if no container uses it.

        The engine keeps the last reference of an image in use, unless forced.  Forced, it still keeps the image as long
        as a container of it runs, and the layers as long as a container of it exists: no container is harmed.
        """
        try:
            await self._docker.remove_image(name, force=False, prune=True)
        except NotFound:
            return
        except ImageInUse as error:
            self._log.info("{image} is untagged although it is in use: {error}", image=name, error=str(error))
            try:
                await self._docker.remove_image(name, force=True, prune=True)
            except NotFound:
                return

    async def _remove_nameless(self, identifier: str, *, had_names: bool) -> None:
        try:
            await self._docker.remove_image(identifier, force=False, prune=True)
        except NotFound:
            return
        except ImageInUse:
            if not had_names:
                raise

    async def _refresh_pulled(self, reference: Reference) -> str:
        """Refresh an image that was pulled; return its id."""
        identifier = await self._cache.refresh_image(str(reference))
        if identifier is None:
            raise NotFound("image", reference.familiar, "it was pulled, but removed before it could be inspected")
        return identifier


def _engine_name(text: str) -> str:
    """Return the name under which the engine has the image that *text* in a request names.

    :raises InvalidArgument: it is neither a reference nor an id.
    """
    return text if is_identifier(text) else str(parse(text).specific())
