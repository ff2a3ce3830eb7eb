"""One inotify descriptor for all logs (inotify(7)).

Twisted's own builds a file path and calls back for every event; dockerd makes one event for every line of every
container, two hundred thousand a second when it is pressed.  Here a file is watched *once*: the kernel tells of the
first change and forgets the watch, and whoever reads the file asks again when he is at its end.  There is never more
than one event a file to read, however fast it grows.  Directories, where something is rarely made, are watched for
good.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_CLOEXEC: Final = os.O_CLOEXEC
_NONBLOCK: Final = os.O_NONBLOCK

_MODIFY: Final = 0x0002
_MOVED_TO: Final = 0x0080
_CREATE: Final = 0x0100
_DELETE_SELF: Final = 0x0400
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x01000000
_ONESHOT: Final = 0x80000000

_EVENT: Final = Struct("iIII")
#: Read at once: some two thousand events.
_READ: Final = 64 << 10
#: Seconds between two looks.  Where many write a line now and then, what is done for each look is done for many.
GATHER: Final = 0.02

#: There is nothing at the path that could be watched.
MISSING: Final = -1
#: The kernel has no watches left.
REFUSED: Final = -2


@implementer(IReadDescriptor)
@define(eq=False)
class Inotify:
    """Calls back on the thread of *reactor*, an IReactorFDSet and IReactorTime, from :meth:`start` to :meth:`stop`."""

    _reactor: Any
    _log: Logger = field(factory=Logger, kw_only=True)
    _descriptor: int = field(default=-1, init=False)
    _libc: Any = field(default=None, init=False)
    _calls: dict[int, Callable[[], None]] = field(factory=dict, init=False)
    _complained: bool = field(default=False, init=False)
    _pause: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Open the descriptor.  If the kernel has none left, that is logged, and nothing can be watched."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if self._descriptor < 0:
            self._complain(ctypes.get_errno())
            return
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Close it.  Idempotent."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1
        self._calls.clear()

    def once(self, path: str, call: Callable[[], None]) -> int:
        """Call *call* once, after the next change of the file's content.

        Returns what :meth:`forget` wants, :data:`MISSING`, or :data:`REFUSED`.
        """
        return self._add(path, _MODIFY | _ONESHOT, call)

    def directory(self, path: str, call: Callable[[], None]) -> int:
        """Call *call* whenever something is made in the directory or moved into it, and when it is removed.

        Returns the same as :meth:`once`.
        """
        return self._add(path, _CREATE | _MOVED_TO | _DELETE_SELF | _ONLYDIR, call)

    def forget(self, watch: int) -> None:
        """Watch no more.  Idempotent; nothing that a watch returned is an error."""
        if self._calls.pop(watch, None) is not None and self._descriptor >= 0:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def _add(self, path: str, mask: int, call: Callable[[], None]) -> int:
        if self._descriptor < 0:
            return REFUSED
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask))
        if watch >= 0:
            self._calls[watch] = call
            return watch
        number = ctypes.get_errno()
        if number in (errno.ENOENT, errno.ENOTDIR):
            return MISSING
        self._complain(number)
        return REFUSED

    def _complain(self, number: int) -> None:
        if not self._complained:
            self._complained = True
            self._log.warn(
                "Logs are looked at every second because the kernel does not watch them: {problem}; "
                "see fs.inotify.max_user_watches and max_user_instances",
                problem=os.strerror(number),
            )

    # -- IReadDescriptor

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "log watch"

    def doRead(self) -> None:
        """Take the events that there are, and call once for each watch; and then let some gather."""
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(GATHER, self._resume)
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        calls: dict[int, Callable[[], None]] = {}
        position = 0
        while position < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if mask & _Q_OVERFLOW:
                # Some events are lost: anything may have happened.
                calls |= self._calls
            elif mask & _IGNORED:
                self._calls.pop(watch, None)
            elif watch in self._calls:
                calls[watch] = self._calls[watch]
        for call in calls.values():
            call()

    def _resume(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, or cannot read."""
        self.stop()
