"""runtime.RuntimeService: one to five lines per RPC; what they do is the core's."""

from __future__ import annotations

from attrs import define

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.cache import Cache, listing
from criwist.core.checkpoints import Checkpoints
from criwist.core.containers import Containers
from criwist.core.execs import Execs
from criwist.core.pods import Pods
from criwist.core.status import NodeStatus
from criwist.core.verbose import Verbose
from criwist.interfaces import IPodNetwork
from criwist.rpc.behaviours import condition, errand, memory, read
from criwist.streaming.urls import Streams
from criwist.translate.filters import container_filter, sandbox_filter
from criwist.wire.protobuf import message_field


@define(eq=False)
class RuntimeService:
    """The RPCs of one version of the API.

    :param api_version: ``v1`` or ``v1alpha2``, told in VersionResponse.
    """

    api_version: str
    _node: NodeStatus
    _cache: Cache
    _pods: Pods
    _containers: Containers
    _execs: Execs
    _network: IPodNetwork
    _verbose: Verbose
    _streams: Streams
    _checkpoints: Checkpoints

    # -- The node

    @memory
    def Version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        return self._node.version(self.api_version)

    @condition
    def Status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        return self._node.status(verbose=request.verbose)

    @memory
    def RuntimeConfig(self, request: pb.RuntimeConfigRequest) -> pb.RuntimeConfigResponse:
        return self._node.runtime_config()

    @errand()
    async def UpdateRuntimeConfig(self, request: pb.UpdateRuntimeConfigRequest) -> pb.UpdateRuntimeConfigResponse:
        if request.runtime_config.network_config.pod_cidr:
            await self._network.update_pod_cidr(request.runtime_config.network_config.pod_cidr)
        return pb.UpdateRuntimeConfigResponse()

    # -- Sandboxes

    @errand(cancellable=True)
    async def RunPodSandbox(self, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:
        return pb.RunPodSandboxResponse(pod_sandbox_id=await self._pods.run(request.config, request.runtime_handler))

    @errand()
    async def StopPodSandbox(self, request: pb.StopPodSandboxRequest) -> pb.StopPodSandboxResponse:
        await self._pods.stop(request.pod_sandbox_id)
        return pb.StopPodSandboxResponse()

    @errand()
    async def RemovePodSandbox(self, request: pb.RemovePodSandboxRequest) -> pb.RemovePodSandboxResponse:
        await self._pods.remove(request.pod_sandbox_id)
        return pb.RemovePodSandboxResponse()

    @read
    def PodSandboxStatus(self, request: pb.PodSandboxStatusRequest) -> bytes | pb.PodSandboxStatusResponse:
        entry = self._cache.current().sandbox(request.pod_sandbox_id)
        status = message_field(pb.PodSandboxStatusResponse.STATUS_FIELD_NUMBER, entry.status)
        return status + self._verbose.sandbox(entry) if request.verbose else status

    @read
    def ListPodSandbox(self, request: pb.ListPodSandboxRequest) -> bytes:
        snapshot = self._cache.current()
        if not request.HasField("filter"):
            return snapshot.all_sandboxes
        passes = sandbox_filter(request.filter)
        return listing(entry for entry in snapshot.newest_sandboxes if passes(entry))

    # -- Containers

    @errand()
    async def CreateContainer(self, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
        return pb.CreateContainerResponse(
            container_id=await self._containers.create(request.pod_sandbox_id, request.config, request.sandbox_config)
        )

    @errand()
    async def StartContainer(self, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
        await self._containers.start(request.container_id)
        return pb.StartContainerResponse()

    @errand(cancellable=True)
    async def StopContainer(self, request: pb.StopContainerRequest) -> pb.StopContainerResponse:
        await self._containers.stop(request.container_id, request.timeout)
        return pb.StopContainerResponse()

    @errand()
    async def RemoveContainer(self, request: pb.RemoveContainerRequest) -> pb.RemoveContainerResponse:
        await self._containers.remove(request.container_id)
        return pb.RemoveContainerResponse()

    @read
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        snapshot = self._cache.current()
        if not request.HasField("filter"):
            return snapshot.all_containers
        passes = container_filter(request.filter)
        return listing(entry for entry in snapshot.newest_containers if passes(entry))

    @read
    def ContainerStatus(self, request: pb.ContainerStatusRequest) -> bytes:
        entry = self._cache.current().container(request.container_id)
        status = message_field(pb.ContainerStatusResponse.STATUS_FIELD_NUMBER, entry.status)
        return status + self._verbose.container(entry) if request.verbose else status

    @errand()
    async def UpdateContainerResources(
        self, request: pb.UpdateContainerResourcesRequest
    ) -> pb.UpdateContainerResourcesResponse:
        if request.HasField("windows"):
            raise errors.InvalidArgument("windows", "this is a Linux node")
        await self._containers.update(request.container_id, request.linux, request.annotations)
        return pb.UpdateContainerResourcesResponse()

    @errand()
    async def ReopenContainerLog(self, request: pb.ReopenContainerLogRequest) -> pb.ReopenContainerLogResponse:
        await self._containers.reopen_log(request.container_id)
        return pb.ReopenContainerLogResponse()

    @errand(cancellable=True)
    async def CheckpointContainer(self, request: pb.CheckpointContainerRequest) -> pb.CheckpointContainerResponse:
        entry = await self._containers.known(request.container_id)
        await self._checkpoints.checkpoint(entry.id, request.location, request.timeout)
        return pb.CheckpointContainerResponse()

    @errand()
    async def UpdatePodSandboxResources(
        self, request: pb.UpdatePodSandboxResourcesRequest
    ) -> pb.UpdatePodSandboxResourcesResponse:
        await self._pods.note_resources(request.pod_sandbox_id)
        return pb.UpdatePodSandboxResourcesResponse()

    # -- Commands and streams

    @errand()
    async def Exec(self, request: pb.ExecRequest) -> pb.ExecResponse:
        return pb.ExecResponse(url=await self._streams.exec_url(request))

    @errand()
    async def Attach(self, request: pb.AttachRequest) -> pb.AttachResponse:
        return pb.AttachResponse(url=await self._streams.attach_url(request))

    @errand()
    async def PortForward(self, request: pb.PortForwardRequest) -> pb.PortForwardResponse:
        return pb.PortForwardResponse(url=await self._streams.port_forward_url(request))

    @errand(cancellable=True)
    async def ExecSync(self, request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
        result = await self._execs.run(request.container_id, request.cmd, request.timeout)
        return pb.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
