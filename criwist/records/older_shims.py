"""The sandbox checkpoints of dockershim and cri-dockerd, as text.

A checkpoint is one JSON object::

    {"version": "v1", "name": POD, "namespace": NAMESPACE,
     "data": {"port_mappings": [{"protocol", "container_port", "host_port", "host_ip"}], "host_network": true},
     "checksum": N}

with empty members left out.  The checksum is FNV-1a, 32 bits, over a dump of ``data`` with the names of the shim's own
types, so dockershim's and cri-dockerd's sums differ for equal data.  criwist ignores the sum when it reads.  When it
writes, it computes cri-dockerd's sum, because cri-dockerd deletes a checkpoint whose sum is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from criwist.interfaces.network import PodNetworkRequest, PortMapping
from criwist.interfaces.records import SandboxRecord

CRI_DOCKERD_SANDBOXES = "/var/lib/cri-dockerd/sandbox"
DOCKERSHIM_SANDBOXES = "/var/lib/dockershim/sandbox"
_PROTOCOLS = ("tcp", "udp", "sctp")


def checkpoint_text(*, name: str, namespace: str, port_mappings: Sequence[PortMapping], host_network: bool) -> str:
    """Return the checkpoint that cri-dockerd would have written for this sandbox."""
    data: dict[str, Any] = {}
    if port_mappings:
        data["port_mappings"] = [_mapping(mapping) for mapping in port_mappings]
    if host_network:
        data["host_network"] = True
    checkpoint = {
        "version": "v1",
        "name": name,
        "namespace": namespace,
        "data": data,
        "checksum": cri_dockerd_checksum(port_mappings, host_network),
    }
    return json.dumps(checkpoint, separators=(",", ":"), ensure_ascii=False)


def cri_dockerd_checksum(port_mappings: Sequence[PortMapping], host_network: bool) -> int:
    """Return FNV-1a 32 over the dump of the data that cri-dockerd hashes."""
    mappings = "[" + " ".join(_dump(mapping) for mapping in port_mappings) + "]" if port_mappings else "<nil>"
    flag = "true" if host_network else "false"
    dump = f"(core.CheckpointData){{PortMappings:([]*config.PortMapping){mappings} HostNetwork:(bool){flag}}}"
    return fnv1a_32(dump.encode("utf-8"))


def fnv1a_32(content: bytes) -> int:
    """Return the 32-bit FNV-1a hash (RFC 9923)."""
    state = 0x811C9DC5
    for byte in content:
        state = ((state ^ byte) * 0x01000193) & 0xFFFFFFFF
    return state


def read_checkpoint(sandbox_id: str, content: bytes) -> SandboxRecord:
    """Return the record of a checkpoint of either shim: without uid, network and handler, which it lacks.

    :raises ValueError: *content* is not a checkpoint.
    """
    checkpoint = json.loads(content)
    if not isinstance(checkpoint, dict):
        raise ValueError("it is not a JSON object")
    data = checkpoint.get("data")
    name, namespace = checkpoint.get("name"), checkpoint.get("namespace")
    if not isinstance(data, dict) or not isinstance(name, str) or not isinstance(namespace, str):
        raise ValueError("it has no pod name, no namespace or no data")
    mappings = data.get("port_mappings") or []
    if not isinstance(mappings, list):
        raise ValueError("its port mappings are not a list")
    request = PodNetworkRequest(
        sandbox_id=sandbox_id,
        name=name,
        namespace=namespace,
        uid="",
        port_mappings=tuple(_read_mapping(mapping) for mapping in mappings),
    )
    return SandboxRecord(
        sandbox_id=sandbox_id, request=request, network_plugin="", host_network=data.get("host_network") is True
    )


def _mapping(mapping: PortMapping) -> dict[str, Any]:
    entry: dict[str, Any] = {"protocol": mapping.protocol}
    if mapping.container_port:
        entry["container_port"] = mapping.container_port
    if mapping.host_port:
        entry["host_port"] = mapping.host_port
    if mapping.host_ip:
        entry["host_ip"] = mapping.host_ip
    return entry


def _dump(mapping: PortMapping) -> str:
    return (
        f"<*>{{Protocol:(*config.Protocol){mapping.protocol} ContainerPort:(*int32){mapping.container_port} "
        f"HostPort:(*int32){mapping.host_port} HostIP:(string){mapping.host_ip}}}"
    )


def _read_mapping(mapping: object) -> PortMapping:
    if not isinstance(mapping, dict):
        raise ValueError("a port mapping is not an object")
    protocol, host_ip = mapping.get("protocol", "tcp"), mapping.get("host_ip", "")
    container_port, host_port = mapping.get("container_port", 0), mapping.get("host_port", 0)
    if protocol not in _PROTOCOLS or not isinstance(host_ip, str):
        raise ValueError("a port mapping has an unknown protocol or no address")
    if not isinstance(container_port, int) or not isinstance(host_port, int):
        raise ValueError("a port mapping has no port numbers")
    return PortMapping(protocol=protocol, container_port=container_port, host_port=host_port, host_ip=host_ip)
