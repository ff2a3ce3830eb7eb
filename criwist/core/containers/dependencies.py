"""The adapters and services that the RPCs of containers use."""

from __future__ import annotations

from attrs import frozen

from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.images.images import Images
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.engine import IDocker
from criwist.interfaces.kernel import IContainerProcesses
from criwist.interfaces.logs import IContainerLogs
from criwist.interfaces.network import IResolvConfs
from criwist.locks import Locks


@frozen(kw_only=True, eq=False)
class ContainerDependencies:
    """What the RPCs that change containers have in common."""

    docker: IDocker
    cache: Cache
    engine: EngineProfile
    logs: IContainerLogs
    locks: Locks
    processes: IContainerProcesses
    resolv_confs: IResolvConfs
    images: Images
    image_files: ImageFiles
    image_users: ImageUsers
    image_volumes: ImageVolumes

    async def known(self, identifier: str) -> ContainerEntry:
        """Return the current entry of the container with this id or id prefix.

        :raises NotFound: there is none.
        """
        await self.cache.ready()
        return self.cache.snapshot.container(identifier)
