"""Notifications to the service manager: the protocol of sd_notify(3).

The manager names a UNIX datagram socket in ``NOTIFY_SOCKET``; a message is lines of ``NAME=value``.  A name that begins
with ``@`` is in the abstract name space.  Without the variable nothing is sent.  A failure is logged and has no other
effect.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from attrs import define
from twisted.logger import Logger

_SOCKET = "NOTIFY_SOCKET"


@define(eq=False)
class SystemdNotifier:
    """Notifications to the service manager that *environment* names.  They never block and never raise."""

    _environment: Mapping[str, str]
    _log = Logger()

    def ready(self, status: str = "") -> None:
        """Report that the CRI is served.  *status* is one line for ``systemctl status``."""
        self._send("READY=1", status)

    def stopping(self, status: str = "") -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1", status)

    def status(self, status: str) -> None:
        """Send one line on the daemon's current state, for ``systemctl status``."""
        self._send("", status)

    def _send(self, state: str, status: str) -> None:
        path = self._environment.get(_SOCKET, "")
        if not path:
            return
        if path[0] not in "/@":
            self._log.warn("{variable} is {path}, which is not the path of a UNIX socket", variable=_SOCKET, path=path)
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        address = os.fsencode("\0" + path[1:] if path[0] == "@" else path)
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto("\n".join(lines).encode(errors="replace"), address)
        except OSError as error:
            self._log.warn("the service manager at {path} cannot be notified: {error}", path=path, error=str(error))
