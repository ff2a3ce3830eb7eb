"""Checks that refuse a wrong request before criwist acts on it.

:func:`check_request` applies the rules for every message (``message_rules``) and those of the request's RPC.  This
module checks names, identifiers, log paths and all else that leaves the request as text: Docker names that are parsed
back, lines of resolv.conf, paths of Engine API requests.  Sections with a meaning of their own for Docker - security
contexts, resources, mounts, devices - are checked by the modules that translate them, which happens before the first
call to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.translate import field_rules
from criwist.translate.message_rules import check_message, quoted

#: A runtime handler of this name is the engine's default runtime, as it was for the older shims.
DEFAULT_ALIAS = "docker"


def check_request(request: Message) -> None:
    """Refuse a request that is wrong in every state of the node.

    For a request type without rules of its own, only the rules for every message apply.

    :raises InvalidArgument: with the path of the first wrong field.
    """
    check_message(request)
    rules = _RULES.get(type(request))
    if rules is not None:
        rules(request)


def runtime_handler(name: str, facts: EngineFacts) -> str:
    """Return the engine's name of the OCI runtime that a runtime handler stands for.

    ``""`` is the engine's default, and so is ``docker`` unless the engine has a runtime of that name.

    :raises InvalidArgument: the engine has no such runtime; the text lists those it has.
    """
    if name in facts.runtimes:
        return name
    if name in ("", DEFAULT_ALIAS):
        return facts.default_runtime
    known = ", ".join(sorted({DEFAULT_ALIAS, facts.default_runtime, *facts.runtimes}))
    raise InvalidArgument("runtime_handler", f"the engine has no runtime {quoted(name)}; it has {known}")


# -- Sandboxes -----------------------------------------------------------------------------------------------


def _run_pod_sandbox(request: pb.RunPodSandboxRequest) -> None:
    _present(request, "config")
    _sandbox_config(request.config, "config")


def _sandbox_config(config: pb.PodSandboxConfig, path: str) -> None:
    _present(config, "metadata", path)
    for name in ("name", "namespace", "uid"):
        field_rules.name_part(getattr(config.metadata, name), f"{path}.metadata.{name}")
    field_rules.hostname(config.hostname, f"{path}.hostname")
    if config.log_directory:
        field_rules.absolute_path(config.log_directory, f"{path}.log_directory")
    for where, server in _numbered(config.dns_config.servers, f"{path}.dns_config.servers"):
        field_rules.ip_address(server, where)
    for name in ("searches", "options"):
        for where, word in _numbered(getattr(config.dns_config, name), f"{path}.dns_config.{name}"):
            field_rules.resolver_word(word, where)
    for where, mapping in _numbered(config.port_mappings, f"{path}.port_mappings"):
        _port_mapping(mapping, where)
    _labels(config.labels, labels.RESERVED | {labels.CONTAINER_NAME}, f"{path}.labels")
    field_rules.stays_beneath(config.linux.cgroup_parent, f"{path}.linux.cgroup_parent")


def _port_mapping(mapping: pb.PortMapping, path: str) -> None:
    field_rules.port(mapping.container_port, f"{path}.container_port")
    field_rules.in_range(mapping.host_port, f"{path}.host_port", 0, field_rules.MAX_PORT)
    if mapping.host_ip:
        field_rules.ip_address(mapping.host_ip, f"{path}.host_ip")


def _labels(given: Mapping[str, str], reserved: Iterable[str], path: str) -> None:
    """Docker keeps CRI labels beside criwist's own, which a request must not overwrite."""
    for key in sorted(set(given).intersection(reserved)):
        raise InvalidArgument(f"{path}[{quoted(key)}]", "is one of criwist's own labels")


# -- Containers ----------------------------------------------------------------------------------------------


def _create_container(request: pb.CreateContainerRequest) -> None:
    field_rules.identifier(request.pod_sandbox_id, "pod_sandbox_id")
    for name in ("config", "sandbox_config"):
        _present(request, name)
    _container_config(request.config, "config")
    _sandbox_config(request.sandbox_config, "sandbox_config")


def _container_config(config: pb.ContainerConfig, path: str) -> None:
    _present(config, "metadata", path)
    field_rules.name_part(config.metadata.name, f"{path}.metadata.name")
    if config.metadata.name == labels.SANDBOX_CONTAINER_NAME:
        raise InvalidArgument(f"{path}.metadata.name", "is the name of a sandbox's own container")
    field_rules.image_name(config.image.image, f"{path}.image.image")
    if config.working_dir:
        field_rules.absolute_path(config.working_dir, f"{path}.working_dir")
    field_rules.relative_path(config.log_path, f"{path}.log_path")
    for where, variable in _numbered(config.envs, f"{path}.envs"):
        _environment_variable(variable, where)
    for where, mount in _numbered(config.mounts, f"{path}.mounts"):
        field_rules.absolute_path(mount.container_path, f"{where}.container_path")
        field_rules.path_length(mount.host_path, f"{where}.host_path")
    _labels(config.labels, labels.RESERVED, f"{path}.labels")


