"""What the kernel says of a running container: as whom it runs, and what it may use.

What the engine was told is a wish; ``ContainerStatus.user`` and ``resources`` are facts, on which kubelet's
in-place resize relies.  They are read when the container changes, not when somebody asks.  As whom it ran is told of a
container that has ended, too.  An engine on another
machine has its processes there: what is under the pid here is somebody else's, and nothing is said.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from attrs import define, evolve, field, frozen

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject
from criwist.kernel.cgroup.limits import Limits
from criwist.kernel.cgroup.paths import belongs_to, process_cgroup
from criwist.kernel.cgroup.resources import read_limits, read_unified
from criwist.kernel.oom_scores import read_oom_score_adj
from criwist.kernel.process_identity import read_identity
from criwist.translate.cgroup import recorded_writes
from criwist.translate.engine_json import flag, number, text, text_map


@frozen
class ObservedState:
    """What the kernel says of a running container; None where it could not be asked."""

    resources: pb.LinuxContainerResources | None = None
    user: pb.LinuxContainerUser | None = None


#: Containers whose users are remembered: more than a node keeps, ended ones included.
_MOST_CONTAINERS = 4096


@define(eq=False)
class ObservedStateReader:
    """Looks at containers, and remembers as whom they ran when they have ended.

    :param look: what the kernel says of one.
    """

    _look: Callable[[JSONObject], ObservedState]
    _users: OrderedDict[str, pb.LinuxContainerUser] = field(factory=OrderedDict, init=False)

    def __call__(self, inspected: JSONObject) -> ObservedState:
        """What the kernel says of an inspected container, or of whom it last said that it ran."""
        found, identifier = self._look(inspected), text(inspected, "Id")
        if found.user is not None:
            self._users[identifier] = found.user
            self._users.move_to_end(identifier)
            if len(self._users) > _MOST_CONTAINERS:
                self._users.popitem(last=False)
            return found
        return evolve(found, user=self._users.get(identifier))


def read_observed_state(inspected: JSONObject) -> ObservedState:
    """Look at the first process of an inspected container, if it runs on this machine."""
    identifier, pid = text(inspected, "Id"), number(inspected, "State", "Pid")
    if not flag(inspected, "State", "Running") or pid <= 0 or not belongs_to(pid, identifier):
        return ObservedState()
    host_config = inspected.get("HostConfig") or {}
    try:
        who = read_identity(pid)
        cgroup = process_cgroup(pid, identifier)
        limits = read_limits(cgroup, number(host_config, "CpuShares"))
        unified = read_unified(cgroup, recorded_writes(text_map(inspected, "Config", "Labels")).unified)
        score = read_oom_score_adj(pid)
    except errors.NotFound:
        return ObservedState()  # it has ended since
    return ObservedState(
        resources=_resources(limits, unified, score or 0),
        user=pb.LinuxContainerUser(uid=who.uid, gid=who.gid, supplemental_groups=who.groups),
    )


def _resources(limits: Limits, unified: Mapping[str, str], oom_score_adj: int) -> pb.LinuxContainerResources:
    """The CRI's 0 stands for "no limit" as well as for "not specified"."""
    return pb.LinuxContainerResources(
        cpu_period=limits.cpu_period or 0,
        cpu_quota=limits.cpu_quota or 0,
        cpu_shares=limits.cpu_shares or 0,
        memory_limit_in_bytes=limits.memory or 0,
        memory_swap_limit_in_bytes=limits.memory_and_swap or 0,
        oom_score_adj=oom_score_adj,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        unified=unified,
        hugepage_limits=[
            pb.HugepageLimit(page_size=size, limit=limit) for size, limit in sorted(limits.hugepages.items())
        ],
    )
