"""The base of tests of CNI networks: a network with a valid configuration, and plugins that are functions."""

from __future__ import annotations

import os
from typing import Any

from attrs import define, field
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from criwist.interfaces.network import PodNetwork, PodNetworkRequest, PortMapping
from criwist.network.attachments import Attachments
from criwist.network.cni import CNINetwork
from criwist.network.configuration_sources import ConfigurationDirectory
from criwist.network.hostports import HostPorts
from criwist.network.plugin_chain import PluginChain
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import Readiness
from criwist.records.atomic_files import Documents
from tests.network.fake_plugins import LIST, FakePlugins

#: A pause whose network namespace exists: the test's own.
PAUSE = {"State": {"Pid": os.getpid(), "Running": True}}
NETNS = f"/proc/{os.getpid()}/ns/net"
PORTS = (PortMapping("tcp", 80, 8080),)


@define
class MemoryNetnsMounts:
    """A double of NetnsMounts, which mounts nothing and remembers the path of each namespace."""

    #: Sandbox id to path.
    mounted: dict[str, str] = field(factory=dict)

    def path(self, sandbox_id: str) -> str:
        """Return the namespace's path, ``""`` if it is not mounted."""
        return self.mounted.get(sandbox_id, "")

    def mount(self, sandbox_id: str, netns: str) -> str:
        """Remember *netns*."""
        self.mounted[sandbox_id] = netns
        return netns

    def unmount(self, sandbox_id: str) -> None:
        """Forget the path."""
        self.mounted.pop(sandbox_id, None)


class CNICase(SynchronousTestCase):
    """A CNI network that has polled a valid configuration."""

    def setUp(self) -> None:
        self.plugins = FakePlugins()
        self.addCleanup(self.plugins.close)
        self.plugins.configure(LIST)
        self.clock = Clock()
        self.logged: list[dict[str, Any]] = []
        #: Container ids of each call of ``kill_stray_plugins``.
        self.stray_kills: list[set[str]] = []
        self.netns_mounts = MemoryNetnsMounts()
        self.network = self.restart()

    def restart(self, name: str = "cni", host_ports: HostPorts | None = None) -> CNINetwork:
        """Return a started network with the state that is on disk, as after a restart of criwist.

        :param host_ports: shared with another network.
        """
        chain = PluginChain(self.plugins.run, (self.plugins.path("bin"),), {})
        network = CNINetwork(
            name=name,
            readiness=Readiness(ConfigurationDirectory(self.plugins.path("conf")), chain, self.clock),
            chain=chain,
            attachments=Attachments(
                self.plugins.path("journal" if name == "cni" else name), self.plugins.path("cache")
            ),
            pod_cidrs=PodCIDRs(Documents(self.plugins.path("state"), 1)),
            netns_mounts=self.netns_mounts,  # type: ignore[arg-type] # a double with the same methods
            clock=self.clock,
            kill_stray_plugins=self._kill_stray_plugins,
            host_ports=host_ports or HostPorts(),
            log=Logger(observer=self.logged.append),  # type: ignore[arg-type]
        )
        network.startService()
        self.addCleanup(network.stopService)
        return network

    async def _kill_stray_plugins(self, container_ids: set[str]) -> None:
        self.stray_kills.append(container_ids)

    def set_up(self, request: PodNetworkRequest, network: CNINetwork | None = None) -> PodNetwork:
        """Set up a pod's network, which succeeds at once."""
        made = self.successResultOf(ensureDeferred((network or self.network).set_up(request, PAUSE)))
        assert isinstance(made, PodNetwork)
        return made

    def tear_down(self, request: PodNetworkRequest, network: PodNetwork | None = None) -> None:
        """Tear down a pod's network, which succeeds at once."""
        self.successResultOf(ensureDeferred(self.network.tear_down(request, network, PAUSE)))

    def reconcile(self, network: CNINetwork, *known: PodNetworkRequest) -> None:
        """Reconcile *network* with the known sandboxes, which succeeds at once."""
        self.successResultOf(ensureDeferred(network.reconcile({request.sandbox_id: request for request in known})))

    def files_left(self) -> list[str]:
        """Return the names of the files in journal and cache."""
        found = []
        for directory in (self.plugins.path("journal"), self.plugins.path("cache", "results")):
            found += os.listdir(directory) if os.path.isdir(directory) else []
        return sorted(found)
