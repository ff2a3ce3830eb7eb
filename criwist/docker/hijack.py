"""Connections that leave HTTP: attach and exec start.

1. The connection stands, and the whole request goes out at once.
2. The answer is read by :mod:`criwist.wire.upgrade`.  A refusal becomes an error of ours, and the connection closes.
3. At 101 the connection is paused and held.  What came in the same read is kept.
4. :meth:`HijackedConnection.start` hands the connection over: our ``dataReceived`` *is* then the other protocol's, so
   that not one Python call lies between the transport and it.
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

from criwist.docker.error_responses import LOST, connection_fault, error_message, fault
from criwist.docker.half_close import half_closeable
from criwist.errors import EngineFailure, Unavailable
from criwist.interfaces.engine import IHijackedStream
from criwist.wire.upgrade import Refused, Upgraded, UpgradeError, UpgradeRequest


@implementer(IHijackedStream, IHalfCloseableProtocol)
class HijackedConnection(Protocol):
    """One connection, from its request on.

    :param kind: what the request is about, for errors: ``container`` or ``exec``.
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
        self._answered = False
        self._protocol: IProtocol | None = None
        #: What came between the upgrade and start().
        self._held: list[bytes] = []
        self._read_closed = False
        self._lost: Failure | None = None

    def start(self, protocol: IProtocol) -> None:
        """Hand the connection over.  Once, after the upgrade; what was held is delivered before this returns."""
        if self._protocol is not None:
            raise RuntimeError("a hijacked stream is started once")
        self._protocol = protocol
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]  # the hand-over itself
        self._transport.resumeProducing()
        protocol.makeConnection(half_closeable(self._transport, self._reactor))
        for data in self._held:
            protocol.dataReceived(data)
        self._held.clear()
        if self._lost is not None:
            protocol.connectionLost(self._lost)
        elif self._read_closed:
            self._tell_read_closed(protocol)

    def abort(self) -> None:
        """Drop the connection now."""
        if self.transport is not None and self._lost is None:
            self._transport.abortConnection()

    # -- IProtocol, until start()

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """Ask."""
        self._transport.write(self._request.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        """The answer, or what follows it."""
        if self._answered:
            self._held.append(data)
        else:
            self._read_answer(data)

    def readConnectionLost(self) -> None:
        """The engine has nothing more to say."""
        if self._protocol is not None:
            self._tell_read_closed(self._protocol)
        elif self._answered:
            self._read_closed = True
        else:
            self._read_answer(b"")

    def writeConnectionLost(self) -> None:
        """Our half is closed."""
        halves = IHalfCloseableProtocol(self._protocol, None)
        if halves is not None:
            halves.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, told once, to whom it concerns now."""
        self._lost = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
        elif not self._answered:
            self._answer(Failure(_lost_before_answer(reason)))

    # -- The answer

    def _read_answer(self, data: bytes) -> None:
        try:
            outcome = self._request.receive_data(data)
        except UpgradeError as error:
            self._refuse(EngineFailure(f"the engine did not upgrade the connection: {error}"))
            return
        if isinstance(outcome, Upgraded):
            self._transport.pauseProducing()
            if outcome.trailing:
                self._held.append(outcome.trailing)
            self._answer(self)
        elif isinstance(outcome, Refused):
            self._refuse(_refusal(outcome, *self._subject))

    def _refuse(self, error: Exception) -> None:
        self._transport.loseConnection()
        self._answer(Failure(error))

    def _answer(self, result: Any) -> None:
        self._answered = True
        self.upgraded.callback(result)

    def _cancelled(self, upgraded: Deferred[HijackedConnection]) -> None:
        self._answered = True
        self.abort()

    def _tell_read_closed(self, protocol: IProtocol) -> None:
        halves = IHalfCloseableProtocol(protocol, None)
        if halves is not None:
            halves.readConnectionLost()
        else:
            self._transport.loseConnection()


def hijack(endpoint: IStreamClientEndpoint, connection: HijackedConnection) -> Deferred[HijackedConnection]:
    """Connect and ask; fires with *connection* when the engine has left HTTP.  Cancelling drops the connection.

    Fails as the calls of ``IDocker`` do.
    """

    def failed(reason: Failure) -> Failure:
        if reason.check(*LOST):
            return Failure(connection_fault(reason.value))
        return reason

    factory: IProtocolFactory = Factory.forProtocol(lambda: connection)
    connected: Deferred[Any] = endpoint.connect(factory)
    return connected.addCallback(lambda _: connection.upgraded).addErrback(failed)


def _refusal(outcome: Refused, kind: str, name: str) -> Exception:
    if outcome.status < 400:
        return EngineFailure(f"the engine answered {outcome.status} where it should have upgraded the connection")
    return fault(outcome.status, error_message(outcome.body), kind, name)


def _lost_before_answer(reason: Failure) -> BaseException:
    if reason.check(*LOST):
        return connection_fault(reason.value)
    return Unavailable(f"Docker is away: {reason.getErrorMessage()}")
