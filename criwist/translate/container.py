"""A workload container as the body of ``POST /containers/create``.

The caller provides what the request does not contain:

- ``files``: bytes of the files that :func:`needed_files` names (localhost seccomp profiles);
- ``image_mounts``: the places of images that the engine does not mount itself (``mounts.image_mounts_wanted``);
- ``accounts``: the image's accounts, if ``users.accounts_wanted`` (:func:`needs_accounts`);
- directories at missing host paths (``mounts.host_directories``).

Limits that Docker has no field for are written to the cgroup once the container runs: ``cgroup.recorded_writes``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import EngineFacts, JSONObject
from criwist.interfaces.kernel import CgroupWrites
from criwist.labels import container_labels
from criwist.translate.annotations import oci_annotations
from criwist.translate.capabilities import capabilities
from criwist.translate.cgroup import cgroup_label, cgroup_writes
from criwist.translate.devices import devices_body
from criwist.translate.mounts import mounts_body
from criwist.translate.namespaces import container_namespaces
from criwist.translate.resources import cgroup_parent, oom_score, resource_limits
from criwist.translate.sandbox import SHM_SIZE
from criwist.translate.security import container_security_options, needed_profiles
from criwist.translate.signals import docker_signal
from criwist.translate.users import Accounts, accounts_wanted, container_user

_LINUX = "config.linux"
_CONTEXT = f"{_LINUX}.security_context"
_RESOURCES = f"{_LINUX}.resources"


def needed_files(config: pb.ContainerConfig) -> tuple[str, ...]:
    """Return absolute paths of the files whose bytes :func:`container_body` needs."""
    context = config.linux.security_context
    return needed_profiles(context, _CONTEXT, privileged=context.privileged)


def needs_accounts(config: pb.ContainerConfig) -> bool:
    """Return whether :func:`container_body` needs the image's accounts."""
    return accounts_wanted(config.linux.security_context, _CONTEXT)


def log_path(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig) -> str:
    """Return the absolute path of the container's log, ``""`` if it has none."""
    if not (config.log_path and sandbox_config.log_directory):
        return ""
    return posixpath.normpath(f"{sandbox_config.log_directory}/{config.log_path}")


def container_body(
    config: pb.ContainerConfig,
    sandbox_config: pb.PodSandboxConfig,
    *,
    name: str,
    sandbox_id: str,
    host_network: bool,
    runtime: str,
    image: str,
    log_config: JSONObject,
    engine: EngineFacts,
    oom_score_floor: int,
    files: Mapping[str, bytes],
    image_mounts: Mapping[int, str] | None = None,
    accounts: Accounts | None = None,
) -> dict[str, Any]:
    """Return the create body of *config* in the sandbox *sandbox_id*.

    :param name: the container's Docker name.
    :param host_network: whether the sandbox is on the node's network.
    :param runtime: OCI runtime of the sandbox, ``""``: the engine's default.
    :param image: reference or id of the container's image.
    :param log_config: ``HostConfig.LogConfig``; empty: the daemon's.
    :param oom_score_floor: the least oom_score_adj that the engine may set.
    :raises InvalidArgument: the request is wrong in itself.
    :raises FailedPrecondition: this engine cannot do it, or a needed file does not exist.
    :raises Unimplemented: no engine can do it.
    """
    _check(config, sandbox_config)
    context = config.linux.security_context
    resources = config.linux.resources
    user = container_user(context, _CONTEXT, accounts=accounts)
    host_config: dict[str, Any] = {
        "CgroupParent": cgroup_parent(sandbox_config.linux.cgroup_parent, driver=engine.cgroup_driver),
        "OomScoreAdj": oom_score(resources, _RESOURCES, floor=oom_score_floor),
        "RestartPolicy": {"Name": "no"},
        "ShmSize": SHM_SIZE,
        **_present(Runtime=runtime, GroupAdd=user.pop("GroupAdd", None), LogConfig=dict(log_config)),
        **_confinement(config, engine, files),
        **container_namespaces(
            context.namespace_options,
            sandbox_config,
            sandbox_id=sandbox_id,
            host_network=host_network,
            engine=engine,
            field=f"{_CONTEXT}.namespace_options",
        ),
        **resource_limits(resources, _RESOURCES, engine=engine),
        **devices_body(config, "config", engine=engine),
        **mounts_body(config.mounts, "config.mounts", runtime=runtime, engine=engine, image_mounts=image_mounts or {}),
        **oci_annotations(config.annotations, engine=engine),
    }
    writes = cgroup_writes(resources, _RESOURCES, engine=engine)
    labels = _labels(config, name, sandbox_id, log_path(config, sandbox_config), writes)
    return {**_process(config), **user, "Image": image, "Labels": labels, "HostConfig": host_config}


def _labels(config: pb.ContainerConfig, name: str, sandbox_id: str, log: str, writes: CgroupWrites) -> dict[str, str]:
    return container_labels(
        config.labels,
        config.annotations,
        name=name,
        sandbox_id=sandbox_id,
        log_path=log,
        user_image=config.image.user_specified_image,
        cgroup=cgroup_label(writes),
    )


def _present(**members: Any) -> dict[str, Any]:
    """The members that have a value."""
    return {key: value for key, value in members.items() if value}


def _check(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig) -> None:
    if config.linux.security_context.privileged and not sandbox_config.linux.security_context.privileged:
        raise InvalidArgument(f"{_CONTEXT}.privileged", "must not be set in a sandbox that is not privileged")


def _confinement(config: pb.ContainerConfig, engine: EngineFacts, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The members of ``HostConfig`` that set the container's rights.

    A privileged container gets the engine's idea of privileged: all of ``/proc`` and ``/sys``.  For any other the
    security context is complete, and an empty list of masked or read-only paths means none; a request without a
    security context gets the engine's default lists.
    """
    context = config.linux.security_context
    confinement: dict[str, Any] = {
        "Privileged": context.privileged,
        "ReadonlyRootfs": context.readonly_rootfs,
        "SecurityOpt": container_security_options(context, _CONTEXT, engine=engine, files=files),
        **capabilities(context.capabilities, f"{_CONTEXT}.capabilities"),
    }
    if context.privileged and engine.cgroup_version == 2:
        # It sees the whole tree of cgroups, as under other runtimes; on v1 that is the engine's default.
        confinement["CgroupnsMode"] = "host"
    elif config.linux.HasField("security_context") and not context.privileged:
        confinement["MaskedPaths"] = list(context.masked_paths)
        confinement["ReadonlyPaths"] = list(context.readonly_paths)
    return confinement


def _process(config: pb.ContainerConfig) -> dict[str, Any]:
    """The members of the body that describe the first process; a member that is left out is the image's."""
    body: dict[str, Any] = {
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin_once,
        "Tty": config.tty,
    }
    if config.command:
        body["Entrypoint"] = list(config.command)
    if config.args:
        body["Cmd"] = list(config.args)
    if config.envs:
        body["Env"] = [_variable(env, f"config.envs[{index}]") for index, env in enumerate(config.envs)]
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    if signal := docker_signal(config.stop_signal):
        body["StopSignal"] = signal
    return body


def _variable(env: pb.KeyValue, field: str) -> str:
    try:
        return f"{env.key}={env.value.decode('utf-8')}"
    except UnicodeDecodeError:
        raise InvalidArgument(
            f"{field}.value", f"the value of {env.key} is not UTF-8, and the Engine API takes text only"
        ) from None
