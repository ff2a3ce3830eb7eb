"""Every version of every protocol, and every combination of streams, with real processes and ports.

kubectl chooses the best version that both sides have, so these clients offer one.  containerd 1.6 ends an exec without
output at once, does not have v5, and closes both directions of a forwarded connection when one has ended; tests of
these have no second opinion.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.channel_client import ChannelClient
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.cni import IPV4, IPV6, PodNetwork
from tests.harness.daemon import Daemon
from tests.harness.spdy_client import Client

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
#: Writes its input to both outputs.
_SCRIPT = "read word; echo out $word; echo err $word >&2; exit 3"


def exit_code(status: bytes | bytearray) -> int:
    """Return the exit code in a Status document, which must be that of an exited command."""
    document = json.loads(status)
    if document["status"] == "Success":
        return 0
    assert document["reason"] == "NonZeroExitCode", document
    (cause,) = document["details"]["causes"]
    assert cause["reason"] == "ExitCode"
    return int(cause["message"])


# -- Versions of the remote command protocol


def _over_spdy(cri: CRI, version: str) -> bytes:
    """Run the script with a client that offers *version*, and return the content of the error stream."""
    _, container = cri.run_in_pod()
    request = api.ExecRequest(container_id=container, cmd=["sh", "-c", _SCRIPT], stdin=True, stdout=True, stderr=True)
    client = Client(cri.runtime.Exec(request).url, version)
    error, stdin, stdout, stderr = client.open_all(
        *({"streamtype": role} for role in ("error", "stdin", "stdout", "stderr"))
    )
    client.wait_for_replies(4)
    client.send(stdin, b"hello\n")
    client.finish(stdin)
    client.wait_for(error, stdout, stderr)
    assert (client.heads[stdout], client.heads[stderr]) == (b"out hello\n", b"err hello\n")  # type: ignore[comparison-overlap]
    client.close()
    return bytes(client.heads[error])


@pytest.mark.second_opinion
def test_v4_over_spdy(cri: CRI) -> None:
    """v4 has input, both outputs, and a Status document at the end."""
    assert exit_code(_over_spdy(cri, "v4.channel.k8s.io")) == 3


@pytest.mark.second_opinion
@pytest.mark.parametrize("version", ["v3.channel.k8s.io", "v2.channel.k8s.io"])
def test_older_versions_over_spdy(version: str, cri: CRI) -> None:
    """v2 and v3 have a text with the exit code at the end."""
    text = _over_spdy(cri, version)
    assert b"exit" in text
    assert b"3" in text


def test_the_first_version_over_spdy(cri: CRI) -> None:
    """The first version has the text too.  containerd, like the first kubelets, resets the error stream before it."""
    assert b"exit status 3" in _over_spdy(cri, "channel.k8s.io")


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    "subprotocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", ""]
)
def test_every_older_protocol_over_websocket(subprotocol: str, cri: CRI) -> None:
    """Older versions work over channels; without a subprotocol the server uses the first."""
    _, container = cri.run_in_pod()
    request = api.ExecRequest(container_id=container, cmd=["sh", "-c", _SCRIPT], stdin=True, stdout=True, stderr=True)
    client = ChannelClient(cri.runtime.Exec(request).url, *([subprotocol] if subprotocol else []))
    assert client.chosen == (subprotocol or None)
    client.send(_STDIN, b"hello\n")
    client.receive_all()
    assert (client.received[_STDOUT], client.received[_STDERR]) == (b"out hello\n", b"err hello\n")  # type: ignore[comparison-overlap]
    if subprotocol.startswith("v4"):
        assert exit_code(client.received[_ERROR]) == 3
    else:
        assert b"3" in client.received[_ERROR]


def test_v5_alone(cri: CRI) -> None:
    """A client that offers v5 alone, as crictl does, gets it with the end of input, output after it, and the Status."""
    _, container = cri.run_in_pod()
    script = "cat; echo that was all; exit 3"
    request = api.ExecRequest(container_id=container, cmd=["sh", "-c", script], stdin=True, stdout=True, stderr=True)
    client = ChannelClient(cri.runtime.Exec(request).url, "v5.channel.k8s.io")
    assert client.chosen == "v5.channel.k8s.io"
    client.send(_STDIN, b"hello\n")
    client.receive_until(_STDOUT, b"hello\n")
    client.close_channel(_STDIN)
    client.receive_all()
    assert client.received[_STDOUT] == b"hello\nthat was all\n"
    assert exit_code(client.received[_ERROR]) == 3


@pytest.mark.parametrize("subprotocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "base64.channel.k8s.io"])
def test_the_first_size_over_websocket(subprotocol: str, cri: CRI) -> None:
    """A size that is sent first is the terminal's when the command reads it, or soon after."""
    _, container = cri.run_in_pod()
    script = "until [ \"$(stty size)\" = '33 111' ]; do sleep 0.05; done; stty size"
    request = api.ExecRequest(container_id=container, cmd=["sh", "-c", script], stdin=True, stdout=True, tty=True)
    client = ChannelClient(cri.runtime.Exec(request).url, subprotocol)
    client.send(_RESIZE, b'{"Width":111,"Height":33}')
    client.receive_all()
    assert client.received[_STDOUT].endswith(b"33 111\r\n")


