"""The first processes of containers, in a /proc made for the test."""

from __future__ import annotations

import os
import tempfile

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel import CgroupWrites, IContainerProcesses, Limits, ProcessFacts
from criwist.kernel.container_processes import ContainerProcesses
from tests.doubles.memory_threads import MemoryThreads

ID = "0123456789abcdef" * 4
PID = 11
_STATUS = "Uid:\t1000\t0\t0\t0\nGid:\t100\t0\t0\t0\nGroups:\t4 20\n" + "".join(
    f"Cap{name}:\t0\n" for name in ("Eff", "Prm", "Inh", "Bnd", "Amb")
)


class ContainerProcessesTests(SynchronousTestCase):
    """A process of a container on a host with cgroup v2."""

    def setUp(self) -> None:
        """Make a /proc with one process, and its cgroup."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.cgroup = f"{self.root}/cgroup/docker/{ID}"
        self.write("proc/self/mountinfo", f"25 1 0:22 / {self.root}/cgroup rw - cgroup2 cgroup2 rw\n")
        self.write(f"proc/{PID}/cgroup", f"0::/docker/{ID}\n")
        self.write(f"proc/{PID}/status", _STATUS)
        self.write(f"proc/{PID}/oom_score_adj", "700\n")
        self.write(f"cgroup/docker/{ID}/memory.max", "1048576\n")
        self.write(f"cgroup/docker/{ID}/memory.high", "max\n")
        self.write(f"cgroup/docker/{ID}/cgroup.procs", f"{PID}\n")
        threads = MemoryThreads()
        self.processes = ContainerProcesses(threads, threads, f"{self.root}/proc")

    def write(self, path: str, text: str) -> None:
        """Write a file below the root."""
        os.makedirs(os.path.dirname(f"{self.root}/{path}"), exist_ok=True)
        with open(f"{self.root}/{path}", "w") as file:
            file.write(text)

    def read(self, pid: int = PID, container: str = ID) -> ProcessFacts | None:
        """Read the facts of a process."""
        return self.processes.read(pid, container, cpu_shares=0, unified_keys=["memory.high"])

    def test_the_interface(self) -> None:
        """ContainerProcesses provides IContainerProcesses."""
        verifyObject(IContainerProcesses, self.processes)

    def test_facts(self) -> None:
        """The facts are the real ids, the limits in force, the requested files and the oom_score_adj."""
        facts = ProcessFacts(
            uid=1000,
            gid=100,
            groups=(4, 20),
            limits=Limits(memory=1 << 20),
            unified={"memory.high": "max"},
            oom_score_adj=700,
        )
        self.assertEqual(self.read(), facts)

    def test_other_processes(self) -> None:
        """A process that has ended, or belongs to another container, has no facts and no cgroups."""
        self.assertIsNone(self.read(pid=12))
        self.assertIsNone(self.read(container=ID[::-1]))
        self.assertEqual(self.processes.cgroups(12, ID), {})

    def test_cgroups(self) -> None:
        """The unified hierarchy's directory has the name ""."""
        self.assertEqual(self.processes.cgroups(PID, ID), {"": self.cgroup})

    def test_exiting(self) -> None:
        """A process that exits leaves its v1 cgroups: nothing is read of the machine's own, nor written there."""
        point = f"{self.root}/memory"
        mounts = f"25 1 0:22 / {self.root}/cgroup rw - cgroup2 cgroup2 rw\n"
        self.write("proc/self/mountinfo", f"{mounts}26 1 0:23 / {point} rw - cgroup cgroup rw,memory\n")
        self.write(f"proc/{PID}/cgroup", f"4:memory:/\n0::/docker/{ID}\n")
        self.write("memory/memory.high", "max\n")
        self.write("memory/cgroup.procs", "1\n")
        self.write("proc/1/oom_score_adj", "0\n")
        self.assertIsNone(self.read())
        for call in (
            self.processes.write_resources(PID, ID, CgroupWrites({"memory.high": "4096"}), "linux"),
            self.processes.write_oom_score_adj(PID, ID, 500),
        ):
            self.successResultOf(Deferred.fromCoroutine(call))
        for path, text in (("memory/memory.high", "max\n"), ("proc/1/oom_score_adj", "0\n")):
            with open(f"{self.root}/{path}") as file:
                self.assertEqual(file.read(), text)

    def test_writes(self) -> None:
        """Values are written to the cgroup and to each of its processes; a process that has ended is no error."""
        writes = CgroupWrites({"memory.high": "4096"})
        for pid in (PID, 12):
            for call in (
                self.processes.write_resources(pid, ID, writes, "linux"),
                self.processes.write_oom_score_adj(pid, ID, 500),
            ):
                self.successResultOf(Deferred.fromCoroutine(call))
        with open(f"{self.cgroup}/memory.high") as file:
            self.assertEqual(file.read().strip(), "4096")
        with open(f"{self.root}/proc/{PID}/oom_score_adj") as file:
            self.assertEqual(file.read(), "500")
