"""SPDY/3 name/value blocks (2.6.10): their layout, and the compression that lasts as long as the connection.

Each end has one deflate state for all that it sends and one inflate state for all that it receives, primed with the
draft's dictionary and flushed at the end of each block.  A block must therefore be inflated even when its stream is
refused; one that cannot be inflated ends the session, one whose contents are malformed only its stream.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

#: Names and values in order; a name with several values appears several times.
HeaderList = Sequence[tuple[bytes, bytes]]

#: Bytes of one block when inflated.  criwist's hold three short headers; the Go peer's own default is 1 MiB a field.  A
#: block that exceeds it ends the session, since the rest is not inflated.
MAX_BLOCK: Final = 64 << 10

_LENGTH: Final = struct.Struct(">I")


class BlockError(ValueError):
    """The contents of a block are malformed.  The inflate state is intact: the session can continue."""


class CompressionError(ValueError):
    """A block cannot be inflated, or not within the limit: the session cannot continue."""


@cache
def dictionary() -> bytes:
    """Return the draft's dictionary, 1423 bytes."""
    return files(__package__).joinpath("spdy-3-header-dictionary.bin").read_bytes()


class HeaderCompressor:
    """The sending end.  Blocks must reach the peer in the order in which they were made."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=dictionary())

    def compress(self, headers: HeaderList) -> bytes:
        """Return one block."""
        return self._deflate.compress(encode_block(headers)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecompressor:
    """The receiving end.  Every block that arrives has to go through it, in order."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=dictionary())

    def decompress(self, block: bytes) -> HeaderList:
        """Return the headers in a block.

        :raises CompressionError: see there; this object cannot be used after it.
        :raises BlockError: see there.
        """
        try:
            plain = self._inflate.decompress(block, MAX_BLOCK + 1)
        except zlib.error as error:
            raise CompressionError(f"header block cannot be inflated: {error}") from error
        if len(plain) > MAX_BLOCK or self._inflate.unconsumed_tail:
            raise CompressionError(f"header block inflates to more than {MAX_BLOCK} bytes")
        if self._inflate.eof:
            raise CompressionError("the deflate stream of the header blocks has ended")
        return decode_block(plain)


def encode_block(headers: HeaderList) -> bytes:
    """Return the plain bytes of a block: values of one name are joined by NUL."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b"\0" + value if name in joined else value
    parts = [_LENGTH.pack(len(joined))]
    for name, value in joined.items():
        parts += (_LENGTH.pack(len(name)), name, _LENGTH.pack(len(value)), value)
    return b"".join(parts)


def decode_block(plain: bytes) -> HeaderList:
    """Return the headers in a block's plain bytes.

    :raises BlockError: a length leads outside, a name is empty, twice there or not in lower case, or bytes are left.
    """
    strings = _strings(plain)
    headers: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    for name in strings:
        values = next(strings)
        if not name or name in seen or name != name.lower():
            raise BlockError(f"header name {name[:64]!r} is empty, repeated or not in lower case")
        seen.add(name)
        headers += [(name, value) for value in values.split(b"\0")]
    return tuple(headers)


def _strings(plain: bytes) -> Iterator[bytes]:
    """All names and values of a block in turn."""
    if len(plain) < _LENGTH.size:
        raise BlockError("header block without a count")
    (count,) = _LENGTH.unpack_from(plain)
    position = _LENGTH.size
    # Each pair has two lengths at least: a count that is too large for the block is refused before the work.
    if count * 2 * _LENGTH.size > len(plain) - position:
        raise BlockError(f"header block of {len(plain)} bytes announces {count} pairs")
    for _ in range(2 * count):
        if position + _LENGTH.size > len(plain):
            raise BlockError("header block is cut off")
        (length,) = _LENGTH.unpack_from(plain, position)
        position += _LENGTH.size
        if length > len(plain) - position:
            raise BlockError("a string in the header block is longer than the block")
        yield plain[position : position + length]
        position += length
    if position != len(plain):
        raise BlockError(f"{len(plain) - position} bytes follow the header block")
