"""Which configuration is in force, and why none is."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import Unavailable
from criwist.network.kubenet import KubenetConfiguration, kubenet_list
from criwist.network.plugin_chain import PluginChain
from criwist.network.plugins import Output
from criwist.network.readiness import STATUS_INTERVAL, Readiness
from criwist.network.sources import LARGEST_CONFIGURATION, ConfigurationDirectory
from tests.network.plugin_world import LIST, PluginWorld, answer, complaint


@define
class _Case:
    world: PluginWorld = field(factory=PluginWorld)
    clock: Clock = field(factory=Clock)
    logged: list[dict[str, Any]] = field(factory=list)

    def readiness(self) -> Readiness:
        chains = PluginChain(self.world.run, (self.world.path("bin"),), {})
        source = ConfigurationDirectory(self.world.path("conf"))
        return Readiness(source, chains, self.clock, log=Logger(observer=self.logged.append))  # type: ignore[arg-type]


class DirectoryTests(SynchronousTestCase):
    """A configuration directory and plugins."""

    def setUp(self) -> None:
        self.case = _Case()
        self.world = self.case.world
        self.addCleanup(self.world.close)
        self.readiness = self.case.readiness()

    def _look(self) -> str:
        """Look; returns why pods cannot get a network, ``""`` if they can."""
        self.successResultOf(ensureDeferred(self.readiness.look()))
        condition = self.readiness.condition
        self.assertEqual(condition.ready, not condition.message)
        self.assertEqual(condition.reason, "" if condition.ready else "NetworkPluginNotReady")
        return condition.message

    def test_ready(self) -> None:
        """A valid list whose plugins are there makes the node ready, at the newest version all support."""
        self.world.configure(LIST)
        self.assertEqual(self._look(), "")
        self.assertEqual((self.readiness.require().network.name, self.readiness.require().version), ("pods", "1.0.0"))

    def test_no_configuration(self) -> None:
        """An empty directory is told by its name, a missing one too."""
        self.assertIn(f"no network configuration in {self.world.path('conf')}", self._look())
        os.rmdir(self.world.path("conf"))
        self.assertIn("no network configuration in", self._look())
        problem = self.assertRaises(Unavailable, self.readiness.require)
        self.assertIn("no network configuration in", str(problem))

    def test_broken_configuration(self) -> None:
        """When only broken files are there, what is wrong with each is told."""
        self.world.configure({"name": "x", "plugins": []})
        self.assertIn("passed over: 10-pods.conflist: it has no plugins", self._look())

    def test_unreadable_configuration(self) -> None:
        """A file that cannot be read is passed over like a broken one."""
        self.world.configure(LIST, "20-pods.conflist")
        os.symlink("/nowhere", self.world.path("conf", "10-gone.conflist"))
        self.assertEqual(self._look(), "")
        self.assertIn("10-gone.conflist", self.readiness.describe()["passed_over"])

    def test_strange_files(self) -> None:
        """What is no regular file, or no file of a sensible size, is passed over and holds nothing up."""
        os.mkfifo(self.world.path("conf", "01-pipe.conf"))
        os.mkdir(self.world.path("conf", "02-directory.conf"))
        with open(self.world.path("conf", "03-large.conf"), "wb") as file:
            file.truncate(LARGEST_CONFIGURATION + 1)
        self.world.configure(LIST)
        self.assertEqual(self._look(), "")
        passed_over = self.readiness.describe()["passed_over"]
        self.assertEqual(
            passed_over,
            {
                "01-pipe.conf": "it is not a regular file",
                "02-directory.conf": "it is not a regular file",
                "03-large.conf": "it is larger than 1 MiB",
            },
        )
        self.assertEqual([event["file"] for event in self.case.logged if "file" in event], list(passed_over))

    def test_added_plugins(self) -> None:
        """Plugins in the directory of the network's name are added to its list, as soon as they are there."""
        self.world.configure(LIST)
        self.world.install("tuning")
        self._look()
        os.mkdir(self.world.path("conf", "pods"))
        for name, content in (("b.conf", '{"type": "tuning"}'), ("a.json", "not looked at")):
            with open(self.world.path("conf", "pods", name), "w", encoding="ascii") as file:
                file.write(content)
        self._look()
        kinds = [plugin.type for plugin in self.readiness.require().network.plugins]
        self.assertEqual(kinds, ["bridge", "portmap", "tuning"])
        os.mkdir(self.world.path("conf", "pods", "c.conf"))
        self.assertIn("a plugin in pods/ cannot be added: it is not a regular file", self._look())

    def test_mode_of_a_file(self) -> None:
        """A file whose mode has changed is read again: it may be readable now."""
        self.world.configure(LIST)
        before = self.readiness._source.signature()
        os.chmod(self.world.path("conf", "10-pods.conflist"), 0o600)
        self.assertNotEqual(self.readiness._source.signature(), before)

    def test_no_directory(self) -> None:
        """A path that is no directory is told as such."""
        os.rmdir(self.world.path("conf"))
        with open(self.world.path("conf"), "w", encoding="ascii"):
            self.assertIn(f"{self.world.path('conf')}, cannot be read: Not a directory", self._look())

    def test_changes(self) -> None:
        """A configuration that appears, changes or goes is noticed by the next look, and no file is read twice."""
        self._look()
        self.world.configure(LIST)
        self.assertEqual(self._look(), "")
        self.world.configure(LIST | {"name": "other"}, "05-first.conflist")
        self._look()
        self.assertEqual(self.readiness.require().network.name, "other")
        os.unlink(self.world.path("conf", "05-first.conflist"))
        self._look()
        self.assertEqual(self.readiness.require().network.name, "pods")
        os.unlink(self.world.path("conf", "10-pods.conflist"))
        self.assertIn("no network configuration", self._look())

    def test_missing_plugin(self) -> None:
        """A plugin that is not installed is named with its list; installing it is enough."""
        self.world.configure(LIST | {"plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]})
        for plugin in ("calico", "calico-ipam"):
            message = self._look()
            self.assertIn(f"CNI plugin {plugin} of network pods (10-pods.conflist) not found in", message)
            self.assertIn(self.world.path("bin"), message)
            self.world.install(plugin)
        self.assertEqual(self._look(), "")

    def test_first_list_counts(self) -> None:
        """While the plugins of the first list are missing, the second is not taken."""
        self.world.configure(LIST | {"plugins": [{"type": "calico"}]}, "10-calico.conflist")
        self.world.configure(LIST, "20-pods.conflist")
        self.assertIn("calico", self._look())

    def test_versions(self) -> None:
        """The newest version is taken that the list offers and all plugins support; VERSION is asked once."""
        self.world.outcomes["VERSION portmap"] = answer(
            {"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}
        )
        self.world.configure(LIST | {"cniVersions": ["0.3.1", "0.4.0", "1.1.0"]})
        self._look()
        self.assertEqual(self.readiness.require().version, "0.4.0")
        asked = len(self.world.calls)
        self._look()
        self.assertEqual(len(self.world.calls), asked)

    def test_unsupported_version(self) -> None:
        """A version that a plugin does not support is told, with what it supports; a new plugin is asked anew."""
        self.world.outcomes["VERSION bridge"] = answer({"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]})
        self.world.configure(LIST)
        message = self._look()
        self.assertIn("is of CNI version 1.0.0", message)
        self.assertIn("bridge: 0.4.0", message)
        del self.world.outcomes["VERSION bridge"]
        os.utime(self.world.path("bin", "bridge"), ns=(1, 1))
        self.assertEqual(self._look(), "")

    def test_broken_plugin(self) -> None:
        """A plugin that cannot say its versions keeps the node from being ready, until it can."""
        self.world.outcomes["VERSION bridge"] = Output(127, b"", b"libfoo.so not found")
        self.world.configure(LIST)
        self.assertIn("libfoo.so not found", self._look())
        del self.world.outcomes["VERSION bridge"]
        self.assertEqual(self._look(), "")

    def test_ranges(self) -> None:
        """A list that takes its ranges from the node waits for a pod CIDR."""
        self.world.configure(LIST | {"plugins": [{"type": "bridge", "capabilities": {"ipRanges": True}}]})
        self.assertIn("pod CIDR", self._look())
        self.readiness.pod_cidrs = ("10.1.0.0/24",)
        self.assertEqual(self._look(), "")

    def test_status(self) -> None:
        """A plugin of version 1.1.0 is asked for its status, now and then; the list stays in force meanwhile."""
        self.world.configure(LIST | {"cniVersion": "1.1.0"})
        self.world.outcomes["STATUS portmap"] = complaint("no route to the controller", 50)
        self.assertEqual(
            self._look(), "CNI plugin portmap, STATUS on network pods: no route to the controller (code 50)"
        )
        self.assertEqual(self.readiness.require().version, "1.1.0")
        asked = len(self.world.calls)
        self.assertIn("controller", self._look())
        self.assertEqual(len(self.world.calls), asked)
        del self.world.outcomes["STATUS portmap"]
        self.case.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self._look(), "")

    def test_no_status_before(self) -> None:
        """Plugins of older versions are not asked what they do not know."""
        self.world.configure(LIST)
        self._look()
        self.assertNotIn("STATUS bridge", [call.what for call in self.world.calls])

    def test_one_look_at_a_time(self) -> None:
        """A look that waits for a plugin holds the next one, not the answer to condition()."""
        waiting: Deferred[Output] = Deferred()
        self.world.outcomes["VERSION bridge"] = waiting
        self.world.configure(LIST)
        first, second = ensureDeferred(self.readiness.look()), ensureDeferred(self.readiness.look())
        self.assertNoResult(second)
        self.assertFalse(self.readiness.condition.ready)
        del self.world.outcomes["VERSION bridge"]
        waiting.callback(answer({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertTrue(self.readiness.condition.ready)

    def test_versions_are_asked_at_once(self) -> None:
        """Plugins are asked for their versions beside each other; of those that fail the first in the list is told."""
        waiting = {name: Deferred[Output]() for name in ("bridge", "portmap")}
        self.world.outcomes |= {f"VERSION {name}": outcome for name, outcome in waiting.items()}
        self.world.configure(LIST)
        look = ensureDeferred(self.readiness.look())
        self.assertEqual([call.what for call in self.world.calls], ["VERSION bridge", "VERSION portmap"])
        waiting["portmap"].callback(Output(2))
        self.assertNoResult(look)
        waiting["bridge"].callback(Output(1))
        self.successResultOf(look)
        self.assertIn("CNI plugin bridge, VERSION: exit status 1", self.readiness.condition.message)

    def test_shared_look(self) -> None:
        """Those who want a look while one waits for a plugin share the next, however many they are."""
        hanging = [Deferred[Output](), Deferred[Output]()]
        asked = iter(hanging)
        self.world.outcomes["VERSION bridge"] = lambda call: next(asked)
        self.world.configure(LIST)
        first = ensureDeferred(self.readiness.look())
        others = [ensureDeferred(self.readiness.look()) for _ in range(100)]
        hanging[0].callback(Output(-9, cut_short="it did not finish within 10 s"))
        self.successResultOf(first)
        self.assertNoResult(others[0])
        hanging[1].callback(Output(-9, cut_short="it did not finish within 10 s"))
        for other in others:
            self.successResultOf(other)
        self.assertIn("did not finish", self.readiness.condition.message)

    def test_cancelled_look(self) -> None:
        """When the one whose look others wait for goes away, the next of them looks."""
        hanging: Deferred[Output] = Deferred()
        self.world.outcomes["VERSION bridge"] = hanging
        self.world.configure(LIST)
        first, second = ensureDeferred(self.readiness.look()), ensureDeferred(self.readiness.look())
        del self.world.outcomes["VERSION bridge"]
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.successResultOf(second)
        self.assertTrue(self.readiness.condition.ready)

    def test_log(self) -> None:
        """A change of the condition is logged once."""
        self._look()
        self._look()
        self.assertEqual([event["log_level"].name for event in self.case.logged], ["warn"])
        self.world.configure(LIST)
        self._look()
        self._look()
        self.assertEqual([event["log_level"].name for event in self.case.logged], ["warn", "info"])

    def test_description(self) -> None:
        """A verbose status tells list, version, plugins and why not."""
        self.world.configure(LIST)
        self._look()
        self.assertEqual(
            self.readiness.describe(),
            {
                "ready": True,
                "message": "",
                "source": "10-pods.conflist",
                "network": "pods",
                "version": "1.0.0",
                "plugins": ["bridge", "portmap"],
            },
        )


class KubenetTests(SynchronousTestCase):
    """The list that criwist writes itself."""

    def setUp(self) -> None:
        self.world = PluginWorld()
        self.addCleanup(self.world.close)
        self.world.install("bandwidth")
        chains = PluginChain(self.world.run, (self.world.path("bin"),), {})
        source = KubenetConfiguration(lambda: self.readiness.pod_cidrs, chains.find, 1400, "hairpin-veth")
        self.readiness = Readiness(source, chains, Clock())

    def test_waits(self) -> None:
        """Without a pod CIDR the node is not ready, and the reason says where one comes from; then it is."""
        self.successResultOf(ensureDeferred(self.readiness.look()))
        self.assertIn("kubenet waits for the node's pod CIDR", self.readiness.condition.message)
        self.readiness.pod_cidrs = ("10.1.0.0/24", "fd00::/64")
        self.successResultOf(ensureDeferred(self.readiness.look()))
        self.assertTrue(self.readiness.condition.ready)
        bridge = self.readiness.require().network.plugins[0].document
        self.assertEqual(bridge["ipam"]["ranges"], [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]])
        self.assertEqual(bridge["ipam"]["routes"], [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
        self.assertEqual((bridge["mtu"], bridge["hairpinMode"]), (1400, True))

    def test_firewall(self) -> None:
        """The firewall plugin joins the chain where it is installed, as soon as it is."""
        self.readiness.pod_cidrs = ("10.1.0.0/24",)
        for expected in (["bridge", "portmap", "bandwidth"], ["bridge", "portmap", "firewall", "bandwidth"]):
            self.successResultOf(ensureDeferred(self.readiness.look()))
            self.assertEqual([plugin.type for plugin in self.readiness.require().network.plugins], expected)
            self.world.install("firewall")

    def test_modes(self) -> None:
        """Either hairpin mode is that of the veth, the only one that works; an MTU of 0 is the plugin's own."""
        keys = {"mtu", "hairpinMode", "promiscMode"}
        for mode, expected in (
            ("none", set()),
            ("hairpin-veth", {"hairpinMode"}),
            ("promiscuous-bridge", {"hairpinMode"}),
        ):
            document = kubenet_list(("10.1.0.0/24",), mtu=0, hairpin_mode=mode, firewall=False)
            self.assertEqual(keys & set(json.loads(json.dumps(document))["plugins"][0]), expected)
