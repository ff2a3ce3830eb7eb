"""UpdateContainerResources."""

from __future__ import annotations

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.resources import write_cgroup, write_oom_score
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.kernel import CgroupWrites
from criwist.translate.cgroup import cgroup_writes, changed_field
from criwist.translate.engine_json import member, number
from criwist.translate.resources import oom_score, update_body


async def update_container(deps: ContainerDependencies, identifier: str, resources: pb.LinuxContainerResources) -> None:
    """See :meth:`Containers.update`."""
    entry = await deps.known(identifier)
    async with deps.locks.hold(entry.id):
        body = update_body(resources, engine=deps.engine.facts)
        score = oom_score(resources, "linux", floor=deps.engine.oom_score_floor)
        writes = cgroup_writes(resources, "linux", engine=deps.engine.facts)
        if entry.state == pb.CONTAINER_CREATED:
            await _check_recorded(deps, entry, writes, score)
        try:
            if body:
                await deps.docker.update_container(entry.id, body)
            if entry.running:
                await write_cgroup(deps, entry.id, writes, "linux")
                await write_oom_score(deps, entry.id, score)
        finally:
            await deps.cache.refresh(entry.id)


async def _check_recorded(deps: ContainerDependencies, entry: ContainerEntry, writes: CgroupWrites, score: int) -> None:
    """Reject a change that a container which is not started yet could not keep."""
    host_config = member(await deps.docker.inspect_container(entry.id), "HostConfig")
    field = changed_field(entry.cgroup_writes, writes)
    if not field and score and score != number(host_config, "OomScoreAdj"):
        field = "oom_score_adj"
    if field:
        raise errors.FailedPrecondition(f"linux.{field}: cannot be changed before the container is started")
