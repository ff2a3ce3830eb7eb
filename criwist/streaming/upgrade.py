"""The first words of a connection: one HTTP request, answered by leaving HTTP, or by the end of the connection.

1. The client has HEAD_WAIT seconds to send a request's head of MAX_HEAD bytes at most.
2. The path is ``/exec/TOKEN``, ``/attach/TOKEN`` or ``/portforward/TOKEN``.  The token is used up by whatever comes
   with it; a token that is not good here and now is answered 404, and nothing tells why.
3. The client says what it wants to speak; the best that both know is chosen, or 403 tells what we know.
4. The connection becomes the carrier's: our ``dataReceived`` *is* then its, so that nothing lies between.
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
from wsproto.events import Request as Handshake
from wsproto.utilities import RemoteProtocolError

from criwist.streaming.carriers.websocket import WebSocket
from criwist.streaming.linger import Linger, prepare
from criwist.streaming.sessions.factory import SessionFactory
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
#: Ports of one port-forward over channels: two channels each fit into the character that names a channel.
MAX_CHANNEL_PORTS: Final = 32


class _Refused(Exception):
    """The request is answered within HTTP."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class UpgradeConnection(Protocol):
    """One connection.

    :param over: called once when the connection has left this protocol, by an upgrade or its end.
    """

    _log = Logger()

    def __init__(
        self,
        tokens: TokenTable[Request],
        switchboard: SessionFactory,
        clock: IReactorTime,
        idle_limit: float,
        over: Callable[[UpgradeConnection], None],
    ) -> None:
        self._tokens = tokens
        self._switchboard = switchboard
        self._clock = clock
        self._idle_limit = idle_limit
        self._over = over
        self._head = RequestHead()
        self._carrier: IProtocol | None = None
        self._patience: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin to wait."""
        prepare(self.transport)
        self._farewell = Linger(self.transport, self._clock)
        self._patience = self._clock.callLater(HEAD_WAIT, self._farewell.abort)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the head, or what a client that was refused still says."""
        if self._farewell.begun:
            return
        try:
            offer = self._head.receive_data(data)
            if offer is not None:
                self._answer(offer)
        except BadRequest as error:
            self._refuse(error.status, str(error))
        except _Refused as error:
            self._refuse(error.status, error.text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, told to whom it concerns."""
        self._settle()
        self._farewell.over()
        if self._carrier is not None:
            self._carrier.connectionLost(reason)

    def abort(self) -> None:
        """Drop a connection that has not said what it wants."""
        self._farewell.abort()

    # -- The answer

    def _answer(self, offer: UpgradeOffer) -> None:
        request = self._request(offer)
        if offer.upgrades_to("websocket"):
            answer, carrier = self._websocket(offer, request)
        elif offer.upgrades_to("spdy/3.1"):
            answer, carrier = self._spdy(offer, request)
        else:
            raise _Refused(HTTPStatus.BAD_REQUEST, "an upgrade to SPDY/3.1 or websocket is required")
        self._settle()
        transport: Any = self.transport
        transport.write(answer)
        self._carrier = carrier
        self.dataReceived = carrier.dataReceived  # type: ignore[method-assign]  # the hand-over itself
        carrier.makeConnection(transport)
        if offer.trailing:
            carrier.dataReceived(offer.trailing)

    def _request(self, offer: UpgradeOffer) -> Request:
        request = self._tokens.take(offer.path[-1])
        if request is None or offer.path[:-1] != (PATHS[type(request)],):
            raise _Refused(HTTPStatus.NOT_FOUND)
        return request

    def _spdy(self, offer: UpgradeOffer, request: Request) -> tuple[bytes, IProtocol]:
        known = PORT_FORWARD_VERSIONS if isinstance(request, PortForward) else REMOTE_COMMAND_VERSIONS
        offered = offer.values("x-stream-protocol-version")
        version = next((one for one in known if one in offered), None)
        if version is None and offered:
            raise _Refused(HTTPStatus.FORBIDDEN, f"unable to negotiate protocol: client {offered}, server {[*known]}")
        headers = [("Upgrade", "SPDY/3.1")]
        # The oldest clients offer nothing and speak the first version.
        headers += [("X-Stream-Protocol-Version", version)] if version else []
        return switching(headers), self._switchboard.over_spdy(request, version == REMOTE_COMMAND_VERSIONS[0])

    def _websocket(self, offer: UpgradeOffer, request: Request) -> tuple[bytes, IProtocol]:
        if offer.method != "GET":
            raise _Refused(HTTPStatus.BAD_REQUEST, "a WebSocket handshake is a GET")
        connection = WSConnection(ConnectionType.SERVER)
        try:
            connection.initiate_upgrade_connection(list(offer.headers), offer.target)
            handshake = next(event for event in connection.events() if isinstance(event, Handshake))
        except RemoteProtocolError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        offered = list(handshake.subprotocols)
        if isinstance(request, PortForward) and TUNNEL in offered:
            chosen, messages = TUNNEL, self._switchboard.tunnelled(request)
        else:
            known = channels.PORT_FORWARD if isinstance(request, PortForward) else channels.REMOTE_COMMAND
            subprotocol = channels.choose(offered, known)
            if subprotocol is None:
                names = [one.name for one in known]
                raise _Refused(HTTPStatus.FORBIDDEN, f"unable to negotiate protocol: client {offered}, server {names}")
            chosen = subprotocol.name
            messages = self._switchboard.over_channels(request, subprotocol, _ports(offer, request))
        answer = connection.send(AcceptConnection(subprotocol=chosen or None))
        return answer, WebSocket(connection, messages, self._clock, self._idle_limit)

    def _refuse(self, status: int, text: str) -> None:
        self._log.info(
            "{peer} refused: {status} {text}",
            peer=str(self.transport and self.transport.getPeer()),
            status=status,
            text=text,
        )
        transport: Any = self.transport
        transport.write(refusal(status, text + "\n" if text else ""))
        self._settle()
        self._farewell.begin()

    def _settle(self) -> None:
        """The head is here, or will never be."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        over, self._over = self._over, lambda _: None
        over(self)


def _ports(offer: UpgradeOffer, request: Request) -> tuple[int, ...]:
    """The ports of a port-forward over channels: those of the URL, or of the CRI request."""
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
