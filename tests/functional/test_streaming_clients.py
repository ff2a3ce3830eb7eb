"""Clients of the streaming server other than kubectl, and errors that clients get."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import kubernetes
import pytest
from kubernetes.stream import portforward, stream

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.certificates import Authority
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.execs import execute
from tests.harness.kube_api import NAMESPACE, KubeAPI, PodContainer
from tests.harness.spdy_client import Client, Refused

_MEBIBYTE = 1 << 20


# -- The RPCs


@pytest.mark.second_opinion
def test_wrong_requests_have_named_errors(cri: CRI) -> None:
    """No stream, or a terminal with stderr, is INVALID_ARGUMENT; an unknown container or sandbox is NOT_FOUND."""
    _, container = cri.run_in_pod()
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    refused(lambda: cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["ls"])), invalid)
    both = api.ExecRequest(container_id=container, cmd=["ls"], tty=True, stdout=True, stderr=True)
    refused(lambda: cri.runtime.Exec(both), invalid)
    refused(lambda: cri.runtime.Attach(api.AttachRequest(container_id=container)), invalid)
    nobody = "f" * 64
    refused(lambda: cri.runtime.Exec(api.ExecRequest(container_id=nobody, cmd=["ls"], stdout=True)), missing)
    refused(lambda: cri.runtime.Attach(api.AttachRequest(container_id=nobody, stdout=True)), missing)
    refused(lambda: cri.runtime.PortForward(api.PortForwardRequest(pod_sandbox_id=nobody)), missing)


def test_the_field_at_fault_is_named(cri: CRI) -> None:
    """An attach with another terminal flag than the container and an empty exec fail; containerd accepts both."""
    _, container = cri.run_in_pod()
    request = api.AttachRequest(container_id=container, stdout=True, tty=True)
    assert "tty" in refused(lambda: cri.runtime.Attach(request), grpc.StatusCode.INVALID_ARGUMENT)
    empty = api.ExecRequest(container_id=container, stdout=True)
    assert "cmd" in refused(lambda: cri.runtime.Exec(empty), grpc.StatusCode.INVALID_ARGUMENT)


def test_a_url_is_absolute_and_valid_once(cri: CRI) -> None:
    """A URL has a scheme and a loopback address; a second client gets 404 and no more."""
    _, container = cri.run_in_pod()
    url = cri.runtime.Exec(api.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url
    where = urlsplit(url)
    assert (where.scheme, where.hostname) == ("http", "127.0.0.1")
    Client(url).close()
    with pytest.raises(Refused) as caught:
        Client(url)
    assert caught.value.answer == b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


# -- The Python client, which speaks v4 channels


@pytest.fixture
def stand_in(cri: CRI, tmp_path: Path) -> Iterator[KubeAPI]:
    """The stand-in of API server and kubelet."""
    made = KubeAPI(cri, tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def core(stand_in: KubeAPI) -> Any:
    """The core API of the Python client."""
    configuration = kubernetes.client.Configuration(host=stand_in.url)
    return kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))


@pytest.mark.second_opinion
def test_the_python_client_runs_a_command(cri: CRI, stand_in: KubeAPI, core: Any) -> None:
    """The Python client gets input, both outputs and the exit code through v4 channels."""
    sandbox, container = cri.run_in_pod()
    stand_in.add_pod("p", sandbox, c=PodContainer(container))
    socket_ = stream(
        core.connect_get_namespaced_pod_exec,
        "p",
        NAMESPACE,
        command=["sh", "-c", "read line; echo got $line; echo err >&2; exit 3"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    socket_.write_stdin("hello\n")
    socket_.run_forever(timeout=scaled(20))
    assert (socket_.read_stdout(), socket_.read_stderr(), socket_.returncode) == ("got hello\n", "err\n", 3)


@pytest.mark.second_opinion
def test_the_python_client_forwards_a_port(cri: CRI, stand_in: KubeAPI, core: Any) -> None:
    """The Python client forwards a port through v4 channels."""
    sandbox, container = cri.run_in_pod("sh", "-c", "mkdir /www; echo hello > /www/f; httpd -f -p 8080 -h /www")
    stand_in.add_pod("p", sandbox, c=PodContainer(container))
    eventually(lambda: ":1F90 " in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))
    forwarding = portforward(core.connect_get_namespaced_pod_portforward, "p", NAMESPACE, ports="8080")
    connection = forwarding.socket(8080)
    connection.settimeout(scaled(20))
    connection.sendall(b"GET /f HTTP/1.0\r\n\r\n")
    response = b"".join(iter(lambda: connection.recv(4096), b""))
    assert response.endswith(b"hello\n")
    assert forwarding.error(8080) is None


# -- Stops of criwist and of Docker


def test_sessions_end_with_a_status_when_criwist_stops(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """A session's Status has the reason when criwist stops; the container runs on."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    _, container = cri.run_in_pod()
    client, numbers = execute(cri, container, "sh", "-c", "echo go; sleep 1000")
    client.wait_for_data(numbers["stdout"])
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < scaled(10)
    client.wait_for(numbers["error"])
    assert "stopping" in json.loads(client.heads[numbers["error"]])["message"]
    daemon.start()
    assert cri.status(container).state == api.CONTAINER_RUNNING


