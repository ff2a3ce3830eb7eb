"""Pod networks by CNI, with plugins that are functions."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.errors import FailedPrecondition, InvalidArgument, PluginFailure, Unavailable
from criwist.interfaces.network import IPodNetwork, PodNetwork, PodNetworkRequest, PortMapping
from criwist.netconf.cache import Cached, write_cached
from criwist.netconf.invocations import Attachment
from criwist.network.attachments import Attachments
from criwist.network.cni import FIRST_LOOK_LIMIT, CNINetwork
from criwist.network.hostports import HostPorts
from criwist.network.plugin_chain import PluginChain
from criwist.network.plugins import Output
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import LOOK_INTERVAL, Readiness
from criwist.network.sources import ConfigurationDirectory
from criwist.network.teardown import RETRY_INTERVAL
from criwist.records.atomic_files import Documents
from tests.network.plugin_world import LIST, PluginWorld, answer, complaint, pod

#: A pause whose network namespace exists: ours.
PAUSE = {"State": {"Pid": os.getpid(), "Running": True}}
NETNS = f"/proc/{os.getpid()}/ns/net"
PORTS = (PortMapping("tcp", 80, 8080),)


@define
class PinsInMemory:
    """Namespaces that are held by remembering where they are."""

    held: dict[str, str] = field(factory=dict)

    def path(self, sandbox_id: str) -> str:
        """Where it is held."""
        return self.held.get(sandbox_id, "")

    def pin(self, sandbox_id: str, namespace: str) -> str:
        """Hold it."""
        self.held[sandbox_id] = namespace
        return namespace

    def unpin(self, sandbox_id: str) -> None:
        """Let go."""
        self.held.pop(sandbox_id, None)


class Case(SynchronousTestCase):
    """A CNI network that has looked at a valid configuration."""

    def setUp(self) -> None:
        self.world = PluginWorld()
        self.addCleanup(self.world.close)
        self.world.configure(LIST)
        self.clock = Clock()
        self.logged: list[dict[str, Any]] = []
        self.ended: list[set[str]] = []
        self.pins = PinsInMemory()
        self.network = self.restarted()

    def restarted(self, name: str = "cni", host_ports: HostPorts | None = None) -> CNINetwork:
        """A criwist that knows what is on disk.

        :param host_ports: shared with another network.
        """
        chains = PluginChain(self.world.run, (self.world.path("bin"),), {})
        network = CNINetwork(
            name,
            Readiness(ConfigurationDirectory(self.world.path("conf")), chains, self.clock),
            chains,
            Attachments(self.world.path("journal" if name == "cni" else name), self.world.path("cache")),
            PodCIDRs(Documents(self.world.path("state"), 1)),
            self.pins,  # type: ignore[arg-type] # a double, alike in what is called
            self.clock,
            self._end_strays,
            host_ports=host_ports or HostPorts(),
            log=Logger(observer=self.logged.append),  # type: ignore[arg-type]
        )
        network.startService()
        self.addCleanup(network.stopService)
        return network

    async def _end_strays(self, container_ids: set[str]) -> None:
        self.ended.append(container_ids)

    def call(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Run a coroutine."""
        return Deferred.fromCoroutine(work)

    def set_up(self, request: PodNetworkRequest, network: CNINetwork | None = None) -> PodNetwork:
        """Set up a pod's network, which succeeds at once."""
        made = self.successResultOf(self.call((network or self.network).set_up(request, PAUSE)))
        assert isinstance(made, PodNetwork)
        return made

    def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None = None) -> None:
        """Tear down a pod's network, which succeeds at once."""
        self.successResultOf(self.call(self.network.tear_down(request, network, PAUSE)))

    def left(self) -> list[str]:
        """Files that speak of attachments."""
        found = []
        for directory in (self.world.path("journal"), self.world.path("cache", "results")):
            found += os.listdir(directory) if os.path.isdir(directory) else []
        return sorted(found)


