"""runtime.RuntimeService: one to five lines per RPC; ``core`` does the work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import define

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import Core
from criwist.core.state.cache import list_response
from criwist.core.state.pod_status import pod_status_response
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.serving import (
    from_kernel,
    from_snapshot,
    immediate,
    node_state,
    on_reactor,
    streamed,
    subscription,
)
from criwist.rpc.streaming import StreamingUrls
from criwist.translate.filters import container_filter, sandbox_filter
from criwist.wire.protobuf import message_field

_T = TypeVar("_T")
#: Seconds that a verbose status may wait for the engine.
INSPECT_WITHIN = 10.0


@define(eq=False)
class RuntimeService:
    """The RPCs of one version of the API.

    :param api_version: ``v1`` or ``v1alpha2``, as in VersionResponse.
    """

    api_version: str
    _core: Core
    _dispatcher: Dispatcher
    _streaming_urls: StreamingUrls

    # -- The node

    @immediate
    def Version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        return self._core.node_status.version(self.api_version)

    @node_state
    def Status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        response = self._core.node_status.status()
        if request.verbose:
            response.info.update(self._on_reactor(self._core.node_status.info))
        return response

    @immediate
    def RuntimeConfig(self, request: pb.RuntimeConfigRequest) -> pb.RuntimeConfigResponse:
        return self._core.node_status.runtime_config()

    @on_reactor()
    async def UpdateRuntimeConfig(self, request: pb.UpdateRuntimeConfigRequest) -> pb.UpdateRuntimeConfigResponse:
        if request.runtime_config.network_config.pod_cidr:
            await self._core.network.update_pod_cidr(request.runtime_config.network_config.pod_cidr)
        return pb.UpdateRuntimeConfigResponse()

    # -- Sandboxes

    @on_reactor(cancellable=True)
    async def RunPodSandbox(self, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:
        sandbox_id = await self._core.sandboxes.run(request.config, request.runtime_handler)
        return pb.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    @on_reactor()
    async def StopPodSandbox(self, request: pb.StopPodSandboxRequest) -> pb.StopPodSandboxResponse:
        await self._core.sandboxes.stop(request.pod_sandbox_id)
        return pb.StopPodSandboxResponse()

    @on_reactor()
    async def RemovePodSandbox(self, request: pb.RemovePodSandboxRequest) -> pb.RemovePodSandboxResponse:
        await self._core.sandboxes.remove(request.pod_sandbox_id)
        return pb.RemovePodSandboxResponse()

    @from_snapshot
    def PodSandboxStatus(self, request: pb.PodSandboxStatusRequest) -> bytes | pb.PodSandboxStatusResponse:
        timestamp = self._core.timestamps.now()  # before the snapshot is read, see core.state.timestamps
        snapshot = self._core.cache.current()
        entry = snapshot.sandbox(request.pod_sandbox_id)
        status = pod_status_response(snapshot, entry, timestamp)
        return status + self._on_reactor(lambda: self._core.verbose_info.sandbox(entry)) if request.verbose else status

    @from_snapshot
    def ListPodSandbox(self, request: pb.ListPodSandboxRequest) -> bytes:
        snapshot = self._core.cache.current()
        if not request.HasField("filter"):
            return snapshot.list_sandboxes_response
        passes = sandbox_filter(request.filter)
        return list_response(entry for entry in snapshot.newest_sandboxes if passes(entry))

    StreamPodSandboxes = streamed(ListPodSandbox)

    # -- Containers

    @on_reactor()
    async def CreateContainer(self, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
        return pb.CreateContainerResponse(
            container_id=await self._core.containers.create(
                request.pod_sandbox_id, request.config, request.sandbox_config
            )
        )

    @on_reactor()
    async def StartContainer(self, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
        await self._core.containers.start(request.container_id)
        return pb.StartContainerResponse()

    @on_reactor(cancellable=True)
    async def StopContainer(self, request: pb.StopContainerRequest) -> pb.StopContainerResponse:
        await self._core.containers.stop(request.container_id, request.timeout)
        return pb.StopContainerResponse()

    @on_reactor()
    async def RemoveContainer(self, request: pb.RemoveContainerRequest) -> pb.RemoveContainerResponse:
        await self._core.containers.remove(request.container_id)
        return pb.RemoveContainerResponse()

    @from_snapshot
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        snapshot = self._core.cache.current()
        if not request.HasField("filter"):
            return snapshot.list_containers_response
        passes = container_filter(request.filter)
        return list_response(entry for entry in snapshot.newest_containers if passes(entry))

    StreamContainers = streamed(ListContainers)

    @from_snapshot
    def ContainerStatus(self, request: pb.ContainerStatusRequest) -> bytes:
        entry = self._core.cache.current().container(request.container_id)
        status = message_field(pb.ContainerStatusResponse.STATUS_FIELD_NUMBER, entry.status)
        return (
            status + self._on_reactor(lambda: self._core.verbose_info.container(entry)) if request.verbose else status
        )

    @on_reactor()
    async def UpdateContainerResources(
        self, request: pb.UpdateContainerResourcesRequest
    ) -> pb.UpdateContainerResourcesResponse:
        if request.HasField("windows"):
            raise errors.InvalidArgument("windows", "this is a Linux node")
        await self._core.containers.update(request.container_id, request.linux, request.annotations)
        return pb.UpdateContainerResourcesResponse()

    @on_reactor()
    async def ReopenContainerLog(self, request: pb.ReopenContainerLogRequest) -> pb.ReopenContainerLogResponse:
        await self._core.containers.reopen_log(request.container_id)
        return pb.ReopenContainerLogResponse()

    @on_reactor(cancellable=True)
    async def CheckpointContainer(self, request: pb.CheckpointContainerRequest) -> pb.CheckpointContainerResponse:
        entry = await self._core.containers.known(request.container_id)
        await self._core.checkpoints.checkpoint(entry.id, request.location, request.timeout)
        return pb.CheckpointContainerResponse()

    @on_reactor()
    async def UpdatePodSandboxResources(
        self, request: pb.UpdatePodSandboxResourcesRequest
    ) -> pb.UpdatePodSandboxResourcesResponse:
        await self._core.sandboxes.update_resources(request.pod_sandbox_id)
        return pb.UpdatePodSandboxResourcesResponse()

    # -- Usage

    @from_kernel
    def ContainerStats(self, request: pb.ContainerStatsRequest) -> bytes:
        return self._core.stats.container(request.container_id)

    @from_kernel
    def ListContainerStats(self, request: pb.ListContainerStatsRequest) -> bytes:
        return self._core.stats.containers(request.filter)

    StreamContainerStats = streamed(ListContainerStats)

    @from_kernel
    def PodSandboxStats(self, request: pb.PodSandboxStatsRequest) -> bytes:
        return self._core.stats.pod(request.pod_sandbox_id)

    @from_kernel
    def ListPodSandboxStats(self, request: pb.ListPodSandboxStatsRequest) -> bytes:
        return self._core.stats.pods(request.filter)

    StreamPodSandboxStats = streamed(ListPodSandboxStats)

    @immediate
    def ListMetricDescriptors(self, request: pb.ListMetricDescriptorsRequest) -> pb.ListMetricDescriptorsResponse:
        return self._core.pod_metrics.list_descriptors()

    @from_kernel
    def ListPodSandboxMetrics(self, request: pb.ListPodSandboxMetricsRequest) -> bytes:
        return self._core.pod_metrics.pods()

    StreamPodSandboxMetrics = streamed(ListPodSandboxMetrics)

    # -- Events

    @subscription
    def GetContainerEvents(self, request: pb.GetEventsRequest, receive: Callable[[bytes], None]) -> Callable[[], None]:
        return self._core.container_events.subscribe(receive)

    # -- Commands and streams

    @on_reactor()
    async def Exec(self, request: pb.ExecRequest) -> pb.ExecResponse:
        return pb.ExecResponse(url=await self._streaming_urls.exec_url(request))

    @on_reactor()
    async def Attach(self, request: pb.AttachRequest) -> pb.AttachResponse:
        return pb.AttachResponse(url=await self._streaming_urls.attach_url(request))

    @on_reactor()
    async def PortForward(self, request: pb.PortForwardRequest) -> pb.PortForwardResponse:
        return pb.PortForwardResponse(url=await self._streaming_urls.port_forward_url(request))

    @on_reactor(cancellable=True)
    async def ExecSync(self, request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
        result = await self._core.exec_sync.run(request.container_id, request.cmd, request.timeout)
        return pb.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)

    def _on_reactor(self, start: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine of a verbose status on the reactor; block the calling thread until it returns."""
        return self._dispatcher.wait(start, INSPECT_WITHIN, "inspection")
