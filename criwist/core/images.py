"""Images: pulled, removed, and looked up in a copy that the engine's events keep fresh.

The copy is right after :meth:`Images.refresh`, which the engine's feed calls at each connection, as long as
:meth:`Images.event` gets each image event of the feed.  An event makes us look at the one image it names; our own
pulls and removals are looked at before they return, so who pulls sees the image at once.  An image's configuration
and history are asked once, for its id names them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from attrs import Factory, define, field
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredSemaphore,
    FirstError,
    gatherResults,
    succeed,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.credential_programs import CredentialPrograms
from criwist.core.credentials import DockerConfigs, engine_credentials
from criwist.core.image_filesystem import ImageFilesystem
from criwist.core.image_snapshot import ImageEntry, ImageSnapshot
from criwist.core.pulls import Pulls
from criwist.docker.faults import says_image_in_use
from criwist.errors import CriwistError, EngineFailure, FailedPrecondition, NotFound
from criwist.interfaces import IDocker, JSONObject
from criwist.pause.image import PAUSE_REFERENCE
from criwist.reference import Reference, is_identifier, parse
from criwist.translate.image import image, is_pinned

#: Image events after which the image may look different.
_CHANGES = frozenset({"pull", "tag", "untag", "delete", "import", "load"})
#: Inspections under way at once while all images are listed.
PARALLEL_INSPECTIONS = 8


@define(eq=False)
class Images:
    """The images of the engine.

    :param configs: where credentials of the node are; by default those of this process's environment.
    :param spared: ids of images that may not be removed now, since something of ours has them mounted.
    """

    _docker: IDocker
    _config: Config
    _clock: IReactorTime
    _configs: DockerConfigs = field(default=Factory(lambda self: _own_configs(self._clock), takes_self=True))
    _spared: Callable[[], Collection[str]] = field(default=tuple)
    #: The copy; replaced, never changed.
    snapshot: ImageSnapshot = field(factory=ImageSnapshot, init=False)
    _pulls: Pulls = field(init=False)
    _filesystem: ImageFilesystem = field(init=False)
    _always_pinned: Sequence[str] = field(init=False)
    #: One change of the copy at a time, or an older answer of the engine could overwrite a newer one.
    _changing: DeferredLock = field(factory=DeferredLock, init=False)
    #: What events named that is yet to be looked at.
    _waiting: dict[str, None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        self._pulls = Pulls(self._docker, self._clock, self._config.image_pull_progress_deadline, self._learn)
        self._filesystem = ImageFilesystem()
        pause = parse(self._config.pod_infra_container_image or PAUSE_REFERENCE, "pod-infra-container-image")
        self._always_pinned = (pause.specific().familiar,)

    # -- The copy

    async def refresh(self) -> None:
        """List all images anew and publish what is there."""
        async with self._changing:
            listed = await self._docker.images({})
            known = self.snapshot.images
            semaphore = DeferredSemaphore(PARALLEL_INSPECTIONS)
            looks = [semaphore.run(self._listed, item, known) for item in listed]
            try:
                entries = await gatherResults(looks, consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
                raise
            self._publish({entry.id: entry for entry in entries if entry is not None})

    def event(self, event: JSONObject) -> None:
        """Take notice of an image event; the copy is right soon after."""
        if event.get("Action", event.get("status")) not in _CHANGES:
            return
        actor = event.get("Actor") or {}
        name = str(actor.get("ID") or event.get("id") or "")
        if not name or name in self._waiting:
            return
        self._waiting[name] = None
        Deferred.fromCoroutine(self._learn_of(name)).addErrback(self._unnoticed, name)

    def image(self, identifier: str) -> JSONObject | None:
        """The engine's document of the image with this id, as last seen; None if there is none."""
        entry = self.snapshot.images.get(identifier)
        return entry.inspected if entry is not None else None

    def filesystem(self) -> pb.ImageFsInfoResponse:
        """What ImageFsInfo answers, see :mod:`criwist.core.image_filesystem`.  May be called from any thread."""
        return self._filesystem.info(self._docker.facts, self.snapshot.images.values())

    # -- Changes

    async def pull(self, spec: pb.ImageSpec, auth: pb.AuthConfig | None) -> str:
        """Pull an image; returns its id, under which ``status`` has it when this returns.

        :raises InvalidArgument: no reference, or malformed credentials.
        :raises DeadlineExceeded, Unavailable: see :meth:`Pulls.pull`.
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
        tags, digests = _names(found, "RepoTags"), _names(found, "RepoDigests")
        try:
            for name in [*tags, *digests]:
                await self._untag(name)
            await self._remove_nameless(identifier, had_names=bool(tags or digests))
        finally:
            await self._learn_of(identifier)

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
            if not says_image_in_use(error):
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
            if not (had_names and says_image_in_use(error)):
                raise

    # -- Keeping the copy right

    async def _learn(self, reference: Reference) -> str:
        """Look at an image that was pulled; returns its id."""
        async with self._changing:
            entry = await self._look(str(reference), {})
            if entry is None:
                raise NotFound("image", reference.familiar, "it was pulled, and removed at once")
            self._publish_one(entry)
            return entry.id

    async def _learn_of(self, name: str) -> None:
        """Look at an image that changed, and drop it if it is gone."""
        async with self._changing:
            # What happens to the image from here on makes us look again.
            self._waiting.pop(name, None)
            entry = await self._look(name, self.snapshot.images)
            if entry is not None:
                self._publish_one(entry)
            elif name in self.snapshot.images:
                self._publish({key: value for key, value in self.snapshot.images.items() if key != name})

    def _unnoticed(self, failure: Failure, name: str) -> None:
        """The engine went away while we looked: the refresh at the next connection makes it good."""
        self._waiting.pop(name, None)
        if failure.check(CancelledError, CriwistError):
            self._log.info("image {image} was not looked at: {error}", image=name, error=failure.getErrorMessage())
        else:
            self._log.failure("image {image} was not looked at", failure, image=name)

    def _listed(self, item: JSONObject, known: Mapping[str, ImageEntry]) -> Deferred[ImageEntry | None]:
        """The image of an item of the engine's list; it is asked for only if it is new or has other names."""
        identifier = str(item.get("Id", ""))
        seen = known.get(identifier)
        if seen is not None and set(seen.references) == {*_names(item, "RepoTags"), *_names(item, "RepoDigests")}:
            return succeed(seen)
        return Deferred.fromCoroutine(self._look(identifier, known)).addErrback(self._damaged, item)

    def _damaged(self, failure: Failure, item: JSONObject) -> ImageEntry:
        """One image that the engine cannot inspect hides neither itself nor the others."""
        failure.trap(EngineFailure)
        self._log.warn(
            "image {image} cannot be inspected: {error}", image=item.get("Id"), error=failure.getErrorMessage()
        )
        return self._entry(item, ())

    async def _look(self, name: str, known: Mapping[str, ImageEntry]) -> ImageEntry | None:
        """The image as it is now; None if it is gone.  The history of an image in *known* is taken from there."""
        try:
            inspected = await self._docker.inspect_image(name)
        except NotFound:
            return None
        identifier = str(inspected.get("Id", ""))
        seen = known.get(identifier)
        return self._entry(inspected, seen.history if seen is not None else await self._history(identifier))

    async def _history(self, identifier: str) -> Sequence[JSONObject]:
        """The image's history; empty if the engine cannot tell it, for it is but a part of a verbose status."""
        try:
            return await self._docker.image_history(identifier)
        except (EngineFailure, NotFound) as error:
            self._log.info("image {image} has no history: {error}", image=identifier, error=str(error))
            return ()

    def _entry(self, told: JSONObject, history: Sequence[JSONObject]) -> ImageEntry:
        pinned = is_pinned(
            told,
            patterns=(*self._config.pinned_images, *self._always_pinned),
            labels=self._config.pinned_image_labels,
        )
        return ImageEntry(image(told, pinned=pinned), told, history)

    def _publish_one(self, entry: ImageEntry) -> None:
        """Publish *entry*; a tag that it has now, no other image has."""
        tags = set(entry.image.repo_tags)
        others = {key: _without_tags(other, tags) for key, other in self.snapshot.images.items() if key != entry.id}
        self._publish({**others, entry.id: entry})

    def _publish(self, images: Mapping[str, ImageEntry]) -> None:
        self.snapshot = ImageSnapshot(images)


def _own_configs(reactor: IReactorTime) -> DockerConfigs:
    return DockerConfigs(os.environ, str(Path.cwd()), CredentialPrograms(reactor, os.environ).get)


def _without_tags(entry: ImageEntry, tags: set[str]) -> ImageEntry:
    if tags.isdisjoint(entry.image.repo_tags):
        return entry
    left = [tag for tag in entry.image.repo_tags if tag not in tags]
    changed = pb.Image()
    changed.CopyFrom(entry.image)
    del changed.repo_tags[:]
    changed.repo_tags.extend(left)
    return ImageEntry(changed, {**entry.inspected, "RepoTags": left}, entry.history)


def _engine_name(text: str) -> str:
    """*text*, which names an image in a request, as the engine is to be asked for it.

    :raises InvalidArgument: it is neither a reference nor an id.
    """
    return text if is_identifier(text) else str(parse(text).specific())


def _names(document: JSONObject, member: str) -> list[str]:
    return [name for name in document.get(member) or () if isinstance(name, str) and "<none>" not in name]
