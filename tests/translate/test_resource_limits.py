"""Linux resources in Docker's terms, and the limits that are written to the cgroup."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.kernel import CgroupWrites
from criwist.translate.cgroup import cgroup_label, cgroup_writes, changed_field, recorded_writes
from criwist.translate.resources import cgroup_parent, oom_score, resource_limits, update_body
from tests.translate.outcomes import NEWEST, OLDEST

MIB = 1 << 20


def limits(engine: EngineFacts = NEWEST, **fields: Any) -> dict[str, Any]:
    """The members of HostConfig for these resources."""
    return resource_limits(pb.LinuxContainerResources(**fields), "linux", engine=engine)


def refused(case: SynchronousTestCase, **fields: Any) -> str:
    """Return the field that an InvalidArgument for these resources names."""
    return str(case.assertRaises(InvalidArgument, limits, **fields).field)


class Cpu(SynchronousTestCase):
    """Cpu time and cpusets."""

    def test_all(self) -> None:
        """Each field has its own member."""
        self.assertEqual(
            limits(cpu_period=50_000, cpu_quota=20_000, cpu_shares=512, cpuset_cpus="0-1", cpuset_mems="0"),
            {"CpuPeriod": 50_000, "CpuQuota": 20_000, "CpuShares": 512, "CpusetCpus": "0-1", "CpusetMems": "0"},
        )

    def test_nothing(self) -> None:
        """Without a value the engine's default applies, and an update changes nothing."""
        self.assertEqual(limits(), {})

    def test_no_quota(self) -> None:
        """Every negative quota means none."""
        self.assertEqual(limits(cpu_quota=-7), {"CpuQuota": -1})

    def test_shares_as_the_kernel_clamps_them(self) -> None:
        """Kubelet's least is 2; a share of 1 would overflow on its way to cgroup v2."""
        self.assertEqual(limits(cpu_shares=1), {"CpuShares": 2})
        self.assertEqual(limits(cpu_shares=1 << 40), {"CpuShares": 262144})

    def test_ranges(self) -> None:
        """A value that no kernel accepts is refused by its field."""
        self.assertEqual(refused(self, cpu_period=999), "linux.cpu_period")
        self.assertEqual(refused(self, cpu_period=1_000_001), "linux.cpu_period")
        self.assertEqual(refused(self, cpu_quota=999), "linux.cpu_quota")
        self.assertEqual(refused(self, cpu_shares=-1), "linux.cpu_shares")


class Memory(SynchronousTestCase):
    """Memory and swap."""

    def test_no_swap_unless_asked(self) -> None:
        """Without a swap limit there is no swap; Docker alone would allow as much swap again as memory."""
        self.assertEqual(limits(memory_limit_in_bytes=MIB), {"Memory": MIB, "MemorySwap": MIB})

    def test_swap(self) -> None:
        """The swap limit counts memory and swap, as Docker's does; -1 is no limit."""
        for swap in (3 * MIB, -1):
            self.assertEqual(
                limits(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=swap), {"Memory": MIB, "MemorySwap": swap}
            )

    def test_swap_by_unified_key(self) -> None:
        """Kubelet on cgroup v2 limits swap alone; that limit is in force from the start."""
        for text, swap in (("0", MIB), ("1048576", 2 * MIB), ("max", -1)):
            made = limits(memory_limit_in_bytes=MIB, unified={"memory.swap.max": text})
            self.assertEqual(made["MemorySwap"], swap)

    def test_swap_makes_sense(self) -> None:
        """A swap limit without a memory limit, or below it, is refused."""
        field = "linux.memory_swap_limit_in_bytes"
        self.assertEqual(refused(self, memory_swap_limit_in_bytes=MIB), field)
        self.assertEqual(refused(self, memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=1), field)
        self.assertEqual(refused(self, memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=-2), field)
        self.assertEqual(refused(self, memory_limit_in_bytes=-1), "linux.memory_limit_in_bytes")

    def test_kernel_without_swap_accounting(self) -> None:
        """A swap limit that the kernel cannot enforce is refused, a memory limit alone is not."""
        engine = evolve(NEWEST, swap_limit=False)
        self.assertEqual(limits(engine, memory_limit_in_bytes=MIB), {"Memory": MIB})
        self.assertRaises(FailedPrecondition, limits, engine, memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=MIB)


class Others(SynchronousTestCase):
    """Processes, the oom score, the cgroup's parent, updates."""

    def test_processes(self) -> None:
        """The unified key pids.max is Docker's PidsLimit, on cgroup v1 too."""
        for text, limit in (("100", 100), ("max", -1)):
            self.assertEqual(limits(OLDEST, unified={"pids.max": text}), {"PidsLimit": limit})
        self.assertEqual(refused(self, unified={"pids.max": "-1"}), "linux.unified[pids.max]")

    def test_oom_score(self) -> None:
        """The score is clamped to those that the engine may set, and refused if the kernel has no such score."""
        resources = pb.LinuxContainerResources(oom_score_adj=-997)
        self.assertEqual(oom_score(resources, "linux", floor=-1000), -997)
        self.assertEqual(oom_score(resources, "linux", floor=0), 0)
        resources.oom_score_adj = 1001
        error = self.assertRaises(InvalidArgument, oom_score, resources, "linux", floor=0)
        self.assertEqual(error.field, "linux.oom_score_adj")

    def test_cgroup_parent(self) -> None:
        """The cgroupfs driver gets the path, systemd's the slice at its end."""
        parent = "/kubepods.slice/kubepods-burstable.slice"
        self.assertEqual(cgroup_parent(parent, driver="cgroupfs"), parent)
        self.assertEqual(cgroup_parent(parent, driver="systemd"), "kubepods-burstable.slice")
        self.assertEqual(cgroup_parent("", driver="systemd"), "")

    def test_update(self) -> None:
        """An update has the same members, and memory always with swap: Docker compares it with the old one."""
        resources = pb.LinuxContainerResources(memory_limit_in_bytes=MIB, cpu_shares=100, oom_score_adj=5)
        self.assertEqual(update_body(resources, engine=NEWEST), {"Memory": MIB, "MemorySwap": MIB, "CpuShares": 100})

    def test_update_is_refused_whole(self) -> None:
        """A key that cannot be written is refused before the first call to the engine."""
        resources = pb.LinuxContainerResources(cpu_shares=100, unified={"memory.high": "1"})
        self.assertRaises(FailedPrecondition, update_body, resources, engine=OLDEST)

    def test_update_lifts_the_swap_limit(self) -> None:
        """Engines accept a limit of -1 in an update and change nothing; the cgroup is written, or it is refused."""
        resources = pb.LinuxContainerResources(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=-1)
        self.assertEqual(update_body(resources, engine=NEWEST), {"Memory": MIB, "MemorySwap": -1})
        self.assertEqual(cgroup_writes(resources, "linux", engine=NEWEST).unified, {"memory.swap.max": "max"})
        self.assertRaises(FailedPrecondition, update_body, resources, engine=OLDEST)


