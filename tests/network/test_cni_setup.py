"""CNI networks: set-up of a pod, which runs ADD."""

from __future__ import annotations

import os

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from zope.interface.verify import verifyObject

from criwist.errors import FailedPrecondition, InvalidArgument, PluginFailure, Unavailable
from criwist.interfaces.network import IPodNetwork
from criwist.network.plugin_process import Output
from tests.network.cni_case import NETNS, PAUSE, PORTS, CNICase
from tests.network.fake_plugins import LIST, plugin_error, pod


class SetUpTests(CNICase):
    """ADD, and DEL after a failed ADD."""

    def test_interface(self) -> None:
        """CNINetwork provides IPodNetwork, and its sandboxes have no network of the engine's."""
        verifyObject(IPodNetwork, self.network)
        self.assertEqual((self.network.docker_network_mode, self.network.publishes_ports), ("none", False))
        self.assertTrue(self.network.condition().ready)

    def test_set_up(self) -> None:
        """A pod gets its addresses; journal, cache and namespace mount exist, and the record has all that DEL needs."""
        made = self.set_up(pod("a"))
        self.assertEqual(made.addresses, ("10.1.0.2",))
        self.assertEqual(self.files_left(), ["a" * 64 + ".json", "pods-" + "a" * 64 + "-eth0"])
        self.assertEqual(self.netns_mounts.mounted, {"a" * 64: NETNS})
        self.assertEqual(made.record["result"]["ips"][0]["address"], "10.1.0.2/24")

    def test_arguments(self) -> None:
        """Plugins get the pod's identity in the variables and arguments that other runtimes pass."""
        self.set_up(pod("a", port_mappings=PORTS))
        environment = self.plugins.last("ADD portmap").environment
        self.assertEqual(
            environment["CNI_ARGS"],
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-a;"
            f"K8S_POD_INFRA_CONTAINER_ID={'a' * 64};K8S_POD_UID=uid-a",
        )
        self.assertEqual((environment["CNI_IFNAME"], environment["CNI_NETNS"]), ("eth0", NETNS))
        self.assertEqual(
            self.plugins.last("ADD portmap").configuration["runtimeConfig"]["portMappings"][0]["hostPort"], 8080
        )

    def test_loopback(self) -> None:
        """Where the loopback plugin is installed it runs before the others, with the older shims' names."""
        self.plugins.install("loopback")
        self.plugins.outcomes["ADD loopback"] = Output(0, b'{"cniVersion": "0.2.0", "ip4": {"ip": "127.0.0.1/8"}}')
        made = self.set_up(pod("a"))
        self.assertEqual(self.plugins.pod_calls(), ["ADD loopback", "ADD bridge", "ADD portmap"])
        call = self.plugins.last("ADD loopback")
        self.assertEqual((call.configuration["name"], call.environment["CNI_IFNAME"]), ("cni-loopback", "eth0"))
        self.plugins.outcomes["DEL loopback"] = plugin_error("what loopback?")
        self.tear_down(pod("a"), made)
        self.assertEqual(self.files_left(), [])

    def test_present_configuration(self) -> None:
        """A set-up uses the present configuration, not the one of the last poll."""
        self.plugins.configure(LIST | {"name": "newer"}, "05.conflist")
        self.set_up(pod("a"))
        self.assertEqual(self.plugins.last("ADD bridge").configuration["name"], "newer")

    def test_no_configuration(self) -> None:
        """Without a configuration a set-up fails with the condition's message, and leaves nothing."""
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        problem = self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), Unavailable)
        self.assertIn("no network configuration in", str(problem.value))
        self.assertEqual((self.files_left(), self.network.condition().ready), ([], False))

    def test_failure(self) -> None:
        """A failed ADD is followed by DEL of the whole list and leaves nothing; the error has the plugin's message."""
        self.plugins.outcomes["ADD portmap"] = plugin_error("no such table", 5)
        problem = self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(str(problem.value), "CNI plugin portmap, ADD on network pods: no such table (code 5)")
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual((self.files_left(), self.netns_mounts.mounted), ([], {}))
        self.assertEqual(self.network.verbose()["last_error"], str(problem.value))

    def test_partial_result(self) -> None:
        """DEL after a failed ADD gets the result of the plugins before the failed one."""
        self.plugins.outcomes["ADD portmap"] = plugin_error("no such table", 5)
        self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        previous = self.plugins.last("DEL portmap").configuration["prevResult"]
        self.assertEqual(previous, self.plugins.last("ADD portmap").configuration["prevResult"])

    def test_no_address(self) -> None:
        """A network that assigns no address has failed."""
        self.plugins.outcomes["ADD portmap"] = Output(0, b'{"cniVersion": "1.0.0"}')
        problem = self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertIn("no address", str(problem.value))
        self.assertEqual(self.files_left(), [])

    def test_dead_pause(self) -> None:
        """A set-up for a pause that has ended fails, and no plugin runs."""
        for state in ({"Pid": 0}, {"Pid": 2**22 + 1}, {}):
            self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), {"State": state})), FailedPrecondition)
        self.assertEqual(self.plugins.pod_calls(), [])

    def test_bad_annotation(self) -> None:
        """A malformed annotation is rejected before any plugin runs."""
        request = pod("a", annotations={"kubernetes.io/ingress-bandwidth": "fast"})
        self.failureResultOf(ensureDeferred(self.network.set_up(request, PAUSE)), InvalidArgument)
        self.assertEqual((self.plugins.pod_calls(), self.files_left()), ([], []))

    def test_unsupported_annotation(self) -> None:
        """A request for an address is rejected if no plugin supports it, not ignored."""
        request = pod("a", annotations={"network.criwist/ips": "10.1.0.7"})
        problem = self.failureResultOf(ensureDeferred(self.network.set_up(request, PAUSE)), FailedPrecondition)
        self.assertIn("no plugin of network pods has the capability ips", str(problem.value))

    def test_stray_plugins_are_killed_before_undoing(self) -> None:
        """Processes that a failed ADD left behind are killed before DEL."""
        self.plugins.outcomes["ADD bridge"] = plugin_error("no")
        self.failureResultOf(ensureDeferred(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(self.stray_kills, [{"a" * 64}])

    def test_cancelled(self) -> None:
        """A cancelled set-up leaves nothing: the cancellation waits for DEL."""
        deleting: Deferred[Output] = Deferred()
        self.plugins.outcomes["ADD portmap"] = Deferred()
        self.plugins.outcomes["DEL portmap"] = deleting
        call = ensureDeferred(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE))
        call.cancel()
        self.assertNoResult(call)
        deleting.callback(Output(0))
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual((self.files_left(), self.netns_mounts.mounted), ([], {}))
        self.plugins.outcomes.clear()
        self.set_up(pod("b", port_mappings=PORTS))


class ConcurrencyTests(CNICase):
    """Set-ups and teardowns at the same time."""

    def test_parallel(self) -> None:
        """While one pod waits for a plugin, another one is set up."""
        waiting: Deferred[Output] = Deferred()
        self.plugins.outcomes["ADD bridge"] = waiting
        first = ensureDeferred(self.network.set_up(pod("a"), PAUSE))
        del self.plugins.outcomes["ADD bridge"]
        self.set_up(pod("b"))
        self.assertNoResult(first)
        waiting.callback(Output(0, b'{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.99/24"}]}'))
        self.assertEqual(self.successResultOf(first).addresses, ("10.1.0.99",))

    def test_one_at_a_time(self) -> None:
        """A teardown waits for the set-up of the same pod."""
        waiting: Deferred[Output] = Deferred()
        self.plugins.outcomes["ADD bridge"] = waiting
        first = ensureDeferred(self.network.set_up(pod("a"), PAUSE))
        second = ensureDeferred(self.network.tear_down(pod("a"), None, PAUSE))
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge"])
        waiting.callback(Output(0, b'{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.99/24"}]}'))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual(self.files_left(), [])
