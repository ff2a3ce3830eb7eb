"""The two networks without CNI: Docker's bridge and the host's."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from attrs import evolve
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.errors import EngineFailure, FailedPrecondition
from criwist.interfaces.network import IPodNetwork, PodNetwork, PodNetworkRequest
from criwist.network.bridge import BridgeNetwork, engine_addresses
from criwist.network.host import HostNetwork

REQUEST = PodNetworkRequest("a" * 64, "pod", "default", "uid")


def pause(**networks: Any) -> dict[str, Any]:
    """An inspected container on these networks."""
    return {"NetworkSettings": {"IPAddress": "", "Networks": networks}}


class BridgeTests(SynchronousTestCase):
    """Docker's bridge."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.logged: list[dict[str, Any]] = []
        self.network = BridgeNetwork(self.directory, log=Logger(observer=self.logged.append))  # type: ignore[arg-type]

    def _sysctl(self, name: str, value: str) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as setting:
            setting.write(value)
        return path

    def _set_up(self, inspected: dict[str, Any]) -> PodNetwork:
        return self.successResultOf(ensureDeferred(self.network.set_up(REQUEST, inspected)))

    def test_interface(self) -> None:
        """It is a pod network whose host ports the engine publishes."""
        verifyObject(IPodNetwork, self.network)
        self.assertTrue(self.network.publishes_ports)
        self.assertTrue(self.network.condition().ready)

    def test_addresses(self) -> None:
        """A pod has the engine's addresses, IPv4 first."""
        network = self._set_up(pause(bridge={"IPAddress": "172.17.0.2", "GlobalIPv6Address": "fd00::2"}))
        self.assertEqual(network.addresses, ("172.17.0.2", "fd00::2"))

    def test_no_address(self) -> None:
        """A pause without an address fails the set-up."""
        self.failureResultOf(ensureDeferred(self.network.set_up(REQUEST, pause(none={"IPAddress": ""}))), EngineFailure)

    def test_annotations(self) -> None:
        """An annotation that asks for an address is rejected, since the engine would ignore it."""
        request = evolve(REQUEST, annotations={"network.criwist/ips": "172.17.0.9"})
        inspected = pause(bridge={"IPAddress": "172.17.0.2"})
        failure = self.failureResultOf(ensureDeferred(self.network.set_up(request, inspected)), FailedPrecondition)
        self.assertEqual(
            str(failure.value), "annotation network.criwist/ips: Docker's bridge does not have the capability ips"
        )

    def test_recall(self) -> None:
        """An adopted pod has the engine's present addresses, or none."""
        self.assertEqual(
            self.network.recall(REQUEST, pause(bridge={"IPAddress": "172.17.0.2"})), PodNetwork(("172.17.0.2",))
        )
        self.assertIsNone(self.network.recall(REQUEST, {}))

    def test_bridge_filter(self) -> None:
        """The bridge filter is enabled before the first pod, as in dockershim; one that is enabled is not written."""
        path = self._sysctl("bridge-nf-call-iptables", "0\n")
        self._set_up(pause(bridge={"IPAddress": "172.17.0.2"}))
        with open(path, encoding="ascii") as setting:
            self.assertEqual(setting.read(), "1\n")
        self.assertEqual({event["log_level"].name for event in self.logged}, {"debug"})

    def test_teardown(self) -> None:
        """A teardown without record and pause succeeds."""
        self.successResultOf(ensureDeferred(self.network.tear_down(REQUEST, None, None)))


class HostTests(SynchronousTestCase):
    """The host's network."""

    def test_interface(self) -> None:
        """It is a pod network without addresses, as the CRI requires for the host's network."""
        network = HostNetwork()
        verifyObject(IPodNetwork, network)
        self.assertEqual(self.successResultOf(ensureDeferred(network.set_up(REQUEST, {}))).addresses, ())
        self.assertEqual(network.recall(REQUEST, {}), PodNetwork())


class EngineAddressTests(SynchronousTestCase):
    """Reading an inspected container."""

    def test_every_network(self) -> None:
        """The default bridge comes first, then the others by name; none twice."""
        inspected = pause(
            zone={"IPAddress": "10.0.0.9"}, alpha={"IPAddress": "10.0.0.5"}, bridge={"IPAddress": "172.17.0.2"}
        )
        inspected["NetworkSettings"]["IPAddress"] = "172.17.0.2"
        self.assertEqual(engine_addresses(inspected), ("172.17.0.2", "10.0.0.5", "10.0.0.9"))

    def test_old_form(self) -> None:
        """The addresses of an engine that has them at the top level alone are found."""
        self.assertEqual(
            engine_addresses({"NetworkSettings": {"IPAddress": "172.17.0.2", "Networks": None}}), ("172.17.0.2",)
        )

    def test_missing_members(self) -> None:
        """Missing members of the document raise no error."""
        self.assertEqual(engine_addresses({"NetworkSettings": {"Networks": {"bridge": None}}}), ())