# -- Streams

_COMBINATIONS = [combination for combination in itertools.product([False, True], repeat=3) if any(combination)]


def _named(flags: tuple[bool, ...]) -> str:
    return "+".join(itertools.compress(("stdin", "stdout", "stderr"), flags))


@pytest.mark.parametrize("flags", _COMBINATIONS, ids=_named)
def test_every_combination_of_streams(flags: tuple[bool, bool, bool], cri: CRI) -> None:
    """With every combination of streams the command exits, its input ends, and the client gets the exit code."""
    stdin, stdout, stderr = flags
    _, container = cri.run_in_pod()
    script = "cat > /tmp/given; echo out; echo err >&2; exit 3"
    request = api.ExecRequest(
        container_id=container, cmd=["sh", "-c", script], stdin=stdin, stdout=stdout, stderr=stderr
    )
    client = Client(cri.runtime.Exec(request).url)
    roles = ["error", *itertools.compress(("stdin", "stdout", "stderr"), flags)]
    numbers = dict(zip(roles, client.open_all(*({"streamtype": role} for role in roles)), strict=True))
    client.wait_for_replies(len(roles))
    if stdin:
        client.send(numbers["stdin"], b"words")
        client.finish(numbers["stdin"])
    client.wait_for(numbers["error"])
    assert exit_code(bytes(client.heads[numbers["error"]])) == 3
    said = {role: bytes(client.heads[numbers[role]]) for role in roles if role.startswith("std") and role != "stdin"}
    assert said == {role: f"{role[3:]}\n".encode() for role in said}
    assert cri.shell(container, "cat /tmp/given") == ("words" if stdin else "")
    client.close()


@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True)], ids=_named)
def test_every_combination_of_a_terminal(flags: tuple[bool, bool], cri: CRI) -> None:
    """With every combination of a terminal's streams the client gets the exit code; ctrl-d is the end of input."""
    stdin, stdout = flags
    _, container = cri.run_in_pod()
    script = f"tty > /tmp/tty; {'cat > /tmp/given; ' * stdin}echo out; exit 3"
    request = api.ExecRequest(container_id=container, cmd=["sh", "-c", script], stdin=stdin, stdout=stdout, tty=True)
    client = Client(cri.runtime.Exec(request).url)
    roles = ["error", *itertools.compress(("stdin", "stdout"), flags), "resize"]
    numbers = dict(zip(roles, client.open_all(*({"streamtype": role} for role in roles)), strict=True))
    client.wait_for_replies(len(roles))
    if stdin:
        client.send(numbers["stdin"], b"words\n\x04")
    client.wait_for(numbers["error"])
    assert exit_code(bytes(client.heads[numbers["error"]])) == 3
    if stdout:
        assert bytes(client.heads[numbers["stdout"]]).endswith(b"out\r\n")
    assert cri.shell(container, "cat /tmp/tty").startswith("/dev/")
    if stdin:
        assert cri.shell(container, "cat /tmp/given") == "words\n"
    client.close()


