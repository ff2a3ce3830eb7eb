"""The measurements and tables of the benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from bench.kubelet import Kubelet
from bench.measure import Calls, cpu_seconds, measure, reaped_seconds, resident, shims
from bench.table import Table, mebibytes, microseconds, milliseconds, seconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.clock import eventually


class MeasureTests(SynchronousTestCase):
    """Latencies, and the CPU time and memory of a process."""

    def test_percentiles(self) -> None:
        """The median is the middle of the ordered latencies, and no percentile exceeds the largest."""
        calls = Calls(tuple(float(number) for number in range(100, 0, -1)), 0.0)
        self.assertEqual([calls.percentile(part) for part in (0, 50, 99, 100)], [1.0, 51.0, 100.0, 100.0])

    def test_warm_up_does_not_count(self) -> None:
        """Every call after the warm-up has a latency, those before have none."""
        made: list[float] = []
        calls = measure(lambda: made.append(0.0), os.getpid(), count=5, warm_up=3)
        self.assertEqual((len(made), len(calls.latencies)), (8, 5))

    def test_time_limit(self) -> None:
        """No call is made after the time limit, but for the first one; the mean is over the calls that were made."""
        calls = measure(lambda: time.sleep(0.01), os.getpid(), count=1000, warm_up=0, within=0.0)
        self.assertEqual(len(calls.latencies), 1)

    def test_series_together(self) -> None:
        """Several series have all latencies, and the mean CPU time of a call."""
        calls = Calls.together([Calls((1.0, 2.0, 3.0), 4.0), Calls((5.0,), 8.0)])
        self.assertEqual((calls.latencies, calls.cpu), ((1.0, 2.0, 3.0, 5.0), 5.0))

    def test_processor_time(self) -> None:
        """The CPU time of this process is the time that Python reports."""
        self.assertLess(abs(cpu_seconds(os.getpid()) - time.process_time()), 0.1)

    def test_children_that_ended(self) -> None:
        """The CPU time of a child counts once it has been waited for."""
        before = reaped_seconds(os.getpid())
        subprocess.run([sys.executable, "-c", "while __import__('time').process_time() < 0.1: pass"], check=True)
        self.assertGreaterEqual(reaped_seconds(os.getpid()) - before, 0.05)

    def test_shims(self) -> None:
        """The shims of a containerd are known by its socket."""
        root = Path(tempfile.mkdtemp(prefix="criwist-bench-"))
        self.addCleanup(root.rmdir)
        command = ["containerd-shim-of-a-test", "-c", "input()", "-address", f"{root}/containerd.sock"]
        with subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE) as shim:
            # The kernel shows a command line a moment after the program has begun.
            eventually(lambda: shims(root) == [shim.pid])
            self.assertEqual(shims(root / "other"), [])
            shim.communicate(b"\n")

    def test_memory(self) -> None:
        """A Python process has some MiB of resident memory."""
        self.assertGreater(resident(os.getpid()), 5 << 20)


@define
class _Node:
    """Both services of a runtime, whose pods have a container each; records the RPCs."""

    #: When the container was created, by the pod's id.
    pods: dict[str, int]
    called: list[str] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        """Return a service, or an RPC."""
        return self if name in ("runtime", "images") else lambda request: self._answer(name)

    def _answer(self, name: str) -> Any:
        self.called.append(name)
        if name == "ListPodSandbox":
            return api.ListPodSandboxResponse(items=[api.PodSandbox(id=pod_id) for pod_id in self.pods])
        containers = [
            api.Container(id=f"of-{pod_id}", pod_sandbox_id=pod_id, created_at=created)
            for pod_id, created in self.pods.items()
        ]
        return api.ListContainersResponse(containers=containers)


class KubeletTests(SynchronousTestCase):
    """The requests of a kubelet."""

    def test_statuses_of_what_changed(self) -> None:
        """The first listing leads to the status of every pod, a later one to those of the pods that changed."""
        node: Any = _Node({"a": 1, "b": 1})
        kubelet = Kubelet(node)
        lists, statuses = ["ListPodSandbox", "ListContainers"], ["PodSandboxStatus", "ContainerStatus"]
        kubelet.relist()
        self.assertEqual(node.called, lists + 2 * statuses)
        node.called.clear()
        kubelet.relist()
        self.assertEqual(node.called, lists)
        node.called.clear()
        node.pods["b"] = 2
        kubelet.relist()
        self.assertEqual(node.called, lists + statuses)

    def test_readings(self) -> None:
        """The stats of containers and pods, the file system of images and the status are read."""
        node: Any = _Node({})
        Kubelet(node).read()
        self.assertEqual(node.called, ["ListContainerStats", "ListPodSandboxStats", "ImageFsInfo", "Status"])


class TableTests(SynchronousTestCase):
    """Tables of text."""

    def test_layout(self) -> None:
        """The first column is flush left, the others right, between rules."""
        table = Table("title", ("call", "a"))
        table.add("one", microseconds(0.0012345))
        table.add("fourteen", milliseconds(0.5))
        self.assertEqual(
            str(table),
            "title\n\n"
            "========  ========\n"
            "call             a\n"
            "========  ========\n"
            "one       1,234 µs\n"
            "fourteen  500.0 ms\n"
            "========  ========\n",
        )

    def test_units(self) -> None:
        """Sizes are in MiB, times in seconds."""
        self.assertEqual(mebibytes(3 << 19), "1.5 MiB")
        self.assertEqual(seconds(0.315), "0.32 s")
