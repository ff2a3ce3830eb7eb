"""What pods use, as kubelet's endpoints report it: ``kubectl top``, autoscalers and dashboards read these."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.clock import eventually
from tests.harness.kubelet import NODE, Kubelet, container, manifest, running, status, with_containers

_BUSY = ("sh", "-c", "while :; do :; done")


def _summary(kubelet: Kubelet, name: str) -> Any:
    """Return a pod's part of ``/stats/summary``."""
    pods = kubelet.json("/stats/summary")["pods"]
    found = [pod for pod in pods if pod["podRef"]["name"] == name]
    assert found, [pod["podRef"]["name"] for pod in pods]
    return found[0]


@pytest.mark.second_opinion
def test_summary(kubelet: Kubelet) -> None:
    """Containers and pods have CPU, memory, network and disk figures in the summary."""
    script = "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; x=$(head -c 10000000 /dev/zero | tr '\\0' x); "
    pod = kubelet.run_pod(manifest("sh", "-c", script + "while :; do :; done"))
    name = pod["metadata"]["name"]

    def complete() -> Any:
        found = _summary(kubelet, name)
        (only,) = found["containers"]
        assert only["name"] == "c"
        assert {"usageNanoCores", "usageCoreNanoSeconds"} <= only["cpu"].keys(), found
        assert {"usedBytes", "inodesUsed"} <= only["rootfs"].keys(), found
        assert {"cpu", "memory", "ephemeral-storage"} <= found.keys(), found
        assert only["memory"]["workingSetBytes"] >= 10_000_000, found
        assert only["rootfs"]["usedBytes"] >= 8 << 20, found
        assert found["ephemeral-storage"]["usedBytes"] >= 8 << 20, found
        assert found["memory"]["workingSetBytes"] >= 10_000_000, found
        return found

    found = eventually(complete, within=90)
    (only,) = found["containers"]
    assert only["cpu"]["usageCoreNanoSeconds"] > 0
    assert found["cpu"]["usageCoreNanoSeconds"] > 0
    assert only["cpu"]["usageNanoCores"] > 0
    assert only["memory"]["workingSetBytes"] <= 1 << 30
    assert only["logs"]["capacityBytes"] > 0
    assert kubelet.json("/stats/summary")["node"]["nodeName"] == NODE


def test_network_of_a_pod(kubelet: Kubelet) -> None:
    """A pod's traffic is in the summary.  (kubelet takes it from cAdvisor, which has to know the pod's sandbox.)"""
    pod = kubelet.run_pod(manifest("sh", "-c", "while :; do ping -c 1 -w 1 10.96.0.1 >/dev/null; sleep 0.2; done"))
    name = pod["metadata"]["name"]
    eventually(lambda: _summary(kubelet, name).get("network", {}).get("rxBytes", 0) > 0, within=60)


@pytest.mark.second_opinion
def test_resource_metrics(kubelet: Kubelet) -> None:
    """``/metrics/resource`` has CPU and memory of each container, and no scrape error."""
    pod = kubelet.run_pod(with_containers(container(*_BUSY, name="busy"), container(name="idle")))
    name = pod["metadata"]["name"]

    def look() -> bool:
        found = _samples(kubelet.get("/metrics/resource").decode())
        assert found["scrape_error"] == {(): 0.0}
        cpu = {
            dict(key)["container"]: value
            for key, value in found["container_cpu_usage_seconds_total"].items()
            if dict(key)["pod"] == name
        }
        memory = {
            dict(key)["container"]: value
            for key, value in found["container_memory_working_set_bytes"].items()
            if dict(key)["pod"] == name
        }
        assert set(cpu) == set(memory) == {"busy", "idle"}
        return cpu["busy"] > cpu["idle"] and all(value > 0 for value in memory.values())

    eventually(look, within=60)


@pytest.mark.second_opinion
def test_cadvisor_metrics(kubelet: Kubelet) -> None:
    """``/metrics/cadvisor`` names pod, container and image of each series."""
    pod = kubelet.run_pod(manifest(*_BUSY))
    name = pod["metadata"]["name"]

    def look() -> bool:
        found = _samples(kubelet.get("/metrics/cadvisor").decode())["container_cpu_usage_seconds_total"]
        mine = [dict(key) for key in found if dict(key)["pod"] == name]
        return any(
            key["container"] == "c" and key["namespace"] == "default" and "busybox" in key["image"] for key in mine
        )

    eventually(look, within=60)


def _samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the samples of an exposition: name to labels to value."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.mark.second_opinion
def test_running_pods(kubelet: Kubelet) -> None:
    """``/runningpods/`` is what the runtime lists: pods with their containers and images."""
    pod = kubelet.run_pod(with_containers(container(name="a"), container(name="b")), until=running)
    name = pod["metadata"]["name"]

    def found() -> bool:
        items = [item for item in kubelet.json("/runningpods/")["items"] or () if item["metadata"]["name"] == name]
        assert [item["metadata"]["uid"] for item in items] == [pod["metadata"]["uid"]]
        return {each["name"] for each in items[0]["spec"]["containers"] or ()} == {"a", "b"}

    eventually(found)


@pytest.mark.second_opinion
def test_operations_succeed(kubelet_factory: Callable[..., Kubelet]) -> None:
    """No call that kubelet makes to the runtime while pods start and run fails."""
    kubelet = kubelet_factory()
    pod = with_containers(
        container(name="a"), container("true", name="b"), initContainers=[container("true", name="i")]
    )
    name = kubelet.run_pod(pod, until=lambda pod: status(pod, "b").get("restartCount"))["metadata"]["name"]
    kubelet.json("/stats/summary")
    kubelet.output(name, "true", container="a")
    kubelet.logs(name, "a")
    assert _errors(kubelet) == []


def _errors(kubelet: Kubelet) -> list[str]:
    return re.findall(r"^kubelet_runtime_operations_errors_total.*$", kubelet.get("/metrics").decode(), re.MULTILINE)
