"""The base of session tests: clients connected to the server's first protocol, in memory."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from criwist.interfaces.streaming import RemoteCommand
from criwist.streaming.sessions.factory import SessionFactory
from criwist.streaming.targets import PATHS, Attach, Exec, PortForward, Request
from criwist.streaming.tokens import TokenTable
from criwist.streaming.upgrade import UpgradeConnection
from tests.doubles.memory_runtime import MemoryProcess, MemoryReactor
from tests.doubles.streaming_peers import PeerStream, SpdyClient, WebSocketClient

_C = TypeVar("_C", SpdyClient, WebSocketClient)

V4 = "v4.channel.k8s.io"
#: The Status document of a success.
SUCCESS = {"metadata": {}, "status": "Success"}


def command(
    *words: str, stdin: bool = False, stdout: bool = True, stderr: bool = True, tty: bool = False
) -> RemoteCommand:
    """Return an exec of *words*, or of ``run`` if there are none."""
    stderr = stderr and not tty
    return RemoteCommand("container", words or ("run",), stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)


class SessionTestCase(SynchronousTestCase):
    """Connects clients to the server's protocols, with a runtime in memory."""

    idle_limit = 0.0

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.runtime = self.reactor.runtime
        self.tokens: TokenTable[Request] = TokenTable(self.reactor)
        self.factory = SessionFactory(self.runtime, self.reactor, self.idle_limit)  # type: ignore[arg-type]
        self.silent: list[UpgradeConnection] = []
        self._clients: list[SpdyClient | WebSocketClient] = []

    def tearDown(self) -> None:
        """Check that no session outlives its client, and no timer its session."""
        for client in self._clients:
            client.transport.abortConnection()
        self.settle()
        self.assertEqual((self.factory.sessions, self.silent), ({}, []))
        self.assertEqual([call for call in self.reactor.getDelayedCalls() if call.func != self.settle], [])  # type: ignore[attr-defined]

    def target(self, request: Request) -> str:
        """Return the path of a URL for *request*."""
        return f"/{PATHS[type(request)]}/{self.tokens.insert(request)}"

    def connect(self, client: _C) -> _C:
        """Connect a client to the server."""
        connection = UpgradeConnection(self.tokens, self.factory, self.reactor, self.idle_limit, self.silent.remove)
        self.silent.append(connection)
        self._clients.append(client)
        self.reactor.network.connect(client, connection)
        self.settle()
        return client

    def spdy(self, request: Request, *versions: str) -> SpdyClient:
        """Return a connected SPDY client."""
        return self.connect(SpdyClient(self.target(request), versions or (V4,)))

    def websocket(self, request: Request, *subprotocols: str, query: str = "") -> WebSocketClient:
        """Return a connected WebSocket client."""
        return self.connect(WebSocketClient(self.target(request) + query, subprotocols or ("v5.channel.k8s.io",)))

    def exec_over_spdy(self, *versions: str, **flags: Any) -> tuple[SpdyClient, dict[str, int], MemoryProcess]:
        """Start an exec; return the client, the numbers of its streams by role, and the process."""
        request = command(**flags)
        client = self.spdy(Exec(request), *versions)
        roles = ["error"]
        roles += [role for role in ("stdin", "stdout", "stderr") if getattr(request, role)]
        roles += ["resize"] if request.tty else []
        numbers = {role: client.open(streamtype=role) for role in roles}
        self.settle()
        return client, numbers, self.runtime.processes[-1]

    def attach_over_spdy(self) -> tuple[SpdyClient, dict[str, int], MemoryProcess]:
        """Start an attach to standard output; return the same as :meth:`exec_over_spdy`."""
        client = self.spdy(Attach(RemoteCommand("container", stdout=True)))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout")}
        self.settle()
        return client, numbers, self.runtime.processes[-1]

    def forward_over_spdy(self) -> SpdyClient:
        """Return the connected client of a port-forward."""
        return self.spdy(PortForward("sandbox"), "portforward.k8s.io")

    def settle(self) -> None:
        """Deliver all bytes that are on their way."""
        self.reactor.network.settle()

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in steps, and deliver after each."""
        for _ in range(int(seconds / step)):
            self.reactor.advance(step)
            self.settle()

    def streams(self, client: SpdyClient, numbers: dict[str, int]) -> dict[str, PeerStream]:
        """Return the client's streams by role."""
        return {role: client.streams[number] for role, number in numbers.items()}

    def status(self, client: SpdyClient, number: int) -> dict[str, object]:
        """Return the document on the error stream, which must be finished."""
        stream = client.streams[number]
        self.assertTrue(stream.finished)
        document: dict[str, object] = json.loads(bytes(stream.received))
        return document
