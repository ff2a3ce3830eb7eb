"""The kernel's log of processes that it killed for want of memory, from ``/dev/kmsg``: the provider of ``IOomKills``.

Before it kills, the kernel writes a line which names the cgroup of the victim (``mm/oom_kill.c``; Linux 5.0)::

    oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/docker/<id>,task_memcg=/docker/<id>,task=tail,pid=7,uid=0

Older kernels write ``Task in /docker/<id> killed as a result of limit of /docker/<id>``.  So once a container's end is
known, its kill is in the log.  Two things are not: the kernel writes ten of these lines in five seconds at most, and
its buffer keeps the newest lines only.

Each read(2) returns one record, ``6,1234,5678,-;text`` (Documentation/ABI/testing/dev-kmsg).  The number before the
first comma has the facility in its upper bits; what programs write to ``/dev/kmsg`` never has the kernel's, 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from attrs import define, field
from zope.interface import implementer

from criwist.interfaces.kernel_metrics import IOomKills

KMSG = "/dev/kmsg"
#: Records of one :meth:`OomKills.read`, which takes about a microsecond for each.  The buffer of a machine has some
#: thousands to a hundred thousand.
MOST_RECORDS = 200_000
#: Longer than any record (``CONSOLE_EXT_LOG_MAX``); read(2) refuses a shorter buffer.
_RECORD = 16384
_PREFIX = re.compile(rb"(\d{1,10}),\d+,\d+,[^;]*;")
_MEMCG = re.compile(rb"oom-kill:.*?,task_memcg=([^,]*)|Task in (\S+) killed as a result of limit of ")
_ID = re.compile(rb"[0-9a-f]{64}")


def killed_container(record: bytes) -> str | None:
    """Return the id of the container whose process was killed; None for a record about anything else."""
    prefix = _PREFIX.match(record)
    if prefix is None or int(prefix[1]) >> 3:
        return None
    found = _MEMCG.match(record, prefix.end())
    identifier = _ID.search(found[1] or found[2] or b"") if found else None
    return identifier[0].decode("ascii") if identifier else None


@implementer(IOomKills)
@define(eq=False)
class OomKills:
    """Reads the log.

    :param path: of the device.
    """

    _path: str = KMSG
    _descriptor: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no such device in this container, or no CAP_SYSLOG
            self._descriptor = None

    @property
    def available(self) -> bool:
        """Whether the log can be read."""
        return self._descriptor is not None

    def read(self) -> Sequence[str]:
        if self._descriptor is None:
            return ()
        found = []
        for _ in range(MOST_RECORDS):
            try:
                record = os.read(self._descriptor, _RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:  # overwritten before it was read; the next read(2) returns the oldest record
                continue
            except OSError:  # EPERM: reading needs CAP_SYSLOG here
                self.close()
                break
            if not record:  # a file in place of the device
                break
            identifier = killed_container(record)
            if identifier is not None:
                found.append(identifier)
        return found

    def close(self) -> None:
        """Close the device; the log cannot be read any more.  Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
