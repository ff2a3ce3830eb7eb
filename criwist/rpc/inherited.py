"""Socket activation, for the units of older shims: ``--endpoint fd://`` is the first socket that systemd passes.

systemd passes a *listening* socket (sd_listen_fds(3)), and gRPC can only listen itself.  So the socket's path is
taken over: gRPC binds a socket of its own at that path, with the owner and the mode that the unit gave the old one,
and who was already waiting in the old one's queue is hung up on, on which a gRPC client connects again.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress

from attrs import define

from criwist.errors import FailedPrecondition

#: sd_listen_fds(3): SD_LISTEN_FDS_START
_FIRST = 3


@define(eq=False)
class InheritedSocket:
    """A listening UNIX socket that was passed to this process."""

    _socket: socket.socket
    path: str
    #: Of the socket file, as the service manager made it.
    owner: int
    group: int
    mode: int

    def retire(self) -> None:
        """Hang up on who waits in its queue, and close it.  To be called when another listens at the path."""
        self._socket.setblocking(False)
        with suppress(OSError):  # EAGAIN: nobody is left
            while True:
                connection, _ = self._socket.accept()
                connection.close()
        self._socket.close()


def inherited_socket(environment: Mapping[str, str], pid: int) -> InheritedSocket:
    """The first socket that the service manager passed to process *pid*, which is this one.

    :raises FailedPrecondition: none was passed, or it is not a UNIX socket with a path.
    """
    if environment.get("LISTEN_PID") != str(pid) or environment.get("LISTEN_FDS", "0") == "0":
        raise FailedPrecondition(
            "the endpoint is fd://, but no socket was passed: the service needs its .socket unit, or another --endpoint"
        )
    try:
        passed = socket.socket(fileno=_FIRST)
        path = passed.getsockname()
    except OSError as error:
        raise FailedPrecondition(f"the endpoint is fd://, but descriptor {_FIRST} is no socket: {error}") from error
    if passed.family != socket.AF_UNIX or not isinstance(path, str) or not path.startswith("/"):
        passed.detach()
        raise FailedPrecondition("the endpoint is fd://, but the socket that was passed has no path in the file system")
    facts = os.stat(path)
    return InheritedSocket(passed, path, facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode))
