"""Connections that leave HTTP: attach and exec start.

1. The client connects and writes the whole request at once.
2. :mod:`criwist.wire.upgrade` parses the response.  A refusal becomes one of criwist's errors, and the connection
   closes.
3. At 101 the connection is paused.  Bytes that came in the same read are buffered.
4. :meth:`HijackedConnection.start` hands the connection over: its ``dataReceived`` *is* then the other protocol's, so
   that not one Python call lies between the transport and that protocol.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.docker.error_responses import (
    CONNECTION_FAILURES,
    error_from_connection,
    error_from_response,
    error_message,
)
from criwist.docker.half_close import half_closeable
from criwist.errors import EngineFailure, Unavailable
from criwist.interfaces.engine import IHijackedStream
from criwist.wire.upgrade import Refused, Upgraded, UpgradeError, UpgradeRequest


@implementer(IHijackedStream, IHalfCloseableProtocol)
class HijackedConnection(Protocol):
    """One connection, from its request on.

    :param kind: the subject of the request, for errors: ``container`` or ``exec``.
    :param name: its id.
    """

    def __init__(
        self, request: UpgradeRequest, reactor: IReactorTime, *, kind: str, name: str, multiplexed: bool
    ) -> None:
        self.multiplexed = multiplexed
        self._reactor = reactor
        #: Fires with this object when the engine has left HTTP.  Cancelling it drops the connection.
        self.upgraded: Deferred[HijackedConnection] = Deferred(self._cancelled)
        self._request = request
        self._subject = (kind, name)
        self._responded = False
        self._protocol: IProtocol | None = None
        #: Bytes that came between the upgrade and start().
        self._buffered: list[bytes] = []
        self._read_closed = False
        self._lost: Failure | None = None

    def start(self, protocol: IProtocol) -> None:
        """Hand the connection over.  Once, after the upgrade; delivers the buffered bytes before it returns."""
        if self._protocol is not None:
            raise RuntimeError("a hijacked stream can be started once only")
        self._protocol = protocol
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]  # the hand-over itself
        self._transport.resumeProducing()
        protocol.makeConnection(half_closeable(self._transport, self._reactor))
        for data in self._buffered:
            protocol.dataReceived(data)
        self._buffered.clear()
        if self._lost is not None:
            protocol.connectionLost(self._lost)
        elif self._read_closed:
            self._pass_read_closed(protocol)

    def abort(self) -> None:
        if self.transport is not None and self._lost is None:
            self._transport.abortConnection()

    # -- IProtocol, until start()

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self._transport.write(self._request.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        """Parse the response, or buffer the bytes after it."""
        if self._responded:
            self._buffered.append(data)
        else:
            self._receive_response(data)

    def readConnectionLost(self) -> None:
        """The engine has closed its half."""
        if self._protocol is not None:
            self._pass_read_closed(self._protocol)
        elif self._responded:
            self._read_closed = True
        else:
            self._receive_response(b"")

    def writeConnectionLost(self) -> None:
        """Our half is closed."""
        half_closeable_protocol = IHalfCloseableProtocol(self._protocol, None)
        if half_closeable_protocol is not None:
            half_closeable_protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the end on to the protocol, or fail the upgrade if there was no response."""
        self._lost = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
        elif not self._responded:
            self._finish_upgrade(Failure(_lost_before_response(reason)))

    # -- The response

    def _receive_response(self, data: bytes) -> None:
        try:
            outcome = self._request.receive_data(data)
        except UpgradeError as error:
            self._refuse(EngineFailure(f"the engine did not upgrade the connection: {error}"))
            return
        if isinstance(outcome, Upgraded):
            self._transport.pauseProducing()
            if outcome.trailing:
                self._buffered.append(outcome.trailing)
            self._finish_upgrade(self)
        elif isinstance(outcome, Refused):
            self._refuse(_refusal(outcome, *self._subject))

    def _refuse(self, error: Exception) -> None:
        self._transport.loseConnection()
        self._finish_upgrade(Failure(error))

    def _finish_upgrade(self, result: Any) -> None:
        self._responded = True
        self.upgraded.callback(result)

    def _cancelled(self, upgraded: Deferred[HijackedConnection]) -> None:
        self._responded = True
        self.abort()

    def _pass_read_closed(self, protocol: IProtocol) -> None:
        half_closeable_protocol = IHalfCloseableProtocol(protocol, None)
        if half_closeable_protocol is not None:
            half_closeable_protocol.readConnectionLost()
        else:
            self._transport.loseConnection()


def hijack(endpoint: IStreamClientEndpoint, connection: HijackedConnection) -> Deferred[HijackedConnection]:
    """Connect and send the request; fires with *connection* when the engine has left HTTP.

    Fails as the calls of ``IDocker`` do.  Cancelling drops the connection.
    """

    def failed(reason: Failure) -> Failure:
        if reason.check(*CONNECTION_FAILURES):
            return Failure(error_from_connection(reason.value))
        return reason

    factory: IProtocolFactory = Factory.forProtocol(lambda: connection)
    connected: Deferred[Any] = endpoint.connect(factory)
    return connected.addCallback(lambda _: connection.upgraded).addErrback(failed)


def _refusal(outcome: Refused, kind: str, name: str) -> Exception:
    if outcome.status < 400:
        return EngineFailure(f"the engine answered {outcome.status} instead of upgrading the connection")
    return error_from_response(outcome.status, error_message(outcome.body), kind, name)


def _lost_before_response(reason: Failure) -> BaseException:
    if reason.check(*CONNECTION_FAILURES):
        return error_from_connection(reason.value)
    return Unavailable(f"Docker is away: {reason.getErrorMessage()}")
