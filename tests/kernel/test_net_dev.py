"""Traffic in /proc/<pid>/net."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from criwist.interfaces.kernel import InterfaceUsage
from criwist.kernel.net_dev import default_first, ipv4_default, ipv6_default, parse_interfaces

_HEAD = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    "compressed\n"
)
#: Recorded, Linux 6.18, with other errors.
DEV = _HEAD + (
    "    lo:    9193     149    0    0    0     0          0         0     9193     149    0    0    0     0       0"
    "          0\n"
    "  net1:       5       0    0    0    0     0          0         0        6       0    0    0    0     0       0"
    "          0\n"
    "  eth0: 953167591   20825    3    7    0     0          0         0  1051470   11833    4    8    0     0       0"
    "          0\n"
)
ROUTE = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "net1\t00000000\t010200C0\t0003\t0\t0\t50\t00000000\t0\t0\t0\n"
    "net2\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
_ANY = "0" * 32
IPV6_ROUTE = (
    f"fd000000000000000000000000000000 40 {_ANY} 00 {_ANY} 00000100 00000001 00000000 00000001     eth0\n"
    f"{_ANY} 00 {_ANY} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth6\n"
    f"{_ANY} 00 {_ANY} 00 {_ANY} ffffffff 00000001 00000000 00200200       lo\n"
)


def test_interfaces() -> None:
    """Each interface but the loopback has its bytes, errors, packets and dropped packets."""
    assert parse_interfaces(DEV) == (
        InterfaceUsage("net1", 5, 0, 6, 0),
        InterfaceUsage("eth0", 953_167_591, 3, 1_051_470, 4, 20_825, 7, 11_833, 8),
    )


def test_default_interface() -> None:
    """The default interface is that of the route with the lowest metric that leads out."""
    assert ipv4_default(ROUTE) == "net1"
    assert ipv6_default(IPV6_ROUTE) == "eth6"
    assert ipv4_default("") == ipv6_default("") == ""


def test_default_comes_first() -> None:
    """The default interface is the first; without a route it is eth0, and without that the first one."""
    interfaces = parse_interfaces(DEV)
    assert [each.name for each in default_first(interfaces, "net1")] == ["net1", "eth0"]
    assert [each.name for each in default_first(interfaces, "gone")] == ["eth0", "net1"]
    assert [each.name for each in default_first(interfaces[:1], "")] == ["net1"]
    assert default_first((), "eth0") == ()


def test_name_that_is_not_text() -> None:
    """A pod may give an interface a name of any bytes; it is reported as text that the CRI can carry."""
    line = "\udcff\x1c: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n"
    (interface,) = parse_interfaces(_HEAD + line)
    interface.name.encode("utf-8")


@given(st.text())
def test_any_text(text: str) -> None:
    """Parsers return what they can of any text, and raise nothing."""
    parse_interfaces(_HEAD + text)
    ipv4_default(text)
    ipv6_default(text)
