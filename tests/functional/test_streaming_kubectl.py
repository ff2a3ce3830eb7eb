"""exec, attach and cp with real kubectls, old and new, over both transports.

Newer kubectls speak WebSocket and fall back to SPDY; each test sets the environment variables that choose.
On containerd 1.6, which does not have v5, the WebSocket variants test the fall-back; tests without the second opinion
state its behaviour.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.streaming.keepalive import PING_INTERVAL
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.kube import Kube, Terminal, clients
from tests.harness.kube_api import KubeAPI, PodContainer

# -- exec


@pytest.mark.second_opinion
def test_exec_separates_outputs_and_returns_the_exit_code(kube: Kube, pod: Callable[..., str]) -> None:
    """Standard output and error stay separate, and kubectl exits with the command's code."""
    pod()
    run = kube.run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert run.stdout == b"out\n"
    assert run.stderr.startswith(b"err\n")
    assert run.returncode == 3


@pytest.mark.second_opinion
def test_exec_feeds_a_command_to_the_end_of_its_input(kube: Kube, pod: Callable[..., str]) -> None:
    """The command reads three megabytes unchanged, and their end."""
    pod()
    data = os.urandom(3 << 20)
    output = kube.output("exec", "-i", "p", "--", "sha256sum", data=data)
    assert output.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.second_opinion
def test_exec_has_output_after_the_end_of_input(kube: Kube, pod: Callable[..., str]) -> None:
    """Output after the end of the input arrives: half-close."""
    pod()
    output = kube.output("exec", "-i", "p", "--", "sh", "-c", "cat >/dev/null; sleep 0.3; echo late", data=b"x" * 1000)
    assert output == b"late\n"


def test_exec_whose_command_reads_part_of_its_input(kube: Kube, pod: Callable[..., str]) -> None:
    """kubectl gets the exit code although it is still sending when the command exits.

    containerd 1.6 stops reading then, and the two wait for each other for ever.
    """
    pod()
    run = kube.run("exec", "-i", "p", "--", "sh", "-c", "head -c 5; exit 3", data=b"words" + bytes(20_000_000))
    assert (run.stdout, run.returncode) == (b"words", 3)


@pytest.mark.second_opinion
def test_exec_returns_the_exit_code_after_the_end_of_input(kube: Kube, pod: Callable[..., str]) -> None:
    """kubectl gets the exit code of a command that fails after the end of its input."""
    pod()
    run = kube.run("exec", "-i", "p", "--", "sh", "-c", "cat; exit 3", data=b"words\n")
    assert (run.stdout, run.returncode) == (b"words\n", 3)


@pytest.mark.second_opinion
def test_exec_with_much_output(kube: Kube, pod: Callable[..., str]) -> None:
    """Fifty megabytes of output arrive completely and in order."""
    pod()
    script = "i=0; while [ $i -lt 50 ]; do dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' '0'; i=$((i+1)); done"
    output = kube.output("exec", "p", "--", "sh", "-c", script)
    assert len(output) == 50 << 20
    assert output.count(b"0") == len(output)


@pytest.mark.second_opinion
def test_exec_of_a_missing_program(kube: Kube, pod: Callable[..., str]) -> None:
    """kubectl prints that the program does not exist."""
    pod()
    run = kube.run("exec", "p", "--", "no-such-program")
    assert run.returncode != 0
    assert b"no-such-program" in run.stdout + run.stderr


