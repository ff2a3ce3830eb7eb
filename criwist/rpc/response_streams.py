"""The responses of streaming RPCs on their way to clients that may read slowly, or not at all.

grpcio's ``send`` blocks its thread while the client does not read.  A client must not thereby cost more than itself:

- Every stream has a queue of its own, filled on the reactor without waiting.  A thread of ``criwist-stream`` sends one
  response and is free again; a stream has one thread at most, and streams that wait for a thread take turns.
- The queue of a subscription is bounded.  When it is full, the stream ends with RESOURCE_EXHAUSTED, and a kubelet
  lists again.  All subscribers share the bytes of an event, and each queue ends with the newest one, so the queues of a
  hundred clients need as much memory as the longest of them.
- A send that lasts :data:`STALLED` seconds is cancelled with its RPC.  If all threads are busy and a stream waits for
  one, :data:`CONTENDED` seconds suffice.  So a hundred clients that do not read delay the others once, for two seconds.

The end of an RPC, whatever its cause, ends the subscription.  At shutdown every stream ends with UNAVAILABLE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from criwist.errors import ResourceExhausted, Unavailable
from criwist.rpc.status_codes import status_of

#: Threads that send the responses of streams.
STREAM_THREADS = 8
#: Responses in the queue of one subscription, and their bytes: a burst of some thousand events.
MAX_QUEUED = 4096
MAX_QUEUED_BYTES = 4 * 1024 * 1024
#: Seconds that a send may last.  gRPC itself holds 64 KiB that a client has not read, so one that blocks has left that
#: much unread.
STALLED = 10.0
#: Seconds that a send may last while another stream waits for a thread.
CONTENDED = 0.1
#: Bytes of one response of a streamed list.  An item that is larger has a response of its own.
CHUNK = 256 * 1024

_CLOSED = "criwist is shutting down"
_Send = Callable[[Any], None]


class IStreamReactor(IReactorFromThreads, IReactorTime):
    """What the streams use of the reactor."""


@define(eq=False)
class ResponseStream:
    """The responses of one RPC.  All methods but :meth:`on_termination` are called on the reactor's thread."""

    _streams: ResponseStreams
    #: The RPC's name, for error texts.
    operation: str
    _context: grpc.ServicerContext
    _send: _Send
    #: Steps to take in a sending thread, and the bytes that each holds.
    _queue: deque[tuple[int, Callable[[], object]]] = field(factory=deque, init=False)
    _queued_bytes: int = field(default=0, init=False)
    _unsubscribe: Callable[[], None] | None = field(default=None, init=False)
    #: Nothing more is queued: the stream ends when the queue is empty, or has ended.
    _complete: bool = field(default=False, init=False)
    #: It waits for a thread, or has one.
    scheduled: bool = field(default=False, init=False)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send now."""
        return not self._queue

    def follow(self, subscribe: Callable[[Callable[[bytes], None]], Callable[[], None]]) -> None:
        """Subscribe with :meth:`offer`, and send gRPC's headers, by which a client knows that it is subscribed.

        :param subscribe: returns a function that ends the subscription; it is called once the stream is over.
        """
        if not self._begin():
            return
        try:
            self._unsubscribe = subscribe(self.offer)
        except Exception as error:  # noqa: BLE001 - status_of logs every error that has no row in its table
            self.fail(error)
            return
        self._push(0, partial(self._context.send_initial_metadata, ()))

    def send_all(self, messages: Iterable[bytes]) -> None:
        """Send *messages* and end the stream with OK."""
        if not self._begin():
            return
        for message in messages:
            self._push(len(message), partial(self._send, message))
        self._complete = True
        self._push(0, partial(self._send, None))

    def offer(self, message: bytes) -> None:
        """Queue a message; if the queue is full, end the stream with RESOURCE_EXHAUSTED."""
        if self._complete:
            return
        if len(self._queue) >= MAX_QUEUED or self._queued_bytes + len(message) > MAX_QUEUED_BYTES:
            self.fail(ResourceExhausted(f"{self.operation}: the client reads too slowly; list again"))
            return
        self._push(len(message), partial(self._send, message))

    def fail(self, error: BaseException | None) -> None:
        """End the stream with an error, in place of all that is queued; idempotent."""
        if self._complete:
            return
        code, details = status_of(error, self.operation)
        self._end()
        self._push(0, partial(self._send_error, code, details))

    def abandon(self) -> None:
        """Cancel the RPC, which ends a send in progress."""
        self._end()
        self._streams.discard(self)
        self._context.cancel()

    def on_termination(self) -> None:
        """gRPC's termination callback: the RPC has ended, for whatever reason.  Any thread."""
        self._streams.reactor.callFromThread(self._terminated)

    def take(self) -> Callable[[], object]:
        """Return the next step for a sending thread, and drop it from the queue."""
        size, step = self._queue.popleft()
        self._queued_bytes -= size
        return step

    def _begin(self) -> bool:
        """Return whether the stream may send; end it if the server is closed."""
        if self._complete:
            return False
        self._streams.open.add(self)
        if self._streams.closed:
            self.fail(Unavailable(_CLOSED))
        return not self._streams.closed

    def _push(self, size: int, step: Callable[[], object]) -> None:
        self._queue.append((size, step))
        self._queued_bytes += size
        self._streams.schedule(self)

    def _terminated(self) -> None:
        self._end()
        self._streams.discard(self)

    def _end(self) -> None:
        """Drop the queue and the subscription."""
        self._complete = True
        self._queue.clear()
        self._queued_bytes = 0
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()

    def _send_error(self, code: grpc.StatusCode, details: str) -> None:
        self._context.set_code(code)
        self._context.set_details(details)
        self._send(None)


