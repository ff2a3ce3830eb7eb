"""Fuzz cases of the wire code alone: the SPDY connection and the decoder of WebSocket channels."""

from __future__ import annotations

import contextlib

from criwist.wire.channels import PORT_FORWARD, REMOTE_COMMAND, ChannelDecoder, ChannelError
from criwist.wire.spdy import RemoteProtocolError, SpdyConnection
from tests.fuzz.script import Script


def pieces(script: Script, data: bytes) -> list[bytes]:
    """Cut *data* into reads of one size, 1 to 64 bytes."""
    size = script.number(64) + 1
    return [data[start : start + size] for start in range(0, len(data), size)]


def random_frame(script: Script) -> bytes:
    """Return a control or data frame of SPDY with a valid length and a random payload."""
    kind = script.number(13)
    payload = script.bytes(script.number(48))
    length = len(payload).to_bytes(3, "big")
    if kind == 12:
        return script.number(8).to_bytes(4, "big") + script.bytes(1).ljust(1, b"\0") + length + payload
    return b"\x80\x03\0" + bytes((kind,)) + script.bytes(1).ljust(1, b"\0") + length + payload


def spdy_connection(script: Script) -> None:
    """Feed a SPDY server with a real client's frames and with random ones."""
    client, server = SpdyConnection(server=False), SpdyConnection(server=True, max_streams=4)
    with contextlib.suppress(RemoteProtocolError):
        while not script.over:
            act = script.number(5)
            if act == 0:
                sent = client.open_stream([(b"streamtype", script.bytes(6).replace(b"\0", b""))])[1]
            elif act == 1:
                sent = random_frame(script)
            elif act == 2:
                sent = script.bytes(script.number(64))
            elif act == 3:
                sent = client.ping()
            else:
                sent = client.reset(script.number(16) * 2 + 1, script.number(12))  # type: ignore[arg-type]
            for piece in pieces(script, sent):
                for _ in server.receive_data(piece):
                    pass


def channel_decoder(script: Script) -> None:
    """Feed the decoder of any protocol with random messages, binary and text."""
    protocols = REMOTE_COMMAND + PORT_FORWARD
    decoder = ChannelDecoder(protocols[script.number(len(protocols))])
    with contextlib.suppress(ChannelError):
        while not script.over:
            data: bytes | str = script.bytes(script.number(24))
            if script.number(2):
                data = data.decode("latin-1")  # type: ignore[union-attr]
            list(decoder.receive(data, bool(script.number(2))))
