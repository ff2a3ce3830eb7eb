"""Mounts: host paths and images, in the container's file system.

Docker has two ways to name a bind mount.  ``HostConfig.Mounts`` takes any path and has options for read-only mounts;
``HostConfig.Binds`` is a text with colons between its parts, and only it can relabel for SELinux.  So this module uses
binds only if the request wants a relabelling and the engine has SELinux.

- A host path that does not exist becomes a directory, as dockershim and cri-dockerd made it: the engine makes it
  (``CreateMountpoint``), or for an older engine the caller does, see :func:`host_directories`.
- ``readonly`` is not recursive unless the request says so: newer engines would make it so by default.
- The engine follows a symbolic link as a host path.
- The engine chooses private propagation: ``rprivate``, but ``rslave`` where a mount contains the engine's own root,
  without which it could not remove containers.
- An image is mounted by the engine if it can; else the caller mounts it and names the place.  It is one mount with none
  beneath, so that it is recursively read-only although the engine has no option for that.

:mod:`criwist.engine_differences` has the API version that each of these needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.engine_differences import CREATE_MOUNTPOINT, IMAGE_MOUNTS, READ_ONLY_RECURSION
from criwist.errors import FailedPrecondition, InvalidArgument, Unimplemented
from criwist.interfaces.engine import EngineFacts

_ID_PREFIX = "sha256:"
#: Digits of an id that still name one image for certain.
_SHORTEST_ID = 32

_PROPAGATION = {
    pb.PROPAGATION_PRIVATE: "",
    pb.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    pb.PROPAGATION_BIDIRECTIONAL: "rshared",
}


def image_mounts_wanted(config: pb.ContainerConfig) -> dict[int, pb.Mount]:
    """Return the mounts of *config* that are image volumes, by index."""
    return {index: mount for index, mount in enumerate(config.mounts) if mount.image.image}


def host_directories(config: pb.ContainerConfig, *, engine: EngineFacts) -> tuple[str, ...]:
    """Return the host paths at which the caller makes a directory before creation, where nothing is there.

    The caller follows links in the path.  Empty if the engine makes the directories.
    """
    if CREATE_MOUNTPOINT.supported_by(engine):
        return ()
    return tuple(mount.host_path for mount in config.mounts if mount.host_path and not _relabelled(mount, engine))


def mounts_body(
    mounts: Sequence[pb.Mount],
    field: str,
    *,
    runtime: str,
    engine: EngineFacts,
    image_mounts: Mapping[int, str],
) -> dict[str, Any]:
    """Return ``Mounts`` and ``Binds`` of a container, in the request's order, without empty lists.

    :param field: path of *mounts* in the request.
    :param runtime: the OCI runtime, ``""``: the engine's default.
    :param image_mounts: by index the id of an image that the engine mounts (:data:`IMAGE_MOUNTS`), or the host path at
        which the image is mounted already, in which a sub path is.
    :raises InvalidArgument: fields that contradict each other, a host path that is not absolute, a writable image.
    :raises FailedPrecondition: recursive read-only without a runtime or an engine that can, an image that is neither
        mounted nor the engine's to mount.
    :raises Unimplemented: id mappings, or mount options.
    """
    structured: list[dict[str, Any]] = []
    binds: list[str] = []
    sources = _sources(image_mounts, field) if IMAGE_MOUNTS.supported_by(engine) else image_mounts
    for index, mount in enumerate(mounts):
        path = f"{field}[{index}]"
        _check(mount, path)
        _check_recursion(mount, path, runtime, engine)
        if mount.HasField("image"):
            structured.append(_image(mount, path, engine, sources.get(index)))
        elif _relabelled(mount, engine):
            binds.append(_bind(mount, path))
        else:
            structured.append(_mount(mount.host_path, mount, engine))
    return {key: value for key, value in (("Mounts", structured), ("Binds", binds)) if value}


def _check(mount: pb.Mount, field: str) -> None:
    for name, mappings in (("uidMappings", mount.uidMappings), ("gidMappings", mount.gidMappings)):
        if mappings:
            raise Unimplemented(f"{field}.{name}: Docker Engine cannot map the ids of a mount")
    if mount.mount_options:
        raise Unimplemented(
            f"{field}.mount_options: Docker Engine cannot give a mount options ({', '.join(mount.mount_options)})"
        )
    if mount.HasField("image"):
        return
    if mount.image_sub_path:
        raise InvalidArgument(f"{field}.image_sub_path", "must be empty unless an image is mounted")
    if not mount.host_path.startswith("/"):
        raise InvalidArgument(f"{field}.host_path", f"must be an absolute path, not {mount.host_path!r}")


def _check_recursion(mount: pb.Mount, field: str, runtime: str, engine: EngineFacts) -> None:
    if not mount.recursive_read_only:
        return
    path = f"{field}.recursive_read_only"
    if not mount.readonly:
        raise InvalidArgument(path, "must not be set unless readonly is")
    if mount.propagation != pb.PROPAGATION_PRIVATE:
        raise InvalidArgument(path, "must not be set unless propagation is PROPAGATION_PRIVATE")
    name = runtime or engine.default_runtime
    facts = engine.runtimes.get(name)
    if not READ_ONLY_RECURSION.supported_by(engine) or facts is None or not facts.recursive_read_only:
        raise FailedPrecondition(
            f"{path}: the engine with its runtime {name!r} does not do recursive read-only mounts, which need "
            f"Linux 5.12 and {READ_ONLY_RECURSION.requirement}"
        )


def _image(mount: pb.Mount, field: str, engine: EngineFacts, source: str | None) -> dict[str, Any]:
    if mount.host_path:
        raise InvalidArgument(f"{field}.host_path", "must be empty when an image is mounted")
    if not mount.image.image:
        raise InvalidArgument(f"{field}.image.image", "must not be empty")
    if not mount.readonly:
        raise InvalidArgument(f"{field}.readonly", "must be set: images are mounted read-only")
    if mount.propagation != pb.PROPAGATION_PRIVATE:
        raise InvalidArgument(f"{field}.propagation", "must be PROPAGATION_PRIVATE when an image is mounted")
    if mount.image_sub_path.startswith("/") or ".." in mount.image_sub_path.split("/"):
        raise InvalidArgument(f"{field}.image_sub_path", "must be a relative path inside the image")
    if source is None:
        raise FailedPrecondition(f"{field}.image: the image is not mounted")
    if not IMAGE_MOUNTS.supported_by(engine):
        return _mount(source, mount, engine)
    result: dict[str, Any] = {"Type": "image", "Source": source, "Target": mount.container_path, "ReadOnly": True}
    if mount.image_sub_path:
        result["ImageOptions"] = {"Subpath": mount.image_sub_path}
    return result


def _sources(images: Mapping[int, str], field: str) -> dict[int, str]:
    """The ``Source`` of each image mount: the image's id, with fewer digits for each further mount of the same image.

    An engine names its directory for such a mount after container and source, and fails when a second mount has the
    same source: https://github.com/moby/moby/issues/50122.

    :raises FailedPrecondition: more mounts of one image than there are distinct sources.
    """
    used: Counter[str] = Counter()
    sources: dict[int, str] = {}
    for index, image in images.items():
        digits = image.removeprefix(_ID_PREFIX)
        again = used[image]
        if len(digits) - again < _SHORTEST_ID:
            raise FailedPrecondition(f"{field}[{index}].image: the engine cannot mount one image as often as that")
        sources[index] = digits[: len(digits) - again] if again else image
        used[image] += 1
    return sources


def _mount(source: str, mount: pb.Mount, engine: EngineFacts) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if propagation := _PROPAGATION[mount.propagation]:
        options["Propagation"] = propagation
    if CREATE_MOUNTPOINT.supported_by(engine):
        options["CreateMountpoint"] = not mount.HasField("image")
    if mount.readonly and READ_ONLY_RECURSION.supported_by(engine):
        if mount.recursive_read_only:
            options |= {"ReadOnlyForceRecursive": True, "Propagation": "rprivate"}
        else:
            options["ReadOnlyNonRecursive"] = True
    result: dict[str, Any] = {"Type": "bind", "Source": source, "Target": mount.container_path}
    if mount.readonly:
        result["ReadOnly"] = True
    return result | ({"BindOptions": options} if options else {})


def _relabelled(mount: pb.Mount, engine: EngineFacts) -> bool:
    return mount.selinux_relabel and "selinux" in engine.security and not mount.HasField("image")


def _bind(mount: pb.Mount, field: str) -> str:
    """A bind in text, relabelled for this pod alone.

    With newer engines a read-only bind is recursive wherever the kernel can: the text has no option against that.
    """
    for name in ("host_path", "container_path"):
        if ":" in getattr(mount, name):
            raise InvalidArgument(f"{field}.{name}", "must not hold a colon when selinux_relabel is set")
    propagation = _PROPAGATION[mount.propagation]
    modes = ["ro"] if mount.readonly else []
    modes += ["Z", *([propagation] if propagation else [])]
    return f"{mount.host_path}:{mount.container_path}:{','.join(modes)}"
