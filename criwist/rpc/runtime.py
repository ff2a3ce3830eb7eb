"""runtime.RuntimeService: one to five lines per RPC; ``core`` does the work."""

from __future__ import annotations

from attrs import define

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.checkpoints import Checkpoints
from criwist.core.containers.containers import Containers
from criwist.core.exec.exec_sync import ExecSync
from criwist.core.node.status import NodeStatus
from criwist.core.node.verbose_info import VerboseInfo
from criwist.core.sandboxes.sandboxes import Sandboxes
from criwist.core.state.cache import Cache, list_response
from criwist.interfaces.network import IPodNetwork
from criwist.rpc.serving import from_snapshot, immediate, node_state, on_reactor
from criwist.rpc.streaming import StreamingUrls
from criwist.translate.filters import container_filter, sandbox_filter
from criwist.wire.protobuf import message_field


@define(eq=False)
class RuntimeService:
    """The RPCs of one version of the API.

    :param api_version: ``v1`` or ``v1alpha2``, as in VersionResponse.
    """

    api_version: str
    _node: NodeStatus
    _cache: Cache
    _sandboxes: Sandboxes
    _containers: Containers
    _exec_sync: ExecSync
    _network: IPodNetwork
    _verbose_info: VerboseInfo
    _streaming_urls: StreamingUrls
    _checkpoints: Checkpoints

    # -- The node

    @immediate
    def Version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        return self._node.version(self.api_version)

    @node_state
    def Status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        return self._node.status(verbose=request.verbose)

    @immediate
    def RuntimeConfig(self, request: pb.RuntimeConfigRequest) -> pb.RuntimeConfigResponse:
        return self._node.runtime_config()

    @on_reactor()
    async def UpdateRuntimeConfig(self, request: pb.UpdateRuntimeConfigRequest) -> pb.UpdateRuntimeConfigResponse:
        if request.runtime_config.network_config.pod_cidr:
            await self._network.update_pod_cidr(request.runtime_config.network_config.pod_cidr)
        return pb.UpdateRuntimeConfigResponse()

    # -- Sandboxes

    @on_reactor(cancellable=True)
    async def RunPodSandbox(self, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:
        sandbox_id = await self._sandboxes.run(request.config, request.runtime_handler)
        return pb.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    @on_reactor()
    async def StopPodSandbox(self, request: pb.StopPodSandboxRequest) -> pb.StopPodSandboxResponse:
        await self._sandboxes.stop(request.pod_sandbox_id)
        return pb.StopPodSandboxResponse()

    @on_reactor()
    async def RemovePodSandbox(self, request: pb.RemovePodSandboxRequest) -> pb.RemovePodSandboxResponse:
        await self._sandboxes.remove(request.pod_sandbox_id)
        return pb.RemovePodSandboxResponse()

    @from_snapshot
    def PodSandboxStatus(self, request: pb.PodSandboxStatusRequest) -> bytes | pb.PodSandboxStatusResponse:
        entry = self._cache.current().sandbox(request.pod_sandbox_id)
        status = message_field(pb.PodSandboxStatusResponse.STATUS_FIELD_NUMBER, entry.status)
        return status + self._verbose_info.sandbox(entry) if request.verbose else status

    @from_snapshot
    def ListPodSandbox(self, request: pb.ListPodSandboxRequest) -> bytes:
        snapshot = self._cache.current()
        if not request.HasField("filter"):
            return snapshot.list_sandboxes_response
        passes = sandbox_filter(request.filter)
        return list_response(entry for entry in snapshot.newest_sandboxes if passes(entry))

    # -- Containers

    @on_reactor()
    async def CreateContainer(self, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
        return pb.CreateContainerResponse(
            container_id=await self._containers.create(request.pod_sandbox_id, request.config, request.sandbox_config)
        )

    @on_reactor()
    async def StartContainer(self, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
        await self._containers.start(request.container_id)
        return pb.StartContainerResponse()

    @on_reactor(cancellable=True)
    async def StopContainer(self, request: pb.StopContainerRequest) -> pb.StopContainerResponse:
        await self._containers.stop(request.container_id, request.timeout)
        return pb.StopContainerResponse()

    @on_reactor()
    async def RemoveContainer(self, request: pb.RemoveContainerRequest) -> pb.RemoveContainerResponse:
        await self._containers.remove(request.container_id)
        return pb.RemoveContainerResponse()

    @from_snapshot
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        snapshot = self._cache.current()
        if not request.HasField("filter"):
            return snapshot.list_containers_response
        passes = container_filter(request.filter)
        return list_response(entry for entry in snapshot.newest_containers if passes(entry))

    @from_snapshot
    def ContainerStatus(self, request: pb.ContainerStatusRequest) -> bytes:
        entry = self._cache.current().container(request.container_id)
        status = message_field(pb.ContainerStatusResponse.STATUS_FIELD_NUMBER, entry.status)
        return status + self._verbose_info.container(entry) if request.verbose else status

    @on_reactor()
    async def UpdateContainerResources(
        self, request: pb.UpdateContainerResourcesRequest
    ) -> pb.UpdateContainerResourcesResponse:
        if request.HasField("windows"):
            raise errors.InvalidArgument("windows", "this is a Linux node")
        await self._containers.update(request.container_id, request.linux, request.annotations)
        return pb.UpdateContainerResourcesResponse()

    @on_reactor()
    async def ReopenContainerLog(self, request: pb.ReopenContainerLogRequest) -> pb.ReopenContainerLogResponse:
        await self._containers.reopen_log(request.container_id)
        return pb.ReopenContainerLogResponse()

    @on_reactor(cancellable=True)
    async def CheckpointContainer(self, request: pb.CheckpointContainerRequest) -> pb.CheckpointContainerResponse:
        entry = await self._containers.known(request.container_id)
        await self._checkpoints.checkpoint(entry.id, request.location, request.timeout)
        return pb.CheckpointContainerResponse()

    @on_reactor()
    async def UpdatePodSandboxResources(
        self, request: pb.UpdatePodSandboxResourcesRequest
    ) -> pb.UpdatePodSandboxResourcesResponse:
        await self._sandboxes.note_resources(request.pod_sandbox_id)
        return pb.UpdatePodSandboxResourcesResponse()

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
        result = await self._exec_sync.run(request.container_id, request.cmd, request.timeout)
        return pb.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
