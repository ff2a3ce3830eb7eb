"""SPDY connections: two ends wired to each other, and single ends fed by hand."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from criwist.wire import spdy_frames as frames
from criwist.wire.spdy import LocalProtocolError, RemoteProtocolError, SpdyConnection
from criwist.wire.spdy_events import (
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingReceived,
    PongReceived,
    StreamOpened,
    StreamRefused,
    StreamReplied,
    StreamReset,
)
from criwist.wire.spdy_frames import GoAwayStatus, ResetStatus
from criwist.wire.spdy_headers import HeaderCompressor, dictionary, encode_block
from criwist.wire.spdy_reader import DataReceived

ERROR = ((b"streamtype", b"error"),)


def pair() -> tuple[SpdyConnection, SpdyConnection]:
    """A client and a server."""
    return SpdyConnection(server=False), SpdyConnection(server=True)


def opened() -> tuple[SpdyConnection, SpdyConnection, int]:
    """A client and a server with one stream, opened and replied to."""
    client, server = pair()
    stream_id, wire = client.open_stream(ERROR)
    assert list(server.receive_data(wire)) == [StreamOpened(stream_id, ERROR, fin=False)]
    assert list(client.receive_data(server.reply(stream_id))) == [StreamReplied(stream_id, (), fin=False)]
    return client, server, stream_id


def only(connection: SpdyConnection, wire: bytes) -> Event:
    """The only event of *wire* on *connection*."""
    (event,) = connection.receive_data(wire)
    return event


def failing(connection: SpdyConnection, wire: bytes) -> RemoteProtocolError:
    """The error of *wire* on *connection*, which ignores all later data."""
    with pytest.raises(RemoteProtocolError) as caught:
        list(connection.receive_data(wire))
    assert list(connection.receive_data(frames.Ping(1).encode())) == []
    return caught.value


def test_a_stream_from_its_opening_to_its_end() -> None:
    """Data goes both ways, each end finishes its own direction, and then the stream is gone."""
    client, server, stream_id = opened()
    to_server = client.data(stream_id, 3) + b"abc" + client.data(stream_id, 0, fin=True)
    first, end = server.receive_data(to_server)
    assert isinstance(first, DataReceived)
    assert (first.stream_id, bytes(first.data), first.fin) == (stream_id, b"abc", False)
    assert end == DataReceived(stream_id, memoryview(b""), fin=True)
    answer = only(client, server.data(stream_id, 2, fin=True) + b"ok")
    assert isinstance(answer, DataReceived)
    assert (bytes(answer.data), answer.fin) == (b"ok", True)
    for end_of_it in (client, server):
        with pytest.raises(LocalProtocolError):
            end_of_it.data(stream_id, 1)


def test_a_half_closed_stream_still_carries_data_the_other_way() -> None:
    """After its FIN a client receives as before."""
    client, server, stream_id = opened()
    only(server, client.data(stream_id, 0, fin=True))
    answer = only(client, server.data(stream_id, 1) + b"x")
    assert isinstance(answer, DataReceived)
    with pytest.raises(LocalProtocolError, match="not open for sending"):
        client.data(stream_id, 1)


def test_streams_are_numbered_by_their_opener() -> None:
    """A client opens odd streams, a server even ones."""
    client, server = pair()
    assert [client.open_stream(ERROR)[0] for _ in range(3)] == [1, 3, 5]
    assert [server.open_stream(ERROR)[0] for _ in range(3)] == [2, 4, 6]


def test_a_stream_opened_with_fin_carries_data_one_way() -> None:
    """The opener has nothing to send, the other end has."""
    client, server = pair()
    stream_id, wire = client.open_stream(ERROR, fin=True)
    assert only(server, wire) == StreamOpened(stream_id, ERROR, fin=True)
    only(client, server.reply(stream_id))
    assert isinstance(only(client, server.data(stream_id, 1) + b"x"), DataReceived)


def test_a_unidirectional_stream_cannot_be_written_to() -> None:
    """FLAG_UNIDIRECTIONAL puts the recipient in the half-closed state (2.6.1)."""
    server = SpdyConnection(server=True)
    only(server, frames.SynStream(1, HeaderCompressor().compress(ERROR), unidirectional=True).encode())
    server.reply(1)
    with pytest.raises(LocalProtocolError):
        server.data(1, 1)


def test_a_reset_ends_a_stream_for_both() -> None:
    """The peer gets the status, and data still under way is dropped in silence."""
    client, server, stream_id = opened()
    late = client.data(stream_id, 1) + b"x"
    assert only(client, server.reset(stream_id, ResetStatus.CANCEL)) == StreamReset(stream_id, ResetStatus.CANCEL)
    assert list(server.receive_data(late)) == []
    assert list(client.receive_data(server.reset(stream_id, ResetStatus.CANCEL))) == [], "known already"


def test_an_abandoned_stream_does_not_count() -> None:
    """A stream on which this end has finished may be forgotten; frames that still come are dropped in silence."""
    client = SpdyConnection(server=False)
    server = SpdyConnection(server=True, max_streams=1)
    stream_id, wire = client.open_stream(ERROR)
    only(server, wire)
    server.reply(stream_id)
    with pytest.raises(LocalProtocolError):
        server.abandon(stream_id)
    server.data(stream_id, 0, fin=True)
    server.abandon(stream_id)
    assert list(server.receive_data(frames.data_head(stream_id, 1, False) + b"x")) == []
    assert isinstance(only(server, client.open_stream(ERROR)[1]), StreamOpened)


def test_more_headers() -> None:
    """HEADERS frames reach the peer; their block uses the same compression state as the others."""
    client, server, stream_id = opened()
    compressor = client._compressor
    wire = frames.Headers(stream_id, compressor.compress(((b"a", b"b"),)), fin=True).encode()
    assert only(server, wire) == HeadersReceived(stream_id, ((b"a", b"b"),), fin=True)
    again = frames.Headers(stream_id, compressor.compress(((b"a", b"b"),))).encode()
    refused = only(server, again)
    assert isinstance(refused, StreamRefused)
    assert refused.status is ResetStatus.STREAM_ALREADY_CLOSED


def test_pings_are_answered_by_the_end_that_did_not_send_them() -> None:
    """A ping is answered once; an unexpected answer is ignored (2.6.5)."""
    client, server = pair()
    for one, other in ((client, server), (server, client)):
        ping = only(other, one.ping())
        assert isinstance(ping, PingReceived)
        assert ping.ping_id % 2 == other.server
        pong = other.pong(ping.ping_id)
        assert only(one, pong) == PongReceived(ping.ping_id)
        assert list(one.receive_data(pong)) == []


def test_ping_ids_begin_anew_when_used_up() -> None:
    """After the last id the first one follows, of the same kind."""
    client = SpdyConnection(server=False)
    client._last_ping = frames.MAX_STREAM_ID
    assert only(SpdyConnection(server=True), client.ping()) == PingReceived(3)


def test_after_goaway_new_streams_are_ignored_and_open_ones_go_on() -> None:
    """A session that ends ignores new streams, and continues with the open ones (2.6.6)."""
    client, server, stream_id = opened()
    assert only(client, server.go_away()) == GoAwayReceived(stream_id, GoAwayStatus.OK)
    assert list(server.receive_data(client.open_stream(ERROR)[1])) == []
    assert isinstance(only(client, server.data(stream_id, 1) + b"x"), DataReceived)
    with pytest.raises(LocalProtocolError):
        server.open_stream(ERROR)


def test_settings_and_window_updates_have_no_effect() -> None:
    """Both are parsed and dropped: there are no windows."""
    server = SpdyConnection(server=True)
    wire = frames.Settings(((0, 7, 1),)).encode() + frames.WindowUpdate(1, 100).encode()
    assert list(server.receive_data(wire)) == []


def test_streams_over_the_limit_are_refused_alone() -> None:
    """A stream beyond the limit is refused; the others stay, and when one ends another may open."""
    client = SpdyConnection(server=False)
    server = SpdyConnection(server=True, max_streams=2)
    first, wire = client.open_stream(ERROR)
    only(server, wire)
    only(server, client.open_stream(ERROR)[1])
    third, wire = client.open_stream(ERROR)
    refused = only(server, wire)
    assert isinstance(refused, StreamRefused)
    assert (refused.stream_id, refused.status) == (third, ResetStatus.REFUSED_STREAM)
    assert list(server.receive_data(client.data(first, 1) + b"x")) != []
    only(server, client.reset(first, ResetStatus.CANCEL))
    assert isinstance(only(server, client.open_stream(ERROR)[1]), StreamOpened)


def test_ten_thousand_streams_cost_no_more_than_the_limit() -> None:
    """A peer that opens 10,000 streams gets 2,048 and a refusal for each of the others."""
    client, server = pair()
    events = [only(server, client.open_stream(ERROR)[1]) for _ in range(10_000)]
    assert sum(isinstance(event, StreamOpened) for event in events) == 2048
    assert sum(isinstance(event, StreamRefused) for event in events) == 10_000 - 2048
    assert len(server._streams) == 2048


def test_refused_blocks_still_move_the_compression_on() -> None:
    """A header block of a stream that is refused or ignored is inflated all the same."""
    client = SpdyConnection(server=False)
    server = SpdyConnection(server=True, max_streams=1)
    stream_id, wire = client.open_stream(ERROR)
    only(server, wire)
    only(server, client.open_stream(((b"port", b"80"), (b"requestid", b"17")))[1])
    only(server, client.reset(stream_id, ResetStatus.CANCEL))
    _, wire = client.open_stream(((b"port", b"80"), (b"requestid", b"18")))
    event = only(server, wire)
    assert isinstance(event, StreamOpened)
    assert event.headers == ((b"port", b"80"), (b"requestid", b"18"))


def test_a_malformed_block_refuses_its_stream_alone() -> None:
    """The stream is reset with PROTOCOL_ERROR, the session goes on."""
    server = SpdyConnection(server=True)
    deflate = zlib.compressobj(zdict=dictionary())

    def syn(stream_id: int, plain: bytes) -> bytes:
        return frames.SynStream(stream_id, deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)).encode()

    refused = only(server, syn(1, b"\0\0\0\1nonsense"))
    assert isinstance(refused, StreamRefused)
    assert refused.status is ResetStatus.PROTOCOL_ERROR
    assert only(server, syn(3, encode_block(ERROR))) == StreamOpened(3, ERROR, fin=False)


@pytest.mark.parametrize("make", ["data", "headers", "reply"])
def test_frames_for_streams_never_opened_are_reset(make: str) -> None:
    """The status is INVALID_STREAM (2.6.3)."""
    server = SpdyConnection(server=True)
    block = HeaderCompressor().compress(ERROR)
    wire = {
        "data": frames.data_head(7, 1, False) + b"x",
        "headers": frames.Headers(7, block).encode(),
        "reply": frames.SynReply(8, block).encode(),
    }[make]
    refused = only(server, wire)
    assert isinstance(refused, StreamRefused)
    assert refused.status is ResetStatus.INVALID_STREAM


def test_data_after_a_fin_resets_the_stream() -> None:
    """The status is STREAM_ALREADY_CLOSED, and the stream is gone."""
    client, server, stream_id = opened()
    only(server, client.data(stream_id, 0, fin=True))
    refused = only(server, frames.data_head(stream_id, 1, False) + b"x")
    assert isinstance(refused, StreamRefused)
    assert refused.status is ResetStatus.STREAM_ALREADY_CLOSED
    with pytest.raises(LocalProtocolError):
        server.data(stream_id, 1)


def test_a_second_reply_resets_the_stream() -> None:
    """The status is STREAM_IN_USE (2.6.2)."""
    client, server, stream_id = opened()
    wire = frames.SynReply(stream_id, server._compressor.compress(())).encode()
    refused = only(client, wire)
    assert isinstance(refused, StreamRefused)
    assert refused.status is ResetStatus.STREAM_IN_USE


@pytest.mark.parametrize(
    ("what", "wire"),
    [
        ("version", b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"),
        ("layout", b"\x80\x03\x00\x06\x00\x00\x00\x03\x00\x00\x01"),
        ("length", b"\x80\x03\x00\x01\x00\x10\x00\x00"),
        ("stream 0", frames.data_head(0, 1, False) + b"x"),
        ("inflated", frames.SynStream(1, b"\xff" * 8).encode()),
        ("ours to give", frames.SynStream(2, HeaderCompressor().compress(ERROR)).encode()),
    ],
)
def test_what_ends_the_session(what: str, wire: bytes) -> None:
    """Frames that cannot be parsed, or would break the session's state, end the session."""
    fault = failing(SpdyConnection(server=True), wire)
    assert fault.status is GoAwayStatus.PROTOCOL_ERROR


