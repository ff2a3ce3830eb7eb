"""Reservations of host ports."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import FailedPrecondition
from criwist.interfaces.network import PortMapping
from criwist.network.hostports import HostPorts


def port(number: int, protocol: str = "tcp", address: str = "") -> PortMapping:
    """A host port."""
    return PortMapping(protocol, 80, number, address)


class HostPortTests(SynchronousTestCase):
    """Two pods, one port."""

    def setUp(self) -> None:
        self.ports = HostPorts()

    def test_conflict(self) -> None:
        """The second pod is rejected with an error that names port and holder; the first keeps the port."""
        self.ports.reserve("a", [port(8080)])
        problem = self.assertRaises(FailedPrecondition, self.ports.reserve, "b", [port(8081), port(8080)])
        self.assertEqual(str(problem), "host port 8080/tcp is held by sandbox a")
        self.ports.reserve("c", [port(8081)])

    def test_release(self) -> None:
        """A released port can be reserved again; releasing twice succeeds."""
        self.ports.reserve("a", [port(8080), port(8081)])
        self.ports.release("a")
        self.ports.release("a")
        self.ports.reserve("b", [port(8080), port(8081)])

    def test_again(self) -> None:
        """A pod does not conflict with itself."""
        self.ports.reserve("a", [port(8080)])
        self.ports.reserve("a", [port(8080)])

    def test_no_host_port(self) -> None:
        """Mappings without a host port never conflict."""
        self.ports.reserve("a", [port(0)])
        self.ports.reserve("b", [port(0)])

    def test_protocols(self) -> None:
        """Each protocol has ports of its own."""
        for holder, protocol in (("a", "tcp"), ("b", "udp"), ("c", "sctp")):
            self.ports.reserve(holder, [port(53, protocol)])

    def test_addresses(self) -> None:
        """Different addresses of the host do not conflict; a wildcard conflicts with every address of its family."""
        for first, second, free in (
            ("10.0.0.1", "10.0.0.2", True),
            ("10.0.0.1", "10.0.0.1", False),
            ("10.0.0.1", "", False),
            ("0.0.0.0", "10.0.0.1", False),
            ("0.0.0.0", "::", True),
            ("0.0.0.0", "", False),
            ("::", "fd00::1", False),
            ("::", "10.0.0.1", True),
            ("fd00::1", "fd00:0::1", False),
        ):
            ports = HostPorts()
            ports.reserve("a", [port(80, address=first)])
            self.assertEqual(ports.conflict("b", [port(80, address=second)]) is None, free, (first, second))

    def test_hold(self) -> None:
        """Pods that exist at start hold their ports even if two hold the same; it is free when both are gone."""
        self.ports.hold("a", [port(80)])
        self.ports.hold("b", [port(80)])
        self.ports.release("a")
        self.assertRaises(FailedPrecondition, self.ports.reserve, "c", [port(80)])
        self.ports.release("b")
        self.ports.reserve("c", [port(80)])


_address = st.sampled_from(["", "0.0.0.0", "::", "10.0.0.1", "10.0.0.2", "fd00::1"])
_mapping = st.builds(port, st.integers(1, 3), st.sampled_from(["tcp", "udp"]), _address)


@settings(max_examples=80, deadline=None)
@given(_mapping, _mapping)
def test_symmetric(one: PortMapping, other: PortMapping) -> None:
    """Whether two pods conflict does not depend on their order."""
    forward, backward = HostPorts(), HostPorts()
    forward.reserve("a", [one])
    backward.reserve("a", [other])
    assert (forward.conflict("b", [other]) is None) == (backward.conflict("b", [one]) is None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(_mapping, max_size=2)), max_size=6))
def test_nothing_stays(requests: list[tuple[str, list[PortMapping]]]) -> None:
    """When all pods are released, every port is free."""
    ports = HostPorts()
    for sandbox, mappings in requests:
        if ports.conflict(sandbox, mappings) is None:
            ports.reserve(sandbox, mappings)
    for sandbox in "abc":
        ports.release(sandbox)
    for number in (1, 2, 3):
        ports.reserve("z", [port(number), port(number, "udp")])
