"""The pod networks of this node."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from criwist.interfaces.network import IPodNetwork
from criwist.interfaces.records import SandboxRecord


@define(eq=False)
class PodNetworks:
    """The networks of this node: the one that new pods get, and those that earlier pods may still have."""

    #: By ``IPodNetwork.name``.
    providers: Mapping[str, IPodNetwork]
    #: The name of the network that new pods get, unless they use the node's own.
    configured: str

    def for_new(self, *, host: bool) -> IPodNetwork:
        """Return the provider for a new pod."""
        return self.providers["host" if host else self.configured]

    def recorded(self, record: SandboxRecord | None, network_mode: str) -> IPodNetwork:
        """Return the provider that set a pod's network up; without a record, the one that fits its network mode."""
        if record is not None and record.network_plugin in self.providers:
            return self.providers[record.network_plugin]
        if network_mode == "host":
            return self.providers["host"]
        return self.providers["cni" if network_mode == "none" else "bridge"]
