"""Kubernetes channel protocols: messages written and read."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.wire import channels
from criwist.wire.channels import ChannelClosed, ChannelData, ChannelDecoder, ChannelError, Subprotocol

BINARY = [channels.V5, channels.V4, channels.V1, channels.UNNAMED]
BASE64 = [channels.V4_BASE64, channels.V1_BASE64]


def received(decoder: ChannelDecoder, data: bytes | str, last: bool = True) -> list[ChannelData | ChannelClosed]:
    """The decoder's events, with copied payloads."""
    return [
        ChannelData(one.channel, bytes(one.data), one.last) if isinstance(one, ChannelData) else one
        for one in decoder.receive(data, last)
    ]


def test_the_best_protocol_is_chosen() -> None:
    """The newest of a client's protocols is chosen, in any order."""
    offered = ["channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"]
    assert channels.choose(offered, channels.REMOTE_COMMAND) is channels.V5
    assert channels.choose(offered[:2], channels.REMOTE_COMMAND) is channels.V4
    assert channels.choose(["v9.channel.k8s.io"], channels.REMOTE_COMMAND) is None
    assert channels.choose([], channels.REMOTE_COMMAND) is channels.UNNAMED


def test_messages_are_those_of_the_protocols() -> None:
    """The channel comes first: a byte, or a digit before base64."""
    assert channels.message(channels.V4, 1, [b"a", b"b"]) == b"\x01ab"
    assert channels.message(channels.V4, 3) == b"\x03"
    assert channels.message(channels.V4_BASE64, 1, [b"ab"]) == "1YWI="
    assert channels.close_message(0) == b"\xff\x00"


@pytest.mark.parametrize("subprotocol", BINARY + BASE64, ids=lambda one: one.name or "unnamed")
@settings(max_examples=30)
@given(channel=st.integers(0, 60), payload=st.binary(max_size=50), data=st.data())
def test_what_is_sent_arrives_however_it_is_fragmented(
    subprotocol: Subprotocol, channel: int, payload: bytes, data: st.DataObject
) -> None:
    """A message in any fragments gives its channel and its payload, and its end once."""
    message = channels.message(subprotocol, channel, [payload])
    decoder = ChannelDecoder(subprotocol)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=4)))
    fragments = [message[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    events = [event for fragment in fragments[:-1] for event in received(decoder, fragment, last=False)]
    events += received(decoder, fragments[-1], last=True)
    assert all(isinstance(event, ChannelData) and event.channel == channel for event in events)
    assert b"".join(event.data for event in events) == payload  # type: ignore[union-attr]
    assert [event.last for event in events].count(True) == 1  # type: ignore[union-attr]


def test_payload_is_handed_on_before_the_message_ends() -> None:
    """A fragment's payload is yielded before the rest of the message arrives."""
    decoder = ChannelDecoder(channels.V5)
    assert received(decoder, b"\x00ab", last=False) == [ChannelData(0, b"ab", False)]
    assert received(decoder, b"\x01cd", last=True) == [ChannelData(0, b"\x01cd", True)]
    assert received(decoder, b"\x04{}") == [ChannelData(4, b"{}", True)]


def test_binary_payload_is_not_copied() -> None:
    """The payload is a view into the message."""
    message = b"\x00payload"
    (event,) = ChannelDecoder(channels.V5).receive(message, True)
    assert isinstance(event, ChannelData)
    assert isinstance(event.data, memoryview)
    assert event.data.obj is message


def test_v5_closes_a_channel() -> None:
    """255 and a number close that channel; in older protocols it is a channel like others."""
    assert received(ChannelDecoder(channels.V5), b"\xff\x00") == [ChannelClosed(0)]
    assert received(ChannelDecoder(channels.V4), b"\xff\x00") == [ChannelData(255, b"\0", True)]
    decoder = ChannelDecoder(channels.V5)
    assert received(decoder, b"\xff", last=False) == []
    assert received(decoder, b"\x00", last=True) == [ChannelClosed(0)]
    assert received(decoder, b"\x00x") == [ChannelData(0, b"x", True)]


def test_a_close_of_several_channels_is_refused() -> None:
    """A close message names one channel."""
    with pytest.raises(ChannelError):
        received(ChannelDecoder(channels.V5), b"\xff\x00\x01")


def test_an_empty_message_means_nothing() -> None:
    """An empty message, which has no channel, is ignored."""
    assert received(ChannelDecoder(channels.V5), b"") == []


@pytest.mark.parametrize("text", ["0YW", "0!!!!", "0YWI=YWI=", "0ä"])
def test_payload_that_is_no_base64_is_refused(text: str) -> None:
    """Payload with wrong characters or wrong padding is refused."""
    with pytest.raises(ChannelError):
        received(ChannelDecoder(channels.V4_BASE64), text)


@pytest.mark.parametrize("subprotocol", BINARY + BASE64, ids=lambda one: one.name or "unnamed")
@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(max_size=20) | st.text(max_size=20), st.booleans()), max_size=5))
def test_any_message_is_events_or_a_channel_error(
    subprotocol: Subprotocol, messages: list[tuple[bytes | str, bool]]
) -> None:
    """Every message gives events or a ChannelError."""
    decoder = ChannelDecoder(subprotocol)
    with contextlib.suppress(ChannelError):
        for data, last in messages:
            list(decoder.receive(data, last))
