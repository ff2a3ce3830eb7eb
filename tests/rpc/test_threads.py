"""The threads that RPCs are answered in, and what may be called there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Queue
from threading import get_ident
from typing import Any

from attrs import define, evolve, field
from google.protobuf.message import Message
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import assemble
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.images import ImageService
from criwist.rpc.runtime import RuntimeService
from criwist.rpc.serving import _MARK
from tests.core.memory_node import MemoryNode

#: Members of IDocker and IPodNetwork that any thread may use.
_ANY_THREAD = frozenset({"facts", "condition", "condition_pending"})


@define(eq=False)
class ReactorOnly:
    """An adapter whose other members fail unless they are used on the thread that made this object."""

    _adapter: Any
    _thread: int = field(factory=get_ident, init=False)

    def __getattr__(self, name: str) -> Any:
        if get_ident() != self._thread and name not in _ANY_THREAD:
            raise AssertionError(f"{type(self._adapter).__name__}.{name} is used in a thread of gRPC")
        return getattr(self._adapter, name)


@define(eq=False)
class QueueReactor:
    """``callFromThread`` of a reactor whose thread is the test's, which runs the calls between those of the node."""

    _node: MemoryNode
    _calls: Queue[Callable[[], Any]] = field(factory=Queue, init=False)

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._calls.put(lambda: function(*arguments))

    def run_until(self, future: Future[Any]) -> Any:
        """Run calls until *future* is done; return its result."""
        while not future.done():
            try:
                self._calls.get(timeout=0.01)()
            except Empty:
                continue
            self._node.settle()
        return future.result()


class ThreadTests(SynchronousTestCase):
    """A node with one pod, whose adapters check the thread that they are called in."""

    def setUp(self) -> None:
        self.node = node = MemoryNode()
        self.addCleanup(node.close)
        names = (
            *("docker", "logs", "records", "resolv_confs", "layer_mounts"),
            *("processes", "container_processes", "layer_usage", "oom_kills"),
        )
        checked: dict[str, Any] = {name: ReactorOnly(getattr(node.adapters, name)) for name in names}
        networks: dict[str, Any] = {name: ReactorOnly(network) for name, network in node.adapters.networks.items()}
        core = assemble(config=node.config, adapters=evolve(node.adapters, networks=networks, **checked))
        core.feed.start()
        self.addCleanup(core.feed.stop)
        node.settle()
        pod = node.sandbox_config()
        self.sandbox_id = self.successResultOf(node.run(core.sandboxes.run(pod, "")))
        creating = core.containers.create(self.sandbox_id, node.container_config(), pod)
        self.container_id = self.successResultOf(node.run(creating))
        self.reactor = QueueReactor(node)
        dispatcher = Dispatcher(self.reactor)  # type: ignore[arg-type]
        dispatcher.open()
        streaming_urls: Any = None
        self.services = (
            RuntimeService("v1", core, dispatcher, streaming_urls),
            ImageService(core.images, core.cache),
        )

    def requests(self) -> dict[str, Message]:
        """Return the request that makes the most work of each RPC that is answered in a thread of gRPC."""
        return {
            "Version": pb.VersionRequest(),
            "Status": pb.StatusRequest(verbose=True),
            "RuntimeConfig": pb.RuntimeConfigRequest(),
            "PodSandboxStatus": pb.PodSandboxStatusRequest(pod_sandbox_id=self.sandbox_id, verbose=True),
            "ListPodSandbox": pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(id=self.sandbox_id)),
            "ContainerStatus": pb.ContainerStatusRequest(container_id=self.container_id, verbose=True),
            "ListContainers": pb.ListContainersRequest(filter=pb.ContainerFilter(id=self.container_id)),
            "ContainerStats": pb.ContainerStatsRequest(container_id=self.container_id),
            "ListContainerStats": pb.ListContainerStatsRequest(),
            "PodSandboxStats": pb.PodSandboxStatsRequest(pod_sandbox_id=self.sandbox_id),
            "ListPodSandboxStats": pb.ListPodSandboxStatsRequest(),
            "ListMetricDescriptors": pb.ListMetricDescriptorsRequest(),
            "ListPodSandboxMetrics": pb.ListPodSandboxMetricsRequest(),
            "ListImages": pb.ListImagesRequest(),
            "StreamPodSandboxes": pb.StreamPodSandboxesRequest(filter=pb.PodSandboxFilter(id=self.sandbox_id)),
            "StreamContainers": pb.StreamContainersRequest(filter=pb.ContainerFilter(id=self.container_id)),
            "StreamContainerStats": pb.StreamContainerStatsRequest(),
            "StreamPodSandboxStats": pb.StreamPodSandboxStatsRequest(),
            "StreamPodSandboxMetrics": pb.StreamPodSandboxMetricsRequest(),
            "StreamImages": pb.StreamImagesRequest(),
            "ImageStatus": pb.ImageStatusRequest(image=pb.ImageSpec(image="busybox"), verbose=True),
            "ImageFsInfo": pb.ImageFsInfoRequest(),
        }

    def test_every_rpc_that_is_answered_in_a_thread(self) -> None:
        """An RPC that gRPC's thread answers uses no adapter there: no record is loaded, no call is sent to Docker."""
        answered = {
            name: method
            for service in self.services
            for name in dir(service)
            if getattr(method := getattr(service, name), _MARK, None)
            and getattr(method, _MARK).kind not in ("on_reactor", "subscription")
        }
        requests = self.requests()
        self.assertEqual(set(answered), set(requests))
        with ThreadPoolExecutor(1) as pool:
            for name, request in requests.items():
                self.assertIsNotNone(self.reactor.run_until(pool.submit(answered[name], request)), name)

    def test_verbose_status_has_the_record(self) -> None:
        """A verbose PodSandboxStatus has the sandbox's record, which is loaded on the reactor's thread."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=self.sandbox_id, verbose=True)
        with ThreadPoolExecutor(1) as pool:
            response = self.reactor.run_until(pool.submit(self.services[0].PodSandboxStatus, request))
        self.assertIn(
            f'"sandbox_id": "{self.sandbox_id}"', pb.PodSandboxStatusResponse.FromString(response).info["info"]
        )
