"""Fuzz cases of whole sessions: a client, the streaming server and a runtime, all in memory.

Each case ends with :meth:`MemoryServer.finish`: when the client has gone, no session and no timer may be left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.protocol import Protocol
from wsproto.connection import Connection, ConnectionType
from wsproto.utilities import LocalProtocolError as WebSocketMisuse

from criwist.interfaces.streaming import RemoteCommand
from criwist.streaming.sessions.factory import SessionFactory
from criwist.streaming.targets import PATHS, Exec, PortForward, Request
from criwist.streaming.tokens import TokenTable
from criwist.streaming.upgrade import UpgradeConnection
from criwist.wire.channels import PORT_FORWARD, REMOTE_COMMAND
from criwist.wire.spdy import LocalProtocolError
from tests.doubles.memory_runtime import FarEnd, MemoryReactor
from tests.doubles.streaming_peers import SpdyClient, WebSocketClient
from tests.fuzz.script import Script
from tests.fuzz.wire_cases import pieces, random_frame

_ROLES = ("error", "stdin", "stdout", "stderr", "resize", "data", "")
_MAX_ACTS = 64
_IDLE_SECONDS = 300.0


@define(eq=False)
class MemoryServer:
    """A streaming server over a runtime with a server on port 80 of its pod."""

    reactor: MemoryReactor = field(factory=MemoryReactor, init=False)
    tokens: TokenTable[Request] = field(init=False)
    sessions: SessionFactory = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reactor.runtime.ports[80] = FarEnd
        self.tokens = TokenTable(self.reactor)
        self.sessions = SessionFactory(self.reactor.runtime, self.reactor, _IDLE_SECONDS)  # type: ignore[arg-type]

    def connect(self, request: Request, build: Callable[[str], Any]) -> Any:
        """Connect the client that *build* makes for the URL's path of *request*, and return it."""
        client = build(f"/{PATHS[type(request)]}/{self.tokens.insert(request)}")
        upgrade = UpgradeConnection(self.tokens, self.sessions, self.reactor, _IDLE_SECONDS, lambda _: None)
        self.reactor.network.connect(client, upgrade)
        self.settle()
        return client

    def settle(self) -> None:
        """Deliver all bytes that are on their way."""
        self.reactor.network.settle()

    def act(self, script: Script) -> None:
        """Let time pass, or let a process or a pod write, end or stop reading."""
        act = script.number(8)
        processes = self.reactor.runtime.processes
        pods = [pod for pod in self.reactor.runtime.connections if not pod.lost]
        if act == 0:
            self.reactor.advance(script.number(40))
        elif act < 4 and processes:
            if act == 1:
                processes[-1].far.connection.write(script.bytes(script.number(40)))
            elif act == 2:
                processes[-1].say(b"x" * script.number(60000))
            else:
                processes[-1].end(script.number(3))
        elif pods:
            pod = pods[script.number(len(pods))].connection
            (pod.loseWriteConnection, pod.abortConnection, pod.pauseProducing, pod.resumeProducing)[act & 3]()
        self.settle()

    def finish(self, client: Any) -> None:
        """Disconnect the client, end all processes, and check that no session and no timer is left."""
        client.transport.abortConnection()
        self.settle()
        for process in self.reactor.runtime.processes:
            process.exit(0)
        for _ in range(100):
            self.reactor.advance(1)
            self.settle()
        calls: list[Any] = list(self.reactor.getDelayedCalls())
        timers = [call for call in calls if call.func != self.reactor.network.settle]
        if self.sessions.sessions or timers:
            raise AssertionError(f"left behind: {self.sessions.sessions} {timers}")


def spdy_session(script: Script) -> None:
    """Run an exec or a port-forward over SPDY."""
    server = MemoryServer()
    request: Request = _exec(script) if script.number(2) else PortForward("s")
    version = "v4.channel.k8s.io" if isinstance(request, Exec) else "portforward.k8s.io"
    client = server.connect(request, lambda target: SpdyClient(target, (version,)))
    client.dataReceived = lambda data: None
    for _ in range(_MAX_ACTS):
        if script.over:
            break
        with contextlib.suppress(LocalProtocolError):
            _spdy_act(script, client, server)
        if script.number(2):
            server.settle()
    server.finish(client)


def _spdy_act(script: Script, client: Any, server: MemoryServer) -> None:
    act = script.number(8)
    if act < 2:
        request_id = str(script.number(4))
        port = ("80", "81", "x")[script.number(3)]
        role = _ROLES[script.number(len(_ROLES))]
        number = client.open(streamtype=role, port=port, requestid=request_id)
        client.connection._streams[number].replied = True
    elif act == 2:
        data = script.bytes(script.number(32)) * (script.number(2000) + 1)
        client.send(script.number(16) * 2 + 1, data, fin=bool(script.number(2)))
    elif act == 3:
        client.reset(script.number(16) * 2 + 1)
    elif act == 4:
        for piece in pieces(script, random_frame(script)):
            client.write(piece)
    elif act == 5:
        client.write(script.bytes(script.number(32)))
    elif act == 6:
        client.ping()
    else:
        server.act(script)


def websocket_session(script: Script) -> None:
    """Run an exec or a port-forward over a WebSocket, with any subprotocol that fits."""
    server = MemoryServer()
    request: Request = _exec(script) if script.number(2) else PortForward("s", (80, 81))
    names = [one.name for one in (REMOTE_COMMAND if isinstance(request, Exec) else PORT_FORWARD)]
    names.append("SPDY/3.1+portforward.k8s.io")
    offered = names[script.number(len(names))]
    client = server.connect(request, lambda target: WebSocketClient(target, (offered,)))
    if client.chosen is None:
        return
    client.dataReceived = lambda data: None
    # The client does not read the server's frames after the handshake, so its framing starts afresh.
    client.connection = Connection(ConnectionType.CLIENT)
    for _ in range(_MAX_ACTS):
        if script.over:
            break
        with contextlib.suppress(WebSocketMisuse, TypeError):
            _websocket_act(script, client, server)
        if script.number(2):
            server.settle()
    server.finish(client)


def _websocket_act(script: Script, client: Any, server: MemoryServer) -> None:
    act = script.number(7)
    if act < 3:
        client.send(random_frame(script) if script.number(2) else script.bytes(script.number(40)), last=act > 0)
    elif act == 3:
        client.send(script.bytes(script.number(40)).decode("latin-1"))
    elif act == 4:
        client.write(script.bytes(script.number(16)))
    elif act == 5:
        client.send_ping()
    else:
        server.act(script)


def upgrade_request(script: Script) -> None:
    """Send random bytes in the middle of the upgrade request, or in its place."""
    server = MemoryServer()
    garbage = script.bytes(1 << 16)

    class Client(Protocol):
        def __init__(self, target: str) -> None:
            head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode()
            half = len(head) // 2
            self.sent = garbage if garbage[:1] > b"\x80" else head[:half] + garbage + head[half:]

        def connectionMade(self) -> None:
            for start in range(0, len(self.sent), 7):
                self.transport.write(self.sent[start : start + 7])  # type: ignore[union-attr]

    server.finish(server.connect(_exec(script), Client))


def _exec(script: Script) -> Exec:
    tty = bool(script.number(2))
    return Exec(RemoteCommand("c", ("run",), bool(script.number(2)), True, not tty, tty))
