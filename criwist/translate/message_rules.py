"""Rules for every CRI request, of any type.

One walk over the set fields of a message, guided by its descriptor and so valid for fields that are added later:

* no NUL in any string: it would end the string early where the kernel reads it, so that the string in use is not the
  one that was checked;
* no string longer than ``MAX_STRING``;
* no unknown enum value: proto3 enums are open, and an unknown value would silently act as the default;
* nothing for Windows, which Docker Engine on Linux cannot do.

There is no check for invalid UTF-8: protobuf refuses to parse it.  Absent fields pass here; ``request_rules`` has the
fields that each request needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from criwist.errors import InvalidArgument

#: Longest string, and longest bytes value, in bytes.  Kubernetes keeps no object larger than about 1.5 MiB and no
#: ConfigMap or Secret larger than 1 MiB, so nothing longer comes from a pod specification.  A longer value is refused,
#: because Docker and criwist would both hold it in memory for as long as the container exists.
MAX_STRING = 1024 * 1024
#: Longest quotation of the caller's input in an error: the text travels in a gRPC trailer, and a trailer over
#: 8 KiB makes clients report the size instead of the error.
_MAX_QUOTED = 80


def check_message(message: Message, path: str = "") -> None:
    """Refuse a message that breaks a rule of this module.

    :param path: the field path of *message* itself, ``""`` for a whole request.
    :raises InvalidArgument: with the path of the first wrong field, ``config.mounts[1].host_path``.
    """
    for field, value in message.ListFields():
        check = _checks(field)
        if check is None:
            continue
        where = f"{path}.{field.name}" if path else field.name
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            _check_map(entry, value, where)
        elif isinstance(value, (str, bytes, int, Message)):
            check(value, where)
        else:
            for index, item in enumerate(value):
                check(item, f"{where}[{index}]")


def quoted(value: object) -> str:
    """Return a value as errors show it: escaped, and cut if it is long."""
    text = ascii(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def check_text(value: str | bytes, path: str, *, limit: int = MAX_STRING) -> None:
    """Refuse a string with a NUL in it, or longer than *limit* bytes."""
    raw = value.encode() if isinstance(value, str) else value
    if len(raw) > limit:
        raise InvalidArgument(path, f"is {len(raw)} bytes long, more than the {limit} allowed")
    if b"\0" in raw:
        raise InvalidArgument(path, f"must not contain NUL: {quoted(value)}")


def _checks(field: FieldDescriptor) -> Callable[[Any, str], None] | None:
    """The check for a single value of *field*; None if every value of its type is valid."""
    if field.message_type is not None:
        return _refuse_windows if field.message_type.name.startswith("Windows") else check_message
    if field.enum_type is not None:
        enum = field.enum_type
        return lambda value, path: _check_enum(enum, value, path)
    return check_text if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES) else None


def _check_map(entry: Descriptor, values: Any, path: str) -> None:
    key_check, value_check = (_checks(entry.fields_by_name[name]) for name in ("key", "value"))
    for key in values:
        where = f"{path}[{quoted(key)}]"
        if key_check is not None:  # pragma: no branch - keys of the CRI's maps are strings
            key_check(key, where)
        if value_check is not None:  # pragma: no branch - values of the CRI's maps are strings
            value_check(values[key], where)


def _check_enum(enum: EnumDescriptor, value: int, path: str) -> None:
    if value not in enum.values_by_number:
        raise InvalidArgument(path, f"{value} is not a value of {enum.name}, which has {_known(enum)}")


def _known(enum: EnumDescriptor) -> str:
    """All values of an enum, or the first and last ones if it has too many to read."""
    names = [f"{value.name} ({value.number})" for value in enum.values]
    return ", ".join(_shortened(names))


def _shortened(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return listed if len(listed) <= 8 else [listed[0], "…", listed[-1]]


def _refuse_windows(_: Message, path: str) -> None:
    raise InvalidArgument(path, "is for Windows, and this node's containers run on Linux")
