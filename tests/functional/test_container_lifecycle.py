"""Containers from creation to removal: their states, exit codes and reasons, and the calls that are refused."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused

ABSENT = "f" * 64
#: Ignores SIGTERM.
STUBBORN = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")


@pytest.mark.second_opinion
def test_life_of_a_container(cri: CRI) -> None:
    """A container is CREATED, then RUNNING, then EXITED; its times are in nanoseconds, and 0 before the event."""
    before = time.time_ns()
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("sh", "-c", "sleep 0.2; exit 3"), pod)
    created = cri.status(container_id)
    assert created.state == api.CONTAINER_CREATED
    assert before - 1_000_000_000 <= created.created_at <= time.time_ns()
    assert (created.started_at, created.finished_at) == (0, 0)
    cri.start(container_id)
    running = cri.status(container_id)
    assert running.state == api.CONTAINER_RUNNING
    assert running.created_at <= running.started_at <= time.time_ns()
    assert running.finished_at == 0
    exited = cri.wait_for_exit(container_id)
    assert exited.exit_code == 3
    assert exited.reason == "Error"
    assert exited.created_at == created.created_at
    assert exited.started_at == running.started_at
    assert exited.started_at < exited.finished_at <= time.time_ns()


@pytest.mark.second_opinion
def test_success_is_completed(cri: CRI) -> None:
    """A container that exits with code 0 has the reason Completed."""
    _, container_id = cri.run_in_pod("true")
    status = cri.wait_for_exit(container_id)
    assert (status.exit_code, status.reason) == (0, "Completed")


@pytest.mark.second_opinion
def test_log_is_complete_at_the_end(cri: CRI) -> None:
    """The log is complete when the state is EXITED, even if the container exits during StartContainer."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    for number in range(12):
        config = cri.container("sh", "-c", "echo one; echo two >&2; echo three")
        status = cri.wait_for_exit(cri.run(pod_id, config, pod))
        words = [line.rpartition(" ")[2] for line in Path(status.log_path).read_text().splitlines()]
        assert sorted(words) == ["one", "three", "two"], number


@pytest.mark.second_opinion
def test_unknown_containers_are_not_found(cri: CRI) -> None:
    """ContainerStatus and StartContainer of an unknown container fail with NOT_FOUND."""
    refused(lambda: cri.status(ABSENT), grpc.StatusCode.NOT_FOUND)
    refused(lambda: cri.start(ABSENT), grpc.StatusCode.NOT_FOUND)


@pytest.mark.second_opinion
def test_create_needs_a_sandbox(cri: CRI) -> None:
    """CreateContainer fails in a sandbox that does not exist or was stopped, and leaves no running container."""
    pod = cri.pod()
    refused(lambda: cri.create(ABSENT, cri.container(), pod), grpc.StatusCode.NOT_FOUND)
    pod_id = cri.run_pod(pod)
    cri.stop_pod(pod_id)
    refused(lambda: cri.run(pod_id, cri.container(), pod))
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert cri.container_ids(state=running) == []


@pytest.mark.second_opinion
def test_create_needs_the_image(cri: CRI) -> None:
    """CreateContainer fails with NOT_FOUND if the image is absent, and does not pull it: kubelet pulls images."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    refused(lambda: cri.create(pod_id, cri.container(image="criwist.test/absent:1"), pod), grpc.StatusCode.NOT_FOUND)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_name_is_taken_until_removal(cri: CRI) -> None:
    """A second container of equal metadata is refused while the first exists; the first runs on."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container()
    container_id = cri.run(pod_id, config, pod)
    refused(lambda: cri.create(pod_id, config, pod))
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
    cri.remove(container_id)
    assert cri.run(pod_id, config, pod) != container_id


@pytest.mark.second_opinion
def test_bad_command(cri: CRI) -> None:
    """Starting a missing executable fails with an error that names it; the container does not run."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("/no/such/program"), pod)
    assert "/no/such/program" in refused(lambda: cri.start(container_id))
    assert cri.status(container_id).state in (api.CONTAINER_CREATED, api.CONTAINER_EXITED)
    cri.remove(container_id)


def test_status_after_a_bad_command(cri: CRI) -> None:
    """After a failed start the status is EXITED with ContainerCannotRun, the engine's error text and equal times."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container("/no/such/program"), pod)
    refused(lambda: cri.start(container_id))
    status = cri.status(container_id)
    assert status.state == api.CONTAINER_EXITED
    assert status.reason == "ContainerCannotRun"
    assert "/no/such/program" in status.message
    assert status.exit_code in (127, 128)
    assert status.started_at == status.finished_at == status.created_at


@pytest.mark.second_opinion
def test_removal_is_idempotent(cri: CRI) -> None:
    """Removing a container a second time, or an unknown one, succeeds."""
    _, container_id = cri.run_in_pod("true")
    cri.wait_for_exit(container_id)
    cri.remove(container_id)
    cri.remove(container_id)
    cri.remove(ABSENT)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_running_container_is_removed_by_force(cri: CRI) -> None:
    """RemoveContainer kills and removes a running container."""
    _, container_id = cri.run_in_pod(*STUBBORN)
    cri.remove(container_id)
    assert cri.container_ids() == []


@pytest.mark.second_opinion
def test_thirty_containers_in_a_pod(cri: CRI) -> None:
    """Thirty containers that are created and started at once in one pod all run."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    requests = [
        api.CreateContainerRequest(pod_sandbox_id=pod_id, config=cri.container(), sandbox_config=pod) for _ in range(30)
    ]
    created = [
        future.result().container_id for future in [cri.runtime.CreateContainer.future(each) for each in requests]
    ]
    starts = [cri.runtime.StartContainer.future(api.StartContainerRequest(container_id=each)) for each in created]
    for start in starts:
        start.result()
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    assert set(cri.container_ids(state=running)) == set(created)
