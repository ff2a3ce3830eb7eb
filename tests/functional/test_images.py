"""PullImage, ImageStatus, ListImages, RemoveImage and ImageFsInfo."""

from __future__ import annotations

import base64
import contextlib
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.pause.archive import Entry, Image
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.registry import Registry

#: What depends on where an engine keeps images runs where that is containerd, too.
_ON_CONTAINERD = pytest.mark.newer_engines("docker-26-containerd", "docker-28-containerd")
_DENIED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNKNOWN)


@pytest.fixture
def pushed(engine: Engine, registry: Registry) -> tuple[str, str]:
    """An image of this test's own in the open registry, and nowhere else: repository and digest.  Its tag is ``1``."""
    return _push_new(engine, registry)


@pytest.fixture
def private(engine: Engine, private_registry: Registry) -> str:
    """The reference of an image of this test's own in the private registry."""
    repository, _ = _push_new(engine, private_registry)
    return f"{repository}:1"


def _push_new(engine: Engine, registry: Registry, *tags: str) -> tuple[str, str]:
    marker = uuid.uuid4().hex
    local = f"criwist.test/{marker}:1"
    images.load(engine, images.variant(marker).archive(local))
    repository = f"{registry.host}/{marker}"
    for tag in ("1", *tags):
        digest = images.push(engine, local, f"{repository}:{tag}", user=registry.user, password=registry.password)
    engine.delete(f"/images/{local}", force="1")
    return repository, digest


@pytest.fixture(autouse=True)
def clean_images(cri: CRI) -> Iterator[None]:
    """Remove what a test pulled or loaded."""
    yield
    cri.clean()
    for image in cri.images.ListImages(api.ListImagesRequest()).images:
        names = [*image.repo_tags, *image.repo_digests]
        if not any(name.startswith("criwist.test/") or "pause" in name for name in names):
            cri.remove_image(image.id)


# -- pulling


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_pull_by_tag(cri: CRI, pushed: tuple[str, str]) -> None:
    """A pull returns the id of the image, under which and under whose tag ImageStatus finds it."""
    repository, digest = pushed
    image_ref = cri.pull(f"{repository}:1")
    image = cri.image(f"{repository}:1")
    assert image is not None
    assert image_ref == image.id
    assert list(image.repo_tags) == [f"{repository}:1"]
    assert list(image.repo_digests) == [f"{repository}@{digest}"]
    assert image.size > 0


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_pull_by_digest(cri: CRI, pushed: tuple[str, str]) -> None:
    """An image pulled by digest has no tag and is found by that digest."""
    repository, digest = pushed
    image_ref = cri.pull(f"{repository}@{digest}")
    image = cri.image(f"{repository}@{digest}")
    assert image is not None
    assert image.id == image_ref
    assert list(image.repo_tags) == []
    assert list(image.repo_digests) == [f"{repository}@{digest}"]


@pytest.mark.second_opinion
def test_pull_without_tag_means_latest(cri: CRI, engine: Engine, registry: Registry) -> None:
    """A bare name is pulled with the tag ``latest``, and no other tag of it is."""
    repository, _ = _push_new(engine, registry, "latest")
    cri.pull(repository)
    image = cri.image(repository)
    assert image is not None
    assert list(image.repo_tags) == [f"{repository}:latest"]
    assert cri.image(f"{repository}:1") is None


@pytest.mark.second_opinion
def test_pulled_image_runs(cri: CRI, pushed: tuple[str, str]) -> None:
    """A container can be made of what was pulled, by the id that the pull returned."""
    image_ref = cri.pull(f"{pushed[0]}:1")
    _, container_id = cri.run_in_pod(image=image_ref)
    assert cri.output(container_id, "echo", "runs") == "runs\n"


@pytest.mark.second_opinion
def test_pull_again(cri: CRI, pushed: tuple[str, str]) -> None:
    """Pulling what is there is success, with the same id."""
    assert cri.pull(f"{pushed[0]}:1") == cri.pull(f"{pushed[0]}:1")


@pytest.mark.second_opinion
def test_pull_of_a_moved_tag(cri: CRI, engine: Engine, registry: Registry) -> None:
    """A tag that names another image in the registry names that after the next pull."""
    repository, _ = _push_new(engine, registry)
    first = cri.pull(f"{repository}:1")
    marker = uuid.uuid4().hex
    images.load(engine, images.variant(marker).archive("criwist.test/moved:1"))
    images.push(engine, "criwist.test/moved:1", f"{repository}:1")
    engine.delete("/images/criwist.test/moved:1", force="1")
    second = cri.pull(f"{repository}:1")
    assert second != first
    image = cri.image(f"{repository}:1")
    assert image is not None
    assert image.id == second


