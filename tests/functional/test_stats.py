"""Stats of real pods, compared with what the test had them use and with the kernel's own files."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.counting_proxy import CountingProxy
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.leftovers import cgroup_parent
from tests.harness.registry import free_port

MIB = 1 << 20
V2 = not Path("/sys/fs/cgroup/memory").exists()
#: Reads a file of 60 MiB twice into the page cache, and holds 100 MiB of its own, which dd fills and cannot pass on.
HOARD = (
    "dd if=/dev/zero of=/file bs=1048576 count=60 2>/dev/null; cat /file /file > /dev/null; "
    "dd if=/dev/zero bs=104857600 count=1 2>/dev/null | sleep 1000"
)


def stats_of(cri: CRI, container_id: str) -> api.ContainerStats:
    """ContainerStats."""
    answer: api.ContainerStatsResponse = cri.runtime.ContainerStats(
        api.ContainerStatsRequest(container_id=container_id)
    )
    return answer.stats


def listed(cri: CRI, **fields: object) -> list[api.ContainerStats]:
    """ListContainerStats."""
    wanted = api.ContainerStatsFilter(**fields)  # type: ignore[arg-type]
    return list(cri.runtime.ListContainerStats(api.ListContainerStatsRequest(filter=wanted)).stats)


def pod_stats_of(cri: CRI, pod_id: str) -> api.PodSandboxStats:
    """PodSandboxStats."""
    answer: api.PodSandboxStatsResponse = cri.runtime.PodSandboxStats(api.PodSandboxStatsRequest(pod_sandbox_id=pod_id))
    return answer.stats


def listed_pods(cri: CRI, **fields: object) -> list[api.PodSandboxStats]:
    """ListPodSandboxStats."""
    wanted = api.PodSandboxStatsFilter(**fields)  # type: ignore[arg-type]
    return list(cri.runtime.ListPodSandboxStats(api.ListPodSandboxStatsRequest(filter=wanted)).stats)


def cgroup_file(name: str, file: str) -> Path:
    """The file of the cgroup whose directory's name contains *name*, as the host sees it."""
    walked = ((Path(above), files) for above, _, files in os.walk("/sys/fs/cgroup"))
    found = [above / file for above, files in walked if name in above.name and file in files]
    assert found, f"no {file} in a cgroup of {name}"
    return found[0]


def cpu_time(name: str) -> int:
    """Nanoseconds of CPU time in the kernel's file of a cgroup."""
    if not V2:
        return int(cgroup_file(name, "cpuacct.usage").read_text())
    lines = dict(line.split() for line in cgroup_file(name, "cpu.stat").read_text().splitlines())
    return int(lines["usage_usec"]) * 1000


def own_cgroup(session_root: Path, pod: api.PodSandboxConfig) -> str:
    """A cgroup for this pod alone, as kubelet names it."""
    systemd = os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") == "1"
    top, name = cgroup_parent(session_root.name, systemd=systemd), f"pod{pod.metadata.uid.replace('-', '_')}"
    return f"{top.removesuffix('.slice')}-{name}.slice" if systemd else f"{top}/{name}"


def close(value: int, expected: float) -> bool:
    """Whether two figures differ by 5 % at most."""
    return abs(value - expected) <= 0.05 * expected


@pytest.mark.second_opinion
def test_cpu(cri: CRI) -> None:
    """CPU time is the kernel's, and its timestamps are those of the readings."""
    pod_id, container_id = cri.run_in_pod("sh", "-c", "while :; do :; done")
    times = []
    for _ in range(3):
        before, earliest = cpu_time(container_id), time.time_ns()
        cpu = stats_of(cri, container_id).cpu
        assert before <= cpu.usage_core_nano_seconds.value <= cpu_time(container_id)
        assert earliest <= cpu.timestamp <= time.time_ns()
        times.append(cpu.timestamp)
    assert times == sorted(set(times)), "one reading was handed out twice"
    assert [each.attributes.id for each in listed(cri, pod_sandbox_id=pod_id)] == [container_id]


