"""Protocol Buffers framing of messages that are serialized already.

A repeated message field is each item's bytes after a tag and a length, and the concatenated encodings of two messages
of one type are the encoding of their merge.  So a List response can be joined from items that were serialized once,
when they last changed (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """Return *number*, 0 or more, in base 128, least significant group first."""
    if number < 0:
        raise ValueError(f"cannot be a varint: {number}")
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def message_field(number: int, message: bytes) -> bytes:
    """Return field *number* of message type with the serialized *message*."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(message)) + message


def repeated_field(number: int, messages: Iterable[bytes]) -> bytes:
    """Return field *number*, repeated, with the serialized *messages* in order."""
    tag = varint(number << 3 | _LENGTH_DELIMITED)
    return b"".join(part for message in messages for part in (tag, varint(len(message)), message))
