"""What is made good when the engine is met, for the first time or again.

1. Before anything new is made, image volumes that belong to no container are unmounted, and
   containers that were made to look into an image are removed.
2. Every container that has a log is followed from where its file ends.  Those that ended while we were down are
   waited for, so that they are not shown before their logs are whole.  What is kept of the logs of others goes.
3. A sandbox record whose sandbox Docker does not know any more is a pod that vanished behind our back: its network
   is released, then the record goes.
4. At the first meeting, the networks release what belongs to no sandbox that is left, such as addresses that a
   plugin took when criwist was killed in the middle of a set-up.
"""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from criwist import errors
from criwist.core.containers.containers import logged
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.state.cache import Cache
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.undo import in_parallel
from criwist.interfaces.engine import IDocker
from criwist.interfaces.logs import IContainerLogs
from criwist.interfaces.records import ISandboxRecords


@define(eq=False)
class Recovery:
    """Runs at each take-over of a listing."""

    _docker: IDocker
    _cache: Cache
    _records: ISandboxRecords
    _networks: PodNetworks
    _logs: IContainerLogs
    _volumes: ImageVolumes
    _image_files: ImageFiles
    _first: bool = field(default=True, init=False)
    _log = Logger()

    async def before_use(self) -> None:
        """What must be done before anything new is made."""
        if self._first:
            await self._image_files.clear()
            await self._volumes.reconcile({str(entry.name) for entry in self._cache.snapshot.containers.values()})
        await self._follow_logs()

    async def run(self) -> None:
        """Make good what can be; what cannot is logged and tried again at the next meeting."""
        await self._logs.reconcile(self._cache.snapshot.containers)
        for sandbox_id in self._records.identifiers():
            if sandbox_id not in self._cache.snapshot.sandboxes:
                await self._bury(sandbox_id)
        if self._first:
            await self._reconcile_networks()
            self._first = False

    async def _follow_logs(self) -> None:
        with_log = [entry for entry in self._cache.snapshot.newest_containers if entry.log_path]
        for entry in with_log:
            self._logs.follow(logged(entry))
        if self._first:
            await in_parallel(*(self._logs.settled(entry.id) for entry in with_log if entry.exited))

    async def _bury(self, sandbox_id: str) -> None:
        try:
            await self._docker.inspect_container(sandbox_id)
        except errors.NotFound:
            record = self._records.load(sandbox_id)
        else:
            return  # made since the listing
        if record is None:
            return
        try:
            await self._networks.recorded(record, "none").tear_down(record.request, record.network, None)
        except errors.CriwistError as error:
            self._log.error(
                "the network of vanished sandbox {sandbox} could not be released: {error}",
                sandbox=sandbox_id,
                error=str(error),
            )
            return
        self._records.remove(sandbox_id)
        self._log.info("released what was left of vanished sandbox {sandbox}", sandbox=sandbox_id)

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
