"""The messages of containerd's API agree with protobuf's own serialization."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criwist.wire import containerd
from tests.harness.cadvisor import MESSAGES

_TEXT = st.text(max_size=80)


@given(_TEXT, _TEXT)
def test_requested_id(identifier: str, exec_id: str) -> None:
    """The id of both requests is read, whatever follows it."""
    request = MESSAGES["GetRequest"](container_id=identifier, exec_id=exec_id)
    assert containerd.requested_id(request.SerializeToString()) == identifier


@given(st.binary(max_size=60))
def test_any_request(request: bytes) -> None:
    """Bytes that are no request raise ValueError, and nothing else."""
    with contextlib.suppress(ValueError):
        containerd.requested_id(request)


@pytest.mark.parametrize("request_", [b"\x08\x01", b"\x0a\x02a", b"\x0a", b"\x0b", b"\x0a\x01\xff", b"\xff" * 11])
def test_wrong_requests(request_: bytes) -> None:
    """A number for an id, a message that is cut off, a group, and text that is not UTF-8 are refused."""
    with pytest.raises(ValueError, match=r"\w"):
        containerd.requested_id(request_)


def test_unknown_fields_are_skipped() -> None:
    """Fields of every wire type that a newer client may send are skipped."""
    assert containerd.requested_id(b"\x18\x96\x01\x21abcdefgh\x2dabcd\x0a\x01x") == "x"


def test_version() -> None:
    """The version and the revision arrive."""
    response = MESSAGES["VersionResponse"].FromString(containerd.version_response("1", "r"))
    assert (response.version, response.revision) == ("1", "r")


@given(_TEXT, st.dictionaries(_TEXT, _TEXT, max_size=8), _TEXT, _TEXT)
def test_container(identifier: str, labels: dict[str, str], image: str, runtime: str) -> None:
    """A container arrives, with a runtime and a spec with a process, whatever else is empty."""
    response = containerd.container_response(identifier, labels, image=image, runtime=runtime)
    container = MESSAGES["GetContainerResponse"].FromString(response).container
    assert (container.id, container.image, container.runtime.name) == (identifier, image, runtime)
    assert {label.key: label.value for label in container.labels} == labels
    assert container.HasField("runtime")
    assert json.loads(container.spec.value) == {"process": {}}


@given(_TEXT, st.integers(1, 2**22))
def test_task(identifier: str, pid: int) -> None:
    """A running task arrives with its pid."""
    process = MESSAGES["GetResponse"].FromString(containerd.task_response(identifier, pid)).process
    assert (process.container_id, process.pid, process.status) == (identifier, pid, 2)
