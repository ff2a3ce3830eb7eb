"""criwist as a program: its socket, start, stop and options."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import cpu_seconds
from criwist import __version__
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.engine import Engine

#: twistd shuts down in order and then, since Twisted 22.10, dies of the signal that it received.
_ENDED_ON_REQUEST = (0, -signal.SIGTERM)


def _run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``twistd criwist`` with options with which it exits soon."""
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "criwist", *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=scaled(30),
        cwd=REPOSITORY,
        env=os.environ | (environment or {}),
    )


def test_serves_soon(criwist_daemon: Callable[..., Daemon]) -> None:
    """criwist serves within 1.5 seconds of its start; on a busy machine its own CPU time counts."""
    assert min(_start_and_stop(criwist_daemon) for _ in range(3)) < scaled(1.5)


def _start_and_stop(criwist_daemon: Callable[..., Daemon]) -> float:
    daemon = criwist_daemon()
    took = min(daemon.start(), cpu_seconds(daemon.pid))
    daemon.stop()
    return took


def test_socket_is_for_owner_and_group(criwist: Daemon) -> None:
    """The socket's mode is 0660."""
    assert stat.S_IMODE(criwist.socket.stat().st_mode) == 0o660


def test_serving_is_logged(criwist: Daemon) -> None:
    """The log has a line with the socket when criwist serves."""
    assert str(criwist.socket) in criwist.log_text()


def test_ends_on_request(criwist_daemon: Callable[..., Daemon]) -> None:
    """SIGTERM ends criwist within seconds, and criwist removes its socket."""
    daemon = criwist_daemon()
    daemon.start()
    began = time.monotonic()
    assert daemon.stop() in _ENDED_ON_REQUEST
    assert time.monotonic() - began < scaled(5)
    assert not daemon.socket.exists()


def test_ends_with_calls_open(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """SIGTERM does not wait for long calls; their clients get an error, and the containers run on."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    exec_call = cri.runtime.ExecSync.future(
        api.ExecSyncRequest(container_id=container_id, cmd=["sleep", "100"]), timeout=scaled(60)
    )
    eventually(lambda: "sleep 100" in cri.shell(container_id, "ps"))
    began = time.monotonic()
    assert daemon.stop() in _ENDED_ON_REQUEST
    assert time.monotonic() - began < scaled(10)
    assert exec_call.exception(timeout=scaled(10)) is not None
    assert engine.inspect(container_id)["State"]["Running"]
    engine.remove_containers()


def test_stale_socket_is_replaced(criwist_daemon: Callable[..., Daemon]) -> None:
    """A criwist replaces the socket that a killed one left behind, and serves."""
    daemon = criwist_daemon()
    daemon.start()
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()


def test_version_option() -> None:
    """``--version`` prints the version and exits."""
    run = _run("--version")
    assert run.returncode == 0
    assert __version__ in run.stdout + run.stderr


def test_wrong_option_is_named() -> None:
    """A wrong value is a usage error that names option, value and expectation."""
    run = _run("--image-pull-progress-deadline", "soon")
    assert run.returncode != 0
    text = run.stdout + run.stderr
    assert "image-pull-progress-deadline" in text
    assert "soon" in text
    assert "Traceback" not in text


def test_cri_over_the_network_is_refused() -> None:
    """A CRI endpoint must be on a loopback address."""
    run = _run("--endpoint", "tcp://192.0.2.10:1234")
    assert run.returncode != 0
    assert "192.0.2.10" in run.stdout + run.stderr


def test_options_of_older_shims(criwist_daemon: Callable[..., Daemon]) -> None:
    """criwist starts with the options of an ExecStart of cri-dockerd."""
    daemon = criwist_daemon(
        endpoint=None,
        root_directory=None,
        network_plugin="",
        image_pull_progress_deadline="1m0s",
        runtime_request_timeout="2m0s",
        streaming_bind_addr="127.0.0.1",
        log_level="info",
        v="2",
        logtostderr=True,
    )
    daemon.options["container_runtime_endpoint"] = daemon.endpoint
    daemon.options["cri_dockerd_root_directory"] = str(daemon.state)
    daemon.start()


def test_docker_host(criwist_daemon: Callable[..., Daemon], engine: Engine) -> None:
    """Without ``--docker-endpoint`` criwist connects to the engine in DOCKER_HOST."""
    os.environ["DOCKER_HOST"] = engine.endpoint
    try:
        daemon = criwist_daemon()
        daemon.options["docker_endpoint"] = None
        daemon.start()
    finally:
        del os.environ["DOCKER_HOST"]
