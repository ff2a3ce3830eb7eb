"""A node that does not exist, for the page's tests and its picture in the documentation."""

from __future__ import annotations

import math
import random
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.pulls import PullState
from criwist.core.state.cache import Snapshot
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.kernel import CgroupWrites
from criwist.metrics.page.history import INTERVAL, POINTS, Figure, History
from criwist.metrics.page.latencies import Latency
from criwist.metrics.page.recent import RecentEvent, RecentWarning
from criwist.metrics.page.state import Condition, NodeState
from criwist.names import ContainerName, sandbox_name
from criwist.reference import parse

NOW = 1_700_000_000.0
_HOUR = 3600
_NAMES = ("cart", "catalog", "checkout", "currency", "dns", "frontend", "ingress", "mail", "orders", "queue")
_NAMESPACES = ("kube-system", "shop")


def sandbox(identifier: str, pod: str = "pod", namespace: str = "default", **fields: Any) -> SandboxEntry:
    """Return a sandbox that is ready, an hour old."""
    members: dict[str, Any] = {
        "name": sandbox_name(pod, namespace, f"uid-{pod}", 0),
        "ready": True,
        "running": True,
        "created_at": int((NOW - _HOUR) * 1e9),
        "labels": {},
        "pid": 1,
        "network_mode": "none",
        "runtime": "runc",
        "image": "pause",
        "item": b"",
        "status": pb.PodSandboxStatus(network=pb.PodSandboxNetworkStatus(ip="10.88.0.2")).SerializeToString(),
    }
    return SandboxEntry(id=identifier, **(members | fields))


def container(identifier: str, of: SandboxEntry, name: str = "main", attempt: int = 0, **fields: Any) -> ContainerEntry:
    """Return a container that runs."""
    members: dict[str, Any] = {
        "state": pb.CONTAINER_RUNNING,
        "running": True,
        "created_at": of.created_at,
        "labels": {},
        "pid": 2,
        "image_id": "sha256:0",
        "image": "registry.example/app:1",
        **dict.fromkeys(("tty", "stdin", "stdin_once"), False),
        **dict.fromkeys(("log_path", "engine_log_path", "log_driver"), ""),
        "image_volumes": frozenset(),
        "cgroup_writes": CgroupWrites(),
        "item": b"",
        "status": b"",
    }
    full = ContainerName(name, of.name.pod, of.name.namespace, of.name.uid, attempt)
    return ContainerEntry(id=identifier, sandbox_id=of.id, name=full, **(members | fields))


def exited(code: int, reason: str = "Error") -> dict[str, Any]:
    """Return the fields of a container that has ended."""
    status = pb.ContainerStatus(exit_code=code, reason=reason).SerializeToString()
    return {"state": pb.CONTAINER_EXITED, "running": False, "pid": 0, "status": status}


def state(snapshot: Snapshot | None = None, **fields: Any) -> NodeState:
    """Return a healthy node on which nothing happens."""
    members: dict[str, Any] = {
        "at": NOW,
        "host": "node-1",
        "version": "0.1.0",
        "started": NOW - 26 * _HOUR,
        "engine": EngineFacts(version="28.5.2", api_version=(1, 51)),
        "conditions": (Condition("RuntimeReady", True, "", ""), Condition("NetworkReady", True, "", "")),
        "snapshot": snapshot or Snapshot(fresh=True),
        **dict.fromkeys(("pulls", "events", "warnings"), ()),
    }
    return NodeState(**(members | fields))


def busy_node(pods: int) -> tuple[NodeState, History, tuple[Latency, ...]]:
    """Return a node with so many pods on which things happen, its last minutes, and its latencies."""
    sandboxes, containers = {}, {}
    for number in range(pods):
        name = _NAMES[number % len(_NAMES)]
        pod = f"{name}-{1000 + 37 * number:x}"
        one = sandbox(
            f"pod-{number}",
            pod,
            _NAMESPACES[name not in ("dns", "ingress")],
            created_at=int((NOW - 60 - 5000 * number) * 1e9),
            status=pb.PodSandboxStatus(
                network=pb.PodSandboxNetworkStatus(ip=f"10.88.0.{number + 2}")
            ).SerializeToString(),
        )
        sandboxes[one.id] = one
        main = container(f"main-{number}", one, name, image=f"registry.example/{name}:2.{number % 7}")
        if number % 10 == 3:
            side = container(f"side-{number}", one, "proxy", image="registry.example/proxy:1.4")
            containers[side.id] = side
        if number % 10 == 7:
            main = container(main.id, one, name, 3, image=main.image, **exited(137, "OOMKilled"))
        containers[main.id] = main
    snapshot = Snapshot(sandboxes, containers, fresh=True)
    return state(snapshot, **_happenings()), _last_minutes(snapshot), _LATENCIES


def _happenings() -> dict[str, Any]:
    def event(number: int, kind: str, pod: str, container: str = "", detail: str = "") -> RecentEvent:
        return RecentEvent(number, NOW - 4 * (12 - number), kind, "shop", pod, container, detail, bool(detail))

    oom = "exit 137 OOMKilled"
    return {
        "pulls": (PullState(parse("registry.example/catalog:2.4"), 87 << 20, 141 << 20),),
        "events": (
            event(9, "started", "cart-3e8", "cart"),
            event(8, "created", "cart-3e8", "cart"),
            event(7, "started", "cart-3e8"),
            event(6, "created", "cart-3e8"),
            event(5, "stopped", "mail-4eb", "mail", oom),
            event(4, "started", "mail-4eb", "mail"),
        ),
        "warnings": (
            RecentWarning(1, NOW - 14, "warn", "the pull of registry.example/mail:3 failed: no such tag"),
            RecentWarning(0, NOW - 900, "error", "plugin bridge failed: no free address in 10.88.0.0/24"),
        ),
    }


_LATENCIES = (
    Latency("reactor", "", 300, 0.0006, 0.005),
    Latency("CRI", "RunPodSandbox", 12, 0.21, 0.5),
    Latency("CRI", "StopContainer", 4, 0.48, 1.0),
    Latency("CRI", "ListContainers", 310, 0.0008, 0.0025),
    Latency("Docker", "POST /containers/{id}/start", 25, 0.12, 0.25),
    Latency("Docker", "POST /containers/create", 25, 0.06, 0.1),
    Latency("Docker", "GET /containers/{id}/json", 118, 0.004, 0.01),
)


def _last_minutes(snapshot: Snapshot) -> History:
    history = History()
    numbers = random.Random(1)
    running = [*snapshot.sandboxes, *(one.id for one in snapshot.containers.values() if one.running)]
    rate = {one: numbers.choice((0.0, 0.004, 0.02, 0.12, 0.4)) for one in running}
    used = dict.fromkeys(running, 0.0)
    for point in range(POINTS):
        figures = {}
        for index, one in enumerate(running):
            wave = 1 + 0.5 * math.sin(point / 6 + index) + numbers.uniform(-0.3, 0.3)
            used[one] += rate[one] * wave * INTERVAL * 1e9
            memory = int((20 + 9 * (index % 11) + 4 * wave + (point * 0.6 if index % 5 == 0 else 0)) * (1 << 20))
            figures[one] = Figure(
                timestamp=int(point * INTERVAL * 1e9),
                cpu=int(used[one]),
                cores=None,
                memory=memory,
                limit=192 << 20 if index % 3 == 0 else None,
            )
        history.record(point * INTERVAL, figures)
    return history
