"""ExecSync: output and exit code, timeouts, and processes that remain."""

from __future__ import annotations

import time

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled

MIB = 1 << 20


@pytest.fixture
def container_id(cri: CRI) -> str:
    """A container that sleeps."""
    return cri.run_in_pod()[1]


@pytest.mark.second_opinion
def test_streams_and_exit_code(cri: CRI, container_id: str) -> None:
    """The response has both streams, byte for byte, and the exit code; a command that fails is no error."""
    response = cri.execute(container_id, "sh", "-c", r"printf 'out\000\377\r\n'; printf 'err' >&2; exit 7")
    assert response.stdout == b"out\x00\xff\r\n"
    assert response.stderr == b"err"
    assert response.exit_code == 7


@pytest.mark.second_opinion
def test_silent_success(cri: CRI, container_id: str) -> None:
    """A command without output has empty streams and exit code 0."""
    assert cri.execute(container_id, "true") == api.ExecSyncResponse()


@pytest.mark.second_opinion
def test_large_output(cri: CRI, container_id: str) -> None:
    """The response has three MiB of each stream."""
    script = f"head -c {3 * MIB} /dev/zero; head -c {3 * MIB} /dev/zero | tr '\\0' x >&2"
    response = cri.execute(container_id, "sh", "-c", script)
    assert response.stdout == bytes(3 * MIB)
    assert response.stderr == b"x" * (3 * MIB)


def test_output_beyond_the_limit(cri: CRI, container_id: str) -> None:
    """Output beyond 16 MiB is cut off, and the exit code is the command's; containerd 1.6 fails there."""
    script = f"head -c {20 * MIB} /dev/zero; echo end >&2; exit 4"
    response = cri.execute(container_id, "sh", "-c", script)
    assert response.exit_code == 4
    assert 15 * MIB < len(response.stdout) <= 16 * MIB
    assert response.stderr == b"end\n"
    assert response.ByteSize() <= 16 * MIB


@pytest.mark.second_opinion
def test_environment_of_the_container(cri: CRI) -> None:
    """The command runs with the container's user, variables and working directory."""
    envs = [api.KeyValue(key="MARK", value=b"set")]
    _, container_id = cri.run_in_pod(image=images.USER_NAME, envs=envs, working_dir="/tmp")
    assert cri.shell(container_id, 'echo "$(id -u) $MARK $PWD"') == "1003 set /tmp\n"


@pytest.mark.second_opinion
def test_arguments_are_not_a_shells(cri: CRI, container_id: str) -> None:
    """The command gets its arguments unchanged; no shell reads them."""
    assert cri.output(container_id, "printf", "%s|", "", "a b", "$HOME", "*", "ü") == "|a b|$HOME|*|ü|"


@pytest.mark.second_opinion
def test_missing_executable(cri: CRI, container_id: str) -> None:
    """A missing command fails, or returns the shell's exit code for it, with a text that names the command."""
    try:
        response = cri.execute(container_id, "/no/such/program")
    except grpc.RpcError as error:
        text = str(error.details())
    else:
        text = (response.stdout + response.stderr).decode()
        assert response.exit_code in (126, 127)
    assert "/no/such/program" in text


@pytest.mark.second_opinion
def test_no_container_to_run_in(cri: CRI) -> None:
    """ExecSync in an unknown container fails with NOT_FOUND; in one that does not run it fails too."""
    refused(lambda: cri.execute("0" * 64, "true"), grpc.StatusCode.NOT_FOUND)
    pod = cri.pod()
    created = cri.create(cri.run_pod(pod), cri.container(), pod)
    refused(lambda: cri.execute(created, "true"))


@pytest.mark.second_opinion
def test_timeout(cri: CRI, container_id: str) -> None:
    """At the timeout the call fails with DEADLINE_EXCEEDED at once, and the command is killed."""
    began = time.monotonic()
    refused(lambda: cri.execute(container_id, "sleep", "1234", timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - began < scaled(5)
    eventually(lambda: not _runs(cri, container_id, "sleep 1234"))


def test_timeout_kills_descendants(cri: CRI, container_id: str) -> None:
    """The timeout kills the command's descendants too, including those in sessions of their own.

    containerd kills the command alone.
    """
    script = "sleep 4321 & setsid sleep 4322 & (setsid sh -c 'sleep 4323 & wait' &) ; sleep 4324"
    refused(lambda: cri.execute(container_id, "sh", "-c", script, timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
    eventually(lambda: not _runs(cri, container_id, "sleep 432"), within=3)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING


def test_timeout_with_an_open_pipe(cri: CRI, container_id: str) -> None:
    """At the timeout the call returns although a background child keeps the output open."""
    began = time.monotonic()
    refused(
        lambda: cri.execute(container_id, "sh", "-c", "trap '' TERM HUP; sleep 999 & sleep 998", timeout=1),
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    assert time.monotonic() - began < scaled(3)


def test_end_with_an_open_pipe(cri: CRI, container_id: str) -> None:
    """The call returns when the command exits, although a child of it keeps the output open."""
    began = time.monotonic()
    response = cri.execute(container_id, "sh", "-c", "echo said; sleep 997 & exit 5", timeout=30)
    assert time.monotonic() - began < scaled(5)
    assert response.exit_code == 5
    assert response.stdout == b"said\n"
    assert _runs(cri, container_id, "sleep 997")


@pytest.mark.second_opinion
def test_command_outlives_no_timeout(cri: CRI, container_id: str) -> None:
    """A timeout of 0 means no timeout."""
    assert cri.execute(container_id, "sh", "-c", "sleep 2; echo done", timeout=0).stdout == b"done\n"


@pytest.mark.second_opinion
def test_many_at_once(cri: CRI, container_id: str) -> None:
    """Forty calls at once each return the output and exit code of their own command."""
    calls = []
    for number in range(40):
        command = ["sh", "-c", f"echo {number}; exit {number}"]
        calls.append(cri.runtime.ExecSync.future(api.ExecSyncRequest(container_id=container_id, cmd=command)))
    for number, call in enumerate(calls):
        response = call.result()
        assert (response.exit_code, response.stdout) == (number, f"{number}\n".encode())


@pytest.mark.second_opinion
def test_container_that_ends_meanwhile(cri: CRI) -> None:
    """A call ends soon after its container exits."""
    _, container_id = cri.run_in_pod("sleep", "2")
    request = api.ExecSyncRequest(container_id=container_id, cmd=["sleep", "1000"])
    call = cri.runtime.ExecSync.future(request)
    eventually(call.done, within=15)


def test_response_comes_at_once(cri: CRI, container_id: str) -> None:
    """The call of a command that exits at once returns within a fraction of a second."""
    cri.execute(container_id, "true")
    took = []
    for _ in range(5):
        began = time.monotonic()
        cri.execute(container_id, "true")
        took.append(time.monotonic() - began)
    assert min(took) < scaled(0.5)


def _runs(cri: CRI, container_id: str, command: str) -> bool:
    """Return whether a process with this beginning of its command line runs in the container."""
    processes = cri.output(container_id, "ps", "-o", "args").splitlines()
    return any(process.startswith(command) for process in processes)
