"""The CRI log file of one container: appended to, renamed by kubelet and opened anew, sometimes removed under us.

What is appended comes in batches of whole lines, and the same batch always has the same bytes, because it is made from
the same entries of Docker's log.  The file is described by two numbers: ``length``, up to where it holds whole batches
that are accounted for, and ``ahead``, how many bytes behind that are already there of the batches to come.  A disk
that fills up in the middle of a batch, and a criwist that was killed after it wrote and before it remembered that, both
leave some bytes ahead.  The batch is then given again, what is there already is passed over, and the rest is written:
nothing is lost, nothing doubled, and a torn line is completed rather than cut off.

Bytes ahead that were found in the file at our start are compared; see :class:`Diverged`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, NamedTuple

from attrs import define, field

from criwist.logs.cri_file.safe_open import open_log

#: How much is looked at to find the beginning of the last line, and lines that are equal to it.
TAIL: Final = 1 << 20


class Mark(NamedTuple):
    """How much of which file is accounted for."""

    device: int
    inode: int
    length: int


class Diverged(Exception):
    """The file does not continue as our lines do: somebody else wrote to it, or it was restored."""


@define(eq=False)
class CriFile:
    """The file at *path*.  Methods raise OSError as the system does; nothing is lost by calling them again."""

    path: str
    length: int = field(default=0, init=False)
    ahead: int = field(default=0, init=False)
    _descriptor: int = field(default=-1, init=False)
    _identity: tuple[int, int] = field(default=(0, 0), init=False)
    #: Whether the bytes ahead are yet to be compared.
    _unseen: bool = field(default=False, init=False)

    @property
    def mark(self) -> Mark:
        """What is to be remembered."""
        return Mark(*self._identity, self.length)

    def open(self) -> None:
        """Open the file at its path, or make it; all it holds counts as accounted for.

        Whatever was open stays so if this raises.
        """
        self._take(open_log(self.path))

    def resume(self, mark: Mark) -> bool:
        """Open the file that *mark* is of, at its path or where it was renamed to; False if it is not there.

        What it holds beyond the mark is ahead.  If it is shorter, somebody has cut it, or the machine has lost what
        was not yet on its disk: all of it counts then.
        """
        for name in (self.path, *self._renamed()):
            with suppress(FileNotFoundError):
                status = os.stat(name, follow_symlinks=False)
                if (status.st_dev, status.st_ino) == (mark.device, mark.inode):
                    self._take(open_log(name))
                    if self._identity == (mark.device, mark.inode):
                        self.ahead = max(self.length - mark.length, 0)
                        self.length -= self.ahead
                        self._unseen = self.ahead > 0
                        return True
        return False

    @property
    def is_replaced(self) -> bool:
        """Whether another file than the one that is open is at the path.

        If there is none, kubelet has renamed the file and will yet ask for a new one, or rename it back, over a new one
        should there be one.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._identity

    def append(self, batch: bytes) -> None:
        """Have the file hold *batch* behind its length, which then includes it.

        :raises OSError: the disk is full, or the like; give the batch again.
        :raises Diverged: what is ahead is something else; nothing has changed.
        """
        self._see_to_file()
        if self._unseen:
            self._compare(batch)
        if self.ahead >= len(batch):
            self.ahead -= len(batch)
            self.length += len(batch)
            return
        self._write(batch)
        if os.fstat(self._descriptor).st_nlink == 0:
            # Removed since we looked: what was written may be in nobody's file.
            self._replace(self.length - len(batch))
            self._write(batch)

    def keep(self) -> None:
        """Take what is ahead for accounted for, but for a torn line at its end, which cannot be completed any more."""
        if self.ahead:
            ahead = os.pread(self._descriptor, self.ahead, self.length)
            whole = ahead.rfind(b"\n") + 1
            if whole < self.ahead:
                os.ftruncate(self._descriptor, self.length + whole)
            self.length += whole
        self.ahead = 0
        self._unseen = False
        if os.fstat(self._descriptor).st_nlink == 0 and os.path.lexists(self.path):
            self._replace(self.length)
        self._end_line()

    def cut(self) -> None:
        """Take all that the file holds for accounted for, but for a torn line at its end."""
        size = self.length + self.ahead
        start = max(size - TAIL, 0)
        whole = os.pread(self._descriptor, size - start, start).rfind(b"\n") + 1
        if whole or not start:
            self.length = start + whole
            self.ahead = size - self.length
        self.keep()

    def reopen(self) -> None:
        """Open the file at the path anew, as kubelet asks for when it has renamed the old one.

        The old one loses what it holds of a batch that is not whole; the new one gets it.  Stays with the old one if
        this raises.
        """
        if os.path.lexists(self.path) and not self.is_replaced:
            return
        descriptor = open_log(self.path)
        if self.ahead:
            os.ftruncate(self._descriptor, self.length)
        self._take(descriptor)

    def last_lines(self) -> list[bytes]:
        """The whole lines before the end of what is accounted for, as far as :data:`TAIL` reaches."""
        start = max(self.length - TAIL, 0)
        tail = os.pread(self._descriptor, self.length - start, start)
        if start:
            tail = tail[tail.find(b"\n") + 1 :]
        return [line + b"\n" for line in tail.split(b"\n")[:-1]]

    def close(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, descriptor: int) -> None:
        self.close()
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self._identity = (status.st_dev, status.st_ino)
        self.length = status.st_size
        self.ahead = 0
        self._unseen = False

    def _renamed(self) -> list[str]:
        """Files that kubelet may have renamed ours to: ``0.log.20231123-134300``."""
        directory, name = os.path.split(self.path)
        try:
            entries = os.listdir(directory)
        except FileNotFoundError:
            return []
        return [os.path.join(directory, entry) for entry in entries if entry.startswith(name + ".")]

    def _see_to_file(self) -> None:
        """Have a file that is somewhere, and know how long it is."""
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:
            self._replace(self.length)
        elif status.st_size != self.length + self.ahead:
            # Emptied by an operator, or added to by somebody.
            self.length = status.st_size
            self.ahead = 0
            self._unseen = False
            self._end_line()

    def _replace(self, length: int) -> None:
        """The file has lost its name: go on with the one at the path.

        If that is not new, kubelet has renamed the file before ours over ours, having missed that we reopened it: it
        gets the first *length* bytes of ours.
        """
        replaced = os.path.lexists(self.path)
        descriptor = open_log(self.path)
        if replaced:
            size = os.fstat(descriptor).st_size
            try:
                for start in range(0, length, TAIL):
                    part = memoryview(os.pread(self._descriptor, min(TAIL, length - start), start))
                    while part:
                        part = part[os.write(descriptor, part) :]
            except OSError:
                os.ftruncate(descriptor, size)
                os.close(descriptor)
                raise
        self._take(descriptor)

    def _end_line(self) -> None:
        """Have what we write begin on a line of its own, whatever others have written."""
        if self.length and os.pread(self._descriptor, 1, self.length - 1) != b"\n":
            self.length += os.write(self._descriptor, b"\n")

    def _compare(self, batch: bytes) -> None:
        size = min(self.ahead, len(batch))
        if os.pread(self._descriptor, size, self.length) != batch[:size]:
            raise Diverged(f"{self.path} does not go on as the container's log does at {self.length}")
        self._unseen = self.ahead > size

    def _write(self, batch: bytes) -> None:
        rest = memoryview(batch)[self.ahead :]
        while rest:
            written = self._put(rest)
            self.ahead += written
            rest = rest[written:]
        self.length += len(batch)
        self.ahead = 0

    def _put(self, data: memoryview) -> int:
        return os.write(self._descriptor, data)
