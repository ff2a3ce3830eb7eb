"""StopContainer: signals, grace periods and repeated stops."""

from __future__ import annotations

import time

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled

ABSENT = "f" * 64
#: Ignores SIGTERM.
STUBBORN = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")


@pytest.mark.second_opinion
def test_stop_is_graceful(cri: CRI) -> None:
    """StopContainer sends SIGTERM and returns as soon as the container has exited."""
    container_id = cri.run_trapping("trap 'exit 5' TERM")
    began = time.monotonic()
    cri.stop(container_id, timeout=30)
    assert time.monotonic() - began < scaled(10)
    status = cri.status(container_id)
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 5)


@pytest.mark.second_opinion
def test_stop_kills_after_the_grace(cri: CRI) -> None:
    """A container that ignores SIGTERM is killed after the grace period, not before."""
    _, container_id = cri.run_in_pod(*STUBBORN)
    began = time.monotonic()
    cri.stop(container_id, timeout=2)
    assert 1.5 < time.monotonic() - began < scaled(12)
    assert cri.status(container_id).exit_code == 137


@pytest.mark.second_opinion
def test_stop_without_grace_kills(cri: CRI) -> None:
    """A grace period of 0 kills at once."""
    container_id = cri.run_trapping("trap 'exit 5' TERM")
    began = time.monotonic()
    cri.stop(container_id, timeout=0)
    assert time.monotonic() - began < scaled(5)
    assert cri.status(container_id).exit_code == 137


@pytest.mark.second_opinion
def test_stop_uses_the_images_signal(cri: CRI) -> None:
    """StopContainer sends the image's STOPSIGNAL instead of SIGTERM."""
    container_id = cri.run_trapping("trap 'exit 42' USR1; trap '' TERM", image=images.STOP_SIGNAL)
    cri.stop(container_id, timeout=10)
    assert cri.status(container_id).exit_code == 42


def test_stop_uses_the_configurations_signal(cri: CRI) -> None:
    """``stop_signal`` overrides the image's STOPSIGNAL; containerd 1.6 does not have the field."""
    container_id = cri.run_trapping(
        "trap 'exit 43' USR2; trap '' TERM USR1", image=images.STOP_SIGNAL, stop_signal=api.SIGNAL_SIGUSR2
    )
    cri.stop(container_id, timeout=10)
    assert cri.status(container_id).exit_code == 43
    assert cri.status(container_id).stop_signal == api.SIGNAL_SIGUSR2


@pytest.mark.second_opinion
def test_stop_is_idempotent(cri: CRI) -> None:
    """Stopping an exited container succeeds."""
    _, container_id = cri.run_in_pod()
    cri.stop(container_id)
    cri.stop(container_id)


def test_stop_of_an_unknown_container(cri: CRI) -> None:
    """Stopping an unknown container succeeds; containerd 1.6 fails with NOT_FOUND, later versions succeed too."""
    cri.stop(ABSENT)


def test_stop_of_a_created_container(cri: CRI) -> None:
    """Stopping a container that never started succeeds and leaves it CREATED."""
    pod = cri.pod()
    container_id = cri.create(cri.run_pod(pod), cri.container(), pod)
    cri.stop(container_id)
    assert cri.status(container_id).state == api.CONTAINER_CREATED


@pytest.mark.second_opinion
def test_second_stop_with_a_shorter_grace(cri: CRI) -> None:
    """A stop without grace kills a container while another stop still waits for its exit."""
    container_id = cri.run_trapping("trap 'touch /tmp/asked' TERM")
    request = api.StopContainerRequest(container_id=container_id, timeout=60)
    waiting = cri.runtime.StopContainer.future(request, timeout=90)
    eventually(lambda: cri.shell(container_id, "ls /tmp/asked || true"))
    began = time.monotonic()
    cri.stop(container_id, timeout=0)
    assert time.monotonic() - began < scaled(10)
    waiting.result()
    assert cri.status(container_id).state == api.CONTAINER_EXITED
