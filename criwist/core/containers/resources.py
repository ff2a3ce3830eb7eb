"""Resources that the Engine API has no field for, written to a running container's cgroup and processes."""

from __future__ import annotations

from criwist.core.containers.dependencies import ContainerDependencies
from criwist.interfaces.kernel import CgroupWrites
from criwist.translate.engine_json import number


async def write_cgroup(deps: ContainerDependencies, container_id: str, writes: CgroupWrites, path: str) -> None:
    """Write to a container's cgroup; a container that has ended is no error.

    :param path: the request's field that asks for *writes*, for errors.
    """
    if writes:
        await deps.processes.write_resources(await _pid(deps, container_id), container_id, writes, path)


async def write_oom_score(deps: ContainerDependencies, container_id: str, score: int) -> None:
    """Change the oom_score_adj of a running container's processes; 0 means "not specified" (CRI)."""
    if score:
        await deps.processes.write_oom_score_adj(await _pid(deps, container_id), container_id, score)


async def _pid(deps: ContainerDependencies, container_id: str) -> int:
    return number(await deps.docker.inspect_container(container_id), "State", "Pid")
