"""Containers for tests of single fields, and the state of their first process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI

#: The paths that kubelet sends for the default procMount.
MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


#: Bit of a capability that the engine may not have, on machines that are containers themselves.
SYS_RESOURCE = 1 << 24
#: PERFMON, BPF and CHECKPOINT_RESTORE, which Docker 20.10 does not know.
RECENT = 7 << 38


def own_capabilities() -> int:
    """Return the capabilities that a root process of this machine can have."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("CapBnd:")[1].split()[0], 16)


def run(cri: CRI, config: api.ContainerConfig, pod: api.PodSandboxConfig | None = None) -> str:
    """Run a container of this configuration, by default in a new pod; return its id."""
    pod = pod or cri.pod()
    return cri.run(cri.run_pod(pod), config, pod)


def secured(cri: CRI, pod: api.PodSandboxConfig | None = None, *, image: str = "", **context: Any) -> str:
    """Run a container with these fields of its security context; return its id.

    ``run_as_user`` and ``run_as_group`` are numbers.
    """
    config = cri.container(**({"image": image} if image else {}))
    for name in ("run_as_user", "run_as_group"):
        if name in context:
            context[name] = api.Int64Value(value=context[name])
    config.linux.security_context.MergeFrom(api.LinuxContainerSecurityContext(**context))
    return run(cri, config, pod)


def process_status(cri: CRI, container_id: str) -> dict[str, str]:
    """Return ``/proc/1/status`` of the container: field to text."""
    lines = cri.output(container_id, "cat", "/proc/1/status").splitlines()
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def capabilities(cri: CRI, container_id: str, name: str = "CapBnd") -> int:
    """Return a set of capabilities of the container's first process, as a bit mask."""
    return int(process_status(cri, container_id)[name], 16)


def mounted(cri: CRI, container_id: str) -> dict[str, list[str]]:
    """Return the container's ``mountinfo``: mount point to the fields of the last mount there."""
    lines = cri.output(container_id, "cat", "/proc/1/mountinfo").splitlines()
    return {words[4]: words for words in (line.split() for line in lines)}
