"""Every leaf field of a message type, with legal values to set it to.

A leaf is a field that holds no message, or a map.  In a list of messages it is a field of the first one, which is added
if the message has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


@frozen
class Leaf:
    """One field and one value for it."""

    #: ``linux.sysctls``, ``mounts[].readonly``.
    path: str
    value: Any
    #: The value as tests name it: an enum's by its name.
    shown: str

    def set_in(self, message: Message) -> None:
        """Set the field in *message*, making the messages on the way."""
        *way, name = self.path.split(".")
        for step in way:
            inner = getattr(message, step.removesuffix("[]"))
            if step.endswith("[]"):
                message = inner[0] if inner else inner.add()
            else:
                inner.SetInParent()
                message = inner
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.message_type is not None:
            getattr(message, name).clear()
            getattr(message, name).update(self.value)
        elif field.is_repeated:
            getattr(message, name)[:] = self.value
        else:
            setattr(message, name, self.value)


def leaves(descriptor: Descriptor, values: Mapping[str, Sequence[Any]], path: str = "") -> Iterator[Leaf]:
    """Yield every leaf field of *descriptor*, except those for Windows, once for each of its values.

    :param values: for fields whose type alone does not make a legal value, by path.  Enums have all their values,
        booleans are set, numbers are 7 and strings ``x``.
    """
    for field in descriptor.fields:
        where = f"{path}{field.name}"
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry:
            for value in values.get(where) or _values(field):
                yield Leaf(where, value, _shown(field, value))
        elif not inner.name.startswith("Windows"):
            yield from leaves(inner, values, f"{where}[]." if field.is_repeated else f"{where}.")


def _values(field: FieldDescriptor) -> Sequence[Any]:
    if field.message_type is not None:
        return ({"key": "value"},)
    if field.enum_type is not None:
        return [value.number for value in field.enum_type.values]
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return (True,)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        one: Any = b"x" if field.type == FieldDescriptor.TYPE_BYTES else "x"
    else:
        one = 7
    return ([one],) if field.is_repeated else (one,)


def _shown(field: FieldDescriptor, value: Any) -> str:
    return str(field.enum_type.values_by_number[value].name) if field.enum_type is not None else str(value)
