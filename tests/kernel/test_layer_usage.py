"""Measuring a writable layer, in the memory's threads."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel import ILayerUsage, LayerUsage
from criwist.kernel.layer_usage import LayerMeasurements
from tests.doubles.memory_threads import MemoryThreads

ID = "0123456789abcdef" * 4


class LayerMeasurementsTests(SynchronousTestCase):
    """A layer with one file."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.layer = f"{self.root}/snapshots/12/fs"
        os.makedirs(self.layer)
        os.makedirs(f"{self.root}/proc/self")
        with open(f"{self.layer}/file", "wb") as file:
            file.write(b"x" * 100_000)
        threads: Any = MemoryThreads()
        self.measurements = LayerMeasurements(threads, threads, f"{self.root}/proc", lambda: 42)
        self.mounted(f"/run/docker/rootfs/overlayfs/{ID}")

    def mounted(self, point: str) -> None:
        """Write a mountinfo with an overlay at *point*."""
        options = f"rw,lowerdir={self.root}/snapshots/1/fs,upperdir={self.layer},workdir={self.root}/snapshots/12/work"
        with open(f"{self.root}/proc/self/mountinfo", "w") as file:
            file.write(f"30 1 0:30 / /merged rw - overlay overlay rw,lowerdir=/a\n30 1 0:31 / {point} rw - overlay x ")
            file.write(f"{options}\n")

    def measure(self, directory: str) -> LayerUsage | None:
        """Measure the layer."""
        return self.successResultOf(Deferred.fromCoroutine(self.measurements.measure(ID, directory)))

    def test_the_interface(self) -> None:
        """LayerMeasurements provides ILayerUsage."""
        verifyObject(ILayerUsage, self.measurements)

    def test_named_directory(self) -> None:
        """The directory that the engine names is measured."""
        usage = self.measure(self.layer)
        assert usage is not None
        self.assertEqual((usage.timestamp, usage.inodes), (42, 2))
        self.assertGreaterEqual(usage.used_bytes, 100_000)

    def test_mounted_snapshot(self) -> None:
        """Without a name the directory is that of the mount whose directory has the container's id."""
        usage = self.measure("")
        assert usage is not None
        self.assertEqual(usage.inodes, 2)

    def test_nowhere(self) -> None:
        """Without a name and a mount, and with a name that does not exist here, there is no measurement."""
        self.mounted("/run/docker/rootfs/overlayfs/other")
        self.assertIsNone(self.measure(""))
        self.assertIsNone(self.measure(f"{self.root}/gone"))

    def test_stopped(self) -> None:
        """After the stop nothing is measured."""
        self.measurements.stop()
        self.assertIsNone(self.measure(self.layer))
