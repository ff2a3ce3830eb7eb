"""Reservations of host ports.

CNI's portmap plugin does not check whether a port is taken: it writes rules, and the first pod's rules win.  So a pod
that asks for a port of another pod is rejected here, before any plugin runs, as the engine rejects it where the engine
publishes ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from attrs import define, field

from criwist.errors import FailedPrecondition
from criwist.interfaces.network import PortMapping

_ANY = frozenset({4, 6})


@define(eq=False)
class HostPorts:
    """Reservations by protocol and port."""

    _holders: dict[tuple[str, int], list[tuple[str, str]]] = field(factory=dict, init=False)

    def conflict(self, sandbox_id: str, mappings: Iterable[PortMapping]) -> tuple[PortMapping, str] | None:
        """Return the first of *mappings* that another sandbox holds, and that sandbox's id; None if all are free."""
        for mapping in mappings:
            for address, holder in self._holders.get((mapping.protocol, mapping.host_port), ()):
                if holder != sandbox_id and _overlap(mapping.host_ip, address):
                    return mapping, holder
        return None

    def reserve(self, sandbox_id: str, mappings: Iterable[PortMapping]) -> None:
        """Reserve the host ports of *mappings* for a sandbox; a mapping with host port 0 needs none.

        :raises FailedPrecondition: another sandbox holds one; then none is reserved.
        """
        wanted = [mapping for mapping in mappings if mapping.host_port > 0]
        conflict = self.conflict(sandbox_id, wanted)
        if conflict is not None:
            mapping, holder = conflict
            at = f" at {mapping.host_ip}" if mapping.host_ip else ""
            raise FailedPrecondition(
                f"host port {mapping.host_port}/{mapping.protocol}{at} is held by sandbox {holder}"
            )
        self.hold(sandbox_id, wanted)

    def hold(self, sandbox_id: str, mappings: Iterable[PortMapping]) -> None:
        """Reserve host ports for a sandbox that uses them already, even if another sandbox holds them too."""
        for mapping in mappings:
            if mapping.host_port > 0:
                holders = self._holders.setdefault((mapping.protocol, mapping.host_port), [])
                holders.append((mapping.host_ip, sandbox_id))

    def release(self, sandbox_id: str) -> None:
        """Release all host ports of a sandbox.  Idempotent."""
        for port, holders in list(self._holders.items()):
            kept = [one for one in holders if one[1] != sandbox_id]
            if kept:
                self._holders[port] = kept
            else:
                del self._holders[port]


def _overlap(one: str, other: str) -> bool:
    """Return whether a packet can match both host addresses.

    ``""`` is every address; ``0.0.0.0`` and ``::`` are every address of their family.
    """
    first, second = _read(one), _read(other)
    if first[0].isdisjoint(second[0]):
        return False
    return first[1] is None or second[1] is None or first[1] == second[1]


def _read(address: str) -> tuple[frozenset[int], str | None]:
    """Return the families that an address belongs to, and the address itself unless it is a wildcard."""
    if not address:
        return _ANY, None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _ANY, address
    return frozenset({parsed.version}), None if parsed.is_unspecified else str(parsed)
