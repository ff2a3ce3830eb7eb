"""Namespaces of pods and containers in Docker's words.

A pod's containers share the sandbox's network and IPC namespaces; Docker joins them by ``container:<id>``.  PID is
the pod's choice: shared, each its own, the node's, or that of a target container.  ``NODE`` in a container's own
options must agree with its sandbox, which is where such a namespace comes from.

UTS follows the network: a pod on the node's network without a hostname of its own has the node's.  If it names a
hostname, it gets a UTS namespace and that name.

In Docker the daemon has one user namespace mapping for all containers or none.  A pod that wants its own is refused.
On an engine that remaps (``userns``), host namespaces and privileged containers work in the host's user namespace
only, so all containers of such a pod run there.
"""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument, Unimplemented
from criwist.interfaces.engine import EngineFacts


def node_network(config: pb.PodSandboxConfig) -> bool:
    """Return whether the pod is on the node's network."""
    return config.linux.security_context.namespace_options.network == pb.NODE


def sandbox_namespaces(
    config: pb.PodSandboxConfig, *, network_mode: str, engine: EngineFacts, field: str = "config"
) -> dict[str, str]:
    """Return ``NetworkMode``, ``IpcMode``, ``PidMode``, ``UTSMode`` and ``UsernsMode`` of a sandbox's pause container.

    :param network_mode: for a pod that is not on the node's network.
    :raises InvalidArgument: a mode that a sandbox cannot have.
    :raises Unimplemented: a user namespace of the pod's own.
    """
    options = config.linux.security_context.namespace_options
    path = f"{field}.linux.security_context.namespace_options"
    _check(options.network, f"{path}.network", pb.POD, pb.NODE)
    _check(options.ipc, f"{path}.ipc", pb.POD, pb.NODE)
    _check(options.pid, f"{path}.pid", pb.POD, pb.CONTAINER, pb.NODE)
    if options.target_id:
        raise InvalidArgument(f"{path}.target_id", "a sandbox has no target container")
    check_user_namespace(options, path)
    modes = {
        "NetworkMode": "host" if options.network == pb.NODE else network_mode,
        "IpcMode": "host" if options.ipc == pb.NODE else "shareable",
    }
    if options.pid == pb.NODE:
        modes["PidMode"] = "host"
    if options.network == pb.NODE and not config.hostname:
        modes["UTSMode"] = "host"
    return modes | user_namespace(config, engine)


def container_namespaces(
    options: pb.NamespaceOption,
    sandbox_config: pb.PodSandboxConfig,
    *,
    sandbox_id: str,
    host_network: bool,
    engine: EngineFacts,
    field: str,
) -> dict[str, str]:
    """Return ``NetworkMode``, ``IpcMode``, ``PidMode``, ``UTSMode`` and ``UsernsMode`` of a workload container.

    :param host_network: whether the sandbox really is on the node's network.
    :param field: path of *options* in the request.
    :raises InvalidArgument: a mode that a container cannot have, or another than its sandbox's.
    :raises Unimplemented: a user namespace of the container's own.
    """
    sandbox_options = sandbox_config.linux.security_context.namespace_options
    _check(options.network, f"{field}.network", pb.POD, pb.NODE)
    _check(options.ipc, f"{field}.ipc", pb.POD, pb.NODE)
    if options.network == pb.NODE and not host_network:
        raise InvalidArgument(f"{field}.network", "must be POD, since the sandbox is not on the node's network")
    host_ipc = sandbox_options.ipc == pb.NODE
    if options.ipc == pb.NODE and not host_ipc:
        raise InvalidArgument(f"{field}.ipc", "must be POD, since the sandbox is not in the node's IPC namespace")
    check_user_namespace(options, field)
    modes = {
        "NetworkMode": f"container:{sandbox_id}",
        "IpcMode": "host" if host_ipc else f"container:{sandbox_id}",
        "PidMode": _pid_mode(options, sandbox_id, field),
    }
    if host_network and not sandbox_config.hostname:
        modes["UTSMode"] = "host"
    return {key: mode for key, mode in modes.items() if mode} | user_namespace(sandbox_config, engine, options)


def user_namespace(
    sandbox_config: pb.PodSandboxConfig, engine: EngineFacts, container_options: pb.NamespaceOption | None = None
) -> dict[str, str]:
    """Return ``UsernsMode: host`` for each container of a pod that ``userns-remap`` would keep from running."""
    if "userns" not in engine.security:
        return {}
    context = sandbox_config.linux.security_context
    options = [context.namespace_options, *([container_options] if container_options is not None else [])]
    node = any(pb.NODE in (one.network, one.pid, one.ipc) for one in options)
    return {"UsernsMode": "host"} if node or context.privileged else {}


def check_user_namespace(options: pb.NamespaceOption, field: str) -> None:
    """Refuse a user namespace for one pod.

    :raises InvalidArgument: an unknown mode, or ids mapped into the node's user namespace.
    :raises Unimplemented: the pod wants its own user namespace.
    """
    if not options.HasField("userns_options"):
        return
    path = f"{field}.userns_options"
    mode = options.userns_options.mode
    _check(mode, f"{path}.mode", pb.POD, pb.NODE)
    if mode == pb.POD:
        raise Unimplemented(
            f"{path}.mode: Docker Engine has one user namespace mapping for all containers (userns-remap) and "
            "cannot give a pod its own; the pod must use the node's (hostUsers: true)"
        )
    for name, mappings in (("uids", options.userns_options.uids), ("gids", options.userns_options.gids)):
        if mappings:
            raise InvalidArgument(f"{path}.{name}", "must be empty in the node's user namespace")


def _pid_mode(options: pb.NamespaceOption, sandbox_id: str, field: str) -> str:
    _check(options.pid, f"{field}.pid", pb.POD, pb.CONTAINER, pb.NODE, pb.TARGET)
    if options.target_id and options.pid != pb.TARGET:
        raise InvalidArgument(f"{field}.target_id", "must be empty unless pid is TARGET")
    if options.pid == pb.TARGET:
        if not options.target_id:
            raise InvalidArgument(f"{field}.target_id", "must not be empty when pid is TARGET")
        return f"container:{options.target_id}"
    return {pb.POD: f"container:{sandbox_id}", pb.NODE: "host"}.get(options.pid, "")


def _check(mode: int, field: str, *allowed: int) -> None:
    if mode in allowed:
        return
    names = " or ".join(pb.NamespaceMode.Name(one) for one in allowed)
    known = mode in pb.NamespaceMode.values()
    raise InvalidArgument(field, f"must be {names}, not {pb.NamespaceMode.Name(mode) if known else mode}")
