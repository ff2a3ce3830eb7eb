"""Devices: host device files, and devices by CDI name.

A host device may be a directory, all of whose devices the container gets, or a link to either; the engine resolves
both when the container starts.  The engine also resolves CDI names, if it is new enough
(:data:`~criwist.engine_differences.CDI_DEVICES`); an engine without the driver refuses them itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.engine_differences import CDI_DEVICES
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts

#: Read, write, and make a node (mknod), each once.
_PERMISSIONS = frozenset("rwm")


def devices_body(config: pb.ContainerConfig, field: str, *, engine: EngineFacts) -> dict[str, Any]:
    """Return ``Devices`` and ``DeviceRequests`` of a container, without empty lists.

    :param field: path of *config* in the request.
    :raises InvalidArgument: a path that is not absolute, unknown permissions, a CDI device without a name.
    :raises FailedPrecondition: CDI devices, and the engine is too old for them.
    """
    devices = [_device(device, f"{field}.devices[{index}]") for index, device in enumerate(config.devices)]
    names = _cdi_names(config.CDI_devices, f"{field}.CDI_devices")
    if names and not CDI_DEVICES.supported_by(engine):
        raise FailedPrecondition(
            f"{field}.CDI_devices: Docker Engine {engine.version} does not know CDI devices, which need "
            f"{CDI_DEVICES.requirement}"
        )
    requests = [{"Driver": "cdi", "DeviceIDs": names}] if names else []
    return {key: value for key, value in (("Devices", devices), ("DeviceRequests", requests)) if value}


def _device(device: pb.Device, field: str) -> dict[str, str]:
    for name in ("container_path", "host_path"):
        path = getattr(device, name)
        if not path.startswith("/"):
            raise InvalidArgument(f"{field}.{name}", f"must be an absolute path, not {path!r}")
    permissions = device.permissions
    if not permissions or set(permissions) - _PERMISSIONS or len(set(permissions)) != len(permissions):
        raise InvalidArgument(f"{field}.permissions", f"must be one or more of r, w and m, not {permissions!r}")
    return {
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path,
        "CgroupPermissions": permissions,
    }


def _cdi_names(devices: Sequence[pb.CDIDevice], field: str) -> list[str]:
    for index, device in enumerate(devices):
        if not device.name:
            raise InvalidArgument(f"{field}[{index}].name", "must not be empty")
    return [device.name for device in devices]
