"""Capabilities that are added to and dropped from the engine's default set.

The CRI adds first and drops last, so a capability in both lists is dropped; ``ALL`` in a list is every capability, and
names beside it still count: drop ``ALL`` and add ``NET_ADMIN`` leaves that one.  Docker reads ``ALL`` the same way, but
an addition wins over a drop of the same name there, so this module removes additions that are dropped.

Docker has no ambient capabilities.  A process that is not root starts without any of the added capabilities unless
its file carries them, on every runtime; only ambient ones would survive the change of user, and a request for them is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument, Unimplemented

_ALL = "ALL"
#: Every capability of Linux 5.9 and later (linux/capability.h).  An engine refuses what it does
#: not know with a text that names no field; the older ones lack the last three.
LINUX = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    }
)


def capabilities(capability: pb.Capability, field: str) -> dict[str, list[str]]:
    """Return Docker's ``CapAdd`` and ``CapDrop`` without empty lists.

    :param field: path of *capability* in the request.
    :raises Unimplemented: the request has ambient capabilities.
    :raises InvalidArgument: a text that cannot be a capability's name.
    """
    if capability.add_ambient_capabilities:
        raise Unimplemented(
            f"{field}.add_ambient_capabilities: Docker Engine cannot give ambient capabilities "
            f"({', '.join(capability.add_ambient_capabilities)})"
        )
    added = _names(capability.add_capabilities, f"{field}.add_capabilities")
    dropped = _names(capability.drop_capabilities, f"{field}.drop_capabilities")
    named_drops = {name for name in dropped if name != _ALL}
    added = [name for name in added if name not in named_drops and not (name == _ALL and _ALL in dropped)]
    return {key: names for key, names in (("CapAdd", added), ("CapDrop", dropped)) if names}


def _names(names: Sequence[str], field: str) -> list[str]:
    """The names in one spelling, ``CAP_NET_ADMIN``, each once."""
    result: dict[str, None] = {}
    for index, name in enumerate(names):
        upper = name.upper()
        word = upper.removeprefix("CAP_")
        if word != _ALL and word not in LINUX:
            raise InvalidArgument(f"{field}[{index}]", f"{name!r} is not the name of a capability")
        result[_ALL if word == _ALL else f"CAP_{word}"] = None
    return list(result)