def test_stream_numbers_must_rise() -> None:
    """A stream whose number was used before ends the session (2.3.2)."""
    client, server, _ = opened()
    wire = frames.SynStream(1, client._compressor.compress(ERROR)).encode()
    assert "opened stream 1 after stream 1" in str(failing(server, wire))


def test_events_before_an_error_are_yielded() -> None:
    """Events before an error in the same read are yielded."""
    server = SpdyConnection(server=True)
    events = server.receive_data(frames.Ping(1).encode() + b"\x80\x02\0\0\0\0\0\0")
    assert next(events) == PingReceived(1)
    with pytest.raises(RemoteProtocolError):
        next(events)


def test_goaway_names_the_last_stream_that_was_accepted() -> None:
    """The peer learns from it which of its streams were ignored."""
    _, server, stream_id = opened()
    client = SpdyConnection(server=False)
    goaway = server.go_away(GoAwayStatus.PROTOCOL_ERROR)
    assert only(client, goaway) == GoAwayReceived(stream_id, GoAwayStatus.PROTOCOL_ERROR)


def test_local_errors() -> None:
    """A frame that the state does not allow raises before any byte is sent, and changes nothing."""
    client, server = pair()
    stream_id, wire = client.open_stream(ERROR)
    only(server, wire)
    with pytest.raises(LocalProtocolError, match="not been replied"):
        server.data(stream_id, 1)
    server.reply(stream_id)
    with pytest.raises(LocalProtocolError, match="cannot be replied"):
        server.reply(stream_id)
    with pytest.raises(LocalProtocolError, match="do not fit"):
        server.data(stream_id, 1 << 24)
    with pytest.raises(LocalProtocolError):
        server.data(99, 1)
    server.data(stream_id, 1)


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_events_or_a_remote_error(reads: list[bytes]) -> None:
    """Every input gives events or RemoteProtocolError."""
    server = SpdyConnection(server=True)
    with contextlib.suppress(RemoteProtocolError):
        for read in reads:
            list(server.receive_data(read))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 4, 6, 7, 8, 9, 10]), st.integers(0, 3), st.binary(max_size=30)), max_size=6
    )
)
def test_any_control_frames_are_events_or_a_remote_error(sent: list[tuple[int, int, bytes]]) -> None:
    """Every input with the form of control frames gives events or RemoteProtocolError."""
    server = SpdyConnection(server=True)
    with contextlib.suppress(RemoteProtocolError):
        for kind, flags, payload in sent:
            head = bytes((0x80, 3, 0, kind, flags)) + len(payload).to_bytes(3, "big")
            list(server.receive_data(head + payload))


