"""One reading of the kernel: what pods and containers use, as ListPodSandboxStats reports it."""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.not_ready import NotReady
from criwist.core.stats.stats import Stats
from criwist.metrics.page.history import Figure

_NANO = 10**9


def read_figures(stats: Stats) -> dict[str, Figure]:
    """Return the figures of all pods and containers that run, by id; none while Docker is away.

    It reads some short files of the kernel for each of them, in the caller's thread.
    """
    try:
        serialized = stats.pods(pb.PodSandboxStatsFilter())
    except NotReady:
        return {}
    found: dict[str, Figure] = {}
    for pod in pb.ListPodSandboxStatsResponse.FromString(serialized).stats:
        found[pod.attributes.id] = _figure(pod.linux.cpu, pod.linux.memory)
        for container in pod.linux.containers:
            found[container.attributes.id] = _figure(container.cpu, container.memory)
    return found


def _figure(cpu: pb.CpuUsage, memory: pb.MemoryUsage) -> Figure:
    used = memory.working_set_bytes.value if memory.HasField("working_set_bytes") else None
    limited = used is not None and memory.HasField("available_bytes")
    return Figure(
        timestamp=cpu.timestamp,
        cpu=cpu.usage_core_nano_seconds.value if cpu.HasField("usage_core_nano_seconds") else None,
        cores=cpu.usage_nano_cores.value / _NANO if cpu.HasField("usage_nano_cores") else None,
        memory=used,
        limit=used + memory.available_bytes.value if limited and used is not None else None,
    )
