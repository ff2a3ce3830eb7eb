"""Results of every version of the specification."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.netconf.plugin_errors import MalformedDocument
from criwist.netconf.results import (
    Result,
    ResultAddress,
    ResultDNS,
    ResultInterface,
    ResultRoute,
    convert,
    read_result,
    result_document,
)
from criwist.netconf.versions import SPEC_VERSIONS, at_least

#: A result as the bridge plugin prints it.
BRIDGE = {
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "cni0", "mac": "2a:11:22:33:44:55"},
        {"name": "veth1", "mac": "2a:11:22:33:44:56"},
        {"name": "eth0", "mac": "2a:11:22:33:44:57", "sandbox": "/proc/7/ns/net"},
    ],
    "ips": [
        {"version": "6", "interface": 2, "address": "fd00::2/64", "gateway": "fd00::1"},
        {"version": "4", "interface": 2, "address": "10.1.0.2/24", "gateway": "10.1.0.1"},
    ],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}],
    "dns": {},
}


class ReadTests(SynchronousTestCase):
    """Results as plugins print them."""

    def test_oldest_form(self) -> None:
        """A result of 0.2.0 has one address a family, each with its routes."""
        document = {
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
            "ip6": {"ip": "fd00::2/64"},
            "dns": {"nameservers": ["10.1.0.1"]},
        }
        result = read_result(document)
        self.assertEqual(result.pod_addresses("eth0"), ("10.1.0.2", "fd00::2"))
        self.assertEqual(result.routes, (ResultRoute("0.0.0.0/0", "10.1.0.1"),))
        self.assertEqual(result.dns, ResultDNS(("10.1.0.1",)))
        self.assertEqual(result_document(result, "0.2.0"), document)

    def test_order(self) -> None:
        """Addresses keep the plugin's order, also with IPv6 first."""
        self.assertEqual(read_result(BRIDGE).pod_addresses("eth0"), ("fd00::2", "10.1.0.2"))

    def test_which_addresses(self) -> None:
        """The pod's addresses are those on eth0 in the pod, not those on the host's side or on other interfaces."""
        interfaces = (
            ResultInterface("cni0"),
            ResultInterface("eth0", sandbox="ns"),
            ResultInterface("eth1", sandbox="ns"),
        )
        at = [ResultAddress(f"10.1.0.{index}/24", interface=index) for index in range(3)]
        self.assertEqual(Result(interfaces, tuple(at)).pod_addresses("eth0"), ("10.1.0.1",))
        self.assertEqual(Result(interfaces, (at[0], at[2])).pod_addresses("eth0"), ("10.1.0.2",))
        self.assertEqual(Result(interfaces, (at[0],)).pod_addresses("eth0"), ("10.1.0.0",))
        self.assertEqual(Result((), (evolve(at[1], interface=None),)).pod_addresses("eth0"), ("10.1.0.1",))

    def test_no_version(self) -> None:
        """A result without a version has the first version."""
        self.assertEqual(read_result({"ip4": {"ip": "10.1.0.2/24"}}).pod_addresses("eth0"), ("10.1.0.2",))

    def test_stray_index(self) -> None:
        """An interface index that the result does not list counts as none, as with libcni."""
        result = read_result({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24", "interface": 5}]})
        self.assertEqual(result.pod_addresses("eth0"), ("10.1.0.2",))

    def test_refused(self) -> None:
        """A document that is not a result is refused, and the text names the member."""
        for document, word in (
            ({"cniVersion": "3.0.0"}, "3.0.0"),
            ({"cniVersion": 1}, "cniVersion"),
            ({"ip4": {"ip": "10.1.0.2"}}, "ip4.ip"),
            ({"ip4": {"ip": "fd00::1/64"}}, "ip4.ip"),
            ({"ip6": {"gateway": "fd00::1"}}, "ip6.ip"),
            ({"ip4": []}, "ip4"),
            ({"cniVersion": "1.0.0", "ips": {}}, "ips"),
            ({"cniVersion": "1.0.0", "ips": [1]}, "ips[0]"),
            ({"cniVersion": "1.0.0", "ips": [{"address": "x/y"}]}, "ips[0].address"),
            ({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24", "gateway": "10.1/16"}]}, "ips[0].gateway"),
            ({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24", "interface": True}]}, "ips[0].interface"),
            ({"cniVersion": "1.0.0", "interfaces": [{"name": 1}]}, "interfaces[0].name"),
            ({"cniVersion": "1.0.0", "routes": [{"dst": "0.0.0.0/0", "mtu": "x"}]}, "routes[0]"),
            ({"cniVersion": "1.0.0", "routes": [{}]}, "routes[0].dst"),
            ({"cniVersion": "1.0.0", "dns": {"search": "x"}}, "dns.search"),
        ):
            problem = self.assertRaises(MalformedDocument, read_result, document)
            self.assertIn(word, str(problem))


class ConvertTests(SynchronousTestCase):
    """From one version to another."""

    def test_same_version(self) -> None:
        """A result of the wanted version is returned unchanged, with unknown members."""
        document = {"cniVersion": "0.4.0", "ips": [], "ours": {"x": 1}}
        self.assertIs(convert(document, "0.4.0"), document)

    def test_to_1_0_0(self) -> None:
        """1.0.0 has no address family."""
        document = convert(BRIDGE, "1.0.0")
        self.assertEqual(document["cniVersion"], "1.0.0")
        self.assertEqual([sorted(entry) for entry in document["ips"]], [["address", "gateway", "interface"]] * 2)

    def test_to_0_2_0(self) -> None:
        """0.2.0 has no interfaces, and routes belong to their family."""
        self.assertEqual(
            convert(BRIDGE, "0.2.0"),
            {
                "cniVersion": "0.2.0",
                "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
                "dns": {},
            },
        )

    def test_nothing_to_convert(self) -> None:
        """The oldest form must have an address."""
        self.assertRaises(MalformedDocument, convert, {"cniVersion": "1.0.0"}, "0.2.0")


_v4 = st.builds(lambda host, prefix: f"{host}/{prefix}", st.ip_addresses(v=4), st.integers(min_value=0, max_value=32))
_v6 = st.builds(
    lambda host, prefix: f"{host}/{prefix}",
    st.ip_addresses(v=6).map(lambda address: str(address)),
    st.integers(min_value=0, max_value=128),
)
_gateway = st.just("") | st.ip_addresses().map(str)
_words = st.lists(st.text("abc.", min_size=1, max_size=4), max_size=2).map(tuple)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Any result that the newest version can hold."""
    interfaces = draw(
        st.lists(
            st.builds(
                ResultInterface,
                name=st.sampled_from(["eth0", "eth1", "cni0"]),
                mac=st.sampled_from(["", "02:00:00:00:00:01"]),
                sandbox=st.sampled_from(["", "/proc/7/ns/net"]),
                more=st.fixed_dictionaries({}, optional={"mtu": st.integers(68, 9000), "socketPath": st.just("/s")}),
            ),
            max_size=3,
        )
    )
    index = st.none() | st.integers(0, len(interfaces) - 1) if interfaces else st.none()
    addresses = draw(st.lists(st.builds(ResultAddress, _v4 | _v6, _gateway, index), max_size=4))
    numbers = st.fixed_dictionaries({}, optional={"mtu": st.integers(68, 9000), "priority": st.integers(0, 9)})
    routes = draw(st.lists(st.builds(ResultRoute, _v4 | _v6, _gateway, numbers), max_size=3))
    dns = draw(st.builds(ResultDNS, _words, st.sampled_from(["", "a.b"]), _words, _words))
    return Result(tuple(interfaces), tuple(addresses), tuple(routes), dns)


def held_by(result: Result, version: str) -> Result:
    """The part of *result* that a document of *version* can hold."""
    if at_least(version, "1.1.0"):
        return result
    routes = tuple(evolve(route, more={}) for route in result.routes)
    if at_least(version, "0.3.0"):
        interfaces = tuple(evolve(interface, more={}) for interface in result.interfaces)
        return evolve(result, interfaces=interfaces, routes=routes)
    firsts = [next((one for one in result.addresses if one.family == family), None) for family in (4, 6)]
    kept = tuple(evolve(address, interface=None) for address in firsts if address is not None)
    families = [address.family for address in kept]
    return Result(
        (), kept, tuple(route for family in families for route in routes if route.family == family), result.dns
    )


@settings(max_examples=80, deadline=None)
@given(results(), st.sampled_from(SPEC_VERSIONS))
def test_round_trip(result: Result, version: str) -> None:
    """A result written in any version reads back as the part that this version can hold, through JSON."""
    expected = held_by(result, version)
    try:
        document = result_document(result, version)
    except MalformedDocument:
        assert not at_least(version, "0.3.0")
        assert not result.addresses
        return
    assert read_result(json.loads(json.dumps(document))) == expected


@settings(max_examples=80, deadline=None)
@given(results(), st.sampled_from(SPEC_VERSIONS), st.sampled_from(SPEC_VERSIONS))
def test_conversion(result: Result, one: str, other: str) -> None:
    """Converting equals writing in the other version directly, as far as the first could hold the result."""
    if not result.addresses:
        return
    document = result_document(result, one)
    converted = convert(document, other)
    assert converted["cniVersion"] == other
    assert read_result(converted) == held_by(held_by(result, one), other)


@settings(max_examples=80, deadline=None)
@given(results(), st.sampled_from(SPEC_VERSIONS))
def test_addresses_in_any_version(result: Result, version: str) -> None:
    """A pod has its addresses with a plugin of any version: in order, each once, none invented."""
    if not result.addresses:
        return
    kept = held_by(result, version)
    addresses = read_result(result_document(result, version)).pod_addresses("eth0")
    assert addresses == kept.pod_addresses("eth0")
    assert addresses
    assert len(set(addresses)) == len(addresses)
    if at_least(version, "0.3.0"):
        remaining = iter([address.host for address in result.addresses])
        assert all(address in remaining for address in addresses)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | _v4,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ips", "ip4", "ip", "address", "interface", "interfaces", "routes", "dst", "dns", "name"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["ips", "ip4", "ip6", "interfaces", "routes", "dns"]), _anything),
    st.sampled_from(SPEC_VERSIONS),
)
def test_any_document(document: dict[str, Any], version: str) -> None:
    """Every document is read or refused, with no other exception."""
    try:
        result = read_result(document | {"cniVersion": version})
    except MalformedDocument:
        return
    result.pod_addresses("eth0")
