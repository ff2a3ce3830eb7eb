"""RunPodSandbox.

The steps, in order.  A step that fails, or a caller that cancels, undoes the earlier ones, latest first, and leaves
nothing: no container, no network, no record.

    pause image → container created → record written → container started → resolv.conf → network → record

The record is written before the network is set up.  If criwist is killed in between, the next start finds the record
and releases what a plugin may have allocated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.host_files import make_directory, read_files
from criwist.core.name_conflict import create_named
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.release import release_network, remove_pause
from criwist.core.undo import Undo, all_or_nothing
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import IPodNetwork
from criwist.interfaces.records import SandboxRecord
from criwist.names import sandbox_name
from criwist.translate.engine_json import text
from criwist.translate.namespaces import node_network
from criwist.translate.pod_network import network_request
from criwist.translate.request_rules import runtime_handler
from criwist.translate.sandbox import needed_files, sandbox_body

#: Exists where the kernel has IPv6.
IPV6_SETTINGS = "/proc/sys/net/ipv6"


@frozen(kw_only=True)
class _SandboxPlan:
    """The sandbox that one RunPodSandbox makes."""

    #: The Docker name.
    name: str
    config: pb.PodSandboxConfig
    #: The runtime handler, as requested, and the engine's runtime that it stands for.
    handler: str
    runtime: str
    network: IPodNetwork
    #: The host's files that the configuration names.
    files: Mapping[str, bytes]

    def record(self, sandbox_id: str) -> SandboxRecord:
        """Return the sandbox's record before its network is set up."""
        config = self.config
        return SandboxRecord(
            sandbox_id=sandbox_id,
            request=network_request(sandbox_id, config),
            network_plugin=self.network.name,
            host_network=node_network(config),
            runtime_handler=self.handler,
            log_directory=config.log_directory,
            hostname=config.hostname,
            shared_pid=config.linux.security_context.namespace_options.pid == pb.POD,
        )


async def run_sandbox(deps: SandboxDependencies, config: pb.PodSandboxConfig, handler: str) -> str:
    """See :meth:`Sandboxes.run`."""
    await deps.cache.ready()
    runtime = runtime_handler(handler, deps.engine.facts)
    metadata = config.metadata
    name = str(sandbox_name(metadata.name, metadata.namespace, metadata.uid, metadata.attempt))
    async with deps.locks.hold(name):
        plan = _SandboxPlan(
            name=name,
            config=config,
            handler=handler,
            runtime=runtime,
            network=deps.networks.for_new(host=node_network(config)),
            files=read_files(needed_files(config)),
        )
        return await all_or_nothing(lambda undo: _run(deps, undo, plan))


async def _run(deps: SandboxDependencies, undo: Undo, plan: _SandboxPlan) -> str:
    if plan.config.log_directory:
        make_directory(plan.config.log_directory, field="config.log_directory")
    sandbox_id = await _start_pause(deps, undo, plan)
    await _set_up_network(deps, undo, plan, sandbox_id)
    await deps.cache.refresh(sandbox_id)
    entry = deps.cache.snapshot.sandboxes.get(sandbox_id)
    if entry is None or not entry.ready:
        raise errors.EngineFailure(f"sandbox {sandbox_id} ended as soon as it had been started")
    return sandbox_id


async def _start_pause(deps: SandboxDependencies, undo: Undo, plan: _SandboxPlan) -> str:
    """Create and start the pause; again, if the engine turns out to be unable to set the oom_score_adj."""
    image = await deps.pause_image.ensure()
    while True:
        attempt = Undo()
        body = _pause_body(deps, plan, image)
        try:
            sandbox_id = await _create_and_start(deps, attempt, plan, body)
        except errors.CriwistError as error:
            await attempt.unwind()
            if deps.engine.raise_oom_score_floor(error, int(body["HostConfig"].get("OomScoreAdj") or 0)):
                continue
            raise
        except Exception:
            await attempt.unwind()
            raise
        undo.push(f"remove sandbox {sandbox_id}", attempt.unwind)
        return sandbox_id


def _pause_body(deps: SandboxDependencies, plan: _SandboxPlan, image: str) -> dict[str, Any]:
    return sandbox_body(
        plan.config,
        name=plan.name,
        image=image,
        runtime=plan.runtime,
        network_mode=plan.network.docker_network_mode,
        publish_ports=plan.network.publishes_ports,
        ipv6=os.path.isdir(IPV6_SETTINGS),
        engine=deps.engine.facts,
        oom_score_floor=deps.engine.oom_score_floor,
        files=plan.files,
    )


async def _create_and_start(deps: SandboxDependencies, undo: Undo, plan: _SandboxPlan, body: JSONObject) -> str:
    sandbox_id = await create_named(deps.docker, plan.name, body, lambda holder: _release_stale(deps, holder))
    undo.push(f"remove sandbox {sandbox_id}", lambda: remove_pause(deps, sandbox_id))
    # Not durable: if the machine goes down now, the pod is gone too.
    deps.records.save(plan.record(sandbox_id), durable=False)
    await deps.docker.start_container(sandbox_id)
    return sandbox_id


async def _release_stale(deps: SandboxDependencies, holder: str) -> bool:
    """Release the network of the sandbox that holds a requested name; return False if that sandbox is ready."""
    await deps.cache.refresh(holder)
    entry = deps.cache.snapshot.sandboxes.get(holder)
    if entry is not None and entry.ready:
        return False
    await release_network(deps, holder, entry)
    deps.records.remove(holder)
    return True


async def _set_up_network(deps: SandboxDependencies, undo: Undo, plan: _SandboxPlan, sandbox_id: str) -> None:
    """Set up the network of the running pause; write it into the record."""
    pause = await deps.docker.inspect_container(sandbox_id)
    deps.resolv_confs.write(plan.config.dns_config, pause)
    request = network_request(sandbox_id, plan.config)
    network = await plan.network.set_up(request, pause)
    undo.push(f"tear down the network of sandbox {sandbox_id}", lambda: plan.network.tear_down(request, network, pause))
    record = deps.records.load(sandbox_id)  # StopPodSandbox may have marked it as stopped meanwhile
    if record is None:
        raise errors.Internal(f"the record of sandbox {sandbox_id} was removed while the sandbox was being made")
    deps.records.save(evolve(record, network=network, started_at=text(pause, "State", "StartedAt")))
