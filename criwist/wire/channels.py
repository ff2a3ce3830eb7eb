"""The Kubernetes channel protocols: several byte streams inside the messages of one WebSocket.

A message is a channel and a payload.  In the binary protocols the channel is the message's first byte and the payload
the rest; in the ``base64`` ones the channel is the character ``'0' + channel`` and the payload base64.  In
``v5.channel.k8s.io`` the message ``255, channel`` closes a channel; older ones cannot signal the end of a stream.
Remote commands have five channels with fixed numbers; a port-forward has two for each port, by its position.

The decoder yields payload as it arrives, so that a long message in many fragments needs no buffer.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from attrs import define, field, frozen


class RemoteChannel(IntEnum):
    """Channels of exec and attach."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    #: The Status document, or in the oldest protocols error text.
    ERROR = 3
    #: ``{"Width":80,"Height":24}``, one document a message.
    RESIZE = 4


#: Followed by a channel number it closes that channel (v5).
CLOSE: Final = 255
_ZERO: Final = ord("0")


@frozen
class Subprotocol:
    """One of the protocols.

    :param name: as in Sec-WebSocket-Protocol; ``""`` for clients that name none.
    """

    name: str
    base64: bool = False
    #: Channels can be closed one by one (v5).
    closes: bool = False
    #: The error channel ends with a Status document (v4, v5), not with text.
    status: bool = True
    #: The server begins with an empty message on each of its channels, which shows a client that they are open.
    announces: bool = True


V5: Final = Subprotocol("v5.channel.k8s.io", closes=True, announces=False)
V4: Final = Subprotocol("v4.channel.k8s.io")
V4_BASE64: Final = Subprotocol("v4.base64.channel.k8s.io", base64=True)
V1: Final = Subprotocol("channel.k8s.io", status=False)
V1_BASE64: Final = Subprotocol("base64.channel.k8s.io", base64=True, status=False)
UNNAMED: Final = Subprotocol("", status=False)

#: For exec and attach, best first.
REMOTE_COMMAND: Final = (V5, V4, V4_BASE64, V1, V1_BASE64)
#: For port-forward.
PORT_FORWARD: Final = (
    V4,
    V4_BASE64,
    Subprotocol("portforward.k8s.io", status=False),
    Subprotocol("base64.portforward.k8s.io", base64=True, status=False),
)


def choose(offered: Sequence[str], known: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the best of *known* that the client offers; :data:`UNNAMED` if it offers none; None if none is known."""
    if not offered:
        return UNNAMED
    return next((one for one in known if one.name in offered), None)


class ChannelError(ValueError):
    """A message that the protocol does not allow."""


class ChannelData(NamedTuple):
    """Payload for a channel: that of a whole message, or a part of it."""

    channel: int
    data: bytes | memoryview
    #: The message ends with this payload.
    last: bool


class ChannelClosed(NamedTuple):
    """The client has closed a channel."""

    channel: int


@define(eq=False)
class ChannelDecoder:
    """Reads the messages of one connection."""

    subprotocol: Subprotocol
    #: The channel of the current message; None at its beginning.
    _channel: int | None = field(default=None, init=False)
    #: Base64 characters that do not make a group of four yet.
    _rest: bytes = field(default=b"", init=False)

    def receive(self, data: bytes | str, last: bool) -> Iterator[ChannelData | ChannelClosed]:
        """Yield the events of a message, or of a fragment of one.

        :param last: the message ends with it.
        :raises ChannelError: characters that are not base64, or a close of more than one channel.
        """
        raw = data.encode() if isinstance(data, str) else data
        if self._channel is None and raw:
            self._channel = raw[0] - _ZERO if self.subprotocol.base64 else raw[0]
            raw = memoryview(raw)[1:]  # type: ignore[assignment]  # read alike, and not copied
        channel = self._channel
        if last:
            self._channel = None
        if channel is None:
            return
        if self.subprotocol.closes and channel == CLOSE:
            yield from self._closed(raw, last)
        elif self.subprotocol.base64:
            yield ChannelData(channel, self._decode(raw, last), last)
        else:
            yield ChannelData(channel, raw, last)

    def _closed(self, raw: bytes, last: bool) -> Iterator[ChannelClosed]:
        self._rest += bytes(raw[:2])
        if len(self._rest) > 1:
            raise ChannelError("a close message names one channel")
        if last and self._rest:
            yield ChannelClosed(self._rest[0])
        if last:
            self._rest = b""

    def _decode(self, raw: bytes, last: bool) -> bytes:
        characters = self._rest + bytes(raw)
        whole = len(characters) if last else len(characters) & ~3
        self._rest = characters[whole:]
        try:
            return binascii.a2b_base64(characters[:whole], strict_mode=True)
        except binascii.Error as error:
            raise ChannelError(f"payload is not base64: {error}") from error


def message(subprotocol: Subprotocol, channel: int, payload: Sequence[bytes | memoryview] = ()) -> bytes | str:
    """Return one message: text in the base64 protocols, bytes in the others."""
    if subprotocol.base64:
        return chr(_ZERO + channel) + b64encode(b"".join(payload)).decode("ascii")
    return b"".join([bytes((channel,)), *payload])


def close_message(channel: int) -> bytes:
    """Return the message that closes a channel (v5)."""
    return bytes((CLOSE, channel))
