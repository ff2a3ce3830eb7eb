"""The promises of the tests' own fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import images
from tests.harness.client import CRI
from tests.harness.engine import Engine
from tests.harness.registry import Registry


def test_engine_runs_a_local_image(engine: Engine) -> None:
    """The session's engine runs a container of a generated image on its bridge."""
    created = engine.post("/containers/create", {"Image": images.BUSYBOX, "Cmd": ["id"]})
    engine.post(f"/containers/{created['Id']}/start")
    assert engine.post(f"/containers/{created['Id']}/wait")["StatusCode"] == 0
    engine.delete(f"/containers/{created['Id']}", force="1")
    assert created["Id"] not in [item["Id"] for item in engine.get("/containers/json?all=1")]


def test_engine_has_the_id_of_the_archive(engine: Engine) -> None:
    """An engine with a graph driver has the digest of an image's configuration as its id."""
    assert engine.get(f"/images/{images.BUSYBOX}/json")["Id"] == images.image(images.BUSYBOX).id


def test_registry_keeps_what_is_pushed(engine: Engine, registry: Registry) -> None:
    """The open registry serves a pushed image by the digest that the push returned."""
    digest = images.push(engine, images.BUSYBOX, f"{registry.host}/busybox:pushed")
    engine.request("POST", f"/images/create?fromImage={registry.host}/busybox&tag={digest}", {})
    engine.delete(f"/images/{registry.host}/busybox@{digest}")


def test_private_registry_needs_the_password(engine: Engine, private_registry: Registry) -> None:
    """The private registry refuses a client without credentials and accepts its user."""
    reference = f"{private_registry.host}/busybox:1"
    with pytest.raises(RuntimeError, match=r"no basic auth|unauthorized|authorization"):
        images.push(engine, images.BUSYBOX, reference, user="stranger", password="wrong")
    engine.delete(f"/images/{reference}")
    assert images.push(
        engine, images.BUSYBOX, reference, user=private_registry.user, password=private_registry.password
    ).startswith("sha256:")


@pytest.mark.second_opinion
def test_runtime_runs_a_pod(cri: CRI) -> None:
    """A pod with one container runs, and an exec returns its output."""
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "id", "-u") == "0\n"


def test_session_has_its_own_network(session_root: Path) -> None:
    """The session has no network interfaces but loopback and those that tests created."""
    names = {line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]}
    assert names
    assert not names & {"eth0", "ens3", "enp1s0", "docker0"}
