"""Rotation by kubelet and by Docker while a container writes, floods, and the options of Docker's files."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.wire.crilog import nanoseconds
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.crilogs import flood, flood_until, lines, log_path, numbers, rotate, shell, written
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]

_ONE_AND_TWO = "echo one; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo two; sleep 1000"


@pytest.mark.second_opinion
def test_reopen(cri: CRI) -> None:
    """After a rename and ReopenContainerLog the old file keeps its lines, and the new file gets the next ones."""
    _, container_id = cri.run_in_pod("sh", "-c", _ONE_AND_TWO)
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"one\n"))
    rotated = rotate(cri, container_id, path)
    cri.shell(container_id, "touch /tmp/go")
    eventually(lambda: path.read_bytes().endswith(b"two\n"))
    assert [line.content for line in lines(path)] == [b"one", b"two"]
    assert rotated.read_bytes().endswith(b"one\n")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.second_opinion
def test_reopen_without_rename(cri: CRI) -> None:
    """ReopenContainerLog of a file that was not renamed changes nothing."""
    _, container_id = cri.run_in_pod("sh", "-c", "echo one; sleep 1000")
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"one\n"))
    cri.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
    assert [line.content for line in lines(path)] == [b"one"]


@pytest.mark.second_opinion
def test_reopen_needs_a_running_container(cri: CRI) -> None:
    """ReopenContainerLog fails for a container that does not run."""
    _, container_id = cri.run_in_pod("true")
    cri.wait_for_exit(container_id)
    request = api.ReopenContainerLogRequest(container_id=container_id)
    refused(lambda: cri.runtime.ReopenContainerLog(request))


def test_rotation_under_flood(cri: CRI) -> None:
    """If a log is rotated five times a second under a flood, its files together hold every line once and in order."""
    _, container_id = cri.run_in_pod("sh", "-c", flood_until("/tmp/enough"))
    path = log_path(cri, container_id)
    for _ in range(5):
        time.sleep(0.2)
        rotate(cri, container_id, path)
    cri.output(container_id, "touch", "/tmp/enough")
    cri.wait_for_exit(container_id, within=60)
    eventually(lambda: lines(path)[-1].content.endswith(b" end"), within=20)
    found = numbers(lines(path))
    assert found == list(range(found[-1] + 1))


def test_flood_starves_nobody(cri: CRI, criwist: Daemon) -> None:
    """While one container floods, another's lines are not delayed, and criwist's memory does not grow."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    quiet = cri.run(pod_id, cri.container("sh", "-c", "while :; do echo x; sleep 0.2; done"), pod)
    path = log_path(cri, quiet)
    eventually(lambda: path.stat().st_size > 0)
    before = _resident(criwist)
    flooding = cri.run(pod_id, cri.container(*flood(500_000)), pod)
    late, seen = [], len(lines(path))
    while cri.status(flooding).state == api.CONTAINER_RUNNING:
        found = lines(path)
        if len(found) > seen:
            late.append(time.time() - nanoseconds(found[-1].time) / 1e9)
        seen = len(found)
        time.sleep(0.01)
    assert len(late) > 3
    assert statistics.median(late) < scaled(1.0), late
    assert _resident(criwist) - before < 24 << 20


def _resident(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def test_docker_rotates_while_criwist_is_behind(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """Entries that Docker has rotated while criwist was stopped are read from the rotated files."""
    daemon = criwist_daemon(container_log_driver="json-file", container_log_max_size="1m", container_log_max_files="90")
    daemon.start()
    cri = client_of(daemon)
    count = 100_000
    _, container_id = cri.run_in_pod("sh", "-c", f"echo 0 x; sleep 1; {shell(flood(count))}; sleep 1000")
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"0 x\n"))
    daemon.program.signal(signal.SIGSTOP)
    time.sleep(scaled(6))
    daemon.program.signal(signal.SIGCONT)
    eventually(lambda: len(lines(path)) > count, within=60)
    assert numbers(lines(path)) == [0, *range(count)]


@pytest.fixture(scope="module")
def compressing_engine(engine_factory: Callable[..., Engine]) -> Engine:
    """An engine that rotates and compresses every megabyte, and adds attributes to each entry."""
    options = ("max-size=1m", "max-file=90", "compress=true", "tag={{.Name}}")
    engine = engine_factory(flags=[f"--log-opt={option}" for option in options])
    engine.start()
    images.load_all(engine)
    return engine


@pytest.mark.parametrize("killed", [False, True])
def test_docker_compresses_while_criwist_is_behind(
    compressing_engine: Engine, criwist_daemon: MakeDaemon, client_of: ClientOf, killed: bool
) -> None:
    """Files that Docker compresses while criwist is stopped or down are read, also the one that criwist was reading."""
    daemon = criwist_daemon(engine=compressing_engine)
    daemon.start()
    cri = client_of(daemon)
    count, before = 80_000, 3_000
    script = f"{shell(flood(before))}; sleep 2; {shell(flood(count - before, first=before))}; sleep 1000"
    _, container_id = cri.run_in_pod("sh", "-c", script)
    path = log_path(cri, container_id)
    eventually(lambda: numbers(lines(path)[-1:]) == [before - 1])
    daemon.program.signal(signal.SIGKILL if killed else signal.SIGSTOP)
    kept = Path(compressing_engine.inspect(container_id)["LogPath"])
    assert b'"attrs":{"tag":"k8s_' in kept.read_bytes()
    # The first file, which criwist was reading, and newer ones.
    eventually(lambda: len(list(kept.parent.glob("*.gz"))) > 5, within=60)
    if killed:
        daemon.program.kill()
        daemon.start()
    else:
        daemon.program.signal(signal.SIGCONT)
    eventually(lambda: numbers(lines(path)[-1:]) == [count - 1], within=60)
    assert numbers(lines(path)) == list(range(count))


def test_one_line_over_many_files(compressing_engine: Engine, criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """A line so long that its pieces fill several of Docker's files, which then begin alike, is complete in the log."""
    daemon = criwist_daemon(engine=compressing_engine)
    daemon.start()
    cri = client_of(daemon)
    size = 5 << 20
    _, container_id = cri.run_in_pod("sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; echo; echo next")
    cri.wait_for_exit(container_id, within=30)
    path = log_path(cri, container_id)
    eventually(lambda: path.read_bytes().endswith(b"F next\n"))
    assert written(lines(path)) == b"x" * size + b"\nnext\n"


def test_container_log_options(criwist_daemon: MakeDaemon, client_of: ClientOf, engine: Engine) -> None:
    """The container has the log driver and sizes of ``--container-log-*``."""
    daemon = criwist_daemon(container_log_driver="local", container_log_max_size="3m", container_log_max_files="4")
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo out; sleep 1000")
    assert engine.inspect(container_id)["HostConfig"]["LogConfig"] == {
        "Type": "local",
        "Config": {"max-size": "3m", "max-file": "4"},
    }
    eventually(lambda: [line.content for line in lines(log_path(cri, container_id))] == [b"out"])
