"""Limits of what one client costs: clients that do not read, break the protocol, or stay silent."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from bench.measure import resident
from criwist.api.runtime.v1 import api_pb2 as api
from criwist.streaming.server import MAX_SILENT
from criwist.streaming.sessions.remote_command import STREAM_WAIT
from criwist.streaming.tokens import MAX_TOKENS
from criwist.wire.spdy import MAX_STREAMS
from criwist.wire.spdy_frames import GoAway, GoAwayStatus, SynStream
from criwist.wire.spdy_headers import dictionary
from tests.harness.certificates import Authority
from tests.harness.channel_client import ChannelClient
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.execs import execute, said
from tests.harness.spdy_client import Client, Refused

_MEBIBYTE = 1 << 20
#: Output of each stuck session: more than all buffers on the way hold together.
_MUCH = 64
_STUCK = 8

# -- Clients that do not read


def _exec_over_spdy(cri: CRI, sandbox: str, container: str) -> Callable[[], int]:
    client, numbers = execute(cri, container, "dd", "if=/dev/zero", "bs=1M", f"count={_MUCH}")

    def finish() -> int:
        client.wait_for(numbers["error"])
        client.close()
        return client.counts[numbers["stdout"]]

    return finish


def _exec_over_websocket(cri: CRI, sandbox: str, container: str) -> Callable[[], int]:
    command = ["dd", "if=/dev/zero", "bs=1M", f"count={_MUCH}"]
    request = api.ExecRequest(container_id=container, cmd=command, stdout=True)
    client = ChannelClient(cri.runtime.Exec(request).url, "v5.channel.k8s.io")

    def finish() -> int:
        client.receive_all()
        return len(client.received[1])

    return finish


def _port_forward(cri: CRI, sandbox: str, container: str) -> Callable[[], int]:
    request = api.PortForwardRequest(pod_sandbox_id=sandbox)
    client = Client(cri.runtime.PortForward(request).url, "portforward.k8s.io")
    _, data = client.open_all(*({"streamtype": role, "port": "7000", "requestid": "1"} for role in ("error", "data")))

    def finish() -> int:
        client.wait_for(data)
        client.close()
        return client.counts[data]

    return finish


@pytest.mark.parametrize("begin", [_exec_over_spdy, _exec_over_websocket, _port_forward])
def test_clients_that_do_not_read_cost_little(
    begin: Callable[[CRI, str, str], Callable[[], int]], cri: CRI, criwist: Daemon
) -> None:
    """Writers to stuck clients wait, memory does not grow, other sessions go on, and in the end all output arrives."""
    script = f"nc -ll -p 7000 -e dd if=/dev/zero bs=1M count={_MUCH}"
    sandbox, container = cri.run_in_pod("sh", "-c", script)
    eventually(lambda: ":1B58 " in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))
    assert said(*execute(cri, container, "echo", "warm")) == b"warm\n"
    before = resident(criwist.pid)
    stuck = [begin(cri, sandbox, container) for _ in range(_STUCK)]
    time.sleep(scaled(2))
    assert resident(criwist.pid) - before < 16 * _MEBIBYTE
    for number in range(3):
        assert said(*execute(cri, container, "echo", str(number))) == f"{number}\n".encode()
    for finish in stuck:
        assert finish() == _MUCH * _MEBIBYTE
    assert resident(criwist.pid) - before < 16 * _MEBIBYTE


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_that_reads_late_gets_all(
    tls: bool,
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    tmp_path: Path,
) -> None:
    """A client that reads long after the command's exit, as a pager does, gets all output."""
    authority = Authority(tmp_path)
    files = authority.issue("node", "127.0.0.1")
    options = {"streaming_tls_cert": files.certificate, "streaming_tls_key": files.key} if tls else {}
    daemon = criwist_daemon(**options)
    daemon.start()
    cri = client_of(daemon)
    _, container = cri.run_in_pod()
    context = ssl.create_default_context(cafile=str(authority.path)) if tls else None
    # Less than the buffers of the kernels and the engine hold together, more than the client's own holds.
    late = [
        execute(cri, container, "dd", "if=/dev/zero", "bs=64k", f"count={count}", tls=context) for count in (16, 32, 48)
    ]
    time.sleep(13)
    for (client, numbers), count in zip(late, (16, 32, 48), strict=True):
        client.wait_for(numbers["error"])
        assert client.counts[numbers["stdout"]] == count * 65536
        client.close()


