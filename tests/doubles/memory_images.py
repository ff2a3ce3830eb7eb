"""Images of the memory engine, and the registry that it pulls from.

Removal follows the rules of Docker 20.10: a reference is untagged while the image has another; the last one is kept
while a container uses the image, unless forced; an id removes the image if all its references are of one repository.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, field, frozen

from criwist import reference as references
from criwist.errors import InvalidArgument
from tests.doubles.engine_server import Refusal
from tests.doubles.memory_events import Events, Times, time_text

Document = dict[str, Any]


@define(eq=False)
class Image:
    """One image."""

    id: str
    tags: list[str]
    digests: list[str]
    config: Document
    size: int
    created: int

    @property
    def references(self) -> list[str]:
        """Tags and digests, in familiar form."""
        return [*self.tags, *self.digests]

    def summary(self) -> Document:
        """Return its entry of ``GET /images/json``."""
        return {
            "Containers": -1,
            "Created": self.created // 10**9,
            "Id": self.id,
            "Labels": self.config.get("Labels"),
            "ParentId": "",
            "RepoDigests": list(self.digests) or None,
            "RepoTags": list(self.tags) or (["<none>:<none>"] if not self.digests else None),
            "SharedSize": -1,
            "Size": self.size,
            "VirtualSize": self.size,
        }

    def inspect(self) -> Document:
        """Return the document of ``GET /images/{name}/json``."""
        return {
            "Id": self.id,
            "RepoTags": list(self.tags),
            "RepoDigests": list(self.digests),
            "Parent": "",
            "Comment": "",
            "Created": time_text(self.created),
            "Author": "",
            "Config": self.config,
            "Architecture": "amd64",
            "Os": "linux",
            "Size": self.size,
            "VirtualSize": self.size,
            "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": f"/memory/overlay2/{self.id[7:]}/diff"}},
            "RootFS": {"Type": "layers", "Layers": [_digest(f"layer of {self.id}")]},
            "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        }

    def history(self) -> list[Document]:
        """Return the document of ``GET /images/{name}/history``."""
        created = self.created // 10**9
        layer = {"Comment": "", "Created": created, "CreatedBy": "ADD", "Id": self.id, "Size": self.size}
        return [{**layer, "Tags": list(self.tags) or None}]


@frozen
class RemoteImage:
    """An image in a registry, and the script of its pull."""

    #: Images of equal content are the same image.
    content: str = "content"
    config: Document = field(factory=dict)
    size: int = 1000
    #: Each message of the pull with the seconds to wait before it; None: the usual messages at once.
    script: Sequence[tuple[float, Document]] | None = None
    #: The pull never ends after its script.
    stalls: bool = False
    #: The credentials that a pull needs; ``""``: none.
    username: str = ""
    password: str = ""
    #: The engine's response to a pull, instead of the script.
    refusal: Refusal | None = None

    def messages(self, reference: references.Reference) -> Iterator[tuple[float, Document]]:
        """Return the messages of a successful pull, each with the seconds to wait before it."""
        yield 0, {"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest}
        if self.script is not None:
            yield from self.script
            return
        layer = _digest(self.content)[7:19]
        detail = {"current": self.size, "total": self.size}
        yield 0, {"status": "Pulling fs layer", "progressDetail": {}, "id": layer}
        for status in ("Downloading", "Extracting"):
            yield 0, {"status": status, "progressDetail": detail, "progress": "[==>]", "id": layer}
        yield 0, {"status": "Pull complete", "progressDetail": {}, "id": layer}

    def admits(self, auth: Document) -> bool:
        """Return whether these credentials allow a pull."""
        if not self.username:
            return True
        plain = (auth.get("username"), auth.get("password"))
        return plain == (self.username, self.password)

    @property
    def manifest_digest(self) -> str:
        """The digest by which a registry knows the image."""
        return _digest(f"manifest of {self.content}")


@define(eq=False)
class Images:
    """All images.  Methods raise :class:`Refusal` where the engine responds with an error."""

    _times: Times
    _events: Events
    #: Returns the containers that use an image, by id: each one's id and whether it runs, running ones first.
    users: Callable[[str], Sequence[tuple[str, bool]]] = field(default=lambda _: ())
    all: dict[str, Image] = field(factory=dict, init=False)
    #: Ids of images that the list omits, as engine 26.1 does with some in the containerd image store.
    unlisted: set[str] = field(factory=set, init=False)

    def add(self, reference: str, *, content: str = "", config: Document | None = None, size: int = 1000) -> Image:
        """Add an image of this name, as a build does."""
        image = self._stored(content or reference, config or {"Cmd": ["run"]}, size)
        if reference:
            self.tag(image, references.parse(reference).specific())
        return image

    def pulled(self, reference: references.Reference, remote: RemoteImage) -> Image:
        """Add the image of a completed pull."""
        image = self._stored(remote.content, remote.config or {"Cmd": ["run"]}, remote.size)
        digest = f"{reference.familiar_name}@{remote.manifest_digest}"
        if digest not in image.digests:
            image.digests.append(digest)
        if reference.tag:
            self._untag_everywhere(reference.familiar)
            image.tags.append(reference.familiar)
        self._publish("pull", reference.familiar, reference.familiar_name)
        return image

    def tag(self, image: Image, reference: references.Reference) -> None:
        """Move a tag to *image*."""
        self._untag_everywhere(reference.familiar)
        image.tags.append(reference.familiar)
        self._publish("tag", image.id, reference.familiar)

    def find(self, name: str, missing: Callable[[str], str] = "No such image: {}".format) -> Image:
        """Return the image of this reference, id or unambiguous id prefix."""
        bare = name.removeprefix("sha256:")
        if references.is_identifier(name):
            found = [image for image in self.all.values() if image.id[7:].startswith(bare)]
            if len(found) == 1:
                return found[0]
        try:
            wanted = references.parse(name).specific().familiar
        except InvalidArgument:
            wanted = ""
        for image in self.all.values():
            if wanted and wanted in image.references:
                return image
        raise Refusal(404, missing(name))

    def remove(self, name: str, *, force: bool) -> list[Document]:
        """Remove a name of an image, and the image if it was the last one; return the records of the response."""
        image = self.find(name)
        if references.is_identifier(name) and image.id[7:].startswith(name.removeprefix("sha256:")):
            return self._remove_by_id(image, force)
        using = self.users(image.id)
        if not force and _single(image) and using:
            raise Refusal(
                409,
                f'conflict: unable to remove repository reference "{name}" (must force) - '
                f"container {using[0][0][:12]} is using its referenced image {image.id[7:19]}",
            )
        removed = references.parse(name).specific()
        gone = [removed.familiar]
        (image.digests if removed.digest else image.tags).remove(removed.familiar)
        repository = removed.familiar_name
        if not removed.digest and not any(_repository(tag) == repository for tag in image.tags):
            gone += [digest for digest in image.digests if _repository(digest) == repository]
            image.digests = [digest for digest in image.digests if _repository(digest) != repository]
        for _ in gone:
            self._publish("untag", image.id, image.id)
        records = [{"Untagged": text} for text in gone]
        if image.references or any(running for _, running in using) or (using and not force):
            return records
        return [*records, self._delete(image)]

    def _remove_by_id(self, image: Image, force: bool) -> list[Document]:
        if not _single(image) and not force:
            raise Refusal(
                409,
                f"conflict: unable to delete {image.id[7:19]} (must be forced) - "
                "image is referenced in multiple repositories",
            )
        for user, running in self.users(image.id):
            if running or not force:
                remedy, state = ("cannot be forced", "running") if running else ("must be forced", "stopped")
                raise Refusal(
                    409,
                    f"conflict: unable to delete {image.id[7:19]} ({remedy}) - "
                    f"image is being used by {state} container {user[:12]}",
                )
        records = [{"Untagged": text} for text in image.references]
        for _ in records:
            self._publish("untag", image.id, image.id)
        image.tags, image.digests = [], []
        return [*records, self._delete(image)]

    def _delete(self, image: Image) -> Document:
        del self.all[image.id]
        self._publish("delete", image.id, image.id)
        return {"Deleted": image.id}

    def _stored(self, content: str, config: Document, size: int) -> Image:
        identifier = _digest(content)
        if identifier not in self.all:
            self.all[identifier] = Image(identifier, [], [], config, size, self._times.nanoseconds())
        return self.all[identifier]

    def _untag_everywhere(self, tag: str) -> None:
        for image in self.all.values():
            if tag in image.tags:
                image.tags.remove(tag)

    def _publish(self, action: str, identifier: str, name: str) -> None:
        self._events.publish("image", action, identifier, {"name": name})


def given_credentials(headers: dict[str, str]) -> Document:
    """Return the document in ``X-Registry-Auth``."""
    header = headers.get("x-registry-auth", "")
    document: Document = json.loads(base64.urlsafe_b64decode(header)) if header else {}
    return document


def _single(image: Image) -> bool:
    """Return whether the image has at most one tag, and all its references are of one repository."""
    repositories = {_repository(text) for text in image.references}
    return len(image.tags) <= 1 and len(repositories) <= 1


def _repository(text: str) -> str:
    return references.parse(text).familiar_name


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
