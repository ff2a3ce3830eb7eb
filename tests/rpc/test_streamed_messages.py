"""The messages of streamed lists agree with those of the unary ones, which ``streamed`` relies on."""

from __future__ import annotations

from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as pb

#: The List RPC of each streamed one.
UNARY = {
    "StreamPodSandboxes": "ListPodSandbox",
    "StreamContainers": "ListContainers",
    "StreamContainerStats": "ListContainerStats",
    "StreamPodSandboxStats": "ListPodSandboxStats",
    "StreamPodSandboxMetrics": "ListPodSandboxMetrics",
    "StreamImages": "ListImages",
}
METHODS: dict[str, Any] = {
    method.name: method for service in pb.DESCRIPTOR.services_by_name.values() for method in service.methods
}


def test_every_streamed_list_is_here() -> None:
    """The table has every streaming list of the CRI."""
    assert {name for name in METHODS if name.startswith("Stream")} == set(UNARY)


@pytest.mark.parametrize(("streaming", "unary"), UNARY.items())
def test_requests_agree(streaming: str, unary: str) -> None:
    """The request of a streamed list has the fields of the unary one."""
    requests = [METHODS[name].input_type for name in (streaming, unary)]
    fields = [[(field.name, field.number, field.message_type) for field in request.fields] for request in requests]
    assert fields[0] == fields[1]


@pytest.mark.parametrize(("streaming", "unary"), UNARY.items())
def test_items_agree(streaming: str, unary: str) -> None:
    """Both responses have the items in field 1, and nothing else."""
    responses = [METHODS[name].output_type for name in (streaming, unary)]
    items = [[(field.number, field.message_type) for field in response.fields] for response in responses]
    assert items[0] == items[1]
    assert [number for number, _ in items[0]] == [1]
