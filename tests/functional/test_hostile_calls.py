"""Calls that name what is not criwist's, or that say more than they need, and containers changed by other hands."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]


# -- Strictness about what does not matter


@pytest.mark.second_opinion
def test_stop_with_a_negative_timeout(cri: CRI) -> None:
    """A negative timeout, which kubelet sends to evict, is no grace."""
    container_id = cri.run_trapping("trap '' TERM")
    cri.stop(container_id, timeout=-1)
    assert cri.status(container_id).exit_code == 137


@pytest.mark.second_opinion
def test_pull_with_an_empty_sandbox_config(cri: CRI) -> None:
    """A pull does not need what a sandbox needs."""
    request = api.PullImageRequest(
        image=api.ImageSpec(image=images.BUSYBOX), sandbox_config=api.PodSandboxConfig(hostname="-")
    )
    # The image is in no registry.  What counts is that the request itself is right.
    with pytest.raises(grpc.RpcError) as raised:
        cri.images.PullImage(request)
    assert raised.value.code() is not grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.second_opinion
def test_start_of_an_exited_container(cri: CRI) -> None:
    """A container runs once."""
    _, container_id = cri.run_in_pod("sh", "-c", "echo >> /tmp/starts")
    cri.wait_for_exit(container_id)
    refused(lambda: cri.start(container_id), grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN)
    assert cri.status(container_id).state == api.CONTAINER_EXITED


# -- Identity


@pytest.fixture
def foreign(engine: Engine) -> str:
    """A running container that Docker alone knows."""
    name = f"other-{uuid.uuid4().hex}"
    body = {"Image": images.BUSYBOX, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    identifier: str = engine.post(f"/containers/create?name={name}", body)["Id"]
    engine.post(f"/containers/{identifier}/start")
    return identifier


def test_no_call_touches_a_foreign_container(cri: CRI, engine: Engine, foreign: str) -> None:
    """By its id, a prefix or its name, no RPC stops, removes, starts or changes a container that is not criwist's."""
    name = engine.inspect(foreign)["Name"].lstrip("/")
    before = engine.inspect(foreign)
    try:
        for identifier in (foreign, foreign[:12], name):
            cri.stop_pod(identifier)
            cri.remove_pod(identifier)
            cri.stop(identifier, timeout=0)
            cri.remove(identifier)
            for call in (
                lambda identifier=identifier: cri.pod_status(identifier),
                lambda identifier=identifier: cri.status(identifier),
                lambda identifier=identifier: cri.start(identifier),
                lambda identifier=identifier: cri.output(identifier, "true"),
                lambda identifier=identifier: cri.runtime.UpdateContainerResources(
                    api.UpdateContainerResourcesRequest(
                        container_id=identifier, linux=api.LinuxContainerResources(cpu_shares=2)
                    )
                ),
            ):
                refused(call, grpc.StatusCode.NOT_FOUND)
        after = engine.inspect(foreign)
        assert (after["State"], after["HostConfig"]) == (before["State"], before["HostConfig"])
    finally:
        engine.delete(f"/containers/{foreign}", force="1")


