"""The RPCs that change sandboxes: RunPodSandbox, StopPodSandbox, RemovePodSandbox, UpdatePodSandboxResources.

A sandbox is a pause container, a network and a record.  It is ready only while its pause runs and its record holds a
network that is set up.  StopPodSandbox writes "stopped" into the record first, so that a restarted pause does not make
the sandbox ready again.  Each RPC's steps are in a module of its own.
"""

from __future__ import annotations

from attrs import define

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.remove import remove_sandbox
from criwist.core.sandboxes.run import run_sandbox
from criwist.core.sandboxes.stop import stop_sandbox


@define(eq=False)
class Sandboxes:
    """The sandboxes of this node."""

    _dependencies: SandboxDependencies

    async def run(self, config: pb.PodSandboxConfig, handler: str) -> str:
        """Make a sandbox and set up its network; return its id.

        :raises AlreadyExists: a sandbox of that name and attempt is ready.
        """
        return await run_sandbox(self._dependencies, config, handler)

    async def stop(self, identifier: str) -> None:
        """Stop every container of the pod, release its network, stop the pause.  Idempotent."""
        await stop_sandbox(self._dependencies, identifier)

    async def remove(self, identifier: str) -> None:
        """Stop the sandbox unless it is stopped; remove its containers, its pause and its record.  Idempotent."""
        await remove_sandbox(self._dependencies, identifier)

    async def update_resources(self, identifier: str) -> None:
        """Accept a change of a pod's resources.  kubelet owns the pod's cgroup, so this only checks the pod's id.

        :raises NotFound: no such sandbox.
        """
        await self._dependencies.cache.ready()
        self._dependencies.cache.snapshot.sandbox(identifier)
