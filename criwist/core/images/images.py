"""Images: pulled, removed, and looked up in a copy that the engine's events keep right.

Our own pulls and removals are looked at before they return, so who pulls sees the image at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.images.credentials import DockerConfigs, engine_credentials
from criwist.core.images.filesystem import ImageFilesystem
from criwist.core.images.image_copy import ImageCopy, names
from criwist.core.images.pulls import Pulls
from criwist.core.images.snapshot import ImageSnapshot
from criwist.docker.error_responses import is_image_in_use
from criwist.errors import CriwistError, FailedPrecondition, NotFound
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.pause.image import PAUSE_REFERENCE
from criwist.reference import Reference, is_identifier, parse
from criwist.translate.image import is_pinned


@define(eq=False)
class Images:
    """The images of the engine.

    :param configs: where credentials of the node are; by default where the file system alone has some.
    :param spared: ids of images that may not be removed now, since something of ours has them mounted.
    """

    _docker: IDocker
    _config: Config
    _clock: IReactorTime
    _configs: DockerConfigs = field(factory=DockerConfigs)
    _spared: Callable[[], Collection[str]] = field(default=tuple)
    _copy: ImageCopy = field(init=False)
    _pulls: Pulls = field(init=False)
    _filesystem: ImageFilesystem = field(factory=ImageFilesystem, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        config = self._config
        sandbox = parse(config.pod_infra_container_image or PAUSE_REFERENCE, "pod-infra-container-image")
        patterns = (*config.pinned_images, sandbox.specific().familiar)
        self._copy = ImageCopy(
            self._docker, lambda told: is_pinned(told, patterns=patterns, labels=config.pinned_image_labels)
        )
        self._pulls = Pulls(self._docker, self._clock, config.image_pull_progress_deadline, self._learn)

    # -- Looking up

    @property
    def snapshot(self) -> ImageSnapshot:
        """All images as last seen.  May be read in any thread."""
        return self._copy.snapshot

    async def refresh(self) -> None:
        """List all images anew."""
        await self._copy.refresh()

    def event(self, event: JSONObject) -> None:
        """Take notice of an event about images."""
        self._copy.event(event)

    def image(self, identifier: str) -> JSONObject | None:
        """The engine's document of the image with this id, as last seen; None if there is none."""
        entry = self.snapshot.images.get(identifier)
        return entry.inspected if entry is not None else None

    def filesystem(self) -> pb.ImageFsInfoResponse:
        """What ImageFsInfo answers, see :mod:`criwist.core.images.filesystem`.  May be called from any thread."""
        return self._filesystem.info(self._docker.facts, self.snapshot.images.values())

    # -- Changes

    async def pull(self, spec: pb.ImageSpec, auth: pb.AuthConfig | None) -> str:
        """Pull an image; returns its id, under which ``status`` has it when this returns.

        :raises InvalidArgument: no reference, or malformed credentials.
        :raises DeadlineExceeded, Unavailable, PermissionDenied: see :meth:`Pulls.pull`.
        """
        return await self._pulls.pull(parse(spec.image).specific(), engine_credentials(auth))

    async def ensure(self, reference: str) -> str:
        """The id of the image, which is pulled with the node's own credentials if it is not there."""
        found = self.snapshot.find(reference)
        if found is not None:
            return found.id
        wanted = parse(reference).specific()
        credentials = await self._configs.credentials_for(wanted)
        for auth in credentials[:-1]:
            try:
                return await self._pulls.pull(wanted, auth)
            except CriwistError as error:
                self._log.info("{image} with other credentials now: {error}", image=reference, error=str(error))
        return await self._pulls.pull(wanted, credentials[-1] if credentials else None)

    async def remove(self, reference: str) -> None:
        """Remove the image that *reference* names, with all its tags and digests.  None there: success.

        An image that a container uses loses its names; the container is not touched.

        :raises FailedPrecondition: it has no names, and a container uses it; or it is an image volume of one.
        """
        try:
            found = await self._docker.inspect_image(_engine_name(reference))
        except NotFound:
            return
        identifier = str(found.get("Id", ""))
        if identifier in self._spared():
            raise FailedPrecondition(f"image {reference} is mounted as a volume of a container")
        references = [*names(found, "RepoTags"), *names(found, "RepoDigests")]
        try:
            for name in references:
                await self._untag(name)
            await self._remove_nameless(identifier, had_names=bool(references))
        finally:
            await self._copy.look_at(identifier)

    async def _untag(self, name: str) -> None:
        """Remove one reference, and with the last one the image if no container uses it.

        The engine keeps the last reference of an image that is in use, unless forced.  Forced, it keeps the image as
        long as a container of it runs, and the layers as long as there is one: no container is harmed.
        """
        try:
            await self._docker.remove_image(name, force=False, prune=True)
        except NotFound:
            return
        except FailedPrecondition as error:
            if not is_image_in_use(error):
                raise
            self._log.info("{image} is untagged although a container uses it: {error}", image=name, error=str(error))
            try:
                await self._docker.remove_image(name, force=True, prune=True)
            except NotFound:
                return

    async def _remove_nameless(self, identifier: str, *, had_names: bool) -> None:
        try:
            await self._docker.remove_image(identifier, force=False, prune=True)
        except NotFound:
            return
        except FailedPrecondition as error:
            if not (had_names and is_image_in_use(error)):
                raise

    async def _learn(self, reference: Reference) -> str:
        """Look at an image that was pulled; returns its id."""
        identifier = await self._copy.look_at(str(reference))
        if identifier is None:
            raise NotFound("image", reference.familiar, "it was pulled, and removed at once")
        return identifier


def _engine_name(text: str) -> str:
    """*text*, which names an image in a request, as the engine is to be asked for it.

    :raises InvalidArgument: it is neither a reference nor an id.
    """
    return text if is_identifier(text) else str(parse(text).specific())
