"""``make run`` and ``make demo`` on the tests' engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.client import answers_version
from tests.harness.clock import scaled
from tests.harness.daemon import REPOSITORY
from tests.harness.engine import Engine
from tests.harness.programs import Program

EXAMPLES = REPOSITORY / "etc" / "examples"


@pytest.fixture(scope="module")
def running(session_root: Path, engine: Engine) -> Iterator[tuple[Program, str]]:
    """A running ``tools/run.py`` whose criwist serves, and its endpoint."""
    directory = session_root / "demo"
    directory.mkdir()
    socket = directory / "criwist.sock"
    command = [
        sys.executable,
        "tools/run.py",
        "--endpoint",
        f"unix://{socket}",
        "--root-directory",
        f"{directory}/state",
    ]
    program = Program(
        "tools/run.py", command, directory / "log", environment={"DOCKER_HOST": engine.endpoint}, directory=REPOSITORY
    )
    program.start(lambda: answers_version(socket))
    yield program, f"unix://{socket}"
    program.stop()


def _demo(endpoint: str, engine: Engine, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "criwist.demo", "--endpoint", endpoint, "--load-busybox", *arguments]
    environment = os.environ | {"DOCKER_HOST": engine.endpoint}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=scaled(90), cwd=REPOSITORY, env=environment, check=False
    )


def test_hello(running: tuple[Program, str], engine: Engine) -> None:
    """The demo runs the example's pod, prints its state, address and log, and removes it."""
    before = engine.container_names()
    run = _demo(running[1], engine, str(EXAMPLES / "hello.yaml"))
    assert run.returncode == 0, run.stdout + run.stderr
    for part in (
        "SANDBOX_READY",
        f"address:   {engine.subnet}.",
        "exited 0, Completed",
        "Hello from hello",
        "eth0 has",
    ):
        assert part in run.stdout, run.stdout
    assert engine.container_names() == before


def test_two_containers(running: tuple[Program, str], engine: Engine) -> None:
    """The second example has an init container, a shared volume, a shared network and a shared PID namespace."""
    run = _demo(running[1], engine, str(EXAMPLES / "two-containers.yaml"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "    It works" in run.stdout
    assert "/pause" in run.stdout


def test_failing_pod(running: tuple[Program, str], engine: Engine, tmp_path: Path) -> None:
    """The demo of a failing container prints its log, removes the pod and fails."""
    before = engine.container_names()
    manifest = tmp_path / "pod.yaml"
    container = {"name": "c", "image": "criwist.example/busybox:1", "command": ["sh", "-c", "echo no luck; exit 3"]}
    manifest.write_text(f"{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{container}]}}}}")
    run = _demo(running[1], engine, str(manifest))
    assert run.returncode == 1
    assert "exited 3, Error" in run.stdout
    assert "    no luck" in run.stdout
    assert engine.container_names() == before


def test_errors_are_sentences(running: tuple[Program, str], engine: Engine, tmp_path: Path) -> None:
    """A wrong manifest or a socket without a server prints one line, not a traceback."""
    manifest = tmp_path / "pod.yaml"
    manifest.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n")
    wrong = _demo(running[1], engine, str(manifest))
    assert wrong.stderr == "criwist.demo: spec.containers[0].image: is required\n"
    nobody = _demo(f"unix://{tmp_path}/nobody.sock", engine, str(EXAMPLES / "hello.yaml"))
    assert nobody.stderr.startswith("criwist.demo: UNAVAILABLE: ")
    assert nobody.stderr.count("\n") == 1
    assert (wrong.returncode, nobody.returncode) == (1, 1)


def test_run_ends_on_request(running: tuple[Program, str]) -> None:
    """SIGTERM ends ``make run`` and its criwist with success."""
    program, _ = running
    assert program.stop() == 0
