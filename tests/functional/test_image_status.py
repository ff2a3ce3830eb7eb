"""ImageStatus and ListImages: the names and the id of an image, its user and its pins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

pytestmark = pytest.mark.usefixtures("clean_images")
#: Tests that depend on the engine's image store run on the containerd image store too.
_ON_CONTAINERD = pytest.mark.newer_engines("docker-26-containerd", "docker-28-containerd")


@pytest.mark.newer_engines
def test_one_id_everywhere(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """PullImage returns the id that the image and its containers have, by whichever name they are requested."""
    repository, digest = pushed_image
    image_id = cri.pull(f"{repository}:1")
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    for name in (f"{repository}:1", f"{repository}@{digest}", image_id):
        image = cri.image(name)
        assert image is not None, name
        assert image.id == image_id, name
        container_id = cri.run(pod_id, cri.container(image=name), pod)
        status = cri.status(container_id)
        assert (status.image_id, status.image.image) == (image_id, name)
        assert status.image_ref == f"docker-pullable://{repository}@{digest}"
        (item,) = cri.runtime.ListContainers(
            api.ListContainersRequest(filter=api.ContainerFilter(id=container_id))
        ).containers
        assert (item.image_id, item.image_ref) == (image_id, image_id)


@pytest.mark.second_opinion
def test_absent_image_is_null(cri: CRI) -> None:
    """ImageStatus of an absent image is an empty response, not an error."""
    assert cri.image("criwist.test/absent:1") is None
    assert cri.image("sha256:" + "0" * 64) is None


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_image_is_found_by_every_name(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """ImageStatus finds an image by tag, digest, tag with digest, id, and id without its prefix."""
    repository, digest = pushed_image
    image_id = cri.pull(f"{repository}:1")
    names = (
        f"{repository}:1",
        f"{repository}@{digest}",
        f"{repository}:1@{digest}",
        image_id,
        image_id[len("sha256:") :],
    )
    for name in names:
        image = cri.image(name)
        assert image is not None, name
        assert image.id == image_id


def test_image_is_found_by_id_prefix(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """ImageStatus finds an image by an unambiguous prefix of its id, as users of crictl expect."""
    image_id = cri.pull(f"{pushed_image[0]}:1")
    image = cri.image(image_id[len("sha256:") :][:12])
    assert image is not None
    assert image.id == image_id


@pytest.mark.second_opinion
def test_user_of_the_image(cri: CRI) -> None:
    """A numeric USER is reported as uid, without its group, and a name as username."""
    number, name = cri.image(images.USER_NUMBER), cri.image(images.USER_NAME)
    assert number is not None
    assert name is not None
    assert (number.uid.value, number.username) == (1003, "")
    assert (name.HasField("uid"), name.username) == (False, "alice")


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_list_has_every_image(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """ListImages returns the same image as ImageStatus, and images that were loaded."""
    image_id = cri.pull(f"{pushed_image[0]}:1")
    listed = {image.id: image for image in cri.images.ListImages(api.ListImagesRequest()).images}
    image = cri.image(image_id)
    assert listed[image_id] == image
    own = cri.image(images.BUSYBOX)
    assert own is not None
    assert own.id in listed


def test_list_filter(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """ListImages filters by reference; containerd ignores the filter."""
    image_id = cri.pull(f"{pushed_image[0]}:1")
    wanted = api.ListImagesRequest(filter=api.ImageFilter(image=api.ImageSpec(image=f"{pushed_image[0]}:1")))
    assert [image.id for image in cri.images.ListImages(wanted).images] == [image_id]


def test_pause_image_is_pinned(cri: CRI) -> None:
    """The sandbox image is pinned against garbage collection, other images are not; containerd 1.6 pins none."""
    cri.run_pod()
    listed = cri.images.ListImages(api.ListImagesRequest()).images
    assert [image.pinned for image in listed if any("pause" in tag for tag in image.repo_tags)] == [True]
    assert not any(image.pinned for image in listed if images.BUSYBOX in image.repo_tags)


def test_images_pinned_by_options(
    engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """Only images that match the options' patterns or labels are pinned."""
    images.load(engine, images.variant("pinned-by-label").archive("criwist.test/labelled:1"))
    daemon = criwist_daemon(pinned_images="criwist.test/user-*", pinned_image_labels="marker=pinned-by-label")
    daemon.start()
    client = client_of(daemon)
    listed = client.images.ListImages(api.ListImagesRequest()).images
    pinned = {tag for image in listed if image.pinned for tag in image.repo_tags if tag.startswith("criwist.test/")}
    assert pinned == {images.USER_NAME, images.USER_NUMBER, "criwist.test/labelled:1"}
    image = client.image(images.USER_NAME)
    assert image is not None
    assert image.pinned
    engine.delete("/images/criwist.test/labelled:1", force="1")


def test_verbose_status(cri: CRI) -> None:
    """Verbose ImageStatus returns the image's configuration as JSON."""
    request = api.ImageStatusRequest(image=api.ImageSpec(image=images.ENTRYPOINT), verbose=True)
    assert "FROM_IMAGE=yes" in cri.images.ImageStatus(request).info["info"]