class Cgroup(SynchronousTestCase):
    """Hugepages and unified keys."""

    def writes(self, engine: EngineFacts = NEWEST, **fields: Any) -> CgroupWrites:
        """The limits of these resources that go to the cgroup."""
        return cgroup_writes(pb.LinuxContainerResources(**fields), "linux", engine=engine)

    def test_unified(self) -> None:
        """Keys are written in their order, except for those that the engine has a field for."""
        unified = {"memory.high": "1", "cpu.idle": "1", "pids.max": "5", "memory.swap.max": "0"}
        self.assertEqual(
            list(self.writes(unified=unified).unified.items()),
            [("cpu.idle", "1"), ("memory.high", "1"), ("memory.swap.max", "0")],
        )

    def test_unified_is_cgroup_v2(self) -> None:
        """A host with cgroup v1 refuses unified keys."""
        error = self.assertRaises(FailedPrecondition, self.writes, OLDEST, unified={"memory.high": "1"})
        self.assertIn("linux.unified[memory.high]", str(error))

    def test_only_files_of_controllers(self) -> None:
        """A key cannot lead out of the cgroup, nor kill or move its processes."""
        for key in ("../x.max", "memory/high.x", "cgroup.kill", "cgroup.procs", "memory", ""):
            self.assertRaises(InvalidArgument, self.writes, unified={key: "1"})
        self.assertRaises(InvalidArgument, self.writes, unified={"memory.high": " "})

    def test_hugepages(self) -> None:
        """A limit of 0, which kubelet sends for every page size, is distinguished from one that a pod requests."""
        pages = [pb.HugepageLimit(page_size="2MB", limit=4 * MIB), pb.HugepageLimit(page_size="1GB")]
        writes = self.writes(OLDEST, hugepage_limits=pages)
        self.assertEqual((writes.hugepages, writes.no_hugepages), ({"2MB": 4 * MIB}, ("1GB",)))

    def test_page_size(self) -> None:
        """A page size is spelled as in the kernel's file names."""
        for size in ("", "2M", "2mb", "0MB", "../2MB"):
            error = self.assertRaises(InvalidArgument, self.writes, hugepage_limits=[pb.HugepageLimit(page_size=size)])
            self.assertEqual(error.field, "linux.hugepage_limits[0].page_size")

    def test_kept_until_the_start(self) -> None:
        """The label holds the requested limits; a container without it has none to be written."""
        writes = CgroupWrites({"memory.high": "1"}, {"2MB": MIB}, ("1GB",))
        ours = {labels.NAME: "k8s_main_web_default_uid_0"}
        self.assertEqual(recorded_writes({**ours, labels.CGROUP: cgroup_label(writes)}), writes)
        self.assertEqual(cgroup_label(CgroupWrites()), "")
        self.assertEqual(recorded_writes({**ours, labels.CGROUP: ""}), CgroupWrites())
        self.assertEqual(recorded_writes({}), CgroupWrites())

    def test_a_label_of_the_image(self) -> None:
        """What an image has under the label's key limits nothing, and fails nothing."""
        text = cgroup_label(CgroupWrites({"memory.high": "1"}, {}, ()))
        self.assertEqual(recorded_writes({labels.CGROUP: text}), CgroupWrites())
        for other in ("x", "[]", "{}", '{"unified": 1, "hugepages": 2, "no_hugepages": 3}'):
            forged = {labels.NAME: "k8s_main_web_default_uid_0", labels.CGROUP: other}
            self.assertEqual(recorded_writes(forged), CgroupWrites(), other)

    def test_changes_before_the_start(self) -> None:
        """An update is compared with the record; no pages of a size that was not recorded is no change."""
        recorded = CgroupWrites({"memory.high": "1"}, {"2MB": MIB}, ("1GB",))
        for writes in (recorded, CgroupWrites(), CgroupWrites(no_hugepages=("1GB", "64KB"))):
            self.assertEqual(changed_field(recorded, writes), "")
        for writes, field in (
            (CgroupWrites({"memory.high": "2"}), "unified[memory.high]"),
            (CgroupWrites({"memory.low": "1"}), "unified[memory.low]"),
            (CgroupWrites(hugepages={"2MB": 2 * MIB}), "hugepage_limits[2MB]"),
            (CgroupWrites(hugepages={"1GB": 1}), "hugepage_limits[1GB]"),
            (CgroupWrites(no_hugepages=("2MB",)), "hugepage_limits[2MB]"),
        ):
            self.assertEqual(changed_field(recorded, writes), field)
