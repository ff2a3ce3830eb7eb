"""Who holds which host port.

CNI's portmap plugin does not look whether a port is taken: it writes rules, and the first pod's win.  So a pod that
asks for a port that another one holds is refused here, before anything is made, as the engine refuses it where the
engine publishes ports.
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
        """The first of *mappings* that another sandbox holds, and which sandbox; None if all are free."""
        for mapping in mappings:
            for address, holder in self._holders.get((mapping.protocol, mapping.host_port), ()):
                if holder != sandbox_id and _overlap(mapping.host_ip, address):
                    return mapping, holder
        return None

    def reserve(self, sandbox_id: str, mappings: Iterable[PortMapping]) -> None:
        """Hold the host ports of *mappings* for a sandbox; those with host port 0 are none.

        :raises FailedPrecondition: another sandbox holds one; nothing is held then.
        """
        wanted = [mapping for mapping in mappings if mapping.host_port > 0]
        taken = self.conflict(sandbox_id, wanted)
        if taken is not None:
            mapping, holder = taken
            at = f" at {mapping.host_ip}" if mapping.host_ip else ""
            raise FailedPrecondition(
                f"host port {mapping.host_port}/{mapping.protocol}{at} is held by sandbox {holder}"
            )
        self.hold(sandbox_id, wanted)

    def hold(self, sandbox_id: str, mappings: Iterable[PortMapping]) -> None:
        """Hold host ports for a sandbox that has them already, whoever else has: what stands, stands."""
        for mapping in mappings:
            if mapping.host_port > 0:
                holders = self._holders.setdefault((mapping.protocol, mapping.host_port), [])
                holders.append((mapping.host_ip, sandbox_id))

    def release(self, sandbox_id: str) -> None:
        """Give up all that a sandbox holds.  Idempotent."""
        for port, holders in list(self._holders.items()):
            kept = [one for one in holders if one[1] != sandbox_id]
            if kept:
                self._holders[port] = kept
            else:
                del self._holders[port]


def _overlap(one: str, other: str) -> bool:
    """Whether a packet can be for both host addresses; ``""`` is every address, ``0.0.0.0`` and ``::`` a family's."""
    first, second = _read(one), _read(other)
    if first[0].isdisjoint(second[0]):
        return False
    return first[1] is None or second[1] is None or first[1] == second[1]


def _read(address: str) -> tuple[frozenset[int], str | None]:
    """The families that an address stands for, and the address itself unless it is a wildcard."""
    if not address:
        return _ANY, None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _ANY, address
    return frozenset({parsed.version}), None if parsed.is_unspecified else str(parsed)
