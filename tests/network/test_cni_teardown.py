"""CNI networks: teardown of a pod, which runs DEL."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.internet.defer import ensureDeferred

from criwist.errors import PluginFailure
from criwist.interfaces.network import PodNetwork
from criwist.netconf.cache import Cached, write_cached
from criwist.netconf.invocations import Attachment
from tests.network.cni_case import NETNS, PAUSE, PORTS, CNICase
from tests.network.fake_plugins import LIST, plugin_error, pod


class TearDownTests(CNICase):
    """DEL, its configuration, and its network namespace."""

    def test_tear_down(self) -> None:
        """DEL runs backwards with the result of ADD and leaves nothing; a second teardown runs no plugin."""
        made = self.set_up(pod("a"))
        self.tear_down(pod("a"), made)
        self.assertEqual(self.plugins.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        call = self.plugins.last("DEL bridge")
        self.assertEqual(call.configuration["prevResult"], made.record["result"])
        self.assertEqual((self.files_left(), self.netns_mounts.mounted), ([], {}))
        self.tear_down(pod("a"), made)
        self.assertEqual(len(self.plugins.pod_calls()), 4)

    def test_from_the_record(self) -> None:
        """DEL uses the configuration of ADD, whatever the configuration is now."""
        made = self.set_up(pod("a", port_mappings=PORTS))
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.network = self.restart()
        self.tear_down(pod("a"), made)
        self.assertEqual(self.plugins.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        self.assertEqual(
            self.plugins.last("DEL portmap").configuration["runtimeConfig"]["portMappings"][0]["hostPort"], 8080
        )
        self.assertEqual(self.files_left(), [])

    def test_from_the_journal(self) -> None:
        """A sandbox whose record is lost is released by the journal's entry."""
        self.set_up(pod("a"))
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.network = self.restart()
        self.tear_down(pod("a"), None)
        self.assertEqual((self.plugins.pod_calls()[2:], self.files_left()), (["DEL portmap", "DEL bridge"], []))

    def test_damaged_record(self) -> None:
        """If the record is damaged, teardown uses the journal."""
        self.set_up(pod("a"))
        self.tear_down(pod("a"), PodNetwork((), {"list": "?"}))
        self.assertEqual(self.files_left(), [])

    def write_cache(self, sandbox_id: str) -> None:
        attachment = Attachment(sandbox_id, "/proc/1/ns/net", "eth0", (("K8S_POD_NAME", "old"),), {})
        text = '{"name": "older", "cniVersion": "0.4.0", "plugins": [{"type": "bridge"}]}'
        result = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.9.0.2/24"}]}
        os.makedirs(self.plugins.path("cache", "results"))
        with open(self.plugins.path("cache", "results", f"older-{sandbox_id}-eth0"), "w", encoding="utf-8") as file:
            file.write(write_cached(Cached("older", text, attachment, result)))

    def test_from_the_cache(self) -> None:
        """A pod that cri-dockerd attached is released with its configuration, in the namespace of its pause."""
        self.write_cache("a" * 64)
        self.tear_down(pod("a"), None)
        self.assertEqual(self.plugins.pod_calls(), ["DEL bridge"])
        call = self.plugins.last("DEL bridge")
        self.assertEqual((call.configuration["name"], call.configuration["cniVersion"]), ("older", "0.4.0"))
        self.assertEqual((call.environment["CNI_NETNS"], call.environment["CNI_ARGS"]), (NETNS, "K8S_POD_NAME=old"))
        self.assertEqual(self.files_left(), [])

    def test_recall(self) -> None:
        """The network of an adopted pod comes from the cache, of criwist's own from the journal; others have none."""
        self.write_cache("b" * 64)
        made = self.set_up(pod("a"))
        self.assertEqual(self.network.recall(pod("a"), PAUSE), made)
        recalled = self.network.recall(pod("b"), PAUSE)
        self.assertEqual(recalled and recalled.addresses, ("10.9.0.2",))
        self.assertIsNone(self.network.recall(pod("c"), PAUSE))

    def test_by_guess(self) -> None:
        """A pod without any record is released by the active configuration; a failure is only logged."""
        self.tear_down(pod("a"), None)
        self.assertEqual(self.plugins.pod_calls(), ["DEL portmap", "DEL bridge"])
        self.plugins.outcomes["DEL portmap"] = plugin_error("never seen it")
        self.tear_down(pod("b"), None)
        self.assertEqual(self.plugins.pod_calls()[2:], ["DEL portmap"])

    def test_nothing_known(self) -> None:
        """Without record and configuration, teardown does nothing and succeeds."""
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.network = self.restart()
        self.tear_down(pod("a"), None)
        self.assertEqual(self.plugins.pod_calls(), [])

    def test_failure(self) -> None:
        """A failed DEL fails with the plugin's message, the attachment stays on record, and the next try succeeds."""
        made = self.set_up(pod("a"))
        self.plugins.outcomes["DEL bridge"] = plugin_error("bridge is busy")
        problem = self.failureResultOf(ensureDeferred(self.network.tear_down(pod("a"), made, PAUSE)), PluginFailure)
        self.assertIn("bridge is busy", str(problem.value))
        self.assertEqual(len(self.files_left()), 2)
        del self.plugins.outcomes["DEL bridge"]
        self.tear_down(pod("a"), made)
        self.assertEqual(self.files_left(), [])

    def test_mounted_namespace(self) -> None:
        """When the pause is dead, DEL gets the path of the namespace's bind mount."""
        made = self.set_up(pod("a"))
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.successResultOf(ensureDeferred(self.network.tear_down(pod("a"), evolve(made, record=record), None)))
        self.assertEqual(self.plugins.last("DEL bridge").environment["CNI_NETNS"], NETNS)

    def test_namespace_gone(self) -> None:
        """If namespace and mount are gone, DEL gets the empty path, and "no such file" is ignored.

        It is ignored for the plugin that reports it: the others run, and release what they hold.
        """
        made = self.set_up(pod("a"))
        self.netns_mounts.mounted.clear()
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.plugins.outcomes["DEL portmap"] = plugin_error("failed to open netns: No such file or directory")
        self.successResultOf(ensureDeferred(self.network.tear_down(pod("a"), evolve(made, record=record), None)))
        self.assertEqual(self.plugins.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        self.assertEqual(self.plugins.last("DEL portmap").environment["CNI_NETNS"], "")
        self.assertEqual(self.files_left(), [])

    def test_namespace_and_plugin_gone(self) -> None:
        """A plugin that cannot be started has released nothing, so "no such file" is not ignored then."""
        made = self.set_up(pod("a"))
        self.netns_mounts.mounted.clear()
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.plugins.outcomes["DEL portmap"] = FileNotFoundError(2, "No such file or directory")
        tearing = ensureDeferred(self.network.tear_down(pod("a"), evolve(made, record=record), None))
        self.assertIn("cannot be started", str(self.failureResultOf(tearing, PluginFailure).value))
        self.assertEqual(len(self.files_left()), 2)

    def test_namespace_of_another(self) -> None:
        """A path that leads to another namespace, since the pid was reused, is not passed to plugins."""
        made = self.set_up(pod("a"))
        self.netns_mounts.mounted.clear()
        record = dict(made.record) | {"netns_inode": 1}
        self.successResultOf(ensureDeferred(self.network.tear_down(pod("a"), evolve(made, record=record), PAUSE)))
        self.assertEqual(self.plugins.last("DEL bridge").environment["CNI_NETNS"], "")

    def test_old_versions(self) -> None:
        """Plugins older than 0.4.0 get no result on DEL."""
        self.plugins.configure(LIST | {"cniVersion": "0.3.1"})
        made = self.set_up(pod("a"))
        self.tear_down(pod("a"), made)
        self.assertNotIn("prevResult", self.plugins.last("DEL bridge").configuration)