# -- Port-forward over channels


def _echo_over_channels(cri: CRI, subprotocol: str) -> None:
    """Check two ports at once: their numbers come first, then bytes go both ways."""
    sandbox, container = cri.run_in_pod("sh", "-c", "nc -ll -p 7000 -e cat & nc -ll -p 7001 -e cat & wait")
    for entry in (":1B58 ", ":1B59 "):
        eventually(lambda entry=entry: entry in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))  # type: ignore[misc]
    request = api.PortForwardRequest(pod_sandbox_id=sandbox, port=[7000, 7001])
    client = ChannelClient(cri.runtime.PortForward(request).url, *([subprotocol] if subprotocol else []))
    assert client.chosen == (subprotocol or None)
    for position, port in enumerate((7000, 7001)):
        number = port.to_bytes(2, "little")
        client.send(2 * position, b"hello %d" % port)
        client.receive_until(2 * position, number + b"hello %d" % port)
        assert client.received[2 * position + 1] == number
    client.close()


@pytest.mark.second_opinion
@pytest.mark.parametrize("subprotocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""])
def test_port_forward_over_channels(subprotocol: str, cri: CRI) -> None:
    """Port-forward works with the subprotocols of clients, and without one."""
    _echo_over_channels(cri, subprotocol)


@pytest.mark.parametrize("subprotocol", ["portforward.k8s.io", "base64.portforward.k8s.io"])
def test_port_forward_over_channels_of_its_own_name(subprotocol: str, cri: CRI) -> None:
    """Port-forward works with the subprotocols that containerd does not have."""
    _echo_over_channels(cri, subprotocol)


def test_a_port_without_a_listener_is_named(cri: CRI) -> None:
    """The error stream has the port and the reason, the data stream ends, and another connection goes on."""
    sandbox, container = cri.run_in_pod("sh", "-c", "nc -ll -p 7000 -e cat")
    eventually(lambda: ":1B58 " in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))
    request = api.PortForwardRequest(pod_sandbox_id=sandbox)
    client = Client(cri.runtime.PortForward(request).url, "portforward.k8s.io")
    streams = [
        {"streamtype": role, "port": port, "requestid": port} for port in ("7000", "7001") for role in ("error", "data")
    ]
    _, good, error, bad = client.open_all(*streams)
    client.wait_for(error, bad)
    text = client.heads[error].decode()
    assert "7001" in text
    assert "refused" in text
    client.send(good, b"still here")
    client.wait_for_data(good, end=b"still here")
    client.close()


@pytest.fixture
def dual_stack(tmp_path: Path) -> Iterator[PodNetwork]:
    """A CNI network with IPv4 and IPv6."""
    network = PodNetwork(tmp_path / "network")
    network.configure(network.plugins(ranges=(IPV4, IPV6)))
    yield network
    network.destroy()


def test_a_port_on_ipv6_loopback_in_a_pod_s_own_network(
    dual_stack: PodNetwork, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """A port on ::1 alone in the pod's network namespace is forwarded."""
    daemon = criwist_daemon(**dual_stack.options)
    daemon.start()
    cri = client_of(daemon)
    sandbox, container = cri.run_in_pod("sh", "-c", "mkdir /www; echo hello > /www/f; httpd -f -p [::1]:7000 -h /www")
    eventually(lambda: ":1B58 " in cri.shell(container, "cat /proc/net/tcp6"))
    assert ":1B58 " not in cri.shell(container, "cat /proc/net/tcp")
    request = api.PortForwardRequest(pod_sandbox_id=sandbox)
    client = Client(cri.runtime.PortForward(request).url, "portforward.k8s.io")
    error, data = client.open_all(
        *({"streamtype": role, "port": "7000", "requestid": "1"} for role in ("error", "data"))
    )
    client.wait_for_replies(2)
    client.send(data, b"GET /f HTTP/1.0\r\n\r\n")
    client.wait_for(data, error)
    assert client.heads[data].endswith(b"hello\n")
    assert client.heads[error] == b""
    client.close()
