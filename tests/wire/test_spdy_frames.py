"""SPDY/3 frame layouts, byte for byte as in the draft, and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.wire import spdy_frames as frames

stream_ids = st.integers(1, frames.MAX_STREAM_ID)
words = st.integers(0, (1 << 32) - 1)
blocks = st.binary(max_size=64)

control_frames = st.one_of(
    st.builds(
        frames.SynStream,
        stream_ids,
        blocks,
        st.booleans(),
        st.booleans(),
        st.integers(0, frames.MAX_STREAM_ID),
        st.integers(0, 7),
        st.integers(0, 255),
    ),
    st.builds(frames.SynReply, stream_ids, blocks, st.booleans()),
    st.builds(frames.Headers, stream_ids, blocks, st.booleans()),
    st.builds(frames.RstStream, stream_ids, words),
    st.builds(
        frames.Settings,
        st.lists(st.tuples(st.integers(0, 255), st.integers(0, frames.MAX_LENGTH), words), max_size=5).map(tuple),
        st.booleans(),
    ),
    st.builds(frames.Ping, words),
    st.builds(frames.GoAway, st.integers(0, frames.MAX_STREAM_ID), words),
    st.builds(frames.WindowUpdate, st.integers(0, frames.MAX_STREAM_ID), st.integers(0, frames.MAX_STREAM_ID)),
)

#: The draft's drawing, the frame, its bytes written out by hand.
DRAWINGS = [
    (
        "2.6.1 SYN_STREAM",
        frames.SynStream(0x01020305, b"BLOCK", fin=True, unidirectional=True, associated=6, priority=5, slot=9),
        "80 03 00 01 | 03 00 00 0f | 01 02 03 05 | 00 00 00 06 | a0 09 | 42 4c 4f 43 4b",
    ),
    ("2.6.1 SYN_STREAM", frames.SynStream(1, b""), "80 03 00 01 | 00 00 00 0a | 00 00 00 01 | 00 00 00 00 | 00 00"),
    ("2.6.2 SYN_REPLY", frames.SynReply(3, b"BL"), "80 03 00 02 | 00 00 00 06 | 00 00 00 03 | 42 4c"),
    ("2.6.2 SYN_REPLY", frames.SynReply(3, b"", fin=True), "80 03 00 02 | 01 00 00 04 | 00 00 00 03"),
    (
        "2.6.3 RST_STREAM",
        frames.RstStream(5, frames.ResetStatus.CANCEL),
        "80 03 00 03 | 00 00 00 08 | 00 00 00 05 | 00 00 00 05",
    ),
    (
        "2.6.4 SETTINGS",
        frames.Settings(((1, 4, 100), (0, 7, 65536)), clear=True),
        "80 03 00 04 | 01 00 00 14 | 00 00 00 02 | 01 00 00 04 | 00 00 00 64 | 00 00 00 07 | 00 01 00 00",
    ),
    ("2.6.5 PING", frames.Ping(0xFFFFFFFF), "80 03 00 06 | 00 00 00 04 | ff ff ff ff"),
    (
        "2.6.6 GOAWAY",
        frames.GoAway(7, frames.GoAwayStatus.INTERNAL_ERROR),
        "80 03 00 07 | 00 00 00 08 | 00 00 00 07 | 00 00 00 02",
    ),
    ("2.6.7 HEADERS", frames.Headers(2, b"B", fin=True), "80 03 00 08 | 01 00 00 05 | 00 00 00 02 | 42"),
    (
        "2.6.8 WINDOW_UPDATE",
        frames.WindowUpdate(9, 0x7FFFFFFF),
        "80 03 00 09 | 00 00 00 08 | 00 00 00 09 | 7f ff ff ff",
    ),
]


@pytest.mark.parametrize(("section", "frame", "drawn"), DRAWINGS, ids=[drawing[0] for drawing in DRAWINGS])
def test_control_frames_are_those_of_the_draft(section: str, frame: frames.ControlFrame, drawn: str) -> None:
    """Each control frame is encoded to the bytes of the draft's drawing and decoded from them."""
    wire = bytes.fromhex(drawn.replace("|", ""))
    assert frame.encode() == wire
    assert frames.decode(wire[3], wire[4], wire[8:]) == frame


def test_the_head_of_a_data_frame_is_that_of_the_draft() -> None:
    """A data frame has a zero bit, the stream, the flags and 24 bits of length (2.2.2)."""
    assert frames.data_head(0x7FFFFFFF, 0x123456, True) == bytes.fromhex("7fffffff01123456")
    assert frames.data_head(1, 0, False) == bytes.fromhex("0000000100000000")


@settings(max_examples=200)
@given(control_frames)
def test_decoding_undoes_encoding(frame: frames.ControlFrame) -> None:
    """Every control frame decodes to itself, and its head has its length."""
    wire = frame.encode()
    assert int.from_bytes(wire[5:8], "big") == len(wire) - frames.HEAD_LENGTH
    assert frames.decode(wire[3], wire[4], wire[8:]) == frame


@settings(max_examples=300)
@given(st.integers(0, 0xFFFF) | st.sampled_from(list(frames.FrameType)), st.integers(0, 255), st.binary(max_size=40))
def test_any_payload_is_a_frame_or_a_frame_error(frame_type: int, flags: int, payload: bytes) -> None:
    """Every payload gives a frame or FrameError."""
    with contextlib.suppress(frames.FrameError):
        frames.decode(frame_type, flags, payload)


def test_unknown_types_are_ignored() -> None:
    """A control frame of an unknown type is ignored (2.2.1): SPDY/2's NOOP, CREDENTIAL."""
    assert frames.decode(5, 0, b"") is None
    assert frames.decode(10, 0, b"whatever") is None


@pytest.mark.parametrize(
    ("frame_type", "payload"),
    [
        (frames.FrameType.SYN_STREAM, b"\0\0\0\1\0\0\0\0\0"),
        (frames.FrameType.SYN_STREAM, b"\0\0\0\0\0\0\0\0\0\0"),
        (frames.FrameType.SYN_REPLY, b"\0\0\0"),
        (frames.FrameType.RST_STREAM, b"\0\0\0\1\0\0\0\1\0"),
        (frames.FrameType.RST_STREAM, b"\0\0\0\0\0\0\0\1"),
        (frames.FrameType.SETTINGS, b"\0\0\0\2\0\0\0\0\0\0\0\0"),
        (frames.FrameType.SETTINGS, b"\xff\xff\xff\xff"),
        (frames.FrameType.PING, b"\0\0\0"),
        (frames.FrameType.GOAWAY, b"\0\0\0\1"),
        (frames.FrameType.WINDOW_UPDATE, b"\0\0\0\1"),
    ],
)
def test_a_wrong_length_or_stream_is_an_error(frame_type: frames.FrameType, payload: bytes) -> None:
    """A payload that does not fit its type's layout is refused, and an impossible count before it costs memory."""
    with pytest.raises(frames.FrameError):
        frames.decode(frame_type, 0, payload)