def _environment_variable(variable: pb.KeyValue, path: str) -> None:
    field_rules.not_empty(variable.key, f"{path}.key")
    if "=" in variable.key:
        raise InvalidArgument(f"{path}.key", f"must not contain '=': {quoted(variable.key)}")
    try:
        variable.value.decode("utf-8")
    except UnicodeDecodeError:
        # KeyValue.value is bytes, but the Engine API is JSON.
        raise InvalidArgument(f"{path}.value", "is not UTF-8, which the Engine API requires") from None


def _stop_container(request: pb.StopContainerRequest) -> None:
    # Any timeout: Kubernetes lets a pod ask for any grace, and kubelets send a negative one, which is none, to evict.
    field_rules.identifier(request.container_id, "container_id")


def _update_container_resources(request: pb.UpdateContainerResourcesRequest) -> None:
    field_rules.identifier(request.container_id, "container_id")
    _present(request, "linux")


def _checkpoint_container(request: pb.CheckpointContainerRequest) -> None:
    field_rules.identifier(request.container_id, "container_id")
    field_rules.absolute_path(request.location, "location")
    field_rules.in_range(request.timeout, "timeout", 0, field_rules.MAX_SECONDS)


# -- Exec, attach, port-forward ------------------------------------------------------------------------------


def _exec_sync(request: pb.ExecSyncRequest) -> None:
    field_rules.identifier(request.container_id, "container_id")
    field_rules.command(request.cmd)
    field_rules.in_range(request.timeout, "timeout", 0, field_rules.MAX_SECONDS)


def _exec(request: pb.ExecRequest) -> None:
    field_rules.identifier(request.container_id, "container_id")
    field_rules.command(request.cmd)
    _streams(request)


def _attach(request: pb.AttachRequest) -> None:
    field_rules.identifier(request.container_id, "container_id")
    _streams(request)


def _streams(request: pb.ExecRequest | pb.AttachRequest) -> None:
    field_rules.streams(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)


def _port_forward(request: pb.PortForwardRequest) -> None:
    field_rules.identifier(request.pod_sandbox_id, "pod_sandbox_id")
    for where, port in _numbered(request.port, "port"):
        field_rules.port(port, where)


# -- Images, the node ----------------------------------------------------------------------------------------


def _named_image(request: pb.PullImageRequest | pb.ImageStatusRequest | pb.RemoveImageRequest) -> None:
    # PullImage's sandbox_config says nothing about the pull, and clients send it empty.
    field_rules.image_name(request.image.image, "image.image")


def _update_runtime_config(request: pb.UpdateRuntimeConfigRequest) -> None:
    field_rules.pod_cidr(request.runtime_config.network_config.pod_cidr, "runtime_config.network_config.pod_cidr")


# -- All -----------------------------------------------------------------------------------------------------


def _sandbox_named(request: Any) -> None:
    field_rules.identifier(request.pod_sandbox_id, "pod_sandbox_id")


def _container_named(request: Any) -> None:
    field_rules.identifier(request.container_id, "container_id")


def _present(message: Message, name: str, path: str = "") -> None:
    if not message.HasField(name):
        raise InvalidArgument(f"{path}.{name}" if path else name, "must be set")


def _numbered(values: Iterable[Any], path: str) -> Iterable[tuple[str, Any]]:
    return ((f"{path}[{index}]", value) for index, value in enumerate(values))


_RULES: Mapping[type[Message], Callable[[Any], None]] = {
    pb.RunPodSandboxRequest: _run_pod_sandbox,
    pb.StopPodSandboxRequest: _sandbox_named,
    pb.RemovePodSandboxRequest: _sandbox_named,
    pb.PodSandboxStatusRequest: _sandbox_named,
    pb.PodSandboxStatsRequest: _sandbox_named,
    pb.UpdatePodSandboxResourcesRequest: _sandbox_named,
    pb.CreateContainerRequest: _create_container,
    pb.StartContainerRequest: _container_named,
    pb.StopContainerRequest: _stop_container,
    pb.RemoveContainerRequest: _container_named,
    pb.ContainerStatusRequest: _container_named,
    pb.UpdateContainerResourcesRequest: _update_container_resources,
    pb.ReopenContainerLogRequest: _container_named,
    pb.ContainerStatsRequest: _container_named,
    pb.CheckpointContainerRequest: _checkpoint_container,
    pb.ExecSyncRequest: _exec_sync,
    pb.ExecRequest: _exec,
    pb.AttachRequest: _attach,
    pb.PortForwardRequest: _port_forward,
    pb.ImageStatusRequest: _named_image,
    pb.PullImageRequest: _named_image,
    pb.RemoveImageRequest: _named_image,
    pb.UpdateRuntimeConfigRequest: _update_runtime_config,
}
