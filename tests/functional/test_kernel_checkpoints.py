"""Checkpoints on a real, experimental engine with CRIU."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.core.containers.checkpoints import Checkpoints
from criwist.errors import EngineFailure, Unimplemented
from criwist.interfaces.engine import EngineFacts
from criwist.kernel.container_processes import ContainerProcesses
from criwist.threads import run_to_its_end
from tests.doubles.memory_threads import MemoryThreads
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine, EngineError
from tests.harness.newer_engines import obstacle, on_a_node
from tools.engines import programs

_COUNT = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done"


class Docker:
    """A double of IDocker, with the methods that a checkpoint needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.facts = EngineFacts(experimental=engine.get("/version").get("Experimental", False))

    async def inspect_container(self, container: str) -> Any:
        """Return the inspected container."""
        return self._engine.inspect(container)

    async def create_checkpoint(self, container: str, body: Any) -> None:
        """Create a checkpoint."""
        try:
            self._engine.post(f"/containers/{container}/checkpoints", body)
        except EngineError as error:
            raise EngineFailure(str(error)) from error


def make_checkpoints(engine: Engine, tmp_path: Path) -> Checkpoints:
    """Return checkpoints of an engine's containers, staged below *tmp_path*."""
    threads = MemoryThreads()
    in_thread = partial(run_to_its_end, threads, threads)
    processes = ContainerProcesses(threads, threads)
    docker: Any = Docker(engine)
    return Checkpoints(docker, Clock(), processes, in_thread, str(tmp_path / "staging"))


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that needs no reactor; return its result."""
    failures: list[Failure] = []
    Deferred.fromCoroutine(coroutine).addErrback(failures.append)
    if failures:
        failures[0].raiseException()


@pytest.fixture(scope="module")
def criu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CRIU that supports this kernel, and nothing else."""
    if on_a_node():
        pytest.skip("a node has no way to fetch CRIU")
    missing = obstacle("criu")
    if missing is not None and (missing.final or os.environ.get("CRIWIST_TEST_REQUIRED") != "1"):
        pytest.skip(missing.reason)
    directory = tmp_path_factory.mktemp("criu")
    (directory / "criu").symlink_to(programs("criu") / "criu")
    subprocess.run([directory / "criu", "check"], check=True, capture_output=True, timeout=scaled(60))
    return directory


@pytest.fixture(scope="module")
def experimental(engine_factory: Callable[..., Engine], criu: Path) -> Engine:
    """An experimental engine, with CRIU beside it."""
    environment = {"PATH": f"{criu}:{os.environ['PATH']}"}
    engine = engine_factory(flags=["--experimental"], environment=environment)
    engine.start()
    images.load_all(engine)
    return engine


@pytest.fixture(scope="module")
def without_criu(engine_factory: Callable[..., Engine]) -> Engine:
    """An experimental engine that has no CRIU."""
    if shutil.which("criu"):
        pytest.skip("CRIU is installed here")
    engine = engine_factory(flags=["--experimental"])
    engine.start()
    images.load_all(engine)
    return engine


@pytest.fixture
def counter(experimental: Engine) -> Iterator[str]:
    """Start a container that shares a sandbox's namespaces, as in pods, and counts in a file."""
    made: list[str] = []
    for body in (
        {"Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none", "IpcMode": "shareable"}},
        {"Cmd": ["sh", "-c", _COUNT], "HostConfig": {"NetworkMode": "container:0", "IpcMode": "container:0"}},
    ):
        text = json.dumps(body | {"Image": images.BUSYBOX}).replace(
            "container:0", f"container:{made[0] if made else ''}"
        )
        made.append(experimental.post("/containers/create", json.loads(text))["Id"])
        experimental.post(f"/containers/{made[-1]}/start")
    yield made[1]
    for identifier in reversed(made):
        experimental.delete(f"/containers/{identifier}", force="1", v="1")


def _count(engine: Engine, identifier: str) -> int:
    """Return its count; 0 before it has begun, and between truncating the file and writing it."""
    pid = engine.inspect(identifier)["State"]["Pid"]
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/root/count").read_text() or 0)
    return 0


