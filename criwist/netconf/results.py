"""Results of ADD, in the form of every version of the specification, as one value.

Three forms exist::

    0.1.0, 0.2.0   {"ip4": {"ip": CIDR, "gateway": IP, "routes": [{"dst", "gw"}]}, "ip6": {…}, "dns": {…}}
    0.3.0 … 0.4.0  {"interfaces": […], "ips": [{"version": "4", "address": CIDR, "gateway", "interface": N}],
                    "routes": [{"dst", "gw"}], "dns": {…}}
    1.0.0, 1.1.0   the same without "version"; 1.1.0 adds members to interfaces and routes

The oldest holds one address a family and no interfaces; a conversion to it drops the others, any other keeps all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from criwist.netconf.plugin_errors import MalformedDocument, list_or_empty, object_or_empty, text_or_empty
from criwist.netconf.versions import DEFAULT_VERSION, at_least, known

_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


@frozen
class ResultInterface:
    """An interface that a plugin made or found, in the pod (``sandbox`` names its namespace) or on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    #: ``mtu``, ``socketPath``, ``pciID`` (1.1.0), as far as the result has them.
    more: Mapping[str, Any] = field(factory=dict, hash=False)


@frozen
class ResultAddress:
    """An address with its prefix length."""

    address: str
    gateway: str = ""
    #: Index into the result's interfaces.
    interface: int | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_interface(self.address).version

    @property
    def host(self) -> str:
        """Return the address without its prefix length."""
        return str(ipaddress.ip_interface(self.address).ip)


@frozen
class ResultRoute:
    """A route of the pod."""

    destination: str
    gateway: str = ""
    #: ``mtu``, ``advmss``, ``priority``, ``table``, ``scope`` (1.1.0), as far as the result has them.
    more: Mapping[str, int] = field(factory=dict, hash=False)

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_interface(self.destination).version


