"""Sockets inside a pod's network namespace.

A socket belongs for life to the namespace of the thread that made it, and a thread is all that has to be there: a
thread of its own enters the namespace with setns(2), makes the sockets and ends.  Such a thread must never go back
to a pool, where the next job would find itself in some pod's network; so none of Twisted's threads is used.  The
connection itself is then made by the reactor, which does not care where a socket belongs.

So port-forward needs neither ``nsenter`` nor ``socat``, and no process a connection.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import socket
from collections.abc import Callable
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorFromThreads, IReactorTime, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.errors import DeadlineExceeded, Internal, NotFound, Unavailable

#: Where a pod's servers listen when they listen to the pod only, in the order in which they are tried.
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
#: A connection inside one namespace stands or fails at once, unless the listener's queue is full.
CONNECT_TIME_LIMIT = 10.0

_CLONE_NEWNET = 0x40000000
_T = TypeVar("_T")


class INamespaceReactor(IReactorFDSet, IReactorTime, IReactorFromThreads):
    """What this module asks of a reactor."""


async def connect(
    pid: int, port: int, *, reactor: INamespaceReactor, time_limit: float = CONNECT_TIME_LIMIT
) -> socket.socket:
    """A connected, non-blocking TCP socket to *port* of loopback in the network namespace of *pid*.

    127.0.0.1 is tried first, then ::1.  The socket is the caller's to close.  Cancelling closes what was begun.

    :raises NotFound: there is no such process.
    :raises Unavailable: nothing listens there; the text tells what each address answered.
    :raises DeadlineExceeded: an address neither accepted nor refused within *time_limit* seconds.
    """
    sockets = await in_namespace(pid, _loopback_sockets, reactor=reactor)
    refusals = []
    try:
        for family, address in LOOPBACK:
            candidate = sockets.pop(family, None)
            if candidate is None:
                continue
            try:
                await _connected(candidate, (address, port), reactor, time_limit)
            except OSError as problem:
                candidate.close()
                refusals.append(f"{address}: {os.strerror(problem.errno or errno.EIO)}")
            except Exception:
                candidate.close()
                raise
            else:
                return candidate
    finally:
        for unused in sockets.values():
            unused.close()
    raise Unavailable(f"port {port} of the pod cannot be reached: {', '.join(refusals)}")


async def in_namespace(pid: int, work: Callable[[], _T], *, reactor: IReactorFromThreads) -> _T:
    """What *work* returns when run in a thread that is in the network namespace of *pid*, and only there.

    *work* may block for as long as it likes.  Cancelling gives up waiting; the thread ends by itself, and a socket
    that it made is closed by its collection.

    :raises NotFound: there is no such process.
    :raises Internal: the namespace cannot be entered, for want of CAP_SYS_ADMIN for instance.
    """
    result: Deferred[_T] = Deferred()

    def enter() -> None:
        try:
            _set_network_namespace(pid)
            outcome = work()
        except BaseException:  # noqa: BLE001 - whatever it is, it is the waiter's
            reactor.callFromThread(_errback, Failure())
        else:
            reactor.callFromThread(_callback, outcome)

    def _callback(outcome: _T) -> None:
        if not result.called:
            result.callback(outcome)

    def _errback(failure: Failure) -> None:
        if not result.called:
            result.errback(failure)

    # Not threading.Thread, whose start() waits for the thread to run: on a busy machine that held the reactor for
    # most of a millisecond for each forwarded connection.
    _thread.start_new_thread(enter, ())
    return await result


def _set_network_namespace(pid: int) -> None:
    try:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as problem:
        raise NotFound("process", str(pid), "its network namespace is gone") from problem
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            cause = os.strerror(ctypes.get_errno())
            raise Internal(f"the network namespace of process {pid} cannot be entered: {cause}")
    finally:
        os.close(descriptor)


def _loopback_sockets() -> dict[socket.AddressFamily, socket.socket]:
    """A non-blocking socket of each family that the kernel has, made in the calling thread's namespace."""
    sockets: dict[socket.AddressFamily, socket.socket] = {}
    for family, _ in LOOPBACK:
        try:
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as problem:
            if problem.errno != errno.EAFNOSUPPORT:
                raise
        else:
            sockets[family] = made
    return sockets


def _connected(
    candidate: socket.socket, address: tuple[str, int], reactor: INamespaceReactor, time_limit: float
) -> Deferred[None]:
    """Fires when *candidate* is connected; fails with OSError or DeadlineExceeded.  Cancelling stops waiting."""
    number = candidate.connect_ex(address)
    if number == errno.EINPROGRESS:
        return _Connecting(candidate, address, reactor).wait(time_limit)
    result: Deferred[None] = Deferred()
    if number == 0:
        result.callback(None)
    else:
        result.errback(OSError(number, os.strerror(number)))
    return result


@implementer(IWriteDescriptor)
@define(eq=False)
class _Connecting:
    """A connection under way: writable when it stands or has failed."""

    _socket: socket.socket
    _address: tuple[str, int]
    _reactor: INamespaceReactor
    _result: Deferred[None] = field(init=False)
    _deadline: IDelayedCall = field(init=False)

    def wait(self, time_limit: float) -> Deferred[None]:
        self._result = Deferred(lambda _: self._stop())
        self._deadline = self._reactor.callLater(time_limit, self._give_up, time_limit)
        self._reactor.addWriter(self)
        return self._result

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "netns"

    def doWrite(self) -> None:
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave the descriptor up, on a hang-up or at its own end."""
        if not self._result.called:
            self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNABORTED)

    def _finish(self, number: int) -> None:
        self._stop()
        if number:
            self._result.errback(OSError(number, os.strerror(number)))
        else:
            self._result.callback(None)

    def _stop(self) -> None:
        self._reactor.removeWriter(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _give_up(self, time_limit: float) -> None:
        self._reactor.removeWriter(self)
        address, port = self._address
        self._result.errback(
            DeadlineExceeded(f"port {port} at {address} of the pod did not answer within {time_limit:g} s")
        )
