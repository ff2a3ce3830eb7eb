"""A pod's network request as the journal entry of the attachment that ADD makes, or DEL releases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.logger import Logger

from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import PodNetworkRequest
from criwist.netconf.capabilities import (
    BANDWIDTH,
    IPS,
    IPS_ANNOTATION,
    MAC,
    MAC_ANNOTATION,
    PORT_MAPPINGS,
    capability_arguments,
)
from criwist.netconf.invocations import Attachment
from criwist.network.attachments import INTERFACE, Entry
from criwist.network.readiness import ActiveConfiguration
from criwist.network.teardown import inode

_log = Logger()


def planned_entry(
    request: PodNetworkRequest,
    pause: JSONObject,
    active: ActiveConfiguration,
    pod_cidrs: tuple[str, ...],
    *,
    loopback: bool,
) -> Entry:
    """Return the entry of an ADD that is about to run, in the namespace of a running pause.

    :raises InvalidArgument: an annotation of the pod is malformed.
    :raises FailedPrecondition: the pause is gone, or the network does not support what an annotation asks for.
    """
    arguments = capability_arguments(request, pod_cidrs)
    network = active.network
    require_capabilities(f"no plugin of network {network.name} has", network.capabilities, arguments)
    netns = f"/proc/{(pause.get('State') or {}).get('Pid') or 0}/ns/net"
    identity = inode(netns)
    if not identity:
        raise FailedPrecondition(f"the pause of sandbox {request.sandbox_id} has ended")
    attachment = Attachment(request.sandbox_id, netns, INTERFACE, pod_arguments(request), arguments)
    return Entry(network, active.version, attachment, identity, loopback=loopback)


def guessed_entry(request: PodNetworkRequest, active: ActiveConfiguration, pod_cidrs: tuple[str, ...]) -> Entry:
    """Return the entry of an ADD that another shim may have run without a record.  Annotations are ignored."""
    bare = PodNetworkRequest(
        request.sandbox_id, request.name, request.namespace, request.uid, port_mappings=request.port_mappings
    )
    arguments = capability_arguments(bare, pod_cidrs)
    attachment = Attachment(request.sandbox_id, "", INTERFACE, pod_arguments(request), arguments)
    return Entry(active.network, active.version, attachment)


def pod_arguments(request: PodNetworkRequest) -> tuple[tuple[str, str], ...]:
    """Return CNI_ARGS, as all CRI runtimes pass them; plugins find the pod by them."""
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", request.namespace),
        ("K8S_POD_NAME", request.name),
        ("K8S_POD_INFRA_CONTAINER_ID", request.sandbox_id),
        ("K8S_POD_UID", request.uid),
    )


def require_capabilities(lacking: str, available: Collection[str], arguments: Mapping[str, Any]) -> None:
    """Reject a request for an address that the network cannot fulfil; log other capabilities that it ignores.

    Host ports and bandwidth have always been ignored where no plugin supports them.

    :param lacking: subject and verb of the message "… the capability ips".
    :raises FailedPrecondition: an annotation asks for a capability that is not *available*.
    """
    for capability, annotation in ((IPS, IPS_ANNOTATION), (MAC, MAC_ANNOTATION)):
        if capability in arguments and capability not in available:
            raise FailedPrecondition(f"annotation {annotation}: {lacking} the capability {capability}")
    for capability in (PORT_MAPPINGS, BANDWIDTH):
        if capability in arguments and capability not in available:
            _log.warn(
                "a pod asks for {capability}; {lacking} the capability {capability}",
                capability=capability,
                lacking=lacking,
            )
