"""SPDY frames that are legal and rare, and blocks of headers that are malformed."""

from __future__ import annotations

import zlib

import pytest

from criwist.wire import spdy_frames as frames
from criwist.wire.spdy import LocalProtocolError, SpdyConnection
from criwist.wire.spdy_events import HeadersReceived, StreamRefused, StreamReplied
from criwist.wire.spdy_frames import ResetStatus
from criwist.wire.spdy_headers import BlockError, HeaderCompressor, decode_block, dictionary

ERROR = ((b"streamtype", b"error"),)


def malformed_block() -> bytes:
    """Return a first block that inflates to bytes that are no headers."""
    deflate = zlib.compressobj(zdict=dictionary())
    return deflate.compress(b"\0\0\0\1nonsense") + deflate.flush(zlib.Z_SYNC_FLUSH)


def client_with_stream() -> tuple[SpdyConnection, int]:
    """Return a client, and the id of a stream that it opened."""
    client = SpdyConnection(server=False)
    stream_id, _ = client.open_stream(ERROR)
    return client, stream_id


def test_reply_with_malformed_headers() -> None:
    """A reply whose headers are malformed resets its stream with PROTOCOL_ERROR."""
    client, stream_id = client_with_stream()
    (event,) = client.receive_data(frames.SynReply(stream_id, malformed_block()).encode())
    assert isinstance(event, StreamRefused)
    assert event.status is ResetStatus.PROTOCOL_ERROR


def test_later_headers_that_are_malformed() -> None:
    """A HEADERS frame whose headers are malformed resets its stream with PROTOCOL_ERROR."""
    client, stream_id = client_with_stream()
    (event,) = client.receive_data(frames.Headers(stream_id, malformed_block()).encode())
    assert isinstance(event, StreamRefused)
    assert event.status is ResetStatus.PROTOCOL_ERROR


@pytest.mark.parametrize("fin", [False, True])
def test_later_headers(fin: bool) -> None:
    """A HEADERS frame ends the peer's direction if it carries FIN, and only then."""
    client, stream_id = client_with_stream()
    compressor = HeaderCompressor()
    (event,) = client.receive_data(frames.Headers(stream_id, compressor.compress(ERROR), fin).encode())
    assert event == HeadersReceived(stream_id, ERROR, fin)
    (second,) = client.receive_data(frames.Headers(stream_id, compressor.compress(ERROR)).encode())
    assert isinstance(second, StreamRefused if fin else HeadersReceived)


def test_reply_that_ends_the_stream() -> None:
    """A reply with FIN ends the sender's direction at once; the other end may still send."""
    client, stream_id = client_with_stream()
    server = SpdyConnection(server=True)
    list(server.receive_data(frames.SynStream(stream_id, HeaderCompressor().compress(ERROR)).encode()))
    (event,) = client.receive_data(server.reply(stream_id, fin=True))
    assert event == StreamReplied(stream_id, (), fin=True)
    with pytest.raises(LocalProtocolError):
        server.data(stream_id, 1)
    assert client.data(stream_id, 1)


def test_stream_ids_end() -> None:
    """A connection whose stream ids are used up opens no stream."""
    client, _ = client_with_stream()
    client._last_opened = frames.MAX_STREAM_ID
    with pytest.raises(LocalProtocolError, match="used up"):
        client.open_stream(ERROR)


def test_block_that_ends_before_a_length() -> None:
    """A block whose first string takes the room of the next length is refused."""
    with pytest.raises(BlockError, match="cut off"):
        decode_block(b"\0\0\0\1\0\0\0\4name")
