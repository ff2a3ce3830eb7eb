"""Sockets inside a pod's network namespace.

A socket belongs for its whole life to the namespace of the thread that created it.  So a new thread enters the
namespace with setns(2), creates the sockets and ends.  Such a thread must never return to a pool, where the next job
would run in some pod's network; so none of Twisted's pool threads is used.  The reactor then makes the connection,
for which the socket's namespace makes no difference.

So port-forward needs neither ``nsenter`` nor ``socat``, and no process per connection.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorFromThreads, IReactorTime, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.errors import DeadlineExceeded, Internal, NotFound, Unavailable
from criwist.kernel.cgroup.paths import belongs_to
from criwist.syscalls import CLONE_NEWNET, enter_namespace

#: The addresses on which a pod's servers listen for the pod alone, in the order in which they are tried.
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
#: Seconds.  A connection inside one namespace succeeds or fails at once, unless the listener's queue is full.
CONNECT_TIME_LIMIT = 10.0

_T = TypeVar("_T")


class INamespaceReactor(IReactorFDSet, IReactorTime, IReactorFromThreads):
    """The reactor interfaces that this module needs."""


async def connect(
    pid: int, container: str, port: int, *, reactor: INamespaceReactor, time_limit: float = CONNECT_TIME_LIMIT
) -> socket.socket:
    """Return a connected, non-blocking TCP socket to *port* of loopback in the network namespace of *pid*.

    127.0.0.1 is tried first, then ::1.  The caller closes the socket.  Cancelling closes every socket of this call.

    :param container: as for :func:`in_namespace`.
    :raises NotFound: there is no such process of the container.
    :raises Unavailable: nothing listens there; the text has the error of each address.
    :raises DeadlineExceeded: an address neither accepted nor refused within *time_limit* seconds.
    """
    sockets = await in_namespace(pid, container, _loopback_sockets, reactor=reactor)
    failures = []
    try:
        for family, address in LOOPBACK:
            candidate = sockets.pop(family, None)
            if candidate is None:
                continue
            try:
                await _connected(candidate, (address, port), reactor, time_limit)
            except OSError as problem:
                candidate.close()
                failures.append(f"{address}: {os.strerror(problem.errno or errno.EIO)}")
            except Exception:
                candidate.close()
                raise
            else:
                return candidate
    finally:
        for unused in sockets.values():
            unused.close()
    raise Unavailable(f"port {port} of the pod cannot be reached: {', '.join(failures)}")


async def in_namespace(pid: int, container: str, work: Callable[[], _T], *, reactor: IReactorFromThreads) -> _T:
    """Call *work* in a new thread that is in the network namespace of *pid*; return what it returns.

    *work* may block for as long as it likes.  Cancelling stops waiting; the thread ends by itself, and the garbage
    collector closes a socket that it created.

    :param container: the id of the container whose process it must be, by its cgroup: while the engine is away a pid
        may become another process's, and the pids of an engine on another machine are not this machine's.
    :raises NotFound: there is no such process of the container.
    :raises Internal: the namespace cannot be entered, for instance without CAP_SYS_ADMIN.
    """
    result: Deferred[_T] = Deferred()

    def run() -> None:
        try:
            _enter_network_namespace(pid, container)
            returned = work()
        except BaseException:  # noqa: BLE001 - every failure belongs to the caller that waits
            reactor.callFromThread(_errback, Failure())
        else:
            reactor.callFromThread(_callback, returned)

    def _callback(returned: _T) -> None:
        if not result.called:
            result.callback(returned)

    def _errback(failure: Failure) -> None:
        if not result.called:
            result.errback(failure)

    # Not threading.Thread: its start() waits until the thread runs, which on a busy machine blocked the reactor for
    # most of a millisecond for each forwarded connection.
    _thread.start_new_thread(run, ())
    return await result


def _enter_network_namespace(pid: int, container: str) -> None:
    try:
        descriptor = os.pidfd_open(pid)
        try:
            if not belongs_to(pid, container):
                raise NotFound("process", str(pid), f"it does not belong to container {container} on this machine")
            with open(f"/proc/{pid}/ns/net", "rb", buffering=0) as namespace:
                # While it lives, the pid is its own: what was read before belongs to it.
                signal.pidfd_send_signal(descriptor, 0)
                enter_namespace(f"/proc/self/fd/{namespace.fileno()}", CLONE_NEWNET)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError) as problem:
        raise NotFound("process", str(pid), "its network namespace is gone") from problem
    except OSError as problem:
        cause = problem.strerror
        raise Internal(f"the network namespace of process {pid} cannot be entered: {cause}") from problem


def _loopback_sockets() -> dict[socket.AddressFamily, socket.socket]:
    """Create a non-blocking socket of each family that the kernel has, in the calling thread's namespace."""
    sockets: dict[socket.AddressFamily, socket.socket] = {}
    for family, _ in LOOPBACK:
        try:
            created = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as problem:
            if problem.errno != errno.EAFNOSUPPORT:
                raise
        else:
            sockets[family] = created
    return sockets


def _connected(
    candidate: socket.socket, address: tuple[str, int], reactor: INamespaceReactor, time_limit: float
) -> Deferred[None]:
    """Fire when *candidate* is connected; fail with OSError or DeadlineExceeded.  Cancelling stops waiting."""
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
    """A connection attempt: the socket becomes writable when it is connected or has failed."""

    _socket: socket.socket
    _address: tuple[str, int]
    _reactor: INamespaceReactor
    _result: Deferred[None] = field(init=False)
    _deadline: IDelayedCall = field(init=False)

    def wait(self, time_limit: float) -> Deferred[None]:
        self._result = Deferred(lambda _: self._stop())
        self._deadline = self._reactor.callLater(time_limit, self._time_out, time_limit)
        self._reactor.addWriter(self)
        return self._result

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "netns"

    def doWrite(self) -> None:
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor removed the descriptor, after a hang-up or because the reactor stops."""
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

    def _time_out(self, time_limit: float) -> None:
        self._reactor.removeWriter(self)
        address, port = self._address
        self._result.errback(
            DeadlineExceeded(f"port {port} at {address} of the pod did not answer within {time_limit:g} s")
        )
