"""Bodies of requests and responses: bytes in memory, a response of limited length, a stream of JSON objects.

Cancelling a Deferred of this module closes the connection of the body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from criwist.errors import EngineFailure
from criwist.wire.jsonstream import JSONObjects, JSONStreamError


@implementer(IBodyProducer)
class BytesProducer:
    """A request body in memory, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the whole body; the transport buffers what the socket does not take."""
        consumer.write(self._body)
        return succeed(None)

    # The body is written before any of these is called.

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """Return the whole body of *response*.

    Fails with :class:`EngineFailure` if it is longer than *limit* bytes, and then closes the connection.
    """
    body = _WholeBody(limit)
    response.deliverBody(body)
    return body.done


def read_objects(response: IResponse, deliver: Callable[[dict[str, Any]], None]) -> Deferred[None]:
    """Call *deliver* with each JSON object of the body as it arrives; fires when the body has ended.

    Fails with :class:`EngineFailure` for bytes that are not JSON objects, with the connection's failure if the
    connection breaks, and with the exception that *deliver* raises; the connection is closed in each case.
    """
    body = _ObjectStream(deliver)
    response.deliverBody(body)
    return body.done


class _Body(Protocol):
    """A receiver whose Deferred fires once, however the body ends."""

    def __init__(self) -> None:
        self.done: Deferred[Any] = Deferred(self._cancelled)
        self._ended = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire with the body, or with the connection's failure.

        PotentialDataLoss marks a body that only the end of the connection ends.  It counts as whole, since nothing
        shows whether it was cut off.
        """
        self._end(self._result() if reason.check(ResponseDone, PotentialDataLoss) else reason)

    def _result(self) -> Any:
        return None

    def _end(self, result: Any) -> None:
        if not self._ended:
            self._ended = True
            self.done.callback(result)

    def _fail(self, error: Exception) -> None:
        self._drop()
        self._end(Failure(error))

    def _cancelled(self, done: Deferred[Any]) -> None:
        self._ended = True
        self._drop()

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class _WholeBody(_Body):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._left = limit
        self._limit = limit

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        else:
            self._parts.clear()
            self._fail(EngineFailure(f"the engine's answer is longer than {self._limit} bytes"))

    def _result(self) -> bytes:
        return b"".join(self._parts)


class _ObjectStream(_Body):
    def __init__(self, deliver: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._objects = JSONObjects()
        self._deliver = deliver

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            for value in self._objects.receive_data(data):
                self._deliver(value)
        except JSONStreamError as error:
            self._fail(EngineFailure(f"the engine's answer cannot be parsed: {error}"))
        except BaseException:
            # ``deliver`` failed: its caller gets the error, and raising it makes Twisted drop the connection.
            self._end(Failure())
            raise
