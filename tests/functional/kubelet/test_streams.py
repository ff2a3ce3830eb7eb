"""Logs, exec, attach and port-forward through kubelet's own port, which leads on to the runtime's."""

from __future__ import annotations

import json
import struct

import pytest

from tests.functional.pod_networks import GREETER
from tests.harness.clock import eventually
from tests.harness.kubelet import Kubelet, container, manifest, phase, running, with_containers

pytestmark = pytest.mark.second_opinion


def test_logs(kubelet: Kubelet) -> None:
    """A container's log is served: its end, the times of its lines, and its beginning up to a number of bytes."""
    pod = kubelet.run_pod(
        manifest("sh", "-c", "seq 5; sleep 1; echo err >&2", restart="Never"), until=phase("Succeeded")
    )
    name = pod["metadata"]["name"]
    assert kubelet.logs(name) == "1\n2\n3\n4\n5\nerr\n"
    assert kubelet.logs(name, tailLines="2") == "5\nerr\n"
    assert kubelet.logs(name, limitBytes="3") == "1\n2"
    assert kubelet.logs(name, timestamps="true").startswith("20")


def test_followed_log(kubelet: Kubelet) -> None:
    """A followed log ends when the container does, with all that it has written."""
    pod = kubelet.run_pod(
        manifest("sh", "-c", "seq 100; sleep 2; seq 101 200", restart="Never"), until=phase("Running", "Succeeded")
    )
    lines = kubelet.logs(pod["metadata"]["name"], follow="true").splitlines()
    assert lines == [str(number) for number in range(1, 201)]


def test_log_of_an_unknown_container(kubelet: Kubelet) -> None:
    """Logs of containers and pods that do not exist are not found."""
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    assert kubelet.request("GET", f"/containerLogs/default/{name}/other")[0] == 404
    assert kubelet.request("GET", "/containerLogs/default/other/c")[0] == 404


def test_exec(kubelet: Kubelet) -> None:
    """Outputs of a command are separate, and its exit code is in the status."""
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    out, err, result = kubelet.exec(name, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (out, err) == (b"out\n", b"err\n")
    assert result["reason"] == "NonZeroExitCode"
    assert result["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


def test_exec_with_input(kubelet: Kubelet) -> None:
    """What is sent is the command's standard input."""
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    command = ("sh", "-c", "read line; echo got $line")
    client = kubelet.stream("exec", name, "c", command=command, input="1", output="1")
    client.send(0, b"hello\n")
    client.receive_all()
    client.close()
    assert bytes(client.received[1]) == b"got hello\n"
    assert json.loads(client.received[3])["status"] == "Success"


def test_exec_on_a_terminal(kubelet: Kubelet) -> None:
    """A command on a terminal has both outputs in one, and the size that is sent."""
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    script = "until stty size 2>/dev/null | grep -q ^33; do sleep 0.1; done; stty size; echo err >&2"
    client = kubelet.stream("exec", name, "c", command=("sh", "-c", script), input="1", output="1", tty="1")
    client.send(4, json.dumps({"Width": 77, "Height": 33}).encode())
    client.receive_all()
    client.close()
    assert bytes(client.received[1]) == b"33 77\r\nerr\r\n"


def test_run(kubelet: Kubelet) -> None:
    """A command that kubelet runs itself returns its output, or its failure."""
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    path = f"/run/default/{name}/c?cmd="
    eventually(lambda: kubelet.request("POST", f"{path}echo%20hello") == (200, b"hello\n"))
    code, body = kubelet.request("POST", f"{path}false")
    assert (code, b"exit code 1" in body or b"exited with 1" in body) == (500, True)


def test_attach(kubelet: Kubelet) -> None:
    """Attached to a container, a client writes to it and reads from it, until it ends."""
    script = "while read line; do echo got $line; test $line = end && exit; done"
    pod = kubelet.run_pod(manifest("sh", "-c", script, stdin=True, restart="Never"))
    name = pod["metadata"]["name"]
    client = kubelet.stream("attach", name, "c", input="1", output="1", error="1")
    client.send(0, b"one\n")
    client.receive_until(1, b"got one\n")
    client.send(0, b"end\n")
    client.receive_all()
    client.close()
    assert bytes(client.received[1]) == b"got one\ngot end\n"
    kubelet.wait_for(name, phase("Succeeded"))


def test_port_forward(kubelet: Kubelet) -> None:
    """A forwarded port leads to the server in the pod, which listens on the loopback address alone."""
    server = container("httpd", "-f", "-p", "127.0.0.1:8000", "-h", "/data")
    name = kubelet.run_pod(with_containers(server), until=running)["metadata"]["name"]
    eventually(lambda: "8000" in kubelet.output(name, "netstat", "-ltn"))
    client = kubelet.stream("portForward", name, port="8000")
    client.send(0, b"GET /file HTTP/1.0\r\n\r\n")
    client.receive_until(0, b"from the image\n")
    client.close()
    # Each channel begins with the number of its port.
    assert client.received[0].startswith(struct.pack("<H", 8000) + b"HTTP/1")


def test_port_forward_to_nothing(kubelet: Kubelet) -> None:
    """A port that nothing listens on is an error on the error channel, and the pod goes on."""
    name = kubelet.run_pod(manifest(*GREETER))["metadata"]["name"]
    client = kubelet.stream("portForward", name, port="8001")
    client.receive_all()
    client.close()
    assert client.received[1][:2] == struct.pack("<H", 8001)
    assert b"refused" in client.received[1][2:]
    assert running(kubelet.wait_for(name, running))
