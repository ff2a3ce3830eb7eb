"""``--network-plugin kubenet``: a configuration list that criwist writes itself, and runs like any other.

Plugins: bridge, host-local with the node's pod CIDRs, portmap for host ports, bandwidth for limits.  The bridge is
``cbr0``, as kubenet's always was.  Traffic that leaves the pod CIDR is masqueraded, so pods reach the internet, and
pods of other nodes see the node's address.  The engine sets iptables' FORWARD policy to DROP, so the firewall plugin,
where it is installed, accepts the traffic of pods.

Pods reach themselves by the hairpin mode of their veth, also under ``promiscuous-bridge``.  That mode was a workaround
for a bug of kernels of 2016, and delivered packets twice.  Since Linux 6.8 it delivers none: a bridge drops the
connection of a packet that it receives only because it is promiscuous (Azure/AKS#5669).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Hashable
from typing import Any

from attrs import define

from criwist.netconf.lists import Choice, parse_list
from criwist.netconf.versions import PREFERRED_VERSION

BRIDGE = "cbr0"
NO_HAIRPIN = "none"


@define(eq=False)
class KubenetConfiguration:
    """A ConfigurationSource of the list.

    :param pod_cidrs: returns the node's pod CIDRs as known now.
    :param find: returns the path of a plugin, None if it is not installed.
    """

    _pod_cidrs: Callable[[], tuple[str, ...]]
    _find: Callable[[str], str | None]
    #: 0: the plugin's own default.
    _mtu: int = 0
    #: How a pod reaches itself by its service's address: ``promiscuous-bridge``, ``hairpin-veth``, ``none``.
    _hairpin_mode: str = NO_HAIRPIN

    def signature(self) -> Hashable:
        """Return the CIDRs, and whether the firewall plugin is installed: nothing else changes."""
        return self._pod_cidrs(), self._has_firewall()

    def read(self) -> Choice:
        """Return the list; none before a CIDR is known."""
        cidrs = self._pod_cidrs()
        if not cidrs:
            return Choice(None, {})
        document = kubenet_list(cidrs, mtu=self._mtu, hairpin_mode=self._hairpin_mode, firewall=self._has_firewall())
        return Choice(parse_list(json.dumps(document), source="kubenet"), {})

    def missing(self) -> str:
        return (
            "kubenet waits for the node's pod CIDR: neither --pod-cidr nor kubelet (UpdateRuntimeConfig) gave one yet; "
            "does the controller manager run with --allocate-node-cidrs?"
        )

    def _has_firewall(self) -> bool:
        return self._find("firewall") is not None


def kubenet_list(cidrs: tuple[str, ...], *, mtu: int, hairpin_mode: str, firewall: bool) -> dict[str, Any]:
    """Return the configuration list as a JSON-able document."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": cidr}] for cidr in cidrs],
            "routes": [{"dst": _default_route(cidr)} for cidr in cidrs],
        },
    }
    if mtu:
        bridge["mtu"] = mtu
    if hairpin_mode != NO_HAIRPIN:
        bridge["hairpinMode"] = True
    portmap = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    plugins = [bridge, portmap, *([{"type": "firewall"}] if firewall else []), bandwidth]
    return {"cniVersion": PREFERRED_VERSION, "name": "kubenet", "plugins": plugins}


def _default_route(cidr: str) -> str:
    return "0.0.0.0/0" if ipaddress.ip_network(cidr).version == 4 else "::/0"
