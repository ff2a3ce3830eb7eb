"""The node's pod CIDRs: from ``--pod-cidr``, and from kubelet.

kubelet tells them when it learns them, and not again when only we were restarted; so they are kept.
"""

from __future__ import annotations

import ipaddress

from attrs import define

from criwist.errors import InvalidArgument
from criwist.records.atomic_files import Documents

_KEY = "pod-cidr"


def read_pod_cidrs(text: str, field: str) -> tuple[str, ...]:
    """One CIDR, or one of each family parted by a comma; ``""`` is none.

    :param field: what to call it in an error.
    :raises InvalidArgument: it is something else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        networks = [ipaddress.ip_network(part) for part in parts]
    except ValueError as problem:
        raise InvalidArgument(field, f"not a CIDR such as 10.1.0.0/24: {problem}") from problem
    if any("/" not in part for part in parts):
        raise InvalidArgument(field, f"not a CIDR such as 10.1.0.0/24: {text!r} lacks a prefix length")
    if len({network.version for network in networks}) != len(networks):
        raise InvalidArgument(field, f"more than one CIDR of a family: {text!r}")
    return tuple(str(network) for network in networks)


@define(eq=False)
class PodCIDRs:
    """What is known of them."""

    _documents: Documents
    #: As the operator configured it; believed after a restart, until kubelet speaks.
    configured: str = ""

    def load(self) -> tuple[str, ...]:
        """Those configured, or else those that kubelet told last.

        :raises InvalidArgument: those configured are malformed.
        """
        configured = read_pod_cidrs(self.configured, "--pod-cidr")
        return configured or tuple((self._documents.read(_KEY) or {}).get("cidrs") or ())

    def save(self, text: str) -> tuple[str, ...]:
        """Keep what kubelet tells; returns it.

        :raises InvalidArgument: it is malformed.
        """
        cidrs = read_pod_cidrs(text, "runtime_config.network_config.pod_cidr")
        self._documents.write(_KEY, {"cidrs": list(cidrs)})
        return cidrs
