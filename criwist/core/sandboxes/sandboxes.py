"""Sandboxes: a pause container, its network, its record.

RunPodSandbox is a plan of steps, each with its undoing; a step that fails, or a caller who goes away, undoes what
was done, latest first, and nothing is left: no container, no network, no record.

    pause image → container created → record written → container started → resolv.conf → network → record

The record is written before the network is asked for, so that whatever ends us in between finds it at the next
start and releases what a plugin may have taken.  A sandbox is reported ready only when its record holds a network
that stands and its pause runs; StopPodSandbox writes "stopped" into the record first, so that no restart of the
pause makes the pod look ready again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from attrs import define, evolve
from twisted.logger import Logger

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.host_files import make_directory, read_files
from criwist.core.name_conflict import create_named
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import SandboxEntry
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.undo import Undo, all_or_nothing, in_parallel
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.interfaces.network import IPodNetwork, PodNetworkRequest
from criwist.interfaces.records import ISandboxRecords, SandboxRecord
from criwist.locks import Locks
from criwist.names import sandbox_name
from criwist.network.resolvconf import ResolvConfs
from criwist.translate.namespaces import node_network
from criwist.translate.pod_network import network_request
from criwist.translate.request_rules import runtime_handler
from criwist.translate.sandbox import needed_files, sandbox_body

#: Seconds the pause has between SIGTERM and SIGKILL.  Ours ends at once; another image's may not.
PAUSE_GRACE = 10
#: There where the kernel has IPv6.
IPV6_SETTINGS = "/proc/sys/net/ipv6"


@define(eq=False)
class Sandboxes:
    """What RunPodSandbox, StopPodSandbox and RemovePodSandbox do.

    :param pause_image: makes sure of the pause image and returns its reference.
    :param remove_container: removes a container of a pod with all that belongs to it.
    """

    _docker: IDocker
    _cache: Cache
    _engine: EngineProfile
    _records: ISandboxRecords
    _networks: PodNetworks
    _locks: Locks
    _pause_image: Callable[[], Awaitable[str]]
    _remove_container: Callable[[str], Coroutine[Any, Any, None]]
    _resolv_confs: ResolvConfs
    _log = Logger()

    # -- RunPodSandbox

    async def run(self, config: pb.PodSandboxConfig, handler: str) -> str:
        """Make a sandbox and its network; returns its id.

        :raises AlreadyExists: a sandbox of that name and attempt is ready.
        """
        await self._cache.ready()
        runtime = runtime_handler(handler, self._engine.facts)
        metadata = config.metadata
        name = str(sandbox_name(metadata.name, metadata.namespace, metadata.uid, metadata.attempt))
        async with self._locks.hold(name):
            return await all_or_nothing(lambda undo: self._run(undo, config, name, handler, runtime))

    async def _run(self, undo: Undo, config: pb.PodSandboxConfig, name: str, handler: str, runtime: str) -> str:
        network = self._networks.for_new(host=node_network(config))
        files = read_files(needed_files(config))
        if config.log_directory:
            make_directory(config.log_directory, field="config.log_directory")
        sandbox_id = await self._start_pause(undo, config, name, handler, runtime, network, files)
        pause = await self._docker.inspect_container(sandbox_id)
        self._resolv_confs.write(config.dns_config, pause)
        request = network_request(sandbox_id, config)
        stands = await network.set_up(request, pause)
        undo.push(f"tear down the network of sandbox {sandbox_id}", lambda: network.tear_down(request, stands, pause))
        record = self._records.load(sandbox_id)
        if record is None:
            raise errors.Internal(f"the record of sandbox {sandbox_id} was removed while it was being made")
        self._records.save(evolve(record, network=stands))
        await self._cache.refresh(sandbox_id)
        entry = self._cache.snapshot.sandboxes.get(sandbox_id)
        if entry is None or not entry.ready:
            raise errors.EngineFailure(f"sandbox {sandbox_id} ended as soon as it had been started")
        return sandbox_id

    async def _start_pause(
        self,
        undo: Undo,
        config: pb.PodSandboxConfig,
        name: str,
        handler: str,
        runtime: str,
        network: IPodNetwork,
        files: Mapping[str, bytes],
    ) -> str:
        image = await self._pause_image()
        while True:
            attempt = Undo()
            body = sandbox_body(
                config,
                image=image,
                runtime=runtime,
                network_mode=network.docker_network_mode,
                publish_ports=network.publishes_ports,
                ipv6=os.path.isdir(IPV6_SETTINGS),
                engine=self._engine.facts,
                oom_score_floor=self._engine.oom_score_floor,
                files=files,
            )
            try:
                sandbox_id = await self._create_and_start(attempt, config, name, handler, network, body)
            except errors.CriwistError as error:
                await attempt.unwind()
                if self._engine.raise_oom_score_floor(error, int(body["HostConfig"].get("OomScoreAdj") or 0)):
                    continue
                raise
            except Exception:
                await attempt.unwind()
                raise
            undo.push(f"remove sandbox {sandbox_id}", attempt.unwind)
            return sandbox_id

    async def _create_and_start(
        self,
        undo: Undo,
        config: pb.PodSandboxConfig,
        name: str,
        handler: str,
        network: IPodNetwork,
        body: JSONObject,
    ) -> str:
        sandbox_id = await create_named(self._docker, name, body, self._may_go)

        async def remove() -> None:
            # The record goes last, and only if the pause does: a sandbox without one would pass for another shim's,
            # whose word is its pause's.
            try:
                await self._docker.remove_container(sandbox_id, force=True, volumes=True)
            except errors.NotFound:
                self._log.debug("sandbox {sandbox} is gone already", sandbox=sandbox_id)
            self._resolv_confs.forget(sandbox_id)
            self._records.remove(sandbox_id)
            await self._cache.refresh(sandbox_id)

        undo.push(f"remove sandbox {sandbox_id}", remove)
        self._records.save(
            SandboxRecord(
                sandbox_id=sandbox_id,
                request=network_request(sandbox_id, config),
                network_plugin=network.name,
                host_network=node_network(config),
                runtime_handler=handler,
                log_directory=config.log_directory,
                hostname=config.hostname,
                shared_pid=config.linux.security_context.namespace_options.pid == pb.POD,
            ),
            durable=False,  # should the machine go down now, no pod is left that it would speak of
        )
        await self._docker.start_container(sandbox_id)
        return sandbox_id

    async def _may_go(self, holder: str) -> bool:
        """Whether the sandbox that holds a wanted name is a leftover; if so its network is released."""
        await self._cache.refresh(holder)
        entry = self._cache.snapshot.sandboxes.get(holder)
        if entry is not None and entry.ready:
            return False
        await self._release(holder, entry)
        self._records.remove(holder)
        return True

    # -- StopPodSandbox

    async def stop(self, identifier: str) -> None:
        """Stop every container of the pod, release its network, stop the pause.  Idempotent."""
        await self._cache.ready()
        entry = self._known(identifier)
        sandbox_id = entry.id if entry else identifier
        async with self._locks.hold(sandbox_id):
            await self._stop(sandbox_id)

    async def _stop(self, sandbox_id: str) -> None:
        running = [one.id for one in self._cache.snapshot.containers_of(sandbox_id) if one.running]
        await in_parallel(*(self._kill(container_id) for container_id in running))
        entry = self._cache.snapshot.sandboxes.get(sandbox_id)
        network_error: errors.CriwistError | None = None
        try:
            await self._release(sandbox_id, entry)
        except errors.CriwistError as error:
            network_error = error
        # The pause is stopped whatever became of the network: a pod that cannot be stopped blocks its node.
        try:
            await self._docker.stop_container(sandbox_id, PAUSE_GRACE)
        except errors.NotFound:
            self._log.debug("sandbox {sandbox} is gone already", sandbox=sandbox_id)
        await self._cache.refresh(sandbox_id)
        if network_error is not None:
            raise network_error

    async def _kill(self, container_id: str) -> None:
        try:
            await self._docker.stop_container(container_id, 0)
        except errors.NotFound:
            return
        await self._cache.refresh(container_id)

    async def _release(self, sandbox_id: str, entry: SandboxEntry | None) -> None:
        """Tear the network down as the record says; mark the record as stopped."""
        record = self._records.load(sandbox_id)
        if record is None and entry is None:
            return
        if record is not None and not record.stopped:
            record = evolve(record, stopped=True)
            self._records.save(record)
        try:
            pause: JSONObject | None = await self._docker.inspect_container(sandbox_id)
        except errors.NotFound:
            pause = None
        provider = self._networks.recorded(record, entry.network_mode if entry else "none")
        request = record.request if record else _request_of(entry)
        await provider.tear_down(request, record.network if record else None, pause)

    # -- RemovePodSandbox

    async def remove(self, identifier: str) -> None:
        """Stop what still runs, then remove the containers, the sandbox and its record.  Idempotent."""
        await self._cache.ready()
        entry = self._known(identifier)
        sandbox_id = entry.id if entry else identifier
        async with self._locks.hold(sandbox_id):
            record = self._records.load(sandbox_id)
            if entry is None and record is None:
                return
            if entry is not None and (entry.running or record is None or not record.stopped):
                await self._stop(sandbox_id)
            elif entry is None:
                await self._release(sandbox_id, None)
            containers = self._cache.snapshot.containers_of(sandbox_id)
            await in_parallel(*(self._remove_container(one.id) for one in containers))
            try:
                await self._docker.remove_container(sandbox_id, force=True, volumes=True)
            except errors.NotFound:
                self._log.debug("sandbox {sandbox} is gone already", sandbox=sandbox_id)
            self._resolv_confs.forget(sandbox_id)
            self._records.remove(sandbox_id)
            await self._cache.refresh(sandbox_id)

    async def note_resources(self, identifier: str) -> None:
        """A pod's resources changed; its cgroup is kubelet's, and there is nothing for us to do but know the pod."""
        await self._cache.ready()
        self._cache.snapshot.sandbox(identifier)

    def _known(self, identifier: str) -> SandboxEntry | None:
        try:
            return self._cache.snapshot.sandbox(identifier)
        except errors.NotFound:
            return None


def _request_of(entry: SandboxEntry | None) -> PodNetworkRequest:
    """The teardown request of a pod that another shim made: all that its name tells."""
    if entry is None:
        raise errors.Internal("a sandbox with neither record nor container has no network to release")
    return PodNetworkRequest(entry.id, entry.name.pod, entry.name.namespace, entry.name.uid)
