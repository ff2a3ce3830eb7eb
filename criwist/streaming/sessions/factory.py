"""Makes the session of a request, with its carrier.

A session has two halves: a carrier, the only part that knows SPDY or WebSocket, and the session proper, which knows
streams only.  This module is the only one that connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import DeferredList
from twisted.internet.interfaces import IProtocol

from criwist.interfaces.streaming import IStreamingRuntime
from criwist.streaming.carriers.spdy import SpdySession
from criwist.streaming.carriers.spdy_tunnel import TunnelTransport
from criwist.streaming.carriers.websocket import IMessageReceiver
from criwist.streaming.carriers.websocket_channels import WebSocketChannels
from criwist.streaming.sessions import remote_command
from criwist.streaming.sessions.forwarded_connection import IForwardingReactor
from criwist.streaming.sessions.port_forward import PortForwardSession
from criwist.streaming.sessions.remote_command import RemoteCommandSession
from criwist.streaming.stream import Stream
from criwist.streaming.targets import Attach, Exec, PortForward, Request, status_encoder
from criwist.wire.channels import RemoteChannel, Subprotocol

Session = RemoteCommandSession | PortForwardSession

#: Roles of a remote command's streams, and their channels.
CHANNELS: Final = {
    remote_command.STDIN: RemoteChannel.STDIN,
    remote_command.STDOUT: RemoteChannel.STDOUT,
    remote_command.STDERR: RemoteChannel.STDERR,
    remote_command.ERROR: RemoteChannel.ERROR,
    remote_command.RESIZE: RemoteChannel.RESIZE,
}
#: Roles whose channels the server writes.
_SERVER_ROLES: Final = (remote_command.STDOUT, remote_command.STDERR, remote_command.ERROR)


@define(eq=False)
class SessionFactory:
    """Makes sessions, and keeps the set of the open ones.

    :param idle_limit: seconds without data after which a session ends; 0: never.
    """

    _runtime: IStreamingRuntime
    _reactor: IForwardingReactor
    _idle_limit: float
    #: The open sessions, and what each is: ``exec``, ``attach``, ``port_forward``.
    sessions: dict[Session, str] = field(factory=dict, init=False)
    _on_empty: list[Callable[[], None]] = field(factory=list, init=False)

    def over_spdy(self, request: Request, documents: bool) -> IProtocol:
        """Make a session over SPDY.

        :param documents: a remote command ends with a Status document.
        """
        carrier: SpdySession
        if isinstance(request, PortForward):
            forward = self._port_forward(request, lambda: carrier.close())
            carrier = self._spdy(forward.accept_stream, forward)
            return carrier
        command = self._remote_command(request, documents, lambda: carrier.close())

        def accept(stream: Stream, headers: dict[str, str]) -> bool:
            return command.accept_stream(headers.get("streamtype", ""), stream)

        carrier = self._spdy(accept, command)
        return carrier

    def over_tunnel(self, request: PortForward) -> IMessageReceiver:
        """Make a port-forward over SPDY over WebSocket."""
        return TunnelTransport(self.over_spdy(request, documents=False))

    def over_channels(self, request: Request, subprotocol: Subprotocol, ports: Sequence[int]) -> WebSocketChannels:
        """Make a session over WebSocket channels.

        :param ports: of a port-forward, in the order of their channels.
        """
        if isinstance(request, PortForward):
            return self._port_forward_channels(request, subprotocol, ports)
        return self._command_channels(request, subprotocol)

    def shut_down(self, done: Callable[[], None]) -> None:
        """End every session; *done* is called when none is open."""
        self._on_empty.append(done)
        for session in list(self.sessions):
            session.shut_down()
        if not self.sessions:
            self._on_empty.remove(done)
            done()

    # -- Private

    def _command_channels(self, request: Exec | Attach, subprotocol: Subprotocol) -> WebSocketChannels:
        carrier: WebSocketChannels
        session = self._remote_command(request, subprotocol.status, lambda: carrier.close())
        roles = [*sorted(session.roles), *([remote_command.RESIZE] if request.command.tty else [])]

        def ready(streams: Mapping[int, Stream]) -> None:
            carrier.announce(CHANNELS[role] for role in _SERVER_ROLES if role in roles)
            # The terminal's size comes before the rest, because the last of the others starts the session.
            for role in reversed(roles):
                session.accept_stream(role, streams[CHANNELS[role]])

        numbers = [CHANNELS[role] for role in roles]
        carrier = WebSocketChannels(subprotocol, numbers, ready, partial(self._ended, session))
        return carrier

    def _port_forward_channels(
        self, request: PortForward, subprotocol: Subprotocol, ports: Sequence[int]
    ) -> WebSocketChannels:
        carrier: WebSocketChannels
        session = self._port_forward(request, lambda: carrier.close())

        def ready(streams: Mapping[int, Stream]) -> None:
            for position, port in enumerate(ports):
                for number in (2 * position, 2 * position + 1):
                    streams[number].write(port.to_bytes(2, "little"))
            connections = [
                session.forward(port, streams[2 * position], streams[2 * position + 1])
                for position, port in enumerate(ports)
            ]
            DeferredList(connections).addCallback(lambda _: carrier.close())

        carrier = WebSocketChannels(subprotocol, range(2 * len(ports)), ready, partial(self._ended, session))
        return carrier

    def _spdy(self, accept: Callable[[Stream, dict[str, str]], bool], session: Session) -> SpdySession:
        return SpdySession(accept, partial(self._ended, session), self._reactor, self._idle_limit)

    def _remote_command(
        self, request: Exec | Attach, documents: bool, close: Callable[[], None]
    ) -> RemoteCommandSession:
        start = self._runtime.exec if isinstance(request, Exec) else self._runtime.attach
        session = RemoteCommandSession(request.command, start, status_encoder(documents), close, self._reactor)
        self.sessions[session] = "exec" if isinstance(request, Exec) else "attach"
        return session

    def _port_forward(self, request: PortForward, close: Callable[[], None]) -> PortForwardSession:
        connect = partial(self._runtime.connect_port, request.sandbox_id)
        session = PortForwardSession(connect, self._reactor, close)
        self.sessions[session] = "port_forward"
        return session

    def _ended(self, session: Session) -> None:
        self.sessions.pop(session, None)
        session.connection_lost()
        if not self.sessions:
            callbacks, self._on_empty = self._on_empty, []
            for callback in callbacks:
                callback()
