"""A node in memory: the assembled core over the real client, with an engine in memory behind it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Coroutine
from socket import socket
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.assembly import Adapters, assemble
from criwist.core.images.credentials import DockerConfigs
from criwist.errors import PermissionDenied, PluginFailure
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.kernel import (
    CgroupUsage,
    IContainerProcesses,
    ILayerMounts,
    ILayerUsage,
    IProcesses,
    IUsage,
    LayerUsage,
    NetworkUsage,
)
from criwist.interfaces.kernel_metrics import (
    NO_OOM_KILLS,
    CgroupMetrics,
    FilesystemMetrics,
    IContainerMetrics,
    ProcessMetrics,
)
from criwist.interfaces.logs import FollowedLogs, IContainerLogs, LoggedContainer
from criwist.interfaces.network import IPodNetwork, NetworkCondition, PodNetwork, PodNetworkRequest
from criwist.network.host import HostNetwork
from criwist.network.resolvconf import ResolvConfs
from criwist.records.sandboxes import SandboxRecords
from tests.doubles.memory_docker import MemoryDocker

_T = TypeVar("_T")
IMAGE = "busybox"
PAUSE = "pause:1"


@implementer(IContainerLogs)
class RecordingLogs:
    """Logs that record the calls; ``settling``, if it is set, holds back the end of a container."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.settling: Deferred[None] | None = None

    def container_options(self) -> JSONObject:
        return {}

    def follow(self, container: LoggedContainer) -> None:
        self.calls.append(("follow", container.path))

    async def settled(self, container_id: str) -> None:
        if self.settling is not None:
            await self.settling

    async def reopen(self, container_id: str) -> None:
        self.calls.append(("reopen", container_id))

    async def reconcile(self, known: Any) -> None:
        pass

    def followed(self) -> FollowedLogs:
        return FollowedLogs()

    def stop(self) -> None:
        pass

    async def forget(self, container_id: str) -> None:
        self.calls.append(("forget", container_id))


@implementer(IPodNetwork)
class NumberedNetwork:
    """Assigns each pod the next address; fails while ``failing`` is set."""

    name = "cni"
    docker_network_mode = "none"
    publishes_ports = False
    condition_pending = False

    def __init__(self) -> None:
        self.assigned: dict[str, str] = {}
        self.failing = False
        self.torn_down: list[str] = []

    def condition(self) -> NetworkCondition:
        return NetworkCondition(ready=True)

    async def wait_for_condition(self) -> None:
        self.condition_pending = False

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        if self.failing:
            raise PluginFailure("plugin bridge, ADD: no address is left")
        self.assigned[request.sandbox_id] = f"10.1.0.{len(self.assigned) + 1}"
        return PodNetwork((self.assigned[request.sandbox_id],))

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        self.torn_down.append(request.sandbox_id)
        self.assigned.pop(request.sandbox_id, None)

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        return None

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        pass

    async def reconcile(self, known: Any) -> None:
        for sandbox_id in set(self.assigned) - set(known):
            del self.assigned[sandbox_id]

    def verbose(self) -> dict[str, Any]:
        return dict(self.assigned)


@implementer(IProcesses)
class RecordingProcesses:
    """Records the processes that it should kill."""

    def __init__(self) -> None:
        self.killed: list[tuple[int, str]] = []

    async def kill_tree(self, pid: int, container: str = "") -> int:
        self.killed.append((pid, container))
        return 1


@implementer(ILayerMounts)
class NoMounts:
    """A node that has no image mounted and may not mount any."""

    async def mount(self, place: str, layers: Any, label: str) -> None:
        raise PermissionDenied("a node in memory mounts nothing")

    async def unmount(self, place: str) -> None:
        pass

    async def resolve(self, place: str, sub_path: str) -> str:
        raise PermissionDenied("a node in memory mounts nothing")

    async def mounted(self) -> dict[str, str]:
        return {}


@implementer(IContainerProcesses)
class NoContainerProcesses:
    """A node whose engine is on another machine: the kernel here knows none of its processes."""

    def read(self, pid: int, container_id: str, *, cpu_shares: int, unified_keys: Any) -> None:
        return None

    def cgroups(self, pid: int, container_id: str) -> dict[str, str]:
        return {}

    def runtime_spec(self, pid: int, container_id: str) -> None:
        return None

    async def write_resources(self, pid: int, container_id: str, writes: Any, path: str) -> None:
        raise PermissionDenied("a node in memory has no cgroups")

    async def write_oom_score_adj(self, pid: int, container_id: str, score: int) -> None:
        raise PermissionDenied("a node in memory has no processes")


@implementer(IUsage)
class NoUsage:
    """A kernel that knows none of the containers."""

    def container(self, pid: int, container_id: str) -> CgroupUsage | None:
        return None

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupUsage | None:
        return None

    def network(self, pid: int, container_id: str) -> NetworkUsage | None:
        return None

    def forget(self, container_id: str) -> None:
        pass


