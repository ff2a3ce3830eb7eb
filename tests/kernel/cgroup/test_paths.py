"""The cgroup of a process on v1, v2 and hybrid hosts, from texts of real kernels."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import NotFound
from criwist.kernel.cgroup.paths import Cgroup, belongs_to, hierarchies, locate, process_cgroup, processes_below
from criwist.kernel.mountinfo import parse_mountinfo

ID = "c6f6cd15a305592b97863ca062ca9d77d0c45b8da7db9c5d383b26459a3e0176"

V1_MOUNTS = """\
25 31 0:23 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755
30 25 0:26 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
34 25 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory
"""
HYBRID_MOUNTS = V1_MOUNTS + "26 25 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_MOUNTS = "24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


class LocateTests(SynchronousTestCase):
    """``/proc/<pid>/cgroup`` and mountinfo to directories."""

    def locate(self, mounts: str, membership: str, container: str = ID) -> Cgroup:
        """Return the cgroup for these two texts."""
        return locate(membership, hierarchies(parse_mountinfo(mounts)), container)

    def test_v1(self) -> None:
        """Controllers that share a hierarchy share a directory, and the version is 1."""
        found = self.locate(
            V1_MOUNTS, f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n"
        )
        self.assertEqual(found.version, 1)
        self.assertEqual(found.directory("memory"), f"/sys/fs/cgroup/memory/docker/{ID}")
        self.assertEqual(found.directory("cpu"), f"/sys/fs/cgroup/cpu,cpuacct/docker/{ID}")
        self.assertEqual(found.directory("cpuacct"), found.directory("cpu"))
        self.assertEqual(found.directory("pids"), "")

    def test_v2(self) -> None:
        """With cgroup v2 all controllers are in one directory; the systemd driver's scope contains the id."""
        scope = f"/kubepods.slice/kubepods-pod1.slice/docker-{ID}.scope"
        found = self.locate(V2_MOUNTS, f"0::{scope}\n")
        self.assertEqual(found, Cgroup({}, f"/sys/fs/cgroup{scope}"))
        self.assertEqual(found.version, 2)
        self.assertEqual(found.directory("memory"), f"/sys/fs/cgroup{scope}")

    def test_hybrid(self) -> None:
        """v2 beside v1 controllers is found too, but limits are v1's."""
        found = self.locate(HYBRID_MOUNTS, f"4:memory:/docker/{ID}\n0::/docker/{ID}\n")
        self.assertEqual(found.version, 1)
        self.assertEqual(found.v2, f"/sys/fs/cgroup/unified/docker/{ID}")
        self.assertEqual(found.directory("memory"), f"/sys/fs/cgroup/memory/docker/{ID}")
        self.assertEqual(found.directory("cpu"), "")

    def test_systemd_named_hierarchy_alone(self) -> None:
        """A v1 hierarchy without controllers does not make the host a v1 host."""
        mounts = V2_MOUNTS + "30 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        self.assertEqual(self.locate(mounts, "1:name=systemd:/a\n0::/a\n").version, 2)

    def test_nested_cgroup_is_cut(self) -> None:
        """A container that runs systemd moves its PID 1 to a cgroup below; limits are those of the engine's cgroup."""
        found = self.locate(V2_MOUNTS, f"0::/system.slice/docker-{ID}.scope/init.scope\n")
        self.assertEqual(found.v2, f"/sys/fs/cgroup/system.slice/docker-{ID}.scope")

    def test_mount_of_a_part(self) -> None:
        """If a mount shows another cgroup than the root, paths are relative to that cgroup."""
        mounts = "34 25 0:30 /docker /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        found = self.locate(mounts, f"4:memory:/docker/{ID}\n")
        self.assertEqual(found.directory("memory"), f"/sys/fs/cgroup/memory/{ID}")
        self.assertEqual(self.locate(mounts, "4:memory:/dockerless\n").directory("memory"), "")

    def test_top_cgroup(self) -> None:
        """The directory of the root cgroup is the mount point."""
        self.assertEqual(self.locate(V2_MOUNTS, "0::/\n").v2, "/sys/fs/cgroup")

    def test_unmounted_hierarchy(self) -> None:
        """A hierarchy that is not mounted has no directory."""
        self.assertEqual(self.locate(V2_MOUNTS, "7:misc:/x\n"), Cgroup())


class ProcessCgroupTests(SynchronousTestCase):
    """The cgroup of a pid, in a temporary tree."""

    def setUp(self) -> None:
        """Create a ``/proc`` with one process of one container, and its cgroup."""
        self.top = directory_of(self)
        self.cgroup = f"{self.top}/cgroup/docker/{ID}"
        for directory in (f"{self.top}/proc/7", f"{self.top}/proc/self", f"{self.cgroup}/inner"):
            os.makedirs(directory)
        self.write("proc/self/mountinfo", f"24 23 0:22 / {self.top}/cgroup rw - cgroup2 cgroup2 rw\n")
        self.write("proc/7/cgroup", f"0::/docker/{ID}/inner\n")

    def write(self, path: str, text: str) -> None:
        """Write a file of the tree."""
        with open(f"{self.top}/{path}", "w") as file:
            file.write(text)

    def test_found(self) -> None:
        """The directory comes from the process's cgroup file and criwist's own mountinfo."""
        self.assertEqual(process_cgroup(7, ID, f"{self.top}/proc").v2, self.cgroup)
        self.assertEqual(process_cgroup(7, proc=f"{self.top}/proc").v2, f"{self.cgroup}/inner")

    def test_exiting(self) -> None:
        """A process that exits is in the root of each v1 hierarchy, which is not its container's."""
        self.write("proc/self/mountinfo", HYBRID_MOUNTS)
        self.write("proc/7/cgroup", f"4:memory:/\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/docker/{ID}\n")
        self.assertRaises(NotFound, process_cgroup, 7, ID, f"{self.top}/proc")
        self.write("proc/7/cgroup", f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/docker/{ID}\n")
        found = process_cgroup(7, ID, f"{self.top}/proc")
        self.assertEqual(found.directory("memory"), f"/sys/fs/cgroup/memory/docker/{ID}")
        self.assertEqual(found.directory("cpu"), "")

    def test_gone(self) -> None:
        """A process that is gone is NotFound."""
        self.assertRaises(NotFound, process_cgroup, 8, ID, f"{self.top}/proc")

    def test_belongs_to(self) -> None:
        """Only a process whose cgroup contains the id belongs to the container."""
        proc = f"{self.top}/proc"
        self.assertTrue(belongs_to(7, ID, proc))
        self.assertFalse(belongs_to(7, "f" * 64, proc))
        self.assertFalse(belongs_to(8, ID, proc))

    def test_processes_below(self) -> None:
        """The processes of cgroups below are included."""
        for path, text in (("", "7\n9\n"), ("/inner", "11\n")):
            self.write(f"cgroup/docker/{ID}{path}/cgroup.procs", text)
        self.assertEqual(processes_below(self.cgroup), {7, 9, 11})

    def test_processes_of_a_vanished_cgroup(self) -> None:
        """A cgroup that is gone has no processes."""
        self.assertEqual(processes_below(f"{self.cgroup}/gone"), set())


def directory_of(test: SynchronousTestCase) -> str:
    """A directory that is removed after the test."""
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    return directory.name
