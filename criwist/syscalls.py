"""System calls that Python 3.11 has no function for: mount(2), umount2(2) and setns(2).

Each call blocks.  Each failure is an OSError with the number and text of errno and the path that was passed.
"""

from __future__ import annotations

import ctypes
import os

# linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
# sys/mount.h, for umount2(2)
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
# linux/sched.h
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, filesystem: str = "", flags: int = 0, options: str = "") -> None:
    """Mount *source* at *target*.

    :param filesystem: its type; ``""`` for a call that needs none, such as one with MS_BIND.
    :param options: of the file system, separated by commas.
    :raises OSError: with *target* as its ``filename``.
    """
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            filesystem.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        target,
    )


def unmount(target: str, flags: int = 0) -> None:
    """Remove the topmost mount at *target*.

    :param flags: MNT_DETACH, UMOUNT_NOFOLLOW.
    :raises OSError: with *target* as its ``filename``; EINVAL if nothing is mounted there, ENOENT if it does not exist.
    """
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def enter_namespace(path: str, kind: int) -> None:
    """Move the calling thread, and no other, into the namespace at *path*.

    :param kind: CLONE_NEWNET; the call fails for a namespace of another kind.
    :raises OSError: with *path* as its ``filename``, from open(2) or setns(2).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, ctypes.c_int(kind)), path)
    finally:
        os.close(descriptor)


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
