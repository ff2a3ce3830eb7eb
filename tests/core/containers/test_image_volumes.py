"""Image volumes: mounted before the container, released after it, found again after a crash."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.state.image_volume import ImageVolume
from criwist.docker.overlay_layers import overlay_layers
from criwist.errors import FailedPrecondition, InvalidArgument, NotFound
from criwist.interfaces.kernel import ILayerMounts
from tests.doubles.memory_mounts import MemoryLayerMounts

ONE = "sha256:" + "1" * 64
TWO = "sha256:" + "2" * 64
CONTAINER = "k8s_c_pod_ns_uid_0"
_INSPECTED = {
    ONE: {"Id": ONE, "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/l/top", "LowerDir": "/l/mid:/l/low"}}},
    TWO: {"Id": TWO, "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/l/other"}}},
}


@define
class Layers:
    """The one call of IDocker that image volumes need, made of inspected images as the client does it."""

    images: dict[str, dict[str, Any]] = field(factory=lambda: dict(_INSPECTED))
    pause: Deferred[None] | None = None

    async def image_layers(self, reference: str) -> Sequence[str]:
        """Return the layers, after the pause if there is one."""
        if self.pause is not None:
            await self.pause
        if reference not in self.images:
            raise NotFound("image", reference)
        return overlay_layers(self.images[reference])


class ImageVolumesTests(SynchronousTestCase):
    """ImageVolumes on a mount table in memory."""

    def setUp(self) -> None:
        """Make two images, one of three layers, one of one."""
        files = {"/l/top": frozenset({"models"}), "/l/mid": frozenset({"bin/tool"}), "/l/low": frozenset[str]()}
        self.mounts = MemoryLayerMounts("/root/image-volumes", files | {"/l/other": frozenset[str]()})
        verifyObject(ILayerMounts, self.mounts)
        self.docker = Layers()
        self.volumes = self.restarted()

    def restarted(self) -> ImageVolumes:
        """Return the image volumes of a new process."""
        return ImageVolumes(self.docker, self.mounts, "/root/image-volumes/")  # type: ignore[arg-type]

    def result(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return the coroutine's result."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_prepare(self) -> None:
        """All layers are mounted, top first, and the image is in use."""
        self.assertEqual(self.result(self.volumes.prepare(CONTAINER, 2, ONE)), f"/root/image-volumes/{CONTAINER}/2")
        self.assertEqual(self.mounts.trees, {f"{CONTAINER}/2": (("/l/top", "/l/mid", "/l/low"), ONE)})
        self.assertEqual(self.volumes.in_use(), {ONE})

    def test_sub_path(self) -> None:
        """The host path of a sub path is inside the tree, and volume_at() returns the sub path for it."""
        path = self.result(self.volumes.prepare(CONTAINER, 0, ONE, "bin/tool"))
        self.assertEqual(path, f"/root/image-volumes/{CONTAINER}/0/bin/tool")
        self.assertEqual(self.volumes.volume_at(path), ImageVolume(ONE, "bin/tool"))
        self.assertEqual(self.volumes.volume_at(f"/root/image-volumes/{CONTAINER}/0"), ImageVolume(ONE, ""))

    def test_sub_path_after_a_restart(self) -> None:
        """After read_mounts() the volumes of an earlier process are known, before reconcile()."""
        path = self.result(self.volumes.prepare(CONTAINER, 0, ONE, "bin/tool"))
        volumes = self.restarted()
        self.assertIsNone(volumes.volume_at(path))
        self.result(volumes.read_mounts())
        self.assertEqual(volumes.volume_at(path), ImageVolume(ONE, "bin/tool"))

    def test_volume_at_other_paths(self) -> None:
        """volume_at() returns None for all other paths."""
        self.result(self.volumes.prepare(CONTAINER, 0, ONE))
        for path in (
            "",
            "/",
            "/etc",
            "/root/image-volumes",
            "/root/image-volumes/",
            "/root/image-volumes/x",
            f"/root/image-volumes/{CONTAINER}",
            f"/root/image-volumes/{CONTAINER}/1",
            "/root/image-volumesx/0",
        ):
            self.assertIsNone(self.volumes.volume_at(path))

    def test_missing_sub_path(self) -> None:
        """A sub path that the image does not have is an InvalidArgument."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.volumes.prepare(CONTAINER, 0, ONE, "nothing")), InvalidArgument
        )
        self.assertEqual(failure.value.field, "image_sub_path")
        self.result(self.volumes.release(CONTAINER))
        self.assertEqual(self.mounts.trees, {})

    def test_prepare_again(self) -> None:
        """The same volume is mounted once; another image replaces the first."""
        self.result(self.volumes.prepare(CONTAINER, 0, ONE))
        self.result(self.volumes.prepare(CONTAINER, 0, ONE))
        self.result(self.volumes.prepare(CONTAINER, 0, TWO))
        self.assertEqual(self.mounts.trees, {f"{CONTAINER}/0": (("/l/other",), TWO)})
        self.assertEqual(self.volumes.in_use(), {TWO})

    def test_release(self) -> None:
        """release() unmounts the volumes of one container only, and is idempotent."""
        for container, index in ((CONTAINER, 0), (CONTAINER, 1), (CONTAINER + "0", 0)):
            self.result(self.volumes.prepare(container, index, ONE))
        self.result(self.volumes.release(CONTAINER))
        self.result(self.volumes.release(CONTAINER))
        self.assertEqual(list(self.mounts.trees), [f"{CONTAINER}0/0"])
        self.assertEqual(self.volumes.in_use(), {ONE})

    def test_failed_mount(self) -> None:
        """A mount that fails leaves nothing in use."""
        self.mounts.fault = FailedPrecondition("overlay cannot be mounted")
        self.failureResultOf(Deferred.fromCoroutine(self.volumes.prepare(CONTAINER, 0, ONE)), FailedPrecondition)
        self.assertEqual(self.volumes.in_use(), frozenset())
        self.mounts.fault = None
        self.result(self.volumes.prepare(CONTAINER, 0, ONE))

    def test_missing_image(self) -> None:
        """An image that the engine does not have is NotFound."""
        self.failureResultOf(Deferred.fromCoroutine(self.volumes.prepare(CONTAINER, 0, "x")), NotFound)
        self.assertEqual(self.volumes.in_use(), frozenset())

    def test_in_use_from_the_beginning(self) -> None:
        """An image is in use before the first request to the engine, and no more after a cancellation."""
        self.docker.pause = Deferred()
        preparing = Deferred.fromCoroutine(self.volumes.prepare(CONTAINER, 0, ONE))
        self.assertEqual(self.volumes.in_use(), {ONE})
        preparing.cancel()
        self.failureResultOf(preparing, CancelledError)
        self.assertEqual(self.volumes.in_use(), frozenset())

    def test_other_image_stores(self) -> None:
        """With an engine whose layers cannot be mounted, the error has the reason."""
        for driver in ({"Name": "overlayfs", "Data": None}, {"Name": "vfs", "Data": {}}, None, {"Name": "overlay2"}):
            self.docker.images["x"] = {"Id": "x", "GraphDriver": driver}
            failure = self.failureResultOf(
                Deferred.fromCoroutine(self.volumes.prepare(CONTAINER, 0, "x")), FailedPrecondition
            )
            self.assertIn("image volumes", str(failure.value))

    def test_restart(self) -> None:
        """After a restart, reconcile() keeps the trees of known containers and unmounts the others."""
        self.result(self.volumes.prepare(CONTAINER, 0, ONE))
        self.result(self.volumes.prepare("k8s_gone_pod_ns_uid_0", 0, TWO))
        volumes = self.restarted()
        self.result(volumes.reconcile({CONTAINER}))
        self.assertEqual(list(self.mounts.trees), [f"{CONTAINER}/0"])
        self.assertEqual(volumes.in_use(), {ONE})
        self.result(volumes.release(CONTAINER))
        self.assertEqual(self.mounts.trees, {})

    def test_reconcile_goes_on(self) -> None:
        """A tree that cannot be unmounted stays in use, and the others are unmounted."""

        class Stuck(MemoryLayerMounts):
            async def unmount(self, place: str) -> None:
                if place.startswith("stuck"):
                    raise FailedPrecondition("busy")
                await super().unmount(place)

        trees: dict[str, tuple[tuple[str, ...], str]] = {"stuck/0": (("/l/top",), ONE), "gone/0": (("/l/other",), TWO)}
        volumes = ImageVolumes(self.docker, Stuck("/d", self.mounts.files, trees), "/d")  # type: ignore[arg-type]
        self.result(volumes.reconcile(set()))
        self.assertEqual(list(trees), ["stuck/0"])
        self.assertEqual(volumes.in_use(), {ONE})

    def test_container_names(self) -> None:
        """A name that would lead out of the directory is rejected."""
        for name in ("", "..", "a/b", "a\0"):
            self.failureResultOf(Deferred.fromCoroutine(self.volumes.prepare(name, 0, ONE)), InvalidArgument)
