"""The mounts of a container in ContainerStatus.

The engine lists mounts in no order, and with the propagation in force.  ``HostConfig.Mounts`` has the order and the
propagation of the request; the propagation differs where the engine mounts its own root, which it always makes
``rslave``.  Volumes, which only images request, and criwist's own files are not the CRI's and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject
from criwist.translate.engine_json import flag, member, members, text

_ID_PREFIX = "sha256:"
_NO_IMAGES: Mapping[str, pb.Mount] = {}


def mount_status(
    inspected: JSONObject, *, image_mounts: Mapping[str, pb.Mount] = _NO_IMAGES, own_directory: str = ""
) -> list[pb.Mount]:
    """Return the mounts of an inspected container: in the order of the request, and those of older shims by path.

    :param image_mounts: image volumes that the engine does not know as such, by container path: they have ``image`` and
        ``image_sub_path`` in place of the host path.
    :param own_directory: mounts from beneath it are criwist's and left out, except for image volumes.
    """
    requested = {text(mount, "Target"): mount for mount in members(inspected, "HostConfig", "Mounts")}
    order = {path: index for index, path in enumerate(requested)}
    found = {text(mount, "Destination"): mount for mount in members(inspected, "Mounts")}
    visible = _visible(found, requested, image_mounts, own_directory)
    return sorted(visible, key=lambda mount: (order.get(mount.container_path, len(order)), mount.container_path))


def _visible(
    found: Mapping[str, JSONObject],
    requested: Mapping[str, JSONObject],
    image_mounts: Mapping[str, pb.Mount],
    own_directory: str,
) -> Iterator[pb.Mount]:
    own = own_directory.rstrip("/") + "/" if own_directory else ""
    for path, mount in found.items():
        kind = text(mount, "Type")
        if path in image_mounts:
            image = _image(path, image_mounts[path].image, image_mounts[path].image_sub_path)
            image.recursive_read_only = flag(requested.get(path) or {}, "BindOptions", "ReadOnlyForceRecursive")
            yield image
        elif kind == "image":
            wanted = requested.get(path, mount)
            source = _whole_id(text(wanted, "Source"), requested)
            spec = pb.ImageSpec(image=source, image_ref=source if source.startswith(_ID_PREFIX) else "")
            yield _image(path, spec, text(wanted, "ImageOptions", "Subpath"))
        elif kind == "bind" and not (own and text(mount, "Source").startswith(own)):
            yield _bind(path, mount, requested.get(path))


def _whole_id(source: str, requested: Mapping[str, JSONObject]) -> str:
    """The id of which a second mount of an image has only the first digits; see ``mounts``."""
    sources = (text(mount, "Source") for mount in requested.values())
    return next((one for one in sources if source and one.startswith(f"{_ID_PREFIX}{source}")), source)


def _image(path: str, image: pb.ImageSpec, sub_path: str) -> pb.Mount:
    return pb.Mount(container_path=path, image=image, image_sub_path=sub_path, readonly=True)


def _bind(path: str, mount: JSONObject, requested: JSONObject | None) -> pb.Mount:
    options = member(requested or {}, "BindOptions")
    propagation = text(mount if requested is None else options, "Propagation")
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