def test_checkpoint_can_be_restored(experimental: Engine, counter: str, tmp_path: Path) -> None:
    """The container runs on after its checkpoint, and a restore from the archive continues from the same count."""
    checkpoints = make_checkpoints(experimental, tmp_path)
    eventually(lambda: _count(experimental, counter) > 3)
    location = tmp_path / "checkpoint.tar"
    run(checkpoints.checkpoint(counter, str(location)))
    then = _count(experimental, counter)
    eventually(lambda: _count(experimental, counter) > then + 10)
    assert list((tmp_path / "staging").iterdir()) == []

    experimental.post(f"/containers/{counter}/kill")
    eventually(lambda: not experimental.inspect(counter)["State"]["Running"])
    restored = experimental.root / "data/containers" / counter / "checkpoints"
    with tarfile.open(location) as tar:
        assert json.load(tar.extractfile("config.dump") or pytest.fail("no config.dump"))["id"] == counter
        tar.extractall(restored, filter="data")
    experimental.post(f"/containers/{counter}/start?checkpoint=checkpoint")
    assert then - 5 <= eventually(lambda: _count(experimental, counter)) <= then + 8


def test_engine_that_is_not_experimental(engine: Engine, tmp_path: Path) -> None:
    """An ordinary engine creates no checkpoints, which its facts show before a request."""
    checkpoints = make_checkpoints(engine, tmp_path)
    with pytest.raises(Unimplemented, match="experimental"):
        run(checkpoints.checkpoint("0" * 64, str(tmp_path / "checkpoint.tar")))


def checkpoint(cri: CRI, container_id: str, location: Path) -> None:
    """CheckpointContainer."""
    request = api.CheckpointContainerRequest(container_id=container_id, location=str(location))
    cri.runtime.CheckpointContainer(request, timeout=scaled(120))


def test_checkpoint_of_a_pods_container(
    experimental: Engine,
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    tmp_path: Path,
) -> None:
    """CheckpointContainer writes the state of a running container, which runs on."""
    daemon = criwist_daemon(engine=experimental)
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", _COUNT)
    checkpoint(cri, container_id, tmp_path / "checkpoint.tar")
    with tarfile.open(tmp_path / "checkpoint.tar") as tar:
        names = tar.getnames()
        assert json.load(tar.extractfile("config.dump") or pytest.fail("no config.dump"))["id"] == container_id
        specification = json.load(tar.extractfile("spec.dump") or pytest.fail("no spec.dump"))
    assert specification["process"]["args"] == ["sh", "-c", _COUNT]
    assert any(name.endswith("inventory.img") for name in names)
    count = _count(experimental, container_id)
    eventually(lambda: _count(experimental, container_id) > count)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


def test_checkpoint_by_an_ordinary_engine(cri: CRI, tmp_path: Path) -> None:
    """CheckpointContainer is UNIMPLEMENTED where the engine supports no checkpoints, and the container runs on."""
    _, container_id = cri.run_in_pod()
    refused(lambda: checkpoint(cri, container_id, tmp_path / "checkpoint.tar"), grpc.StatusCode.UNIMPLEMENTED)
    assert not (tmp_path / "checkpoint.tar").exists()
    assert cri.output(container_id, "echo", "alive") == "alive\n"


def test_checkpoint_by_an_engine_without_criu(
    without_criu: Engine,
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    tmp_path: Path,
) -> None:
    """CheckpointContainer is UNIMPLEMENTED without CRIU too; the container runs on, and nothing is left."""
    daemon = criwist_daemon(engine=without_criu)
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", _COUNT)
    location = tmp_path / "checkpoint.tar"
    text = refused(lambda: checkpoint(cri, container_id, location), grpc.StatusCode.UNIMPLEMENTED)
    assert "CRIU" in text
    count = _count(without_criu, container_id)
    eventually(lambda: _count(without_criu, container_id) > count)
    assert not location.exists()
    assert not list((daemon.state / "checkpoints").iterdir())
