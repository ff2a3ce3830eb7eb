"""How much room images take, without walking a tree.

``used_bytes`` is the sum of the sizes of all layers, a layer that several images share counted once: what removing
all images would free.  The sizes are those the engine tells in an image's history, which is asked once an image; the
layers that images share are told by their digests.  ``inodes_used`` is that of the file system which holds the layers,
all its files included, as kubelet's own cAdvisor told it for Docker: no engine counts inodes, and counting them here
would be the very walk that makes a node slow.

``fs_id`` is the directory of the layers: with a graph driver below the engine's root; with the containerd image store
in containerd's, which the engine does not tell, so the usual places are looked at.  Writable layers of containers lie
in the same file system, so ``container_filesystems`` is left out, which tells a kubelet just that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from attrs import define, field

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.snapshot import ImageEntry
from criwist.errors import Unavailable
from criwist.interfaces.engine import EngineFacts

_SNAPSHOTTER = "io.containerd.snapshotter.v1."


@define(eq=False)
class ImageFilesystem:
    """Answers ImageFsInfo.  Safe in any thread."""

    #: Room of sets of images seen before: the last one.
    _last: tuple[frozenset[str], int] = field(default=(frozenset(), 0), init=False)

    def info(self, facts: EngineFacts | None, images: Iterable[ImageEntry]) -> pb.ImageFsInfoResponse:
        """The answer for these images.

        :param facts: of the engine; None if it has never answered.
        :raises Unavailable: it has not.
        """
        if facts is None:
            raise Unavailable("Docker has not answered yet")
        directory = layers_directory(facts)
        inodes = _inodes_used(directory)
        usage = pb.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=pb.FilesystemIdentifier(mountpoint=directory),
            used_bytes=pb.UInt64Value(value=self._room(list(images))),
            inodes_used=None if inodes is None else pb.UInt64Value(value=inodes),
        )
        return pb.ImageFsInfoResponse(image_filesystems=[usage])

    def _room(self, images: Sequence[ImageEntry]) -> int:
        identifiers = frozenset(entry.id for entry in images)
        if identifiers != self._last[0]:
            self._last = (identifiers, bytes_of(images))
        return self._last[1]


def layers_directory(facts: EngineFacts) -> str:
    """Where layers lie, as far as can be told from here; the engine's root if it cannot."""
    root = facts.root_directory
    if facts.containerd_store:
        places = [
            f"{root}/containerd/daemon/{_SNAPSHOTTER}{facts.storage_driver}",
            f"/var/lib/containerd/{_SNAPSHOTTER}{facts.storage_driver}",
        ]
    else:
        places = [f"{root}/{facts.storage_driver}"]
    return next((place for place in places if os.path.isdir(place)), root)


def bytes_of(images: Iterable[ImageEntry]) -> int:
    """What these images take together.

    With the containerd image store an image has what was pulled beside what was unpacked, and its size is the sum.
    Layers are taken to share in that by their size.
    """
    layers: dict[tuple[str, ...], int] = {}
    for entry in images:
        chain = tuple(str(digest) for digest in (entry.inspected.get("RootFS") or {}).get("Layers") or ())
        sizes = [int(layer.get("Size") or 0) for layer in reversed(entry.history)]
        filled = [size for size in sizes if size > 0][: len(chain)]
        unpacked = sum(filled)
        if not unpacked:  # nothing is told of the layers
            layers.setdefault(chain, int(entry.image.size))
            continue
        factor = max(1.0, entry.image.size / unpacked)
        for depth, size in enumerate(filled):
            layers.setdefault(chain[: depth + 1], round(size * factor))
    return sum(layers.values())


def _inodes_used(directory: str) -> int | None:
    """Of the file system at *directory*; None if the engine's files are not to be seen from here."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_files - status.f_ffree
