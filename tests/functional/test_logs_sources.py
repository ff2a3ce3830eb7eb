"""Behaviour of every log, whatever its source is: files of two of Docker's drivers, or the engine's API."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.wire.crilog import Line, parse
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.crilogs import files, flood, lines, log_path, numbers, rotate, shell, written
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.far import FarDaemon

ClientOf = Callable[[Daemon], CRI]

_LOCAL = {"container_log_driver": "local"}
_SOURCES = {"json-file": {}, "local": _LOCAL, "API on json-file": {}, "API on local": _LOCAL}


@pytest.fixture(scope="module")
def small_disk(session_root: Path) -> Iterator[Path]:
    """A file system of one megabyte, mounted before a criwist with a mount namespace of its own starts."""
    mountpoint = session_root / "small-disk"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mountpoint)], check=True)
    yield mountpoint
    subprocess.run(["umount", "-l", str(mountpoint)], check=True)
    mountpoint.rmdir()


@pytest.fixture(scope="module", params=_SOURCES)
def daemon(request: pytest.FixtureRequest, session_root: Path, engine: Engine, small_disk: Path) -> Iterator[Daemon]:
    """A criwist that reads its containers' logs from the source."""
    root = session_root / "criwist-source"
    options = _SOURCES[request.param]
    far = request.param.startswith("API")
    daemon = FarDaemon(root, engine, **options) if far else Daemon(root, engine.endpoint, **options)
    daemon.start()
    yield daemon
    daemon.stop()
    shutil.rmtree(root)


@pytest.fixture
def source(daemon: Daemon, client_of: ClientOf) -> CRI:
    """The client of that criwist."""
    return client_of(daemon)


def test_complete_when_exited(source: CRI) -> None:
    """When a container is reported as EXITED, its log is complete.  (On containerd the last lines may come later.)"""
    pod = source.pod()
    pod_id = source.run_pod(pod)
    for size in (1, 100, 5000, 20000):
        container_id = source.run(pod_id, source.container("seq", "1", str(size)), pod)
        source.wait_for_exit(container_id, within=30)
        assert len(lines(log_path(source, container_id))) == size


def test_terminal(source: CRI) -> None:
    """A terminal's output is on stdout, with long lines in pieces, and with a last line without newline."""
    script = "echo one; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; printf end"
    _, container_id = source.run_in_pod("sh", "-c", script, tty=True)
    source.wait_for_exit(container_id, within=30)
    found = lines(log_path(source, container_id))
    assert written(found, b"stdout") == b"one\r\nerr\r\n" + b"x" * 40000 + b"\r\nend"
    assert [line.partial for line in found] == [False, False, True, True, False, True]


def test_log_directory_is_removed(source: CRI) -> None:
    """If a log's directory is removed, the next line goes to a new file in a new directory."""
    script = "echo one; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo two; sleep 1000"
    _, container_id = source.run_in_pod("sh", "-c", script)
    path = log_path(source, container_id)
    eventually(lambda: path.read_bytes().endswith(b"one\n"))
    shutil.rmtree(path.parent)
    source.shell(container_id, "touch /tmp/go")
    eventually(lambda: path.exists() and [line.content for line in lines(path)] == [b"two"])


def test_stays_after_removal(source: CRI, daemon: Daemon) -> None:
    """A removed container's log stays for kubelet, and criwist closes it and Docker's files."""
    _, container_id = source.run_in_pod("sh", "-c", "echo out; sleep 1000")
    path = log_path(source, container_id)
    opened = [str(file) for file in _descriptors(daemon)]
    assert str(path) in opened
    source.stop(container_id, timeout=0)
    source.remove(container_id)
    assert [line.content for line in lines(path)] == [b"out"]
    assert not [file for file in _descriptors(daemon) if container_id in str(file) or file == path]
    assert not list((daemon.state / "logs").glob(f"*{container_id}*"))


def _descriptors(daemon: Daemon) -> list[Path]:
    """Return the targets of the daemon's descriptors."""
    found = []
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            found.append(link.readlink())
        except FileNotFoundError:
            continue
    return found


def test_killed(source: CRI, daemon: Daemon) -> None:
    """criwist is killed at random moments while a container floods and kubelet rotates; each line is there once."""
    count, bursts = 80_000, 8
    chance = random.Random(20231123)
    each = count // bursts
    floods = [shell(flood(each, 30, first=first)) for first in range(0, count, each)]
    _, container_id = source.run_in_pod("sh", "-c", f"; sleep {scaled(0.3)}; ".join([*floods, "sleep 1000"]))
    path = log_path(source, container_id)
    for kill in range(6):
        time.sleep(scaled(chance.uniform(0.05, 0.5)))
        daemon.program.kill()
        daemon.start()
        if kill % 2:
            # Fails until the log is followed again; kubelet tries again at its next rotation.
            with suppress(grpc.RpcError):
                rotate(source, container_id, path)
    eventually(lambda: path.exists() and numbers(lines(path)[-1:]) == [count - 1], within=60)
    assert numbers(lines(path)) == list(range(count))


# -- A full disk


def whole_lines(path: Path) -> list[Line]:
    """Return the whole lines of a log on a full disk, whose last line may be torn until there is room again."""
    return [line for file in files(path) for line in _whole_lines_in(file)]


def _whole_lines_in(file: Path) -> list[Line]:
    return [parse(line + b"\n") for line in file.read_bytes().split(b"\n")[:-1]]


def test_full_disk(source: CRI, daemon: Daemon, small_disk: Path) -> None:
    """A log on a full disk waits, is reported once, and continues with nothing lost when there is room."""
    count = 20_000
    for left in small_disk.iterdir():
        shutil.rmtree(left)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    pod = source.pod()
    pod.log_directory = str(small_disk / "pod")
    pod_id = source.run_pod(pod)
    container_id = source.run(pod_id, source.container("sh", "-c", f"{shell(flood(count))}; sleep 1000"), pod)
    path = log_path(source, container_id)
    eventually(lambda: "No space left" in daemon.program.log_text(), within=20)
    time.sleep(scaled(2.5))
    assert daemon.program.log_text().count("No space left") == 1
    # A rotation on a full disk: kubelet renames, and the torn line must not be in both files.
    rotated = path.with_name(path.name + ".1")
    path.rename(rotated)
    ballast.unlink()
    source.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
    eventually(lambda: rotated.stat().st_size + path.stat().st_size > 700_000, within=20)
    found = whole_lines(path)
    assert numbers(found) == list(range(len(found)))
    # As kubelet does, remove the oldest file, which criwist does not write to any more, until all lines have room.
    read: list[int] = []
    while numbers(whole_lines(path))[-1] < count - 1:
        read += numbers(_whole_lines_in(rotated))
        rotated.unlink()
        path.rename(rotated)
        source.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
        time.sleep(scaled(1.5))
    assert read + numbers(whole_lines(path)) == list(range(count))
