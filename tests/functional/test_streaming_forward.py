"""port-forward with real kubectls, old and new, over both transports, to servers in pods.

Tests without the second opinion state the behaviour of containerd 1.6.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import re
import socket
import urllib.request
from collections.abc import Callable

import pytest

from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.kube import Kube


def forwarded(kube: Kube, *ports: int) -> list[int]:
    """Start kubectl port-forward, and return the local port of each of *ports*."""
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
    """Return the response's body of a GET."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=scaled(20)) as response:
        content: bytes = response.read()
    return content


def listening(cri: CRI, container: str, port: int) -> None:
    """Wait until something listens on *port* in the container."""
    entry = re.compile(rf":{port:04X} \S+ 0A ")  # 0A: TCP_LISTEN
    eventually(lambda: entry.search(cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6")), what=f"port {port}")


def free_port() -> int:
    """Return a port of the node that is free on 127.0.0.1, which criwist tries first, and on ::1."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port: int = both.getsockname()[1]
    return port


_WEB = "mkdir /www; i=0; while [ $i -lt 40 ]; do seq $((i*500)) > /www/$i; i=$((i+1)); done; httpd -f -p {} -h /www"


@pytest.mark.second_opinion
def test_port_forward_to_a_web_server(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """Forty files arrive unchanged over ten connections at once."""
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
    """A port of a pod on the host's network is forwarded from the host."""
    number = free_port()
    container = pod("sh", "-c", _WEB.format(f"127.0.0.1:{number}"), host=True)
    listening(cri, container, number)
    (port,) = forwarded(kube, number)
    assert fetch(port, "1").startswith(b"1\n2\n")


def test_port_forward_to_ipv6_loopback(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A port on ::1 alone is forwarded too.  (Docker disables IPv6 in pods on its bridge.)

    containerd 1.6 tries 127.0.0.1 alone.
    """
    number = free_port()
    container = pod("sh", "-c", _WEB.format(f"[::1]:{number}"), host=True)
    listening(cri, container, number)
    (port,) = forwarded(kube, number)
    assert fetch(port, "1").startswith(b"1\n2\n")


@pytest.mark.second_opinion
def test_port_forward_without_a_listener(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """A connection to a port without a listener ends with an error; an open one to another port goes on."""
    container = pod("sh", "-c", "nc -ll -p 7000 -e cat")
    listening(cri, container, 7000)
    good, bad = forwarded(kube, 7000, 7001)
    complaints = bytearray()

    def reported() -> bool:
        complaints.extend(kube.complaints())
        return b"-> 7001: " in complaints

    with socket.create_connection(("127.0.0.1", good), timeout=scaled(20)) as echo:
        echo.sendall(b"before")
        assert echo.recv(6, socket.MSG_WAITALL) == b"before"
        lonely = socket.create_connection(("127.0.0.1", bad), timeout=scaled(20))
        with lonely, contextlib.suppress(ConnectionResetError):
            assert lonely.recv(100) == b""
        eventually(reported, what="kubectl reports the error")
        # Newer kubectls exit at the first error of a connection; older ones go on.
        if kube.client.kubectl.version < (1, 23):
            echo.sendall(b"after")
            assert echo.recv(5, socket.MSG_WAITALL) == b"after"


@pytest.mark.second_opinion
def test_port_forward_ends_with_the_server(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """The client's connection ends when the server writes and closes, although the client has not closed."""
    container = pod("sh", "-c", "nc -ll -p 7003 -e echo that is all")
    listening(cri, container, 7003)
    (port,) = forwarded(kube, 7003)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=scaled(20)) as connection:
            response = b"".join(iter(lambda: connection.recv(65536), b""))
        assert response == b"that is all\n"


def test_port_forward_with_half_close(kube: Kube, pod: Callable[..., str], cri: CRI) -> None:
    """The server reads the end of the client's half and responds after it.

    containerd 1.6 closes both directions when one ends.
    """
    container = pod("sh", "-c", "nc -ll -p 7002 -e sha256sum")
    listening(cri, container, 7002)
    (port,) = forwarded(kube, 7002)
    data = os.urandom(2 << 20)
    with socket.create_connection(("127.0.0.1", port), timeout=scaled(30)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.split()[0].decode() == hashlib.sha256(data).hexdigest()
