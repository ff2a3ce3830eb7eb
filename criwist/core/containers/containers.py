"""Containers: create, start, stop, remove, update.

Every one of these ends with a refresh of the copy before it is answered, so who writes reads what was written.
A container's log is followed from before its start, and complete before its removal.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from attrs import define
from twisted.logger import Logger

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.containers.unavailable_capabilities import create_without
from criwist.core.host_files import make_missing_directories, read_files
from criwist.core.name_conflict import create_named
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.undo import Undo, all_or_nothing
from criwist.engine_differences import IMAGE_MOUNTS
from criwist.interfaces.engine import IDocker
from criwist.interfaces.logs import IContainerLogs, LoggedContainer
from criwist.kernel.cgroup.paths import Cgroup, process_cgroup
from criwist.kernel.cgroup.resources import write_resources
from criwist.kernel.oom_scores import write_oom_score_adj
from criwist.locks import Locks
from criwist.names import ContainerName
from criwist.network.resolvconf import TARGET, ResolvConfs
from criwist.translate.cgroup import CgroupWrites, cgroup_writes, changed_field
from criwist.translate.container import container_body, needed_files, needs_accounts
from criwist.translate.engine_json import member, number
from criwist.translate.mounts import host_directories, image_mounts_wanted
from criwist.translate.resources import oom_score, update_body

#: Longest grace that the engine is asked for, seconds: what fits the 32-bit number it keeps it in.
LONGEST_GRACE = 2**31 - 1


@define(eq=False)
class Containers:
    """What the container RPCs that change something do.

    :param image_id: the id of an image that the engine has, by any reference; raises NotFound.
    :param in_thread: runs a function that may take long in a thread.
    """

    _docker: IDocker
    _cache: Cache
    _engine: EngineProfile
    _logs: IContainerLogs
    _locks: Locks
    _resolv_confs: ResolvConfs
    _volumes: ImageVolumes
    _accounts: ImageUsers
    _image_files: ImageFiles
    _image_id: Callable[[str], str]
    _in_thread: Callable[..., Awaitable[None]]
    _log = Logger()

    async def create(self, sandbox_id: str, config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig) -> str:
        """Create a container in a sandbox; returns its id.

        :raises NotFound: no such sandbox, or no such image.
        :raises FailedPrecondition: the sandbox does not run.
        """
        await self._cache.ready()
        sandbox = self._cache.snapshot.sandbox(sandbox_id)
        if not sandbox.running:
            raise errors.FailedPrecondition(f"sandbox {sandbox.id} is not running")
        name = str(
            ContainerName(
                config.metadata.name,
                sandbox.name.pod,
                sandbox.name.namespace,
                sandbox.name.uid,
                config.metadata.attempt,
            )
        )
        async with self._locks.hold(name):
            return await all_or_nothing(lambda undo: self._create(undo, name, sandbox, config, sandbox_config))

    async def _create(
        self,
        undo: Undo,
        name: str,
        sandbox: SandboxEntry,
        config: pb.ContainerConfig,
        sandbox_config: pb.PodSandboxConfig,
    ) -> str:
        engine = self._engine.facts
        files = read_files(needed_files(config))
        make_missing_directories(host_directories(config, engine=engine), field="config.mounts")
        undo.push(f"unmount the image volumes of {name}", lambda: self._volumes.release(name))
        image_mounts = await self._mount_images(name, config)
        body = container_body(
            config,
            sandbox_config,
            sandbox_id=sandbox.id,
            host_network=sandbox.host_network,
            runtime=sandbox.runtime,
            image=config.image.image,
            log_config=self._logs.container_options(),
            engine=engine,
            oom_score_floor=self._engine.oom_score_floor,
            files=files,
            image_mounts=image_mounts,
            accounts=await self._accounts.of(config.image.image) if needs_accounts(config) else None,
        )
        self._mount_resolv_conf(body, sandbox.id)
        container_id = await create_without(body, lambda: create_named(self._docker, name, body, self._may_go))
        await self._cache.refresh(container_id)
        return container_id

    async def _mount_images(self, name: str, config: pb.ContainerConfig) -> dict[int, str]:
        """Mount image volumes, or see that the engine can; returns by mount the host path, or the image's id."""
        mounts: dict[int, str] = {}
        for index, mount in image_mounts_wanted(config).items():
            image_id, sub_path = self._image_id(mount.image.image), mount.image_sub_path
            if not IMAGE_MOUNTS.supported_by(self._engine.facts):
                mounts[index] = await self._volumes.prepare(name, index, image_id, sub_path)
            elif sub_path and not await self._image_files.has(image_id, sub_path):
                # The engine would look for it when the container starts.
                raise errors.InvalidArgument(
                    f"config.mounts[{index}].image_sub_path", f"{sub_path!r} is not in the image"
                )
            else:
                mounts[index] = image_id
        return mounts

    def _mount_resolv_conf(self, body: dict[str, Any], sandbox_id: str) -> None:
        path = self._resolv_confs.path(sandbox_id)
        mounts = body["HostConfig"].setdefault("Mounts", [])
        if path and all(mount["Target"] != TARGET for mount in mounts):
            read_only = bool(body["HostConfig"].get("ReadonlyRootfs"))
            mounts.append({"Type": "bind", "Source": path, "Target": TARGET, "ReadOnly": read_only})

    async def _may_go(self, holder: str) -> bool:
        await self._cache.refresh(holder)
        entry = self._cache.snapshot.containers.get(holder)
        return entry is None or not entry.running

    async def start(self, identifier: str) -> None:
        """Start a container; one that runs is left alone.

        :raises EngineFailure: the engine's words on why it could not be started.
        """
        entry = await self.known(identifier)
        async with self._locks.hold(entry.id):
            if entry.log_path:
                self._logs.follow(logged(entry))
            try:
                await self._docker.start_container(entry.id)
                if entry.cgroup_writes:
                    await self._limit(entry)
            finally:
                await self._cache.refresh(entry.id)

    async def _limit(self, entry: ContainerEntry) -> None:
        """Write to the cgroup what the Engine API has no field for; a container that cannot be limited is not run."""
        try:
            await self._write_cgroup(entry.id, entry.cgroup_writes, "config.linux.resources")
        except errors.CriwistError:
            await self._docker.stop_container(entry.id, 0)
            raise

    async def _write_cgroup(self, container_id: str, writes: CgroupWrites, field: str) -> None:
        """Write to a running container's cgroup; one that has ended meanwhile is no error."""
        cgroup = await self._cgroup(container_id) if writes else None
        if cgroup is not None:
            await self._in_thread(write_resources, cgroup, writes, field)

    async def _write_oom_score(self, container_id: str, score: int) -> None:
        """Change the oom score of a running container's processes; 0 is "not specified" (CRI)."""
        cgroup = await self._cgroup(container_id) if score else None
        if cgroup is not None:
            await self._in_thread(write_oom_score_adj, cgroup, score)

    async def _cgroup(self, container_id: str) -> Cgroup | None:
        """The cgroup of a running container; None if it has ended."""
        inspected = await self._docker.inspect_container(container_id)
        try:
            return process_cgroup(number(inspected, "State", "Pid"), container_id)
        except errors.NotFound:
            return None

    async def stop(self, identifier: str, grace: int) -> None:
        """Stop a container: its stop signal, *grace* seconds, SIGKILL.  Idempotent, also if there is none.

        No lock is held meanwhile: a removal need not wait for a long grace.
        """
        try:
            entry = await self.known(identifier)
            await self._docker.stop_container(entry.id, min(max(grace, 0), LONGEST_GRACE))
            await self._cache.refresh(entry.id)
        except errors.NotFound:
            return

    async def remove(self, identifier: str) -> None:
        """Remove a container, killing it if it runs.  Its log file stays.  Idempotent."""
        try:
            entry = await self.known(identifier)
        except errors.NotFound:
            return
        async with self._locks.hold(entry.id):
            if entry.running:
                # Apart from the removal, so that its log can be read to the end before the engine deletes it.
                await self.stop(entry.id, 0)
            with suppress(errors.NotFound):
                await self._docker.remove_container(entry.id, force=True, volumes=True)
            await self._volumes.release(str(entry.name))
            await self._logs.forget(entry.id)
            await self._cache.refresh(entry.id)

    async def known(self, identifier: str) -> ContainerEntry:
        """The container with this id or id prefix, as it is now.

        :raises NotFound: there is none.
        """
        await self._cache.ready()
        return self._cache.snapshot.container(identifier)

    async def reopen_log(self, identifier: str) -> None:
        """Write to a new file at the container's log path, after somebody has renamed the old one.

        :raises FailedPrecondition: the container does not run, or has no log.
        """
        entry = await self.known(identifier)
        if not entry.running:
            raise errors.FailedPrecondition(f"container {entry.id} is not running")
        if not entry.log_path:
            raise errors.FailedPrecondition(f"container {entry.id} has no log")
        await self._logs.reopen(entry.id)

    async def update(
        self, identifier: str, resources: pb.LinuxContainerResources, annotations: Mapping[str, str]
    ) -> None:
        """Change a container's resources.

        :raises FailedPrecondition: the container has not been started, and what is to change is set at its start by
            what was recorded when it was created.
        """
        entry = await self.known(identifier)
        async with self._locks.hold(entry.id):
            body = update_body(resources, engine=self._engine.facts)
            score = oom_score(resources, "linux", floor=self._engine.oom_score_floor)
            writes = cgroup_writes(resources, "linux", engine=self._engine.facts)
            if entry.state == pb.CONTAINER_CREATED:
                await self._check_recorded(entry, writes, score)
            try:
                if body:
                    await self._docker.update_container(entry.id, body)
                if entry.running:
                    await self._write_cgroup(entry.id, writes, "linux")
                    await self._write_oom_score(entry.id, score)
            finally:
                await self._cache.refresh(entry.id)

    async def _check_recorded(self, entry: ContainerEntry, writes: CgroupWrites, score: int) -> None:
        """Refuse to lose what a container that is not started yet has no place for."""
        host_config = member(await self._docker.inspect_container(entry.id), "HostConfig")
        field = changed_field(entry.cgroup_writes, writes)
        if not field and score and score != number(host_config, "OomScoreAdj"):
            field = "oom_score_adj"
        if field:
            raise errors.FailedPrecondition(f"linux.{field}: cannot be changed before the container is started")


def logged(entry: ContainerEntry) -> LoggedContainer:
    """What the log follower is told of a container."""
    return LoggedContainer(
        container_id=entry.id,
        path=posixpath.normpath(entry.log_path),
        tty=entry.tty,
        engine_path=entry.engine_log_path,
        driver=entry.log_driver,
        running=entry.running,
    )
