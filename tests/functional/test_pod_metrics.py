"""The CRI's metrics of real pods, compared with the stats of the same moment; the same series for Prometheus.

containerd serves these RPCs from 2.2 on; Debian's does not.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
from prometheus_client.samples import Sample

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.test_stats import HOARD, MIB, cgroup_file, close, own_cgroup, pod_stats_of, stats_of
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.counting_proxy import CountingProxy
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.metrics import Metrics

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]
SECOND = 10**9
#: The names in docs/observability.md.
DOCUMENTED = set(
    re.findall(
        r"`(container_\w+)`",
        (Path(__file__).resolve().parents[2] / "docs/observability.md")
        .read_text()
        .partition("## Metrics of pods and containers")[2]
        .partition("\n## ")[0],
    )
)
#: Reads from the disk and writes to it, around the page cache; then holds descriptors, a socket among them, and waits.
BUSY = (
    "dd if=/dev/zero of=/file bs=65536 count=16 oflag=direct 2>/dev/null; sync; "
    "dd if=/file of=/dev/null bs=65536 iflag=direct 2>/dev/null; "
    "(nc -l -p 8080 < /dev/zero > /dev/null &); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000"
)


class Seen:
    """A ListPodSandboxMetricsResponse, with the values by name and labels."""

    def __init__(self, cri: CRI) -> None:
        listed = cri.runtime.ListMetricDescriptors(api.ListMetricDescriptorsRequest()).descriptors
        self.keys = {each.name: tuple(each.label_keys) for each in listed}
        self.pods = {
            each.pod_sandbox_id: each
            for each in cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()).pod_metrics
        }
        self.samples: dict[str, list[tuple[Mapping[str, str], api.Metric]]] = defaultdict(list)
        for pod in self.pods.values():
            for metric in (*pod.metrics, *(each for one in pod.container_metrics for each in one.metrics)):
                labels = dict(zip(self.keys[metric.name], metric.label_values, strict=True))
                self.samples[metric.name].append((labels, metric))

    def value(self, name: str, **labels: str) -> int:
        """Return the one value of a metric with these labels."""
        found = [
            metric.value.value for seen, metric in self.samples[f"container_{name}"] if labels.items() <= seen.items()
        ]
        assert len(found) == 1, (name, labels, found)
        return found[0]


def test_descriptors_match(cri: CRI, session_root: Path) -> None:
    """Each descriptor occurs for a running pod, with its label keys; no other metric occurs; all are documented."""
    pod = cri.pod()
    pod.linux.cgroup_parent = own_cgroup(session_root, pod)
    config = cri.container("sh", "-c", BUSY)
    config.linux.resources.memory_limit_in_bytes = 256 * MIB
    config.linux.resources.cpu_quota, config.linux.resources.cpu_period = 80_000, 100_000
    container_id = cri.run(cri.run_pod(pod), config, pod)

    def complete() -> Seen:
        seen = Seen(cri)
        assert set(seen.samples) == set(seen.keys)
        assert seen.value("sockets", id=container_id) >= 1
        return seen

    seen = eventually(complete, within=60)
    assert set(seen.keys) <= DOCUMENTED
    assert {keys[:6] for keys in seen.keys.values()} == {("id", "name", "image", "container", "pod", "namespace")}
    kinds = {metric.name: metric.metric_type for samples in seen.samples.values() for _, metric in samples}
    # cAdvisor's two names that are not in keeping with their types.
    names = {name for name in kinds if name.endswith("_total")} - {"container_fs_inodes_total"}
    names.add("container_memory_failcnt")
    assert {name for name, kind in kinds.items() if kind == api.COUNTER} == names
    for _, metric in (pair for samples in seen.samples.values() for pair in samples):
        assert (metric.timestamp != 0) == (metric.name == "container_fs_usage_bytes"), "only that one is kept"


def test_labels(cri: CRI) -> None:
    """A container's series name it, its pod and its image; the pod's network series have an empty container."""
    pod = cri.pod()
    pod_id, container_id = cri.run_in_pod(pod=pod)
    seen = Seen(cri)
    pod_labels = {"pod": pod.metadata.name, "namespace": pod.metadata.namespace}
    (labels,) = (labels for labels, _ in seen.samples["container_memory_rss"] if labels["id"] == container_id)
    status = cri.status(container_id)
    assert labels == {
        **pod_labels,
        "id": container_id,
        "name": f"k8s_{status.metadata.name}_{pod.metadata.name}_{pod.metadata.namespace}_{pod.metadata.uid}_0",
        "container": status.metadata.name,
        "image": status.image.image,
    }
    (network,) = (labels for labels, _ in seen.samples["container_network_receive_bytes_total"])
    assert network.items() >= {**pod_labels, "id": pod_id, "container": "", "interface": "eth0"}.items()
    assert seen.value("start_time_seconds", id=container_id) == status.started_at // SECOND


def test_figures_agree_with_the_stats(cri: CRI, session_root: Path) -> None:
    """CPU seconds, memory and network bytes lie between the stats before and after."""
    pod = cri.pod()
    pod.linux.cgroup_parent = own_cgroup(session_root, pod)
    config = cri.container("sh", "-c", f"{HOARD} & while :; do :; done")
    config.linux.resources.memory_limit_in_bytes = 400 * MIB
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, config, pod)
    eventually(lambda: close(stats_of(cri, container_id).memory.rss_bytes.value, 100 * MIB), within=60)
    eventually(lambda: stats_of(cri, container_id).cpu.usage_core_nano_seconds.value > 2 * SECOND, within=60)
    before, pod_before = stats_of(cri, container_id), pod_stats_of(cri, pod_id).linux
    seen = Seen(cri)
    after, pod_after = stats_of(cri, container_id), pod_stats_of(cri, pod_id).linux
    cpu = seen.value("cpu_usage_seconds_total", id=container_id, cpu="total")
    assert before.cpu.usage_core_nano_seconds.value // SECOND <= cpu <= after.cpu.usage_core_nano_seconds.value / SECOND
    assert abs(seen.value("cpu_user_seconds_total", id=container_id) - cpu) <= 0.5 * cpu + 1
    cpu = seen.value("cpu_usage_seconds_total", id=pod_id, container="")
    times = [one.cpu.usage_core_nano_seconds.value for one in (pod_before, pod_after)]
    assert times[0] // SECOND <= cpu <= times[1] / SECOND
    for name, memory in (
        ("memory_working_set_bytes", after.memory.working_set_bytes.value),
        ("memory_usage_bytes", after.memory.usage_bytes.value),
        ("memory_rss", after.memory.rss_bytes.value),
    ):
        assert close(seen.value(name, id=container_id), memory), name
    assert close(seen.value("memory_working_set_bytes", id=pod_id), pod_after.memory.working_set_bytes.value)
    assert seen.value("spec_memory_limit_bytes", id=container_id) == 400 * MIB
    assert seen.value("memory_max_usage_bytes", id=container_id) >= 155 * MIB
    first, last = (one.network.default_interface for one in (pod_before, pod_after))
    received = seen.value("network_receive_bytes_total", id=pod_id, interface="eth0")
    assert first.rx_bytes.value <= received <= last.rx_bytes.value
    sent = seen.value("network_transmit_bytes_total", id=pod_id, interface="eth0")
    assert first.tx_bytes.value <= sent <= last.tx_bytes.value
    assert seen.value("threads", id=container_id) == int(cgroup_file(container_id, "pids.current").read_text())


def test_limits_and_throttling(cri: CRI) -> None:
    """A container that burns more than its quota is throttled; its limits are those that it was given."""
    config = cri.container("sh", "-c", "sleep 1000 & while :; do :; done")
    config.linux.resources.cpu_quota, config.linux.resources.cpu_period = 20_000, 100_000
    config.linux.resources.cpu_shares = 300
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)

    def throttled() -> Seen:
        seen = Seen(cri)
        assert seen.value("cpu_cfs_throttled_seconds_total", id=container_id) >= 1
        return seen

    seen = eventually(throttled, within=60)
    periods = seen.value("cpu_cfs_periods_total", id=container_id)
    assert 1 <= seen.value("cpu_cfs_throttled_periods_total", id=container_id) <= periods
    assert seen.value("spec_cpu_quota", id=container_id) == 20_000
    assert seen.value("spec_cpu_period", id=container_id) == 100_000
    assert seen.value("spec_cpu_shares", id=container_id) == 300
    assert seen.value("spec_memory_limit_bytes", id=container_id) == 0, "no limit"
    assert seen.value("processes", id=container_id) == 2
    limit = int(cri.shell(container_id, "ulimit -Sn"))
    assert seen.value("ulimits_soft", id=container_id, ulimit="max_open_files") == limit
    assert seen.value("file_descriptors", id=container_id) >= 4


def test_pods_that_end(cri: CRI) -> None:
    """A pod on the node's network has no network series; a container that has ended has none at all."""
    pod = cri.host_network_pod()
    pod_id, container_id = cri.run_in_pod(pod=pod)
    seen = Seen(cri)
    assert [each.container_id for each in seen.pods[pod_id].container_metrics] == [container_id]
    assert not seen.samples["container_network_receive_bytes_total"]
    cri.stop(container_id, timeout=0)
    assert not [name for name, samples in Seen(cri).samples.items() for labels, _ in samples if labels["container"]]
    cri.stop_pod(pod_id)
    assert Seen(cri).pods == {}


