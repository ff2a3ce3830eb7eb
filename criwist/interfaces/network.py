"""Pod networks, and each pod's resolv.conf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from zope.interface import Attribute, Interface

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject

#: The path at which a container reads its resolv.conf (resolv.conf(5)).
RESOLV_CONF = "/etc/resolv.conf"


@frozen
class PortMapping:
    """A host port that leads to a port of a pod."""

    #: ``tcp``, ``udp``, ``sctp``.
    protocol: str
    container_port: int
    host_port: int
    #: ``""``: every address of the host.
    host_ip: str = ""


@frozen
class PodNetworkRequest:
    """The sandbox that gets a network.  Teardown gets the same value as set-up, from the sandbox's record."""

    sandbox_id: str
    name: str
    namespace: str
    uid: str
    annotations: Mapping[str, str] = field(factory=dict)
    port_mappings: tuple[PortMapping, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    #: As kubelet sends it, for plugins that account by cgroup.
    cgroup_parent: str = ""


@frozen
class PodNetwork:
    """A network that is set up."""

    #: In the plugin's order, without prefix lengths.
    addresses: tuple[str, ...] = ()
    #: Data for teardown, JSON-able, opaque to all but the provider; kept in the sandbox's record.
    record: Mapping[str, Any] = field(factory=dict)


@frozen
class NetworkCondition:
    """NetworkReady: whether pods can get a network now; if not, the message tells the operator why."""

    ready: bool
    #: CamelCase word, ``""`` when ready.
    reason: str = ""
    message: str = ""


class IPodNetwork(Interface):
    """A provider of pod networks.

    All members are used on the reactor's thread; those that say so may be used on any thread.
    """

    name = Attribute("str: cni, kubenet, bridge, host; stored in the sandbox's record")
    docker_network_mode = Attribute("str: HostConfig.NetworkMode of a sandbox: none, bridge, host")
    publishes_ports = Attribute("bool: the engine publishes the pod's host ports")

    def condition() -> NetworkCondition:
        """Return NetworkReady as of now, from memory.  Any thread."""

    condition_pending = Attribute("bool: condition() has no first result yet, wait_for_condition() may; any thread")

    async def wait_for_condition() -> None:
        """Return when :meth:`condition` has its first result, at once from then on.

        All callers share one time limit; ``condition_pending`` is False afterwards in any case.
        """

    async def set_up(request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Set up the network of a running sandbox.  All or nothing: a set-up that fails undoes its own steps.

        :param pause: the pause container as inspected after its start.
        """

    async def tear_down(request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Release everything.  Idempotent; a part that does not exist any more is no error.

        :param network: as recorded; None if the record is lost or set-up never finished.
        :param pause: as inspected now; None if it does not exist any more.
        """

    def recall(request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """Return the network of a running sandbox whose record is lost or was an older shim's; None if unknown.

        It reads files and *pause*, and runs nothing.  It is for adoption, not for every status call.
        """

    async def update_pod_cidr(pod_cidr: str) -> None:
        """Apply UpdateRuntimeConfig's CIDR, or two separated by a comma, after validation."""

    async def reconcile(known: Mapping[str, PodNetworkRequest]) -> None:
        """Release what sandboxes that are not in *known*, by sandbox id, have left.  Called at the start."""

    def verbose() -> Mapping[str, Any]:
        """Return details for a verbose Status: configuration in force, last error.  JSON-able."""


class IResolvConfs(Interface):
    """The pods' resolv.conf files on the host.  All methods are called on the reactor's thread."""

    def write(dns: pb.DNSConfig, pause: JSONObject) -> None:
        """Write a sandbox's DNS configuration.  Repeatable; an empty one keeps the engine's file.

        :param pause: the pause container as inspected.
        :raises Internal: the file cannot be written.
        """

    def path(sandbox_id: str) -> str:
        """Return the file to mount at :data:`RESOLV_CONF` in the pod's containers; ``""``: mount none."""

    def forget(sandbox_id: str) -> None:
        """Remove the file.  Idempotent.  A container that still runs keeps the mount."""
