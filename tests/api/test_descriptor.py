"""The compiled CRI descriptor against the interface's table, and against its own source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2, api_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
PROTO = "criwist/api/runtime/v1/api.proto"
Row = tuple[str, str, str, str, str]


def _compiled() -> FileDescriptorProto:
    return FileDescriptorProto.FromString(api_pb2.DESCRIPTOR.serialized_pb)


def _type_name(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return field.type_name.rpartition(".")[2]
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _field_type(field: FieldDescriptorProto, maps: dict[str, str]) -> str:
    name = _type_name(field)
    if name in maps:
        name = maps[name]
    elif field.label == FieldDescriptorProto.LABEL_REPEATED:
        name = f"repeated {name}"
    return name + (" deprecated" if field.options.deprecated else "")


def _message_rows(message: DescriptorProto) -> Iterator[Row]:
    maps = {
        nested.name: f"map<{','.join(_type_name(field) for field in nested.field)}>"
        for nested in message.nested_type
        if nested.options.map_entry
    }
    for field in message.field:
        yield "field", message.name, field.name, str(field.number), _field_type(field, maps)
    if not message.field:
        yield "message", message.name, "", "", ""
    for enum in message.enum_type:
        yield from _enum_rows("nested-enum", f"{message.name}.{enum.name}", enum)
    for nested in message.nested_type:
        if nested.name not in maps:
            yield "nested-message", message.name, nested.name, "", ""


def _enum_rows(kind: str, name: str, enum: EnumDescriptorProto) -> Iterator[Row]:
    for value in enum.value:
        yield kind, name, value.name, str(value.number), ""


def _signature(method: MethodDescriptorProto) -> str:
    takes, gives = (name.rpartition(".")[2] for name in (method.input_type, method.output_type))
    streams = ["stream " if flag else "" for flag in (method.client_streaming, method.server_streaming)]
    return f"{streams[0]}{takes} -> {streams[1]}{gives}"


def compiled_rows() -> list[Row]:
    """The descriptor as rows of the table's form."""
    file = _compiled()
    rows: list[Row] = []
    for message in file.message_type:
        rows += _message_rows(message)
    for enum in file.enum_type:
        rows += _enum_rows("enum", enum.name, enum)
    for service in file.service:
        rows += [("rpc", service.name, method.name, "", _signature(method)) for method in service.method]
    return rows


def table_rows() -> list[Row]:
    """The rows of the interface's table."""
    lines = (Path(__file__).parent / "cri-v1.tsv").read_text("ascii").splitlines()
    rows: list[Row] = []
    for line in lines[1:]:
        kind, of, name, number, type_name = line.split("\t")
        rows.append((kind, of, name, number, type_name))
    return rows


class DescriptorTests(SynchronousTestCase):
    """The compiled descriptor has the whole interface and nothing else."""

    def test_no_row_is_missing(self) -> None:
        """Every message, field, number, type, enum value and RPC of the interface is in the descriptor."""
        self.assertEqual(sorted(set(table_rows()) - set(compiled_rows())), [])

    def test_nothing_is_extra(self) -> None:
        """The descriptor has nothing that the interface lacks, and nothing twice."""
        self.assertEqual(sorted(set(compiled_rows()) - set(table_rows())), [])
        self.assertEqual(len(compiled_rows()), len(table_rows()))

    def test_package(self) -> None:
        """Messages and services are those of ``runtime.v1``, in proto3."""
        file = _compiled()
        self.assertEqual((file.package, file.syntax), ("runtime.v1", "proto3"))


class _MethodNames:
    """A channel that records the methods that a stub requests."""

    def __init__(self) -> None:
        self.unary: list[str] = []
        self.streaming: list[str] = []

    def unary_unary(self, method: str, **_: object) -> None:
        self.unary.append(method)

    def unary_stream(self, method: str, **_: object) -> None:
        self.streaming.append(method)


class StubTests(SynchronousTestCase):
    """The generated gRPC module belongs to the same descriptor."""

    def test_methods(self) -> None:
        """Stubs and servicers know every RPC of the interface, streaming where it streams."""
        channel = _MethodNames()
        expected: dict[bool, list[str]] = {False: [], True: []}
        for _, service, name, _, signature in (row for row in table_rows() if row[0] == "rpc"):
            expected["stream" in signature].append(f"/runtime.v1.{service}/{name}")
            self.assertTrue(callable(getattr(getattr(api_pb2_grpc, f"{service}Servicer"), name)), name)
        api_pb2_grpc.RuntimeServiceStub(channel)
        api_pb2_grpc.ImageServiceStub(channel)
        self.assertEqual(sorted(channel.unary), sorted(expected[False]))
        self.assertEqual(sorted(channel.streaming), sorted(expected[True]))


def _all_messages(messages: Iterable[DescriptorProto]) -> Iterator[DescriptorProto]:
    for message in messages:
        yield message
        yield from _all_messages(message.nested_type)


def test_modules_are_what_protoc_makes(tmp_path: Path) -> None:
    """The committed modules are protoc's output for the committed .proto, for any version of protoc."""
    protoc = pytest.importorskip("grpc_tools.protoc")
    target = tmp_path / "api.binpb"
    assert protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={target}", PROTO]) == 0
    (fresh,) = FileDescriptorSet.FromString(target.read_bytes()).file
    for message in _all_messages(fresh.message_type):
        for field in message.field:
            field.ClearField("json_name")
    assert fresh == _compiled()
