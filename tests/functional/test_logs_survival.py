"""Logs over restarts of criwist and of the engine."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.crilogs import files, flood, lines, log_path, numbers, rotate, shell
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]


def test_killed_at_random_moments(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """criwist is killed again and again while a container writes a million lines; each is in the log once, in order."""
    count = 1_000_000
    chance = random.Random(20231123)
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    bursts = [shell(flood(count // 20, 30, first=first)) for first in range(0, count, count // 20)]
    _, container_id = cri.run_in_pod("sh", "-c", f"; sleep {scaled(0.5)}; ".join([*bursts, "sleep 1000"]))
    path = log_path(cri, container_id)
    kills = 0
    while not _ends_with(path, b"%d" % (count - 1)) and kills < 40:
        time.sleep(scaled(chance.uniform(0.02, 0.6)))
        daemon.program.kill()
        kills += 1
        if chance.random() < 0.3:
            time.sleep(scaled(chance.uniform(0, 1.0)))
        daemon.start()
        if chance.random() < 0.5:
            # Fails until the log is followed again; kubelet tries again at its next rotation.
            with suppress(grpc.RpcError):
                rotate(cri, container_id, path)
    eventually(lambda: _ends_with(path, b"%d" % (count - 1)), within=60)
    assert kills >= 5
    assert numbers(lines(path)) == list(range(count))


def _ends_with(path: Path, content: bytes) -> bool:
    """Whether the last line of the log, in the current file or a rotated one, begins with *content*."""
    written = [file for file in files(path) if file.stat().st_size]
    data = written[-1].read_bytes()[-200:] if written else b""
    return data.endswith(b"\n") and data.rstrip(b"\n").rpartition(b"\n")[2].split(b" ")[3:4] == [content]


def test_stopped_and_started(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """If a container writes and ends while criwist is down, the next start completes its log and reports its exit."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo one; sleep 2; echo two; echo three; sleep 0.5; printf four")
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"one\n"))
    daemon.stop()
    time.sleep(scaled(4))
    daemon.start()
    eventually(lambda: cri.status(container_id).state == api.CONTAINER_EXITED)
    eventually(lambda: [line.content for line in lines(path)] == [b"one", b"two", b"three", b"four"])


def test_ended_while_down(criwist_daemon: MakeDaemon, client_of: ClientOf, engine: Engine) -> None:
    """A container that ended while criwist was down is reported as EXITED only when its log is complete."""
    count = 100_000
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", f"echo 0 x; sleep 2; {shell(flood(count))}")
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"0 x\n"))
    daemon.program.kill()
    eventually(lambda: engine.inspect(container_id)["State"]["Status"] == "exited", within=60)
    daemon.start()
    assert cri.wait_for_exit(container_id).state == api.CONTAINER_EXITED
    assert numbers(lines(path)) == [0, *range(count)]


@pytest.mark.parametrize(("live_restore", "far"), [(True, False), (False, False), (True, True), (False, True)])
def test_engine_restarts(
    engine_factory: Callable[..., Engine],
    criwist_daemon: MakeDaemon,
    client_of: ClientOf,
    live_restore: bool,
    far: bool,
) -> None:
    """Over a restart of the engine no line that Docker recorded is lost or doubled."""
    engine = engine_factory(live_restore=live_restore)
    engine.start()
    images.load_all(engine)
    daemon = criwist_daemon(engine=engine, far=far)
    daemon.start()
    cri = client_of(daemon)
    script = "i=0; while [ $i -lt 200 ]; do echo $i x; i=$((i+1)); sleep 0.02; done; sleep 1000"
    _, container_id = cri.run_in_pod("sh", "-c", script)
    path = log_path(cri, container_id)
    eventually(lambda: len(lines(path)) > 20)
    engine.restart()
    eventually(lambda: _is_serving(cri), within=30)
    if live_restore:
        eventually(lambda: numbers(lines(path))[-1] == 199, within=30)
    _, again = cri.run_in_pod("sh", "-c", "echo 0; sleep 1000")
    eventually(lambda: numbers(lines(log_path(cri, again))) == [0])
    assert lines(path) == _docker_lines(engine, container_id)


def _is_serving(cri: CRI) -> bool:
    """Whether criwist is connected to the engine again."""
    try:
        return bool(cri.container_ids())
    except grpc.RpcError:
        return False


def _docker_lines(engine: Engine, container_id: str) -> list[tuple[bytes, bytes, bool, bytes]]:
    """Return the log that the engine's API sends, as lines."""
    response = engine.request("GET", f"/containers/{container_id}/logs?stdout=1&stderr=1&timestamps=1")
    found = []
    while response:
        size = int.from_bytes(response[4:8], "big")
        time_text, _, content = response[8 : 8 + size].partition(b" ")
        stream = b"stdout" if response[0] == 1 else b"stderr"
        found.append((time_text, stream, not content.endswith(b"\n"), content.removesuffix(b"\n")))
        response = response[8 + size :]
    return found


def test_removed_while_down(criwist_daemon: MakeDaemon, client_of: ClientOf, engine: Engine) -> None:
    """If a container is removed while criwist is down, the record of its log is removed, and the log stays."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo one; sleep 1000")
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"one\n"))
    records = daemon.state / "logs"
    assert list(records.iterdir())
    daemon.program.kill()
    engine.delete(f"/containers/{container_id}", force="1")
    daemon.start()
    eventually(lambda: not list(records.iterdir()))
    assert [line.content for line in lines(path)] == [b"one"]
