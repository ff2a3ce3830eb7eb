"""The work at each connection to the engine: preparation, and the adoption of what is found.

1. Before the containers are listed, the engine's processes are moved to their cgroup, the mounted image volumes are
   read and the images are listed.
2. At the first connection, before a request is served: image volumes that belong to no container are unmounted, and
   containers that were made to read files of an image are removed.
3. Every container that has a log is followed from the end of its file.  At the first connection, containers that ended
   while criwist was down are waited for, so that they are not reported before their logs are complete.  Positions in
   logs of other containers are dropped.
4. A sandbox record whose sandbox Docker no longer knows is a pod that was removed without criwist: its network is
   released, then the record is removed.
5. At the first connection, the networks release what belongs to no remaining sandbox, such as addresses that a plugin
   allocated when criwist was killed in the middle of a set-up.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from criwist import errors
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.containers.log import logged_container
from criwist.core.images.images import Images
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.undo import in_parallel
from criwist.interfaces.engine import EngineFacts, IDocker
from criwist.interfaces.logs import IContainerLogs
from criwist.interfaces.records import ISandboxRecords


@define(eq=False, kw_only=True)
class Recovery:
    """Called by the event feed at each connection.

    :param move_engine: moves the engine's processes to their cgroup; does not raise.
    """

    _docker: IDocker
    _cache: Cache
    _engine: EngineProfile
    _records: ISandboxRecords
    _networks: PodNetworks
    _logs: IContainerLogs
    _images: Images
    _image_files: ImageFiles
    _image_volumes: ImageVolumes
    _move_engine: Callable[[], None]
    _first: bool = field(default=True, init=False)
    _log = Logger()

    async def connected(self, facts: EngineFacts) -> None:
        """Prepare what the listing needs, and what no event of the engine changes."""
        await self._engine.connected(facts)
        self._move_engine()
        await self._image_volumes.read_mounts()

    async def before_listing(self) -> None:
        """List the images, of which containers are listed with their documents."""
        await self._images.refresh()

    async def before_use(self) -> None:
        """Do what must be done before the cache is used and anything new is made."""
        if self._first:
            await self._image_files.clear()
            await self._image_volumes.reconcile({str(entry.name) for entry in self._cache.snapshot.containers.values()})
        await self._follow_logs()

    async def after_resync(self) -> None:
        """Release what removed pods left.  A failure is logged; the next connection tries again."""
        await self._logs.reconcile(self._cache.snapshot.containers)
        for sandbox_id in self._records.identifiers():
            if sandbox_id not in self._cache.snapshot.sandboxes:
                await self._release_removed(sandbox_id)
        if self._first:
            await self._reconcile_networks()
            self._first = False

    async def _follow_logs(self) -> None:
        with_log = [entry for entry in self._cache.snapshot.newest_containers if entry.log_path]
        for entry in with_log:
            self._logs.follow(logged_container(entry))
        if self._first:
            await in_parallel(*(self._logs.settled(entry.id) for entry in with_log if entry.exited))

    async def _release_removed(self, sandbox_id: str) -> None:
        try:
            await self._docker.inspect_container(sandbox_id)
        except errors.NotFound:
            record = self._records.load(sandbox_id)
        else:
            return  # it was made since the listing
        if record is None:
            return
        try:
            await self._networks.recorded(record, "none").tear_down(record.request, record.network, None)
        except errors.CriwistError as error:
            self._log.error(
                "the network of removed sandbox {sandbox} could not be released: {error}",
                sandbox=sandbox_id,
                error=str(error),
            )
            return
        self._records.remove(sandbox_id)
        self._log.info("released the network of removed sandbox {sandbox}", sandbox=sandbox_id)

    async def _reconcile_networks(self) -> None:
        known = {}
        for sandbox_id in self._records.identifiers():
            record = self._records.load(sandbox_id)
            if record is not None:
                known[sandbox_id] = record.request
        for provider in self._networks.providers.values():
            try:
                await provider.reconcile(known)
            except errors.CriwistError as error:
                self._log.error(
                    "leftovers of the {network} network could not be released: {error}",
                    network=provider.name,
                    error=str(error),
                )
