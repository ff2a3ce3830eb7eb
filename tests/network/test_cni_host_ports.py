"""CNI networks: host ports, which only one pod may hold."""

from __future__ import annotations

import os

from twisted.internet.defer import ensureDeferred

from criwist.errors import FailedPrecondition, PluginFailure
from criwist.interfaces.network import PortMapping
from criwist.netconf.cache import Cached, write_cached
from criwist.netconf.invocations import Attachment
from criwist.network.hostports import HostPorts
from criwist.records.atomic_files import Documents
from tests.network.cni_case import PAUSE, PORTS, CNICase
from tests.network.fake_plugins import plugin_error, pod


class HostPortTests(CNICase):
    """Conflicts of host ports, and who holds them after a restart."""

    def test_conflict(self) -> None:
        """The second pod with a host port is rejected, no plugin runs for it, and the first pod keeps the port."""
        made = self.set_up(pod("a", port_mappings=PORTS))
        before = list(self.plugins.pod_calls())
        request = pod("b", port_mappings=PORTS)
        problem = self.failureResultOf(ensureDeferred(self.network.set_up(request, PAUSE)), FailedPrecondition)
        self.assertEqual(str(problem.value), f"host port 8080/tcp is held by sandbox {'a' * 64}")
        self.assertEqual((self.plugins.pod_calls(), len(self.files_left())), (before, 2))
        self.tear_down(pod("a", port_mappings=PORTS), made)
        self.set_up(request)

    def test_another_network(self) -> None:
        """After a node has changed to another network, pods of the old network keep their host ports."""
        self.set_up(pod("a", port_mappings=PORTS))
        host_ports = HostPorts()
        old, new = (self.restart(name, host_ports) for name in ("cni", "kubenet"))
        self.successResultOf(ensureDeferred(old.reconcile({"a" * 64: pod("a")})))
        self.failureResultOf(ensureDeferred(new.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition)

    def test_restart(self) -> None:
        """After a restart, host ports of attached pods are reserved before reconciliation."""
        self.set_up(pod("a", port_mappings=PORTS))
        network = self.restart()
        self.failureResultOf(ensureDeferred(network.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition)

    def test_leftover(self) -> None:
        """A pod that needs the host port of a failed pod has that pod's leftovers released first."""
        self.plugins.outcomes["ADD portmap"] = plugin_error("no")
        self.plugins.outcomes["DEL portmap"] = plugin_error("no either")
        self.failureResultOf(ensureDeferred(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE)), PluginFailure)
        self.failureResultOf(
            ensureDeferred(self.network.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition
        )
        self.plugins.outcomes.clear()
        self.set_up(pod("c", port_mappings=PORTS))
        self.assertEqual(self.network.verbose()["leftovers"], {})

    def test_reboot(self) -> None:
        """After a reboot, another pod can get the host port of a pod whose namespace is gone, and DEL runs first."""
        self.set_up(pod("a", port_mappings=PORTS))
        self.netns_mounts.mounted.clear()
        network = self.restart()
        documents = Documents(self.plugins.path("journal"), 1)
        document = documents.read("a" * 64)
        assert document is not None
        documents.write("a" * 64, dict(document) | {"netns_inode": 1})
        self.set_up(pod("b", port_mappings=PORTS), network)
        self.assertEqual(self.plugins.pod_calls()[2:], ["DEL portmap", "DEL bridge", "ADD bridge", "ADD portmap"])
        self.assertEqual(self.files_left(), ["b" * 64 + ".json", "pods-" + "b" * 64 + "-eth0"])

    def test_adopted_pods(self) -> None:
        """Host ports of adopted pods that are attached are reserved; those of stopped pods are not."""
        os.makedirs(self.plugins.path("cache", "results"))
        attachment = Attachment("a" * 64, "", "eth0", (), {})
        with open(self.plugins.path("cache", "results", f"pods-{'a' * 64}-eth0"), "w", encoding="utf-8") as file:
            text = '{"name": "pods", "cniVersion": "0.4.0", "plugins": [{"type": "bridge"}]}'
            file.write(write_cached(Cached("pods", text, attachment, {"cniVersion": "0.4.0"})))
        other = (PortMapping("tcp", 1, 2),)
        self.reconcile(self.network, pod("a", port_mappings=PORTS), pod("b", port_mappings=other))
        self.failureResultOf(
            ensureDeferred(self.network.set_up(pod("c", port_mappings=PORTS), PAUSE)), FailedPrecondition
        )
        self.set_up(pod("d", port_mappings=other))
