"""Socket activation, for the units of older shims: ``--endpoint fd://`` is the first socket that systemd passes.

systemd passes a *listening* socket (sd_listen_fds(3)), but gRPC cannot adopt one.  So gRPC binds a socket of its own at
the same path, with the owner and the mode that the unit gave the old one.  criwist closes the connections that wait in
the old socket's queue; their gRPC clients connect again.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import Any

from attrs import define
from twisted.internet.endpoints import serverFromString

from criwist.errors import FailedPrecondition


@define(eq=False)
class InheritedSocket:
    """A listening UNIX socket that the service manager passed to this process."""

    _socket: socket.socket
    path: str
    #: Of the socket file, as the service manager made it.
    owner: int
    group: int
    mode: int

    def retire(self) -> None:
        """Close the connections in its queue, then the socket.  Call it when a new socket listens at the path."""
        self._socket.setblocking(False)
        with suppress(OSError):  # EAGAIN: the queue is empty
            while True:
                connection, _ = self._socket.accept()
                connection.close()
        self._socket.close()


def inherited_socket(reactor: Any) -> InheritedSocket:
    """Return the first socket that the service manager passed to this process.

    Twisted has already removed its descriptor from the environment, and provides it as an endpoint.

    :raises FailedPrecondition: there is none, or it is not a UNIX socket with a path.
    """
    try:
        endpoint = serverFromString(reactor, "systemd:domain=UNIX:index=0")
    except (IndexError, KeyError, ValueError) as error:
        raise FailedPrecondition(
            "the endpoint is fd://, but no socket was passed: the service needs its .socket unit, or another --endpoint"
        ) from error
    try:
        passed = socket.socket(fileno=endpoint.fileno)
        path = passed.getsockname()
    except OSError as error:
        raise FailedPrecondition(f"the endpoint is fd://, but what was passed is not a socket: {error}") from error
    if passed.family != socket.AF_UNIX or not isinstance(path, str) or not path.startswith("/"):
        passed.detach()
        raise FailedPrecondition("the endpoint is fd://, but the socket that was passed has no path in the file system")
    status = os.stat(path)
    return InheritedSocket(passed, path, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
