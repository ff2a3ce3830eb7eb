"""Every request is translated, or refused with one of criwist's errors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import CriwistError
from criwist.interfaces.engine import EngineFacts
from tests.translate.outcomes import (
    NEWEST,
    OLDEST,
    container_outcome,
    minimal_container,
    minimal_sandbox,
    sandbox_outcome,
)

#: Strings that mean something somewhere.
_WORDS = (
    "", "x", "/", "/a", "/a/b", "..", "a:b", "ALL", "NET_ADMIN", "alice", "1003", "runtime/default", "unconfined",
    "localhost/", "localhost//p.json", "localhost/profile", "rwm", "r", "max", "100", "2MB", "1GB", "memory.high",
    "pids.max", "memory.swap.max", "é", "KEY", "busybox", "\n",
)  # fmt: skip
_TEXT = st.sampled_from(_WORDS) | st.text(max_size=8)
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


#: Fields whose rules are those of ``requests``, and which would have most requests refused before the translation.
_LEFT_OUT = frozenset({"metadata", "image", "working_dir", "log_path", "log_directory", "hostname"})


def messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments for any message of this type, most of whose fields are absent."""
    fields = {
        field.name: _field(field)
        for field in descriptor.fields
        if field.name not in _LEFT_OUT and (field.message_type is None or "Windows" not in field.message_type.name)
    }
    return st.fixed_dictionaries({}, optional=fields)


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return st.dictionaries(_TEXT, _TEXT, max_size=2)
    one = _scalar(field) if inner is None else st.deferred(lambda: messages(inner))
    return st.lists(one, max_size=2) if field.is_repeated else one


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values]) | st.integers(0, 70)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=4)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _TEXT
    low, high = _NUMBERS[field.cpp_type]
    return st.integers(max(low, -2), min(high, 5000)) | st.integers(low, high)


_ENGINES = st.sampled_from([NEWEST, OLDEST])
_SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_SETTINGS
@given(messages(pb.PodSandboxConfig.DESCRIPTOR), _ENGINES)  # type: ignore[arg-type]
def test_any_sandbox_is_made_or_refused(fields: dict[str, Any], engine: EngineFacts) -> None:
    """Every PodSandboxConfig becomes a body for JSON, or is refused with one of criwist's errors."""
    config = minimal_sandbox()
    config.MergeFrom(pb.PodSandboxConfig(**fields))
    with suppress(CriwistError):
        sandbox_outcome(config, engine)


@_SETTINGS
@given(messages(pb.ContainerConfig.DESCRIPTOR), messages(pb.LinuxPodSandboxConfig.DESCRIPTOR), _ENGINES)  # type: ignore[arg-type]
def test_any_container_is_made_or_refused(
    fields: dict[str, Any], sandbox_fields: dict[str, Any], engine: EngineFacts
) -> None:
    """Every ContainerConfig in any sandbox becomes a body for JSON, or is refused with one of criwist's errors."""
    config, sandbox_config = minimal_container(), minimal_sandbox()
    config.MergeFrom(pb.ContainerConfig(**fields))
    sandbox_config.linux.MergeFrom(pb.LinuxPodSandboxConfig(**sandbox_fields))
    with suppress(CriwistError):
        container_outcome(config, sandbox_config, engine)
