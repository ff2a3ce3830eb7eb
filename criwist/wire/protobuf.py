"""Protocol Buffers framing: of messages that are serialized already, and of small messages without a .proto.

A repeated message field is each item's bytes after a tag and a length, and the concatenated encodings of two messages
of one type are the encoding of their merge.  So a List response can be joined from items that were serialized once,
when they last changed (https://protobuf.dev/programming-guides/encoding/), and cut between two items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
#: A varint of 64 bits has at most so many bytes.
_MAX_VARINT = 10


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


def text_field(number: int, text: str) -> bytes:
    """Return field *number* of string type; nothing for ``""``, which is the default."""
    return message_field(number, text.encode("utf-8")) if text else b""


def number_field(number: int, value: int) -> bytes:
    """Return field *number* of an unsigned or enum type; nothing for 0, which is the default."""
    return varint(number << 3 | _VARINT) + varint(value) if value else b""


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a serialized message: the number, and an int for a varint, else bytes.

    :raises ValueError: the message is cut off, or has a group or another wire type that proto3 does not use.
    """
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
            yield number, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, position = _read_varint(message, position)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"field {number} has wire type {wire_type}")
        if position + size > len(message):
            raise ValueError(f"field {number} is cut off")
        yield number, message[position : position + size]
        position += size


def chunks(number: int, message: bytes, limit: int) -> Iterator[bytes]:
    """Cut a serialized message that has field *number*, repeated, and no other field; nothing for an empty one.

    Each chunk is such a message with the next items.

    :param limit: greatest bytes of a chunk; an item that is larger has a chunk of its own.
    :raises ValueError: the message has other fields, or ends within an item.
    """
    tag = varint(number << 3 | _LENGTH_DELIMITED)
    begin = end = 0
    while end < len(message):
        if not message.startswith(tag, end):
            raise ValueError(f"a field other than {number} at byte {end}")
        size, item = _read_varint(message, end + len(tag))
        after = item + size
        if after > len(message):
            raise ValueError(f"the item at byte {end} ends beyond the message")
        if after - begin > limit and end > begin:
            yield message[begin:end]
            begin = end
        end = after
    if end > begin:
        yield message[begin:end]


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the varint at *position*, and the position after it."""
    value = 0
    for index, byte in enumerate(message[position : position + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a varint is cut off or too long")
