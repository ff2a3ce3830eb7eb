"""The files that Docker's log of one container consists of.

Docker writes to ``NAME`` and, when that is full, renames it to ``NAME.1``, what was there to ``NAME.2`` and so on, up
to the number it was told to keep (moby, ``loggerutil/logfile.go``).  With compression, ``NAME.1`` is then packed into
``NAME.1.gz`` and removed.  If it was told to keep one file only, it empties that in place.

A generation is one of these files, open: renaming and removal do not take it away from us.  It is known again, after a
restart of ours and a change of its name, by the length and checksum of its first entry, which holds a time in
nanoseconds; inode numbers are used again too soon, and a packed copy has another one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from attrs import define, field, frozen

#: No entry of either format is longer: 16 KiB of content, six bytes each, and labels of a container.
MOST_ENTRY: Final = 1 << 20
#: Looks at the directory until two agree; Docker renames at most a few times a second.
_LOOKS: Final = 10
_PACKED: Final = ".gz"
_GZIP: Final = 16 + zlib.MAX_WBITS
_PACKED_READ: Final = 64 << 10


@frozen
class Fingerprint:
    """What a generation is known by."""

    length: int
    checksum: int


class Generation(Protocol):
    """One file of a log, open."""

    #: Device and inode number.
    identity: tuple[int, int]

    def read(self, offset: int, size: int) -> bytes:
        """Up to *size* bytes from *offset* on; fewer only at the end of what there is."""

    def size(self) -> int:
        """How long it is now; -1 if that is not known."""

    def packed_at(self) -> int:
        """Nanoseconds since the epoch when it was packed: of a plain file that Docker has packed and removed, when it
        was removed, which is what Docker does next."""

    def close(self) -> None:
        """Let go of it."""


@define(eq=False)
class PlainFile:
    """A generation as Docker wrote it."""

    _descriptor: int
    identity: tuple[int, int]

    def read(self, offset: int, size: int) -> bytes:
        """Read."""
        return os.pread(self._descriptor, size, offset)

    def size(self) -> int:
        """Ask the kernel."""
        return os.fstat(self._descriptor).st_size

    def packed_at(self) -> int:
        """When its names changed last."""
        return os.fstat(self._descriptor).st_ctime_ns

    def close(self) -> None:
        """Close."""
        os.close(self._descriptor)


@define(eq=False)
class PackedFile:
    """A generation that Docker has packed.  Reading on is cheap, reading back begins anew."""

    _descriptor: int
    identity: tuple[int, int]
    #: Plain bytes that were read and not yet passed, and where they begin.
    _held: bytes = b""
    _start: int = 0
    #: Where the next packed bytes are.
    _packed: int = 0
    _unpacker: zlib._Decompress = field(factory=lambda: zlib.decompressobj(_GZIP))

    def read(self, offset: int, size: int) -> bytes:
        """Unpack up to there."""
        if offset < self._start:
            self._held, self._start, self._packed = b"", 0, 0
            self._unpacker = zlib.decompressobj(_GZIP)
        while self._start + len(self._held) < offset + size:
            packed = self._unpacker.unconsumed_tail
            if not packed:
                packed = os.pread(self._descriptor, _PACKED_READ, self._packed)
                self._packed += len(packed)
            # A damaged end of the file is an end.
            plain = b""
            with suppress(zlib.error):
                plain = self._unpacker.decompress(packed, size + _PACKED_READ)
            if not plain and not packed:
                break
            self._held += plain
            passed = min(max(offset - self._start, 0), len(self._held))
            self._held, self._start = self._held[passed:], self._start + passed
        passed = offset - self._start
        return self._held[passed : passed + size]

    def size(self) -> int:
        """Unknown until it has been read."""
        return -1

    def packed_at(self) -> int:
        """When it was written to last."""
        return os.fstat(self._descriptor).st_mtime_ns

    def close(self) -> None:
        """Close."""
        os.close(self._descriptor)


def open_generations(path: str) -> list[Generation]:
    """All generations of the log at *path*, the oldest first; none if there is no log.

    :raises OSError: they cannot be read, or Docker renamed them faster than we could look.
    """
    for _ in range(_LOOKS):
        before = _look(path)
        there = _open_each(before)
        after = _look(path)
        if [generation.identity for generation in there] == list(after.values()) and before == after:
            return there
        for generation in there:
            generation.close()
    raise OSError(f"the generations of {path} change faster than they can be opened")


def fingerprint(generation: Generation, first_entry_length: Callable[[bytes], int]) -> Fingerprint | None:
    """What *generation* is known by; None as long as it has no whole entry."""
    data = generation.read(0, 512)
    length = first_entry_length(data)
    if not length:
        data = generation.read(0, MOST_ENTRY)
        length = first_entry_length(data)
    return Fingerprint(length, zlib.crc32(data[:length])) if length else None


def _look(path: str) -> dict[str, tuple[int, int]]:
    """Names and identities of the generations, the oldest first."""
    directory, name = os.path.split(path)
    numbered: dict[int, str] = {}
    for entry in sorted(os.listdir(directory)):
        number = entry.removeprefix(name + ".").removesuffix(_PACKED)
        # While NAME.1 is being packed, both are there, and the packed one is not whole; it sorts behind.
        if number.isascii() and number.isdigit() and entry.startswith(name + "."):
            numbered.setdefault(int(number), os.path.join(directory, entry))
    names = [numbered[number] for number in sorted(numbered, reverse=True)]
    found = {}
    for candidate in (*names, path):
        with suppress(FileNotFoundError):
            status = os.stat(candidate)
            found[candidate] = (status.st_dev, status.st_ino)
    return found


def _open_each(names: Iterable[str]) -> list[Generation]:
    there: list[Generation] = []
    try:
        for name in names:
            generation = _open(name)
            if generation is not None:
                there.append(generation)
    except OSError:
        for generation in there:
            generation.close()
        raise
    return there


def _open(name: str) -> Generation | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    kind = PackedFile if name.endswith(_PACKED) else PlainFile
    return kind(descriptor, (status.st_dev, status.st_ino))