def test_exec_ends_although_a_child_holds_the_output_open(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """An exec ends with its command, although a child in the background keeps the output open.

    containerd 1.6 waits for the child.
    """
    pod()
    began = time.monotonic()
    output = kube.output("exec", "p", "--", "sh", "-c", "sleep 60 & echo done")
    assert output == b"done\n"
    assert time.monotonic() - began < scaled(20)


@pytest.mark.second_opinion
def test_ten_execs_at_once(kube: Kube, pod: Callable[..., str]) -> None:
    """Parallel execs each get their own output and exit code."""
    pod()

    def one(number: int) -> tuple[bytes, int]:
        run = kube.run("exec", "p", "--", "sh", "-c", f"echo {number}; exit {number}")
        return run.stdout, run.returncode

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == [(f"{number}\n".encode(), number) for number in range(10)]


# -- terminals


@pytest.mark.second_opinion
def test_an_interactive_shell(kube: Kube, pod: Callable[..., str]) -> None:
    """A shell has the terminal's size from the start, follows its changes, and returns its exit code."""
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
def test_control_characters_reach_the_terminal(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Ctrl-c interrupts the program, ctrl-p reaches the shell at once, ctrl-d ends the shell."""
    container = pod()
    terminal = Terminal(
        kube, "exec", "-it", "p", "--", "sh", "-c", "trap 'echo inter''rupted' INT; echo re''ady; cat; cat -v"
    )
    terminal.expect("ready")
    eventually(lambda: [line for line in cri.shell(container, "ps").splitlines() if line.endswith(" cat")])
    terminal.type("\x03")
    terminal.expect("interrupted")
    terminal.type("a\x10b\n")
    terminal.expect(r"a\^Pb\r\n.*a\^Pb")
    terminal.type("\x04")
    assert terminal.exit_code() == 0


def test_a_lost_client_hangs_up_the_shell(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """When the connection drops, the shell and its foreground processes get SIGHUP.

    containerd 1.6 leaves the shell running.
    """
    container = pod()
    script = "trap 'echo hung up > /tmp/hup; exit' HUP; echo re''ady; sleep 3333"
    terminal = Terminal(kube, "exec", "-it", "p", "--", "sh", "-c", script)
    terminal.expect("ready")
    assert "sleep 3333" in cri.shell(container, "ps")
    terminal.kill()
    eventually(lambda: "sleep 3333" not in cri.shell(container, "ps"), what="the sleep to be gone")
    eventually(lambda: cri.shell(container, "cat /tmp/hup || true") == "hung up\n", what="the shell to know why")


# -- lost clients


@pytest.mark.second_opinion
def test_a_lost_client_ends_the_input(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Without a terminal a lost client ends the input; the process is not killed."""
    container = pod()
    process = kube.start("exec", "-i", "p", "--", "sh", "-c", "echo ready; cat; echo ended > /tmp/ended")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    eventually(lambda: cri.shell(container, "cat /tmp/ended || true") == "ended\n")


# -- attach

_TICKS = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done;"


def await_attachment(process: subprocess.Popen[bytes]) -> None:
    """Wait until a kubectl has output of the container, so that it is attached."""
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"tick")


@pytest.mark.second_opinion
def test_attach_has_the_output_from_now_on(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Two clients get a container's output from now on; when both are gone, the container runs on."""
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
    """The last output arrives, and kubectl exits with 0: only the status has the container's exit code."""
    pod("sh", "-c", "until [ -e /tmp/go ]; do echo tick; sleep 0.1; done; echo last words; exit 4", stdin=True)
    process = kube.start("attach", "p")
    await_attachment(process)
    kube.run("exec", "p", "--", "touch", "/tmp/go")
    output, _ = process.communicate(timeout=scaled(30))
    assert b"last words\n" in output
    assert process.returncode == 0


@pytest.mark.second_opinion
def test_input_of_an_attached_container_stays_open(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Without stdin_once a lost client leaves the container's input open for the next client."""
    container = pod("sh", "-c", f"{{ {_TICKS} }} & while read line; do echo got $line; done; wait", stdin=True)
    for word in ("one", "two"):
        process = kube.start("attach", "-i", "p")
        assert process.stdin is not None
        assert process.stdout is not None
        await_attachment(process)
        process.stdin.write(f"{word}\n".encode())
        process.stdin.flush()
        lines = iter(process.stdout.readline, b"")
        assert f"got {word}\n".encode() in lines
        process.kill()
        time.sleep(0.3)
    assert cri.status(container).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
def test_stdin_once_ends_the_input_with_the_first_client(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """With stdin_once the container's input ends with the input of the first attached client."""
    container = pod("sh", "-c", f"{{ {_TICKS} }} & cat; kill $!; exit 5", stdin=True, stdin_once=True)
    process = kube.start("attach", "-i", "p")
    await_attachment(process)
    output, _ = process.communicate(b"words\n", timeout=scaled(30))
    assert b"words\n" in output
    assert cri.wait_for_exit(container).exit_code == 5


@pytest.mark.second_opinion
def test_attach_to_a_terminal(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A container's terminal takes input, has the size of the latest client, and outlives its clients."""
    container = pod("sh", stdin=True, tty=True)
    for size in ((33, 111), (40, 99)):
        terminal = Terminal(kube, "attach", "-it", "p", size=size)

        def shows(terminal: Terminal = terminal, expected: str = "{} {}".format(*size)) -> bool:
            terminal.type("stty size; echo sh''own\n")
            return terminal.expect(r"\d+ \d+\r\n(.*\r\n)?shown").split("\r")[0] == expected

        eventually(shows, what="its size")
        terminal.kill()
        time.sleep(0.5)
        assert cri.status(container).state == api.CONTAINER_RUNNING


@pytest.mark.second_opinion
def test_two_at_one_terminal(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Several clients of one terminal see the same output, and its exit ends all their sessions."""
    container = pod("sh", "-c", "until [ -e /tmp/go ]; do echo tick; sleep 0.1; done; exec sh", stdin=True, tty=True)
    first, second = (Terminal(kube, "attach", "-it", "p") for _ in range(2))
    for terminal in (first, second):
        terminal.expect("tick")
    cri.shell(container, "touch /tmp/go")
    first.type("echo to every''one\n")
    for terminal in (first, second):
        terminal.expect("to everyone")
    second.type("exit 4\n")
    assert [terminal.exit_code() for terminal in (first, second)] == [0, 0]
    assert cri.wait_for_exit(container).exit_code == 4


# -- cp


@pytest.mark.second_opinion
def test_cp_of_a_tree_both_ways(kube: Kube, pod: Callable[..., str], tmp_path: Path) -> None:
    """cp copies a tree into the container and back unchanged."""
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


def test_kubectl_uses_the_chosen_transport(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A kubectl that is set to WebSocket uses it for remote commands, without a fall-back to SPDY.

    containerd 1.6 does not have v5.
    """
    pod()
    kube.output("exec", "p", "--", "true")
    upgrades = [upgrade.lower() for _, upgrade, _ in kube.api.seen]
    assert upgrades == (["websocket"] if kube.client.websockets else ["spdy/3.1"])


# -- time


def test_quiet_sessions_outlive_pings(cri: CRI, tmp_path: Path) -> None:
    """A session stays open through a silence longer than the interval of pings, with every kubectl."""
    stand_in = KubeAPI(cri, tmp_path)
    stand_in.start()
    sandbox, container = cri.run_in_pod()
    stand_in.add_pod("p", sandbox, c=PodContainer(container))
    kubes = [Kube(stand_in, client) for client in clients()]
    seconds = str(PING_INTERVAL + 3)
    processes = [kube.start("exec", "p", "--", "sh", "-c", f"sleep {seconds}; echo still here") for kube in kubes]
    try:
        outputs = [process.communicate(timeout=scaled(PING_INTERVAL + 30))[0] for process in processes]
        assert outputs == [b"still here\n"] * len(kubes)
    finally:
        for kube in kubes:
            kube.end()
        stand_in.stop()
