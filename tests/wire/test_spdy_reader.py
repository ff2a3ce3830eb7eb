"""Splitting bytes into SPDY frames, wherever they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.wire import spdy_frames as frames
from criwist.wire.spdy_reader import MAX_CONTROL_LENGTH, ControlTooLong, DataReceived, FrameReader, RawControl

data_frames = st.tuples(st.integers(0, frames.MAX_STREAM_ID), st.binary(max_size=40), st.booleans())
pings = st.integers(0, 100).map(frames.Ping)


def wire(frame: tuple[int, bytes, bool] | frames.Ping) -> bytes:
    """The frame's bytes."""
    if isinstance(frame, frames.Ping):
        return frame.encode()
    return frames.data_head(frame[0], len(frame[1]), frame[2]) + frame[1]


def whole(pieces: list[RawControl | DataReceived]) -> list[object]:
    """The pieces with those of one data frame put together again."""
    frames_seen: list[object] = []
    open_data: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, RawControl):
            assert piece.version == 3
            frames_seen.append(frames.decode(piece.type, piece.flags, piece.payload))
        else:
            open_data.append(bytes(piece.data))
            frames_seen.append((piece.stream_id, bytes(piece.data), piece.fin))
    return frames_seen


@settings(max_examples=150)
@given(st.lists(data_frames | pings, max_size=6), st.data())
def test_any_cut_gives_the_same_bytes_per_stream(
    sent: list[tuple[int, bytes, bool] | frames.Ping], data: st.DataObject
) -> None:
    """Wherever the bytes are cut into reads, control frames come out whole, and data in order with FIN at its end."""
    stream = b"".join(map(wire, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()
    pieces: list[RawControl | DataReceived] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces += reader.receive_data(stream[start:stop])
    assert flattened(whole(pieces)) == flattened(list(sent))


def flattened(items: list[object]) -> list[object]:
    """Data byte by byte, so that cuts make no difference; an end where a FIN is."""
    flat: list[object] = []
    for item in items:
        if isinstance(item, tuple):
            flat += [(item[0], byte) for byte in item[1]]
            if item[2]:
                flat.append((item[0], "fin"))
        else:
            flat.append(item)
    return flat


def test_data_is_handed_on_as_it_comes() -> None:
    """The first byte of a 16 MiB frame is yielded before the second arrives, and nothing is buffered."""
    reader = FrameReader()
    pieces = list(reader.receive_data(frames.data_head(1, frames.MAX_LENGTH, True) + b"x"))
    assert [(piece.stream_id, bytes(piece.data), piece.fin) for piece in pieces] == [(1, b"x", False)]  # type: ignore[union-attr]


def test_data_is_not_copied() -> None:
    """The payload is a view into the bytes received."""
    received = frames.data_head(1, 4, False) + b"data"
    (piece,) = FrameReader().receive_data(received)
    assert isinstance(piece, DataReceived)
    assert piece.data.obj is received


@pytest.mark.parametrize("cut", [0, 3, 8])
def test_a_control_frame_over_the_limit_is_refused_by_its_head(cut: int) -> None:
    """A control frame whose head has too long a length is refused at once; the frames before it are yielded."""
    head = b"\x80\x03\x00\x01\x00" + (MAX_CONTROL_LENGTH + 1).to_bytes(3, "big")
    stream = frames.Ping(1).encode() + head
    border = len(stream) - 8 + cut
    reader = FrameReader()
    pieces = [*reader.receive_data(stream[:border])] if cut < 8 else []
    rest = reader.receive_data(stream[border:] if cut < 8 else stream)
    pieces += itertools.islice(rest, 1 - len(pieces))
    assert len(pieces) == 1
    with pytest.raises(ControlTooLong):
        next(rest)


def test_a_control_frame_at_the_limit_is_read() -> None:
    """64 KiB of payload are allowed."""
    payload = b"p" * MAX_CONTROL_LENGTH
    (frame,) = FrameReader().receive_data(b"\x80\x03\x00\x0c\x00" + len(payload).to_bytes(3, "big") + payload)
    assert frame == RawControl(3, 12, 0, payload)
