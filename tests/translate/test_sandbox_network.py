"""Names and IPv6 in a sandbox's body."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import EngineFacts
from criwist.translate.sandbox import sandbox_body


def host_config(config: pb.PodSandboxConfig, network_mode: str = "none", ipv6: bool = True) -> dict[str, Any]:
    """``HostConfig`` of the sandbox."""
    body = sandbox_body(
        config,
        name="k8s_POD_web_default_uid_0",
        image="pause",
        runtime="",
        network_mode=network_mode,
        publish_ports=False,
        engine=EngineFacts(),
        oom_score_floor=-1000,
        files={},
        ipv6=ipv6,
    )
    found: dict[str, Any] = body["HostConfig"]
    return found


class IPv6Tests(SynchronousTestCase):
    """Docker turns IPv6 off in a sandbox without a network of its own, but plugins need it."""

    def test_on_where_plugins_give_the_network(self) -> None:
        """A sandbox whose network a plugin sets up has IPv6."""
        self.assertEqual(host_config(pb.PodSandboxConfig())["Sysctls"]["net.ipv6.conf.all.disable_ipv6"], "0")

    def test_the_pod_has_the_last_word(self) -> None:
        """A pod that turns IPv6 off has it off."""
        config = pb.PodSandboxConfig()
        config.linux.sysctls["net.ipv6.conf.all.disable_ipv6"] = "1"
        self.assertEqual(host_config(config)["Sysctls"]["net.ipv6.conf.all.disable_ipv6"], "1")

    def test_nowhere_else(self) -> None:
        """On Docker's bridge, on the node's network and without IPv6 in the kernel, the body sets nothing."""
        node = pb.PodSandboxConfig()
        node.linux.security_context.namespace_options.network = pb.NODE
        self.assertNotIn("Sysctls", host_config(node))
        self.assertNotIn("Sysctls", host_config(pb.PodSandboxConfig(), network_mode="bridge"))
        self.assertNotIn("Sysctls", host_config(pb.PodSandboxConfig(), ipv6=False))


class NameServersTests(SynchronousTestCase):
    """Docker takes empty lists from the host's resolv.conf."""

    def test_no_searches_are_none(self) -> None:
        """A pod with name servers and no search list does not get the host's."""
        config = pb.PodSandboxConfig(dns_config=pb.DNSConfig(servers=["10.0.0.10"]))
        self.assertEqual(host_config(config)["DnsSearch"], ["."])

    def test_nothing_is_the_hosts(self) -> None:
        """A pod without any DNS configuration gets the host's."""
        self.assertNotIn("DnsSearch", host_config(pb.PodSandboxConfig()))
