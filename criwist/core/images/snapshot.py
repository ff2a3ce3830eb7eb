"""A snapshot of the engine's images: immutable, replaced whole, readable from any thread.

An image is found as Docker finds it: by id, by tag or digest in short or full form, a bare name meaning ``latest``,
or by an id prefix that only one image has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from attrs import field, frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject
from criwist.reference import Reference, is_identifier, parse
from criwist.translate.image import image_info

#: Fewer hex digits are no id prefix: they match too many images, and may be a repository's name, like ``cafe``.
_SHORTEST_PREFIX = 4
_PREFIX = "sha256:"
_DIGITS = 64


@frozen(eq=False)
class ImageEntry:
    """One image.  Neither the message nor the documents may be changed."""

    image: pb.Image
    #: ``GET /images/{id}/json``.
    inspected: JSONObject
    #: ``GET /images/{id}/history``, newest layer first.
    history: Sequence[JSONObject]

    @property
    def id(self) -> str:
        """``sha256:…``."""
        return str(self.image.id)

    @property
    def references(self) -> Sequence[str]:
        """Tags and digests, in the engine's short form."""
        return [*self.image.repo_tags, *self.image.repo_digests]


@frozen(slots=False, eq=False)
class ImageSnapshot:
    """All images at one moment, by id, in the engine's order."""

    images: Mapping[str, ImageEntry] = field(factory=dict)

    @cached_property
    def _by_reference(self) -> Mapping[str, ImageEntry]:
        return {name: entry for entry in self.images.values() for name in entry.references}

    def find(self, text: str) -> ImageEntry | None:
        """Return the image that *text* names, or None.

        :raises InvalidArgument: it is neither a reference nor an id.
        """
        if not is_identifier(text):
            return self._by_name(parse(text).specific())
        digits = text.removeprefix(_PREFIX)
        if len(digits) == _DIGITS:
            return self.images.get(_PREFIX + digits)
        return self._by_name(parse(text).specific()) or self._by_prefix(digits)

    def status(self, reference: str) -> pb.Image | None:
        """Return the image that *reference*, a reference or an id, names; None if there is none.  Do not change it.

        :raises InvalidArgument: it is neither.
        """
        entry = self.find(reference)
        return entry.image if entry is not None else None

    def response(self, reference: str, *, verbose: bool) -> pb.ImageStatusResponse:
        """Return the response to ImageStatus.  Without an image if there is none, which is no error for a kubelet."""
        entry = self.find(reference)
        if entry is None:
            return pb.ImageStatusResponse()
        info = image_info(entry.inspected, history=entry.history) if verbose else {}
        return pb.ImageStatusResponse(
            image=entry.image, info={"info": json.dumps(info, sort_keys=True)} if info else {}
        )

    def list(self, filter_image: str = "") -> Sequence[pb.Image]:
        """Return the images that *filter_image* names, all if it is empty.  Do not change them.

        A name without tag and digest matches all images of the repository.

        :raises InvalidArgument: it is neither a reference nor an id.
        """
        if not filter_image:
            return [entry.image for entry in self.images.values()]
        found = self.find(filter_image)
        named = [] if found is None else [found.image]
        if is_identifier(filter_image) and (named or len(filter_image.removeprefix(_PREFIX)) == _DIGITS):
            return named
        reference = parse(filter_image)
        if reference.tag or reference.digest:
            return named
        return [entry.image for entry in self.images.values() if _has_name(entry.references, reference)]

    def _by_prefix(self, digits: str) -> ImageEntry | None:
        if len(digits) < _SHORTEST_PREFIX:
            return None
        found = [entry for identifier, entry in self.images.items() if identifier.startswith(_PREFIX + digits)]
        return found[0] if len(found) == 1 else None

    def _by_name(self, reference: Reference) -> ImageEntry | None:
        found = self._by_reference.get(reference.familiar)
        if found is None and reference.digest:
            # With the containerd image store the digest of a reference is the image's id.
            by_id = self.images.get(reference.digest)
            if by_id is not None and _has_name(by_id.references, reference):
                return by_id
        return found


def _has_name(names: Iterable[str], reference: Reference) -> bool:
    """Return whether one of *names*, in short form, is of the reference's repository."""
    start = reference.familiar_name
    return any(name.startswith((f"{start}:", f"{start}@")) for name in names)
