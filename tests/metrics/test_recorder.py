"""What is counted is in the registry, and what others can name is removed with its object."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client.exposition import generate_latest as prometheus_text
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.interfaces.metrics import IMetrics, NoMetrics
from criwist.metrics.recorder import Recorder
from criwist.names import ContainerName
from tests.core.memory_node import NodeTestCase


class RecorderTests(SynchronousTestCase):
    """The counted metrics."""

    def test_interface(self) -> None:
        """The recorder, and what takes its place, provide IMetrics."""
        verifyObject(IMetrics, Recorder())
        verifyObject(IMetrics, NoMetrics())

    def test_two(self) -> None:
        """Two recorders in one process share nothing."""
        first, second = Recorder(), Recorder()
        first.cri_call("Version", "OK", 0.1)
        labels = {"method": "Version", "code": "OK"}
        self.assertEqual(first.registry.get_sample_value("criwist_cri_calls_total", labels), 1)
        self.assertIsNone(second.registry.get_sample_value("criwist_cri_calls_total", labels))

    def test_no_series_of_creation_times(self) -> None:
        """A counter is one series for a set of labels, not two."""
        recorder = Recorder()
        recorder.log_loss()
        names = {sample.name for family in recorder.registry.collect() for sample in family.samples}
        self.assertIn("criwist_log_losses_total", names)
        self.assertEqual({name for name in names if name.endswith("_created")}, set())

    def test_exemplar(self) -> None:
        """The trace of a call is the exemplar of its bucket in OpenMetrics, and is not in Prometheus' text."""
        recorder, trace = Recorder(), "0af7651916cd43dd8448eb211c80319c"
        recorder.cri_call("Version", "OK", 0.002, trace)
        recorder.cri_call("Version", "OK", 0.02)
        text = openmetrics(recorder.registry).decode()  # type: ignore[no-untyped-call]
        (line,) = (line for line in text.splitlines() if "trace_id" in line)
        self.assertTrue(line.startswith('criwist_cri_call_seconds_bucket{le="0.0025",method="Version"} 1.0 # '), line)
        self.assertIn(f'# {{trace_id="{trace}"}} 0.002 ', line)
        self.assertNotIn(trace, prometheus_text(recorder.registry).decode())

    def test_without_the_option(self) -> None:
        """The service does not import prometheus_client, which takes memory and time, before it is needed."""
        code = "import sys, criwist.service; sys.exit('prometheus_client' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)


class OOMKillTests(NodeTestCase):
    """The one metric with names of containers."""

    def kills(self, recorder: Recorder, name: ContainerName) -> float | None:
        """Return the count of the container's series; None if there is none."""
        labels = {"namespace": name.namespace, "pod": name.pod, "container": name.container}
        return recorder.registry.get_sample_value("criwist_container_oom_kills_total", labels)

    def test_removed_with_the_container(self) -> None:
        """The series goes with the container, and containers that were never killed have none."""
        recorder = Recorder()
        recorder.follow(self.node.cache)
        sandbox_id = self.run_pod()
        killed, other = (self.run_container(sandbox_id, name) for name in ("killed", "other"))
        names = {one.id: one.name for one in self.node.cache.snapshot.containers.values()}
        recorder.oom_kill(names[killed])
        self.assertEqual([self.kills(recorder, names[one]) for one in (killed, other)], [1, None])
        for identifier in (killed, other):
            self.node.docker.remove(identifier)
            self.node.settle()
        self.assertIsNone(self.kills(recorder, names[killed]))
