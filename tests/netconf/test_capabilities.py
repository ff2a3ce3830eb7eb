"""Runtime arguments of a pod."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import InvalidArgument
from criwist.interfaces.network import PodNetworkRequest, PortMapping
from criwist.netconf.capabilities import BURST, capability_arguments


def request(**fields: object) -> PodNetworkRequest:
    """A pod's network request with these fields."""
    return PodNetworkRequest("a" * 64, "pod", "default", "uid", **fields)  # type: ignore[arg-type] # for brevity


class CapabilityTests(SynchronousTestCase):
    """The runtime arguments of a pod."""

    def test_nothing(self) -> None:
        """A pod without requests has no runtime arguments."""
        self.assertEqual(capability_arguments(request(), ()), {})

    def test_port_mappings(self) -> None:
        """Ports with a host port are mapped, others are not; the host address is passed only if there is one."""
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
        """Rates are bits per second; a direction without a limit has no members."""
        annotations = {"kubernetes.io/ingress-bandwidth": "10M"}
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual(arguments["bandwidth"], {"ingressRate": 10_000_000, "ingressBurst": BURST})
        annotations["kubernetes.io/egress-bandwidth"] = "1Mi"
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual(arguments["bandwidth"]["egressRate"], 1 << 20)
        self.assertEqual(arguments["io.kubernetes.cri.pod-annotations"], annotations)

    def test_dns(self) -> None:
        """Networks that declare dns get the pod's name resolution."""
        arguments = capability_arguments(request(dns_servers=("10.96.0.10",), dns_options=("ndots:5",)), ())
        self.assertEqual(arguments, {"dns": {"servers": ["10.96.0.10"], "options": ["ndots:5"]}})

    def test_addresses_asked_for(self) -> None:
        """Annotations can request addresses and a hardware address."""
        annotations = {"network.criwist/ips": "10.1.0.7, fd00::7/64", "network.criwist/mac": "02:00:00:00:00:07"}
        arguments = capability_arguments(request(annotations=annotations), ())
        self.assertEqual((arguments["ips"], arguments["mac"]), (["10.1.0.7", "fd00::7/64"], "02:00:00:00:00:07"))

    def test_cgroup(self) -> None:
        """The pod's cgroup path is passed as kubelet named it."""
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
