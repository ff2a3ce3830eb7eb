"""A pod sandbox as the body of ``POST /containers/create``.

The sandbox is a pause container: it holds the namespaces that the pod's containers share, and with them the pod's
hostname, sysctls, ``/dev/shm`` and, where the engine publishes them, host ports.

The pause container is never privileged.  A pod's ``privileged`` allows its containers to be (see ``container``); the
pause program needs no rights for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import EngineFacts
from criwist.labels import sandbox_labels
from criwist.translate.annotations import oci_annotations
from criwist.translate.namespaces import node_network, sandbox_namespaces
from criwist.translate.resources import (
    SANDBOX_CPU_SHARES,
    SANDBOX_OOM_SCORE,
    cgroup_parent,
    clamped_oom_score,
)
from criwist.translate.security import needed_profiles, sandbox_security_options
from criwist.translate.users import sandbox_user

#: Bytes of /dev/shm, which all containers of the pod share; dockershim's value.
SHM_SIZE = 64 * 1024 * 1024

_PROTOCOLS = {pb.TCP: "tcp", pb.UDP: "udp", pb.SCTP: "sctp"}
_CONTEXT = "config.linux.security_context"
_IPV6_ON = {f"net.ipv6.conf.{name}.disable_ipv6": "0" for name in ("all", "default")}


def needed_files(config: pb.PodSandboxConfig) -> tuple[str, ...]:
    """Return absolute paths of the files whose bytes :func:`sandbox_body` needs."""
    return needed_profiles(config.linux.security_context, _CONTEXT, privileged=False)


def sandbox_body(
    config: pb.PodSandboxConfig,
    *,
    name: str,
    image: str,
    runtime: str,
    network_mode: str,
    publish_ports: bool,
    engine: EngineFacts,
    oom_score_floor: int,
    files: Mapping[str, bytes],
    ipv6: bool = False,
) -> dict[str, Any]:
    """Return the create body of the pause container of *config*.

    :param name: the sandbox's Docker name.
    :param image: reference of the pause image.
    :param runtime: OCI runtime, ``""``: the engine's default.
    :param network_mode: Docker network of a pod that is not on the node's.
    :param publish_ports: whether the engine is to publish the pod's host ports.
    :param oom_score_floor: the least oom_score_adj that the engine may set.
    :param files: bytes of the :func:`needed_files` that exist.
    :param ipv6: whether the engine's kernel has IPv6.
    :raises InvalidArgument: the request is wrong in itself.
    :raises FailedPrecondition: this engine cannot do it, or a needed file does not exist.
    :raises Unimplemented: no engine can do it.
    """
    context = config.linux.security_context
    user = sandbox_user(context, _CONTEXT)
    sysctls = _sysctls(config, network_mode=network_mode, ipv6=ipv6)
    ports = _port_bindings(config.port_mappings if publish_ports and not node_network(config) else ())
    host_config: dict[str, Any] = {
        "CgroupParent": cgroup_parent(config.linux.cgroup_parent, driver=engine.cgroup_driver),
        "CpuShares": SANDBOX_CPU_SHARES,
        # The daemon may wrap an init around containers, but the pause program reaps the pod's orphans itself.
        "Init": False,
        "OomScoreAdj": clamped_oom_score(SANDBOX_OOM_SCORE, oom_score_floor),
        "ReadonlyRootfs": context.readonly_rootfs,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": sandbox_security_options(context, _CONTEXT, engine=engine, files=files),
        "ShmSize": SHM_SIZE,
        **({"Runtime": runtime} if runtime else {}),
        **({"GroupAdd": user.pop("GroupAdd")} if "GroupAdd" in user else {}),
        **({"Sysctls": sysctls} if sysctls else {}),
        **({"PortBindings": ports} if ports else {}),
        **sandbox_namespaces(config, network_mode=network_mode, engine=engine),
        **_dns(config.dns_config),
        **oci_annotations(config.annotations, engine=engine),
    }
    return {
        **user,
        **({"Hostname": config.hostname} if config.hostname else {}),
        **({"ExposedPorts": {port: {} for port in ports}} if ports else {}),
        "Image": image,
        "Labels": sandbox_labels(config.labels, config.annotations, name=name),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host_config,
    }


def _sysctls(config: pb.PodSandboxConfig, *, network_mode: str, ipv6: bool) -> dict[str, str]:
    """The pod's sysctls; in a namespace that a plugin configures, IPv6 is on unless the pod turns it off.

    Docker turns IPv6 off in namespaces without a network of its own: no ``::1``, and no address from a CNI plugin.
    """
    bare = network_mode == "none" and not node_network(config)
    return dict(_IPV6_ON if bare and ipv6 else {}) | dict(config.linux.sysctls)


def _dns(config: pb.DNSConfig) -> dict[str, list[str]]:
    """The contents of the ``resolv.conf`` that Docker writes.

    Docker takes an empty list from the host's file.  That is right if all lists are empty; else ``.`` stands for no
    search list.
    """
    searches = list(config.searches) or (["."] if config.servers or config.options else [])
    values = (("Dns", list(config.servers)), ("DnsSearch", searches), ("DnsOptions", list(config.options)))
    return {key: value for key, value in values if value}


def _port_bindings(mappings: Sequence[pb.PortMapping]) -> dict[str, list[dict[str, str]]]:
    """``PortBindings``; a mapping without a host port publishes nothing."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for mapping in mappings:
        if mapping.host_port:
            binding = {"HostIp": mapping.host_ip, "HostPort": str(mapping.host_port)}
            port = f"{mapping.container_port}/{_PROTOCOLS[mapping.protocol]}"
            bindings.setdefault(port, []).append(binding)
    return bindings
