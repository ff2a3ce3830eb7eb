"""Checkpoints by a real engine with CRIU, on an experimental engine of their own."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from criwist.core.checkpoints import Checkpoints
from criwist.errors import CriwistError, EngineFailure, Unimplemented
from criwist.interfaces import EngineFacts
from criwist.testing.memory_threads import MemoryThreads
from tests.harness import images
from tests.harness.clock import eventually
from tests.harness.engine import Engine, EngineError

_COUNT = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done"


def _criu_works() -> bool:
    criu = shutil.which("criu")
    return criu is not None and subprocess.run([criu, "check"], capture_output=True, timeout=60).returncode == 0


class Docker:
    """The calls of IDocker that a checkpoint needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.facts = EngineFacts(experimental=engine.get("/version").get("Experimental", False))

    async def inspect_container(self, container: str) -> Any:
        """The container."""
        return self._engine.inspect(container)

    async def create_checkpoint(self, container: str, body: Any) -> None:
        """Take it."""
        try:
            self._engine.post(f"/containers/{container}/checkpoints", body)
        except EngineError as error:
            raise EngineFailure(str(error)) from error


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end, which does not take a reactor here."""
    failures: list[Failure] = []
    Deferred.fromCoroutine(coroutine).addErrback(failures.append)
    if failures:
        failures[0].raiseException()


@pytest.fixture(scope="module")
def experimental(engine_factory: Callable[..., Engine]) -> Engine:
    """An experimental engine."""
    engine = engine_factory(bridge=False, flags=["--experimental"])
    engine.start()
    images.load(engine, images.image(images.BUSYBOX).archive(images.BUSYBOX))
    return engine


@pytest.fixture
def counter(experimental: Engine) -> Iterator[str]:
    """A container that shares a sandbox's namespaces, as those of pods do, and counts in a file."""
    made = []
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
    """What it has counted; 0 before it has begun, and between emptying the file and writing it."""
    pid = engine.inspect(identifier)["State"]["Pid"]
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/root/count").read_text() or 0)
    return 0


def test_checkpoint_can_be_restored(experimental: Engine, counter: str, tmp_path: Path) -> None:
    """The container runs on after its checkpoint, and from the archive it goes on where it was then."""
    if not _criu_works():
        pytest.skip("this machine has no CRIU that works with its kernel")
    threads = MemoryThreads()
    checkpoints = Checkpoints(Docker(experimental), Clock(), threads, threads, str(tmp_path / "staging"))
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


def test_engine_without_a_working_criu(experimental: Engine, counter: str, tmp_path: Path) -> None:
    """If CRIU is missing or cannot do it, that is told, the container runs on, and nothing is left."""
    if _criu_works():
        pytest.skip("CRIU works here")
    threads = MemoryThreads()
    checkpoints = Checkpoints(Docker(experimental), Clock(), threads, threads, str(tmp_path / "staging"))
    with pytest.raises(CriwistError) as raised:
        run(checkpoints.checkpoint(counter, str(tmp_path / "checkpoint.tar")))
    assert isinstance(raised.value, EngineFailure if shutil.which("criu") else Unimplemented)
    count = _count(experimental, counter)
    eventually(lambda: _count(experimental, counter) > count)
    assert [path.name for path in tmp_path.iterdir()] == ["staging"]
    assert list((tmp_path / "staging").iterdir()) == []


def test_engine_that_is_not_experimental(engine: Engine, tmp_path: Path) -> None:
    """An ordinary engine takes no checkpoints, which is known before it is asked."""
    threads = MemoryThreads()
    checkpoints = Checkpoints(Docker(engine), Clock(), threads, threads, str(tmp_path / "staging"))
    with pytest.raises(Unimplemented, match="experimental"):
        run(checkpoints.checkpoint("0" * 64, str(tmp_path / "checkpoint.tar")))
