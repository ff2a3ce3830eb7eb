"""The client's side of an HTTP/1.1 upgrade (RFC 9110, 7.8), over h11, for connections that leave HTTP.

The request goes out once; :meth:`UpgradeRequest.receive_data` parses the response into an :class:`Upgraded`, with the
bytes of the new protocol that came in the same read, or a :class:`Refused`.  This module parses no bytes after that.
An engine that answers 200 with a body that only the end of the connection ends has, by the Engine API's older rules,
left HTTP too.
"""

from __future__ import annotations

import h11
from attrs import frozen

#: Error bodies are a sentence; a longer body is cut.
MAX_REFUSAL = 64 << 10

_UNFRAMED = {b"transfer-encoding", b"content-length"}


@frozen
class Upgraded:
    """The peer has left HTTP."""

    #: First bytes of the new protocol.
    trailing: bytes


@frozen
class Refused:
    """The peer has answered within HTTP."""

    status: int
    body: bytes


class UpgradeError(Exception):
    """The peer's response is not HTTP/1.1, or was cut off."""


class UpgradeRequest:
    """One POST request with an upgrade.

    :param target: path and query, in ASCII.
    :param host: the Host header.
    :param body: a JSON document, or empty.
    :param protocol: the Upgrade header.
    """

    def __init__(self, target: str, host: str, body: bytes = b"", protocol: str = "tcp") -> None:
        self._connection = h11.Connection(h11.CLIENT)
        headers = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", protocol)]
        if body:
            headers.append(("Content-Type", "application/json"))
        headers.append(("Content-Length", str(len(body))))
        self._request = h11.Request(method="POST", target=target, headers=headers)
        self._body = body
        self._status = 0
        self._refusal = bytearray()

    def data_to_send(self) -> bytes:
        """Return the whole request.  To be called once."""
        parts = [self._connection.send(self._request)]
        if self._body:
            parts.append(self._connection.send(h11.Data(data=self._body)))
        parts.append(self._connection.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    def receive_data(self, data: bytes) -> Upgraded | Refused | None:
        """Take the peer's bytes; ``b""`` is the end of the connection.  None: the response is not whole yet.

        :raises UpgradeError: the response cannot become whole.
        """
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return None
                outcome = self._outcome(event)
                if outcome is not None:
                    return outcome
        except h11.RemoteProtocolError as error:
            raise UpgradeError(str(error)) from error

    def _outcome(self, event: object) -> Upgraded | Refused | None:
        """The outcome after this event; None: continue with the next one."""
        if event is h11.PAUSED or isinstance(event, h11.EndOfMessage):
            return Refused(self._status, bytes(self._refusal[:MAX_REFUSAL]))
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return Upgraded(self._connection.trailing_data[0])
        if isinstance(event, h11.Response):
            self._status = event.status_code
            if event.status_code == 200 and not any(name in _UNFRAMED for name, _ in event.headers):
                return Upgraded(self._unframed_body())
        elif isinstance(event, h11.Data):
            self._refusal += event.data
            if len(self._refusal) > MAX_REFUSAL:
                return Refused(self._status, bytes(self._refusal[:MAX_REFUSAL]))
        elif isinstance(event, h11.ConnectionClosed):  # pragma: no cover - h11 raises before, in each state here
            raise UpgradeError("the connection was closed before the response")
        return None

    def _unframed_body(self) -> bytes:
        body = bytearray()
        while isinstance(event := self._connection.next_event(), h11.Data):
            body += event.data
        return bytes(body)