@frozen
class ResultDNS:
    """The network's name resolution; Kubernetes gives pods its own."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@frozen
class Result:
    """The result of ADD."""

    interfaces: tuple[ResultInterface, ...] = ()
    addresses: tuple[ResultAddress, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    dns: ResultDNS = field(factory=ResultDNS)

    def pod_addresses(self, interface: str) -> tuple[str, ...]:
        """Return the pod's addresses in the plugin's order, without prefix lengths.

        They are those on *interface* in the pod, if the result has any; else those on any interface in the pod; else
        all, as in results without interfaces.
        """
        on_interface, inside = [], []
        for address in self.addresses:
            at = None if address.interface is None else self.interfaces[address.interface]
            if at is not None and at.sandbox:
                inside.append(address.host)
                if at.name == interface:
                    on_interface.append(address.host)
        return tuple(dict.fromkeys(on_interface or inside or [address.host for address in self.addresses]))


def result_version(document: Mapping[str, Any]) -> str:
    """Return the version of a result.

    :raises MalformedDocument: the version is not known.
    """
    version = text_or_empty(document.get("cniVersion"), "cniVersion") or DEFAULT_VERSION
    if not known(version):
        raise MalformedDocument(f"it is of CNI version {version}, which is not known")
    return version


def read_result(document: Mapping[str, Any]) -> Result:
    """Read a result of any version.

    :raises MalformedDocument: it is not a result; the text names the wrong member.
    """
    if at_least(result_version(document), "0.3.0"):
        return _read_lists(document)
    return _read_families(document)


def result_document(result: Result, version: str) -> dict[str, Any]:
    """Return the result in the form of *version*.

    :raises MalformedDocument: the form cannot hold it: 0.1.0 and 0.2.0 need an address.
    """
    if at_least(version, "0.3.0"):
        return _lists(result, version)
    return _families(result, version)


def convert(document: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    """Return *document* as a result of *version*; unchanged, with unknown members, if it is of that version already.

    :raises MalformedDocument: it is not a result, or the form of *version* cannot hold it.
    """
    if result_version(document) == version:
        return document
    return result_document(read_result(document), version)


# -- 0.3.0 and later


def _read_lists(document: Mapping[str, Any]) -> Result:
    interfaces = tuple(
        _read_interface(object_or_empty(entry, f"interfaces[{index}]"), f"interfaces[{index}]")
        for index, entry in enumerate(list_or_empty(document.get("interfaces"), "interfaces"))
    )
    addresses = tuple(
        _read_address(object_or_empty(entry, f"ips[{index}]"), f"ips[{index}]", len(interfaces))
        for index, entry in enumerate(list_or_empty(document.get("ips"), "ips"))
    )
    return Result(interfaces, addresses, _read_routes(document, "routes"), _read_dns(document))


def _read_interface(entry: Mapping[str, Any], where: str) -> ResultInterface:
    return ResultInterface(
        name=text_or_empty(entry.get("name"), f"{where}.name"),
        mac=text_or_empty(entry.get("mac"), f"{where}.mac"),
        sandbox=text_or_empty(entry.get("sandbox"), f"{where}.sandbox"),
        more={key: entry[key] for key in ("mtu", "socketPath", "pciID") if entry.get(key) is not None},
    )


def _read_address(entry: Mapping[str, Any], where: str, interfaces: int) -> ResultAddress:
    index = entry.get("interface")
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise MalformedDocument(f"{where}.interface is not a number")
    if index is not None and not 0 <= index < interfaces:
        # Some IPAM plugins return this; libcni's users treat it as an address without an interface.
        index = None
    return ResultAddress(
        address=_network(entry.get("address"), f"{where}.address"),
        gateway=_host(entry.get("gateway"), f"{where}.gateway"),
        interface=index,
    )


def _lists(result: Result, version: str) -> dict[str, Any]:
    document: dict[str, Any] = {"cniVersion": version}
    newest = at_least(version, "1.1.0")
    if result.interfaces:
        document["interfaces"] = [
            {"name": interface.name}
            | _given(mac=interface.mac, sandbox=interface.sandbox)
            | (dict(interface.more) if newest else {})
            for interface in result.interfaces
        ]
    if result.addresses:
        document["ips"] = [
            ({} if at_least(version, "1.0.0") else {"version": str(address.family)})
            | {"address": address.address}
            | _given(gateway=address.gateway)
            | ({} if address.interface is None else {"interface": address.interface})
            for address in result.addresses
        ]
    if result.routes:
        document["routes"] = [_route(route, with_numbers=newest) for route in result.routes]
    document["dns"] = _dns(result.dns)
    return document


# -- 0.1.0 and 0.2.0


def _read_families(document: Mapping[str, Any]) -> Result:
    addresses: list[ResultAddress] = []
    routes: list[ResultRoute] = []
    for key, family in (("ip4", 4), ("ip6", 6)):
        entry = object_or_empty(document.get(key), key)
        if not entry:
            continue
        address = ResultAddress(_network(entry.get("ip"), f"{key}.ip"), _host(entry.get("gateway"), f"{key}.gateway"))
        if address.family != family:
            raise MalformedDocument(f"{key}.ip is not an IPv{family} address: {address.address}")
        addresses.append(address)
        routes.extend(_read_routes(entry, f"{key}.routes"))
    return Result((), tuple(addresses), tuple(routes), _read_dns(document))


def _families(result: Result, version: str) -> dict[str, Any]:
    document: dict[str, Any] = {"cniVersion": version}
    for key, family in (("ip4", 4), ("ip6", 6)):
        address = next((one for one in result.addresses if one.family == family), None)
        if address is None:
            continue
        routes = [_route(route, with_numbers=False) for route in result.routes if route.family == family]
        document[key] = (
            {"ip": address.address} | _given(gateway=address.gateway) | ({"routes": routes} if routes else {})
        )
    if "ip4" not in document and "ip6" not in document:
        raise MalformedDocument(f"a result of version {version} must have an address")
    document["dns"] = _dns(result.dns)
    return document


# -- members of all forms


def _read_routes(document: Mapping[str, Any], where: str) -> tuple[ResultRoute, ...]:
    routes = []
    for index, item in enumerate(list_or_empty(document.get("routes"), where)):
        entry = object_or_empty(item, f"{where}[{index}]")
        numbers = {key: entry[key] for key in _ROUTE_NUMBERS if entry.get(key) is not None}
        if not all(isinstance(number, int) for number in numbers.values()):
            raise MalformedDocument(f"{where}[{index}] has a member that is not a number")
        destination = _network(entry.get("dst"), f"{where}[{index}].dst")
        routes.append(ResultRoute(destination, _host(entry.get("gw"), f"{where}[{index}].gw"), numbers))
    return tuple(routes)


def _route(route: ResultRoute, *, with_numbers: bool) -> dict[str, Any]:
    return {"dst": route.destination} | _given(gw=route.gateway) | (dict(route.more) if with_numbers else {})


def _read_dns(document: Mapping[str, Any]) -> ResultDNS:
    entry = object_or_empty(document.get("dns"), "dns")
    nameservers, search, options = (
        tuple(text_or_empty(item, f"dns.{key}") for item in list_or_empty(entry.get(key), f"dns.{key}"))
        for key in ("nameservers", "search", "options")
    )
    return ResultDNS(nameservers, text_or_empty(entry.get("domain"), "dns.domain"), search, options)


def _dns(dns: ResultDNS) -> dict[str, Any]:
    return _given(
        nameservers=list(dns.nameservers), domain=dns.domain, search=list(dns.search), options=list(dns.options)
    )


def _given(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value}


def _network(value: object, where: str) -> str:
    text = text_or_empty(value, where)
    try:
        ipaddress.ip_interface(text)
    except ValueError as problem:
        raise MalformedDocument(f"{where} is not an address with a prefix length: {text!r}") from problem
    if "/" not in text:
        raise MalformedDocument(f"{where} has no prefix length: {text!r}")
    return text


def _host(value: object, where: str) -> str:
    text = text_or_empty(value, where)
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError as problem:
        raise MalformedDocument(f"{where} is not an address: {text!r}") from problem
