"""Limits that the Engine API has no field for, to be written to the container's cgroup: hugepages and ``unified`` keys.

criwist writes them once the container runs, and again after each update.  Creating and starting are two requests, and
criwist may restart between them, so a label of the container keeps the limits until its start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from attrs import asdict

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.kernel import CgroupWrites

#: A key that the engine has a field for (``resources.resource_limits``), on cgroup v1 too.
PIDS_MAX = "pids.max"
#: Bytes of swap alone; the engine's limit counts memory too.
SWAP_MAX = "memory.swap.max"

_PAGE_SIZE = re.compile(r"[1-9][0-9]*[KMG]B")
#: A controller and at least one further part.  Files without a controller (``cgroup.kill``) are not resources.
_KEY = re.compile(r"(?!cgroup\.)[a-z]+(\.[A-Za-z0-9_]+)+")


def cgroup_writes(resources: pb.LinuxContainerResources, path: str, *, engine: EngineFacts) -> CgroupWrites:
    """Return the limits in *resources* that go to the cgroup.

    :param path: of *resources* in the request.
    :raises InvalidArgument: no such page size, or a key that is not a file of a controller.
    :raises FailedPrecondition: keys of cgroup v2 on a host that has v1.
    """
    keys = dict(resources.unified)
    if resources.memory_swap_limit_in_bytes == -1 and engine.cgroup_version == 2:
        keys.setdefault(SWAP_MAX, "max")
    unified = {key: keys[key] for key in sorted(keys) if key != PIDS_MAX}
    for key, value in unified.items():
        where = f"{path}.unified[{key}]"
        if not _KEY.fullmatch(key):
            raise InvalidArgument(where, "is no file of a cgroup v2 controller, such as memory.high")
        if not value.strip() or not value.isascii():
            raise InvalidArgument(where, f"{value!r} is not the text of such a file")
        if engine.cgroup_version == 1:
            raise FailedPrecondition(f"{where}: the engine's host has cgroup v1, which has no unified keys")
    for index, limit in enumerate(resources.hugepage_limits):
        if not _PAGE_SIZE.fullmatch(limit.page_size):
            where = f"{path}.hugepage_limits[{index}].page_size"
            raise InvalidArgument(where, f"must be like 2MB or 1GB, not {limit.page_size!r}")
    pages = {limit.page_size: limit.limit for limit in resources.hugepage_limits}
    return CgroupWrites(
        unified=unified,
        hugepages={size: limit for size, limit in pages.items() if limit},
        no_hugepages=tuple(size for size, limit in pages.items() if not limit),
    )


def cgroup_label(writes: CgroupWrites) -> str:
    """The value of the label that keeps *writes* until the container starts; ``""`` if there is nothing to write."""
    return json.dumps(asdict(writes), sort_keys=True) if writes else ""


def recorded_writes(docker_labels: Mapping[str, str]) -> CgroupWrites:
    """Return the limits that :func:`cgroup_label` recorded; none for a container that another shim made.

    Such a container has no label of ours, but its image may have one of the same key, with any text.
    """
    if labels.NAME not in docker_labels or not docker_labels.get(labels.CGROUP):
        return CgroupWrites()
    try:
        kept = json.loads(docker_labels[labels.CGROUP])
        return CgroupWrites(dict(kept["unified"]), dict(kept["hugepages"]), tuple(kept["no_hugepages"]))
    except (ValueError, KeyError, TypeError):
        return CgroupWrites()


def changed_field(recorded: CgroupWrites, wanted: CgroupWrites) -> str:
    """Return the first field of *wanted* that has another value in *recorded*; ``""``: there is none."""
    for key, value in wanted.unified.items():
        if recorded.unified.get(key) != value:
            return f"unified[{key}]"
    sizes = {**wanted.hugepages, **dict.fromkeys(wanted.no_hugepages, 0)}
    for size, limit in sizes.items():
        # A size that was not recorded: every kubelet requests none of its pages.
        if recorded.hugepages.get(size, 0) != limit:
            return f"hugepage_limits[{size}]"
    return ""
