"""The disk space of a directory tree that a container writes to while it is measured.

The walk trusts nothing in the tree.  It opens each directory relative to the one above, never through a link, and
leaves out other file systems.  It holds two descriptors at most, however deep the tree is, and returns to a directory
by ``..``; if that is another directory by now, because the one below was moved, the walk opens the directory anew by
its names from the top.  A directory that disappears meanwhile is left out.  An inode with several names is counted
once.

Its share of the time is bounded: it works for :data:`SLICE` and then rests.  So :data:`SHARE` of one CPU is the most
that it uses, and other threads get Python's lock in between.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from attrs import define, field, frozen

#: Seconds of work between two rests.
SLICE = 0.01
#: Share of the time that the walk works.
SHARE = 0.1
#: Inodes with several names that are remembered, some 6 MiB; beyond, each name counts.
MAX_LINKED = 65536
#: Entries between two looks at the clock.
_ENTRIES = 256
#: ``st_blocks`` counts units of 512 bytes (stat(2)).
_BLOCK = 512

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_Identity = tuple[int, int]


class Stopped(Exception):
    """The walk was stopped."""


@frozen
class DiskUsage:
    """The allocated bytes and the inodes of a tree, its top included."""

    used_bytes: int
    inodes: int


@define
class _Level:
    """A directory on the way from the top to the present one."""

    name: str
    identity: _Identity
    #: Directories in it that are still to be walked.
    remaining: list[str]


def disk_usage(
    directory: str, rest: Callable[[float], bool], monotonic: Callable[[], float] = time.monotonic
) -> DiskUsage:
    """Return the usage of a tree.

    :param rest: waits for some seconds; returns True if the walk is to stop.
    :raises OSError: *directory* is not a directory that can be read.
    :raises Stopped: the walk was stopped.
    """
    return _Walk(rest, monotonic).run(directory)


@define
class _Walk:
    _rest: Callable[[float], bool]
    _monotonic: Callable[[], float]
    _bytes: int = 0
    _inodes: int = 0
    _device: int = 0
    _linked: set[int] = field(factory=set)
    _began: float = 0.0

    def run(self, top: str) -> DiskUsage:
        self._began = self._monotonic()
        descriptor = os.open(top, _FLAGS)
        try:
            status = os.fstat(descriptor)
            self._device = status.st_dev
            self._count(status)
            levels = [_Level("", _identity(status), self._scan(descriptor))]
            while levels:
                below = self._next_below(descriptor, levels[-1])
                if below is not None:
                    os.close(descriptor)
                    descriptor, level = below
                    levels.append(level)
                    level.remaining = self._scan(descriptor)
                    continue
                levels.pop()
                if levels:
                    above = self._above(descriptor, top, levels)
                    os.close(descriptor)
                    descriptor = above
        finally:
            os.close(descriptor)
        return DiskUsage(self._bytes, self._inodes)

    def _next_below(self, descriptor: int, level: _Level) -> tuple[int, _Level] | None:
        while level.remaining:
            name = level.remaining.pop()
            try:
                below = os.open(name, _FLAGS, dir_fd=descriptor)
            except OSError:  # it is gone, or a link has its name by now
                continue
            status = os.fstat(below)
            if status.st_dev == self._device:
                return below, _Level(name, _identity(status), [])
            os.close(below)
        return None

    def _above(self, descriptor: int, top: str, levels: list[_Level]) -> int:
        """Return a descriptor of the last of *levels*, which is above *descriptor*; shorten *levels* if it is gone."""
        try:
            above = os.open("..", _FLAGS, dir_fd=descriptor)
            if _identity(os.fstat(above)) == levels[-1].identity:
                return above
            os.close(above)
        except OSError:
            pass
        above = os.open(top, _FLAGS)
        for depth, level in enumerate(levels[1:], 1):
            try:
                below = os.open(level.name, _FLAGS, dir_fd=above)
            except OSError:
                below = -1
            if below < 0 or _identity(os.fstat(below)) != level.identity:
                if below >= 0:
                    os.close(below)
                del levels[depth:]
                break
            os.close(above)
            above = below
        return above

    def _scan(self, descriptor: int) -> list[str]:
        """Count the entries of a directory; return the names of the directories in it."""
        directories = []
        with os.scandir(descriptor) as entries:
            for number, entry in enumerate(entries):
                if number % _ENTRIES == 0:
                    self._pace()
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_dev != self._device:
                    continue
                self._count(status)
                if stat.S_ISDIR(status.st_mode):
                    directories.append(entry.name)
        self._pace()
        return directories

    def _count(self, status: os.stat_result) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._linked:
                return
            if len(self._linked) < MAX_LINKED:
                self._linked.add(status.st_ino)
        self._inodes += 1
        self._bytes += status.st_blocks * _BLOCK

    def _pace(self) -> None:
        worked = self._monotonic() - self._began
        if worked >= SLICE:
            if self._rest(worked * (1 / SHARE - 1)):
                raise Stopped
            self._began = self._monotonic()


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
