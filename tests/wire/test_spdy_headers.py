"""SPDY/3 header blocks: the dictionary, the layout, the limits."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.wire.spdy_headers import (
    MAX_BLOCK,
    BlockError,
    CompressionError,
    HeaderCompressor,
    HeaderDecompressor,
    decode_block,
    dictionary,
    encode_block,
)

names = st.binary(min_size=1, max_size=20).map(bytes.lower)
header_lists = st.lists(st.tuples(names, st.binary(max_size=30).map(lambda v: v.replace(b"\0", b"0"))), max_size=6)


def grouped(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers with equal names brought together at the first of them."""
    order = dict.fromkeys(name for name, _ in headers)
    return tuple(pair for name in order for pair in headers if pair[0] == name)


def strings(*values: bytes, count: int | None = None) -> bytes:
    """A block written by hand."""
    number = len(values) // 2 if count is None else count
    return struct.pack(">I", number) + b"".join(struct.pack(">I", len(value)) + value for value in values)


def test_the_dictionary_is_the_draft_s() -> None:
    """The dictionary is 1423 bytes long, with the checksum that the zlib header of SPDY/3 blocks names."""
    assert len(dictionary()) == 1423
    assert zlib.adler32(dictionary()) == 0xE3C6A7C2


def test_the_first_block_names_the_dictionary() -> None:
    """The first bytes are a zlib header with FDICT set and the dictionary's checksum (RFC 1950)."""
    block = HeaderCompressor().compress([(b"streamtype", b"error")])
    assert block[1] & 0x20
    assert block[2:6] == bytes.fromhex("e3c6a7c2")
    assert block.endswith(b"\0\0\xff\xff"), "flushed"


def test_the_layout_of_a_block() -> None:
    """A block is a count, then names and values with their lengths, several values of a name joined by NUL (2.6.10)."""
    block = encode_block([(b"port", b"80"), (b"x", b"1"), (b"x", b"2")])
    assert block == bytes.fromhex("00000002 00000004 706f7274 00000002 3830 00000001 78 00000003 310032")
    assert decode_block(block) == ((b"port", b"80"), (b"x", b"1"), (b"x", b"2"))


@settings(max_examples=50)
@given(st.lists(header_lists, max_size=5))
def test_blocks_survive_the_wire(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    """Each end restores the other's blocks, block after block with one state."""
    compressor, decompressor = HeaderCompressor(), HeaderDecompressor()
    for headers in blocks:
        assert decompressor.decompress(compressor.compress(headers)) == grouped(headers)


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_plain_block_is_headers_or_a_block_error(plain: bytes) -> None:
    """Every input gives headers or BlockError."""
    with contextlib.suppress(BlockError):
        decode_block(plain)


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_compressed_block_is_headers_or_a_named_error(block: bytes) -> None:
    """Every input gives headers or one of the two errors."""
    with contextlib.suppress(BlockError, CompressionError):
        HeaderDecompressor().decompress(block)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0\0\0",
        strings(b"a", b"b") + b"\0",
        strings(b"a", b"b")[:-1],
        strings(b"a", b"b", count=2),
        strings(b"", b"b"),
        strings(b"a", b"b", b"a", b"c"),
        strings(b"StreamType", b"error"),
        b"\xff\xff\xff\xff" + b"\0" * 16,
        b"\0\0\0\1\xff\xff\xff\xff\0\0\0\0",
    ],
)
def test_malformed_blocks(plain: bytes) -> None:
    """Wrong counts and lengths, and names that are empty, repeated or in upper case, are refused."""
    with pytest.raises(BlockError):
        decode_block(plain)


def test_a_malformed_block_does_not_end_the_session() -> None:
    """After a block with malformed contents the next one is restored."""
    deflate = zlib.compressobj(zdict=dictionary())
    decompressor = HeaderDecompressor()
    with pytest.raises(BlockError):
        decompressor.decompress(deflate.compress(b"\0\0\0\7nonsense") + deflate.flush(zlib.Z_SYNC_FLUSH))
    good = deflate.compress(strings(b"a", b"b")) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert decompressor.decompress(good) == ((b"a", b"b"),)


def test_a_bomb_is_not_inflated() -> None:
    """A few kilobytes that would inflate to megabytes are refused after 64 KiB."""
    deflate = zlib.compressobj(9, zdict=dictionary())
    bomb = deflate.compress(strings(b"a", b"\1" * 30_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < MAX_BLOCK
    with pytest.raises(CompressionError, match="more than 65536"):
        HeaderDecompressor().decompress(bomb)


def test_a_block_at_the_limit_is_inflated() -> None:
    """64 KiB are allowed, one byte more is not."""
    room = MAX_BLOCK - len(strings(b"a", b""))
    value = b"v" * room
    assert HeaderDecompressor().decompress(HeaderCompressor().compress([(b"a", value)])) == ((b"a", value),)
    with pytest.raises(CompressionError):
        HeaderDecompressor().decompress(HeaderCompressor().compress([(b"a", value + b"v")]))


def test_a_finished_deflate_stream_ends_the_session() -> None:
    """A peer that ends its deflate stream breaks the protocol."""
    deflate = zlib.compressobj(zdict=dictionary())
    with pytest.raises(CompressionError, match="ended"):
        HeaderDecompressor().decompress(deflate.compress(strings(b"a", b"b")) + deflate.flush(zlib.Z_FINISH))


def test_garbage_ends_the_session() -> None:
    """Bytes that are not a deflate stream end the session."""
    with pytest.raises(CompressionError):
        HeaderDecompressor().decompress(b"\xff\xff\xff\xff")
