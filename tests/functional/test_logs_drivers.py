"""Logs of other drivers than json-file, and of an engine whose files criwist cannot read."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.wire.crilog import COPIER_BUFFER
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.crilogs import flood, lines, log_path, numbers, rotate, shell, written
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

MakeDaemon = Callable[..., Daemon]
MakeEngine = Callable[..., Engine]
ClientOf = Callable[[Daemon], CRI]

#: Lines of every kind: bytes that are no UTF-8, a line that Docker cuts, and a last line without newline.
_KINDS = (
    "printf 'one\\n\\n\\\\000\\r\\n\\377\\376\\n'; sleep 0.2; echo err >&2; sleep 0.2; "
    "head -c 40000 /dev/zero | tr '\\0' x; printf '\\nlast'; sleep 0.5"
)
_KINDS_STDOUT = b"one\n\n\\000\r\n\xff\xfe\n" + b"x" * 40000 + b"\nlast"


@pytest.fixture
def far(criwist_daemon: MakeDaemon) -> MakeDaemon:
    """Return a function that starts a criwist which cannot read the engine's files."""

    def make(**options: str) -> Daemon:
        daemon = criwist_daemon(far=True, **options)
        daemon.start()
        return daemon

    return make


def test_local(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """The driver local keeps every byte, and a long line has the pieces into which Docker cut it."""
    daemon = criwist_daemon(container_log_driver="local")
    daemon.start()
    _check_kinds(client_of(daemon), _KINDS_STDOUT)


def test_local_rotates(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """Files that local has rotated and compressed are read."""
    daemon = criwist_daemon(container_log_driver="local", container_log_max_size="1m", container_log_max_files="60")
    daemon.start()
    _check_flood(client_of(daemon), 100_000)


def _check_kinds(cri: CRI, stdout: bytes, script: str = _KINDS) -> None:
    _, container_id = cri.run_in_pod("sh", "-c", script)
    cri.wait_for_exit(container_id, within=30)
    found = lines(log_path(cri, container_id))
    assert written(found, b"stdout") == stdout
    assert written(found, b"stderr") == b"err\n"
    long = [line for line in found if b"xxx" in line.content]
    assert [(line.partial, len(line.content)) for line in long] == [
        (True, COPIER_BUFFER),
        (True, COPIER_BUFFER),
        (False, 40000 - 2 * COPIER_BUFFER),
    ]
    assert found[-1].partial != stdout.endswith(b"\n")


def _check_flood(cri: CRI, count: int) -> None:
    """A flood is in the log once and in order, over a rotation by kubelet."""
    _, container_id = cri.run_in_pod("sh", "-c", f"{shell(flood(count))}; sleep 1000")
    path = log_path(cri, container_id)
    eventually(lambda: path.stat().st_size > 100_000, within=20)
    rotate(cri, container_id, path)
    eventually(lambda: numbers(lines(path)[-1:]) == [count - 1], within=90)
    assert numbers(lines(path)) == list(range(count))


# -- The engine's API


def test_api(far: MakeDaemon, client_of: ClientOf) -> None:
    """The engine's API sends every byte as local keeps it."""
    _check_kinds(client_of(far(container_log_driver="local")), _KINDS_STDOUT)


def test_api_json_file(far: MakeDaemon, client_of: ClientOf) -> None:
    """The engine's API sends the bytes as json-file keeps them: U+FFFD in place of bytes that are no UTF-8."""
    _check_kinds(client_of(far()), _KINDS_STDOUT.replace(b"\xff\xfe", "\ufffd\ufffd".encode()))


def test_api_flood(far: MakeDaemon, client_of: ClientOf) -> None:
    """A flood is complete in a log from the API."""
    _check_flood(client_of(far()), 100_000)


# -- Drivers that cannot be read


def _engine_with(engine_factory: MakeEngine, *flags: str) -> Engine:
    engine = engine_factory(flags=flags)
    engine.start()
    images.load_all(engine)
    return engine


def test_none(engine_factory: MakeEngine, criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """With the driver none, the log and criwist's own log explain it in one line, over a reopen and a restart."""
    daemon = criwist_daemon(engine=_engine_with(engine_factory, "--log-driver=none"))
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo lost; sleep 1000")
    path = log_path(cri, container_id)
    (line,) = lines(path)
    assert line.stream == b"stderr"
    assert b"log driver none" in line.content
    assert f"There is no log of container {container_id}" in daemon.program.log_text()
    cri.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
    daemon.program.kill()
    daemon.start()
    eventually(lambda: _running(cri, container_id))
    assert lines(path) == [line]


def test_dual_logging(engine_factory: MakeEngine, criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """The log of a driver that sends its lines away is read from the copy that the engine keeps.

    The last line has a newline here: the engine copies one without a newline when the container ends, and 20.10 may
    have closed its copy by then.
    """
    nowhere = ("--log-driver=syslog", "--log-opt=syslog-address=udp://127.0.0.1:9")
    daemon = criwist_daemon(engine=_engine_with(engine_factory, *nowhere))
    daemon.start()
    _check_kinds(client_of(daemon), _KINDS_STDOUT + b"\n", _KINDS.replace("last'", "last\\n'"))


def test_no_dual_logging(engine_factory: MakeEngine, criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """If the engine keeps no copy, the log has a line that explains it, at the latest when the container has ended."""
    nowhere = ("--log-driver=syslog", "--log-opt=syslog-address=udp://127.0.0.1:9", "--log-opt=cache-disabled=true")
    daemon = criwist_daemon(engine=_engine_with(engine_factory, *nowhere))
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo lost; sleep 0.5")
    cri.wait_for_exit(container_id)
    (line,) = lines(log_path(cri, container_id))
    assert b"log driver syslog" in line.content


def _running(cri: CRI, container_id: str) -> bool:
    try:
        return bool(cri.status(container_id).state == api.CONTAINER_RUNNING)
    except grpc.RpcError:
        return False


# -- Links


def test_symlink_mode(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """With ``--log-mode symlink`` the log is a link to Docker's file, also after a rotation; removal removes it."""
    daemon = criwist_daemon(log_mode="symlink")
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "echo one; sleep 1000")
    path = log_path(cri, container_id)
    assert path.is_symlink()
    eventually(lambda: b'"log":"one\\n"' in path.read_bytes())
    rotated = rotate(cri, container_id, path)
    assert path.is_symlink()
    assert not rotated.is_symlink()
    path.unlink()
    cri.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
    assert b'"log":"one\\n"' in path.read_bytes()
    cri.stop(container_id, timeout=0)
    cri.remove(container_id)
    assert not path.is_symlink()


def test_links_of_older_shims_stay(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """A running container whose log is a link, as older shims made it, keeps it; a new container has a file."""
    daemon = criwist_daemon(log_mode="symlink")
    daemon.start()
    cri = client_of(daemon)
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    older = cri.run(pod_id, cri.container("sh", "-c", "echo one; sleep 1000"), pod)
    path = log_path(cri, older)
    daemon.stop()
    del daemon.options["log_mode"]
    daemon.start()
    eventually(lambda: _running(cri, older))
    newer = cri.run(pod_id, cri.container("sh", "-c", "echo two; sleep 1000"), pod)
    eventually(lambda: [line.content for line in lines(log_path(cri, newer))] == [b"two"])
    assert path.is_symlink()
    rotate(cri, older, path)
    assert path.is_symlink()
    assert b'"log":"one\\n"' in path.read_bytes()


def test_symlink_mode_without_json(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """With another driver a container has no log: criwist logs a warning, and ReopenContainerLog fails."""
    daemon = criwist_daemon(log_mode="symlink", container_log_driver="local")
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sleep", "1000")
    assert not log_path(cri, container_id).exists()
    assert f"There is no log of container {container_id}" in daemon.program.log_text()
    request = api.ReopenContainerLogRequest(container_id=container_id)
    refused(lambda: cri.runtime.ReopenContainerLog(request), grpc.StatusCode.FAILED_PRECONDITION)
