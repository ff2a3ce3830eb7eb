"""A runtime for the streaming server, in memory: the test plays its processes and the servers on its ports.

The engine's and the pod's connections are those of a ``MemoryNetwork``, so back-pressure and half-close are real.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist import errors
from criwist.core.exec.exec_exit import first_of
from criwist.interfaces.engine import IHijackedStream
from criwist.interfaces.streaming import IRemoteProcess, IStreamingRuntime, RemoteCommand
from criwist.wire.stdcopy import Stream, frame
from tests.doubles.memory_network import MemoryNetwork


@implementer(IHalfCloseableProtocol)
class FarEnd(Protocol):
    """The far end of a connection, which the test plays: a process behind an engine, or a server in a pod."""

    def __init__(self) -> None:
        self.received = bytearray()
        #: The other end has closed its direction.
        self.finished = False
        self.lost = False

    @property
    def connection(self) -> Any:
        """Return the transport."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.finished = True

    def writeConnectionLost(self) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


@implementer(IHijackedStream)
class MemoryHijack:
    """A hijacked connection whose far end the test plays."""

    def __init__(self, network: MemoryNetwork, far: FarEnd, multiplexed: bool) -> None:
        self.multiplexed = multiplexed
        self._network = network
        self._far = far
        self._near: IProtocol | None = None

    def start(self, protocol: IProtocol) -> None:
        self._near = protocol
        self._network.connect(protocol, self._far)

    def abort(self) -> None:
        if self._near is not None:
            transport: Any = getattr(self._near, "transport", None)
            transport.abortConnection()


@implementer(IRemoteProcess)
class MemoryProcess:
    """A process that the test plays."""

    def __init__(self, network: MemoryNetwork, request: RemoteCommand) -> None:
        self.request = request
        self.far = FarEnd()
        self._network = network
        self.half_closes = not request.tty
        self.stream = MemoryHijack(network, self.far, multiplexed=not request.tty)
        self.sizes: list[tuple[int, int]] = []
        #: If set, resize() waits for it.
        self.resizing: Deferred[None] | None = None
        self.hung_up = False
        self._exit: Deferred[None] = Deferred()
        self._exit_code: int | None = None

    # -- For the test

    def say(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Write output."""
        self.far.connection.write(data if self.request.tty else frame(stream, data))

    def close_output(self) -> None:
        """Close the engine's connection."""
        self.far.connection.loseConnection()

    def end(self, exit_code: int | None) -> None:
        """End the output, then the process."""
        self.close_output()
        self._network.settle()
        self.exit(exit_code)

    def exit(self, exit_code: int | None) -> None:
        """End the process; its output stays open."""
        self._exit_code = exit_code
        if not self._exit.called:
            self._exit.callback(None)

    # -- IRemoteProcess

    async def resize(self, *, height: int, width: int) -> None:
        if self.resizing is not None:
            await self.resizing
        self.sizes.append((height, width))

    async def ended(self, output_ended: Deferred[None]) -> int | None:
        await first_of(self._exit)
        return self._exit_code

    async def hang_up(self) -> None:
        self.hung_up = True


@implementer(IStreamingRuntime)
class MemoryRuntime:
    """A runtime that admits every request."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self.processes: list[MemoryProcess] = []
        #: If set, exec and attach raise it.
        self.refusal: Exception | None = None
        #: If set, exec and attach wait for it.
        self.starting: Deferred[None] | None = None
        #: Makers of the servers that listen, by port, and the servers' connections.
        self.ports: dict[int, Callable[[], FarEnd]] = {}
        self.connections: list[FarEnd] = []
        self.adopting: dict[int, FarEnd] = {}

    async def admit_exec(self, request: RemoteCommand) -> RemoteCommand:
        return request

    async def admit_attach(self, request: RemoteCommand) -> RemoteCommand:
        return request

    async def admit_port_forward(self, sandbox_id: str) -> str:
        return sandbox_id

    async def exec(self, request: RemoteCommand) -> IRemoteProcess:
        """Return a process; the test finds it in :attr:`processes`."""
        if self.starting is not None:
            await self.starting
        if self.refusal is not None:
            raise self.refusal
        process = MemoryProcess(self._network, request)
        self.processes.append(process)
        return process

    async def attach(self, request: RemoteCommand) -> IRemoteProcess:
        return await self.exec(request)

    async def connect_port(self, sandbox_id: str, port: int) -> socket.socket:
        """Return a socket that :class:`MemoryReactor` adopts as a connection to the server on *port*."""
        if port not in self.ports:
            raise errors.Unavailable(f"port {port} of the pod cannot be reached: 127.0.0.1: Connection refused")
        far = self.ports[port]()
        self.connections.append(far)
        ours, theirs = socket.socketpair()
        theirs.close()
        self.adopting[ours.fileno()] = far
        return ours


class MemoryReactor(Clock):
    """A clock that adopts the sockets of a :class:`MemoryRuntime`."""

    network: MemoryNetwork
    runtime: MemoryRuntime

    def __init__(self) -> None:
        super().__init__()
        self.network = MemoryNetwork(self)
        self.runtime = MemoryRuntime(self.network)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> None:
        """Connect the factory's protocol to the far end of the descriptor."""
        near = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        if near is not None:
            self.network.connect(near, self.runtime.adopting.pop(fileDescriptor))
