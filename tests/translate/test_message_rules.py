"""Rules for every CRI message: ``criwist.translate.message_rules``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.translate.message_rules import MAX_STRING, check_message, quoted

REQUESTS = {method.input_type.name for service in pb.DESCRIPTOR.services_by_name.values() for method in service.methods}


def _problem(message: Message, path: str = "") -> InvalidArgument:
    try:
        check_message(message, path)
    except InvalidArgument as error:
        return error
    raise AssertionError(f"passed: {message}")


class StringTests(SynchronousTestCase):
    """Strings with a NUL, and strings that are too long."""

    def test_nul(self) -> None:
        """A NUL is refused, and the error names the field by its whole path."""
        request = pb.CreateContainerRequest(config=pb.ContainerConfig(mounts=[pb.Mount(), pb.Mount(host_path="/a\0b")]))
        error = _problem(request)
        self.assertEqual(error.field, "config.mounts[1].host_path")
        self.assertIn("NUL", error.problem)

    def test_nul_in_bytes(self) -> None:
        """A NUL is refused in the value of an environment variable, which is bytes."""
        error = _problem(pb.ContainerConfig(envs=[pb.KeyValue(key="A", value=b"x\0")]))
        self.assertEqual(error.field, "envs[0].value")

    def test_repeated_strings(self) -> None:
        """Items of a list of strings are checked, and named by index."""
        self.assertEqual(_problem(pb.ExecSyncRequest(cmd=["a", "b\0"])).field, "cmd[1]")

    def test_map(self) -> None:
        """Keys and values of maps are checked, and named by key."""
        self.assertEqual(_problem(pb.PodSandboxConfig(labels={"a": "b\0"})).field, "labels['a']")
        self.assertEqual(_problem(pb.PodSandboxConfig(labels={"a\0": "b"})).field, r"labels['a\x00']")

    def test_longest(self) -> None:
        """A string of the longest length passes, one byte more does not; bytes count, not characters."""
        check_message(pb.ImageSpec(image="é" * (MAX_STRING // 2)))
        error = _problem(pb.ImageSpec(image="é" * (MAX_STRING // 2) + "a"))
        self.assertIn(f"{MAX_STRING + 1} bytes", error.problem)

    def test_path_of_the_message(self) -> None:
        """The path of the message comes before the names of its fields."""
        self.assertEqual(_problem(pb.ImageSpec(image="\0"), "config.image").field, "config.image.image")

    def test_error_stays_short(self) -> None:
        """However long the quoted value, the error fits a gRPC trailer."""
        self.assertLess(len(str(_problem(pb.PodSandboxConfig(labels={"k" * 100_000: "\0"})))), 500)
        self.assertEqual(quoted("short"), "'short'")


class EnumTests(SynchronousTestCase):
    """Unknown enum values."""

    def test_unknown(self) -> None:
        """An unknown value is refused, and the error lists the known ones."""
        options = pb.NamespaceOption()
        options.pid = 7  # type: ignore[assignment]
        error = _problem(pb.LinuxSandboxSecurityContext(namespace_options=options))
        self.assertEqual(error.field, "namespace_options.pid")
        self.assertIn("7", error.problem)
        self.assertIn("TARGET (3)", error.problem)

    def test_long_enum(self) -> None:
        """Of an enum with many values the error gives the first and the last."""
        error = _problem(pb.ContainerConfig(stop_signal=66))  # type: ignore[arg-type]
        self.assertIn("SIGNAL_RUNTIME_DEFAULT (0), …, SIGNAL_SIGRTMAX (65)", error.problem)

    def test_known(self) -> None:
        """Every known value passes."""
        for value in pb.Signal.values():
            check_message(pb.ContainerConfig(stop_signal=value))  # type: ignore[arg-type]


class WindowsTests(SynchronousTestCase):
    """Sections for Windows."""

    def test_refused(self) -> None:
        """A section for Windows is refused, even an empty one."""
        for message in (
            pb.PodSandboxConfig(windows=pb.WindowsPodSandboxConfig()),
            pb.ContainerConfig(windows=pb.WindowsContainerConfig()),
            pb.UpdateContainerResourcesRequest(windows=pb.WindowsContainerResources()),
        ):
            error = _problem(message)
            self.assertEqual(error.field, "windows")
            self.assertIn("Linux", error.problem)


def _strings(message: Descriptor, path: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Paths to all string and bytes fields beneath a message, those for Windows excepted."""
    for field in message.fields:
        here = (*path, field)
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            yield here
        elif field.message_type is not None and not field.message_type.name.startswith("Windows"):
            if field.message_type.GetOptions().map_entry:
                yield here
            else:
                yield from _strings(field.message_type, here)


def _with_nul(name: str, path: tuple[FieldDescriptor, ...]) -> Message:
    request: Message = getattr(pb, name)()
    inner = request
    for field in path[:-1]:
        value = getattr(inner, field.name)
        if hasattr(value, "add"):
            inner = value.add()
        else:
            value.SetInParent()
            inner = value
    last = path[-1]
    value = getattr(inner, last.name)
    nul: str | bytes = b"\0" if last.type == FieldDescriptor.TYPE_BYTES else "\0"
    if last.message_type is not None:
        value["key"] = nul
    elif hasattr(value, "append"):
        value.append(nul)
    else:
        setattr(inner, last.name, nul)
    return request


def test_no_string_of_any_request_may_hold_a_nul() -> None:
    """A NUL in any string of any request is refused, and the error ends in that field's name."""
    seen = 0
    for name in sorted(REQUESTS):
        for path in _strings(getattr(pb, name).DESCRIPTOR):
            error = _problem(_with_nul(name, path))
            assert path[-1].name in error.field.rpartition(".")[2], (name, error.field)
            seen += 1
    assert seen > 250


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=200))
def test_any_parsable_request_is_judged(name: str, data: bytes) -> None:
    """All bytes that parse as a request are accepted or give InvalidArgument."""
    with contextlib.suppress(DecodeError, InvalidArgument):
        check_message(getattr(pb, name).FromString(data))
