"""What kubelet cleans up: dead containers, old sandboxes, logs, and images that nothing uses.

kubelet collects containers at its start and each minute, and removes a dead container at once if its pod has more of
them than it may have.  It collects images at its start and each five minutes, and when the disk is too full.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.kubelet.conftest import Runtime
from tests.harness import images
from tests.harness.clock import eventually
from tests.harness.engine import Engine
from tests.harness.kubelet import Kubelet, Object, manifest, running, status

#: Ends at once the first time, and runs on the second.
_TWICE = ("sh", "-c", "test -e /kept/again && sleep 1000; touch /kept/again")


def _dead(kubelet: Kubelet, name: str = "") -> dict[str, api.Container]:
    """Return the ended containers, of one pod if it is named, by id."""
    filter_ = api.ContainerFilter(
        state=api.ContainerStateValue(state=api.CONTAINER_EXITED),
        label_selector={"io.kubernetes.pod.name": name} if name else {},
    )
    found = kubelet.cri.runtime.ListContainers(api.ListContainersRequest(filter=filter_)).containers
    return {each.id: each for each in found}


def _run_twice(kubelet: Kubelet, count: int = 1) -> list[Object]:
    """Run pods whose container has ended once and runs again."""
    names = [kubelet.apply(manifest(*_TWICE)) for _ in range(count)]
    return [kubelet.wait_for(name, lambda pod: running(pod) and status(pod)["restartCount"] == 1) for name in names]


@pytest.mark.second_opinion
@pytest.mark.long
def test_no_dead_container(kubelet_factory: Callable[..., Kubelet]) -> None:
    """With a limit of 0 for each container, the dead one and its log are removed once there is a new one."""
    kubelet = kubelet_factory(flags=["--maximum-dead-containers-per-container=0"])
    (pod,) = _run_twice(kubelet)
    name = pod["metadata"]["name"]
    eventually(lambda: not _dead(kubelet, name), within=90)
    (only,) = kubelet.cri.container_ids(label_selector={"io.kubernetes.pod.name": name})
    path = Path(kubelet.cri.status(only).log_path)
    eventually(lambda: [file.name for file in path.parent.iterdir()] == ["1.log"])
    if kubelet.engine is not None:
        listed = kubelet.engine.get("/containers/json?all=1")
        assert len([each for each in listed if f"_{name}_" in each["Names"][0]]) == 2
    assert status(pod)["restartCount"] == 1
    assert running(kubelet.wait_for(name, running))


@pytest.mark.second_opinion
@pytest.mark.long
def test_dead_containers_of_a_container(kubelet: Kubelet) -> None:
    """As many dead containers of each container stay as kubelet wants, one by default: the newest."""
    script = "test -e /kept/2 && sleep 1000; test -e /kept/1 && touch /kept/2; touch /kept/1; exit 1"
    pod = kubelet.run_pod(
        manifest("sh", "-c", script),
        until=lambda pod: running(pod) and status(pod)["restartCount"] == 2,
        within=120,
    )
    name = pod["metadata"]["name"]
    eventually(lambda: [each.metadata.attempt for each in _dead(kubelet, name).values()] == [1], within=90)
    assert kubelet.logs(name, previous="true") == ""


@pytest.mark.second_opinion
def test_dead_containers_of_the_node(kubelet_factory: Callable[..., Kubelet]) -> None:
    """With a limit for the whole node the oldest dead containers are removed, and all that run stay."""
    kubelet = kubelet_factory()
    pods = _run_twice(kubelet, 3)
    names = [pod["metadata"]["name"] for pod in pods]
    dead = _dead(kubelet)
    assert len(dead) == 3
    newest = max(dead.values(), key=lambda each: each.created_at)
    kubelet.stop()
    kubelet.program.command.append("--maximum-dead-containers=1")
    kubelet.start()
    eventually(lambda: set(_dead(kubelet)) == {newest.id}, within=90)
    for name, pod in zip(names, pods, strict=True):
        again = kubelet.wait_for(name, running)
        assert kubelet.container_id(again) == kubelet.container_id(pod)


@pytest.mark.long
def test_old_sandbox(kubelet_factory: Callable[..., Kubelet]) -> None:
    """If a sandbox ends, kubelet runs the pod in a new one, and the old one is collected."""
    kubelet = kubelet_factory()
    assert kubelet.engine is not None
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    selector = {"io.kubernetes.pod.name": name}
    (old,) = kubelet.cri.pod_ids(label_selector=selector)
    kubelet.engine.post(f"/containers/{old}/kill")
    ready = api.PodSandboxStateValue(state=api.SANDBOX_READY)
    eventually(lambda: set(kubelet.cri.pod_ids(label_selector=selector, state=ready)) - {old}, within=60)
    kubelet.wait_for(name, lambda pod: running(pod) and status(pod)["restartCount"] == 1)
    # A sandbox that still has a container stays.
    dead = _dead(kubelet, name)
    assert [each.pod_sandbox_id for each in dead.values()] == [old]
    kubelet.stop()
    kubelet.program.command.append("--maximum-dead-containers-per-container=0")
    kubelet.start()
    eventually(lambda: len(kubelet.cri.pod_ids(label_selector=selector)) == 1, within=90)
    assert old not in kubelet.cri.pod_ids(label_selector=selector)
    kubelet.wait_for(name, running)


@pytest.mark.second_opinion
@pytest.mark.long
def test_pods_that_went_while_kubelet_was_away(kubelet_factory: Callable[..., Kubelet]) -> None:
    """What is left of a pod that was removed while kubelet did not run is collected: containers, sandbox, logs."""
    kubelet = kubelet_factory()
    (pod,) = _run_twice(kubelet)
    stays = kubelet.run_pod(manifest())["metadata"]["name"]
    name = pod["metadata"]["name"]
    logs = Path(kubelet.cri.status(kubelet.container_id(pod)).log_path).parents[1]
    assert logs.is_dir()
    kubelet.stop()
    (kubelet.manifests / f"{name.removesuffix('-node')}.json").unlink()
    kubelet.start()
    selector = {"io.kubernetes.pod.name": name}
    eventually(lambda: not kubelet.cri.container_ids(label_selector=selector), within=180)
    eventually(lambda: not kubelet.cri.pod_ids(label_selector=selector), within=180)
    eventually(lambda: not logs.exists(), within=180)
    assert running(kubelet.wait_for(stays, running))


# -- images


@pytest.fixture(scope="module")
def own_engine(engine_factory: Callable[..., Engine]) -> Engine:
    """An engine whose images kubelet may remove."""
    engine = engine_factory()
    engine.start()
    images.load_all(engine)
    return engine


def _references(kubelet: Kubelet) -> set[str]:
    listed = kubelet.cri.images.ListImages(api.ListImagesRequest()).images
    return {tag for image in listed for tag in image.repo_tags}


def _with_a_pod(kubelet: Kubelet) -> str:
    """Run a pod with one of the images; returns its name."""
    assert set(images.REFERENCES) <= _references(kubelet)
    return str(kubelet.run_pod(manifest(image=images.VOLUME))["metadata"]["name"])


def _assert_collected(kubelet: Kubelet, name: str, within: float) -> None:
    """The image in use stays, and is all that stays of the test images; the pod runs on, and others can start.

    (Whether kubelet heeds ``pinned`` cannot be seen here: 1.20 does not know it.)
    """
    eventually(lambda: _references(kubelet) & set(images.REFERENCES) == {images.VOLUME}, within=within)
    assert running(kubelet.wait_for(name, running))
    # The sandbox's image is there or comes back.
    kubelet.run_pod(manifest(image=images.VOLUME))
    assert 'operation_type="remove_image"' not in "".join(
        line for line in kubelet.get("/metrics").decode().splitlines() if "operations_errors_total{" in line
    )


@pytest.mark.long
def test_images_under_disk_pressure(
    runtime_factory: Callable[[Engine], Runtime], kubelet_factory: Callable[..., Kubelet], own_engine: Engine
) -> None:
    """When the disk is too full, kubelet removes all images that no container uses, and dead containers."""
    images.load_all(own_engine)
    kubelet = kubelet_factory(on=runtime_factory(own_engine), configuration={"imageMinimumGCAge": "1s"})
    name = _with_a_pod(kubelet)
    kubelet.stop()
    configured = json.loads(kubelet.configuration.read_text())
    # Every disk is fuller than that: nothing has to be filled.
    configured["evictionHard"] = {"imagefs.available": "99.9%"}
    kubelet.configuration.write_text(json.dumps(configured))
    kubelet.start()
    _assert_collected(kubelet, name, 120)


@pytest.mark.long
def test_images_beyond_the_threshold(
    runtime_factory: Callable[[Engine], Runtime], kubelet_factory: Callable[..., Kubelet], own_engine: Engine
) -> None:
    """Above the high threshold kubelet removes images that no container uses.  (It takes five minutes to begin.)"""
    images.load_all(own_engine)
    kubelet = kubelet_factory(
        on=runtime_factory(own_engine),
        configuration={
            "imageMinimumGCAge": "1s",
            "imageGCHighThresholdPercent": 1,
            "imageGCLowThresholdPercent": 0,
        },
    )
    _assert_collected(kubelet, _with_a_pod(kubelet), 420)
