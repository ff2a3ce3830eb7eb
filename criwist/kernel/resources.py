"""A container's resources where the engine's API ends: what is in force, and files that it has no field for.

The CRI's ``unified`` keys and hugepage limits have no counterpart in the Engine API.  ``translate.resources`` makes
:class:`CgroupWrite` values of them, and here they are written to the container's cgroup once it exists.  A write may
take long (lowering ``memory.max`` or ``memory.high`` reclaims pages first), so this is for a thread.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

from criwist.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from criwist.kernel import v1, v2
from criwist.kernel.cgroups import Cgroup
from criwist.kernel.limits import Limits, read_value
from criwist.translate.resources import CgroupWrite

#: A file of a controller: ``memory.high``, ``hugetlb.2MB.max``; neither ``..`` nor a slash can be in it, and files of
#: the cgroup itself (``cgroup.kill``, ``cgroup.procs``) are none.
_FILE = re.compile(r"(?!cgroup\.)[a-z0-9_]+(\.[A-Za-z0-9_]+)+")
_HUGEPAGES = re.compile(r"(hugetlb\.[^.]+)(\.max|\.limit_in_bytes)")


def read_limits(cgroup: Cgroup, asked_shares: int = 0) -> Limits:
    """The limits in force; *asked_shares* as in :func:`criwist.kernel.v2.read_limits`."""
    return v1.read_limits(cgroup) if cgroup.version == 1 else v2.read_limits(cgroup, asked_shares)


def read_unified(cgroup: Cgroup, keys: Iterable[str]) -> dict[str, str]:
    """What the files of these keys hold now; keys that the kernel does not have are left out, and all on v1."""
    if cgroup.version == 1:
        return {}
    values = {key: read_value(cgroup.v2, key) for key in keys if _FILE.fullmatch(key)}
    return {key: value for key, value in values.items() if value}


def write_resources(cgroup: Cgroup, writes: Iterable[CgroupWrite]) -> None:
    """Carry them out in this order; what precedes a failed one stays written.

    A limit of huge pages in use is set for their reservation too where the kernel has that (Linux 5.7), as runc
    does, or a container could reserve pages that it may not use.

    :raises InvalidArgument: the name is no controller's file, or the kernel refuses the value.
    :raises FailedPrecondition: the host has no such controller, the kernel or the cgroup no such file, or it cannot
        be written now.
    :raises PermissionDenied: we may not write there.
    """
    for write in writes:
        if not _FILE.fullmatch(write.file):
            raise InvalidArgument(write.field, f"{write.file!r} is no file of a cgroup controller")
        directory = cgroup.directory(write.controller)
        if directory:
            _write(directory, write)
        elif write.required:
            raise FailedPrecondition(f"{write.field}: this host has no {write.controller} cgroup controller")


def _write(directory: str, write: CgroupWrite) -> None:
    try:
        _write_file(os.path.join(directory, write.file), write.value)
        if match := _HUGEPAGES.fullmatch(write.file):
            reservation = os.path.join(directory, f"{match[1]}.rsvd{match[2]}")
            if os.path.exists(reservation):
                _write_file(reservation, write.value)
    except OSError as error:
        if error.errno == errno.ENOENT and not write.required:
            return
        problem = f"{write.value!r} cannot be written to {directory}/{write.file}: {error.strerror}"
        if error.errno in (errno.EINVAL, errno.ERANGE):
            raise InvalidArgument(write.field, problem) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied(f"{write.field}: {problem}") from error
        raise FailedPrecondition(f"{write.field}: {problem}") from error


def _write_file(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
