"""Runtime arguments of a pod, and the quantities in its annotations."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import InvalidArgument
from criwist.interfaces.network import PodNetworkRequest, PortMapping
from criwist.netconf.capabilities import BURST, capability_arguments
from criwist.netconf.quantities import read_quantity


def request(**fields: object) -> PodNetworkRequest:
    """A pod with these fields."""
    return PodNetworkRequest("a" * 64, "pod", "default", "uid", **fields)  # type: ignore[arg-type] # for brevity


class CapabilityTests(SynchronousTestCase):
    """What a pod gives rise to."""

    def test_nothing(self) -> None:
        """A pod that asks for nothing gives rise to nothing."""
        self.assertEqual(capability_arguments(request(), ()), {})

    def test_port_mappings(self) -> None:
        """Ports with a host port are mapped, those without are not; the host address only if there is one."""
        mappings = (PortMapping("tcp", 80, 8080), PortMapping("udp", 53, 0), PortMapping("sctp", 9, 19, "10.0.0.1"))
        self.assertEqual(
            capability_arguments(request(port_mappings=mappings), ()),
            {
                "portMappings": [
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                    {"hostPort": 19, "containerPort": 9, "protocol": "sctp", "hostIP": "10.0.0.1"},
                ]
            },
        )

    def test_ip_ranges(self) -> None:
        """Each family's CIDR is a set of ranges of its own, so that the pod gets an address of each."""
        self.assertEqual(
            capability_arguments(request(), ("10.1.0.0/24", "fd00::/64")),
            {"ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]},
        )

    def test_bandwidth(self) -> None:
        """Rates are bits per second; a direction that is not limited is not spoken of."""
        annotations = {"kubernetes.io/ingress-bandwidth": "10M"}
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual(arguments["bandwidth"], {"ingressRate": 10_000_000, "ingressBurst": BURST})
        annotations["kubernetes.io/egress-bandwidth"] = "1Mi"
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual(arguments["bandwidth"]["egressRate"], 1 << 20)
        self.assertEqual(arguments["io.kubernetes.cri.pod-annotations"], annotations)

    def test_dns(self) -> None:
        """The pod's name resolution is told to networks that want to know it."""
        arguments = capability_arguments(request(dns_servers=("10.96.0.10",), dns_options=("ndots:5",)), ())
        self.assertEqual(arguments, {"dns": {"servers": ["10.96.0.10"], "options": ["ndots:5"]}})

    def test_addresses_asked_for(self) -> None:
        """Addresses and a hardware address can be asked for by annotation."""
        annotations = {"network.criwist/ips": "10.1.0.7, fd00::7/64", "network.criwist/mac": "02:00:00:00:00:07"}
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual((arguments["ips"], arguments["mac"]), (["10.1.0.7", "fd00::7/64"], "02:00:00:00:00:07"))

    def test_cgroup(self) -> None:
        """The pod's cgroup is told as kubelet named it."""
        self.assertEqual(capability_arguments(request(cgroup_parent="/pods/x"), ()), {"cgroupPath": "/pods/x"})

    def test_refused(self) -> None:
        """A malformed annotation is an error that names it."""
        for key, value in (
            ("kubernetes.io/ingress-bandwidth", "fast"),
            ("kubernetes.io/ingress-bandwidth", ""),
            ("kubernetes.io/egress-bandwidth", "999"),
            ("kubernetes.io/egress-bandwidth", "1.1P"),
            ("kubernetes.io/egress-bandwidth", "-1M"),
            ("network.criwist/ips", "10.1.0.7,pod"),
            ("network.criwist/mac", "02:00:00:00:00"),
        ):
            problem = self.assertRaises(InvalidArgument, capability_arguments, request(annotations={key: value}), ())
            self.assertEqual(problem.field, f"config.annotations[{key}]")


class QuantityTests(SynchronousTestCase):
    """Kubernetes' quantities."""

    def test_values(self) -> None:
        """Suffixes are decimal or binary; exponents are decimal; a fraction rounds up."""
        for text, value in (
            ("0", 0),
            ("5", 5),
            ("+5", 5),
            ("1k", 1000),
            ("10M", 10_000_000),
            ("1.5Gi", 3 << 29),
            (".5k", 500),
            ("2.", 2),
            ("1e3", 1000),
            ("1E3", 1000),
            ("2E", 2 * 10**18),
            ("1Ei", 1 << 60),
            ("1e-1", 1),
            ("100m", 1),
            ("1001m", 2),
            ("-1500m", -1),
        ):
            self.assertEqual(read_quantity(text), value, text)

    def test_refused(self) -> None:
        """Other spellings are none."""
        for text in ("", " 1", "1 M", "1K", "1mi", "1kb", "1e", "e3", ".", "--1", "1_000", "٣", "0x10", "1e1234"):
            self.assertRaises(ValueError, read_quantity, text)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M", "Ki", "Mi"]))
def test_quantity_scales(number: int, suffix: str) -> None:
    """A whole number keeps its value times its suffix's."""
    scale = {"": 1, "k": 10**3, "M": 10**6, "Ki": 2**10, "Mi": 2**20}[suffix]
    assert read_quantity(f"{number}{suffix}") == number * scale
