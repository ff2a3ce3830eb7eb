"""Keeps the copy of the engine's images right.

The copy is right after :meth:`ImageCopy.refresh`, which the engine's feed calls at each connection, as long as
:meth:`ImageCopy.event` gets each image event of the feed.  An event makes us look at the one image it names; a tag that
an image has now, no other image has.  An image's history is asked once, for its id names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredSemaphore,
    FirstError,
    gatherResults,
    succeed,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.snapshot import ImageEntry, ImageSnapshot
from criwist.errors import CriwistError, EngineFailure, NotFound
from criwist.interfaces.engine import EngineFacts, IDocker, JSONObject
from criwist.translate.engine_json import number
from criwist.translate.image import image

#: Image events after which the image may look different.
_CHANGES = frozenset({"pull", "tag", "untag", "delete", "import", "load"})
#: Inspections under way at once while all images are listed.
PARALLEL_INSPECTIONS = 8


@define(eq=False)
class ImageCopy:
    """The copy, and what changes it.

    :param pinned: tells of an image, listed or inspected, whether it is pinned.
    """

    _docker: IDocker
    _pinned: Callable[[JSONObject], bool]
    #: Replaced, never changed.
    snapshot: ImageSnapshot = field(factory=ImageSnapshot, init=False)
    #: One change of the copy at a time, or an older answer of the engine could overwrite a newer one.
    _changing: DeferredLock = field(factory=DeferredLock, init=False)
    #: What events named that is yet to be looked at.
    _waiting: dict[str, None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    async def refresh(self) -> None:
        """List all images anew and publish what is there.  Only new ones, and ones with other names, are inspected."""
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
        Deferred.fromCoroutine(self.look_at(name)).addErrback(self._not_looked_at, name)

    async def look_at(self, name: str) -> str | None:
        """Look at the image of this name or id, and publish or drop it; returns its id, None if it is gone."""
        async with self._changing:
            # What happens to the image from here on makes us look again.
            self._waiting.pop(name, None)
            entry = await self._look(name, self.snapshot.images)
            if entry is None:
                if name in self.snapshot.images:
                    self._publish({key: value for key, value in self.snapshot.images.items() if key != name})
                return None
            tags = set(entry.image.repo_tags)
            images = {key: _without_tags(other, tags) for key, other in self.snapshot.images.items()}
            self._publish({**images, entry.id: entry})
            return entry.id

    def _not_looked_at(self, failure: Failure, name: str) -> None:
        """The engine went away while we looked: the refresh at the next connection makes it good."""
        self._waiting.pop(name, None)
        if failure.check(CancelledError, CriwistError):
            self._log.info("image {image} was not looked at: {error}", image=name, error=failure.getErrorMessage())
        else:
            self._log.failure("image {image} was not looked at", failure, image=name)

    def _listed(self, item: JSONObject, known: Mapping[str, ImageEntry]) -> Deferred[ImageEntry | None]:
        """The image of an item of the engine's list."""
        identifier = str(item.get("Id", ""))
        seen = known.get(identifier)
        if seen is not None and set(seen.references) == {*names(item, "RepoTags"), *names(item, "RepoDigests")}:
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
        return ImageEntry(image(told, pinned=self._pinned(told), extra_size=self._beside(history)), told, history)

    def _beside(self, history: Sequence[JSONObject]) -> int:
        """Bytes that an image takes beside what its inspection tells.

        With the containerd image store that is what was pulled; what was unpacked of it stands in the history.
        """
        facts: EngineFacts | None = self._docker.facts
        if facts is None or not facts.containerd_store:
            return 0
        return sum(number(layer, "Size") for layer in history)

    def _publish(self, images: Mapping[str, ImageEntry]) -> None:
        self.snapshot = ImageSnapshot(images)


def names(document: JSONObject, member: str) -> list[str]:
    """The tags or digests in an image's document, those without a name left out."""
    return [name for name in document.get(member) or () if isinstance(name, str) and "<none>" not in name]


def _without_tags(entry: ImageEntry, tags: set[str]) -> ImageEntry:
    if tags.isdisjoint(entry.image.repo_tags):
        return entry
    left = [tag for tag in entry.image.repo_tags if tag not in tags]
    changed = pb.Image()
    changed.CopyFrom(entry.image)
    del changed.repo_tags[:]
    changed.repo_tags.extend(left)
    return ImageEntry(changed, {**entry.inspected, "RepoTags": left}, entry.history)
