"""CNI plugins that are functions: a test reads their calls, and sets their outcomes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from criwist.interfaces.network import PodNetworkRequest
from criwist.network.plugin_process import Output

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]

#: A configuration list as clusters have them.
LIST: dict[str, Any] = {
    "name": "pods",
    "cniVersion": "1.0.0",
    "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


@frozen
class Call:
    """One call of a plugin."""

    plugin: str
    command: str
    environment: Mapping[str, str] = field(repr=False)
    configuration: Mapping[str, Any]
    time_limit: float

    @property
    def name(self) -> str:
        """Command and plugin, as in ``ADD bridge``."""
        return f"{self.command} {self.plugin}"


Outcome = Output | Exception | Deferred[Output]


def success(document: object) -> Output:
    """Return the output of a plugin that succeeds and prints *document*."""
    return Output(0, json.dumps(document).encode())


def plugin_error(message: str, code: int = 7) -> Output:
    """Return the output of a plugin that fails with the specification's error object."""
    return Output(1, json.dumps({"cniVersion": "1.0.0", "code": code, "msg": message}).encode())


@define(eq=False)
class FakePlugins:
    """A temporary directory with executables that PluginChain finds, and a runner that calls functions instead.

    Plugins without an entry in ``outcomes`` succeed: ``bridge`` assigns the addresses 10.1.0.2 and following, the
    others return the result that they get.
    """

    _temporary: tempfile.TemporaryDirectory[str] = field(factory=tempfile.TemporaryDirectory)
    calls: list[Call] = field(factory=list)
    #: Name of a call, as in ``ADD bridge``, to the outcome of all further calls of this name.
    outcomes: dict[str, Outcome | Callable[[Call], Outcome]] = field(factory=dict)
    addresses: int = 1

    def __attrs_post_init__(self) -> None:
        for name in ("bin", "conf"):
            os.mkdir(self.path(name))
        for name in ("bridge", "host-local", "portmap"):
            self.install(name)

    def close(self) -> None:
        """Remove the directory."""
        self._temporary.cleanup()

    def path(self, *names: str) -> str:
        """Return a path in the directory."""
        return os.path.join(self._temporary.name, *names)

    def install(self, plugin: str) -> None:
        """Create an executable that PluginChain finds."""
        path = self.path("bin", plugin)
        with open(path, "w", encoding="ascii"):
            os.chmod(path, 0o755)

    def configure(self, document: Mapping[str, Any], name: str = "10-pods.conflist") -> None:
        """Write a configuration file."""
        with open(self.path("conf", name), "w", encoding="utf-8") as file:
            json.dump(document, file)

    def pod_calls(self) -> list[str]:
        """Return the names of all calls of ADD, DEL, CHECK and GC so far."""
        return [call.name for call in self.calls if call.command in ("ADD", "DEL", "CHECK", "GC")]

    def last(self, name: str) -> Call:
        """Return the last call of that name."""
        return [call for call in self.calls if call.name == name][-1]

    async def run(self, executable: str, environment: Mapping[str, str], stdin: bytes, time_limit: float) -> Output:
        """Record a call of PluginChain and return its outcome, instead of ``run_plugin``."""
        call = Call(
            os.path.basename(executable), environment["CNI_COMMAND"], environment, json.loads(stdin), time_limit
        )
        self.calls.append(call)
        outcome = self.outcomes.get(call.name, self._succeed)
        if callable(outcome):
            outcome = outcome(call)
        if isinstance(outcome, Exception):
            raise outcome
        return await outcome if isinstance(outcome, Deferred) else outcome

    def _succeed(self, call: Call) -> Output:
        if call.command == "VERSION":
            return success({"cniVersion": "1.0.0", "supportedVersions": VERSIONS})
        if call.command != "ADD":
            return Output(0)
        if call.plugin != "bridge":
            return success(call.configuration.get("prevResult") or {"cniVersion": call.configuration["cniVersion"]})
        self.addresses += 1
        return success(
            {
                "cniVersion": call.configuration["cniVersion"],
                "interfaces": [{"name": "eth0", "sandbox": call.environment["CNI_NETNS"]}],
                "ips": [{"version": "4", "address": f"10.1.0.{self.addresses}/24", "interface": 0}],
            }
        )


def pod(name: str = "a", **fields: Any) -> PodNetworkRequest:
    """Return the request of a pod whose sandbox id is *name* 64 times."""
    return PodNetworkRequest(name * 64, f"pod-{name}", "default", f"uid-{name}", **fields)
