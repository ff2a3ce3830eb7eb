"""User, groups and capabilities of a process, from ``/proc/<pid>/status``.

``ContainerStatus.user`` reports the identity that the container's first process started with.  That is the *real* user
and group: a set-user-id program changes only the effective ones.  Ids in ``status`` are those of the reader's user
namespace.  An engine with ``userns-remap`` gives its containers a namespace of their own, and the CRI reports the ids
inside it, so ids are mapped back through ``uid_map`` and ``gid_map`` (user_namespaces(7)).
"""

from __future__ import annotations

from attrs import frozen

from criwist.errors import NotFound
from criwist.kernel.procfs import PROC, read_text

#: The id that the kernel shows for one without a mapping (user_namespaces(7), ``/proc/sys/kernel/overflowuid``).
OVERFLOW_ID = 65534

#: Bit numbers of linux/capability.h.
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24


@frozen
class Identity:
    """Ids as they are inside the process's user namespace; capabilities are bit masks."""

    uid: int
    gid: int
    #: In the kernel's order, which is ascending.
    groups: tuple[int, ...]
    effective: int
    permitted: int
    inheritable: int
    bounding: int
    ambient: int
    no_new_privs: bool


def read_identity(pid: int, proc: str = PROC) -> Identity:
    """Return the present identity of a process of the host.

    :raises NotFound: it is gone.
    """
    status, uids, gids = (read_text(f"{proc}/{pid}/{name}") for name in ("status", "uid_map", "gid_map"))
    if not status:
        raise NotFound("process", str(pid))
    return parse_identity(status, uids or "", gids or "")


def parse_identity(status: str, uid_map: str = "", gid_map: str = "") -> Identity:
    """Return the identity in the text of ``status``; an empty map is that of the reader's own user namespace."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Identity(
        uid=_inside(int(fields["Uid"].split()[0]), uid_map),
        gid=_inside(int(fields["Gid"].split()[0]), gid_map),
        groups=tuple(_inside(int(group), gid_map) for group in fields["Groups"].split()),
        effective=int(fields["CapEff"], 16),
        permitted=int(fields["CapPrm"], 16),
        inheritable=int(fields["CapInh"], 16),
        bounding=int(fields["CapBnd"], 16),
        ambient=int(fields["CapAmb"], 16),
        no_new_privs=fields.get("NoNewPrivs", "0").strip() == "1",
    )


def _inside(outside: int, id_map: str) -> int:
    if not id_map:
        return outside
    for line in id_map.splitlines():
        inner, outer, length = map(int, line.split())
        if outer <= outside < outer + length:
            return inner + outside - outer
    return OVERFLOW_ID
