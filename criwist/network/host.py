"""The host's own network: nothing to set up, nothing to release, no address to report.

The CRI wants ``ip`` empty for such a pod; kubelet puts the node's addresses in (PodSandboxNetworkStatus).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from zope.interface import implementer

from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import IPodNetwork, NetworkCondition, PodNetwork, PodNetworkRequest


@implementer(IPodNetwork)
@define(eq=False)
class HostNetwork:
    """Pods that share the node's network namespace."""

    name: str = field(default="host", init=False)
    docker_network_mode: str = field(default="host", init=False)
    publishes_ports: bool = field(default=False, init=False)
    undecided: bool = field(default=False, init=False)

    def condition(self) -> NetworkCondition:
        """Always ready."""
        return NetworkCondition(ready=True)

    async def first_look(self) -> None:
        """Nothing: there is nothing to look at."""

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """A network without addresses."""
        return PodNetwork()

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Nothing."""

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """A network without addresses."""
        return PodNetwork()

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        """Nothing."""

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        """Nothing."""

    def verbose(self) -> Mapping[str, Any]:
        """The mode."""
        return {"plugin": self.name}
