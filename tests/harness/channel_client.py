"""A client of the WebSocket channel protocols, over the ``websocket`` package that the Python client uses too."""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections import defaultdict

import websocket

from tests.harness.clock import scaled

_CLOSE = 255


class ChannelClient:
    """A connection to the URL of an exec, an attach or a port-forward, after the handshake.

    :param offered: sub-protocols.
    :param tls: for https.
    """

    def __init__(self, url: str, *offered: str, query: str = "", tls: ssl.SSLContext | None = None) -> None:
        address = url.replace("http", "ws", 1) + query
        self.socket = websocket.create_connection(
            address, subprotocols=list(offered) or None, timeout=scaled(60), sslopt={"context": tls} if tls else None
        )
        #: What the server has chosen.
        self.chosen: str | None = self.socket.getsubprotocol()
        self._base64 = "base64" in (self.chosen or "")
        #: By channel, all that has come.
        self.received: dict[int, bytearray] = defaultdict(bytearray)

    def send(self, channel: int, data: bytes) -> None:
        """Send a message."""
        if self._base64:
            self.socket.send(f"{channel}{b64encode(data).decode()}")
        else:
            self.socket.send_binary(bytes((channel,)) + data)

    def close_channel(self, channel: int) -> None:
        """End our direction of a channel (v5)."""
        self.socket.send_binary(bytes((_CLOSE, channel)))

    def receive(self) -> bool:
        """Receive a message; False: the server has closed."""
        opcode, data = self.socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return False
        if self._base64:
            self.received[data[0] - ord("0")] += b64decode(data[1:], validate=True)
        else:
            self.received[data[0]] += data[1:]
        return True

    def receive_until(self, channel: int, end: bytes) -> None:
        """Receive until what has come on a channel ends so."""
        while not self.received[channel].endswith(end):
            if not self.receive():
                raise RuntimeError(f"the server closed; {dict(self.received)}")

    def receive_all(self) -> None:
        """Receive until the server closes."""
        while self.receive():
            pass

    def close(self) -> None:
        """Close without a handshake."""
        self.socket.shutdown()  # type: ignore[no-untyped-call]
