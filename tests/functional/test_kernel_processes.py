"""Killing the processes of an exec in real containers, and no others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from criwist.interfaces.kernel import EXEC_MARKER
from criwist.kernel.process_tree import kill_tree
from criwist.kernel.procfs import read_stat
from tests.harness import images
from tests.harness.clock import eventually
from tests.harness.engine import Engine

#: PID 1 of the test containers: reaps children, and has a child that may be younger than an exec.
_MAIN = "while :; do sleep 0.05 & wait; done"


class Container:
    """A running container, and its processes."""

    def __init__(self, engine: Engine, **host_config: Any) -> None:
        body = {
            "Image": images.BUSYBOX,
            "Cmd": ["sh", "-c", _MAIN],
            "HostConfig": {"NetworkMode": "none", **host_config},
        }
        self.engine = engine
        self.id: str = engine.post("/containers/create", body)["Id"]
        engine.post(f"/containers/{self.id}/start")

    def exec(self, script: str, *, tty: bool = False, environment: tuple[str, ...] = ()) -> str:
        """Start a shell in it with its output attached, as ExecSync does; return the exec's id.

        The shell becomes the last command of *script* itself.
        """
        body = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Env": list(environment),
            "Cmd": ["sh", "-c", script],
        }
        identifier: str = self.engine.post(f"/containers/{self.id}/exec", body)["Id"]
        # The engine ends the exec's output with the request, so a client has to stay connected.
        line = threading.Thread(target=self._attend, args=(identifier, tty), daemon=True)
        line.start()
        eventually(lambda: self.inspect(identifier)["Running"] and self.inspect(identifier)["Pid"])
        return identifier

    def _attend(self, identifier: str, tty: bool) -> None:
        self.engine.request("POST", f"/exec/{identifier}/start", {"Detach": False, "Tty": tty}, timeout=60)

    def inspect(self, identifier: str) -> Any:
        """Return the inspected exec."""
        return self.engine.get(f"/exec/{identifier}/json")

    def sleepers(self) -> list[str]:
        """Return the durations of all ``sleep`` in the container that are longer than PID 1's."""
        titles = self.engine.get(f"/containers/{self.id}/top", ps_args="-eo pid,args")["Processes"]
        commands = [row[1].split() for row in titles]
        return sorted(words[1] for words in commands if words[0] == "sleep" and words[1] != "0.05")

    def kill(self, identifier: str) -> int:
        """Kill the exec's tree."""
        return kill_tree(self.inspect(identifier)["Pid"], self.id)


@pytest.fixture
def container(engine: Engine) -> Iterator[Container]:
    """A container for one test."""
    made = Container(engine)
    yield made
    engine.delete(f"/containers/{made.id}", force="1", v="1")


def _all_run(container: Container, *durations: str) -> None:
    eventually(lambda: container.sleepers() == sorted(durations), what=f"sleeps of {durations}")


def test_background_children(container: Container) -> None:
    """A background child and one in its own session are killed with the shell that started them."""
    identifier = container.exec("sleep 1001 & setsid sleep 1002 & wait")
    _all_run(container, "1001", "1002")
    assert container.kill(identifier) == 3
    _all_run(container)
    exec_ended = eventually(
        lambda: container.inspect(identifier) if not container.inspect(identifier)["Running"] else None
    )
    assert exec_ended["ExitCode"] == 137  # type: ignore[index]


def test_orphans(container: Container) -> None:
    """A process that was reparented to PID 1 is found by the exec's session or by its open output."""
    identifier = container.exec("(sleep 1003 >/dev/null 2>&1 &); (setsid sleep 1004 &); sleep 1005")
    _all_run(container, "1003", "1004", "1005")
    assert container.kill(identifier) == 3
    _all_run(container)


def test_daemon_with_the_marker(container: Container) -> None:
    """A daemon that left session and streams is found by the marker in the environment."""
    script = "(setsid sleep 1006 </dev/null >/dev/null 2>&1 &); sleep 1007"
    identifier = container.exec(script, environment=(f"{EXEC_MARKER}=functional-{time.monotonic_ns()}",))
    _all_run(container, "1006", "1007")
    assert container.kill(identifier) == 2
    _all_run(container)


def test_terminal(container: Container) -> None:
    """With a terminal, an orphan in its own session is found by the terminal that it has open."""
    identifier = container.exec("(setsid sleep 1008 &); sleep 1009", tty=True)
    _all_run(container, "1008", "1009")
    assert container.kill(identifier) == 2
    _all_run(container)


def test_others_live(container: Container) -> None:
    """PID 1, its children and another exec live on; none of them stays stopped."""
    other = container.exec("sleep 1010 & (setsid sleep 1011 &); wait")
    identifier = container.exec("sleep 1012")
    _all_run(container, "1010", "1011", "1012")
    assert container.kill(identifier) == 1
    _all_run(container, "1010", "1011")
    state = container.engine.inspect(container.id)["State"]
    assert state["Running"]
    for pid in (state["Pid"], container.inspect(other)["Pid"]):
        stat = read_stat(pid)
        assert stat is not None
        assert stat.state != "T"


def test_fork_storm(container: Container) -> None:
    """Processes that fork as fast as they can are all found, since a stopped process does not fork."""
    script = 'i=0; while [ $i -lt 20 ]; do sh -c "while :; do sleep 7777 & sleep 0.01; done" & i=$((i+1)); done; wait'
    identifier = container.exec(script)
    eventually(lambda: len(container.sleepers()) > 50)
    started = time.monotonic()
    assert container.kill(identifier) > 50
    assert time.monotonic() - started < 5
    eventually(lambda: not [each for each in container.sleepers() if each == "7777"])
    time.sleep(0.1)
    assert not [each for each in container.sleepers() if each == "7777"]


def test_host_pid_namespace(engine: Engine) -> None:
    """In the host's PID namespace orphans are reparented to the shim instead of PID 1, and are found too."""
    container = Container(engine, PidMode="host")
    try:
        identifier = container.exec("(sleep 1013 >/dev/null 2>&1 &); (setsid sleep 1014 &); sleep 1015")
        _all_run(container, "1013", "1014", "1015")
        assert container.kill(identifier) == 3
        _all_run(container)
    finally:
        engine.delete(f"/containers/{container.id}", force="1", v="1")


def test_shared_pid_namespace(engine: Engine, container: Container) -> None:
    """In a pod with one PID namespace, processes of the other container are not killed."""
    second = Container(engine, PidMode=f"container:{container.id}")
    try:
        other = container.exec("sleep 1016")
        identifier = second.exec("(setsid sleep 1017 &); sleep 1018")
        _all_run(second, "1017", "1018")
        assert second.kill(identifier) == 2
        _all_run(second)
        assert container.inspect(other)["Running"]
    finally:
        engine.delete(f"/containers/{second.id}", force="1", v="1")


def test_pid_of_another_container(engine: Engine, container: Container) -> None:
    """A pid that belongs to another container by now is not killed."""
    identifier = container.exec("sleep 1019")
    assert kill_tree(container.inspect(identifier)["Pid"], "0" * 64) == 0
    assert container.inspect(identifier)["Running"]
