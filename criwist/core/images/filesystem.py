"""ImageFsInfo: the disk space that images use, computed without walking a directory tree.

``used_bytes`` is the sum of the sizes of all layers, each layer that several images share counted once: the bytes that
removing all images would free.  The sizes are those in the images' histories, each read once; shared layers are
recognized by their digests.  ``inodes_used`` is that of the whole file system which holds the layers, as kubelet's own
cAdvisor reported it for Docker: no engine counts inodes, and counting them here would be the very walk that makes a
node slow.

``fs_id`` is the directory of the layers.  With a graph driver it is below the engine's root; with the containerd image
store it is in containerd's root, which the engine does not report, so the usual places are tried.  Containers' writable
layers are in the same file system, which an empty ``container_filesystems`` means to a kubelet.
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
    """Answers ImageFsInfo.  Any thread."""

    #: The ids of the images of the last call, and the bytes that they use.
    _last: tuple[frozenset[str], int] = field(default=(frozenset(), 0), init=False)

    def info(self, facts: EngineFacts | None, images: Iterable[ImageEntry]) -> pb.ImageFsInfoResponse:
        """Return the response for these images.

        :param facts: of the engine; None if it has never answered.
        :raises Unavailable: it has never answered.
        """
        if facts is None:
            raise Unavailable("Docker has not answered yet")
        directory = layers_directory(facts)
        inodes = _inodes_used(directory)
        usage = pb.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=pb.FilesystemIdentifier(mountpoint=directory),
            used_bytes=pb.UInt64Value(value=self._used_bytes(list(images))),
            inodes_used=None if inodes is None else pb.UInt64Value(value=inodes),
        )
        return pb.ImageFsInfoResponse(image_filesystems=[usage])

    def _used_bytes(self, images: Sequence[ImageEntry]) -> int:
        identifiers = frozenset(entry.id for entry in images)
        if identifiers != self._last[0]:
            self._last = (identifiers, used_bytes(images))
        return self._last[1]


def layers_directory(facts: EngineFacts) -> str:
    """Return the directory of the layers; the engine's root if no usual place exists on this machine."""
    root = facts.root_directory
    if facts.containerd_store:
        places = [
            f"{root}/containerd/daemon/{_SNAPSHOTTER}{facts.storage_driver}",
            f"/var/lib/containerd/{_SNAPSHOTTER}{facts.storage_driver}",
        ]
    else:
        places = [f"{root}/{facts.storage_driver}"]
    return next((place for place in places if os.path.isdir(place)), root)


def used_bytes(images: Iterable[ImageEntry]) -> int:
    """Return the bytes that these images use together.

    The containerd image store keeps an image's compressed layers beside the unpacked ones, and the image's size is the
    sum.  The compressed bytes are spread over the layers in proportion to their size.
    """
    layers: dict[tuple[str, ...], int] = {}
    for entry in images:
        chain = tuple(str(digest) for digest in (entry.inspected.get("RootFS") or {}).get("Layers") or ())
        sizes = [int(layer.get("Size") or 0) for layer in reversed(entry.history)]
        filled = [size for size in sizes if size > 0][: len(chain)]
        unpacked = sum(filled)
        if not unpacked:  # the engine reports no sizes of layers
            layers.setdefault(chain, int(entry.image.size))
            continue
        factor = max(1.0, entry.image.size / unpacked)
        for depth, size in enumerate(filled):
            layers.setdefault(chain[: depth + 1], round(size * factor))
    return sum(layers.values())


def _inodes_used(directory: str) -> int | None:
    """Return the used inodes of the file system at *directory*; None if *directory* is not visible from here."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_files - status.f_ffree
