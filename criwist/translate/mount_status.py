"""The mounts of a container as ContainerStatus tells them.

The engine lists mounts in no order, and with the propagation that they got.  ``HostConfig.Mounts`` has the order and
the propagation that were asked for; they differ where the engine mounts its own root, which it makes ``rslave``
unasked.  Volumes, which only images ask for, and files of our own are not the CRI's and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject
from criwist.translate.engine_json import flag, member, members, text

_ID_PREFIX = "sha256:"
_NO_IMAGES: Mapping[str, pb.Mount] = {}


def mounted(
    inspected: JSONObject, *, image_mounts: Mapping[str, pb.Mount] = _NO_IMAGES, own_directory: str = ""
) -> list[pb.Mount]:
    """The mounts of an inspected container: in the order of the request, and those of older shims by path.

    :param image_mounts: image volumes that the engine does not know as such, by container path: their ``image`` and
        ``image_sub_path`` are shown in place of the host path.
    :param own_directory: mounts from beneath it are criwist's and not shown, image volumes excepted.
    """
    asked = {text(mount, "Target"): mount for mount in members(inspected, "HostConfig", "Mounts")}
    order = {path: index for index, path in enumerate(asked)}
    found = {text(mount, "Destination"): mount for mount in members(inspected, "Mounts")}
    shown = _shown(found, asked, image_mounts, own_directory)
    return sorted(shown, key=lambda mount: (order.get(mount.container_path, len(order)), mount.container_path))


def _shown(
    found: Mapping[str, JSONObject],
    asked: Mapping[str, JSONObject],
    image_mounts: Mapping[str, pb.Mount],
    own_directory: str,
) -> Iterator[pb.Mount]:
    own = own_directory.rstrip("/") + "/" if own_directory else ""
    for path, mount in found.items():
        kind = text(mount, "Type")
        if path in image_mounts:
            image = _image(path, image_mounts[path].image, image_mounts[path].image_sub_path)
            image.recursive_read_only = flag(asked.get(path) or {}, "BindOptions", "ReadOnlyForceRecursive")
            yield image
        elif kind == "image":
            wanted = asked.get(path, mount)
            source = _whole_id(text(wanted, "Source"), asked)
            told = pb.ImageSpec(image=source, image_ref=source if source.startswith(_ID_PREFIX) else "")
            yield _image(path, told, text(wanted, "ImageOptions", "Subpath"))
        elif kind == "bind" and not (own and text(mount, "Source").startswith(own)):
            yield _bind(path, mount, asked.get(path))


def _whole_id(source: str, asked: Mapping[str, JSONObject]) -> str:
    """The id that a second mount of an image is told by in part; see ``mounts``."""
    sources = (text(mount, "Source") for mount in asked.values())
    return next((one for one in sources if source and one.startswith(f"{_ID_PREFIX}{source}")), source)


def _image(path: str, image: pb.ImageSpec, sub_path: str) -> pb.Mount:
    return pb.Mount(container_path=path, image=image, image_sub_path=sub_path, readonly=True)


def _bind(path: str, mount: JSONObject, asked: JSONObject | None) -> pb.Mount:
    options = member(asked or {}, "BindOptions")
    propagation = text(mount if asked is None else options, "Propagation")
    return pb.Mount(
        container_path=path,
        host_path=text(mount, "Source"),
        readonly=not flag(mount, "RW"),
        recursive_read_only=flag(options, "ReadOnlyForceRecursive"),
        selinux_relabel=not {"z", "Z"}.isdisjoint(text(mount, "Mode").split(",")),
        propagation=_PROPAGATION.get(propagation.removeprefix("r"), pb.PROPAGATION_PRIVATE),
    )


_PROPAGATION = {
    "slave": pb.PROPAGATION_HOST_TO_CONTAINER,
    "shared": pb.PROPAGATION_BIDIRECTIONAL,
}
