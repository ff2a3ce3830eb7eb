"""Runtime arguments of CNI: a pod's data for plugins that declare a capability.

The conventions (containernetworking/cni, CONVENTIONS.md) name them: ``portMappings``, ``bandwidth``, ``ipRanges``,
``dns``, ``ips``, ``mac``, ``cgroupPath``.  containerd passes the pod's annotations under a name of its own, which
plugins now expect.  This module computes all arguments of a pod; each plugin gets those that it declared.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from criwist.errors import InvalidArgument
from criwist.interfaces.network import PodNetworkRequest
from criwist.quantities import whole_quantity

PORT_MAPPINGS = "portMappings"
BANDWIDTH = "bandwidth"
IP_RANGES = "ipRanges"
IPS = "ips"
MAC = "mac"

#: Kubernetes' own: bits per second, as quantities.
INGRESS_ANNOTATION = "kubernetes.io/ingress-bandwidth"
EGRESS_ANNOTATION = "kubernetes.io/egress-bandwidth"
#: criwist's own: addresses for the pod, comma-separated, with or without prefix lengths; and a hardware address.
IPS_ANNOTATION = "network.criwist/ips"
MAC_ANNOTATION = "network.criwist/mac"

#: Bits.  In effect no limit: the token bucket must shape the rate, not the burst.  The older shims' value.
BURST = 2**31 - 1
#: Bits per second that Kubernetes allows: 1k to 1P.
_RATES = range(10**3, 10**15 + 1)
_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\Z")


def capability_arguments(request: PodNetworkRequest, pod_cidrs: tuple[str, ...]) -> dict[str, Any]:
    """Return every runtime argument that this pod requests.

    :param pod_cidrs: of the node, at most one a family.
    :raises InvalidArgument: an annotation is malformed.
    """
    arguments = {
        PORT_MAPPINGS: _port_mappings(request),
        BANDWIDTH: _bandwidth(request.annotations),
        IP_RANGES: [[{"subnet": cidr}] for cidr in pod_cidrs],
        "dns": _dns(request),
        IPS: _ips(request.annotations),
        MAC: _mac(request.annotations),
        "cgroupPath": request.cgroup_parent,
        "io.kubernetes.cri.pod-annotations": dict(request.annotations),
    }
    return {name: value for name, value in arguments.items() if value}


def _port_mappings(request: PodNetworkRequest) -> list[dict[str, Any]]:
    return [
        {"hostPort": mapping.host_port, "containerPort": mapping.container_port, "protocol": mapping.protocol}
        | ({"hostIP": mapping.host_ip} if mapping.host_ip else {})
        for mapping in request.port_mappings
        if mapping.host_port > 0
    ]


def _bandwidth(annotations: Mapping[str, str]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for name, annotation in (("ingress", INGRESS_ANNOTATION), ("egress", EGRESS_ANNOTATION)):
        if annotation in annotations:
            limits[f"{name}Rate"] = _rate(annotations[annotation], annotation)
            limits[f"{name}Burst"] = BURST
    return limits


def _rate(text: str, annotation: str) -> int:
    try:
        rate = whole_quantity(text)
    except ValueError as problem:
        raise InvalidArgument(_field(annotation), str(problem)) from problem
    if rate not in _RATES:
        raise InvalidArgument(_field(annotation), f"{text!r} is not between 1k and 1P bits per second")
    return rate


def _dns(request: PodNetworkRequest) -> dict[str, list[str]]:
    members = {
        "servers": list(request.dns_servers),
        "searches": list(request.dns_searches),
        "options": list(request.dns_options),
    }
    return {name: values for name, values in members.items() if values}


def _ips(annotations: Mapping[str, str]) -> list[str]:
    addresses = [part.strip() for part in annotations.get(IPS_ANNOTATION, "").split(",")]
    for address in filter(None, addresses):
        try:
            ipaddress.ip_interface(address)
        except ValueError as problem:
            raise InvalidArgument(_field(IPS_ANNOTATION), f"{address!r} is not an IP address") from problem
    return list(filter(None, addresses))


def _mac(annotations: Mapping[str, str]) -> str:
    address = annotations.get(MAC_ANNOTATION, "")
    if address and not _HARDWARE_ADDRESS.match(address):
        raise InvalidArgument(_field(MAC_ANNOTATION), f"{address!r} is not of the form 02:00:00:00:00:01")
    return address


def _field(annotation: str) -> str:
    return f"config.annotations[{annotation}]"
