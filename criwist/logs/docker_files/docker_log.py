"""Docker's own log of a container, read as one sequence of entries across all its files.

A position is an offset in a generation (see :mod:`criwist.logs.docker_files.generations`), always between two entries.
:meth:`DockerLog.read` gives the entries behind it in CRI form and leaves the position; :meth:`DockerLog.advance` moves
it once they are written.  Nothing is held between the two but descriptors: what could not be written is read again.

When Docker has begun a new file, the old one is read to its end first, and the step from one to the other is a
result of its own, because the position's owner has to remember it before anything of the new file is written.  Newer
files are opened while the old one is still read, so that Docker may remove them while we are behind; but not without
limit, as they take room on its disk as long as they are open.

An emptied file (Docker was told to keep one only) is noticed by the bytes before the position, which hold a time in
nanoseconds: they are gone, or others.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple

from attrs import define, field, frozen

from criwist.logs.docker_files.generations import MOST_ENTRY, Fingerprint, Generation, fingerprint, open_generations
from criwist.wire import jsonlog, locallog
from criwist.wire.crilog import Converted

#: What is read and converted at a time: a millisecond or so of work, which is what other containers and the rest of the
#: daemon wait for at most.  With twice as much, each read has the allocator ask the kernel for its memory anew.
SLICE: Final = 128 << 10
#: The end of the last entry read, its time included.
_GUARD: Final = 48
#: Bytes of newer files up to which still newer ones are opened before they are due.  What Docker removes beyond that
#: is lost if we are not there in time.
MOST_HELD: Final = 64 << 20


@frozen
class Format:
    """How entries are told apart, and what becomes of them."""

    decode: Callable[[bytes], Converted]
    first_entry_length: Callable[[bytes], int]


JSON_FILE: Final = Format(jsonlog.decode, jsonlog.first_entry_length)
LOCAL: Final = Format(locallog.decode, locallog.first_entry_length)


class Position(NamedTuple):
    """Where reading goes on."""

    #: None: at the beginning of all, when nothing had been read yet.
    generation: Fingerprint | None
    offset: int
    #: CRC-32 of what is just before it.
    before: int
    #: Inode number of the file as it was then: it tells apart files that begin with equal entries, the pieces of one
    #: long line.
    inode: int = 0


BEGINNING: Final = Position(None, 0, 0)


class Step(Enum):
    """What :meth:`DockerLog.read` gives if not entries."""

    #: There is nothing more for now.
    END = "end"
    #: Reading goes on at the beginning of another file; the position has changed.
    NEXT_FILE = "next file"
    #: Docker emptied the file; what we had not read is lost.  The position has changed.
    EMPTIED = "emptied"
    #: Docker removed files that we had not seen; some entries may be lost.  The position has changed.
    GAP = "gap"


class Found(Enum):
    """What :meth:`DockerLog.resume` found."""

    #: The position.
    PLACE = "place"
    #: The file, but not what was before the position: the machine has lost the end of it.  Reading goes on at the
    #: oldest entry.
    CUT = "cut"
    #: Docker has removed the file.  Reading goes on at the oldest entry.
    NOTHING = "nothing"


@define(eq=False)
class DockerLog:
    """The log at *path*, which need not exist yet."""

    path: str
    _format: Format
    #: The one that is read, and newer ones.
    _generations: deque[Generation] = field(factory=deque, init=False)
    _fingerprint: Fingerprint | None = field(default=None, init=False)
    _offset: int = field(default=0, init=False)
    _guard: bytes = field(default=b"", init=False)
    #: What the guard will be behind that many bytes of the last read; None if it has to be read.
    _next_consumed: int = field(default=0, init=False)
    _next_guard: bytes | None = field(default=None, init=False)
    #: A size at which there was no whole entry behind the position.
    _torn_at: int = field(default=-1, init=False)
    #: The last read found nothing behind the position.
    _at_end: bool = field(default=False, init=False)
    #: Files may have gone unseen before the next one.
    _gap: bool = field(default=False, init=False)
    #: Whether the next read looks for newer files.
    _looks: bool = field(default=False, init=False)

    @property
    def position(self) -> Position:
        """Where reading goes on."""
        if self._fingerprint is None:
            return BEGINNING
        return Position(self._fingerprint, self._offset, zlib.crc32(self._guard), self._generations[0].identity[1])

    @property
    def may_have_more(self) -> bool:
        """Whether a read could give something, as far as a look at the files tells."""
        if not self._generations:
            return os.path.exists(self.path)
        size = self._generations[0].size()
        unread = size not in (self._offset, self._torn_at) if size >= 0 else not self._at_end
        if unread or len(self._generations) > 2 or self._is_rotated():
            return True
        return len(self._generations) == 2 and self._generations[1].size() != 0

    def begin(self) -> None:
        """Go to the oldest entry that there is.

        :raises OSError: the files cannot be read.
        """
        self.close()
        self._generations.extend(self._open_all())

    def resume(self, position: Position) -> Found:
        """Go to *position*.

        :raises OSError: the files cannot be read.
        """
        self.begin()
        if position.generation is None:
            return Found.PLACE
        alike = [
            number
            for number, generation in enumerate(self._generations)
            if fingerprint(generation, self._format.first_entry_length) == position.generation
        ]
        if not alike:
            return Found.NOTHING
        same = (number for number in alike if self._generations[number].identity[1] == position.inode)
        for _ in range(next(same, alike[0])):
            self._generations.popleft().close()
        self._fingerprint = position.generation
        self._move_to(position.offset)
        if zlib.crc32(self._guard) == position.before:
            return Found.PLACE
        self.begin()
        return Found.CUT

    def read(self, size: int = SLICE) -> Converted | Step:
        """The next entries: at least one, and not more than *size* bytes of them unless the first is longer.

        :raises OSError: the files cannot be read.
        """
        if not self._generations:
            self._generations.extend(self._open_all())
            if not self._generations:
                return Step.END
        if self._is_emptied():
            return self._begin_again()
        if self._looks:
            self._looks = False
            self.look()
        converted = self._entries(size)
        if converted is None and len(self._generations) == 1:
            if not self._is_rotated():
                return Step.END
            # Docker writes to the new file only now; before it did, more may have come to the old one.
            converted = self._entries(size)
            if converted is None:
                self._find_successors()
        return self._next_generation() if converted is None else converted

    def look(self) -> None:
        """Open the files that Docker has begun since, before it removes them.

        :raises OSError: they cannot be opened.
        """
        if self._generations and self._is_rotated() and self._held() < MOST_HELD:
            self._find_successors()

    def advance(self, consumed: int) -> None:
        """Go on behind that many bytes of what the last read gave."""
        # Who cannot write what he reads does not hold ever more.
        self._looks = True
        generation = self._generations[0]
        if self._fingerprint is None:
            self._fingerprint = fingerprint(generation, self._format.first_entry_length)
        self._move_to(self._offset + consumed, self._next_guard if consumed == self._next_consumed else None)

    def close(self) -> None:
        """Let go of the files."""
        while self._generations:
            self._generations.popleft().close()
        self._restart()

    def _restart(self, known: Fingerprint | None = None) -> None:
        self._fingerprint = known
        self._offset = 0
        self._guard = b""
        self._torn_at = -1
        self._at_end = False

    def _move_to(self, offset: int, guard: bytes | None = None) -> None:
        generation = self._generations[0]
        self._offset = offset
        self._torn_at = -1
        self._at_end = False
        if guard is None:
            length = min(_GUARD, offset)
            guard = generation.read(offset - length, length)
        self._guard = guard

    def _open_all(self) -> list[Generation]:
        try:
            return open_generations(self.path)
        except FileNotFoundError:
            return []

    def _entries(self, size: int) -> Converted | None:
        """Entries behind the position; None if there is no whole one, in which case what there is may be damaged."""
        generation = self._generations[0]
        data = generation.read(self._offset, size)
        self._at_end = not data
        if not data:
            return None
        converted = self._format.decode(data)
        if not converted.consumed and len(data) == size:
            data = generation.read(self._offset, MOST_ENTRY)
            length = self._format.first_entry_length(data)
            if not length and len(data) == MOST_ENTRY:
                # No entry is that long.
                return Converted(b"", len(data), 1)
            converted = self._format.decode(data[:length])
        if not converted.consumed:
            self._at_end = True
            self._torn_at = self._offset + len(data)
            return None
        consumed = self._next_consumed = converted.consumed
        self._next_guard = data[consumed - _GUARD : consumed] if consumed >= _GUARD else None
        return converted

    def _is_emptied(self) -> bool:
        generation = self._generations[0]
        length = len(self._guard)
        return generation.size() >= 0 and generation.read(self._offset - length, length) != self._guard

    def _is_rotated(self) -> bool:
        """Whether Docker writes to another file than the newest that we have."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._generations[-1].identity

    def _begin_again(self) -> Step:
        """Go to the beginning of the emptied file; not before it has an entry, so that it can be known again."""
        generation = self._generations[0]
        known = fingerprint(generation, self._format.first_entry_length)
        if known is None:
            self._torn_at = generation.size()
            return Step.END
        self._restart(known)
        return Step.EMPTIED

    def _next_generation(self) -> Step:
        """Step to the next file that has an entry, by which it can be known again."""
        while len(self._generations) > 1:
            known = fingerprint(self._generations[1], self._format.first_entry_length)
            if known is not None:
                self._generations.popleft().close()
                self._restart(known)
                gap, self._gap = self._gap, False
                return Step.GAP if gap else Step.NEXT_FILE
            if len(self._generations) > 2:
                # Docker is done with it: whatever it has is damaged.
                self._generations[1].close()
                del self._generations[1]
            elif self._is_rotated():
                self._find_successors()
            else:
                break
        return Step.END

    def _held(self) -> int:
        return sum(max(generation.size(), 0) for generation in islice(self._generations, 1, None))

    def _find_successors(self) -> None:
        """Open the files that are newer than the newest that we have."""
        found = self._open_all()
        while (place := self._place_of_newest(found)) is None and len(self._generations) > 1:
            if fingerprint(self._generations[-1], self._format.first_entry_length) is not None:
                break
            # It has nothing, and Docker has it no more.
            self._generations.pop().close()
        if place is None:
            self._gap = True
            place = -1
        for passed in found[: place + 1]:
            passed.close()
        self._generations.extend(found[place + 1 :])

    def _place_of_newest(self, found: list[Generation]) -> int | None:
        """Where the newest that we have is among *found*: itself, or a packed copy of it.

        All files of one long line begin alike.  Docker packs one after the other, so the copies of later ones are
        younger than the removal of ours.  If all seem to be, the file system's times tell nothing, and the youngest is
        taken.
        """
        newest = self._generations[-1]
        for number, candidate in enumerate(found):
            # As long as it is open no other has its inode number.
            if candidate.identity == newest.identity:
                return number
        known = fingerprint(newest, self._format.first_entry_length)
        if known is None:
            return None
        youngest = None
        for number in reversed(range(len(found))):
            candidate = found[number]
            if candidate.size() >= 0 or fingerprint(candidate, self._format.first_entry_length) != known:
                continue
            if candidate.packed_at() <= newest.packed_at():
                return number
            if youngest is None:
                youngest = number
        return youngest
