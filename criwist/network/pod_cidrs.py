"""The node's pod CIDRs: from ``--pod-cidr``, and from kubelet.

kubelet sends them when it learns them, and not again after a restart of criwist alone; so they are kept on disk.
"""

from __future__ import annotations

import ipaddress

from attrs import define

from criwist.errors import InvalidArgument
from criwist.records.atomic_files import Documents

_KEY = "pod-cidr"


def read_pod_cidrs(text: str, field: str) -> tuple[str, ...]:
    """Parse one CIDR, or one of each family, separated by a comma; ``""`` is none.

    :param field: name of the option or field, for the error.
    :raises InvalidArgument: *text* is something else.
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
    """The node's pod CIDRs on disk."""

    _documents: Documents
    #: The operator's ``--pod-cidr``; used after a restart, until kubelet sends CIDRs.
    configured: str = ""

    def load(self) -> tuple[str, ...]:
        """Return the configured CIDRs, or else those that kubelet sent last.

        :raises InvalidArgument: the configured ones are malformed.
        """
        configured = read_pod_cidrs(self.configured, "--pod-cidr")
        return configured or tuple((self._documents.read(_KEY) or {}).get("cidrs") or ())

    def save(self, text: str) -> tuple[str, ...]:
        """Parse and keep the CIDRs that kubelet sends; return them.

        :raises InvalidArgument: *text* is malformed.
        """
        cidrs = read_pod_cidrs(text, "runtime_config.network_config.pod_cidr")
        self._documents.write(_KEY, {"cidrs": list(cidrs)})
        return cidrs
