"""A pod's network request, as a value."""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.network import PodNetworkRequest, PortMapping

_PROTOCOLS = {pb.TCP: "tcp", pb.UDP: "udp", pb.SCTP: "sctp"}


def network_request(sandbox_id: str, config: pb.PodSandboxConfig) -> PodNetworkRequest:
    """Return the network request of the sandbox *sandbox_id*, without port mappings that have no host port.

    :param config: checked by ``translate.request_rules``.
    """
    return PodNetworkRequest(
        sandbox_id=sandbox_id,
        name=config.metadata.name,
        namespace=config.metadata.namespace,
        uid=config.metadata.uid,
        annotations=dict(config.annotations),
        port_mappings=tuple(
            PortMapping(
                protocol=_PROTOCOLS[mapping.protocol],
                container_port=mapping.container_port,
                host_port=mapping.host_port,
                host_ip=mapping.host_ip,
            )
            for mapping in config.port_mappings
            if mapping.host_port
        ),
        dns_servers=tuple(config.dns_config.servers),
        dns_searches=tuple(config.dns_config.searches),
        dns_options=tuple(config.dns_config.options),
        cgroup_parent=config.linux.cgroup_parent,
    )