@pytest.mark.second_opinion
def test_pull_of_what_is_not_there(cri: CRI, registry: Registry) -> None:
    """A tag or a repository that the registry does not have is NOT_FOUND, and the text names it."""
    reference = f"{registry.host}/absent:1"
    text = refused(lambda: cri.pull(reference), grpc.StatusCode.NOT_FOUND)
    assert f"{registry.host}/absent" in text


@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["password", "auth", "server"])
def test_pull_with_credentials(cri: CRI, private: str, private_registry: Registry, form: str) -> None:
    """User and password are taken as such, as base64 of both, and with the address of the registry."""
    user, password = private_registry.user, private_registry.password
    auths: dict[str, dict[str, Any]] = {
        "password": {"username": user, "password": password},
        "auth": {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()},
        "server": {"username": user, "password": password, "server_address": f"http://{private_registry.host}"},
    }
    cri.pull(private, **auths[form])
    assert cri.image(private) is not None


@pytest.mark.second_opinion
@pytest.mark.parametrize("auth", [{}, {"username": "user", "password": "wrong"}], ids=["none", "wrong"])
def test_pull_without_the_right_credentials(cri: CRI, private: str, auth: dict[str, Any]) -> None:
    """A private image is refused to whoever has no password or the wrong one."""
    refused(lambda: cri.pull(private, **auth), *_DENIED)
    assert cri.image(private) is None


def test_refused_credentials_have_their_code(cri: CRI, private: str) -> None:
    """A registry's refusal is PERMISSION_DENIED; containerd says UNKNOWN."""
    refused(lambda: cri.pull(private), grpc.StatusCode.PERMISSION_DENIED)


def test_malformed_auth(cri: CRI, private: str) -> None:
    """An ``auth`` that is not base64 of user:password is INVALID_ARGUMENT and names the field, not the secret."""
    for auth in ("&&&", base64.b64encode(b"no-colon-secret").decode()):
        text = refused(lambda auth=auth: cri.pull(private, auth=auth), grpc.StatusCode.INVALID_ARGUMENT)  # type: ignore[misc]
        assert "auth" in text
        assert auth not in text
        assert "no-colon-secret" not in text


# -- status and list


@pytest.mark.newer_engines
def test_one_id_everywhere(cri: CRI, pushed: tuple[str, str]) -> None:
    """What PullImage returns is the id of the image and of its containers, by whatever name these were asked for."""
    repository, digest = pushed
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
    """ImageStatus of what is not there is an empty answer, not an error."""
    assert cri.image("criwist.test/absent:1") is None
    assert cri.image("sha256:" + "0" * 64) is None


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_image_is_found_by_every_name(cri: CRI, pushed: tuple[str, str]) -> None:
    """Tag, digest, tag with digest, id, and id without its prefix all lead to the image."""
    repository, digest = pushed
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


def test_image_is_found_by_id_prefix(cri: CRI, pushed: tuple[str, str]) -> None:
    """An unambiguous prefix of the id is enough, as users of crictl expect."""
    image_id = cri.pull(f"{pushed[0]}:1")
    image = cri.image(image_id[len("sha256:") :][:12])
    assert image is not None
    assert image.id == image_id


@pytest.mark.second_opinion
def test_user_of_the_image(cri: CRI) -> None:
    """A numeric USER is told as uid, without its group; a name as username; root is uid 0 of whom nothing was said."""
    number, name = cri.image(images.USER_NUMBER), cri.image(images.USER_NAME)
    assert number is not None
    assert name is not None
    assert (number.uid.value, number.username) == (1003, "")
    assert (name.HasField("uid"), name.username) == (False, "alice")


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_list_has_every_image(cri: CRI, pushed: tuple[str, str]) -> None:
    """ListImages has what ImageStatus tells."""
    image_id = cri.pull(f"{pushed[0]}:1")
    listed = {image.id: image for image in cri.images.ListImages(api.ListImagesRequest()).images}
    image = cri.image(image_id)
    assert listed[image_id] == image
    own = cri.image(images.BUSYBOX)
    assert own is not None
    assert own.id in listed


def test_list_filter(cri: CRI, pushed: tuple[str, str]) -> None:
    """The filter of ListImages picks by reference; containerd ignores it."""
    image_id = cri.pull(f"{pushed[0]}:1")
    wanted = api.ListImagesRequest(filter=api.ImageFilter(image=api.ImageSpec(image=f"{pushed[0]}:1")))
    assert [image.id for image in cri.images.ListImages(wanted).images] == [image_id]


def test_pause_image_is_pinned(cri: CRI) -> None:
    """The sandbox image is pinned against garbage collection, others are not; containerd 1.6 pins nothing."""
    cri.run_pod()
    listed = cri.images.ListImages(api.ListImagesRequest()).images
    assert [image.pinned for image in listed if any("pause" in tag for tag in image.repo_tags)] == [True]
    assert not any(image.pinned for image in listed if images.BUSYBOX in image.repo_tags)


