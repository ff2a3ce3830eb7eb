"""Answers of runtimes as fields that can be compared, and the comparison.

A message becomes a mapping of each field that is set (``status.mounts[0].container_path``, ``status.labels[app]``) to
its value as text.  What is another in each run is replaced: variables of the script by ``<name>``, other ids of 64
digits by ``<id>``, addresses by ``<address>``, times by ``<time>``, what was measured by ``<number>``.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.harness.replay_script import CODE, CONTAINERD, CRIWIST, NONE, OK, Script, Step, matches

#: Fields of nanoseconds since the epoch.  0 is shown as it is, and so is what cannot be a time of this run.
_TIMES = frozenset({"created_at", "started_at", "finished_at", "timestamp"})
_DAY = 24 * 3600 * 10**9
#: Messages that hold measurements, and are shown without their values.
_MEASURED = {"UInt64Value": "<number>", "PsiData": "<pressure>"}
_SIZES = frozenset({"size"})
_ID = re.compile(r"[0-9a-f]{64}")
#: Values of variables that are too short to be found in other text by anything but chance.
_TOO_SHORT = 8


@frozen
class Answer:
    """What a runtime answered to a call: its gRPC code, the error's text, and the fields of the response."""

    code: str
    details: str
    fields: Mapping[str, str]

    def get(self, path: str) -> str:
        """The field's value, ``none`` if it is not set."""
        return self.code if path == CODE else self.fields.get(path, NONE)


@frozen
class Names:
    """What values of one run are called in answers."""

    #: A variable's name to its value.
    variables: Mapping[str, str]
    #: The runtime's own directory.
    directory: str

    def replace(self, text: str) -> str:
        """Return the text with the names in place of the values."""
        longest_first = sorted(self.variables.items(), key=lambda item: len(item[1]), reverse=True)
        for name, value in longest_first:
            if len(value) >= _TOO_SHORT:
                text = text.replace(value, f"<{name}>")
        text = _ID.sub("<id>", text.replace(self.directory, "<directory>"))
        return "<address>" if _is_address(text) else text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def fields_of(message: Message, names: Names | None = None, prefix: str = "") -> dict[str, str]:
    """Return all that is set in a message; with *names*, what is another in each run is replaced."""
    found: dict[str, str] = {}
    for descriptor, value in _fields(message):
        path = f"{prefix}.{descriptor.name}" if prefix else descriptor.name
        for place, one in _values(value):
            found |= _field(descriptor, one, names, path + place)
    return found


def _fields(message: Message) -> Iterator[tuple[Any, object]]:
    """The fields that are set, and enumerations, whose first value cannot be told from none."""
    yield from message.ListFields()
    for descriptor in message.DESCRIPTOR.fields:
        if descriptor.enum_type is not None and getattr(message, descriptor.name) == 0:
            yield descriptor, 0


def _values(value: object) -> Iterator[tuple[str, object]]:
    """The values of a field, each with its place in the field."""
    if isinstance(value, Mapping):
        yield from ((f"[{key}]", value[key]) for key in sorted(value))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from ((f"[{index}]", one) for index, one in enumerate(value))
    else:
        yield "", value


def _field(descriptor: FieldDescriptor, value: object, names: Names | None, path: str) -> dict[str, str]:
    if not isinstance(value, Message):
        return {path: _text(descriptor, value, names)}
    kind = value.DESCRIPTOR.name
    if kind == "Int64Value":
        return {path: str(getattr(value, "value", 0))}
    if names is not None and kind in _MEASURED:
        return {path: _MEASURED[kind]}
    return fields_of(value, names, path) or {path: "{}"}


def _text(descriptor: FieldDescriptor, value: object, names: Names | None) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if descriptor.enum_type is not None and isinstance(value, int):
        return str(descriptor.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if names is None:
        return str(value)
    if isinstance(value, int):
        return _number(descriptor.name, value)
    text = str(value)
    if descriptor.name == "info" and _is_json(text):
        return "<json>"
    return names.replace(text).replace("\n", "\\n") or '""'


def _number(name: str, value: int) -> str:
    if name in _TIMES and abs(value - time.time_ns()) < _DAY:
        return "<time>"
    return "<number>" if name in _SIZES and value > 0 else str(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# -- the comparison


@define(eq=False)
class Comparison:
    """The answers of both runtimes to the calls of a script, compared with each other and with the script.

    ``complaints`` is what the script neither expects nor explains.
    """

    script: Script
    complaints: list[str] = field(factory=list, init=False)
    #: Where the differences are explained that there were.
    _seen: set[str] = field(factory=set, init=False)
    #: The last answer to each method, by runtime.
    _earlier: dict[tuple[str, str], Answer] = field(factory=dict, init=False)

    def of(self, criwist: Sequence[Answer], containerd: Sequence[Answer]) -> list[str]:
        """Compare the answers to all steps; returns the complaints."""
        for step, ours, theirs in zip(self.script.steps, criwist, containerd, strict=True):
            for runtime, answer in ((CRIWIST, ours), (CONTAINERD, theirs)):
                expected = self.script.code(step, runtime)
                if answer.code != expected:
                    self._complain(step, f"{runtime} answers {answer.code} ({answer.details}), not {expected}")
                elif answer.code == OK:
                    self._expectations(step, runtime, answer)
                self._earlier[runtime, step.method] = answer
            self._fields(step, ours, theirs)
        for known in self.script.all_differences():
            if known.where not in self._seen and not known.optional:
                self.complaints.append(f"{known.where}: {known.path} differs no longer")
        return self.complaints

    def _complain(self, step: Step, words: str) -> None:
        self.complaints.append(f"{self.script.name}:{step.line}: {step.method}: {words}")

    def _expectations(self, step: Step, runtime: str, answer: Answer) -> None:
        for condition in step.expected:
            known = self.script.difference(step, condition.path) if runtime == CONTAINERD else None
            pattern = known.containerd if known else condition.pattern
            if not matches(pattern, answer.get(condition.path)):
                self._complain(step, f"{condition.path} of {runtime} is {answer.get(condition.path)}, not {pattern}")
        if step.equals:
            items, others = _items(answer), _items(self._earlier[runtime, step.equals])
            if items != others:
                self._complain(step, f"not as {step.equals} on {runtime}: {items} and {others}")

    def _fields(self, step: Step, ours: Answer, theirs: Answer) -> None:
        same_code = ours.code == theirs.code
        for path in sorted({*ours.fields, *theirs.fields}) if same_code else (CODE,):
            values = ours.get(path), theirs.get(path)
            if values[0] == values[1]:
                continue
            known = self.script.difference(step, path)
            if known is None and path == CODE:
                continue  # one of them is unexpected
            if known is None:
                self._complain(step, f"{path} is {values[0]} and {values[1]} (containerd)")
                continue
            self._seen.add(known.where)
            if not (matches(known.criwist, values[0]) and matches(known.containerd, values[1])):
                expected = f"{known.criwist} and {known.containerd}"
                self._complain(step, f"{path} is {values[0]} and {values[1]} (containerd), not {expected}")


def _items(answer: Answer) -> dict[str, str]:
    """The fields without the name of the list, which is another one in each method."""
    return {path[path.index("[") :] if "[" in path else path: value for path, value in answer.fields.items()}
