"""Every response of an engine, of any bytes, ends the call with a result or one of criwist's errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from criwist.docker.agent import over_endpoint
from criwist.docker.client import Docker
from criwist.errors import CriwistError
from tests.doubles.memory_network import MemoryEndpoint, MemoryNetwork


class Babbler(Protocol):
    """Answers every request with the same chunks, and closes."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        for chunk in self._chunks:
            transport.write(chunk)
        transport.loseConnection()


_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 UPGRADED\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 500 \r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/9 x\r\n",
        b"Content-Length: 2\r\n",
        b"Content-Length: x\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Upgrade: tcp\r\nConnection: Upgrade\r\n",
        b"\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"{}",
        b"[]",
        b'{"Id":"x"}',
        b"\x1f\x8b\x08\x00",
    ]
)
_CALLS: list[Callable[[Docker], Any]] = [
    lambda docker: docker.connect(),
    lambda docker: docker.containers({}),
    lambda docker: docker.create_container("one", {}),
    lambda docker: docker.stop_container("one", 1),
    lambda docker: docker.start_exec("one", tty=False),
    lambda docker: docker.pull_image("one:1", None, lambda message: None),
    lambda docker: docker.events("", lambda: None, lambda event: None),
]


@given(st.lists(_LINES | st.binary(max_size=20), max_size=8), st.sampled_from(_CALLS))
@settings(max_examples=120, deadline=None)
def test_every_answer_ends_the_call(chunks: list[bytes], call: Callable[[Docker], Any]) -> None:
    """No exception escapes, no call exceeds its limit, no timer is left."""
    clock = Clock()
    network = MemoryNetwork(clock)
    docker = Docker(clock, over_endpoint(clock, MemoryEndpoint(network, lambda: Babbler(chunks)), "http://docker"))
    ended: list[Any] = []
    Deferred.fromCoroutine(call(docker)).addBoth(ended.append)
    clock.pump([0, 0, 0, 200, 0, 200, 0])
    assert len(ended) == 1
    if isinstance(ended[0], Failure):
        assert isinstance(ended[0].value, CriwistError), ended[0]
    assert not clock.getDelayedCalls()
