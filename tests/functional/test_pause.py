"""The pause program in an engine and in pods."""

from __future__ import annotations

import time

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.pause.image import PAUSE_REFERENCE, pause_archive, pause_image
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.engine import Engine


@pytest.fixture
def pause(engine: Engine) -> str:
    """The reference of the loaded pause image."""
    images.load(engine, pause_archive(engine.get("/version")["Arch"]))
    return PAUSE_REFERENCE


def test_engine_loads_the_archive(engine: Engine, pause: str) -> None:
    """The engine has the image under its reference, with the computed id."""
    inspected = engine.get(f"/images/{pause}/json")
    assert inspected["Id"] == pause_image(inspected["Architecture"]).id
    assert inspected["Config"]["Entrypoint"] == ["/pause"]
    assert inspected["Size"] < 2000


@pytest.mark.parametrize("number", ["TERM", "INT"])
def test_ends_at_once_as_process_one(engine: Engine, pause: str, number: str) -> None:
    """As PID 1, whose unhandled signals the kernel drops, pause exits at once with code 0 on SIGTERM and SIGINT."""
    created = engine.post("/containers/create", {"Image": pause})["Id"]
    try:
        engine.post(f"/containers/{created}/start")
        began = time.monotonic()
        engine.post(f"/containers/{created}/kill", signal=number)
        assert engine.post(f"/containers/{created}/wait")["StatusCode"] == 0
        assert time.monotonic() - began < scaled(2)
    finally:
        engine.delete(f"/containers/{created}", force="1")


@pytest.mark.second_opinion
def test_reaps_orphans(cri: CRI) -> None:
    """In a shared PID namespace pause adopts orphans and leaves no zombie of them."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.pid = api.POD
    config = cri.container()
    config.linux.security_context.namespace_options.pid = api.POD
    container_id = cri.run(cri.run_pod(pod), config, pod)
    cri.shell(container_id, "for each in $(seq 50); do (sh -c 'sleep 0.2 &' &); done")

    def states() -> list[str]:
        listing = cri.shell(container_id, "cat /proc/[0-9]*/stat 2>/dev/null | grep '(sleep)' || true")
        return [line.split(") ")[1][0] for line in listing.splitlines()]

    eventually(lambda: not [state for state in states() if state == "Z"] and len(states()) <= 1, within=5)


@pytest.mark.newer_engines("docker-28-containerd")
def test_another_image_of_its_name(cri: CRI, engine_of_cri: Engine) -> None:
    """A name is not content: the next sandbox runs criwist's own image all the same."""
    first = cri.run_pod()
    own = _id(cri)
    images.load(engine_of_cri, images.variant("another pause").archive(PAUSE_REFERENCE))
    eventually(lambda: _id(cri) != own)
    for pod_id in (first, cri.run_pod()):
        inspected = engine_of_cri.inspect(pod_id)
        assert inspected["Config"]["Entrypoint"] == ["/pause"]
        assert inspected["State"]["Running"]
    assert _id(cri) == own


def _id(cri: CRI) -> str:
    """The id of the image that has the pause image's name."""
    image = cri.image(PAUSE_REFERENCE)
    return image.id if image is not None else ""
