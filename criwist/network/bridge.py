"""Docker's own bridge as the pod network: the engine creates and removes it and assigns addresses, criwist reads them.

The engine also publishes the host ports of such a pod, so the start of the pause fails for a port that is taken, with
the engine's error.  Nothing is left to tear down: stopping the pause releases addresses and ports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from zope.interface import implementer

from criwist.errors import EngineFailure
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import IPodNetwork, NetworkCondition, PodNetwork, PodNetworkRequest
from criwist.netconf.capabilities import PORT_MAPPINGS, capability_arguments
from criwist.network.attachment_request import require_capabilities

#: Bridged packets pass iptables only with these at 1; Kubernetes' service addresses depend on it.
_BRIDGE_SYSCTLS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")


@implementer(IPodNetwork)
@define(eq=False)
class BridgeNetwork:
    """Pods on the engine's default bridge."""

    #: Directory of the kernel's bridge settings; absent without the bridge module.
    sysctls: str = "/proc/sys/net/bridge"
    name: str = field(default="bridge", init=False)
    docker_network_mode: str = field(default="bridge", init=False)
    publishes_ports: bool = field(default=True, init=False)
    condition_pending: bool = field(default=False, init=False)
    _prepared: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, kw_only=True)

    def condition(self) -> NetworkCondition:
        """Return "ready"; if the engine has no bridge, the start of a pod reports it."""
        return NetworkCondition(ready=True)

    async def wait_for_condition(self) -> None:
        pass

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Return the addresses that the engine assigned.

        :raises InvalidArgument: an annotation of the pod is malformed.
        :raises FailedPrecondition: an annotation asks for something that the engine does not support.
        :raises EngineFailure: the engine assigned no address.
        """
        require_capabilities("Docker's bridge does not have", (PORT_MAPPINGS,), capability_arguments(request, ()))
        if not self._prepared:
            self._prepared = True
            self._enable_bridge_filter()
        addresses = engine_addresses(pause)
        if not addresses:
            raise EngineFailure(f"the engine gave sandbox {request.sandbox_id} no address on its bridge network")
        return PodNetwork(addresses)

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Do nothing: the engine releases addresses and ports when the pause stops."""

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """Return the addresses in *pause*, which do not change while the pause runs."""
        addresses = engine_addresses(pause)
        return PodNetwork(addresses) if addresses else None

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        """Do nothing: the engine's own configuration has the bridge's addresses."""

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        """Do nothing: the engine has released what belongs to no container."""

    def verbose(self) -> Mapping[str, Any]:
        return {"plugin": self.name, "docker_network": self.docker_network_mode}

    def _enable_bridge_filter(self) -> None:
        for name in _BRIDGE_SYSCTLS:
            path = os.path.join(self.sysctls, name)
            try:
                with open(path, "r+", encoding="ascii") as setting:
                    if setting.read().strip() != "1":
                        setting.seek(0)
                        setting.write("1\n")
            except FileNotFoundError:
                self._log.debug("{path} does not exist: the kernel has no bridge filter", path=path)
            except OSError as problem:
                self._log.warn("{path} cannot be set to 1: {problem}", path=path, problem=problem)


def engine_addresses(pause: JSONObject) -> tuple[str, ...]:
    """Return an inspected container's addresses on all its networks: IPv4, then IPv6 of each, the default bridge first.

    Engines list them in ``NetworkSettings.Networks``; older ones repeat the default bridge's in ``NetworkSettings``.
    """
    settings = pause.get("NetworkSettings") or {}
    networks = settings.get("Networks") or {}
    ordered = sorted(networks, key=lambda name: (name != "bridge", name))
    endpoints = [networks[name] or {} for name in ordered] + [settings]
    found = [endpoint.get(key) for endpoint in endpoints for key in ("IPAddress", "GlobalIPv6Address")]
    return tuple(dict.fromkeys(address for address in found if address))
