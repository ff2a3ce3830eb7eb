"""The pod networks of a node, built from the configuration.

All of them are built, whichever is configured for new pods: pods of the others still need their status and teardown.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.task import deferLater

from criwist.config import Config
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.interfaces.network import IPodNetwork
from criwist.network.attachments import Attachments
from criwist.network.bridge import BridgeNetwork
from criwist.network.cni import CNINetwork
from criwist.network.configuration_sources import ConfigurationDirectory, ConfigurationSource
from criwist.network.host import HostNetwork
from criwist.network.hostports import HostPorts
from criwist.network.kubenet import KubenetConfiguration
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import PluginChain
from criwist.network.plugin_process import run_plugin, stray_plugins
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import Readiness
from criwist.records.atomic_files import Documents

#: Limit of polls for killed processes, and the seconds between two.
_POLLS, _POLL_INTERVAL = 50, 0.1


def pod_networks(
    config: Config, reactor: Any, environment: Mapping[str, str], metrics: IMetrics = NO_METRICS
) -> dict[str, IPodNetwork]:
    """Return all providers of IPodNetwork by name.  The caller starts the configured one if it is an IService.

    :param environment: criwist's own, which plugins inherit.
    """
    directory = os.path.join(config.root_directory, "network")
    pod_cidrs = PodCIDRs(Documents(directory, 1), config.pod_cidr)
    host_ports = HostPorts()
    chain = PluginChain(partial(run_plugin, reactor=reactor), config.cni_bin_dirs, environment, metrics=metrics)

    def cni(name: str, source: ConfigurationSource) -> CNINetwork:
        return CNINetwork(
            name=name,
            readiness=Readiness(source, chain, reactor),
            chain=chain,
            attachments=Attachments(os.path.join(directory, name), config.cni_cache_dir),
            pod_cidrs=pod_cidrs,
            netns_mounts=NetnsMounts(),
            clock=reactor,
            kill_stray_plugins=partial(_kill_stray_plugins, reactor),
            host_ports=host_ports,
        )

    kubenet = cni(
        "kubenet",
        KubenetConfiguration(lambda: kubenet.pod_cidrs, chain.find, config.network_plugin_mtu, config.hairpin_mode),
    )
    return {
        "host": HostNetwork(),
        "bridge": BridgeNetwork(),
        "cni": cni("cni", ConfigurationDirectory(config.cni_conf_dir)),
        "kubenet": kubenet,
    }


async def _kill_stray_plugins(reactor: Any, container_ids: set[str]) -> None:
    """Kill processes that plugins left behind for these containers, and wait up to five seconds until they are gone."""
    for _ in range(_POLLS):
        pids = stray_plugins(container_ids)
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await deferLater(reactor, _POLL_INTERVAL)
