"""The beginning of a connection: one HTTP request, and the upgrade to SPDY or WebSocket or a refusal.

1. The client has HEAD_WAIT seconds to send a request's head of MAX_HEAD bytes at most.
2. The path is ``/exec/TOKEN``, ``/attach/TOKEN`` or ``/portforward/TOKEN``.  Any request uses its token up.  A token
   that is not valid for this path and now is answered 404, without a reason.
3. The client offers protocols.  The server chooses the best that both support, or answers 403 with its own list.
4. The carrier takes the connection over: it replaces our ``dataReceived``, so that no call lies between.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.events import Request as HandshakeRequest
from wsproto.utilities import RemoteProtocolError

from criwist.streaming.carriers.websocket import WebSocket
from criwist.streaming.linger import Linger
from criwist.streaming.sessions.factory import SessionFactory
from criwist.streaming.socket_options import set_socket_options
from criwist.streaming.targets import (
    PATHS,
    PORT_FORWARD_VERSIONS,
    REMOTE_COMMAND_VERSIONS,
    TUNNEL,
    PortForward,
    Request,
)
from criwist.streaming.tokens import TokenTable
from criwist.translate.field_rules import MAX_PORT, port_number
from criwist.wire import channels
from criwist.wire.upgrade_offer import BadRequest, RequestHead, UpgradeOffer, refusal, switching

#: Seconds from the connection to the end of the request's head, the TLS handshake included.
HEAD_WAIT: Final = 10.0
#: Ports of one port-forward over channels: the character that names a channel has room for two channels of each.
MAX_CHANNEL_PORTS: Final = 32


class _Refused(Exception):
    """The request gets an HTTP error."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class UpgradeConnection(Protocol):
    """One connection until its upgrade.

    :param done: called once when the connection has left this protocol, by an upgrade or its end.
    """

    _log = Logger()

    def __init__(
        self,
        tokens: TokenTable[Request],
        sessions: SessionFactory,
        clock: IReactorTime,
        idle_limit: float,
        done: Callable[[UpgradeConnection], None],
    ) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._clock = clock
        self._idle_limit = idle_limit
        self._done = done
        self._head = RequestHead()
        self._carrier: IProtocol | None = None
        self._timeout: IDelayedCall | None = None

    def connectionMade(self) -> None:
        set_socket_options(self.transport)
        self._linger = Linger(self.transport, self._clock)
        self._timeout = self._clock.callLater(HEAD_WAIT, self._linger.abort)

    def dataReceived(self, data: bytes) -> None:
        """Read the head; a refused client's later bytes are dropped."""
        if self._linger.started:
            return
        try:
            offer = self._head.receive_data(data)
            if offer is not None:
                self._upgrade(offer)
        except BadRequest as error:
            self._refuse(error.status, str(error))
        except _Refused as error:
            self._refuse(error.status, error.text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()
        self._linger.connection_lost()
        if self._carrier is not None:
            self._carrier.connectionLost(reason)

    def abort(self) -> None:
        """Drop a connection that has not sent its request."""
        self._linger.abort()

    # -- The response

    def _upgrade(self, offer: UpgradeOffer) -> None:
        request = self._request(offer)
        if offer.upgrades_to("websocket"):
            response, carrier = self._websocket(offer, request)
        elif offer.upgrades_to("spdy/3.1"):
            response, carrier = self._spdy(offer, request)
        else:
            raise _Refused(HTTPStatus.BAD_REQUEST, "an upgrade to SPDY/3.1 or websocket is required")
        self._leave()
        transport: Any = self.transport
        transport.write(response)
        self._carrier = carrier
        self.dataReceived = carrier.dataReceived  # type: ignore[method-assign]  # the carrier takes over
        carrier.makeConnection(transport)
        if offer.trailing:
            carrier.dataReceived(offer.trailing)

    def _request(self, offer: UpgradeOffer) -> Request:
        request = self._tokens.take(offer.path[-1])
        if request is None or offer.path[:-1] != (PATHS[type(request)],):
            raise _Refused(HTTPStatus.NOT_FOUND)
        return request

    def _spdy(self, offer: UpgradeOffer, request: Request) -> tuple[bytes, IProtocol]:
        supported = PORT_FORWARD_VERSIONS if isinstance(request, PortForward) else REMOTE_COMMAND_VERSIONS
        offered = offer.values("x-stream-protocol-version")
        version = next((one for one in supported if one in offered), None)
        if version is None and offered:
            raise _Refused(
                HTTPStatus.FORBIDDEN, f"unable to negotiate protocol: client {offered}, server {[*supported]}"
            )
        headers = [("Upgrade", "SPDY/3.1")]
        # The oldest clients offer no version and use the first.
        headers += [("X-Stream-Protocol-Version", version)] if version else []
        return switching(headers), self._sessions.over_spdy(request, version == REMOTE_COMMAND_VERSIONS[0])

    def _websocket(self, offer: UpgradeOffer, request: Request) -> tuple[bytes, IProtocol]:
        if offer.method != "GET":
            raise _Refused(HTTPStatus.BAD_REQUEST, "a WebSocket handshake must be a GET")
        connection = WSConnection(ConnectionType.SERVER)
        try:
            connection.initiate_upgrade_connection(list(offer.headers), offer.target)
            handshake = next(event for event in connection.events() if isinstance(event, HandshakeRequest))
        except RemoteProtocolError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        offered = list(handshake.subprotocols)
        if isinstance(request, PortForward) and TUNNEL in offered:
            chosen, receiver = TUNNEL, self._sessions.over_tunnel(request)
        else:
            supported = channels.PORT_FORWARD if isinstance(request, PortForward) else channels.REMOTE_COMMAND
            subprotocol = channels.choose(offered, supported)
            if subprotocol is None:
                names = [one.name for one in supported]
                raise _Refused(HTTPStatus.FORBIDDEN, f"unable to negotiate protocol: client {offered}, server {names}")
            chosen = subprotocol.name
            receiver = self._sessions.over_channels(request, subprotocol, _ports(offer, request))
        response = connection.send(AcceptConnection(subprotocol=chosen or None))
        return response, WebSocket(connection, receiver, self._clock, self._idle_limit)

    def _refuse(self, status: int, text: str) -> None:
        self._log.info(
            "refused a streaming request of {peer}: {status} {text}",
            peer=str(self.transport and self.transport.getPeer()),
            status=status,
            text=text,
        )
        transport: Any = self.transport
        transport.write(refusal(status, text + "\n" if text else ""))
        self._leave()
        self._linger.start()

    def _leave(self) -> None:
        """Stop the timer, and report once that the connection has left this protocol."""
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        done, self._done = self._done, lambda _: None
        done(self)


def _ports(offer: UpgradeOffer, request: Request) -> tuple[int, ...]:
    """Return the ports of a port-forward over channels: those of the URL, or else of the CRI request."""
    if not isinstance(request, PortForward):
        return ()
    named = [port_number(text) for value in offer.query("port") for text in value.split(",")]
    given = [port for port in named if port is not None]
    if len(given) < len(named):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"query parameter port: must be from 1 to {MAX_PORT}")
    ports = tuple(given) or request.ports
    if not ports:
        raise _Refused(HTTPStatus.BAD_REQUEST, "query parameter port: is required")
    if len(ports) > MAX_CHANNEL_PORTS:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"at most {MAX_CHANNEL_PORTS} ports")
    return ports
