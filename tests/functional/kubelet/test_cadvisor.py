"""``/metrics/cadvisor`` of a kubelet that takes the runtime for its containerd: labels of pods, and their networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.functional.kubelet.conftest import Runtime
from tests.harness import images
from tests.harness.clock import eventually
from tests.harness.engine import Engine
from tests.harness.kubelet import Kubelet, container, manifest, running, status, with_containers

Labels = dict[str, str]

_PINGS = ("sh", "-c", "while :; do ping -c 1 -w 1 10.96.0.1 >/dev/null; sleep 0.2; done")
#: Metrics of each container that cAdvisor has for both runtimes.
_OF_CONTAINERS = (
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "container_memory_usage_bytes",
    "container_memory_rss",
    "container_start_time_seconds",
    "container_processes",
    "container_threads",
    "container_spec_memory_limit_bytes",
)
_OF_NETWORKS = tuple(
    f"container_network_{way}_{what}_total"
    for way in ("receive", "transmit")
    for what in ("bytes", "packets", "errors", "packets_dropped")
)


def _series(kubelet: Kubelet, pod: str) -> dict[str, list[tuple[Labels, float]]]:
    """Return the series with this label ``pod``: the metric's name to labels and values."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(kubelet.get("/metrics/cadvisor").decode()):
        for sample in family.samples:
            if sample.labels.get("pod") == pod:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.mark.second_opinion
def test_labels(kubelet: Kubelet) -> None:
    """Series of containers carry container, pod, namespace and image, and a pod has its network's series once."""
    pod = with_containers(container(*_PINGS, name="a"), container(name="b", resources={"limits": {"memory": "64Mi"}}))
    name = kubelet.run_pod(pod)["metadata"]["name"]

    def look() -> bool:
        found = _series(kubelet, name)
        for metric in _OF_CONTAINERS:
            of_containers = [labels for labels, _ in found.get(metric, ()) if labels["container"] in ("a", "b")]
            assert sorted(labels["container"] for labels in of_containers) == ["a", "b"], metric
            assert {labels["namespace"] for labels in of_containers} == {"default"}
            assert all(images.BUSYBOX in labels["image"] for labels in of_containers), of_containers
            assert all(labels["name"] for labels in of_containers)
        limits = {labels["container"]: value for labels, value in found["container_spec_memory_limit_bytes"]}
        assert limits["b"] == 64 << 20
        for metric in _OF_NETWORKS:
            assert [labels["interface"] for labels, _ in found.get(metric, ())] == ["eth0"], metric
        return all(found[f"container_network_{way}_bytes_total"][0][1] > 0 for way in ("receive", "transmit"))

    eventually(look, within=90)


@pytest.mark.second_opinion
@pytest.mark.long
def test_restarted_container(kubelet: Kubelet) -> None:
    """A container that was started again has series of its own, and those of the old one go."""
    script = "test -e /kept/again && sleep 1000; touch /kept/again; sleep 15"
    pod = kubelet.run_pod(
        manifest("sh", "-c", script), until=lambda pod: running(pod) and status(pod)["restartCount"] == 1, within=90
    )
    new = kubelet.container_id(pod)

    def look() -> bool:
        found = _series(kubelet, pod["metadata"]["name"]).get("container_cpu_usage_seconds_total", [])
        (only,) = [labels["id"] for labels, _ in found if labels["container"] == "c"] or [""]
        return new in only

    eventually(look, within=120)


@pytest.mark.long
def test_criwist_restarts(
    runtime_factory: Callable[[Engine], Runtime], kubelet_factory: Callable[..., Kubelet], engine: Engine
) -> None:
    """After a restart of criwist its socket serves the same kubelet: new containers have their labels."""
    runtime = runtime_factory(engine)
    assert runtime.daemon is not None
    kubelet = kubelet_factory(on=runtime)
    before = kubelet.run_pod(manifest())["metadata"]["name"]
    _assert_labelled(kubelet, before)
    runtime.daemon.kill()
    runtime.daemon.start()
    after = kubelet.run_pod(manifest(), within=120)["metadata"]["name"]
    _assert_labelled(kubelet, after)
    _assert_labelled(kubelet, before)


def _assert_labelled(kubelet: Kubelet, name: str) -> None:
    def look() -> bool:
        found = _series(kubelet, name)
        return "c" in {labels["container"] for labels, _ in found.get("container_memory_working_set_bytes", ())} and (
            "container_network_receive_bytes_total" in found
        )

    eventually(look, within=120)
