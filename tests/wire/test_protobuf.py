"""Framing of serialized messages agrees with protobuf's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.wire.protobuf import message_field, repeated_field, varint


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