def test_a_container_is_no_sandbox(cri: CRI) -> None:
    """A container's id stops no sandbox, and a sandbox's id no container; containerd 1.6 says NOT_FOUND."""
    pod_id, container_id = cri.run_in_pod()
    cri.stop_pod(container_id)
    cri.remove_pod(container_id)
    cri.stop(pod_id, timeout=0)
    cri.remove(pod_id)
    assert cri.pod_status(pod_id).state == api.SANDBOX_READY
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_a_foreign_container_with_our_name(running: bool, cri: CRI, engine: Engine) -> None:
    """A container that has a pod's name, but no label of a shim, is left as it is, and the error names it."""
    config = cri.pod()
    names = (config.metadata.name, config.metadata.namespace, config.metadata.uid)
    body = {"Image": images.BUSYBOX, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    created = engine.post(f"/containers/create?name=k8s_POD_{'_'.join(names)}_0", body)["Id"]
    if running:
        engine.post(f"/containers/{created}/start")
    before = engine.inspect(created)["State"]
    try:
        assert created in refused(lambda: cri.run_pod(config), grpc.StatusCode.ALREADY_EXISTS)
        assert engine.inspect(created)["State"] == before
    finally:
        engine.delete(f"/containers/{created}", force="1")
    assert cri.pod_status(cri.run_pod(config)).state == api.SANDBOX_READY


@pytest.mark.parametrize("how", ["restart", "stop and start", "kill and start"])
def test_a_pause_that_docker_starts_again(how: str, cri: CRI, engine: Engine) -> None:
    """It has other namespaces than the pod's: the sandbox is not ready, takes no container, and can be removed."""
    config = cri.pod()
    pod_id = cri.run_pod(config)
    for call in (how,) if how == "restart" else how.split(" and "):
        engine.post(f"/containers/{pod_id}/{call}")
    assert engine.inspect(pod_id)["State"]["Running"]
    eventually(lambda: cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY)
    refused(lambda: cri.create(pod_id, cri.container(), config), grpc.StatusCode.FAILED_PRECONDITION)
    cri.stop_pod(pod_id)
    assert not engine.inspect(pod_id)["State"]["Running"]
    cri.remove_pod(pod_id)
    assert pod_id not in cri.pod_ids()


def test_a_renamed_container(cri: CRI, engine: Engine) -> None:
    """A container and a sandbox that Docker renames stay what they are, and end with their pod."""
    pod_id, container_id = cri.run_in_pod()
    before = cri.pod_status(pod_id), cri.status(container_id)
    for identifier in (container_id, pod_id):
        engine.post(f"/containers/{identifier}/rename", name=f"renamed-{uuid.uuid4().hex}")
    inspected = eventually(lambda: engine.inspect(container_id))
    assert inspected["Name"].startswith("/renamed")
    assert (cri.pod_status(pod_id), cri.status(container_id)) == before
    assert (cri.pod_ids(), cri.container_ids()) == ([pod_id], [container_id])
    cri.stop_pod(pod_id)
    assert not engine.inspect(container_id)["State"]["Running"]
    assert not engine.inspect(pod_id)["State"]["Running"]
    cri.remove_pod(pod_id)
    assert (cri.pod_ids(), cri.container_ids()) == ([], [])


_FORGED = {
    "annotation.io.kubernetes.container.preStopHandler": '{"exec":{"command":["false"]}}',
    "annotation.note": "the image's",
    "app": "the image's",
    "io.criwist.cgroup": "x",
    "io.criwist.name": "k8s_main_other_default_uid_0",
    "io.criwist.requested": '["maintainer"]',
    "io.criwist.user-image": "forged:1",
    "io.kubernetes.container.logpath": "/etc/shadow",
    "io.kubernetes.docker.type": "podsandbox",
    "io.kubernetes.sandbox.id": "0" * 64,
    "maintainer": "somebody",
}


@pytest.mark.newer_engines("docker-28-containerd")
def test_labels_of_an_image_are_not_the_requests(cri: CRI, engine_of_cri: Engine) -> None:
    """Docker gives a container the labels of its image; the CRI is told those of the request, and ours stay ours."""
    tag = f"criwist.hostile/{uuid.uuid4().hex}:1"
    images.load(engine_of_cri, images.variant(tag, labels=_FORGED).archive(tag))
    eventually(lambda: cri.image(tag))
    config, pod = cri.container(image=tag), cri.pod()
    config.labels["app"], config.annotations["mine"] = "web", "yes"
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, config, pod)
    assert engine_of_cri.inspect(container_id)["Config"]["Labels"]["maintainer"] == "somebody"
    status = cri.status(container_id)
    assert (dict(status.labels), dict(status.annotations)) == (dict(config.labels), dict(config.annotations))
    assert status.image.user_specified_image == config.image.user_specified_image
    (item,) = cri.runtime.ListContainers(api.ListContainersRequest()).containers
    assert (item.pod_sandbox_id, dict(item.labels)) == (pod_id, dict(config.labels))
    cri.remove_pod(pod_id)
    cri.remove_image(tag)


# -- Images and containers that others change


@pytest.mark.newer_engines("docker-26", "docker-28-containerd")
@pytest.mark.parametrize("form", ["tag", "id"])
def test_removal_of_an_image_that_others_were_built_from(cri: CRI, engine_of_cri: Engine, form: str) -> None:
    """It loses its names, as in Docker; the image built from it stays whole."""
    engine, tag = engine_of_cri, f"criwist.hostile/{uuid.uuid4().hex}"
    images.load(engine, images.variant(tag).archive(f"{tag}:1"))
    parent = eventually(lambda: cri.image(f"{tag}:1"))
    assert parent is not None
    created = engine.post("/containers/create", {"Image": f"{tag}:1", "Cmd": ["true"]})["Id"]
    try:
        engine.post(f"/commit?container={created}&repo={tag}&tag=child", {})
    finally:
        engine.delete(f"/containers/{created}", force="1")
    try:
        eventually(lambda: cri.image(f"{tag}:child"))
        cri.remove_image(f"{tag}:1" if form == "tag" else parent.id)
        assert cri.image(f"{tag}:1") is None
        _, container_id = cri.run_in_pod("true", image=f"{tag}:child")
        assert cri.wait_for_exit(container_id).exit_code == 0
        cri.clean()
    finally:
        cri.remove_image(f"{tag}:child")
        cri.remove_image(parent.id)
    assert cri.image(f"{tag}:child") is None
    assert cri.image(parent.id) is None


def test_a_container_that_docker_removes(criwist_daemon: MakeDaemon, client_of: ClientOf, engine: Engine) -> None:
    """After ``docker rm -f`` nothing of the container's log is left in criwist's directory; the log file stays."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    pod_id, container_id = cri.run_in_pod("sh", "-c", "echo words; sleep 1000")
    pod = cri.pod_status(pod_id)
    records = daemon.state / "logs"
    eventually(lambda: any(container_id in each.name for each in records.iterdir()))
    log_path = cri.status(container_id).log_path
    engine.delete(f"/containers/{container_id}", force="1")
    eventually(lambda: container_id not in cri.container_ids())
    eventually(lambda: not any(container_id in each.name for each in records.iterdir()))
    assert pod.state == api.SANDBOX_READY
    assert Path(log_path).read_text().endswith("words\n")