def test_stream(cri: CRI) -> None:
    """The stream has the items of the list."""
    pod_id, container_id = cri.run_in_pod()
    responses = cri.runtime.StreamPodSandboxMetrics(api.StreamPodSandboxMetricsRequest())
    (pod,) = [each for one in responses for each in one.pod_sandbox_metrics]
    assert pod.pod_sandbox_id == pod_id
    assert [each.container_id for each in pod.container_metrics] == [container_id]


def test_engine_away(criwist_daemon: MakeDaemon, tmp_path: Path, client_of: ClientOf) -> None:
    """The descriptors are answered even before Docker has ever answered; the metrics are UNAVAILABLE meanwhile."""
    daemon = criwist_daemon(docker_endpoint=f"unix://{tmp_path}/docker.sock")
    daemon.program.command = daemon.command()
    daemon.program.start(daemon.socket.exists)
    cri = client_of(daemon)
    listed = cri.runtime.ListMetricDescriptors(api.ListMetricDescriptorsRequest()).descriptors
    assert {"container_cpu_usage_seconds_total", "container_network_receive_bytes_total"} <= {
        each.name for each in listed
    }
    refused(lambda: cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest()), grpc.StatusCode.UNAVAILABLE)


def test_prometheus(criwist_daemon: MakeDaemon, client_of: ClientOf, engine: Engine) -> None:
    """The metrics address has the same series, with fractions of seconds; neither way asks the engine anything."""
    proxy = CountingProxy(engine.root / "counted-metrics.sock", engine.socket)
    try:
        daemon = criwist_daemon(docker_endpoint=proxy.endpoint, metrics_bind_addr="127.0.0.1:0")
        daemon.start()
        cri, metrics = client_of(daemon), Metrics(daemon)
        pod = cri.pod()
        _, container_id = cri.run_in_pod("sh", "-c", "while :; do :; done", pod=pod, metadata={"name": "main"})
        eventually(lambda: stats_of(cri, container_id).cpu.usage_core_nano_seconds.value > SECOND, within=30)

        def scraped() -> dict[str, Sample]:
            """Return the samples of the container by name; of those with several, one."""
            return {one.name: one for one in metrics.samples() if one.labels.get("container") == "main"}

        eventually(lambda: stats_of(cri, container_id).HasField("writable_layer"))
        proxy.reset()
        low = stats_of(cri, container_id).cpu.usage_core_nano_seconds.value / SECOND
        samples = scraped()
        high = stats_of(cri, container_id).cpu.usage_core_nano_seconds.value / SECOND
        Seen(cri)
        assert proxy.requests() == []
        cpu = samples["container_cpu_usage_seconds_total"]
        assert low <= cpu.value <= high
        assert cpu.value != int(cpu.value)
        assert cpu.labels.items() >= {
            "id": container_id, "container": "main", "pod": pod.metadata.name, "namespace": pod.metadata.namespace,
            "cpu": "total",
        }.items()  # fmt: skip
        assert cpu.labels["image"]
        assert cpu.labels["name"].startswith("k8s_main_")
        names = {name for name, found in Seen(cri).samples.items() if any(labels["container"] for labels, _ in found)}
        assert {name for name in samples if name.startswith("container_")} == names
        text = metrics.get("/metrics", accept="application/openmetrics-text; version=1.0.0")[2]
        assert "\n# TYPE container_cpu_usage_seconds counter\n" in text
        assert "\n# TYPE container_memory_rss gauge\n" in text
        cri.clean()
    finally:
        proxy.close()


def test_a_scrape_is_fast(cri: CRI) -> None:
    """The metrics of ten containers take some milliseconds each at most."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    for _ in range(10):
        cri.run(pod_id, cri.container(), pod)
    durations = []
    for _ in range(10):
        began = time.perf_counter()
        cri.runtime.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest())
        durations.append(time.perf_counter() - began)
    assert min(durations) < scaled(0.1)
