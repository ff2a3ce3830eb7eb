"""Devices by host path and by CDI name."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.translate.devices import devices_body
from tests.translate.outcomes import NEWEST, OLDEST


def body(engine: EngineFacts = OLDEST, **fields: Any) -> dict[str, Any]:
    """The members of HostConfig for a container with these fields."""
    return devices_body(pb.ContainerConfig(**fields), "config", engine=engine)


def device(**fields: Any) -> pb.Device:
    """/dev/fuse, readable and writable."""
    return pb.Device(**{"host_path": "/dev/fuse", "container_path": "/dev/fuse", "permissions": "rw", **fields})


class Devices(SynchronousTestCase):
    """Host device files."""

    def test_device(self) -> None:
        """Paths and permissions are passed on."""
        expected = {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}
        self.assertEqual(body(devices=[device(container_path="/dev/x")]), {"Devices": [expected]})

    def test_none(self) -> None:
        """Without devices the body has no members for them."""
        self.assertEqual(body(), {})

    def test_permissions(self) -> None:
        """Permissions are r, w and m; without any there is no device."""
        for permissions in ("", "rwx", "rr", "RW"):
            error = self.assertRaises(InvalidArgument, body, devices=[device(permissions=permissions)])
            self.assertEqual(error.field, "config.devices[0].permissions")

    def test_paths(self) -> None:
        """Both paths are absolute."""
        for name in ("host_path", "container_path"):
            error = self.assertRaises(InvalidArgument, body, devices=[device(), device(**{name: "fuse"})])
            self.assertEqual(error.field, f"config.devices[1].{name}")


class Cdi(SynchronousTestCase):
    """Devices by CDI name."""

    def test_request(self) -> None:
        """All names go into one request to the engine's CDI driver."""
        names = [pb.CDIDevice(name="vendor.com/gpu=0"), pb.CDIDevice(name="vendor.com/gpu=1")]
        self.assertEqual(
            body(NEWEST, CDI_devices=names),
            {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/gpu=0", "vendor.com/gpu=1"]}]},
        )

    def test_too_old(self) -> None:
        """A CDI device is refused if the engine is too old for CDI."""
        error = self.assertRaises(FailedPrecondition, body, CDI_devices=[pb.CDIDevice(name="vendor.com/gpu=0")])
        self.assertIn("config.CDI_devices", str(error))

    def test_empty_name(self) -> None:
        """A CDI device has a name."""
        error = self.assertRaises(InvalidArgument, body, NEWEST, CDI_devices=[pb.CDIDevice()])
        self.assertEqual(error.field, "config.CDI_devices[0].name")
