"""Every pod network that a node's pods can be on, made from the configuration.

Whichever is configured for new pods, pods of the others can still be told of and torn down.
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
from criwist.interfaces.network import IPodNetwork
from criwist.network.attachments import Attachments
from criwist.network.bridge import BridgeNetwork
from criwist.network.cni import CNINetwork
from criwist.network.host import HostNetwork
from criwist.network.hostports import HostPorts
from criwist.network.kubenet import KubenetConfiguration
from criwist.network.netns_mounts import NetnsMounts
from criwist.network.plugin_chain import PluginChain
from criwist.network.plugins import run_plugin, stray_plugins
from criwist.network.pod_cidrs import PodCIDRs
from criwist.network.readiness import Readiness
from criwist.network.sources import ConfigurationDirectory, ConfigurationSource
from criwist.records.atomic_files import Documents

#: Looks for processes that were killed, and the seconds between them.
_LOOKS, _BETWEEN = 50, 0.1


def pod_networks(config: Config, reactor: Any, environment: Mapping[str, str]) -> dict[str, IPodNetwork]:
    """All providers by name.  The configured one is to be given a service parent if it is an IService.

    :param environment: ours, which plugins inherit.
    """
    directory = os.path.join(config.root_directory, "network")
    pod_cidrs = PodCIDRs(Documents(directory, 1), config.pod_cidr)
    host_ports = HostPorts()
    chains = PluginChain(partial(run_plugin, reactor=reactor), config.cni_bin_dirs, environment)

    def cni(name: str, source: ConfigurationSource) -> CNINetwork:
        attachments = Attachments(os.path.join(directory, name), config.cni_cache_dir)
        readiness = Readiness(source, chains, reactor)
        return CNINetwork(
            name,
            readiness,
            chains,
            attachments,
            pod_cidrs,
            NetnsMounts(),
            reactor,
            partial(_end_strays, reactor),
            host_ports=host_ports,
        )

    kubenet = cni(
        "kubenet",
        KubenetConfiguration(lambda: kubenet.pod_cidrs, chains.find, config.network_plugin_mtu, config.hairpin_mode),
    )
    return {
        "host": HostNetwork(),
        "bridge": BridgeNetwork(),
        "cni": cni("cni", ConfigurationDirectory(config.cni_conf_dir)),
        "kubenet": kubenet,
    }


async def _end_strays(reactor: Any, container_ids: set[str]) -> None:
    """SIGKILL what plugins left running for these containers, and wait, within reason, until it is gone."""
    for _ in range(_LOOKS):
        pids = stray_plugins(container_ids)
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await deferLater(reactor, _BETWEEN)
