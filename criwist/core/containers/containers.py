"""The RPCs that change containers: create, start, stop, remove, update, and reopening the log.

Each of them refreshes the cache before it returns, so a caller reads what it wrote.  A container's log is followed from
before its start, and complete before its removal.  Each RPC's steps are in a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.create import create_container
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.log import reopen_log
from criwist.core.containers.remove import remove_container
from criwist.core.containers.start import start_container
from criwist.core.containers.stop import stop_container
from criwist.core.containers.update import update_container
from criwist.core.state.entries import ContainerEntry


@define(eq=False)
class Containers:
    """The containers of this node's pods."""

    _dependencies: ContainerDependencies

    async def create(self, sandbox_id: str, config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig) -> str:
        """Create a container in a sandbox; return its id.

        :raises NotFound: no such sandbox, or no such image.
        :raises FailedPrecondition: the sandbox is not ready.
        """
        return await create_container(self._dependencies, sandbox_id, config, sandbox_config)

    async def start(self, identifier: str) -> None:
        """Start a container, unless it is running.

        :raises FailedPrecondition: it has run and exited.
        :raises EngineFailure: the engine cannot start it, for the reason in its text.
        """
        await start_container(self._dependencies, identifier)

    async def stop(self, identifier: str, grace: int) -> None:
        """Stop a container: its stop signal, *grace* seconds, SIGKILL.  Idempotent, also if there is no such container.

        It holds no lock, so a removal need not wait for a long grace.
        """
        await stop_container(self._dependencies, identifier, grace)

    async def remove(self, identifier: str) -> None:
        """Remove a container; kill it first if it is running.  Its log file stays.  Idempotent."""
        await remove_container(self._dependencies, identifier)

    async def update(
        self, identifier: str, resources: pb.LinuxContainerResources, annotations: Mapping[str, str]
    ) -> None:
        """Change a container's resources.

        :raises FailedPrecondition: the container is not started yet, and a value would change that its start takes from
            what was recorded at its creation.
        """
        await update_container(self._dependencies, identifier, resources)

    async def reopen_log(self, identifier: str) -> None:
        """Write to a new file at the container's log path, after kubelet has renamed the old one.

        :raises FailedPrecondition: the container is not running, or has no log.
        """
        await reopen_log(self._dependencies, identifier)

    async def known(self, identifier: str) -> ContainerEntry:
        """Return the current entry of the container with this id or id prefix.

        :raises NotFound: there is none.
        """
        return await self._dependencies.known(identifier)
