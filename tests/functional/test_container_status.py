"""ContainerStatus and ListContainers: their values and filters."""

from __future__ import annotations

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI

ABSENT = "f" * 64


@pytest.mark.second_opinion
def test_status_has_the_configuration(cri: CRI) -> None:
    """ContainerStatus returns metadata, labels, annotations, image and log path of the configuration."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container(labels={"app": "web"}, annotations={"example.org/hash": "1a2b"})
    config.metadata.attempt = 2
    status = cri.status(cri.run(pod_id, config, pod))
    assert status.metadata == config.metadata
    assert dict(status.labels) == dict(config.labels)
    assert dict(status.annotations) == dict(config.annotations)
    assert status.image.image == images.BUSYBOX
    assert status.image_ref
    assert status.log_path == f"{pod.log_directory}/{config.log_path}"


@pytest.mark.second_opinion
def test_list_agrees_with_status(cri: CRI) -> None:
    """An item of ListContainers has the values of ContainerStatus, and the id of its sandbox."""
    pod_id, container_id = cri.run_in_pod(annotations={"a": "b"})
    status = cri.status(container_id)
    (item,) = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    assert (item.id, item.pod_sandbox_id) == (container_id, pod_id)
    for name in ("metadata", "state", "created_at", "labels", "annotations"):
        assert getattr(item, name) == getattr(status, name), name


def test_image_has_one_id_everywhere(cri: CRI) -> None:
    """Status and list return Image.id as a container's ``image_id``, a field that containerd 1.6 does not have."""
    _, container_id = cri.run_in_pod()
    status = cri.status(container_id)
    (item,) = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    image = cri.image(images.BUSYBOX)
    assert image is not None
    assert image.id == status.image_id == item.image_id
    assert status.image.user_specified_image == images.BUSYBOX


@pytest.mark.second_opinion
def test_image_requested_by_id(cri: CRI) -> None:
    """An image that kubelet requests by its id is reported under its name, which goes into the pod's status."""
    image = cri.image(images.BUSYBOX)
    assert image is not None
    pod = cri.pod()
    config = cri.container(image=image.id)
    config.image.user_specified_image = images.BUSYBOX
    status = cri.status(cri.create(cri.run_pod(pod), config, pod))
    assert status.image.image == images.BUSYBOX


@pytest.mark.second_opinion
def test_list_filters(cri: CRI) -> None:
    """ListContainers filters by id, unambiguous id prefix, sandbox, state and labels, and by all of them together."""
    pod = cri.pod()
    one_pod, other_pod = cri.run_pod(pod), cri.run_pod()
    running = cri.run(one_pod, cri.container(labels={"app": "a", "tier": "x"}), pod)
    created = cri.create(one_pod, cri.container(labels={"app": "b", "tier": "x"}), pod)
    elsewhere = cri.run(other_pod, cri.container(labels={"app": "a"}), pod)
    state = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert set(cri.container_ids()) == {running, created, elsewhere}
    assert cri.container_ids(id=created) == [created]
    assert cri.container_ids(id=created[:20]) == [created]
    assert set(cri.container_ids(pod_sandbox_id=one_pod)) == {running, created}
    assert set(cri.container_ids(state=state)) == {running, elsewhere}
    assert set(cri.container_ids(label_selector={"app": "a"})) == {running, elsewhere}
    assert cri.container_ids(label_selector={"app": "a", "tier": "x"}) == [running]
    assert cri.container_ids(state=state, pod_sandbox_id=one_pod, label_selector={"tier": "x"}) == [running]
    assert cri.container_ids(id=ABSENT) == []


@pytest.mark.second_opinion
def test_sandboxes_are_no_containers(cri: CRI) -> None:
    """ListContainers leaves out the pause containers of sandboxes."""
    cri.run_pod()
    assert cri.container_ids() == []