@implementer(IContainerMetrics)
class NoContainerMetrics:
    """A kernel that has no figures of the containers."""

    def offered(self) -> frozenset[str]:
        return frozenset()

    def container(self, pid: int, container_id: str, cpu_shares: int) -> CgroupMetrics | None:
        return None

    def processes(self, pid: int, container_id: str) -> ProcessMetrics | None:
        return None

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupMetrics | None:
        return None

    def filesystem(self, directory: str) -> FilesystemMetrics | None:
        return None


@implementer(ILayerUsage)
class NoLayerUsage:
    """A node on which no writable layer can be found."""

    async def measure(self, container_id: str, directory: str) -> LayerUsage | None:
        return None

    def stop(self) -> None:
        pass


class MemoryNode:
    """The core of one node.  :meth:`restart` kills criwist and starts it again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.docker = MemoryDocker(self.clock)
        self.docker.images.add(IMAGE)
        self.docker.images.add(PAUSE)
        self.root = tempfile.mkdtemp()
        self.config = Config(root_directory=self.root, network_plugin="cni", pod_infra_container_image=PAUSE)
        self.network = NumberedNetwork()
        self.processes = RecordingProcesses()
        self.build()

    def build(self) -> None:
        """Assemble the core anew."""
        self.logs = RecordingLogs()
        self.records = SandboxRecords(f"{self.root}/sandboxes", older=())
        self.adapters = Adapters(
            clock=self.clock,
            docker=self.docker.client,
            logs=self.logs,
            networks={"cni": self.network, "host": HostNetwork()},
            records=self.records,
            resolv_confs=ResolvConfs(f"{self.root}/resolv-confs"),
            layer_mounts=NoMounts(),
            processes=self.processes,
            container_processes=NoContainerProcesses(),
            usage=NoUsage(),
            container_metrics=NoContainerMetrics(),
            oom_kills=NO_OOM_KILLS,
            layer_usage=NoLayerUsage(),
            docker_configs=DockerConfigs({}, self.root),
            read_oom_score_floor=lambda: None,
            move_engine=lambda: None,
            connect_port=_connect_nowhere,
            hang_up=lambda pid: None,
            in_thread=_in_this_thread,
        )
        self.core = assemble(config=self.config, adapters=self.adapters)
        self.cache, self.feed, self.engine = self.core.cache, self.core.feed, self.core.engine
        self.sandboxes, self.containers, self.exec_sync = (
            self.core.sandboxes,
            self.core.containers,
            self.core.exec_sync,
        )

    def restart(self) -> None:
        """Discard all state that is not on disk or in the engine, and start."""
        self.feed.stop()
        self.build()
        self.start()

    def start(self) -> None:
        """Start to follow the engine's events."""
        self.feed.start()
        self.settle()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Start a coroutine and deliver the engine's responses to it."""
        result = Deferred.fromCoroutine(coroutine)
        self.settle()
        return result

    def settle(self) -> None:
        """Deliver the bytes that are on their way between criwist and the engine."""
        self.docker.network.settle()

    def close(self) -> None:
        """Stop, and remove the files."""
        self.feed.stop()
        shutil.rmtree(self.root)

    def sandbox_config(self, name: str = "pod", attempt: int = 0) -> pb.PodSandboxConfig:
        """Return a pod's configuration."""
        metadata = pb.PodSandboxMetadata(name=name, namespace="default", uid=f"uid-{name}", attempt=attempt)
        return pb.PodSandboxConfig(metadata=metadata, log_directory=f"{self.root}/logs/{name}")

    def container_config(self, name: str = "main") -> pb.ContainerConfig:
        """Return a container's configuration."""
        return pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=IMAGE), log_path=f"{name}.log"
        )


async def _in_this_thread(function: Any, *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)


async def _connect_nowhere(pid: int, port: int) -> socket:
    raise PermissionDenied("a node in memory has no network namespaces")


class NodeTestCase(SynchronousTestCase):
    """A node in memory that serves."""

    def setUp(self) -> None:
        self.node = MemoryNode()
        self.addCleanup(self.node.close)
        self.node.start()

    def run_pod(self, name: str = "pod") -> str:
        """Run a pod; return its id."""
        return self.successResultOf(self.node.run(self.node.sandboxes.run(self.node.sandbox_config(name), "")))

    def run_container(self, sandbox_id: str, name: str = "main") -> str:
        """Create and start a container; return its id."""
        config = self.node.container_config(name)
        container_id: str = self.successResultOf(
            self.node.run(self.node.containers.create(sandbox_id, config, self.node.sandbox_config()))
        )
        self.successResultOf(self.node.run(self.node.containers.start(container_id)))
        return container_id