def test_images_pinned_by_options(
    engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """Images are pinned by the patterns and the labels that criwist was started with, and not others."""
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
    """ImageStatus with verbose has the image's configuration as JSON."""
    request = api.ImageStatusRequest(image=api.ImageSpec(image=images.ENTRYPOINT), verbose=True)
    assert "FROM_IMAGE=yes" in cri.images.ImageStatus(request).info["info"]


# -- removal


@_ON_CONTAINERD
@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["tag", "digest", "id", "bare id"])
def test_removal_takes_every_name(cri: CRI, engine: Engine, registry: Registry, form: str) -> None:
    """An image removed by tag, digest or id is gone with all its tags and digests."""
    repository, digest = _push_new(engine, registry, "2")
    image_id = cri.pull(f"{repository}:1")
    assert cri.pull(f"{repository}:2") == image_id
    names = {
        "tag": f"{repository}:1",
        "digest": f"{repository}@{digest}",
        "id": image_id,
        "bare id": image_id[len("sha256:") :],
    }
    cri.remove_image(names[form])
    for name in (image_id, f"{repository}:1", f"{repository}:2", f"{repository}@{digest}"):
        assert cri.image(name) is None, name


@pytest.mark.second_opinion
def test_removal_is_idempotent(cri: CRI) -> None:
    """Removing what is not there is success."""
    cri.remove_image("criwist.test/absent:1")
    cri.remove_image("sha256:" + "0" * 64)


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_removal_under_a_running_container(cri: CRI, pushed: tuple[str, str]) -> None:
    """Removing the image of a running container does not disturb the container."""
    image_id = cri.pull(f"{pushed[0]}:1")
    _, container_id = cri.run_in_pod(image=f"{pushed[0]}:1")
    with contextlib.suppress(grpc.RpcError):  # a runtime may as well refuse it
        cri.remove_image(image_id)
    assert cri.output(container_id, "echo", "alive") == "alive\n"
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


# -- the file system


@pytest.mark.second_opinion
def test_image_file_system(cri: CRI) -> None:
    """ImageFsInfo names a directory that exists and tells bytes and inodes that its images take."""

    def usage() -> api.FilesystemUsage:
        usage: api.FilesystemUsage
        (usage,) = cri.images.ImageFsInfo(api.ImageFsInfoRequest()).image_filesystems
        assert usage.inodes_used.value > 0
        return usage

    counted = eventually(usage, within=15)  # containerd looks every ten seconds
    assert Path(counted.fs_id.mountpoint).is_dir()
    assert counted.used_bytes.value > 1_000_000
    assert abs(counted.timestamp - time.time_ns()) < 60 * 1_000_000_000


#: Where engines keep what images take: layers, and with the containerd image store also what they came as.
_STORES = ("overlay2", "containerd/daemon/*.snapshotter.v1.overlayfs", "containerd/daemon/*.content.v1.content")


@pytest.mark.newer_engines
def test_image_file_system_is_right(cri: CRI, engine_of_cri: Engine) -> None:
    """What ImageFsInfo tells is near to what the image store takes on disk, and it is told quickly."""
    request = api.ImageFsInfoRequest()
    began = time.monotonic()
    (usage,) = cri.images.ImageFsInfo(request).image_filesystems
    assert time.monotonic() - began < scaled(5)
    data = engine_of_cri.root / "data"
    stores = [store for pattern in _STORES for store in data.glob(pattern)]
    assert Path(usage.fs_id.mountpoint) in stores
    assert any(Path(usage.fs_id.mountpoint).rglob("busybox"))
    taken = sum(
        entry.lstat().st_blocks * 512 for store in stores for entry in store.rglob("*") if "merged" not in entry.parts
    )
    assert 0.5 * taken < usage.used_bytes.value < 2 * taken
    assert shutil.disk_usage(data).used >= usage.used_bytes.value


@pytest.mark.newer_engines
def test_image_file_system_follows(cri: CRI, engine: Engine, registry: Registry) -> None:
    """An image with a layer of its own adds what that takes, and its removal takes that away."""

    def used() -> int:
        (usage,) = cri.images.ImageFsInfo(api.ImageFsInfoRequest()).image_filesystems
        return int(usage.used_bytes.value)

    marker = uuid.uuid4().hex
    own = Entry("own", random.Random(marker).randbytes(5_000_000))
    image = Image((*images.busybox_files(), own), images.architecture(), {"Cmd": ["sh"]})
    images.load(engine, image.archive(f"criwist.test/{marker}:1"))
    reference = f"{registry.host}/{marker}:1"
    images.push(engine, f"criwist.test/{marker}:1", reference)
    engine.delete(f"/images/criwist.test/{marker}:1", force="1")
    before = used()
    cri.pull(reference)
    assert 5_000_000 <= used() - before <= 20_000_000
    cri.remove_image(reference)
    assert used() == before
