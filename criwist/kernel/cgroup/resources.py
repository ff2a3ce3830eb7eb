"""A container's resources beyond the Engine API: the limits that the kernel enforces, and keys without an API field.

The CRI's ``unified`` map and hugepage limits have no counterpart in the Engine API, so they are written to the
container's cgroup once it exists.  ``unified`` keys are file names of cgroup v2 (OCI runtime specification,
"Unified"); on a v1 host they have no meaning and are rejected, as runc does.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from criwist.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from criwist.interfaces.kernel import CgroupWrites, Limits
from criwist.kernel.cgroup import v1, v2
from criwist.kernel.cgroup.limits import read_value
from criwist.kernel.cgroup.paths import Cgroup
from criwist.translate.cgroup import PIDS_MAX

#: A controller, and at least one further part: ``memory.high``, ``hugetlb.2MB.max``.  Files without a controller
#: (``cgroup.kill``, ``cgroup.procs``) are not resources.
_KEY = re.compile(r"(?!cgroup\.)[a-z]+(\.[A-Za-z0-9_]+)+")
#: Keys that kubelet sets by ``unified``, at the start and in updates, to the kernel's default (cgroup-v2.rst).  The
#: present value of these can be reported without a record of the request.
_DEFAULTS = {
    PIDS_MAX: "max",
    "memory.high": "max",
    "memory.low": "0",
    "memory.min": "0",
    "memory.oom.group": "0",
}
_PAGE_SIZE = re.compile(r"[1-9][0-9]*[KMG]B")


def read_limits(cgroup: Cgroup, asked_shares: int = 0) -> Limits:
    """Return the present limits; *asked_shares* as in :func:`criwist.kernel.cgroup.v2.read_limits`."""
    return v1.read_limits(cgroup) if cgroup.version == 1 else v2.read_limits(cgroup, asked_shares)


def read_unified(cgroup: Cgroup, keys: Collection[str]) -> dict[str, str]:
    """Return the present values of *keys*, and of Kubernetes' own keys that differ from the kernel's default.

    Keys that the kernel does not have are left out.  On v1 the only key is ``pids.max``, if it is a limit.
    """
    if cgroup.version == 1:
        found = {PIDS_MAX: read_value(cgroup.directory("pids"), PIDS_MAX)}
    else:
        wanted = {*_DEFAULTS, *(key for key in keys if _KEY.fullmatch(key))}
        found = {key: read_value(cgroup.v2, key) for key in sorted(wanted)}
    return {key: value for key, value in found.items() if value and (key in keys or value != _DEFAULTS.get(key))}


def check_unified(keys: Mapping[str, str], cgroup_version: int, field: str = "unified") -> None:
    """Reject keys that cannot be written, before the container is created.

    :param field: path of the map in the request, for the error's text.
    :raises InvalidArgument: a key is not the file name of a cgroup v2 resource, or a value is empty or not ASCII.
    :raises FailedPrecondition: the host has cgroup v1.
    """
    for key, value in keys.items():
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"{field}[{key}]", "is not a file of a cgroup v2 controller, such as memory.high")
        if not value.strip() or not value.isascii() or "\0" in value:
            raise InvalidArgument(f"{field}[{key}]", f"value {value!r} is not plain text")
    if keys and cgroup_version != 2:
        raise FailedPrecondition(f"{field}: keys of cgroup v2, but this host runs containers under cgroup v1")


def check_hugepages(limits: Mapping[str, int], field: str = "hugepage_limits") -> None:
    """Reject page sizes that are not written as ``64KB``, ``2MB`` or ``1GB``.

    :raises InvalidArgument: there is such a size.
    """
    for size in limits:
        if not _PAGE_SIZE.fullmatch(size):
            raise InvalidArgument(f"{field}.page_size", f"{size!r} is not a size such as 2MB or 1GB")


def write_resources(cgroup: Cgroup, writes: CgroupWrites, field: str = "resources") -> None:
    """Write all resources.  Page sizes with a limit of 0 may be unknown to the host.

    Blocking.  May take long (lowering ``memory.max`` or ``memory.high`` reclaims pages first), so call it in a thread.

    :raises InvalidArgument: as :func:`write_unified` and :func:`write_hugepages`.
    :raises FailedPrecondition: likewise.
    """
    write_unified(cgroup, writes.unified, f"{field}.unified")
    write_hugepages(cgroup, writes.hugepages, f"{field}.hugepage_limits")
    for size in writes.no_hugepages:
        with suppress(FailedPrecondition):
            write_hugepages(cgroup, {size: 0}, f"{field}.hugepage_limits")


def write_unified(cgroup: Cgroup, keys: Mapping[str, str], field: str = "unified") -> None:
    """Write each key's value to its file, in the map's order; a value of several lines line by line.

    :raises InvalidArgument: see :func:`check_unified`, or the kernel refuses the value.
    :raises FailedPrecondition: the kernel or the cgroup does not have the file, or the kernel cannot change it now.
    """
    check_unified(keys, cgroup.version, field)
    for key, value in keys.items():
        for line in value.splitlines():
            _write(os.path.join(cgroup.v2, key), line, f"{field}[{key}]")


def write_hugepages(cgroup: Cgroup, limits: Mapping[str, int], field: str = "hugepage_limits") -> None:
    """Limit the use of huge pages, and their reservation where the kernel supports it; page size to bytes.

    :raises InvalidArgument: see :func:`check_hugepages`.
    :raises FailedPrecondition: the host has no hugetlb controller, or no pages of this size.
    """
    check_hugepages(limits, field)
    directory = cgroup.directory("hugetlb")
    usage, reservation = v1.HUGEPAGE_FILES if cgroup.version == 1 else v2.HUGEPAGE_FILES
    for size, limit in limits.items():
        if not directory:
            raise FailedPrecondition(f"{field}: this host has no hugetlb cgroup controller")
        _write(os.path.join(directory, usage.format(size=size)), str(limit), f"{field}[{size}]")
        reserved = os.path.join(directory, reservation.format(size=size))
        if os.path.exists(reserved):  # Linux 5.7
            _write(reserved, str(limit), f"{field}[{size}]")


def _write(path: str, value: str, field: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        problem = f"{value!r} cannot be written to {path}: {error.strerror}"
        if error.errno in (errno.EINVAL, errno.ERANGE):
            raise InvalidArgument(field, problem) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied(f"{field}: {problem}") from error
        raise FailedPrecondition(f"{field}: {problem}") from error
