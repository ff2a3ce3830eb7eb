"""The dispatcher: it runs RPCs on the reactor for gRPC's threads.

An RPC that needs the reactor is a :class:`PendingCall`.  Its coroutine runs on the reactor's thread, and no thread
waits for it meanwhile.  grpcio makes this possible with *non-blocking* behaviours: the pool thread that received the
request passes it on and is free again; a small second pool sends the response when there is one.  A unary call and a
stream of one message are the same on the wire, so unary RPCs are served in that way too.  Three hundred StopContainer
calls in their grace period therefore occupy no thread at all.

When the RPC ends early, whatever the cause (the client cancelled, its deadline passed, the connection broke), the
dispatcher cancels the coroutine's Deferred if the operation is *cancellable*.  Any other operation runs to its end, and
only its response is lost.  At shutdown the dispatcher closes: it answers every pending call and every later one
UNAVAILABLE.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any, TypeVar

import grpc
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from criwist.errors import DeadlineExceeded, Unavailable
from criwist.rpc.response_streams import IStreamReactor, ResponseStreams
from criwist.rpc.status_codes import status_of

_T = TypeVar("_T")
_Send = Callable[[Any], None]

#: Threads that send responses.  Sending blocks only while a client does not read its response; so many clients must
#: stop reading before others wait.
SENDING_THREADS = 8

_CLOSED = "criwist is shutting down"


@define(eq=False)
class PendingCall:
    """One RPC that runs on the reactor.  All methods but :meth:`on_termination` are called on the reactor's thread."""

    _dispatcher: Dispatcher
    _operation: str
    _context: grpc.ServicerContext
    _send: _Send
    _cancellable: bool
    _running: Deferred[Any] | None = None
    #: A response is on its way, or the RPC has ended without one.
    _finished: bool = False

    def run(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Start the coroutine, and send its result or its error as the response."""
        if self._finished:
            return
        if self._dispatcher.closed:
            self.fail(Unavailable(_CLOSED))
            return
        self._dispatcher.pending.add(self)
        self._running = Deferred.fromCoroutine(start())
        self._running.addCallbacks(self._succeed, self._failed)

    def on_termination(self) -> None:
        """gRPC's termination callback: the RPC has ended, by our own response or without it.  Any thread."""
        self._dispatcher.reactor.callFromThread(self._terminated)

    def fail(self, error: BaseException | None) -> None:
        """Send an error as the response, unless the RPC has ended."""
        self._dispatcher.pending.discard(self)
        if self._finished:
            return
        self._finished = True
        code, details = status_of(error, self._operation)
        self._dispatcher.submit(self._send_error, code, details)

    def _terminated(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._running is not None and self._cancellable:
            self._running.cancel()

    def _succeed(self, response: Any) -> None:
        self._dispatcher.pending.discard(self)
        if not self._finished:
            self._finished = True
            self._dispatcher.submit(self._send_response, response)

    def _failed(self, failure: Failure) -> None:
        if self._finished:
            self._dispatcher.pending.discard(self)
            status_of(failure.value, self._operation)  # logs an unexpected error, although no client waits for it
            return
        self.fail(failure.value)

    def _send_response(self, response: Any) -> None:
        self._send(response)
        self._send(None)

    def _send_error(self, code: grpc.StatusCode, details: str) -> None:
        self._context.set_code(code)
        self._context.set_details(details)
        self._send(None)


@define(eq=False)
class Dispatcher:
    """Runs coroutines on the reactor for gRPC's threads.

    :param reactor: the coroutines run on its thread.
    """

    reactor: IStreamReactor
    closed: bool = field(default=False, init=False)
    pending: set[PendingCall] = field(factory=set, init=False)
    #: The streams of responses, which are sent in threads of their own.
    streams: ResponseStreams = field(init=False)
    #: Each ends the waiting of one thread in :meth:`wait`.
    _waiting: set[Callable[[Any], None]] = field(factory=set, init=False)
    _senders: ThreadPoolExecutor = field(init=False)
    _reactor_thread: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.streams = ResponseStreams(self.reactor)
        self._senders = ThreadPoolExecutor(SENDING_THREADS, thread_name_prefix="criwist-send")

    def open(self) -> None:
        """Remember the reactor's thread, on which this must be called."""
        self._reactor_thread = get_ident()

    def behaviour(
        self, operation: str, start: Callable[[Any], Coroutine[Any, Any, Any]], *, cancellable: bool
    ) -> Callable[[Any, grpc.ServicerContext, _Send], None]:
        """Return a non-blocking grpcio behaviour that responds with the result of ``start(request)``.

        :param operation: the RPC's name, for error texts.
        :param cancellable: whether the end of the RPC cancels the coroutine.
        """

        def behave(request: Any, context: grpc.ServicerContext, send: _Send) -> None:
            call = PendingCall(self, operation, context, send, cancellable)
            if context.add_callback(call.on_termination):
                self.reactor.callFromThread(call.run, lambda: start(request))

        behave.experimental_non_blocking = True  # type: ignore[attr-defined] # grpcio's name for it
        return behave

    def wait(self, start: Callable[[], Coroutine[Any, Any, _T]], seconds: float, what: str) -> _T:
        """Run a coroutine on the reactor and block the calling thread until it returns.

        For the rare read that memory cannot answer.  On the reactor's own thread this would wait for itself, so it
        raises RuntimeError there.

        :raises DeadlineExceeded: after *seconds*; the coroutine is cancelled.
        :raises Unavailable: the dispatcher was closed; the coroutine goes on, but this method does not wait for it.
        """
        if get_ident() == self._reactor_thread:
            raise RuntimeError(f"{what} would block the reactor")
        done = Event()
        outcome: list[Any] = []
        running: list[Deferred[Any]] = []

        def run() -> None:
            if self.closed:
                finish(Failure(Unavailable(_CLOSED)))
                return
            self._waiting.add(finish)
            running.append(Deferred.fromCoroutine(start()).addBoth(finish))

        def finish(result: Any) -> None:
            self._waiting.discard(finish)
            outcome.append(result)
            done.set()

        def cancel() -> None:
            for deferred in running:
                deferred.cancel()

        self.reactor.callFromThread(run)
        if not done.wait(seconds):
            self.reactor.callFromThread(cancel)
            raise DeadlineExceeded(f"{what} took longer than {seconds:g} s")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        result: _T = outcome[0]
        return result

    def submit(self, send: Callable[..., None], *arguments: Any) -> None:
        """Call *send* in a sending thread: grpcio's send blocks while the client does not read."""
        self._senders.submit(send, *arguments)

    def close(self) -> None:
        """Fail every pending call and every later one with UNAVAILABLE, and wake the waiting threads.  Idempotent."""
        self.closed = True
        for call in list(self.pending):
            call.fail(Unavailable(_CLOSED))
        for finish in list(self._waiting):
            finish(Failure(Unavailable(_CLOSED)))
        self.streams.close()
        self._senders.shutdown(wait=False)
