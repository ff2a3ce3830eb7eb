"""CreateContainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.unavailable_capabilities import create_without
from criwist.core.host_files import make_missing_directories, read_files
from criwist.core.name_conflict import create_named
from criwist.core.state.entries import SandboxEntry
from criwist.core.undo import Undo, all_or_nothing
from criwist.engine_differences import IMAGE_MOUNTS
from criwist.interfaces.network import RESOLV_CONF
from criwist.names import ContainerName
from criwist.translate.container import container_body, needed_files, needs_accounts
from criwist.translate.mounts import host_directories, image_mounts_wanted


@frozen(kw_only=True)
class _ContainerPlan:
    """The container that one CreateContainer makes."""

    #: The Docker name.
    name: str
    sandbox: SandboxEntry
    config: pb.ContainerConfig
    sandbox_config: pb.PodSandboxConfig
    #: The host's files that the configuration names.
    files: Mapping[str, bytes]


async def create_container(
    deps: ContainerDependencies, sandbox_id: str, config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig
) -> str:
    """See :meth:`Containers.create`."""
    await deps.cache.ready()
    sandbox = deps.cache.snapshot.sandbox(sandbox_id)
    if not sandbox.ready:
        raise errors.FailedPrecondition(f"sandbox {sandbox.id} is not ready")
    pod, metadata = sandbox.name, config.metadata
    name = str(ContainerName(metadata.name, pod.pod, pod.namespace, pod.uid, metadata.attempt))
    async with deps.locks.hold(name):
        files = read_files(needed_files(config))
        plan = _ContainerPlan(name=name, sandbox=sandbox, config=config, sandbox_config=sandbox_config, files=files)
        return await all_or_nothing(lambda undo: _create(deps, undo, plan))


async def _create(deps: ContainerDependencies, undo: Undo, plan: _ContainerPlan) -> str:
    make_missing_directories(host_directories(plan.config, engine=deps.engine.facts), field="config.mounts")
    undo.push(f"unmount the image volumes of {plan.name}", lambda: deps.image_volumes.release(plan.name))
    body = await _body(deps, plan, await _mount_images(deps, plan))
    _mount_resolv_conf(deps, body, plan.sandbox.id)
    container_id = await create_without(
        body, lambda: create_named(deps.docker, plan.name, body, lambda holder: _is_stale(deps, holder))
    )
    await deps.cache.refresh(container_id)
    return container_id


async def _body(deps: ContainerDependencies, plan: _ContainerPlan, image_mounts: dict[int, str]) -> dict[str, Any]:
    config, sandbox = plan.config, plan.sandbox
    return container_body(
        config,
        plan.sandbox_config,
        name=plan.name,
        sandbox_id=sandbox.id,
        host_network=sandbox.host_network,
        runtime=sandbox.runtime,
        image=config.image.image,
        log_config=deps.logs.container_options(),
        engine=deps.engine.facts,
        oom_score_floor=deps.engine.oom_score_floor,
        files=plan.files,
        image_mounts=image_mounts,
        accounts=await deps.image_users.of(config.image.image) if needs_accounts(config) else None,
    )


async def _mount_images(deps: ContainerDependencies, plan: _ContainerPlan) -> dict[int, str]:
    """Mount the image volumes, or check that the engine can; return by mount the host path, or the image's id."""
    mounts: dict[int, str] = {}
    for index, mount in image_mounts_wanted(plan.config).items():
        image_id, sub_path = _image_id(deps, mount.image.image), mount.image_sub_path
        if not IMAGE_MOUNTS.supported_by(deps.engine.facts):
            mounts[index] = await deps.image_volumes.prepare(plan.name, index, image_id, sub_path)
        elif sub_path and not await deps.image_files.has(image_id, sub_path):
            # The engine would report it only when the container starts.
            raise errors.InvalidArgument(f"config.mounts[{index}].image_sub_path", f"{sub_path!r} is not in the image")
        else:
            mounts[index] = image_id
    return mounts


def _image_id(deps: ContainerDependencies, reference: str) -> str:
    found = deps.images.snapshot.find(reference)
    if found is None:
        raise errors.NotFound("image", reference)
    return found.id


def _mount_resolv_conf(deps: ContainerDependencies, body: dict[str, Any], sandbox_id: str) -> None:
    path = deps.resolv_confs.path(sandbox_id)
    mounts = body["HostConfig"].setdefault("Mounts", [])
    if path and all(mount["Target"] != RESOLV_CONF for mount in mounts):
        read_only = bool(body["HostConfig"].get("ReadonlyRootfs"))
        mounts.append({"Type": "bind", "Source": path, "Target": RESOLV_CONF, "ReadOnly": read_only})


async def _is_stale(deps: ContainerDependencies, holder: str) -> bool:
    """Return whether the container that holds a requested name may be removed: it is not running."""
    await deps.cache.refresh(holder)
    entry = deps.cache.snapshot.containers.get(holder)
    return entry is None or not entry.running
