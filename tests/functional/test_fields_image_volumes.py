"""Image volumes: an image's files in a container that runs another image.  containerd 1.6 does not have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.inside import mounted, run

#: Engines that mount images themselves.
pytestmark = pytest.mark.newer_engines("docker-28", "docker-28-containerd")
#: And one with bind mounts that are recursively read-only by default.
_ON_ALL = pytest.mark.newer_engines("docker-26", "docker-28", "docker-28-containerd")


def volume(image: str = images.USER_NAME, **fields: Any) -> api.Mount:
    """Return a mount of an image at /image."""
    values = {"container_path": "/image", "readonly": True, "image": api.ImageSpec(image=image)}
    return api.Mount(**{**values, **fields})


def container(cri: CRI, *mounts: api.Mount) -> str:
    """Run a container with these mounts, and return its id."""
    return run(cri, cri.container(mounts=mounts))


@_ON_ALL
def test_image(cri: CRI) -> None:
    """The container has the files of the mounted image beside those of its own image."""
    container_id = container(cri, volume())
    assert cri.output(container_id, "cat", "/image/data/file") == "from the image\n"
    assert "alice" in cri.output(container_id, "cat", "/image/etc/passwd")
    assert cri.execute(container_id, "/image/bin/busybox", "true").exit_code == 0


@_ON_ALL
def test_it_is_read_only(cri: CRI) -> None:
    """The mount is read-only, for root too."""
    container_id = container(cri, volume())
    assert b"Read-only" in cri.execute(container_id, "touch", "/image/file").stderr
    assert "ro" in mounted(cri, container_id)["/image"][5].split(",")


def test_sub_path(cri: CRI) -> None:
    """A sub path mounts a directory or a file of the image."""
    container_id = container(
        cri, volume(image_sub_path="data"), volume(container_path="/one-file", image_sub_path="etc/group")
    )
    assert cri.output(container_id, "ls", "/image") == "file\n"
    assert "extra" in cri.output(container_id, "cat", "/one-file")


def test_one_image_twice(cri: CRI) -> None:
    """A container can mount its own image, and one image twice."""
    container_id = container(cri, volume(images.BUSYBOX), volume(images.BUSYBOX, container_path="/again"))
    assert cri.output(container_id, "cat", "/image/data/file", "/again/data/file") == "from the image\n" * 2


def test_it_is_reported(cri: CRI) -> None:
    """ContainerStatus reports the mount with the image's id and the sub path, and without a host path."""
    container_id = container(cri, volume(image_sub_path="data"))
    (reported,) = (one for one in cri.status(container_id).mounts if one.container_path == "/image")
    image = cri.image(images.USER_NAME)
    assert image is not None
    assert reported.image.image == image.id
    assert reported.image_sub_path == "data"
    assert reported.readonly
    assert not reported.host_path


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"readonly": False}, "config.mounts[0].readonly"),
        ({"host_path": "/srv"}, "config.mounts[0].host_path"),
        ({"propagation": api.PROPAGATION_BIDIRECTIONAL}, "config.mounts[0].propagation"),
        ({"image_sub_path": "/data"}, "config.mounts[0].image_sub_path"),
        ({"image_sub_path": "../data"}, "config.mounts[0].image_sub_path"),
        ({"image_sub_path": "absent"}, "absent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(cri: CRI, engine: Engine, fields: dict[str, Any], field: str) -> None:
    """An impossible image volume is refused with the field's name, and nothing is left behind."""
    text = refused(lambda: container(cri, volume(**fields)), grpc.StatusCode.INVALID_ARGUMENT)
    assert field in text
    assert not cri.container_ids()
    assert not trees()


def test_after_a_crash(
    engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """A criwist that starts after a kill unmounts images without a container and keeps the mounts of the others."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    lost, kept = (cri.run(pod_id, cri.container(mounts=[volume()]), pod) for _ in range(2))
    assert len(trees()) == 2
    daemon.kill()
    engine.delete(f"/containers/{lost}", force="1", v="1")
    daemon.start()
    eventually(lambda: len(trees()) == 1)
    assert cri.output(kept, "cat", "/image/data/file") == "from the image\n"
    image = cri.image(images.USER_NAME)
    assert image is not None
    assert [one.image.image for one in cri.status(kept).mounts if one.container_path == "/image"] == [image.id]
    refused(lambda: cri.remove_image(images.USER_NAME), grpc.StatusCode.FAILED_PRECONDITION)
    cri.remove(kept)
    assert not trees()


@pytest.mark.newer_engines("docker-26-containerd", only=True)
def test_layers_that_cannot_be_found(cri: CRI) -> None:
    """An engine that neither mounts images nor reports their layers is refused by name, and nothing is left behind."""
    text = refused(lambda: container(cri, volume()), grpc.StatusCode.FAILED_PRECONDITION)
    assert "image volumes" in text
    assert not cri.container_ids()
    assert not trees()


def test_unknown_image(cri: CRI) -> None:
    """A mount of an absent image fails with NOT_FOUND; kubelet pulls images."""
    assert "absent" in refused(lambda: container(cri, volume("criwist.test/absent:1")), grpc.StatusCode.NOT_FOUND)


def trees() -> list[str]:
    """Return the mount points of image volumes in this session's mount namespace."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if "/image-volumes/" in point]


def test_nothing_is_left(cri: CRI) -> None:
    """Removing a container unmounts its image volume; the volume of another container stays."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    first, second = (cri.run(pod_id, cri.container(mounts=[volume()]), pod) for _ in range(2))
    cri.remove(first)
    assert cri.output(second, "cat", "/image/data/file") == "from the image\n"
    cri.remove(second)
    assert not trees()


def test_image_in_use_stays(cri: CRI) -> None:
    """RemoveImage fails while a container mounts the image, and succeeds afterwards."""
    reference = "criwist.test/volume-in-use:1"
    cri.load(images.variant("volume-in-use").archive(reference))
    container_id = container(cri, volume(reference))
    refused(lambda: cri.remove_image(reference), grpc.StatusCode.FAILED_PRECONDITION)
    cri.stop(container_id)
    refused(lambda: cri.remove_image(reference), grpc.StatusCode.FAILED_PRECONDITION)
    assert cri.image(reference) is not None
    cri.remove(container_id)
    cri.remove_image(reference)
    assert cri.image(reference) is None