def test_a_command_that_does_not_read_costs_little(cri: CRI, criwist: Daemon) -> None:
    """The client of a command that does not read has to wait, and criwist's memory does not grow."""
    _, container = cri.run_in_pod()
    client, numbers = execute(cri, container, "sh", "-c", "echo go; sleep 1000", stdin=True)
    client.wait_for_data(numbers["stdout"])
    before = resident(criwist.pid)
    client.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):
        client.flood(numbers["stdin"], 500 * _MEBIBYTE)
    assert resident(criwist.pid) - before < 8 * _MEBIBYTE
    client.close()


def test_execs_leave_nothing_behind(cri: CRI, criwist: Daemon) -> None:
    """Execs leave no descriptors, no sessions and, after the first hundred, no memory behind."""
    _, container = cri.run_in_pod()

    def some(count: int) -> None:
        for _ in range(count):
            client, numbers = execute(cri, container, "true")
            client.wait_for(numbers["error"])
            client.close()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{criwist.pid}/fd").iterdir()))

    some(100)
    memory, files = resident(criwist.pid), descriptors()
    some(100)
    eventually(lambda: descriptors() <= files + 2, what="descriptors")
    assert resident(criwist.pid) - memory < 4 * _MEBIBYTE


# -- Clients that break the protocol


def _bomb() -> bytes:
    """Return headers of 50 MB in a frame of 50 KB."""
    deflate = zlib.compressobj(9, zdict=dictionary())
    plain = b"\0\0\0\1\0\0\0\1a" + (50_000_000).to_bytes(4, "big") + b"\1" * 50_000_000
    return SynStream(1, deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)).encode()


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(lambda: b"\x80\x02\0\x01\0\0\0\x04nope", id="another version"),
        pytest.param(lambda: b"\x80\x03\0\x06\0\0\0\x02\0\0", id="a short frame"),
        pytest.param(lambda: b"\x80\x03\0\x01\0\x7f\xff\xff" + bytes(1000), id="an oversized header block"),
        pytest.param(_bomb, id="a bomb in headers"),
        pytest.param(lambda: SynStream(1, bytes(range(200))).encode(), id="no deflate"),
    ],
)
def test_a_client_that_breaks_the_protocol_harms_nobody(wire: Callable[[], bytes], cri: CRI, criwist: Daemon) -> None:
    """The connection of such a client ends with GOAWAY and a log line, and costs no memory; other sessions go on."""
    _, container = cri.run_in_pod()
    beside, streams = execute(cri, container, "sh", "-c", "echo go; read line; echo $line", stdin=True)
    beside.wait_for_data(streams["stdout"])
    memory, logged = resident(criwist.pid), criwist.log_text().count("broke the protocol")
    broken = Client(cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url)
    broken.socket.sendall(wire())
    received = b"".join(iter(lambda: broken.socket.recv(4096), b""))
    assert received == GoAway(0, GoAwayStatus.PROTOCOL_ERROR).encode()
    assert criwist.log_text().count("broke the protocol") == logged + 1
    assert resident(criwist.pid) - memory < 8 * _MEBIBYTE
    beside.send(streams["stdin"], b"still here\n")
    assert said(beside, streams) == b"go\nstill here\n"


def test_ten_thousand_streams(cri: CRI, criwist: Daemon) -> None:
    """Streams over the limit are refused one by one; the session and others go on, and nothing is left behind."""
    sandbox, container = cri.run_in_pod("sh", "-c", "nc -ll -p 7000 -e cat")
    eventually(lambda: ":1B58 " in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))
    memory = resident(criwist.pid)
    client = Client(cri.runtime.PortForward(api.PortForwardRequest(pod_sandbox_id=sandbox)).url, "portforward.k8s.io")
    _, data = client.open_all(*({"streamtype": role, "port": "7000", "requestid": "x"} for role in ("error", "data")))
    client.wait_for_replies(2)
    opened = []
    for start in range(0, 10_000, 500):
        opened += client.open_all(
            *({"streamtype": "error", "port": "7000", "requestid": str(start + number)} for number in range(500))
        )
        client.send(data, b"x")
        client.wait_for_data(data, end=b"x")
    client.wait_for(*opened[MAX_STREAMS - 2 :])
    assert client.finished == set(opened[MAX_STREAMS - 2 :])
    client.send(data, b"still here")
    client.wait_for_data(data, end=b"still here")
    assert said(*execute(cri, container, "echo", "well")) == b"well\n"
    assert resident(criwist.pid) - memory < 24 * _MEBIBYTE
    client.close()


