"""A container that only the engine's list shows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.translate.list_entry import as_inspected
from criwist.translate.status import container_item, container_status

LISTED: dict[str, Any] = {
    "Id": "c" * 64,
    "Names": ["/k8s_main_pod_default_uid_0"],
    "Image": "busybox:1",
    "ImageID": "sha256:" + "1" * 64,
    "Created": 1700000000,
    "Labels": {"io.kubernetes.docker.type": "container", "io.kubernetes.sandbox.id": "p" * 64, "app": "x"},
    "State": "exited",
    "Status": "Exited (137) 5 minutes ago",
    "HostConfig": {"NetworkMode": "container:" + "p" * 64},
    "Mounts": [],
}


def test_what_a_list_tells_is_shown() -> None:
    """Identity, labels, image, creation, and the exit code from the text for people are in the result."""
    status = container_status(as_inspected(LISTED))
    assert status.id == "c" * 64
    assert (status.metadata.name, status.image.image) == ("main", "busybox:1")
    assert dict(status.labels) == {"app": "x"}
    assert status.created_at == 1700000000 * 10**9
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 137, "Error")
    assert container_item(as_inspected(LISTED)).pod_sandbox_id == "p" * 64


def test_an_end_that_nobody_saw_is_unknown() -> None:
    """A container that is dead, or has exited without a code, is unknown instead of completed."""
    for state, words in (("dead", "Dead"), ("removing", "Removal In Progress"), ("exited", "?"), ("new word", "")):
        status = container_status(as_inspected(LISTED | {"State": state, "Status": words}))
        assert (status.state, status.reason) == (pb.CONTAINER_UNKNOWN, ""), state


def test_those_that_run_do() -> None:
    """For running, paused and created containers the status alone is enough."""
    states = {"running": pb.CONTAINER_RUNNING, "paused": pb.CONTAINER_RUNNING, "created": pb.CONTAINER_CREATED}
    for state, expected in states.items():
        assert container_status(as_inspected(LISTED | {"State": state})).state == expected


_SCRAP = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from(sorted(LISTED)), _SCRAP))
def test_strange_lists_are_read(strange: dict[str, Any]) -> None:
    """Every item of a list is read without an error."""
    assert as_inspected(LISTED | strange)["State"]["Status"]
