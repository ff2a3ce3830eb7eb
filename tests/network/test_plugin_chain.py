"""Chains of plugin calls."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import PluginFailure
from criwist.netconf.invocations import Attachment
from criwist.netconf.lists import parse_list
from criwist.network.plugin_chain import INQUIRY_TIME_LIMIT, PluginChain
from criwist.network.plugin_process import Output
from tests.network.fake_plugins import LIST, FakePlugins, plugin_error, success

NETWORK = parse_list(json.dumps(LIST))
ATTACHMENT = Attachment("c" * 64, "/proc/7/ns/net", "eth0", (("IgnoreUnknown", "1"),), {"portMappings": [1]})


class ChainTests(SynchronousTestCase):
    """Commands over a list of two plugins."""

    def setUp(self) -> None:
        self.plugins = FakePlugins()
        self.addCleanup(self.plugins.close)
        self.logged: list[dict[str, Any]] = []
        self.chain = PluginChain(
            self.plugins.run,
            ("/nowhere", self.plugins.path("bin")),
            {"PATH": "/bin"},
            time_limit=30,
            log=Logger(observer=self.logged.append),  # type: ignore[arg-type]
        )

    def _result(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def _failure(self, work: Coroutine[Any, Any, Any]) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(work), PluginFailure).value)

    def test_add(self) -> None:
        """Plugins run in order, each with the result of the one before; the last result is the list's."""
        result = self._result(self.chain.add(NETWORK, "1.0.0", ATTACHMENT))
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge", "ADD portmap"])
        first, second = self.plugins.calls
        self.assertNotIn("prevResult", first.configuration)
        self.assertEqual(second.configuration["prevResult"], result)
        self.assertEqual(result["ips"][0]["address"], "10.1.0.2/24")

    def test_environment(self) -> None:
        """A plugin gets criwist's environment, the variables of its call, and the time limit."""
        self._result(self.chain.add(NETWORK, "1.0.0", ATTACHMENT))
        call = self.plugins.calls[0]
        self.assertEqual(
            (call.environment["PATH"], call.environment["CNI_CONTAINERID"], call.time_limit), ("/bin", "c" * 64, 30)
        )
        self.assertEqual(call.environment["CNI_PATH"], "/nowhere:" + self.plugins.path("bin"))

    def test_capabilities(self) -> None:
        """Only a plugin that declares portMappings gets host ports."""
        self._result(self.chain.add(NETWORK, "1.0.0", ATTACHMENT))
        self.assertEqual(
            [call.configuration.get("runtimeConfig") for call in self.plugins.calls], [None, {"portMappings": [1]}]
        )

    def test_versions_of_results(self) -> None:
        """A result of another version than the list's is converted for the next plugin."""
        self.plugins.outcomes["ADD bridge"] = success({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.9/24"}})
        result = self._result(self.chain.add(NETWORK, "1.0.0", ATTACHMENT))
        self.assertEqual(self.plugins.calls[1].configuration["prevResult"]["cniVersion"], "1.0.0")
        self.assertEqual(result["ips"], [{"address": "10.1.0.9/24"}])

    def test_failure(self) -> None:
        """The first failure ends the chain; the error has plugin, command, network, message and code."""
        self.plugins.outcomes["ADD bridge"] = plugin_error("no free address", 11)
        self.assertEqual(
            self._failure(self.chain.add(NETWORK, "1.0.0", ATTACHMENT)),
            "CNI plugin bridge, ADD on network pods: no free address (code 11)",
        )
        self.assertEqual(self.plugins.pod_calls(), ["ADD bridge"])

    def test_kinds_of_failure(self) -> None:
        """Each kind of failure of a plugin raises an error that describes it."""
        for outcome, text in (
            (Output(1), "exit status 1, and it printed nothing"),
            (Output(1, b"", b"panic:\n oops"), "panic: oops (exit status 1)"),
            (Output(2, b"garbage", b"also"), "garbage (exit status 2)"),
            (Output(1, b"{}"), "{} (exit status 1)"),
            (Output(1, b'{"code": 4}'), "no message (code 4)"),
            (Output(-9), "signal 9, and it printed nothing"),
            (Output(-9, b"", b"", "it did not finish within 30 s"), "it did not finish within 30 s and was killed"),
            (Output(0, b"garbage"), "it printed no result: not a JSON object: garbage"),
            (Output(0), "it printed no result: nothing"),
            (Output(0, b"[]"), "it printed no result: not a JSON object: []"),
            (Output(0, b'{"cniVersion": "1.0.0", "ips": [{"address": "x"}]}'), "it printed no result: ips[0].address"),
            (Output(0, b'{"cniVersion": "9.0.0"}'), "it printed no result: it is of CNI version 9.0.0"),
            (OSError(8, "Exec format error"), "cannot be started: Exec format error"),
        ):
            self.plugins.outcomes["ADD bridge"] = outcome
            self.assertIn(text, self._failure(self.chain.add(NETWORK, "1.0.0", ATTACHMENT)))

    def test_missing(self) -> None:
        """The error for a plugin that is not installed has the directories that were searched."""
        network = evolve(NETWORK, plugins=(evolve(NETWORK.plugins[0], type="calico"),))
        self.assertEqual(
            self._failure(self.chain.add(network, "1.0.0", ATTACHMENT)),
            f"CNI plugin calico not found in /nowhere, {self.plugins.path('bin')}",
        )

    def test_delete(self) -> None:
        """DEL runs backwards, and each plugin gets the result of ADD."""
        self._result(self.chain.delete(NETWORK, "1.0.0", ATTACHMENT, {"cniVersion": "1.0.0"}))
        self.assertEqual(self.plugins.pod_calls(), ["DEL portmap", "DEL bridge"])
        self.assertEqual(
            [call.configuration["prevResult"] for call in self.plugins.calls], [{"cniVersion": "1.0.0"}] * 2
        )
        self._result(self.chain.delete(NETWORK, "0.3.1", ATTACHMENT, None))
        self.assertNotIn("prevResult", self.plugins.calls[-1].configuration)

    def test_check(self) -> None:
        """CHECK runs forwards with the result of ADD, and raises a failure."""
        self._result(self.chain.check(NETWORK, "1.0.0", ATTACHMENT, {"cniVersion": "1.0.0"}))
        self.assertEqual(self.plugins.pod_calls(), ["CHECK bridge", "CHECK portmap"])
        self.plugins.outcomes["CHECK portmap"] = plugin_error("rule is gone")
        self.assertIn(
            "CHECK on network pods: rule is gone",
            self._failure(self.chain.check(NETWORK, "1.0.0", ATTACHMENT, {"cniVersion": "1.0.0"})),
        )

    def test_status(self) -> None:
        """STATUS is about no pod, and has a shorter time limit."""
        self._result(self.chain.status(NETWORK, "1.1.0"))
        self.assertNotIn("CNI_CONTAINERID", self.plugins.calls[0].environment)
        self.assertEqual(self.plugins.calls[0].time_limit, INQUIRY_TIME_LIMIT)

    def test_collect(self) -> None:
        """GC runs every plugin, also after a failure, with the valid attachments."""
        self.plugins.outcomes["GC bridge"] = plugin_error("busy")
        self.assertIn("busy", self._failure(self.chain.collect(NETWORK, "1.1.0", [("c1", "eth0")])))
        self.assertEqual(self.plugins.pod_calls(), ["GC bridge", "GC portmap"])
        self.assertEqual(
            self.plugins.calls[1].configuration["cni.dev/valid-attachments"], [{"containerID": "c1", "ifname": "eth0"}]
        )

    def test_versions(self) -> None:
        """VERSION returns the supported versions; a plugin that does not know it supports the first version."""
        self.assertIn("1.0.0", self._result(self.chain.versions("bridge")))
        self.plugins.outcomes["VERSION bridge"] = plugin_error("unknown CNI_COMMAND: VERSION")
        self.assertEqual(self._result(self.chain.versions("bridge")), ("0.1.0",))
        self.plugins.outcomes["VERSION bridge"] = success({"usage": "bridge"})
        self.assertIn("VERSION: it printed no versions", self._failure(self.chain.versions("bridge")))
        self.plugins.outcomes["VERSION bridge"] = Output(3)
        self.assertIn("exit status 3", self._failure(self.chain.versions("bridge")))

    def test_standard_error(self) -> None:
        """A plugin's standard error is logged, with the sandbox, whether the plugin fails or not."""
        self.plugins.outcomes["DEL bridge"] = Output(0, b"", b"lease was gone\n")
        self._result(self.chain.delete(NETWORK, "1.0.0", ATTACHMENT, None))
        self.assertEqual(
            [(event["plugin"], event["command"], event["sandbox"], event["stderr"]) for event in self.logged],
            [("bridge", "DEL", "c" * 64, "lease was gone")],
        )
