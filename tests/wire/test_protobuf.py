"""Framing of serialized messages agrees with protobuf's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.wire.protobuf import chunks, message_field, repeated_field, varint


@given(st.lists(st.text(max_size=300), max_size=20))
def test_repeated_field_is_what_protobuf_makes(names: list[str]) -> None:
    """A list joined from serialized items equals protobuf's serialization of the list."""
    items = [pb.Container(id=name) for name in names]
    framed = repeated_field(1, (item.SerializeToString() for item in items))
    assert framed == pb.ListContainersResponse(containers=items).SerializeToString()


def test_message_field_is_what_protobuf_makes() -> None:
    """A response made from a serialized status equals protobuf's serialization of the response."""
    status = pb.ContainerStatus(id="x" * 200)
    framed = message_field(pb.ContainerStatusResponse.STATUS_FIELD_NUMBER, status.SerializeToString())
    assert framed == pb.ContainerStatusResponse(status=status).SerializeToString()


def test_joined_encodings_are_merged() -> None:
    """Fields that are appended to a serialized message are read as parts of it."""
    first = message_field(1, pb.ContainerStatus(id="a").SerializeToString())
    entry = message_field(2, message_field(1, b"key") + message_field(2, b"value"))
    response = pb.ContainerStatusResponse.FromString(first + entry)
    assert (response.status.id, dict(response.info)) == ("a", {"key": "value"})


def test_negative_varints_are_refused() -> None:
    """A negative number is refused: a length is never negative, and its encoding would not end."""
    with pytest.raises(ValueError, match="-1"):
        varint(-1)


@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(1, 1000))
def test_chunks(items: list[bytes], limit: int) -> None:
    """Chunks joined are the message, each is complete items, and one beyond the limit has a single item."""
    message = repeated_field(1, items)
    cut = list(chunks(1, message, limit))
    assert b"".join(cut) == message
    for chunk in cut:
        parsed = list(chunks(1, chunk, 1))
        assert chunk
        assert len(chunk) <= limit or len(parsed) == 1


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_chunks_of_one_item(items: list[bytes]) -> None:
    """With a limit below every item's size each item is a chunk."""
    assert list(chunks(1, repeated_field(1, items), 1)) == [message_field(1, item) for item in items]


@pytest.mark.parametrize(
    "message",
    [
        message_field(2, b"x"),
        message_field(1, b"x") + message_field(2, b"x"),
        message_field(1, b"xy")[:-1],
        message_field(1, b"x" * 200)[:2],
        b"\x0a",
    ],
)
def test_chunks_of_other_messages(message: bytes) -> None:
    """A message with other fields, or that is cut off, is refused."""
    with pytest.raises(ValueError, match=r"byte \d|ends within|is cut off"):
        list(chunks(1, message, 100))
