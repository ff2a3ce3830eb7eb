"""The cache of the engine's images, updated by a listing and by events.

:meth:`ImageCache.refresh`, which the event feed calls at each connection, lists all images.  From then on the cache is
up to date as long as :meth:`ImageCache.event` gets each image event of the feed.  An event leads to an inspection of
the one image that it names, and a tag which that image has is taken from all others.  An image's history is read once,
since an id stands for unchanging content.
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

#: Image events that may change an image's names or existence.
_CHANGES = frozenset({"pull", "tag", "untag", "delete", "import", "load"})
#: Inspections under way at once while all images are listed.
PARALLEL_INSPECTIONS = 8


@define(eq=False)
class ImageCache:
    """Publishes snapshots of all images.

    :param pinned: returns whether an image, listed or inspected, is pinned.
    """

    _docker: IDocker
    _pinned: Callable[[JSONObject], bool]
    #: Replaced, never changed.  May be read from any thread.
    snapshot: ImageSnapshot = field(factory=ImageSnapshot, init=False)
    #: One update at a time, or an older answer of the engine could overwrite a newer one.
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    #: Names of events whose image is not inspected yet.
    _pending: dict[str, None] = field(factory=dict, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def document(self, identifier: str) -> JSONObject | None:
        """Return the engine's document of the image with this id; None if there is none."""
        entry = self.snapshot.images.get(identifier)
        return entry.inspected if entry is not None else None

    async def refresh(self) -> None:
        """List all images and publish them.

        Images are inspected that are new, whose names changed, and that the cache has and the list has not: with the
        containerd image store, engine 26.1 leaves an image out of its list that it has pulled without a layer which it
        had unpacked already.
        """
        async with self._lock:
            listed = await self._docker.images({})
            known = self.snapshot.images
            unlisted = known.keys() - {str(item.get("Id", "")) for item in listed}
            semaphore = DeferredSemaphore(PARALLEL_INSPECTIONS)
            reads = [semaphore.run(self._read_listed, item, known) for item in listed]
            reads += [semaphore.run(self._read_unlisted, identifier, known) for identifier in unlisted]
            try:
                entries = await gatherResults(reads, consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
                raise
            self._publish({entry.id: entry for entry in entries if entry is not None})

    def event(self, event: JSONObject) -> None:
        """Refresh the image that an event of the feed names, soon after this returns."""
        if event.get("Action", event.get("status")) not in _CHANGES:
            return
        actor = event.get("Actor") or {}
        name = str(actor.get("ID") or event.get("id") or "")
        if not name or name in self._pending:
            return
        self._pending[name] = None
        Deferred.fromCoroutine(self.refresh_image(name)).addErrback(self._refresh_failed, name)

    async def refresh_image(self, name: str) -> str | None:
        """Inspect the image of this name or id, and publish or drop it; return its id, None if it is gone."""
        async with self._lock:
            # An event that arrives from here on needs another inspection.
            self._pending.pop(name, None)
            entry = await self._read(name, self.snapshot.images)
            if entry is None:
                if name in self.snapshot.images:
                    self._publish({key: value for key, value in self.snapshot.images.items() if key != name})
                return None
            tags = set(entry.image.repo_tags)
            images = {key: _without_tags(other, tags) for key, other in self.snapshot.images.items()}
            self._publish({**images, entry.id: entry})
            return entry.id

    def _refresh_failed(self, failure: Failure, name: str) -> None:
        """Log it.  If the engine went away, the refresh at the next connection makes up for it."""
        self._pending.pop(name, None)
        if failure.check(CancelledError, CriwistError):
            self._log.info(
                "image {image} is shown as it was: it could not be inspected after an event: {error}",
                image=name,
                error=failure.getErrorMessage(),
            )
        else:
            self._log.failure("inspecting image {image} after an event failed", failure, image=name)

    def _read_listed(self, item: JSONObject, known: Mapping[str, ImageEntry]) -> Deferred[ImageEntry | None]:
        """Return the entry of an item of the engine's list: the one in *known*, if its names are the same."""
        identifier = str(item.get("Id", ""))
        cached = known.get(identifier)
        if cached is not None and set(cached.references) == {*names(item, "RepoTags"), *names(item, "RepoDigests")}:
            return succeed(cached)
        return Deferred.fromCoroutine(self._read(identifier, known)).addErrback(self._as_listed, item)

    def _as_listed(self, failure: Failure, item: JSONObject) -> ImageEntry:
        """An image that the engine cannot inspect hides neither itself nor the others."""
        failure.trap(EngineFailure)
        self._log.warn(
            "image {image} is shown as it is listed, it cannot be inspected: {error}",
            image=item.get("Id"),
            error=failure.getErrorMessage(),
        )
        return self._entry(item, ())

    def _read_unlisted(self, identifier: str, known: Mapping[str, ImageEntry]) -> Deferred[ImageEntry | None]:
        """Return the entry of an image that is in *known* and not in the engine's list; None if it is gone."""

        def keep(failure: Failure) -> ImageEntry:
            failure.trap(EngineFailure)
            return known[identifier]

        return Deferred.fromCoroutine(self._read(identifier, known)).addErrback(keep)

    async def _read(self, name: str, known: Mapping[str, ImageEntry]) -> ImageEntry | None:
        """Inspect an image; None if it is gone.  The history of an image in *known* is taken from there."""
        try:
            inspected = await self._docker.inspect_image(name)
        except NotFound:
            return None
        identifier = str(inspected.get("Id", ""))
        cached = known.get(identifier)
        return self._entry(inspected, cached.history if cached is not None else await self._history(identifier))

    async def _history(self, identifier: str) -> Sequence[JSONObject]:
        """Return the image's history; empty if the engine has none, since only a verbose status needs it."""
        try:
            return await self._docker.image_history(identifier)
        except (EngineFailure, NotFound) as error:
            self._log.info("image {image} has no history: {error}", image=identifier, error=str(error))
            return ()

    def _entry(self, document: JSONObject, history: Sequence[JSONObject]) -> ImageEntry:
        message = image(document, pinned=self._pinned(document), extra_size=self._unpacked_bytes(history))
        return ImageEntry(message, document, history)

    def _unpacked_bytes(self, history: Sequence[JSONObject]) -> int:
        """Return the bytes of an image's unpacked layers that the size in its document does not count.

        With the containerd image store that size is the pulled bytes; the history has the sizes of the unpacked layers.
        """
        facts: EngineFacts | None = self._docker.facts
        if facts is None or not facts.containerd_store:
            return 0
        return sum(number(layer, "Size") for layer in history)

    def _publish(self, images: Mapping[str, ImageEntry]) -> None:
        self.snapshot = ImageSnapshot(images)


def names(document: JSONObject, member: str) -> list[str]:
    """Return the tags or digests in an image's document, without those that have no name."""
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
