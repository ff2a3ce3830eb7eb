"""CNI networks: the service that polls the configuration."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, ensureDeferred

from criwist.errors import InvalidArgument
from criwist.network.cni import FIRST_POLL_LIMIT
from criwist.network.plugin_process import Output
from criwist.network.readiness import POLL_INTERVAL
from tests.network.cni_case import CNICase
from tests.network.fake_plugins import LIST, pod, success


class PollingTests(CNICase):
    """The condition, and the CIDRs that kubelet sends."""

    def test_condition_follows(self) -> None:
        """The condition follows a change in the directory within two seconds."""
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.clock.advance(POLL_INTERVAL)
        self.assertFalse(self.network.condition().ready)
        self.plugins.configure(LIST)
        self.clock.advance(POLL_INTERVAL)
        self.assertTrue(self.network.condition().ready)

    def test_first_poll(self) -> None:
        """A status before the end of the first poll waits for it, and does not report an unready network."""
        versions: Deferred[Output] = Deferred()
        self.plugins.outcomes["VERSION bridge"] = versions
        network = self.restart()
        asking = ensureDeferred(network.wait_for_condition())
        self.assertNoResult(asking)
        self.assertTrue(network.condition_pending)
        del self.plugins.outcomes["VERSION bridge"]
        versions.callback(success({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.successResultOf(asking)
        self.assertTrue(network.condition().ready)
        self.assertFalse(network.condition_pending)
        self.successResultOf(ensureDeferred(network.wait_for_condition()))

    def test_slow_first_poll(self) -> None:
        """A status waits at most ten seconds for the first poll, which goes on."""
        versions: Deferred[Output] = Deferred()
        self.plugins.outcomes["VERSION bridge"] = versions
        network = self.restart()
        asking = ensureDeferred(network.wait_for_condition())
        self.clock.advance(FIRST_POLL_LIMIT)
        self.successResultOf(asking)
        self.assertFalse(network.condition_pending)
        self.successResultOf(ensureDeferred(network.wait_for_condition()))
        self.assertIn("being asked", network.condition().message)
        versions.callback(success({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
        self.assertTrue(network.condition().ready)

    def test_polling_goes_on(self) -> None:
        """An internal error in one poll does not end polling."""
        self.plugins.outcomes["VERSION bridge"] = ZeroDivisionError()
        os.utime(self.plugins.path("bin", "bridge"), ns=(1, 1))
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(len([event for event in self.logged if "log_failure" in event]), 1)
        os.unlink(self.plugins.path("conf", "10-pods.conflist"))
        self.clock.advance(POLL_INTERVAL)
        self.assertFalse(self.network.condition().ready)

    def test_stop(self) -> None:
        """A stopped service has no delayed calls."""
        self.network.stopService()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_pod_cidr(self) -> None:
        """kubelet's CIDR is used for the next pod, and after a restart."""
        self.plugins.configure(LIST | {"plugins": [{"type": "bridge", "capabilities": {"ipRanges": True}}]})
        self.successResultOf(ensureDeferred(self.network.update_pod_cidr("10.1.0.0/24,fd00::/64")))
        self.set_up(pod("a"))
        ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]
        self.assertEqual(self.plugins.last("ADD bridge").configuration["runtimeConfig"], {"ipRanges": ranges})
        self.assertEqual(self.restart().pod_cidrs, ("10.1.0.0/24", "fd00::/64"))
        self.failureResultOf(ensureDeferred(self.network.update_pod_cidr("pods")), InvalidArgument)
        self.assertEqual(self.network.pod_cidrs, ("10.1.0.0/24", "fd00::/64"))

    def test_verbose(self) -> None:
        """A verbose status shows the searched directories and the active configuration."""
        verbose = self.network.verbose()
        self.assertEqual(verbose["plugin_directories"], [self.plugins.path("bin")])
        self.assertEqual(verbose["configuration"]["network"], "pods")