@define(eq=False)
class ResponseStreams:
    """The streams of all clients, and the threads that send for them.  Reactor's thread, except :meth:`accept`."""

    reactor: IStreamReactor
    closed: bool = field(default=False, init=False)
    #: Streams whose RPC has not ended.
    open: set[ResponseStream] = field(factory=set, init=False)
    #: Streams that wait for a thread.
    _waiting: deque[ResponseStream] = field(factory=deque, init=False)
    #: When the send in progress of a stream began, in seconds of the reactor.
    _sending: dict[ResponseStream, float] = field(factory=dict, init=False)
    _check: IDelayedCall | None = field(default=None, init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(STREAM_THREADS, thread_name_prefix="criwist-stream")

    def accept(self, operation: str, context: grpc.ServicerContext, send: _Send) -> ResponseStream | None:
        """Return the stream of an RPC; None if the RPC has ended.  Any thread.

        :param operation: the RPC's name, for error texts.
        """
        stream = ResponseStream(self, operation, context, send)
        return stream if context.add_callback(stream.on_termination) else None

    def schedule(self, stream: ResponseStream) -> None:
        """Take the stream's next step in a thread, as soon as one is free."""
        if stream.scheduled:
            return
        stream.scheduled = True
        self._waiting.append(stream)
        self._start_waiting()

    def discard(self, stream: ResponseStream) -> None:
        """Forget a stream whose RPC has ended."""
        self.open.discard(stream)

    def close(self) -> None:
        """End every stream, and every later one, with UNAVAILABLE.  Idempotent."""
        self.closed = True
        for stream in list(self.open):
            stream.fail(Unavailable(_CLOSED))

    def _start_waiting(self) -> None:
        while self._waiting and len(self._sending) < STREAM_THREADS:
            stream = self._waiting.popleft()
            if stream.idle:
                stream.scheduled = False
                continue
            self._sending[stream] = self.reactor.seconds()
            self._threads.submit(self._run, stream, stream.take())
        if self._sending and self._check is None:
            self._check = self.reactor.callLater(CONTENDED, self._cancel_stalled)

    def _run(self, stream: ResponseStream, step: Callable[[], object]) -> None:
        """Take one step.  In a thread of the pool."""
        try:
            step()
        except grpc.RpcError:
            pass  # the RPC has ended
        except Exception:  # noqa: BLE001 - the stream's thread serves others too
            self._log.failure("sending a response failed")
            self.reactor.callFromThread(stream.abandon)
        finally:
            self.reactor.callFromThread(self._sent, stream)

    def _sent(self, stream: ResponseStream) -> None:
        del self._sending[stream]
        stream.scheduled = False
        if not stream.idle:
            self.schedule(stream)
        else:
            self._start_waiting()

    def _cancel_stalled(self) -> None:
        """Abandon the streams whose send lasts too long."""
        self._check = None
        patience = CONTENDED if self._waiting else STALLED
        now = self.reactor.seconds()
        for stream, since in list(self._sending.items()):
            if now - since >= patience and stream in self.open:
                self._log.info(
                    "a client does not read the responses of {operation}; its stream is cancelled",
                    operation=stream.operation,
                )
                stream.abandon()
        if self._sending:
            self._check = self.reactor.callLater(CONTENDED, self._cancel_stalled)
