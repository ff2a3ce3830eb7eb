"""Limits that are read from, and keys that are written to, the cgroup files of a temporary tree."""

from __future__ import annotations

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.kernel import Limits
from criwist.kernel.cgroup.paths import Cgroup
from criwist.kernel.cgroup.resources import (
    check_hugepages,
    check_unified,
    read_limits,
    read_unified,
    write_hugepages,
    write_unified,
)
from criwist.kernel.cgroup.v2 import linear_weight, logarithmic_weight, shares_of_weight


class Tree:
    """A directory of cgroup files."""

    def __init__(self, test: SynchronousTestCase, **files: str) -> None:
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.path = directory.name
        for name, text in files.items():
            self[name] = text

    def __setitem__(self, name: str, text: str) -> None:
        with open(os.path.join(self.path, name), "w") as file:
            file.write(text)

    def __getitem__(self, name: str) -> str:
        with open(os.path.join(self.path, name)) as file:
            return file.read()


class V1Tests(SynchronousTestCase):
    """cgroup v1."""

    def setUp(self) -> None:
        """Create one directory for all controllers, with the files of a container without limits."""
        self.tree = Tree(self)
        for name, text in (
            ("cpu.cfs_period_us", "100000\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.shares", "1024\n"),
            ("cpuset.cpus", "0-1\n"),
            ("cpuset.mems", "0\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("pids.max", "max\n"),
            ("hugetlb.2MB.limit_in_bytes", "9223372036852678656\n"),
        ):
            self.tree[name] = text
        self.cgroup = Cgroup(dict.fromkeys(["cpu", "cpuset", "memory", "pids", "hugetlb"], self.tree.path))

    def test_unlimited(self) -> None:
        """The kernel's largest numbers, -1 and ``max`` mean no limit; shares and period always have a value."""
        expected = Limits(cpu_period=100000, cpu_shares=1024, cpuset_cpus="0-1", cpuset_mems="0")
        self.assertEqual(read_limits(self.cgroup), expected)

    def test_limited(self) -> None:
        """Limits have the values of the files."""
        for name, text in (
            ("cpu.cfs_quota_us", "150000\n"),
            ("cpu.shares", "512\n"),
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.memsw.limit_in_bytes", "134217728\n"),
            ("pids.max", "100\n"),
            ("hugetlb.2MB.limit_in_bytes", "4194304\n"),
        ):
            self.tree[name] = text
        limits = read_limits(self.cgroup)
        self.assertEqual((limits.cpu_quota, limits.cpu_shares, limits.pids), (150000, 512, 100))
        self.assertEqual((limits.memory, limits.memory_and_swap), (67108864, 134217728))
        self.assertEqual(limits.hugepages, {"2MB": 4194304})

    def test_controllers_that_the_kernel_lacks(self) -> None:
        """Without files all limits are None."""
        self.assertEqual(read_limits(Cgroup({"memory": "/nonexistent"})), Limits())

    def test_no_unified_keys(self) -> None:
        """v1 has no unified keys: a write is rejected, a read returns none."""
        error = self.assertRaises(FailedPrecondition, write_unified, self.cgroup, {"memory.high": "1"})
        self.assertIn("cgroup v1", str(error))
        self.assertEqual(read_unified(self.cgroup, ["cpu.shares"]), {})
        write_unified(self.cgroup, {})

    def test_limit_of_processes(self) -> None:
        """The one key that v1 has under the same name is returned while it is a limit."""
        self.assertEqual(read_unified(self.cgroup, []), {})
        self.tree["pids.max"] = "50\n"
        self.assertEqual(read_unified(self.cgroup, []), {"pids.max": "50"})

    def test_hugepages(self) -> None:
        """A hugepage limit is written to the file of its page size, and to that of reservations if it exists."""
        write_hugepages(self.cgroup, {"2MB": 4194304})
        self.assertEqual(self.tree["hugetlb.2MB.limit_in_bytes"].strip()[:7], "4194304")
        self.tree["hugetlb.2MB.rsvd.limit_in_bytes"] = ""
        write_hugepages(self.cgroup, {"2MB": 2097152})
        self.assertEqual(self.tree["hugetlb.2MB.rsvd.limit_in_bytes"], "2097152")

    def test_hugepages_without_the_controller(self) -> None:
        """The error on a host without the controller names the controller."""
        error = self.assertRaises(FailedPrecondition, write_hugepages, Cgroup({"memory": "/x"}), {"2MB": 1})
        self.assertIn("hugetlb", str(error))
        write_hugepages(Cgroup({"memory": "/x"}), {})


class V2Tests(SynchronousTestCase):
    """cgroup v2."""

    def setUp(self) -> None:
        """Create the files of a container without limits."""
        self.tree = Tree(self)
        for name, text in (
            ("cpu.max", "max 100000\n"),
            ("cpu.weight", "100\n"),
            ("cpuset.cpus", "\n"),
            ("cpuset.mems", "\n"),
            ("memory.max", "max\n"),
            ("memory.swap.max", "max\n"),
            ("memory.high", "max\n"),
            ("pids.max", "max\n"),
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.rsvd.max", "max\n"),
            ("cgroup.procs", ""),
        ):
            self.tree[name] = text
        self.cgroup = Cgroup({}, self.tree.path)

    def test_unlimited(self) -> None:
        """``max`` means no limit, and the default weight is returned as the default shares."""
        self.assertEqual(read_limits(self.cgroup), Limits(cpu_period=100000, cpu_shares=1024))

    def test_limited(self) -> None:
        """Swap, which v2 limits separately, is returned with memory added, as v1 and the CRI count it."""
        for name, text in (
            ("cpu.max", "50000 200000\n"),
            ("cpu.weight", "77\n"),
            ("cpuset.cpus", "0,2-3\n"),
            ("memory.max", "1000\n"),
            ("memory.swap.max", "500\n"),
            ("pids.max", "7\n"),
            ("hugetlb.2MB.max", "2097152\n"),
        ):
            self.tree[name] = text
        self.assertEqual(
            read_limits(self.cgroup, asked_shares=2000),
            Limits(
                cpu_period=200000,
                cpu_quota=50000,
                cpu_shares=2000,
                cpuset_cpus="0,2-3",
                memory=1000,
                memory_and_swap=1500,
                pids=7,
                hugepages={"2MB": 2097152},
            ),
        )

    def test_no_swap(self) -> None:
        """With a swap limit of 0, memory and swap together are as much as memory alone."""
        self.tree["memory.max"] = "1000\n"
        self.tree["memory.swap.max"] = "0\n"
        self.assertEqual(read_limits(self.cgroup).memory_and_swap, 1000)

    def test_write_unified(self) -> None:
        """A key's value is written to the file of its name and can be read again; unknown keys are left out."""
        write_unified(self.cgroup, {"memory.high": "4096"})
        self.assertEqual(read_unified(self.cgroup, ["memory.high", "memory.low"]), {"memory.high": "4096"})

    def test_keys_that_nobody_remembers(self) -> None:
        """Kubernetes' own keys are returned when they differ from the kernel's default, requested keys always."""
        self.assertEqual(read_unified(self.cgroup, []), {})
        self.assertEqual(read_unified(self.cgroup, ["memory.high"]), {"memory.high": "max"})
        for name in ("memory.low", "memory.min", "memory.oom.group"):
            self.tree[name] = "0\n"
        self.assertEqual(read_unified(self.cgroup, []), {})
        for name, text in (("memory.low", "4096"), ("memory.oom.group", "1"), ("pids.max", "9")):
            self.tree[name] = text
        returned = read_unified(self.cgroup, [])
        self.assertEqual(returned, {"memory.low": "4096", "memory.oom.group": "1", "pids.max": "9"})

    def test_unknown_key(self) -> None:
        """A key that the kernel does not have is an error with key and file, and no file is created."""
        error = self.assertRaises(FailedPrecondition, write_unified, self.cgroup, {"memory.hihg": "1"})
        self.assertIn("unified[memory.hihg]", str(error))
        self.assertIn(f"{self.tree.path}/memory.hihg", str(error))
        self.assertFalse(os.path.exists(f"{self.tree.path}/memory.hihg"))

    def test_bad_keys(self) -> None:
        """Keys that leave the directory, or are not a controller's resource, are rejected before a write."""
        for key in (
            "../memory.max",
            "memory/max",
            "..",
            "",
            "memory",
            "cgroup.procs",
            "cgroup.kill",
            "a..b",
            "memory.max\n",
        ):
            error = self.assertRaises(InvalidArgument, write_unified, self.cgroup, {"memory.high": "1", key: "1"})
            self.assertEqual(error.field, f"unified[{key}]")
        self.assertEqual(self.tree["memory.high"], "max\n")

    def test_bad_values(self) -> None:
        """Empty values and values that are no text are rejected."""
        for value in ("", " \n", "1\0", "ü"):
            self.assertRaises(InvalidArgument, write_unified, self.cgroup, {"memory.high": value})

    def test_symlink_is_not_followed(self) -> None:
        """A key is never written through a symlink."""
        os.symlink(f"{self.tree.path}/memory.max", f"{self.tree.path}/memory.peak")
        self.assertRaises(FailedPrecondition, write_unified, self.cgroup, {"memory.peak": "1"})
        self.assertEqual(self.tree["memory.max"], "max\n")

    def test_hugepages(self) -> None:
        """Usage and reservation are both limited."""
        write_hugepages(self.cgroup, {"2MB": 2097152})
        self.assertEqual(read_limits(self.cgroup).hugepages, {"2MB": 2097152})
        self.assertEqual(self.tree["hugetlb.2MB.rsvd.max"][:7], "2097152")

    def test_unknown_page_size(self) -> None:
        """The error for a page size that the host does not have names its file."""
        error = self.assertRaises(FailedPrecondition, write_hugepages, self.cgroup, {"1GB": 1})
        self.assertIn("hugetlb.1GB.max", str(error))

    def test_bad_page_size(self) -> None:
        """A malformed page size is rejected."""
        for size in ("2M", "2mb", "../2MB", "0MB", ""):
            self.assertRaises(InvalidArgument, check_hugepages, {size: 1})


class CheckTests(SynchronousTestCase):
    """Checks before a cgroup exists."""

    def test_field_is_named(self) -> None:
        """The error has the field name of the caller."""
        error = self.assertRaises(InvalidArgument, check_unified, {"x": "1"}, 2, "linux.resources.unified")
        self.assertEqual(error.field, "linux.resources.unified[x]")

    def test_good_keys(self) -> None:
        """Usual keys are accepted."""
        check_unified(
            {"memory.min": "0", "hugetlb.2MB.max": "0", "io.max": "8:0 rbps=1\n8:1 rbps=2", "misc.max": "x 1"}, 2
        )


class SharesTests(SynchronousTestCase):
    """Weights as shares."""

    def test_known_points(self) -> None:
        """The formulas give the known weights of runc before and after the change."""
        for shares, linear, logarithmic in ((2, 1, 1), (1024, 39, 100), (2000, 77, 170), (262144, 10000, 10000)):
            self.assertEqual((linear_weight(shares), logarithmic_weight(shares)), (linear, logarithmic))

    def test_asked_does_not_fit(self) -> None:
        """If the present weight does not come from the requested shares, it is converted alone."""
        self.assertEqual(shares_of_weight(10000, 1024), 262144)
        self.assertEqual(shares_of_weight(1, 1024), 2)


@settings(max_examples=60)
@given(st.integers(2, 262144))
def test_asked_shares_come_back(shares: int) -> None:
    """The requested shares are returned, whichever formula the engine's runtime uses."""
    assert shares_of_weight(linear_weight(shares), shares) == shares
    assert shares_of_weight(logarithmic_weight(shares), shares) == shares


@settings(max_examples=60)
@given(st.integers(1, 10000))
def test_shares_are_legal(weight: int) -> None:
    """Every weight has shares within the kernel's bounds."""
    assert 2 <= shares_of_weight(weight) <= 262144
