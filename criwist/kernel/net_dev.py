"""Traffic of a network namespace, from ``/proc/<pid>/net``.

``net/dev`` has a line for each interface.  The interface of the default route is in ``net/route`` (IPv4, addresses in
hexadecimal) or ``net/ipv6_route``.  The names of interfaces are chosen inside the namespace: they may be anything but
blanks, colons and slashes (``dev_valid_name`` in the kernel).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from criwist.interfaces.kernel import InterfaceUsage

_LOOPBACK = "lo"
#: ``RTF_UP`` and ``RTF_REJECT`` of linux/route.h: an unreachable route is no way out.
_UP, _REJECT = 0x1, 0x200
_USUAL = "eth0"
_GREATEST = 2**64 - 1


def parse_interfaces(text: str) -> tuple[InterfaceUsage, ...]:
    """Return the interfaces in a ``net/dev`` text but the loopback; a line that cannot be parsed is left out."""
    found = []
    for line in text.split("\n")[2:]:
        name, _, columns = line.partition(":")
        values = columns.split()
        name = name.strip().encode("utf-8", "replace").decode("utf-8")  # a name is any bytes, text in the CRI is UTF-8
        if name == _LOOPBACK or len(values) < 16 or not all(map(_is_counter, values)):
            continue
        rx_bytes, rx_packets, rx_errors, rx_dropped = map(int, values[:4])
        tx_bytes, tx_packets, tx_errors, tx_dropped = map(int, values[8:12])
        found.append(
            InterfaceUsage(
                name, rx_bytes, rx_errors, tx_bytes, tx_errors, rx_packets, rx_dropped, tx_packets, tx_dropped
            )
        )
    return tuple(found)


def ipv4_default(route: str) -> str:
    """Return the interface of the default route with the lowest metric in a ``net/route`` text; ``""``: none."""
    return min(_ipv4_defaults(route), default=(0, ""))[1]


def ipv6_default(ipv6_route: str) -> str:
    """Return the interface of the default route with the lowest metric in a ``net/ipv6_route`` text; ``""``: none."""
    return min(_ipv6_defaults(ipv6_route), default=(0, ""))[1]


def default_first(interfaces: Sequence[InterfaceUsage], default: str) -> tuple[InterfaceUsage, ...]:
    """Return the interfaces with the default one first; if *default* is none of them, ``eth0``, if there is one."""
    names = [interface.name for interface in interfaces]
    first = next((name for name in (default, _USUAL) if name in names), None)
    return tuple(sorted(interfaces, key=lambda interface: interface.name != first))


def _ipv4_defaults(text: str) -> Iterator[tuple[int, str]]:
    for line in text.split("\n")[1:]:
        columns = line.split()
        if len(columns) < 8 or columns[1] != "00000000" or columns[7] != "00000000" or not _is_counter(columns[6]):
            continue
        if _leads_out(columns[3]):
            yield int(columns[6]), columns[0]


def _ipv6_defaults(text: str) -> Iterator[tuple[int, str]]:
    for line in text.split("\n"):
        columns = line.split()
        if len(columns) < 10 or columns[0] != "0" * 32 or columns[1] != "00" or columns[9] == _LOOPBACK:
            continue
        if _leads_out(columns[8]):
            yield _hexadecimal(columns[5]), columns[9]


def _leads_out(flags: str) -> bool:
    return _hexadecimal(flags) & (_UP | _REJECT) == _UP


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _is_counter(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= _GREATEST
