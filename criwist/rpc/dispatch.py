"""The one door between gRPC's threads and the reactor.

An RPC that needs the reactor is an :class:`PendingCall`: its coroutine is started on the reactor's thread, and no
thread waits for it meanwhile.  grpcio makes this possible with *non-blocking* behaviours: the pool thread that
received the request hands it over and is free again; a small second pool sends the answer once there is one.
A unary call and a stream of one message are the same on the wire, so unary RPCs are served in that way too.
Three hundred StopContainer calls in their grace period therefore occupy no thread at all.

The RPC's end, whatever its cause (the client cancelled, its deadline passed, the connection broke), cancels the
coroutine's Deferred if the operation is *cancellable*; one that is not runs to its end, and only its answer is lost.
At shutdown the door closes: every errand under way is answered UNAVAILABLE, and so are later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any, TypeVar

import grpc
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.errors import DeadlineExceeded, Unavailable
from criwist.rpc.status_codes import status_of

_T = TypeVar("_T")
_Send = Callable[[Any], None]

#: Threads that send answers.  Sending blocks only while a client does not read its answer; so many clients must
#: stop reading before others wait.
ANSWER_THREADS = 8

_CLOSED = "criwist is shutting down"


@define(eq=False)
class PendingCall:
    """One RPC on its way through the door.  All methods but :meth:`hang_up` run on the reactor's thread."""

    _door: Dispatcher
    _operation: str
    _context: grpc.ServicerContext
    _send: _Send
    _cancellable: bool
    _running: Deferred[Any] | None = None
    _over: bool = False

    def run(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Start the coroutine and see to its answer."""
        if self._over:
            return
        if self._door.closed:
            self.fail(Unavailable(_CLOSED))
            return
        self._door.errands.add(self)
        self._running = Deferred.fromCoroutine(start())
        self._running.addCallbacks(self._succeed, self._failed)

    def hang_up(self) -> None:
        """gRPC's termination callback: the RPC is over, by our own answer or without it.  Any thread."""
        self._door.reactor.callFromThread(self._ended)

    def fail(self, error: BaseException | None) -> None:
        """Answer with an error, unless the RPC is over."""
        self._door.errands.discard(self)
        if self._over:
            return
        self._over = True
        code, details = status_of(error, self._operation)
        self._door.answer(self._abort, code, details)

    def _ended(self) -> None:
        if self._over:
            return
        self._over = True
        if self._running is not None and self._cancellable:
            self._running.cancel()

    def _succeed(self, response: Any) -> None:
        self._door.errands.discard(self)
        if not self._over:
            self._over = True
            self._door.answer(self._reply, response)

    def _failed(self, failure: Failure) -> None:
        if self._over:
            self._door.errands.discard(self)
            status_of(failure.value, self._operation)  # logs what is a bug of ours, though nobody listens
            return
        self.fail(failure.value)

    def _reply(self, response: Any) -> None:
        self._send(response)
        self._send(None)

    def _abort(self, code: grpc.StatusCode, details: str) -> None:
        self._context.set_code(code)
        self._context.set_details(details)
        self._send(None)


@define(eq=False)
class Dispatcher:
    """Runs coroutines on the reactor for gRPC's threads.

    :param reactor: whose thread the coroutines run on.
    """

    reactor: IReactorFromThreads
    closed: bool = field(default=False, init=False)
    errands: set[PendingCall] = field(factory=set, init=False)
    #: What ends the waiting of threads in :meth:`wait`.
    _waiting: set[Callable[[Any], None]] = field(factory=set, init=False)
    _answers: ThreadPoolExecutor = field(init=False)
    _reactor_thread: int | None = field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._answers = ThreadPoolExecutor(ANSWER_THREADS, thread_name_prefix="criwist-answer")

    def open(self) -> None:
        """Remember the reactor's thread, on which this must be called."""
        self._reactor_thread = get_ident()

    def behaviour(
        self, operation: str, start: Callable[[Any], Coroutine[Any, Any, Any]], *, cancellable: bool
    ) -> Callable[[Any, grpc.ServicerContext, _Send], None]:
        """A non-blocking grpcio behaviour that answers with what ``start(request)`` returns.

        :param operation: the RPC's name, for texts.
        :param cancellable: whether the end of the RPC cancels the coroutine.
        """

        def behave(request: Any, context: grpc.ServicerContext, send: _Send) -> None:
            errand = PendingCall(self, operation, context, send, cancellable)
            if context.add_callback(errand.hang_up):
                self.reactor.callFromThread(errand.run, lambda: start(request))

        behave.experimental_non_blocking = True  # type: ignore[attr-defined] # grpcio's name for it
        return behave

    def wait(self, start: Callable[[], Coroutine[Any, Any, _T]], seconds: float, what: str) -> _T:
        """Run a coroutine on the reactor and wait for it in the calling thread.

        For the rare read that cannot be answered from memory.  On the reactor's own thread this would wait for
        itself, so it is refused there.

        :raises DeadlineExceeded: after *seconds*; the coroutine is cancelled.
        :raises Unavailable: the door was closed; the coroutine goes on, and is not waited for.
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
            for one in running:
                one.cancel()

        self.reactor.callFromThread(run)
        if not done.wait(seconds):
            self.reactor.callFromThread(cancel)
            raise DeadlineExceeded(f"{what} took longer than {seconds:g} s")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        result: _T = outcome[0]
        return result

    def answer(self, send: Callable[..., None], *arguments: Any) -> None:
        """Send in an answering thread: grpcio's send blocks while the client does not read."""
        self._answers.submit(send, *arguments)

    def close(self) -> None:
        """Fail everything under way with UNAVAILABLE, and everything after.  Idempotent."""
        self.closed = True
        for errand in list(self.errands):
            errand.fail(Unavailable(_CLOSED))
        for finish in list(self._waiting):
            finish(Failure(Unavailable(_CLOSED)))
        self._answers.shutdown(wait=False)