# -- Silent clients


def test_silent_connections_are_dropped(cri: CRI) -> None:
    """A silent connection is closed after ten seconds."""
    _, container = cri.run_in_pod()
    where = urlsplit(cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url)
    with socket.create_connection((where.hostname, where.port), timeout=scaled(30)) as silent:
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
        assert 8 < time.monotonic() - began < scaled(20)


def test_many_silent_connections_lock_nobody_out(cri: CRI) -> None:
    """Any number of silent connections does not keep another client from service: the oldest of them are closed."""
    _, container = cri.run_in_pod()
    url = cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url
    where = urlsplit(url)
    with contextlib.ExitStack() as silent:
        for _ in range(MAX_SILENT + 50):
            silent.enter_context(socket.create_connection((where.hostname, where.port), timeout=scaled(30)))
        client = Client(url)
        error, _ = client.open_all({"streamtype": "error"}, {"streamtype": "stdout"})
        client.wait_for(error)
        assert json.loads(client.heads[error])["status"] == "Success"
        client.close()


def test_a_client_that_opens_no_streams(cri: CRI) -> None:
    """A client that upgrades and then opens no stream gets GOAWAY after half a minute."""
    _, container = cri.run_in_pod()
    client = Client(cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url)
    began = time.monotonic()
    received = b"".join(iter(lambda: client.socket.recv(4096), b""))
    assert STREAM_WAIT - 1 < time.monotonic() - began < STREAM_WAIT + scaled(10)
    assert received.endswith(GoAway(0, GoAwayStatus.OK).encode())


def test_unused_urls(criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> None:
    """A thousand URLs can be unused; the next is RESOURCE_EXHAUSTED until one is used, and old URLs stay valid."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container = cri.run_in_pod()
    request = api.ExecRequest(container_id=container, cmd=["true"], stdout=True)
    urls = [cri.runtime.Exec(request).url for _ in range(MAX_TOKENS)]
    assert len(set(urls)) == MAX_TOKENS
    refused(lambda: cri.runtime.Exec(request), grpc.StatusCode.RESOURCE_EXHAUSTED)
    Client(urls[0]).close()
    cri.runtime.Exec(request)
    Client(urls[-1]).close()


def test_a_url_is_valid_for_a_minute(cri: CRI) -> None:
    """A URL works almost a minute later; after a minute the response is 404, as for an unknown one."""
    _, container = cri.run_in_pod()
    request = api.ExecRequest(container_id=container, cmd=["true"], stdout=True)
    before = time.monotonic()
    urls = [cri.runtime.Exec(request).url for _ in range(2)]
    after = time.monotonic()
    time.sleep(before + 55 - time.monotonic())
    Client(urls[0]).close()
    time.sleep(after + 61 - time.monotonic())
    with pytest.raises(Refused) as caught:
        Client(urls[1])
    assert caught.value.answer == b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def test_an_idle_session_ends(criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> None:
    """With an idle limit a session without data and its command's input end; a session with data goes on."""
    daemon = criwist_daemon(streaming_idle_timeout="3s")
    daemon.start()
    cri = client_of(daemon)
    _, container = cri.run_in_pod()
    began = time.monotonic()
    idle, numbers = execute(cri, container, "sh", "-c", "echo go; cat; echo ended > /tmp/ended", stdin=True)
    busy, others = execute(cri, container, "sh", "-c", "for i in $(seq 60); do echo $i; sleep 0.1; done")
    with pytest.raises(RuntimeError, match="closed"):
        idle.wait_for(numbers["error"])
    assert 3 <= time.monotonic() - began < scaled(20)
    assert eventually(lambda: cri.shell(container, "cat /tmp/ended || true")) == "ended\n"
    assert said(busy, others).endswith(b"60\n")
