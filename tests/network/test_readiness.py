"""The active configuration, and the messages when there is none."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import Unavailable
from criwist.network.configuration_sources import CONFIGURATION_LIMIT, ConfigurationDirectory
from criwist.network.kubenet import KubenetConfiguration, kubenet_list
from criwist.network.plugin_chain import PluginChain
from criwist.network.plugin_process import Output
from criwist.network.readiness import STATUS_INTERVAL, Readiness
from tests.network.fake_plugins import LIST, FakePlugins, plugin_error, success


class DirectoryTests(SynchronousTestCase):
    """A configuration directory and plugins."""

    def setUp(self) -> None:
        self.plugins = FakePlugins()
        self.addCleanup(self.plugins.close)
        self.clock = Clock()
        self.logged: list[dict[str, Any]] = []
        chain = PluginChain(self.plugins.run, (self.plugins.path("bin"),), {})
        source = ConfigurationDirectory(self.plugins.path("conf"))
        self.readiness = Readiness(source, chain, self.clock, log=Logger(observer=self.logged.append))  # type: ignore[arg-type]

    def _poll(self) -> str:
        """Poll; return why pods cannot get a network, ``""`` if they can."""
        self.successResultOf(ensureDeferred(self.readiness.poll()))
        condition = self.readiness.condition
        self.assertEqual(condition.ready, not condition.message)
        self.assertEqual(condition.reason, "" if condition.ready else "NetworkPluginNotReady")
        return condition.message

    def test_ready(self) -> None:
        """A valid list with installed plugins makes the node ready, at the newest version that all support."""
        self.plugins.configure(LIST)
        self.assertEqual(self._poll(), "")
        self.assertEqual((self.readiness.require().network.name, self.readiness.require().version), ("pods", "1.0.0"))

    def test_no_configuration(self) -> None:
        """The message names an empty directory, and a missing one."""
        self.assertIn(f"no network configuration in {self.plugins.path('conf')}", self._poll())
        os.rmdir(self.plugins.path("conf"))
        self.assertIn("no network configuration in", self._poll())
        problem = self.assertRaises(Unavailable, self.readiness.require)
        self.assertIn("no network configuration in", str(problem))

    def test_broken_configuration(self) -> None:
        """When all files are invalid, the message has the problem of each."""
        self.plugins.configure({"name": "x", "plugins": []})
        self.assertIn("skipped: 10-pods.conflist: it has no plugins", self._poll())

    def test_unreadable_configuration(self) -> None:
        """An unreadable file is skipped like an invalid one."""
        self.plugins.configure(LIST, "20-pods.conflist")
        os.symlink("/nowhere", self.plugins.path("conf", "10-gone.conflist"))
        self.assertEqual(self._poll(), "")
        self.assertIn("10-gone.conflist", self.readiness.describe()["passed_over"])

    def test_strange_files(self) -> None:
        """A file that is not regular, or too large, is skipped and does not block."""
        os.mkfifo(self.plugins.path("conf", "01-pipe.conf"))
        os.mkdir(self.plugins.path("conf", "02-directory.conf"))
        with open(self.plugins.path("conf", "03-large.conf"), "wb") as file:
            file.truncate(CONFIGURATION_LIMIT + 1)
        self.plugins.configure(LIST)
        self.assertEqual(self._poll(), "")
        skipped = self.readiness.describe()["passed_over"]
        self.assertEqual(
            skipped,
            {
                "01-pipe.conf": "it is not a regular file",
                "02-directory.conf": "it is not a regular file",
                "03-large.conf": "it is larger than 1 MiB",
            },
        )
        self.assertEqual([event["file"] for event in self.logged if "file" in event], list(skipped))

    def test_added_plugins(self) -> None:
        """Plugins in the directory of the network's name are added to its list at the next poll."""
        self.plugins.configure(LIST)
        self.plugins.install("tuning")
        self._poll()
        os.mkdir(self.plugins.path("conf", "pods"))
        for name, content in (("b.conf", '{"type": "tuning"}'), ("a.json", "ignored")):
            with open(self.plugins.path("conf", "pods", name), "w", encoding="ascii") as file:
                file.write(content)
        self._poll()
        kinds = [plugin.type for plugin in self.readiness.require().network.plugins]
        self.assertEqual(kinds, ["bridge", "portmap", "tuning"])
        os.mkdir(self.plugins.path("conf", "pods", "c.conf"))
        self.assertIn("a plugin in pods/ cannot be added: it is not a regular file", self._poll())

    def test_mode_of_a_file(self) -> None:
        """A file whose mode has changed is read again: it may be readable now."""
        self.plugins.configure(LIST)
        before = self.readiness._source.signature()
        os.chmod(self.plugins.path("conf", "10-pods.conflist"), 0o600)
        self.assertNotEqual(self.readiness._source.signature(), before)

    def test_no_directory(self) -> None:
        """The message reports a path that is not a directory."""
        os.rmdir(self.plugins.path("conf"))
        with open(self.plugins.path("conf"), "w", encoding="ascii"):
            self.assertIn(f"{self.plugins.path('conf')}, cannot be read: Not a directory", self._poll())

    def test_changes(self) -> None:
        """The next poll finds a configuration that appears, changes or is removed."""
        self._poll()
        self.plugins.configure(LIST)
        self.assertEqual(self._poll(), "")
        self.plugins.configure(LIST | {"name": "other"}, "05-first.conflist")
        self._poll()
        self.assertEqual(self.readiness.require().network.name, "other")
        os.unlink(self.plugins.path("conf", "05-first.conflist"))
        self._poll()
        self.assertEqual(self.readiness.require().network.name, "pods")
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.assertIn("no network configuration", self._poll())

    def test_missing_plugin(self) -> None:
        """The message names a plugin that is not installed, with its list; after its installation the node is ready."""
        self.plugins.configure(LIST | {"plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]})
        for plugin in ("calico", "calico-ipam"):
            message = self._poll()
            self.assertIn(f"CNI plugin {plugin} of network pods (10-pods.conflist) not found in", message)
            self.assertIn(self.plugins.path("bin"), message)
            self.plugins.install(plugin)
        self.assertEqual(self._poll(), "")

    def test_first_list_counts(self) -> None:
        """While the plugins of the first list are missing, the second list is not used."""
        self.plugins.configure(LIST | {"plugins": [{"type": "calico"}]}, "10-calico.conflist")
        self.plugins.configure(LIST, "20-pods.conflist")
        self.assertIn("calico", self._poll())

    def test_versions(self) -> None:
        """The newest version that the list offers and all plugins support is used; VERSION runs once."""
        self.plugins.outcomes["VERSION portmap"] = success(
            {"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}
        )
        self.plugins.configure(LIST | {"cniVersions": ["0.3.1", "0.4.0", "1.1.0"]})
        self._poll()
        self.assertEqual(self.readiness.require().version, "0.4.0")
        asked = len(self.plugins.calls)
        self._poll()
        self.assertEqual(len(self.plugins.calls), asked)

    def test_unsupported_version(self) -> None:
        """The message has the unsupported version and the supported ones; VERSION runs again for a new plugin file."""
        self.plugins.outcomes["VERSION bridge"] = success({"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]})
        self.plugins.configure(LIST)
        message = self._poll()
        self.assertIn("is of CNI version 1.0.0", message)
        self.assertIn("bridge: 0.4.0", message)
        del self.plugins.outcomes["VERSION bridge"]
        os.utime(self.plugins.path("bin", "bridge"), ns=(1, 1))
        self.assertEqual(self._poll(), "")

    def test_broken_plugin(self) -> None:
        """The node is not ready while a plugin fails in VERSION."""
        self.plugins.outcomes["VERSION bridge"] = Output(127, b"", b"libfoo.so not found")
        self.plugins.configure(LIST)
        self.assertIn("libfoo.so not found", self._poll())
        del self.plugins.outcomes["VERSION bridge"]
        self.assertEqual(self._poll(), "")

    def test_ranges(self) -> None:
        """A list with the capability ipRanges is not ready before a pod CIDR is known."""
        self.plugins.configure(LIST | {"plugins": [{"type": "bridge", "capabilities": {"ipRanges": True}}]})
        self.assertIn("pod CIDR", self._poll())
        self.readiness.pod_cidrs = ("10.1.0.0/24",)
        self.assertEqual(self._poll(), "")

    def test_status(self) -> None:
        """STATUS of plugins of version 1.1.0 runs at intervals; after a failure the list stays active."""
        self.plugins.configure(LIST | {"cniVersion": "1.1.0"})
        self.plugins.outcomes["STATUS portmap"] = plugin_error("no route to the controller", 50)
        self.assertEqual(
            self._poll(), "CNI plugin portmap, STATUS on network pods: no route to the controller (code 50)"
        )
        self.assertEqual(self.readiness.require().version, "1.1.0")
        asked = len(self.plugins.calls)
        self.assertIn("controller", self._poll())
        self.assertEqual(len(self.plugins.calls), asked)
        del self.plugins.outcomes["STATUS portmap"]
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self._poll(), "")

    def test_no_status_before(self) -> None:
        """STATUS does not run for plugins of older versions."""
        self.plugins.configure(LIST)
        self._poll()
        self.assertNotIn("STATUS bridge", [call.name for call in self.plugins.calls])

    def test_one_poll_at_a_time(self) -> None:
        """A poll that waits for a plugin blocks the next poll, not the condition."""
        waiting: Deferred[Output] = Deferred()
        self.plugins.outcomes["VERSION bridge"] = waiting
        self.plugins.configure(LIST)
        first, second = ensureDeferred(self.readiness.poll()), ensureDeferred(self.readiness.poll())
        self.assertNoResult(second)
        self.assertFalse(self.readiness.condition.ready)
        del self.plugins.outcomes["VERSION bridge"]
        waiting.callback(success({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertTrue(self.readiness.condition.ready)

    def test_parallel_versions(self) -> None:
        """VERSION runs for all plugins in parallel; the message is from the first failed plugin in the list."""
        waiting = {name: Deferred[Output]() for name in ("bridge", "portmap")}
        self.plugins.outcomes |= {f"VERSION {name}": outcome for name, outcome in waiting.items()}
        self.plugins.configure(LIST)
        poll = ensureDeferred(self.readiness.poll())
        self.assertEqual([call.name for call in self.plugins.calls], ["VERSION bridge", "VERSION portmap"])
        waiting["portmap"].callback(Output(2))
        self.assertNoResult(poll)
        waiting["bridge"].callback(Output(1))
        self.successResultOf(poll)
        self.assertIn("CNI plugin bridge, VERSION: exit status 1", self.readiness.condition.message)

    def test_shared_poll(self) -> None:
        """All calls that come while a poll waits for a plugin share the next poll."""
        hanging = [Deferred[Output](), Deferred[Output]()]
        outcomes = iter(hanging)
        self.plugins.outcomes["VERSION bridge"] = lambda call: next(outcomes)
        self.plugins.configure(LIST)
        first = ensureDeferred(self.readiness.poll())
        others = [ensureDeferred(self.readiness.poll()) for _ in range(100)]
        hanging[0].callback(Output(-9, kill_reason="it did not finish within 10 s"))
        self.successResultOf(first)
        self.assertNoResult(others[0])
        hanging[1].callback(Output(-9, kill_reason="it did not finish within 10 s"))
        for other in others:
            self.successResultOf(other)
        self.assertIn("did not finish", self.readiness.condition.message)

    def test_cancelled_poll(self) -> None:
        """When the caller whose poll others wait for cancels, the next caller polls."""
        hanging: Deferred[Output] = Deferred()
        self.plugins.outcomes["VERSION bridge"] = hanging
        self.plugins.configure(LIST)
        first, second = ensureDeferred(self.readiness.poll()), ensureDeferred(self.readiness.poll())
        del self.plugins.outcomes["VERSION bridge"]
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.successResultOf(second)
        self.assertTrue(self.readiness.condition.ready)

    def test_log(self) -> None:
        """A change of the condition is logged once."""
        self._poll()
        self._poll()
        self.assertEqual([event["log_level"].name for event in self.logged], ["warn"])
        self.plugins.configure(LIST)
        self._poll()
        self._poll()
        self.assertEqual([event["log_level"].name for event in self.logged], ["warn", "info"])

    def test_description(self) -> None:
        """A verbose status shows list, version, plugins and the message."""
        self.plugins.configure(LIST)
        self._poll()
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
        self.plugins = FakePlugins()
        self.addCleanup(self.plugins.close)
        self.plugins.install("bandwidth")
        chain = PluginChain(self.plugins.run, (self.plugins.path("bin"),), {})
        source = KubenetConfiguration(lambda: self.readiness.pod_cidrs, chain.find, 1400, "hairpin-veth")
        self.readiness = Readiness(source, chain, Clock())

    def test_waits(self) -> None:
        """The node is not ready before a pod CIDR is known, and the message names the sources of one."""
        self.successResultOf(ensureDeferred(self.readiness.poll()))
        self.assertIn("kubenet waits for the node's pod CIDR", self.readiness.condition.message)
        self.readiness.pod_cidrs = ("10.1.0.0/24", "fd00::/64")
        self.successResultOf(ensureDeferred(self.readiness.poll()))
        self.assertTrue(self.readiness.condition.ready)
        bridge = self.readiness.require().network.plugins[0].document
        self.assertEqual(bridge["ipam"]["ranges"], [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]])
        self.assertEqual(bridge["ipam"]["routes"], [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
        self.assertEqual((bridge["mtu"], bridge["hairpinMode"]), (1400, True))

    def test_firewall(self) -> None:
        """The firewall plugin is in the chain as soon as it is installed."""
        self.readiness.pod_cidrs = ("10.1.0.0/24",)
        for expected in (["bridge", "portmap", "bandwidth"], ["bridge", "portmap", "firewall", "bandwidth"]):
            self.successResultOf(ensureDeferred(self.readiness.poll()))
            self.assertEqual([plugin.type for plugin in self.readiness.require().network.plugins], expected)
            self.plugins.install("firewall")

    def test_modes(self) -> None:
        """Both hairpin modes set that of the veth, the only one that works; an MTU of 0 is the plugin's default."""
        keys = {"mtu", "hairpinMode", "promiscMode"}
        for mode, expected in (
            ("none", set()),
            ("hairpin-veth", {"hairpinMode"}),
            ("promiscuous-bridge", {"hairpinMode"}),
        ):
            document = kubenet_list(("10.1.0.0/24",), mtu=0, hairpin_mode=mode, firewall=False)
            self.assertEqual(keys & set(json.loads(json.dumps(document))["plugins"][0]), expected)
