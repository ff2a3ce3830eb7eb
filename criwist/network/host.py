"""The host's own network: nothing to set up, nothing to release, no address to report.

The CRI requires an empty ``ip`` for such a pod; kubelet fills in the node's addresses (PodSandboxNetworkStatus).
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
    condition_pending: bool = field(default=False, init=False)

    def condition(self) -> NetworkCondition:
        return NetworkCondition(ready=True)

    async def wait_for_condition(self) -> None:
        pass

    async def set_up(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        return PodNetwork()

    async def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        pass

    def recall(self, request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        return PodNetwork()

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        pass

    async def reconcile(self, known: Mapping[str, PodNetworkRequest]) -> None:
        pass

    def verbose(self) -> Mapping[str, Any]:
        return {"plugin": self.name}