def test_sessions_end_with_a_status_when_docker_stops(
    engine_factory: Callable[..., Any], criwist_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """An exec and an attach end with an InternalError when their engine stops."""
    engine = engine_factory(live_restore=True, bridge=False)
    engine.start()
    images.load_all(engine)
    daemon = criwist_daemon(engine=engine)
    daemon.start()
    cri = CRI("criwist", daemon.socket, daemon.root, lambda archive: images.load(engine, archive))
    pod = cri.host_network_pod()
    _, container = cri.run_in_pod("sh", "-c", "while :; do echo tick; sleep 0.1; done", pod=pod)
    exec_client, exec_numbers = execute(cri, container, "sh", "-c", "echo go; sleep 1000")
    exec_client.wait_for_data(exec_numbers["stdout"])
    attach_client = Client(cri.runtime.Attach(api.AttachRequest(container_id=container, stdout=True)).url)
    error, stdout = attach_client.open_all({"streamtype": "error"}, {"streamtype": "stdout"})
    attach_client.wait_for_data(stdout)
    engine.kill()
    for client, number in ((exec_client, exec_numbers["error"]), (attach_client, error)):
        client.wait_for(number)
        assert json.loads(client.heads[number])["reason"] == "InternalError"
    engine.start()
    eventually(lambda: _answers(cri), what="criwist to find the engine again")
    cri.clean()
    cri.close()


def _answers(cri: CRI) -> bool:
    try:
        return bool(cri.pod_ids())
    except grpc.RpcError:
        return False


# -- TLS


def test_tls_with_a_certificate_that_is_renewed(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], tmp_path: Path
) -> None:
    """The URL is https, all bytes arrive, and a renewed certificate is in use without a restart."""
    authority = Authority(tmp_path)
    first, second = authority.issue("first", "127.0.0.1"), authority.issue("second", "127.0.0.1")
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    shutil.copy(first.certificate, certificate)
    shutil.copy(first.key, key)
    daemon = criwist_daemon(streaming_tls_cert=str(certificate), streaming_tls_key=str(key))
    daemon.start()
    cri = client_of(daemon)
    _, container = cri.run_in_pod()
    context = ssl.create_default_context(cafile=str(authority.path))

    def name() -> str:
        client, numbers = execute(cri, container, "dd", "if=/dev/zero", "bs=1M", "count=20", tls=context)
        client.wait_for(numbers["error"])
        assert client.counts[numbers["stdout"]] == 20 * _MEBIBYTE
        subject = client.socket.getpeercert()["subject"]  # type: ignore[attr-defined]
        client.close()
        return str(subject[0][0][1])

    assert name() == "first"
    shutil.copy(second.certificate, certificate)
    shutil.copy(second.key, key)
    assert name() == "second"