class SetUpTests(Case):
    """ADD."""

    def test_interface(self) -> None:
        """It is a pod network whose sandboxes have no network of the engine's."""
        verifyObject(IPodNetwork, self.network)
        self.assertEqual((self.network.docker_network_mode, self.network.publishes_ports), ("none", False))
        self.assertTrue(self.network.condition().ready)

    def test_set_up(self) -> None:
        """A pod gets its addresses; journal, cache and pin are there, and the record holds all that DEL needs."""
        made = self.set_up(pod("a"))
        self.assertEqual(made.addresses, ("10.1.0.2",))
        self.assertEqual(self.left(), ["a" * 64 + ".json", "pods-" + "a" * 64 + "-eth0"])
        self.assertEqual(self.pins.held, {"a" * 64: NETNS})
        self.assertEqual(made.record["result"]["ips"][0]["address"], "10.1.0.2/24")

    def test_arguments(self) -> None:
        """Plugins learn which pod it is, in the variables and arguments that they know from other runtimes."""
        self.set_up(pod("a", port_mappings=PORTS))
        environment = self.world.last("ADD portmap").environment
        self.assertEqual(
            environment["CNI_ARGS"],
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-a;"
            f"K8S_POD_INFRA_CONTAINER_ID={'a' * 64};K8S_POD_UID=uid-a",
        )
        self.assertEqual((environment["CNI_IFNAME"], environment["CNI_NETNS"]), ("eth0", NETNS))
        self.assertEqual(
            self.world.last("ADD portmap").configuration["runtimeConfig"]["portMappings"][0]["hostPort"], 8080
        )

    def test_loopback(self) -> None:
        """Where the loopback plugin is installed it runs before the others, under the older shims' names."""
        self.world.install("loopback")
        self.world.outcomes["ADD loopback"] = Output(0, b'{"cniVersion": "0.2.0", "ip4": {"ip": "127.0.0.1/8"}}')
        made = self.set_up(pod("a"))
        self.assertEqual(self.world.pod_calls(), ["ADD loopback", "ADD bridge", "ADD portmap"])
        call = self.world.last("ADD loopback")
        self.assertEqual((call.configuration["name"], call.environment["CNI_IFNAME"]), ("cni-loopback", "eth0"))
        self.world.outcomes["DEL loopback"] = complaint("what loopback?")
        self.tear_down(pod("a"), made)
        self.assertEqual(self.left(), [])

    def test_configuration_of_the_moment(self) -> None:
        """A set-up uses the configuration as it is then, not as the last look found it."""
        self.world.configure(LIST | {"name": "newer"}, "05.conflist")
        self.set_up(pod("a"))
        self.assertEqual(self.world.last("ADD bridge").configuration["name"], "newer")

    def test_no_configuration(self) -> None:
        """Without a configuration a pod is refused with the condition's words, and nothing is left."""
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        problem = self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), Unavailable)
        self.assertIn("no network configuration in", str(problem.value))
        self.assertEqual((self.left(), self.network.condition().ready), ([], False))

    def test_failure(self) -> None:
        """A failed ADD is followed by DEL of the whole list, and nothing is left; the plugin's words are the error."""
        self.world.outcomes["ADD portmap"] = complaint("no such table", 5)
        problem = self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(str(problem.value), "CNI plugin portmap, ADD on network pods: no such table (code 5)")
        self.assertEqual(self.world.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual((self.left(), self.pins.held), ([], {}))
        self.assertEqual(self.network.verbose()["last_error"], str(problem.value))

    def test_what_is_known_of_a_failed_set_up(self) -> None:
        """DEL after a failed ADD is told the addresses that the plugins before the failing one gave."""
        self.world.outcomes["ADD portmap"] = complaint("no such table", 5)
        self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        told = self.world.last("DEL portmap").configuration["prevResult"]
        self.assertEqual(told, self.world.last("ADD portmap").configuration["prevResult"])

    def test_no_address(self) -> None:
        """A network that gives no address has failed."""
        self.world.outcomes["ADD portmap"] = Output(0, b'{"cniVersion": "1.0.0"}')
        problem = self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertIn("no address", str(problem.value))
        self.assertEqual(self.left(), [])

    def test_dead_pause(self) -> None:
        """A pause that ended before its network is told so; no plugin is called."""
        for state in ({"Pid": 0}, {"Pid": 2**22 + 1}, {}):
            self.failureResultOf(self.call(self.network.set_up(pod("a"), {"State": state})), FailedPrecondition)
        self.assertEqual(self.world.pod_calls(), [])

    def test_bad_annotation(self) -> None:
        """A malformed annotation is refused before anything is made."""
        request = pod("a", annotations={"kubernetes.io/ingress-bandwidth": "fast"})
        self.failureResultOf(self.call(self.network.set_up(request, PAUSE)), InvalidArgument)
        self.assertEqual((self.world.pod_calls(), self.left()), ([], []))

    def test_unsupported_annotation(self) -> None:
        """An address asked for of a network that cannot be asked is refused, not ignored."""
        request = pod("a", annotations={"network.criwist/ips": "10.1.0.7"})
        problem = self.failureResultOf(self.call(self.network.set_up(request, PAUSE)), FailedPrecondition)
        self.assertIn("no plugin of network pods has the capability ips", str(problem.value))

    def test_host_port_conflict(self) -> None:
        """The second pod with a host port is refused, no plugin is called for it, and the first keeps it."""
        made = self.set_up(pod("a", port_mappings=PORTS))
        before = list(self.world.pod_calls())
        request = pod("b", port_mappings=PORTS)
        problem = self.failureResultOf(self.call(self.network.set_up(request, PAUSE)), FailedPrecondition)
        self.assertEqual(str(problem.value), f"host port 8080/tcp is held by sandbox {'a' * 64}")
        self.assertEqual((self.world.pod_calls(), len(self.left())), (before, 2))
        self.tear_down(pod("a", port_mappings=PORTS), made)
        self.set_up(request)

    def test_host_ports_of_another_network(self) -> None:
        """On a node that was changed over to another network the pods of the old one keep their host ports."""
        self.set_up(pod("a", port_mappings=PORTS))
        host_ports = HostPorts()
        old, new = (self.restarted(name, host_ports) for name in ("cni", "kubenet"))
        self.successResultOf(self.call(old.reconcile({"a" * 64: pod("a")})))
        self.failureResultOf(self.call(new.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition)

    def test_host_ports_after_restart(self) -> None:
        """The host ports of pods that stand are held after a restart, before anything is reconciled."""
        self.set_up(pod("a", port_mappings=PORTS))
        network = self.restarted()
        self.failureResultOf(self.call(network.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition)

    def test_parallel(self) -> None:
        """While one pod waits for a plugin, another one is set up."""
        waiting: Deferred[Output] = Deferred()
        self.world.outcomes["ADD bridge"] = waiting
        first = self.call(self.network.set_up(pod("a"), PAUSE))
        del self.world.outcomes["ADD bridge"]
        self.set_up(pod("b"))
        self.assertNoResult(first)
        waiting.callback(Output(0, b'{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.99/24"}]}'))
        self.assertEqual(self.successResultOf(first).addresses, ("10.1.0.99",))

    def test_one_at_a_time(self) -> None:
        """A teardown waits for the set-up of the same pod."""
        waiting: Deferred[Output] = Deferred()
        self.world.outcomes["ADD bridge"] = waiting
        first = self.call(self.network.set_up(pod("a"), PAUSE))
        second = self.call(self.network.tear_down(pod("a"), None, PAUSE))
        self.assertEqual(self.world.pod_calls(), ["ADD bridge"])
        waiting.callback(Output(0, b'{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.99/24"}]}'))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.world.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual(self.left(), [])

    def test_cancelled(self) -> None:
        """A caller who goes away leaves nothing: DEL follows, and only then is the cancellation told."""
        deleting: Deferred[Output] = Deferred()
        self.world.outcomes["ADD portmap"] = Deferred()
        self.world.outcomes["DEL portmap"] = deleting
        call = self.call(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE))
        call.cancel()
        self.assertNoResult(call)
        deleting.callback(Output(0))
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.world.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        self.assertEqual((self.left(), self.pins.held), ([], {}))
        self.world.outcomes.clear()
        self.set_up(pod("b", port_mappings=PORTS))

    def test_strays_end_before_undoing(self) -> None:
        """What a failed ADD left running is ended before DEL."""
        self.world.outcomes["ADD bridge"] = complaint("no")
        self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(self.ended, [{"a" * 64}])


class TearDownTests(Case):
    """DEL."""

    def test_tear_down(self) -> None:
        """DEL runs backwards with the result of ADD, and nothing is left; a second time runs nothing."""
        made = self.set_up(pod("a"))
        self.tear_down(pod("a"), made)
        self.assertEqual(self.world.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        call = self.world.last("DEL bridge")
        self.assertEqual(call.configuration["prevResult"], made.record["result"])
        self.assertEqual((self.left(), self.pins.held), ([], {}))
        self.tear_down(pod("a"), made)
        self.assertEqual(len(self.world.pod_calls()), 4)

    def test_from_the_record(self) -> None:
        """What was configured then is what DEL runs, whatever is configured now."""
        made = self.set_up(pod("a", port_mappings=PORTS))
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.network = self.restarted()
        self.tear_down(pod("a"), made)
        self.assertEqual(self.world.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        self.assertEqual(
            self.world.last("DEL portmap").configuration["runtimeConfig"]["portMappings"][0]["hostPort"], 8080
        )
        self.assertEqual(self.left(), [])

    def test_from_the_journal(self) -> None:
        """A sandbox whose record is lost is released by the journal."""
        self.set_up(pod("a"))
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.network = self.restarted()
        self.tear_down(pod("a"), None)
        self.assertEqual((self.world.pod_calls()[2:], self.left()), (["DEL portmap", "DEL bridge"], []))

    def test_damaged_record(self) -> None:
        """A record that cannot be used falls back on the journal."""
        self.set_up(pod("a"))
        self.tear_down(pod("a"), PodNetwork((), {"list": "?"}))
        self.assertEqual(self.left(), [])

    def _cache(self, sandbox_id: str) -> None:
        attachment = Attachment(sandbox_id, "/proc/1/ns/net", "eth0", (("K8S_POD_NAME", "old"),), {})
        text = '{"name": "older", "cniVersion": "0.4.0", "plugins": [{"type": "bridge"}]}'
        result = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.9.0.2/24"}]}
        os.makedirs(self.world.path("cache", "results"))
        with open(self.world.path("cache", "results", f"older-{sandbox_id}-eth0"), "w", encoding="utf-8") as file:
            file.write(write_cached(Cached("older", text, attachment, result)))

    def test_from_the_cache(self) -> None:
        """A pod that cri-dockerd attached is released with its configuration, in the namespace of its pause."""
        self._cache("a" * 64)
        self.tear_down(pod("a"), None)
        self.assertEqual(self.world.pod_calls(), ["DEL bridge"])
        call = self.world.last("DEL bridge")
        self.assertEqual((call.configuration["name"], call.configuration["cniVersion"]), ("older", "0.4.0"))
        self.assertEqual((call.environment["CNI_NETNS"], call.environment["CNI_ARGS"]), (NETNS, "K8S_POD_NAME=old"))
        self.assertEqual(self.left(), [])

    def test_recall(self) -> None:
        """What an adopted pod stands on is known from the cache, our own from the journal; nothing of others."""
        self._cache("b" * 64)
        made = self.set_up(pod("a"))
        self.assertEqual(self.network.recall(pod("a"), PAUSE), made)
        recalled = self.network.recall(pod("b"), PAUSE)
        self.assertEqual(recalled and recalled.addresses, ("10.9.0.2",))
        self.assertIsNone(self.network.recall(pod("c"), PAUSE))

    def test_by_guess(self) -> None:
        """A pod of which nothing is on record is released by what is in force; a failure is only logged."""
        self.tear_down(pod("a"), None)
        self.assertEqual(self.world.pod_calls(), ["DEL portmap", "DEL bridge"])
        self.world.outcomes["DEL portmap"] = complaint("never seen it")
        self.tear_down(pod("b"), None)
        self.assertEqual(self.world.pod_calls()[2:], ["DEL portmap"])

    def test_nothing_known(self) -> None:
        """Without record or configuration there is nothing to do, and that is no error."""
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.network = self.restarted()
        self.tear_down(pod("a"), None)
        self.assertEqual(self.world.pod_calls(), [])

    def test_failure(self) -> None:
        """A failed DEL is an error in the plugin's words, the attachment stays on record, the next try succeeds."""
        made = self.set_up(pod("a"))
        self.world.outcomes["DEL bridge"] = complaint("bridge is busy")
        problem = self.failureResultOf(self.call(self.network.tear_down(pod("a"), made, PAUSE)), PluginFailure)
        self.assertIn("bridge is busy", str(problem.value))
        self.assertEqual(len(self.left()), 2)
        del self.world.outcomes["DEL bridge"]
        self.tear_down(pod("a"), made)
        self.assertEqual(self.left(), [])

    def test_pinned_namespace(self) -> None:
        """DEL enters the namespace by its pin when the pause is dead."""
        made = self.set_up(pod("a"))
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.successResultOf(self.call(self.network.tear_down(pod("a"), evolve(made, record=record), None)))
        self.assertEqual(self.world.last("DEL bridge").environment["CNI_NETNS"], NETNS)

    def test_namespace_gone(self) -> None:
        """A namespace that is gone, pin and all, is passed as the empty path; "no such file" passes then.

        It passes for the plugin that says so: the others are run, and give back what they hold.
        """
        made = self.set_up(pod("a"))
        self.pins.held.clear()
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.world.outcomes["DEL portmap"] = complaint("failed to open netns: No such file or directory")
        self.successResultOf(self.call(self.network.tear_down(pod("a"), evolve(made, record=record), None)))
        self.assertEqual(self.world.pod_calls()[2:], ["DEL portmap", "DEL bridge"])
        self.assertEqual(self.world.last("DEL portmap").environment["CNI_NETNS"], "")
        self.assertEqual(self.left(), [])

    def test_namespace_and_plugin_gone(self) -> None:
        """A plugin that cannot be started has released nothing, whatever the system says of it."""
        made = self.set_up(pod("a"))
        self.pins.held.clear()
        record = dict(made.record) | {"netns": "/proc/4194305/ns/net"}
        self.world.outcomes["DEL portmap"] = FileNotFoundError(2, "No such file or directory")
        tearing = self.call(self.network.tear_down(pod("a"), evolve(made, record=record), None))
        self.assertIn("cannot be started", str(self.failureResultOf(tearing, PluginFailure).value))
        self.assertEqual(len(self.left()), 2)

    def test_namespace_of_another(self) -> None:
        """A path that leads to another namespace by now, since the pid is somebody else's, is not used."""
        made = self.set_up(pod("a"))
        self.pins.held.clear()
        record = dict(made.record) | {"netns_inode": 1}
        self.successResultOf(self.call(self.network.tear_down(pod("a"), evolve(made, record=record), PAUSE)))
        self.assertEqual(self.world.last("DEL bridge").environment["CNI_NETNS"], "")

    def test_old_versions(self) -> None:
        """Plugins older than 0.4.0 get no result on DEL."""
        self.world.configure(LIST | {"cniVersion": "0.3.1"})
        made = self.set_up(pod("a"))
        self.tear_down(pod("a"), made)
        self.assertNotIn("prevResult", self.world.last("DEL bridge").configuration)


class LeftoverTests(Case):
    """What crashes and failing plugins leave."""

    def _reconcile(self, network: CNINetwork, *known: PodNetworkRequest) -> None:
        self.successResultOf(self.call(network.reconcile({request.sandbox_id: request for request in known})))

    def test_failing_undo(self) -> None:
        """When DEL fails after a failed ADD, it is tried again every minute until it succeeds."""
        self.world.outcomes["ADD portmap"] = complaint("no")
        self.world.outcomes["DEL portmap"] = complaint("no either")
        self.failureResultOf(self.call(self.network.set_up(pod("a"), PAUSE)), PluginFailure)
        self.assertEqual(list(self.network.verbose()["leftovers"]), ["a" * 64])
        tries = len(self.world.pod_calls())
        self.clock.pump([LOOK_INTERVAL] * int(RETRY_INTERVAL / LOOK_INTERVAL))
        self.assertEqual(len(self.world.pod_calls()), tries + 1)
        del self.world.outcomes["DEL portmap"]
        self.clock.pump([LOOK_INTERVAL] * int(RETRY_INTERVAL / LOOK_INTERVAL))
        self.assertEqual((self.left(), self.network.verbose()["leftovers"]), ([], {}))

    def test_host_port_of_a_leftover(self) -> None:
        """A pod that wants the host port of a failed one has its leftovers released first."""
        self.world.outcomes["ADD portmap"] = complaint("no")
        self.world.outcomes["DEL portmap"] = complaint("no either")
        self.failureResultOf(self.call(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE)), PluginFailure)
        self.failureResultOf(self.call(self.network.set_up(pod("b", port_mappings=PORTS), PAUSE)), FailedPrecondition)
        self.world.outcomes.clear()
        self.set_up(pod("c", port_mappings=PORTS))
        self.assertEqual(self.network.verbose()["leftovers"], {})

    def test_host_port_from_before_a_reboot(self) -> None:
        """The host port of a pod whose namespace went with the machine is free for another, and DEL is run first."""
        self.set_up(pod("a", port_mappings=PORTS))
        self.pins.held.clear()
        network = self.restarted()
        documents = Documents(self.world.path("journal"), 1)
        document = documents.read("a" * 64)
        assert document is not None
        documents.write("a" * 64, dict(document) | {"netns_inode": 1})
        self.set_up(pod("b", port_mappings=PORTS), network)
        self.assertEqual(self.world.pod_calls()[2:], ["DEL portmap", "DEL bridge", "ADD bridge", "ADD portmap"])
        self.assertEqual(self.left(), ["b" * 64 + ".json", "pods-" + "b" * 64 + "-eth0"])

    def test_killed_in_add(self) -> None:
        """An ADD that we did not live to see the end of is undone at start: strays first, then DEL."""
        self.world.outcomes["ADD portmap"] = Deferred()
        self.call(self.network.set_up(pod("a", port_mappings=PORTS), PAUSE))
        self.world.outcomes.clear()
        network = self.restarted()
        self._reconcile(network)
        self.assertEqual(self.ended[0], {"a" * 64})
        self.assertEqual(self.world.pod_calls(), ["ADD bridge", "ADD portmap", "DEL portmap", "DEL bridge"])
        told = self.world.last("DEL portmap").configuration["prevResult"]
        self.assertEqual(told["ips"][0]["address"], "10.1.0.2/24")
        self.assertEqual((self.left(), self.pins.held), ([], {}))
        self.set_up(pod("b", port_mappings=PORTS), network)

    def test_killed_in_add_of_a_pod_that_lives(self) -> None:
        """If its sandbox is still there, strays are ended at once, and DEL comes with StopPodSandbox."""
        self.world.outcomes["ADD bridge"] = Deferred()
        self.call(self.network.set_up(pod("a"), PAUSE))
        self.world.outcomes.clear()
        self.network = self.restarted()
        self._reconcile(self.network, pod("a"))
        self.assertEqual((self.ended, self.world.pod_calls()), ([{"a" * 64}], ["ADD bridge"]))
        self.tear_down(pod("a"), None)
        self.assertEqual(self.world.last("DEL bridge").environment["CNI_NETNS"], NETNS)
        self.assertEqual(self.left(), [])

    def test_gone_sandboxes(self) -> None:
        """Attachments of sandboxes that are gone are released, those of others are left alone."""
        self.set_up(pod("a"))
        self.set_up(pod("b"))
        network = self.restarted()
        self._reconcile(network, pod("b"))
        self.assertEqual(self.left(), ["b" * 64 + ".json", "pods-" + "b" * 64 + "-eth0"])

    def test_sandboxes_of_this_life(self) -> None:
        """A pod that was made since is not taken for a leftover by a list from before."""
        self.set_up(pod("a"))
        self._reconcile(self.network)
        self.assertEqual(len(self.left()), 2)

    def test_adopted_host_ports(self) -> None:
        """Host ports of adopted pods that stand are held; those of stopped pods are not."""
        os.makedirs(self.world.path("cache", "results"))
        attachment = Attachment("a" * 64, "", "eth0", (), {})
        with open(self.world.path("cache", "results", f"pods-{'a' * 64}-eth0"), "w", encoding="utf-8") as file:
            text = '{"name": "pods", "cniVersion": "0.4.0", "plugins": [{"type": "bridge"}]}'
            file.write(write_cached(Cached("pods", text, attachment, {"cniVersion": "0.4.0"})))
        other = (PortMapping("tcp", 1, 2),)
        self._reconcile(self.network, pod("a", port_mappings=PORTS), pod("b", port_mappings=other))
        self.failureResultOf(self.call(self.network.set_up(pod("c", port_mappings=PORTS), PAUSE)), FailedPrecondition)
        self.set_up(pod("d", port_mappings=other))

    def test_collection(self) -> None:
        """Plugins of 1.1.0 are told at start which attachments are to stay, unless the list forbids it."""
        self.world.configure(LIST | {"cniVersion": "1.1.0"})
        self.set_up(pod("a"))
        self.set_up(pod("b"))
        network = self.restarted()
        self._reconcile(network, pod("b"))
        self.assertEqual(
            self.world.last("GC portmap").configuration["cni.dev/valid-attachments"],
            [{"containerID": "b" * 64, "ifname": "eth0"}],
        )
        self._reconcile(self.restarted(), pod("b"), pod("c"))
        self.assertEqual(
            [one["containerID"][0] for one in self.world.last("GC bridge").configuration["cni.dev/attachments"]],
            ["b", "c"],  # of which nothing is recorded but that it exists
        )
        self.world.configure(LIST | {"cniVersion": "1.1.0", "disableGC": True})
        calls = self.world.pod_calls().count("GC bridge")
        self._reconcile(self.restarted(), pod("b"))
        self.assertEqual(self.world.pod_calls().count("GC bridge"), calls)

    def test_check(self) -> None:
        """Attachments that stand are checked at start; what is wrong is shown until the pod goes."""
        made = self.set_up(pod("a"))
        self.network = self.restarted()
        self.world.outcomes["CHECK portmap"] = complaint("rule is gone")
        self._reconcile(self.network, pod("a"))
        self.assertIn("rule is gone", self.network.verbose()["failed_checks"]["a" * 64])
        self.assertTrue(self.network.condition().ready)
        self.tear_down(pod("a"), made)
        self.assertEqual(self.network.verbose()["failed_checks"], {})

    def test_check_that_falls_over(self) -> None:
        """A plugin that crashes in CHECK has said nothing of the pod's network; the log has it all the same."""
        self.set_up(pod("a"))
        network = self.restarted()
        self.world.outcomes["CHECK portmap"] = Output(2, b"", b"panic: nil pointer")
        self._reconcile(network, pod("a"))
        self.assertEqual(network.verbose()["failed_checks"], {})
        told = [event for event in self.logged if "panic: nil pointer" in str(event.get("failure"))]
        self.assertEqual([event["log_level"].name for event in told], ["info"])

    def test_no_check(self) -> None:
        """A list that forbids CHECK, or is too old for it, is not checked."""
        for document in (LIST | {"disableCheck": True}, LIST | {"cniVersion": "0.3.1"}):
            self.world.configure(document)
            self.set_up(pod("a"))
            self._reconcile(self.restarted(), pod("a"))
        self.assertNotIn("CHECK bridge", self.world.pod_calls())


class ServiceTests(Case):
    """What happens by itself."""

    def test_condition_follows(self) -> None:
        """The condition follows the directory within two seconds."""
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.clock.advance(LOOK_INTERVAL)
        self.assertFalse(self.network.condition().ready)
        self.world.configure(LIST)
        self.clock.advance(LOOK_INTERVAL)
        self.assertTrue(self.network.condition().ready)

    def test_first_look(self) -> None:
        """Who asks before the first look is over waits for it, and is not told that the network is not ready."""
        versions: Deferred[Output] = Deferred()
        self.world.outcomes["VERSION bridge"] = versions
        network = self.restarted()
        asking = self.call(network.first_look())
        self.assertNoResult(asking)
        self.assertTrue(network.undecided)
        del self.world.outcomes["VERSION bridge"]
        versions.callback(answer({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.successResultOf(asking)
        self.assertTrue(network.condition().ready)
        self.assertFalse(network.undecided)
        self.successResultOf(self.call(network.first_look()))

    def test_first_look_that_takes_long(self) -> None:
        """A first look that takes longer than ten seconds is not waited for any more, and goes on."""
        versions: Deferred[Output] = Deferred()
        self.world.outcomes["VERSION bridge"] = versions
        network = self.restarted()
        asking = self.call(network.first_look())
        self.clock.advance(FIRST_LOOK_LIMIT)
        self.successResultOf(asking)
        self.assertFalse(network.undecided)
        self.successResultOf(self.call(network.first_look()))
        self.assertIn("being asked", network.condition().message)
        versions.callback(answer({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.assertTrue(network.condition().ready)

    def test_looks_go_on(self) -> None:
        """A fault of ours in one look does not end all looking."""
        self.world.outcomes["VERSION bridge"] = ZeroDivisionError()
        os.utime(self.world.path("bin", "bridge"), ns=(1, 1))
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(len([event for event in self.logged if "log_failure" in event]), 1)
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.clock.advance(LOOK_INTERVAL)
        self.assertFalse(self.network.condition().ready)

    def test_stop(self) -> None:
        """A stopped service does nothing any more."""
        self.network.stopService()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_pod_cidr(self) -> None:
        """kubelet's CIDR is used by the next pod, and after a restart."""
        self.world.configure(LIST | {"plugins": [{"type": "bridge", "capabilities": {"ipRanges": True}}]})
        self.successResultOf(self.call(self.network.update_pod_cidr("10.1.0.0/24,fd00::/64")))
        self.set_up(pod("a"))
        ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]
        self.assertEqual(self.world.last("ADD bridge").configuration["runtimeConfig"], {"ipRanges": ranges})
        self.assertEqual(self.restarted().pod_cidrs, ("10.1.0.0/24", "fd00::/64"))
        self.failureResultOf(self.call(self.network.update_pod_cidr("pods")), InvalidArgument)
        self.assertEqual(self.network.pod_cidrs, ("10.1.0.0/24", "fd00::/64"))

    def test_verbose(self) -> None:
        """A verbose status tells where things are looked for and what is in force."""
        verbose = self.network.verbose()
        self.assertEqual(verbose["plugin_directories"], [self.world.path("bin")])
        self.assertEqual(verbose["configuration"]["network"], "pods")
