"""Protocol Buffers framing of messages that are serialized already.

A repeated message field is each item's bytes after a tag and a length, and the concatenated encodings of two messages
of one type are the encoding of their merge.  So a List response can be joined from items that were serialized once,
when they last changed (https://protobuf.dev/programming-guides/encoding/), and cut between two items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number in base 128 at an offset, and the offset behind it."""
    number = shift = 0
    while at < len(message):
        group = message[at]
        number |= (group & 0x7F) << shift
        shift += 7
        at += 1
        if group <= 0x7F:
            return number, at
    raise ValueError("the message ends within a number")
