"""RemoveImage: the names of an image, repeated removals, and images in use."""

from __future__ import annotations

import contextlib

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.pushed_images import push_new
from tests.harness.client import CRI
from tests.harness.engine import Engine
from tests.harness.registry import Registry

pytestmark = pytest.mark.usefixtures("clean_images")
#: Tests that depend on the engine's image store run on the containerd image store too.
_ON_CONTAINERD = pytest.mark.newer_engines("docker-26-containerd", "docker-28-containerd")


@_ON_CONTAINERD
@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["tag", "digest", "id", "bare id"])
def test_removal_takes_every_name(cri: CRI, engine: Engine, registry: Registry, form: str) -> None:
    """Removing an image by tag, digest or id removes all its tags and digests."""
    repository, digest = push_new(engine, registry, "2")
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
    """Removing an absent image succeeds."""
    cri.remove_image("criwist.test/absent:1")
    cri.remove_image("sha256:" + "0" * 64)


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_removal_under_a_running_container(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """Removing the image of a running container does not disturb the container."""
    image_id = cri.pull(f"{pushed_image[0]}:1")
    _, container_id = cri.run_in_pod(image=f"{pushed_image[0]}:1")
    with contextlib.suppress(grpc.RpcError):  # a runtime may also refuse
        cri.remove_image(image_id)
    assert cri.output(container_id, "echo", "alive") == "alive\n"
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