class TwoEnds(RuleBasedStateMachine):
    """Two ends that do anything allowed, with reads cut anywhere, agree on every stream."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = pair()
        self.wires = (bytearray(), bytearray())  # to the client, to the server
        self.sent: dict[tuple[int, int], bytearray] = {}
        self.got: dict[tuple[int, int], bytearray] = {}
        self.finished: set[tuple[int, int]] = set()

    def _send(self, who: int, wire: bytes) -> None:
        self.wires[1 - who].extend(wire)

    def _open(self, who: int) -> list[int]:
        return [
            number
            for number, state in self.ends[who]._streams.items()
            if state.sending and (state.replied or number % 2 != bool(who))
        ]

    @rule(who=st.integers(0, 1), value=st.binary(max_size=20))
    def open_stream(self, who: int, value: bytes) -> None:
        self._send(who, self.ends[who].open_stream(((b"value", value.replace(b"\0", b"")),))[1])

    @rule(who=st.integers(0, 1))
    def ping(self, who: int) -> None:
        self._send(who, self.ends[who].ping())

    @precondition(lambda self: self._open(0) or self._open(1))
    @rule(data=st.data(), payload=st.binary(max_size=30), fin=st.booleans())
    def send(self, data: st.DataObject, payload: bytes, fin: bool) -> None:
        who, number = data.draw(st.sampled_from([(who, number) for who in (0, 1) for number in self._open(who)]))
        self.sent.setdefault((who, number), bytearray()).extend(payload)
        if fin:
            self.finished.add((who, number))
        self._send(who, self.ends[who].data(number, len(payload), fin=fin) + payload)

    @rule(who=st.integers(0, 1), share=st.floats(0, 1))
    def deliver(self, who: int, share: float) -> None:
        count = int(len(self.wires[who]) * share) + 1
        read = bytes(self.wires[who][:count])
        del self.wires[who][:count]
        for event in self.ends[who].receive_data(read):
            if isinstance(event, StreamOpened):
                self._send(who, self.ends[who].reply(event.stream_id))
            elif isinstance(event, PingReceived):
                self._send(who, self.ends[who].pong(event.ping_id))
            elif isinstance(event, DataReceived):
                self.got.setdefault((1 - who, event.stream_id), bytearray()).extend(event.data)
            else:
                assert isinstance(event, StreamReplied | PongReceived), event

    @invariant()
    def data_arrives_in_order(self) -> None:
        for key, got in self.got.items():
            assert self.sent.get(key, bytearray()).startswith(got)

    def teardown(self) -> None:
        while self.wires[0] or self.wires[1]:
            self.deliver(0, 1.0)
            self.deliver(1, 1.0)
        for key, sent in self.sent.items():
            assert self.got.get(key, bytearray()) == sent
        assert self.ends[0]._streams.keys() == self.ends[1]._streams.keys()
        for who, number in self.finished:
            state = self.ends[1 - who]._streams.get(number)
            assert state is None or not state.receiving


TwoEnds.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestTwoEnds = TwoEnds.TestCase