@pytest.mark.alone
def test_half_a_core(cri: CRI) -> None:
    """A container that burns half a core uses 500 000 000 nano cores, from the second reading on.

    containerd 1.6 computes them from readings of its own, which it takes every ten seconds.
    """
    config = cri.container("sh", "-c", "while :; do :; done")
    config.linux.resources.cpu_quota, config.linux.resources.cpu_period = 50_000, 100_000
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, config, pod)
    first = stats_of(cri, container_id).cpu
    assert first.HasField("usage_core_nano_seconds")
    assert not first.HasField("usage_nano_cores"), "a rate needs two readings"

    def half() -> bool:
        """Compare over four seconds, in which others may leave the container less than its half."""
        began, at = cpu_time(container_id), time.monotonic()
        stats_of(cri, container_id)
        time.sleep(4)
        seen = stats_of(cri, container_id).cpu.usage_nano_cores.value
        expected = round((cpu_time(container_id) - began) / (time.monotonic() - at))
        assert close(seen, expected), (seen, expected)
        return close(seen, 500_000_000)

    eventually(half, within=60, what="half a core is free")
    pod_stats_of(cri, pod_id)
    time.sleep(1)
    assert pod_stats_of(cri, pod_id).linux.cpu.usage_nano_cores.value > 100_000_000


@pytest.mark.second_opinion
def test_memory(cri: CRI) -> None:
    """Memory of processes, the working set, and what is left of the limit are within 5 %, page cache beside them."""
    config = cri.container("sh", "-c", HOARD)
    config.linux.resources.memory_limit_in_bytes = 400 * MIB
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)

    def hoarded() -> api.MemoryUsage:
        memory = stats_of(cri, container_id).memory
        assert close(memory.rss_bytes.value, 100 * MIB), memory
        return memory

    eventually(hoarded, within=60)
    stat = cgroup_file(container_id, "memory.stat")
    lines = {key: int(value) for key, value in (line.split() for line in stat.read_text().splitlines())}
    usage = int(cgroup_file(container_id, "memory.current" if V2 else "memory.usage_in_bytes").read_text())
    working_set = usage - lines["inactive_file" if V2 else "total_inactive_file"]
    memory = stats_of(cri, container_id).memory
    assert memory.usage_bytes.value >= 155 * MIB, "page cache counts as usage"
    assert close(memory.usage_bytes.value, usage)
    assert close(memory.working_set_bytes.value, working_set)
    assert close(memory.available_bytes.value, 400 * MIB - working_set)
    assert memory.page_faults.value >= 50, "100 MiB are 25 600 pages, or 50 huge ones"
    assert memory.HasField("major_page_faults")


def test_no_limit(cri: CRI) -> None:
    """Without a limit there is no figure for the memory that is left.

    containerd 1.6 reports the machine's greatest number less the working set.
    """
    _, container_id = cri.run_in_pod()
    memory = stats_of(cri, container_id).memory
    assert memory.HasField("working_set_bytes")
    assert not memory.HasField("available_bytes")


def test_swap(cri: CRI) -> None:
    """Swap is reported where the kernel accounts it."""
    config = cri.container()
    config.linux.resources.memory_limit_in_bytes = config.linux.resources.memory_swap_limit_in_bytes = 64 * MIB
    config.linux.resources.memory_swap_limit_in_bytes += 32 * MIB
    pod = cri.pod()
    stats = stats_of(cri, cri.run(cri.run_pod(pod), config, pod))
    accounted = Path("/sys/fs/cgroup/memory/memory.memsw.usage_in_bytes").exists() if not V2 else stats.HasField("swap")
    assert stats.HasField("swap") == accounted
    if accounted:
        assert (stats.swap.swap_usage_bytes.value, stats.swap.swap_available_bytes.value) == (0, 32 * MIB)


def test_pressure(cri: CRI) -> None:
    """Pressure is what the kernel's pressure files say, in nanoseconds; without such files it is not reported."""
    _, container_id = cri.run_in_pod("sh", "-c", "while :; do :; done")
    stats = stats_of(cri, container_id)
    try:
        file = cgroup_file(container_id, "cpu.pressure")
        file.read_text()
    except (AssertionError, OSError):
        assert not stats.cpu.HasField("psi")
        assert not stats.HasField("io")
        return

    def total() -> int:
        return int(file.read_text().split("total=")[1].split()[0]) * 1000

    before = total()
    stats = stats_of(cri, container_id)
    assert before <= stats.cpu.psi.Some.Total <= total()
    assert stats.memory.HasField("psi")
    assert stats.io.HasField("psi")


