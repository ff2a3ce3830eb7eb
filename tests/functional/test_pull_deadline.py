"""Pulls that are slow, stall, are shared or are cancelled."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.slow_registry import SlowRegistry

#: The image pull progress deadline of these tests, in seconds.
DEADLINE = scaled(4.0)


@pytest.fixture
def impatient(criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> CRI:
    """A criwist whose image pull progress deadline is four seconds: a pull may take two to begin."""
    daemon = criwist_daemon(image_pull_progress_deadline=f"{DEADLINE:g}s")
    daemon.start()
    return client_of(daemon)


@pytest.fixture
def patient(criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> CRI:
    """A criwist without a deadline."""
    daemon = criwist_daemon(image_pull_progress_deadline="0")
    daemon.start()
    return client_of(daemon)


@pytest.fixture
def reference(slow_registry: SlowRegistry) -> str:
    """The reference of an image of the slow registry that is not pulled yet."""
    return f"{slow_registry.host}/{uuid.uuid4().hex}:1"


def test_stall_in_a_layer(impatient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """The deadline cancels a pull that stalls in a layer; the text names image and progress."""
    slow_registry.stall_at = slow_registry.large // 2
    began = time.monotonic()
    text = refused(lambda: impatient.pull(reference), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert DEADLINE * 0.9 < time.monotonic() - began < DEADLINE + scaled(5)
    assert reference in text
    assert "Downloading" in text
    assert impatient.image(reference) is None
    slow_registry.crawl()  # an engine notices the cancellation at the next bytes
    eventually(lambda: slow_registry.broken_off == 1)


def test_registry_that_never_answers(impatient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """The deadline cancels a pull from a registry that never responds; the time starts with the request."""
    slow_registry.silent = True
    began = time.monotonic()
    assert reference in refused(lambda: impatient.pull(reference), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert DEADLINE * 0.9 < time.monotonic() - began < DEADLINE + scaled(5)


def test_trickle_is_progress(impatient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """A pull with slow progress may last longer than the deadline."""
    slow_registry.chunk = slow_registry.large // 16
    slow_registry.pause = 3 * DEADLINE / 16
    began = time.monotonic()
    impatient.pull(reference)
    assert time.monotonic() - began > 2 * DEADLINE


def test_no_deadline(patient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """A deadline of 0 means none: the caller's own timeout ends the wait."""
    slow_registry.stall_at = slow_registry.large // 2
    began = time.monotonic()
    refused(lambda: patient.pull(reference, timeout=4), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - began > scaled(3.5)


def test_concurrent_pulls_are_one(impatient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """Concurrent pulls of one reference with the same credentials share one pull of the engine."""
    slow_registry.pause = 0.02
    with ThreadPoolExecutor(8) as pool:
        image_ids = list(pool.map(lambda _: impatient.pull(reference), range(8)))
    assert len(set(image_ids)) == 1
    assert sum("/manifests/" in request for request in slow_registry.requests) <= 2  # HEAD and GET


def test_cancelled_caller_leaves_the_others_their_pull(
    impatient: CRI, slow_registry: SlowRegistry, reference: str
) -> None:
    """If one of two callers that share a pull cancels, the other gets the image."""
    slow_registry.stall_at = slow_registry.large // 2
    request = api.PullImageRequest(image=api.ImageSpec(image=reference))
    first = impatient.images.PullImage.future(request, timeout=scaled(60))
    second = impatient.images.PullImage.future(request, timeout=scaled(60))
    eventually(lambda: slow_registry.stalled == 1)
    first.cancel()
    time.sleep(scaled(0.3))
    assert slow_registry.broken_off == 0
    slow_registry.go_on()
    assert second.result().image_ref


def test_cancelled_pull_ends_in_the_engine(patient: CRI, slow_registry: SlowRegistry, reference: str) -> None:
    """The cancellation of the last caller cancels the engine's pull, and a new caller starts a new one."""
    request = api.PullImageRequest(image=api.ImageSpec(image=reference))
    for attempt in (1, 2):
        slow_registry.stall_at = slow_registry.large // 2
        call = patient.images.PullImage.future(request, timeout=scaled(60))
        eventually(lambda: slow_registry.stalled == 1)
        call.cancel()
        eventually(call.done)
        slow_registry.crawl()
        eventually(lambda attempt=attempt: slow_registry.broken_off == attempt)  # type: ignore[misc]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_registry_that_is_down(impatient: CRI, slow_registry: SlowRegistry, reference: str, status: int) -> None:
    """A registry's status 502, 503 or 504 gives a text with the beginning that kubelet matches."""
    slow_registry.status = status
    assert refused(lambda: impatient.pull(reference)).startswith("RegistryUnavailable")
