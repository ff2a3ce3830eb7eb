"""The streaming server: its listener, its tokens and its sessions."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from criwist.config import Config
from criwist.errors import InvalidArgument, Unavailable
from criwist.interfaces.streaming import IStreamingRuntime
from criwist.streaming.certificates import ReloadedCertificate
from criwist.streaming.linger import LINGER
from criwist.streaming.sessions.factory import SessionFactory
from criwist.streaming.targets import PATHS, Request
from criwist.streaming.tokens import TokenTable
from criwist.streaming.upgrade import UpgradeConnection
from criwist.translate.field_rules import MAX_PORT

#: Connections that have not sent their request yet.  Each costs a descriptor for HEAD_WAIT seconds at most.  When there
#: is one more, the oldest is dropped, so that they can neither use up all descriptors nor keep out other clients.
MAX_SILENT: Final = 256
#: Connections that the kernel may queue for the listener.
BACKLOG: Final = 512
#: Kinds of sessions.
KINDS: Final = ("exec", "attach", "port_forward")
#: Seconds that sessions have to end when the service stops; then they are dropped.
SHUTDOWN_GRACE: Final = LINGER + 1.0


_ADDRESS: Final = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
_NAMES: Final = {"localhost": "127.0.0.1", "": "0.0.0.0"}


class IStreamingReactor(IReactorTCP, IReactorSocket, IReactorTime):
    """The reactor's interfaces that the server uses."""


@frozen
class BindAddress:
    """An address to listen on."""

    host: IPv4Address | IPv6Address
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> BindAddress:
        """Read ``host``, ``host:port``, ``[host]:port`` or ``:port``; the host is an address or ``localhost``.

        :raises InvalidArgument: the text has none of these forms.
        """
        # An IPv6 address needs no brackets if no port follows it.
        found = _ADDRESS.fullmatch(text)
        host = (found["bracketed"] or found["host"]) if found else text
        port = int(found["port"] or 0) if found else 0
        try:
            address = ip_address(_NAMES.get(host, host) if text else host)
        except ValueError:
            raise InvalidArgument("streaming-bind-addr", f"{text!r} is no IP address, with or without a port") from None
        if port > MAX_PORT:
            raise InvalidArgument("streaming-bind-addr", f"{port} is no port")
        return cls(address, port)

    @property
    def local(self) -> str:
        """Return the address at which this machine reaches it, in URL syntax."""
        host = self.host
        if host.is_unspecified:
            return "127.0.0.1" if host.version == 4 else "[::1]"
        return str(host) if host.version == 4 else f"[{host}]"


class StreamingServer(Service):
    """Serves exec, attach and port-forward.

    :raises InvalidArgument: the configured address or certificate cannot be used, or the address is reachable from
        elsewhere without TLS and the configuration does not allow that.
    """

    name = "streaming"
    _log = Logger()

    def __init__(self, reactor: Any, config: Config, runtime: IStreamingRuntime) -> None:
        self._reactor = reactor
        self._idle_limit = config.streaming_idle_timeout
        self._address = BindAddress.parse(config.streaming_bind_addr)
        self._certificate = ReloadedCertificate(config.streaming_tls) if config.streaming_tls else None
        self._tokens: TokenTable[Request] = TokenTable(reactor)
        self._sessions = SessionFactory(runtime, reactor, self._idle_limit)
        #: Connections that have not sent their request, oldest first.
        self._silent: dict[UpgradeConnection, None] = {}
        self._port: IListeningPort | None = None
        if self._certificate is None and not self._address.host.is_loopback:
            self._allow_insecure(config)

    def _allow_insecure(self, config: Config) -> None:
        if not config.streaming_insecure:
            raise InvalidArgument(
                "streaming-bind-addr",
                f"{config.streaming_bind_addr} can be reached from elsewhere: give it a certificate, bind it to "
                "127.0.0.1, or allow it with --streaming-insecure",
            )
        self._log.warn(
            "the streaming server listens on {address} without TLS: anyone who can read the node's traffic can read "
            "and take over exec sessions",
            address=config.streaming_bind_addr,
        )

    def url(self, request: Request) -> str:
        """Return a URL at which *request* is valid once, for a minute.

        :raises ResourceExhausted: too many URLs are unused.
        :raises Unavailable: the server does not listen.
        """
        if self._port is None:
            raise Unavailable("the streaming server is not running")
        scheme = "https" if self._certificate else "http"
        host: Any = self._port.getHost()
        return f"{scheme}://{self._address.local}:{host.port}/{PATHS[type(request)]}/{self._tokens.insert(request)}"

    def open_sessions(self) -> dict[str, int]:
        """Return the number of open sessions by kind: ``exec``, ``attach``, ``port_forward``."""
        kinds = Counter(self._sessions.sessions.values())
        return {kind: kinds[kind] for kind in KINDS}

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        factory: Any = _ConnectionFactory(self)
        if self._certificate is not None:
            factory = TLSMemoryBIOFactory(self._certificate, False, factory)
        self._port = self._reactor.listenTCP(
            self._address.port, factory, backlog=BACKLOG, interface=str(self._address.host)
        )
        self._log.info("the streaming server listens on {host}", host=str(self._port.getHost()))

    def stopService(self) -> Deferred[None]:
        """End every session as its protocol demands; fires when all have ended, after SHUTDOWN_GRACE at most."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        for connection in list(self._silent):
            connection.abort()
        ended: Deferred[None] = Deferred()

        def end() -> None:
            if not ended.called:
                ended.callback(None)

        expiry = self._reactor.callLater(SHUTDOWN_GRACE, end)
        self._sessions.shut_down(end)
        await ended
        if expiry.active():
            expiry.cancel()

    # -- For connections

    def new_connection(self) -> UpgradeConnection:
        """Return a protocol for a new connection."""
        if len(self._silent) >= MAX_SILENT:
            self._log.warn("{count} connections have sent no request: dropped the oldest", count=MAX_SILENT)
            oldest = next(iter(self._silent))
            self._not_silent(oldest)
            oldest.abort()
        connection = UpgradeConnection(self._tokens, self._sessions, self._reactor, self._idle_limit, self._not_silent)
        self._silent[connection] = None
        return connection

    def _not_silent(self, connection: UpgradeConnection) -> None:
        """Stop counting *connection*: it has sent its request, or is closed."""
        self._silent.pop(connection, None)


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, server: StreamingServer) -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._server.new_connection()
