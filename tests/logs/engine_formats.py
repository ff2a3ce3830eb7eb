"""Entries as Docker's log drivers write them, encoded independently of the decoders that they test."""

from __future__ import annotations

from typing import NamedTuple

from criwist.wire.crilog import Line, encode, time_text

_NAMED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_HIDDEN = "<>&\u2028\u2029"


class Piece(NamedTuple):
    """One message of Docker's copier to a driver: up to 16 KiB, ended by a newline or not."""

    moment: int
    stream: bytes
    content: bytes
    ended: bool = True

    @property
    def line(self) -> bytes:
        """The CRI line to which it has to be converted."""
        return encode(Line(time_text(self.moment), self.stream, not self.ended, self.content))


def json_entry(piece: Piece, attributes: str = "") -> bytes:
    """Return an entry of json-file, whose content must be UTF-8; its time has no zeros at the end, as Go writes it."""
    text = piece.content.decode("utf-8") + ("\n" if piece.ended else "")
    log = "".join(_escaped(character) for character in text)
    whole, _, fraction = time_text(piece.moment).decode().rstrip("Z").partition(".")
    fraction = fraction.rstrip("0")
    time = f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
    extra = f',"attrs":{attributes}' if attributes else ""
    return f'{{"log":"{log}","stream":"{piece.stream.decode()}"{extra},"time":"{time}"}}\n'.encode()


def _escaped(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character < " " or character in _HIDDEN:
        return f"\\u{ord(character):04x}"
    return character


def local_entry(piece: Piece, *, number: int = 0) -> bytes:
    """Return an entry of local.

    :param number: of a piece of a line that was cut, from 1 on; engines up to 20.10 at least drop the newline of the
        last piece.
    """
    message = b"\n\x06" + piece.stream + b"\x10" + _varint(piece.moment)
    if piece.content:
        message += b"\x1a" + _varint(len(piece.content)) + piece.content
    if number or not piece.ended:
        message += b"\x20\x01" + b"\x2a\x44\x12\x40" + b"f" * 64 + b"\x18" + _varint(number or 1)
    length = len(message).to_bytes(4, "big")
    return length + message + length


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