@pytest.fixture
def sink() -> Iterator[int]:
    """A port of the node that swallows what is sent to it."""

    def swallow(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1 << 16):
                pass

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=swallow, args=(connection,), daemon=True).start()

    with socket.create_server(("", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_network(cri: CRI, engine: Engine, sink: int) -> None:
    """50 MB that a pod sends are in the bytes of its default interface, which are the kernel's, headers included."""
    pod_id, container_id = cri.run_in_pod()

    def sent() -> int:
        return int(cri.shell(container_id, "grep eth0: /proc/net/dev | tr : ' '").split()[9])

    before = pod_stats_of(cri, pod_id).linux.network
    assert before.default_interface.name == "eth0"
    assert list(before.interfaces) == []
    cri.shell(container_id, f"dd if=/dev/zero bs=1000000 count=50 2>/dev/null | nc {engine.subnet}.1 {sink}")
    least = sent()
    after = pod_stats_of(cri, pod_id).linux.network
    assert least <= after.default_interface.tx_bytes.value <= sent()
    # The payload, about 6 % of headers, and what a busy machine sends twice.
    assert 50_000_000 < after.default_interface.tx_bytes.value - before.default_interface.tx_bytes.value < 60_000_000
    assert after.default_interface.rx_bytes.value > before.default_interface.rx_bytes.value
    assert after.timestamp > before.timestamp


def test_nodes_network(cri: CRI) -> None:
    """A pod on the node's network has no figures of a network: the node's would be counted for each such pod."""
    pod_id, container_id = cri.run_in_pod(pod=cri.host_network_pod())
    linux = pod_stats_of(cri, pod_id).linux
    assert not linux.HasField("network")
    assert linux.cpu.usage_core_nano_seconds.value > 0
    assert [each.attributes.id for each in linux.containers] == [container_id]


@pytest.mark.newer_engines("docker-28", "docker-28-containerd")
def test_pod_of_kubelet(cri: CRI, session_root: Path) -> None:
    """A pod with a cgroup of its own has that cgroup's figures, which outlive its containers."""
    pod = cri.pod()
    pod.linux.cgroup_parent = own_cgroup(session_root, pod)
    mark = pod.metadata.uid.replace("-", "_")
    pod_id, container_id = cri.run_in_pod(
        "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000", pod=pod
    )
    before = cpu_time(f"pod{mark}")
    linux = pod_stats_of(cri, pod_id).linux
    assert before <= linux.cpu.usage_core_nano_seconds.value <= cpu_time(f"pod{mark}")
    assert linux.memory.working_set_bytes.value > 0
    cri.stop(container_id, timeout=0)
    cri.remove(container_id)
    after = pod_stats_of(cri, pod_id).linux
    assert after.cpu.usage_core_nano_seconds.value >= linux.cpu.usage_core_nano_seconds.value
    assert list(after.containers) == []


def test_pods_that_share_a_cgroup(cri: CRI, session_root: Path) -> None:
    """Pods in one cgroup, or in the engine's own, have the sums of their containers, not all of the cgroup."""
    systemd = os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") == "1"
    top = cgroup_parent(session_root.name, systemd=systemd)
    shared = f"{top.removesuffix('.slice')}-shared.slice" if systemd else f"{top}/shared"
    busy, idle = cri.pod(), cri.pod()
    busy.linux.cgroup_parent = idle.linux.cgroup_parent = shared
    busy_id, burning = cri.run_in_pod("sh", "-c", "while :; do :; done", pod=busy)
    idle_id, _ = cri.run_in_pod(pod=idle)
    eventually(lambda: cpu_time(burning) > 1_000_000_000, within=30)
    assert pod_stats_of(cri, busy_id).linux.cpu.usage_core_nano_seconds.value > 1_000_000_000
    linux = pod_stats_of(cri, idle_id).linux
    assert 0 < linux.cpu.usage_core_nano_seconds.value < scaled(1) * 1_000_000_000
    assert linux.process.process_count.value >= 2


def test_processes(cri: CRI) -> None:
    """The number of a pod's processes has the pause program and every process of its containers."""
    pod_id, _ = cri.run_in_pod("sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000")
    eventually(lambda: pod_stats_of(cri, pod_id).linux.process.process_count.value == 4)


@pytest.mark.second_opinion
def test_filters(cri: CRI, session_root: Path) -> None:
    """Lists are filtered by ids and labels.  containerd 1.6 lists no pods if one of them has no cgroup of its own."""
    pods = [cri.pod(labels={"color": color}) for color in ("red", "blue")]
    for pod in pods:
        pod.linux.cgroup_parent = own_cgroup(session_root, pod)
    made = [cri.run_in_pod(pod=pod, labels={"side": side}) for pod, side in zip(pods, ("left", "right"), strict=True)]
    (first_pod, first), (second_pod, second) = made
    assert {each.attributes.id for each in listed(cri)} == {first, second}
    assert [each.attributes.id for each in listed(cri, id=first)] == [first]
    assert [each.attributes.id for each in listed(cri, pod_sandbox_id=second_pod)] == [second]
    assert [each.attributes.id for each in listed(cri, label_selector={"side": "right"})] == [second]
    assert {each.attributes.id for each in listed_pods(cri)} == {first_pod, second_pod}
    assert [each.attributes.id for each in listed_pods(cri, id=second_pod)] == [second_pod]
    found = listed_pods(cri, label_selector={"color": "red"})
    assert [each.attributes.id for each in found] == [first_pod]
    assert found[0].attributes.metadata == pods[0].metadata
    assert [each.attributes.id for each in found[0].linux.containers] == [first]


def test_unknown(cri: CRI) -> None:
    """An unknown id is NOT_FOUND; containerd 1.6 answers UNKNOWN."""
    refused(lambda: stats_of(cri, "no-such-container"), grpc.StatusCode.NOT_FOUND)
    refused(lambda: pod_stats_of(cri, "no-such-pod"), grpc.StatusCode.NOT_FOUND)


def test_containers_that_end(cri: CRI) -> None:
    """Containers that end while they are listed are left out, and the others stay in every list."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    stays = cri.run(pod_id, cri.container(), pod)
    ending = [cri.run(pod_id, cri.container("sleep", "1000"), pod) for _ in range(4)]
    ended = threading.Event()

    def end() -> None:
        for container_id in ending:
            cri.stop(container_id, timeout=0)
        ended.set()

    thread = threading.Thread(target=end)
    thread.start()
    while not ended.is_set():
        found = {each.attributes.id: each for each in listed(cri)}
        assert stays in found
        assert all(each.cpu.HasField("usage_core_nano_seconds") for each in found.values())
        assert len(listed_pods(cri)) == 1
    thread.join()
    eventually(lambda: [each.attributes.id for each in listed(cri)] == [stays])
    stats = stats_of(cri, ending[0])
    assert stats.attributes.id == ending[0]
    assert not stats.HasField("cpu")


def _fills(cri: CRI, volume: Path) -> str:
    pod = cri.pod()
    config = cri.container("sh", "-c", "sleep 1000")
    config.mounts.add(container_path="/volume", host_path=str(volume))
    container_id = cri.run(cri.run_pod(pod), config, pod)
    cri.shell(
        container_id,
        "mkdir -p /a/b && dd if=/dev/zero of=/a/b/file bs=1000000 count=30 2>/dev/null && ln /a/b/file /again && "
        "dd if=/dev/zero of=/volume/file bs=1000000 count=20 2>/dev/null",
    )
    return container_id


def _measured(cri: CRI, container_id: str) -> api.FilesystemUsage:
    def written() -> api.FilesystemUsage:
        layer = stats_of(cri, container_id).writable_layer
        assert close(layer.used_bytes.value, 30_000_000), layer
        return layer

    return eventually(written, within=30)


def test_writable_layer(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], tmp_path: Path
) -> None:
    """30 MB written to the layer are measured within 5 %, without the 20 MB written to a volume."""
    daemon = criwist_daemon(writable_layer_interval="1s")
    daemon.start()
    cri = client_of(daemon)
    container_id = _fills(cri, tmp_path)
    layer = _measured(cri, container_id)
    assert Path(layer.fs_id.mountpoint).is_dir()
    assert 4 <= layer.inodes_used.value <= 20, "two directories, a file with two names, and the engine's own files"
    assert abs(time.time_ns() - layer.timestamp) < 30 * 10**9
    cri.shell(container_id, "rm /a/b/file /again")
    eventually(lambda: stats_of(cri, container_id).writable_layer.used_bytes.value < 1_000_000, within=30)


@pytest.mark.newer_engines("docker-26-containerd", "docker-28-containerd", only=True)
def test_writable_layer_in_containerd(cri: CRI, tmp_path: Path) -> None:
    """With the containerd image store the snapshot's directory is measured, soon after the start."""
    pod = cri.pod()
    config = cri.container("sh", "-c", "dd if=/dev/zero of=/file bs=1000000 count=30 2>/dev/null; exec sleep 1000")
    container_id = cri.run(cri.run_pod(pod), config, pod)
    assert Path(_measured(cri, container_id).fs_id.mountpoint).is_dir()


def test_first_measurement_comes_soon(cri: CRI) -> None:
    """A new container's layer is not reported until it is measured, a second or so after the start."""
    _, container_id = cri.run_in_pod()
    eventually(lambda: stats_of(cri, container_id).writable_layer.inodes_used.value > 0)


def test_layers_are_not_measured(criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> None:
    """With ``--writable-layer-interval 0`` the layer is never reported, and all else is."""
    daemon = criwist_daemon(writable_layer_interval="0")
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod()
    time.sleep(2)  # the first measurement would be made after one second
    stats = stats_of(cri, container_id)
    assert not stats.HasField("writable_layer")
    assert stats.cpu.HasField("usage_core_nano_seconds")


def test_the_engine_is_asked_nothing(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """Stats, and the measurement of layers, make no call to the engine."""
    proxy = CountingProxy(engine.root / "counted-stats.sock", engine.socket)
    try:
        daemon = criwist_daemon(docker_endpoint=proxy.endpoint, writable_layer_interval="100ms")
        daemon.start()
        cri = client_of(daemon)
        pod_id, container_id = cri.run_in_pod()
        eventually(lambda: stats_of(cri, container_id).HasField("writable_layer"))
        proxy.reset()
        before = stats_of(cri, container_id).writable_layer.timestamp
        for _ in range(20):
            assert len(listed(cri)) == len(listed_pods(cri)) == 1
            assert pod_stats_of(cri, pod_id).HasField("linux")
        eventually(lambda: stats_of(cri, container_id).writable_layer.timestamp > before)
        assert proxy.requests() == []
        cri.clean()
    finally:
        proxy.close()


def test_engine_on_another_machine(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], engine_factory: Callable[..., Engine]
) -> None:
    """With an engine behind TCP the lists have ids and attributes, and nothing of this machine's kernel."""
    port = free_port()
    engine = engine_factory(flags=[f"--host=tcp://127.0.0.1:{port}", "--tls=false"])
    engine.start()
    images.load_all(engine)
    daemon = criwist_daemon(docker_endpoint=f"tcp://127.0.0.1:{port}", writable_layer_interval="100ms")
    daemon.start()
    cri = client_of(daemon)
    pod_id, container_id = cri.run_in_pod()
    time.sleep(1.5)  # a first measurement would be made after one second
    (container,) = listed(cri)
    assert container.attributes.id == container_id
    assert container.attributes.metadata.name
    (pod,) = listed_pods(cri)
    assert pod.attributes.id == pod_id
    for stats in (container, stats_of(cri, container_id), *pod.linux.containers):
        assert {field.name for field, _ in stats.ListFields()} == {"attributes"}
    assert {field.name for field, _ in pod.linux.ListFields()} == {"containers"}
    cri.clean()
    engine.stop()


def test_a_list_is_fast(cri: CRI) -> None:
    """A list of 50 containers takes some milliseconds, as it reads some files of the kernel for each."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    for _ in range(10):
        cri.run(pod_id, cri.container(), pod)
    listed(cri)
    durations = []
    for _ in itertools.repeat(None, 20):
        began = time.perf_counter()
        assert len(listed(cri)) == 10
        durations.append(time.perf_counter() - began)
    assert min(durations) < scaled(0.02), "50 containers would take a tenth of a second"


def test_streams(cri: CRI) -> None:
    """The streams of stats have the items of the lists."""
    pod_id, container_id = cri.run_in_pod()
    containers = api.StreamContainerStatsRequest(filter=api.ContainerStatsFilter(pod_sandbox_id=pod_id))
    streamed = [each for one in cri.runtime.StreamContainerStats(containers) for each in one.container_stats]
    assert [each.attributes.id for each in streamed] == [container_id]
    assert streamed[0].memory.usage_bytes.value > 0
    pods = api.StreamPodSandboxStatsRequest(filter=api.PodSandboxStatsFilter(id=pod_id))
    (pod,) = [each for one in cri.runtime.StreamPodSandboxStats(pods) for each in one.pod_sandbox_stats]
    assert (pod.attributes.id, len(pod.linux.containers)) == (pod_id, 1)
