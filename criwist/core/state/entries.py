"""The cache's entry of a sandbox and of a container: small, immutable, with the CRI responses serialized.

An inspected container is some 10 KB of JSON and ten times that as Python objects; a node has hundreds.  So an entry
holds the serialized CRI messages, and beside them only the facts that the core itself acts on.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.kernel import CgroupWrites
from criwist.names import ContainerName


@frozen
class SandboxEntry:
    """A sandbox.  Times are nanoseconds since the epoch."""

    id: str
    name: ContainerName
    #: The pause container runs *and* the pod's network is set up.
    ready: bool
    #: The pause container runs.
    running: bool
    created_at: int
    labels: Mapping[str, str] = field(hash=False)
    #: The pause container's pid on the host; 0 unless it runs.
    pid: int
    #: ``HostConfig.NetworkMode``.
    network_mode: str
    #: The engine's name of the OCI runtime.
    runtime: str
    #: The pause container's image, as it was requested from the engine.
    image: str
    #: A serialized runtime.v1.PodSandbox.
    item: bytes
    #: A serialized runtime.v1.PodSandboxStatus.
    status: bytes
    #: ``HostConfig.CgroupParent``; ``""``: the engine's own parent.
    cgroup_parent: str = ""

    @property
    def host_network(self) -> bool:
        """Whether the pod is on the node's network."""
        return self.network_mode == "host"


@frozen
class ContainerEntry:
    """A container of a sandbox.  Times are nanoseconds since the epoch."""

    id: str
    sandbox_id: str
    name: ContainerName
    #: runtime.v1.ContainerState
    state: int
    #: Docker's ``State.Running``.
    running: bool
    created_at: int
    labels: Mapping[str, str] = field(hash=False)
    #: Its first process's pid on the host; 0 unless it runs.
    pid: int
    image_id: str
    #: The image's name, as its author wrote it if that is known.
    image: str
    tty: bool
    stdin: bool
    stdin_once: bool
    #: Absolute, or ``""``.
    log_path: str
    #: ``LogPath``: the engine's own file, ``""`` unless the driver writes one.
    engine_log_path: str
    log_driver: str
    #: Ids of the images that are mounted in it, by the engine or by criwist.
    image_volumes: frozenset[str]
    #: Values that criwist writes to its cgroup at its start.
    cgroup_writes: CgroupWrites = field(hash=False)
    #: A serialized runtime.v1.Container.
    item: bytes
    #: A serialized runtime.v1.ContainerStatus.
    status: bytes
    #: overlay2's directory of the writable layer; ``""``: the engine names none.
    upper_directory: str = ""

    @property
    def exited(self) -> bool:
        """Whether its process has ended, or could not be started, and will not run again."""
        return self.state == pb.CONTAINER_EXITED
