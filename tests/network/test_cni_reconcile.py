"""CNI networks: leftovers of crashes and of failing plugins, and reconciliation at start."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred

from criwist.errors import PluginFailure
from criwist.network.plugin_process import Output
from criwist.network.readiness import POLL_INTERVAL
from criwist.network.teardown import RETRY_INTERVAL
from tests.network.cni_case import NETNS, PAUSE, PORTS, CNICase
from tests.network.fake_plugins import LIST, plugin_error, pod


class LeftoverTests(CNICase):
    """Attachments that no RPC will release."""

    def test_failing_undo(self) -> None:
        """When DEL after a failed ADD fails too, it is retried every minute until it succeeds."""
        self.plugins.outcomes["ADD portmap"] = plugin_error("no")
        self.plugins.outcomes["DEL portmap"] = plugin_error("no either")
        self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(list(self.network.verbose()["leftovers"]), ["a" * 64])
        tries = len(self.plugins.pod_calls())
        self.clock.pump([POLL_INTERVAL] * int(RETRY_INTERVAL / POLL_INTERVAL))
        self.assertEqual(len(self.plugins.pod_calls()), tries + 1)
        del self.plugins.outcomes["DEL portmap"]
        self.clock.pump([POLL_INTERVAL] * int(RETRY_INTERVAL / POLL_INTERVAL))
        self.assertEqual((self.files_left(), self.network.verbose()["leftovers"]), ([], {}))

    def test_killed_in_add(self) -> None:
        """At start, an ADD that a crash interrupted is undone: its processes are killed, then DEL runs."""
        self.plugins.outcomes["ADD portmap"] = Deferred()
        ensureDeferred(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE))
        self.plugins.outcomes.clear()
        network = self.restart()
        self.reconcile(network)
        self.assertEqual(self.stray_kills[0], {"a" * 64})
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        previous = self.plugins.last("DEL portmap").configuration["prevResult"]
        self.assertEqual(previous["ips"][0]["address"], "10.1.0.2/24")
        self.assertEqual((self.files_left(), self.netns_mounts.mounted), ([], {}))
        self.set_up(pod("b", port_mappings=PORTS), network)

    def test_killed_in_add_of_a_known_sandbox(self) -> None:
        """If the sandbox still exists, stray processes are killed at once, and DEL runs with StopPodSandbox."""
        self.plugins.outcomes["ADD bridge"] = Deferred()
        ensureDeferred(self.network.set_up(pod("a"), PAUSE))
        self.plugins.outcomes.clear()
        self.network = self.restart()
        self.reconcile(self.network, pod("a"))
        self.assertEqual((self.stray_kills, self.plugins.pod_calls()), ([{"a" * 64}], ["ADD bridge"]))
        self.tear_down(pod("a"), None)
        self.assertEqual(self.plugins.last("DEL bridge").environment["CNI_NETNS"], NETNS)
        self.assertEqual(self.files_left(), [])

    def test_gone_sandboxes(self) -> None:
        """Attachments of sandboxes that are gone are released; others stay."""
        self.set_up(pod("a"))
        self.set_up(pod("b"))
        network = self.restart()
        self.reconcile(network, pod("b"))
        self.assertEqual(self.files_left(), ["b" * 64 + ".json", "pods-" + "b" * 64 + "-eth0"])

    def test_sandboxes_since_the_start(self) -> None:
        """A pod that was set up since the start is not released, though it is not among the known sandboxes."""
        self.set_up(pod("a"))
        self.reconcile(self.network)
        self.assertEqual(len(self.files_left()), 2)


class GarbageCollectionTests(CNICase):
    """GC and CHECK at start."""

    def test_collection(self) -> None:
        """Plugins of 1.1.0 get the valid attachments at start (GC), unless the list disables it."""
        self.plugins.configure(LIST | {"cniVersion": "1.1.0"})
        self.set_up(pod("a"))
        self.set_up(pod("b"))
        network = self.restart()
        self.reconcile(network, pod("b"))
        self.assertEqual(
            self.plugins.last("GC portmap").configuration["cni.dev/valid-attachments"],
            [{"containerID": "b" * 64, "ifname": "eth0"}],
        )
        self.reconcile(self.restart(), pod("b"), pod("c"))
        self.assertEqual(
            [one["containerID"][0] for one in self.plugins.last("GC bridge").configuration["cni.dev/attachments"]],
            ["b", "c"],  # of which nothing is recorded but that it exists
        )
        self.plugins.configure(LIST | {"cniVersion": "1.1.0", "disableGC": True})
        calls = self.plugins.pod_calls().count("GC bridge")
        self.reconcile(self.restart(), pod("b"))
        self.assertEqual(self.plugins.pod_calls().count("GC bridge"), calls)

    def test_check(self) -> None:
        """Attachments are checked at start (CHECK); a failed check is shown until the pod is removed."""
        made = self.set_up(pod("a"))
        self.network = self.restart()
        self.plugins.outcomes["CHECK portmap"] = plugin_error("rule is gone")
        self.reconcile(self.network, pod("a"))
        self.assertIn("rule is gone", self.network.verbose()["failed_checks"]["a" * 64])
        self.assertTrue(self.network.condition().ready)
        self.tear_down(pod("a"), made)
        self.assertEqual(self.network.verbose()["failed_checks"], {})

    def test_check_that_crashes(self) -> None:
        """A plugin that crashes in CHECK reports nothing about the pod's network; the crash is logged."""
        self.set_up(pod("a"))
        network = self.restart()
        self.plugins.outcomes["CHECK portmap"] = Output(2, b"", b"panic: nil pointer")
        self.reconcile(network, pod("a"))
        self.assertEqual(network.verbose()["failed_checks"], {})
        logged = [event for event in self.logged if "panic: nil pointer" in str(event.get("failure"))]
        self.assertEqual([event["log_level"].name for event in logged], ["info"])

    def test_no_check(self) -> None:
        """A list that disables CHECK, or is too old for it, is not checked."""
        for document in (LIST | {"disableCheck": True}, LIST | {"cniVersion": "0.3.1"}):
            self.plugins.configure(document)
            self.set_up(pod("a"))
            self.reconcile(self.restart(), pod("a"))
        self.assertNotIn("CHECK bridge", self.plugins.pod_calls())
