"""exec, attach, cp and port-forward as users know them: real kubectls, old and new, over both transports.

Newer kubectls speak WebSocket and fall back to SPDY; the environment variables that choose are set for each test.
Against containerd 1.6, which knows no v5, the WebSocket variants show the fall-back; tests without the second opinion
say what it does instead.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.kube_api import KubeAPI, PodContainer
from tests.harness.kubectls import Kubectl, kubectls

#: From here on kubectl can do remote commands and port-forward over WebSocket.
_FIRST_WEBSOCKETS = (1, 30)


@frozen
class Client:
    """A kubectl and the transport it is told to use."""

    kubectl: Kubectl
    websockets: bool

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.kubectl.name}-{'websocket' if self.websockets else 'spdy'}"


def _clients() -> list[Client]:
    """The oldest, the last before WebSocket, and the newest over both."""
    found = kubectls()
    old = [one for one in found if one.version < _FIRST_WEBSOCKETS]
    new = [one for one in found if one.version >= _FIRST_WEBSOCKETS]
    chosen = [Client(one, False) for one in dict.fromkeys(old[:1] + old[-1:])]
    if new:
        chosen += [Client(new[-1], False), Client(new[-1], True)]
    return chosen


@define(eq=False)
class Kube:
    """A cluster of one node, and kubectl for it."""

    api: KubeAPI
    client: Client
    _running: list[subprocess.Popen[Any]] = field(factory=list, init=False)

    def command(self, *arguments: str) -> list[str]:
        """A command line."""
        return [str(self.client.kubectl.path), f"--kubeconfig={self.api.kubeconfig}", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment that chooses the transport."""
        choice = str(self.client.websockets).lower()
        return os.environ | {
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": choice,
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": choice,
            "HOME": str(self.api.directory),
            "TERM": "xterm",
        }

    def run(self, *arguments: str, data: bytes = b"", within: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run kubectl to its end."""
        return subprocess.run(
            self.command(*arguments), input=data, capture_output=True, env=self.environment, timeout=scaled(within)
        )

    def output(self, *arguments: str, data: bytes = b"") -> bytes:
        """Standard output of a kubectl that succeeds."""
        run = self.run(*arguments, data=data)
        assert run.returncode == 0, run
        return run.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start kubectl; it is ended after the test."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment)
        self._running.append(process)
        return process

    def close(self) -> None:
        """End what runs."""
        for process in self._running:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.api.stop()


@pytest.fixture(params=_clients(), ids=lambda client: client.name)
def kube(request: pytest.FixtureRequest, cri: CRI, tmp_path: Path) -> Iterator[Kube]:
    """kubectl, and the stand-in API server over the runtime under test."""
    stand_in = KubeAPI(cri, tmp_path)
    stand_in.start()
    one = Kube(stand_in, request.param)
    yield one
    one.close()


@pytest.fixture
def pod(cri: CRI, kube: Kube) -> Callable[..., str]:
    """Makes pods of one container known to kubectl; returns the container's id.  The pod's name is ``p``."""

    def make(
        *command: str, stdin: bool = False, stdin_once: bool = False, tty: bool = False, host: bool = False
    ) -> str:
        config = cri.host_network_pod() if host else cri.pod()
        sandbox, container = cri.run_in_pod(*command, pod=config, stdin=stdin, stdin_once=stdin_once, tty=tty)
        kube.api.add_pod("p", sandbox, c=PodContainer(container, stdin=stdin, tty=tty))
        return container

    return make


# -- exec


@pytest.mark.second_opinion
def test_exec_keeps_outputs_apart_and_tells_the_exit_code(kube: Kube, pod: Callable[..., str]) -> None:
    """Standard output and error arrive where they belong, and the command's exit code is kubectl's."""
    pod()
    run = kube.run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert run.stdout == b"out\n"
    assert run.stderr.startswith(b"err\n")
    assert run.returncode == 3


@pytest.mark.second_opinion
def test_exec_feeds_a_command_to_the_end_of_its_input(kube: Kube, pod: Callable[..., str]) -> None:
    """Three megabytes go in unharmed, and the command sees their end."""
    pod()
    data = os.urandom(3 << 20)
    output = kube.output("exec", "-i", "p", "--", "sha256sum", data=data)
    assert output.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.second_opinion
def test_exec_answers_after_the_end_of_input(kube: Kube, pod: Callable[..., str]) -> None:
    """What a command says only after its input has ended still arrives: half-close."""
    pod()
    output = kube.output("exec", "-i", "p", "--", "sh", "-c", "cat >/dev/null; sleep 0.3; echo late", data=b"x" * 1000)
    assert output == b"late\n"


@pytest.mark.second_opinion
def test_exec_brings_back_a_lot(kube: Kube, pod: Callable[..., str]) -> None:
    """Fifty megabytes of output arrive, all of them and in order."""
    pod()
    script = "i=0; while [ $i -lt 50 ]; do dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' '0'; i=$((i+1)); done"
    output = kube.output("exec", "p", "--", "sh", "-c", script)
    assert len(output) == 50 << 20
    assert output.count(b"0") == len(output)


@pytest.mark.second_opinion
def test_exec_of_what_is_not_there_fails_with_words(kube: Kube, pod: Callable[..., str]) -> None:
    """The user is told that the program does not exist."""
    pod()
    run = kube.run("exec", "p", "--", "no-such-program")
    assert run.returncode != 0
    assert b"no-such-program" in run.stdout + run.stderr


def test_exec_ends_although_a_child_holds_the_output_open(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A command that leaves a child in the background ends when it ends itself.

    containerd 1.6 waits for the child.
    """
    pod()
    began = time.monotonic()
    output = kube.output("exec", "p", "--", "sh", "-c", "sleep 60 & echo done")
    assert output == b"done\n"
    assert time.monotonic() - began < scaled(20)


@pytest.mark.second_opinion
def test_ten_execs_at_once(kube: Kube, pod: Callable[..., str]) -> None:
    """Parallel execs all get their own output and code."""
    pod()

    def one(number: int) -> tuple[bytes, int]:
        run = kube.run("exec", "p", "--", "sh", "-c", f"echo {number}; exit {number}")
        return run.stdout, run.returncode

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == [(f"{number}\n".encode(), number) for number in range(10)]


# -- terminals


class Terminal:
    """A kubectl whose standard streams are a terminal."""

    def __init__(self, kube: Kube, *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self._seen = b""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            command = kube.command(*arguments)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.execve(command[0], command, kube.environment)
        self.resize(*size)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str, *, within: float = 30) -> str:
        """Read until *pattern* is there; returns what it matched and forgets all up to it."""
        deadline = time.monotonic() + scaled(within)
        while True:
            found = re.search(pattern.encode(), self._seen)
            if found:
                self._seen = self._seen[found.end() :]
                return found.group().decode()
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self._seen!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            assert data, f"kubectl ended; no {pattern!r} in {self._seen!r}"
            self._seen += data

    def exit_code(self, *, within: float = 30) -> int:
        """Read to the end; kubectl's exit code."""
        deadline = time.monotonic() + scaled(within)
        while True:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            try:
                data = os.read(self._master, 65536) if ready else b"-"
            except OSError:
                data = b""
            if not data:
                break
            assert time.monotonic() < deadline, "kubectl does not end"
        _, status = os.waitpid(self.pid, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """The user's connection drops."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)


@pytest.mark.second_opinion
def test_an_interactive_shell(kube: Kube, pod: Callable[..., str]) -> None:
    """A shell in a terminal has the user's size from the start, follows its changes, and ends with its exit code."""
    pod()
    terminal = Terminal(kube, "exec", "-it", "p", "--", "sh", size=(31, 117))
    terminal.type("tty >/dev/null && echo a-ter''minal\n")
    terminal.expect("a-terminal")

    def shows(expected: str) -> bool:
        terminal.type("stty size; echo sh''own\n")
        return terminal.expect(r"\d+ \d+\r\n(.*\r\n)?shown").split("\r")[0] == expected

    eventually(lambda: shows("31 117"), what="first size")
    terminal.resize(40, 99)
    eventually(lambda: shows("40 99"), what="new size")
    terminal.type("exit 7\n")
    assert terminal.exit_code() == 7


@pytest.mark.second_opinion
def test_control_characters_reach_the_terminal(kube: Kube, pod: Callable[..., str]) -> None:
    """Ctrl-c interrupts the program, ctrl-p is the shell's own at once, ctrl-d ends it."""
    pod()
    terminal = Terminal(
        kube, "exec", "-it", "p", "--", "sh", "-c", "trap 'echo inter''rupted' INT; echo re''ady; cat; cat -v"
    )
    terminal.expect("ready")
    time.sleep(0.5)  # the shell is now waiting for its first cat
    terminal.type("\x03")
    terminal.expect("interrupted")
    terminal.type("a\x10b\n")
    terminal.expect(r"a\^Pb\r\n.*a\^Pb")
    terminal.type("\x04")
    assert terminal.exit_code() == 0


def test_a_shell_whose_user_is_gone_is_hung_up_on(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """When the connection drops, the shell and what it runs in the foreground are gone soon.

    containerd 1.6 leaves the shell.
    """
    container = pod()
    terminal = Terminal(kube, "exec", "-it", "p", "--", "sh", "-c", "echo re''ady; sleep 3333")
    terminal.expect("ready")
    assert "sleep 3333" in cri.shell(container, "ps")
    terminal.kill()
    eventually(lambda: "sleep 3333" not in cri.shell(container, "ps"), what="the sleep to be gone")


# -- going away


@pytest.mark.second_opinion
def test_a_command_whose_client_is_gone_gets_the_end_of_its_input(
    kube: Kube, pod: Callable[..., str], cri: CRI
) -> None:
    """Without a terminal the process is not killed; its input ends."""
    container = pod()
    process = kube.start("exec", "-i", "p", "--", "sh", "-c", "echo ready; cat; echo ended > /tmp/ended")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    eventually(lambda: cri.shell(container, "cat /tmp/ended || true") == "ended\n")


# -- attach

_TICKS = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done"


@pytest.mark.second_opinion
def test_attach_shows_what_a_container_says_from_now_on(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Two may watch at once; when both are gone the container runs on."""
    container = pod("sh", "-c", _TICKS)
    watchers = [kube.start("attach", "p") for _ in range(2)]
    for watcher in watchers:
        assert watcher.stdout is not None
        lines = [watcher.stdout.readline() for _ in range(5)]
        numbers = [int(line.split()[1]) for line in lines if line.startswith(b"tick")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        watcher.kill()
    time.sleep(0.5)
    assert cri.status(container).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
def test_attach_ends_when_the_container_does(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """The last words arrive, and kubectl ends well: how the container ended is told by its status."""
    pod("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done; echo last words; exit 4", stdin=True)
    process = kube.start("attach", "p")
    time.sleep(scaled(1.5))
    kube.run("exec", "p", "--", "touch", "/tmp/go")
    output, _ = process.communicate(timeout=scaled(30))
    assert b"last words\n" in output
    assert process.returncode == 0


@pytest.mark.second_opinion
def test_input_of_an_attached_container_stays_open(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Without stdin_once, a client that goes leaves the container's input open for the next."""
    container = pod("sh", "-c", "while read line; do echo got $line; done; sleep 1000", stdin=True)
    for word in ("one", "two"):
        process = kube.start("attach", "-i", "p")
        assert process.stdin is not None
        assert process.stdout is not None
        time.sleep(scaled(1))
        process.stdin.write(f"{word}\n".encode())
        process.stdin.flush()
        lines = iter(process.stdout.readline, b"")
        assert f"got {word}\n".encode() in lines
        process.kill()
        time.sleep(0.3)
    assert cri.status(container).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
def test_stdin_once_ends_the_input_with_the_first_client(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """With stdin_once, the container's input ends when the first attached client's does."""
    container = pod("sh", "-c", "cat; exit 5", stdin=True, stdin_once=True)
    process = kube.start("attach", "-i", "p")
    time.sleep(scaled(1))
    output, _ = process.communicate(b"words\n", timeout=scaled(30))
    assert b"words\n" in output
    assert cri.wait_for_exit(container).exit_code == 5


@pytest.mark.second_opinion
def test_attach_to_a_terminal(kube: Kube, pod: Callable[..., str]) -> None:
    """A container with a terminal can be typed into, and has the size of whoever attaches."""
    pod("sh", stdin=True, tty=True)
    terminal = Terminal(kube, "attach", "-it", "p", size=(33, 111))
    time.sleep(scaled(1))

    def shows() -> bool:
        terminal.type("stty size; echo sh''own\n")
        return terminal.expect(r"\d+ \d+\r\n(.*\r\n)?shown").split("\r")[0] == "33 111"

    eventually(shows, what="its size")
    terminal.kill()


# -- cp


@pytest.mark.second_opinion
def test_cp_of_a_tree_both_ways(kube: Kube, pod: Callable[..., str], tmp_path: Path) -> None:
    """A tree goes into the container and comes back as it was."""
    pod()
    tree = tmp_path / "tree"
    for number in range(30):
        path = tree / f"d{number % 5}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 20_000))
    kube.output("cp", str(tree), "p:/tmp/there")
    kube.output("cp", "p:/tmp/there", str(tmp_path / "back"))
    assert _checksums(tmp_path / "back") == _checksums(tree)


def _checksums(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# -- port-forward


def forwarded(kube: Kube, *ports: int) -> list[int]:
    """Start kubectl port-forward; the local port of each of *ports*."""
    process = kube.start("port-forward", "p", *[f":{port}" for port in ports])
    assert process.stdout is not None
    local: dict[int, int] = {}
    while len(local) < len(ports):
        line = process.stdout.readline().decode()
        assert line, process.communicate()
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line)
        if found:
            local[int(found[2])] = int(found[1])
    return [local[port] for port in ports]


def fetch(port: int, path: str) -> bytes:
    """GET."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=scaled(20)) as answer:
        content: bytes = answer.read()
    return content


def listening(cri: CRI, container: str, port: int) -> None:
    """Wait until something listens on *port* in the container."""
    entry = re.compile(rf":{port:04X} \S+ 0A ")  # 0A: TCP_LISTEN
    eventually(lambda: entry.search(cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6")), what=f"port {port}")


_WEB = "mkdir /www; i=0; while [ $i -lt 40 ]; do seq $((i*500)) > /www/$i; i=$((i+1)); done; httpd -f -p {} -h /www"


@pytest.mark.second_opinion
def test_port_forward_to_a_web_server(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Forty files over ten connections at once arrive as they are."""
    container = pod("sh", "-c", _WEB.format(8080))
    listening(cri, container, 8080)
    (port,) = forwarded(kube, 8080)

    def right(number: int) -> bool:
        expected = "".join(f"{one}\n" for one in range(1, number * 500 + 1)).encode()
        return fetch(port, str(number)) == expected

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert all(pool.map(right, range(40)))


@pytest.mark.second_opinion
def test_port_forward_to_a_pod_on_the_host_network(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A pod without a network of its own is reached on the host's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    container = pod("sh", "-c", _WEB.format(f"127.0.0.1:{number}"), host=True)
    listening(cri, container, number)
    (port,) = forwarded(kube, number)
    assert fetch(port, "1").startswith(b"1\n2\n")


def test_port_forward_to_ipv6_loopback(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A server that listens on ::1 only is reached too.  (Docker switches IPv6 off in pods on its bridge.)

    containerd 1.6 tries 127.0.0.1 alone.
    """
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        number = free.getsockname()[1]
    container = pod("sh", "-c", _WEB.format(f"[::1]:{number}"), host=True)
    listening(cri, container, number)
    (port,) = forwarded(kube, number)
    assert fetch(port, "1").startswith(b"1\n2\n")


@pytest.mark.second_opinion
def test_port_forward_to_nobody_harms_nobody(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A connection to a port without a listener ends; one to another port, open meanwhile, goes on."""
    container = pod("sh", "-c", "nc -ll -p 7000 -e cat")
    listening(cri, container, 7000)
    good, bad = forwarded(kube, 7000, 7001)
    with socket.create_connection(("127.0.0.1", good), timeout=scaled(20)) as echo:
        echo.sendall(b"before")
        assert echo.recv(6, socket.MSG_WAITALL) == b"before"
        lonely = socket.create_connection(("127.0.0.1", bad), timeout=scaled(20))
        with lonely, contextlib.suppress(ConnectionResetError):
            assert lonely.recv(100) == b""
        # Newer kubectls end themselves at the first error that a connection has; older ones go on.
        if kube.client.kubectl.version < (1, 23):
            echo.sendall(b"after")
            assert echo.recv(5, socket.MSG_WAITALL) == b"after"


@pytest.mark.second_opinion
def test_port_forward_passes_the_server_s_end_on(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A server that speaks and closes ends the user's connection, although the user has not closed it."""
    container = pod("sh", "-c", "nc -ll -p 7003 -e echo that is all")
    listening(cri, container, 7003)
    (port,) = forwarded(kube, 7003)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=scaled(20)) as connection:
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer == b"that is all\n"


def test_port_forward_with_half_close(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """The server sees the end of what the client sends, and answers after it.

    containerd 1.6 closes both directions when one ends.
    """
    container = pod("sh", "-c", "nc -ll -p 7002 -e sha256sum")
    listening(cri, container, 7002)
    (port,) = forwarded(kube, 7002)
    data = os.urandom(2 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=scaled(30)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_the_transport_is_the_one_that_was_asked_for(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A kubectl told to use WebSocket gets it for remote commands, with no fall-back to SPDY.

    containerd 1.6 does not know v5.
    """
    pod()
    kube.output("exec", "p", "--", "true")
    upgrades = [upgrade.lower() for _, upgrade, _ in kube.api.seen]
    assert upgrades == (["websocket"] if kube.client.websockets else ["spdy/3.1"])
