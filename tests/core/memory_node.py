"""A node in memory: the core over the real client, with an engine in memory behind it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.containers import Containers
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.exec.exec_sync import ExecSync
from criwist.core.recovery import Recovery
from criwist.core.sandboxes.sandboxes import Sandboxes
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.event_feed import EventFeed
from criwist.core.state.observed_state import ObservedState
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.state.projection import Projection
from criwist.errors import PermissionDenied, PluginFailure
from criwist.interfaces.engine import EngineFacts, JSONObject
from criwist.interfaces.kernel import ILayerMounts, IProcesses
from criwist.interfaces.logs import IContainerLogs, LoggedContainer
from criwist.interfaces.network import IPodNetwork, NetworkCondition, PodNetwork, PodNetworkRequest
from criwist.locks import Locks
from criwist.network.host import HostNetwork
from criwist.network.resolvconf import ResolvConfs
from criwist.records.sandboxes import SandboxRecords
from tests.doubles.memory_docker import MemoryDocker

_T = TypeVar("_T")
IMAGE = "busybox"
PAUSE = "pause:1"


@implementer(IContainerLogs)
class NotedLogs:
    """Logs that note what they are asked; ``settling`` holds back the end of a container when it is set."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []
        self.settling: Deferred[None] | None = None

    def container_options(self) -> JSONObject:
        """The daemon's default."""
        return {}

    def follow(self, container: LoggedContainer) -> None:
        """Note it."""
        self.noted.append(("follow", container.path))

    async def settled(self, container_id: str) -> None:
        """Wait as long as the test wants."""
        if self.settling is not None:
            await self.settling

    async def reopen(self, container_id: str) -> None:
        """Note it."""
        self.noted.append(("reopen", container_id))

    async def reconcile(self, known: Any) -> None:
        """Nothing is kept."""

    def stop(self) -> None:
        """Nothing is followed."""

    async def forget(self, container_id: str) -> None:
        """Note it."""
        self.noted.append(("forget", container_id))


@implementer(IPodNetwork)
class NumberedNetwork:
    """Gives each pod the next address, keeps account of them, and fails when it is told to."""

    name = "cni"
    docker_network_mode = "none"
    publishes_ports = False
    undecided = False

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.failing = False
        self.torn_down: list[str] = []

    def condition(self) -> NetworkCondition:
        """Ready."""
        return NetworkCondition(ready=True)

    async def first_look(self) -> None:
        """Look."""
        self.undecided = False

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Give an address, or fail."""
        if self.failing:
            raise PluginFailure("plugin bridge, ADD: no address is left")
        self.given[request.sandbox_id] = f"10.1.0.{len(self.given) + 1}"
        return PodNetwork((self.given[request.sandbox_id],))

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Take it back."""
        self.torn_down.append(request.sandbox_id)
        self.given.pop(request.sandbox_id, None)

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """Nothing is known of pods that were not set up here."""
        return None

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        """No use for it."""

    async def reconcile(self, known: Any) -> None:
        """Take back what belongs to no known sandbox."""
        for sandbox_id in set(self.given) - set(known):
            del self.given[sandbox_id]

    def verbose(self) -> dict[str, Any]:
        """All addresses."""
        return dict(self.given)


@implementer(IProcesses)
class NotedProcesses:
    """Notes what it is to kill."""

    def __init__(self) -> None:
        self.killed: list[tuple[int, str]] = []

    async def kill_tree(self, pid: int, container: str = "") -> int:
        """Note it."""
        self.killed.append((pid, container))
        return 1


@implementer(ILayerMounts)
class NoMounts:
    """A node on which no image is mounted, and none is asked for."""

    async def mount(self, place: str, layers: Any, label: str) -> None:
        """Fail."""
        raise PermissionDenied("nothing is mounted in memory")

    async def unmount(self, place: str) -> None:
        """Nothing is mounted."""

    async def resolve(self, place: str, sub_path: str) -> str:
        """Fail."""
        raise PermissionDenied("nothing is mounted in memory")

    async def mounted(self) -> dict[str, str]:
        """Nothing."""
        return {}


class MemoryNode:
    """The core of one node.  :meth:`restart` is a criwist that was killed and started again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.docker = MemoryDocker(self.clock)
        self.docker.images.add(IMAGE)
        self.docker.images.add(PAUSE)
        self.root = tempfile.mkdtemp()
        self.network = NumberedNetwork()
        self.processes = NotedProcesses()
        self.image_events: list[JSONObject] = []
        self.build()

    def build(self) -> None:
        """Compose the core, as ``service`` does."""
        docker = self.docker.client
        self.logs = NotedLogs()
        self.engine = EngineProfile(docker, lambda: None)
        self.records = SandboxRecords(f"{self.root}/sandboxes", older=())
        resolv_confs = ResolvConfs(f"{self.root}/resolv-confs")
        self.networks = PodNetworks({"cni": self.network, "host": HostNetwork()}, "cni")
        self.volumes = ImageVolumes(docker, NoMounts(), f"{self.root}/image-volumes")
        describe = Projection(
            self.engine,
            self.records,
            self.networks,
            lambda image: None,
            lambda inspected: ObservedState(),
            self.volumes.volume_at,
            self.root,
        )
        self.cache = Cache(docker, self.logs, describe)
        self.locks = Locks()
        files = ImageFiles(docker)
        self.containers = Containers(
            docker,
            self.cache,
            self.engine,
            self.logs,
            self.locks,
            resolv_confs,
            self.volumes,
            ImageUsers(docker, files),
            files,
            str,
            _in_no_thread,
        )
        self.pods = Sandboxes(
            docker,
            self.cache,
            self.engine,
            self.records,
            self.networks,
            self.locks,
            lambda: succeed(PAUSE),
            self.containers.remove,
            resolv_confs,
        )
        recovery = Recovery(docker, self.cache, self.records, self.networks, self.logs, self.volumes, files)
        self.feed = EventFeed(
            docker, self.cache, self.clock, self._connected, recovery.before_use, recovery.run, self.image_events.append
        )
        self.execs = ExecSync(docker, self.cache, self.feed, self.processes, self.clock)

    async def _connected(self, facts: EngineFacts) -> None:
        await self.engine.connected(facts)

    def restart(self) -> None:
        """Forget all that is not on disk or in the engine, and start."""
        self.feed.stop()
        self.build()
        self.start()

    def start(self) -> None:
        """Follow the engine."""
        self.feed.start()
        self.settle()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Start a coroutine and let the engine answer what it asks."""
        result = Deferred.fromCoroutine(coroutine)
        self.settle()
        return result

    def settle(self) -> None:
        """Deliver what is on its way between us and the engine."""
        self.docker.network.settle()

    def close(self) -> None:
        """Remove what is on disk."""
        self.feed.stop()
        shutil.rmtree(self.root)

    def sandbox_config(self, name: str = "pod", attempt: int = 0) -> pb.PodSandboxConfig:
        """A pod's configuration."""
        metadata = pb.PodSandboxMetadata(name=name, namespace="default", uid=f"uid-{name}", attempt=attempt)
        return pb.PodSandboxConfig(metadata=metadata, log_directory=f"{self.root}/logs/{name}")

    def container_config(self, name: str = "main") -> pb.ContainerConfig:
        """A container's configuration."""
        return pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=IMAGE), log_path=f"{name}.log"
        )


async def _in_no_thread(function: Any, *arguments: Any) -> Any:
    return function(*arguments)
