"""cAdvisor's containerd client: the messages by protobuf's own descriptors, and the three calls.

The descriptors are made here, from the numbers of containerd's API, in a pool of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.harness.client import open_channel
from tests.harness.clock import scaled

_STRING, _BYTES, _UINT32 = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_BYTES,
    FieldDescriptorProto.TYPE_UINT32,
)
_OPTIONAL, _REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED

#: Messages by name: fields by number, each a name and a type, which is a message's name with ``.``.
_MESSAGES: Final[dict[str, dict[int, tuple[str, int | str]]]] = {
    "Empty": {},
    "VersionResponse": {1: ("version", _STRING), 2: ("revision", _STRING)},
    "Runtime": {1: ("name", _STRING)},
    "Any": {1: ("type_url", _STRING), 2: ("value", _BYTES)},
    "Label": {1: ("key", _STRING), 2: ("value", _STRING)},
    "Container": {
        1: ("id", _STRING),
        2: ("labels", "repeated .Label"),
        3: ("image", _STRING),
        4: ("runtime", ".Runtime"),
        5: ("spec", ".Any"),
        6: ("snapshotter", _STRING),
        7: ("snapshot_key", _STRING),
    },
    "GetContainerRequest": {1: ("id", _STRING)},
    "GetContainerResponse": {1: ("container", ".Container")},
    "Process": {1: ("container_id", _STRING), 2: ("id", _STRING), 3: ("pid", _UINT32), 4: ("status", _UINT32)},
    "GetRequest": {1: ("container_id", _STRING), 2: ("exec_id", _STRING)},
    "GetResponse": {1: ("process", ".Process")},
}


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="cadvisor.proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = DescriptorProto(name=name)
        for number, (field, kind) in fields.items():
            one = message.field.add(name=field, number=number, label=_OPTIONAL)
            if isinstance(kind, int):
                one.type = kind  # type: ignore[assignment] # an int of the enum
            else:
                one.type, one.type_name = FieldDescriptorProto.TYPE_MESSAGE, kind.removeprefix("repeated ")
                one.label = _REPEATED if kind.startswith("repeated") else _OPTIONAL
        file.message_type.append(message)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(name)) for name in _MESSAGES}


#: Classes of messages by name.
MESSAGES: Final = _classes()
_SERVICES: Final = "/containerd.services"
KUBERNETES: Final = (("containerd-namespace", "k8s.io"),)


class Cadvisor:
    """Asks on a socket as cAdvisor does."""

    def __init__(self, socket: Path) -> None:
        self.channel = open_channel(socket)

    def __enter__(self) -> Cadvisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, path: str, request: Any, response: str, namespace: tuple[Any, ...] = KUBERNETES) -> Any:
        """Make a unary call; return the response."""
        method = self.channel.unary_unary(
            f"{_SERVICES}.{path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[response].FromString,
        )
        return method(request, metadata=namespace, timeout=scaled(20))

    def version(self) -> Any:
        """Version/Version."""
        return self.call("version.v1.Version/Version", MESSAGES["Empty"](), "VersionResponse")

    def container(self, identifier: str, namespace: tuple[Any, ...] = KUBERNETES) -> Any:
        """Containers/Get."""
        request = MESSAGES["GetContainerRequest"](id=identifier)
        return self.call("containers.v1.Containers/Get", request, "GetContainerResponse", namespace).container

    def labels(self, identifier: str) -> dict[str, str]:
        """Return the labels in Containers/Get."""
        return {label.key: label.value for label in self.container(identifier).labels}

    def task(self, identifier: str, namespace: tuple[Any, ...] = KUBERNETES) -> Any:
        """Tasks/Get."""
        request = MESSAGES["GetRequest"](container_id=identifier)
        return self.call("tasks.v1.Tasks/Get", request, "GetResponse", namespace).process


def code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status code of a failed call."""
    status: grpc.StatusCode = error.code()
    return status
