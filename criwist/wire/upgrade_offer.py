"""The server's side of an HTTP/1.1 upgrade (RFC 9110, 7.8), over h11, for one request a connection.

:meth:`RequestHead.receive_data` collects the request's head and returns it as an :class:`UpgradeOffer`.  The response
is either :func:`switching`, after which the connection's bytes are another protocol's, or :func:`refusal`, after which
the connection closes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11
from attrs import field, frozen

#: Bytes of a request's head.  A kubelet passes its client's headers on, which may hold a long bearer token.
MAX_HEAD: Final = 32 << 10


class BadRequest(ValueError):
    """The bytes are not an HTTP/1.1 request, or its head is too long."""

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@frozen
class UpgradeOffer:
    """The head of a request.  Header names are in lower case."""

    method: str
    target: str
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    #: The bytes that came after the head.
    trailing: bytes = field(repr=False)

    @property
    def path(self) -> tuple[str, ...]:
        """Return the path's segments."""
        return tuple(urlsplit(self.target).path.strip("/").split("/"))

    def query(self, name: str) -> list[str]:
        """Return the values of a query parameter."""
        return parse_qs(urlsplit(self.target).query).get(name, [])

    def values(self, name: str) -> list[str]:
        """Return the values of a header that is a list, from all its lines."""
        wanted = name.encode()
        lines = [value.decode("latin-1") for key, value in self.headers if key == wanted]
        return [item.strip() for line in lines for item in line.split(",") if item.strip()]

    def upgrades_to(self, protocol: str) -> bool:
        """Return whether the client requests an upgrade to *protocol*."""
        asked = {value.lower() for value in self.values("upgrade")}
        return protocol in asked and "upgrade" in {value.lower() for value in self.values("connection")}


class RequestHead:
    """Collects the head of one request."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def receive_data(self, data: bytes) -> UpgradeOffer | None:
        """Return the request when its head is whole; None until then.

        :raises BadRequest: the head cannot become whole.
        """
        self._connection.receive_data(data)
        try:
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(str(error), error.error_status_hint) from error
        if not isinstance(event, h11.Request):
            return None
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in event.headers
        ):
            raise BadRequest("a request that upgrades the connection must not have a body")
        return UpgradeOffer(
            method=event.method.decode("ascii"),
            target=event.target.decode("latin-1"),
            headers=tuple((bytes(name), bytes(value)) for name, value in event.headers),
            trailing=self._connection.trailing_data[0],
        )


def switching(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the response that leaves HTTP."""
    return _head(HTTPStatus.SWITCHING_PROTOCOLS, [("Connection", "Upgrade"), *headers])


def refusal(status: int, text: str = "") -> bytes:
    """Return any other response; the connection closes after it."""
    body = text.encode()
    headers = [("Connection", "close"), ("Content-Length", str(len(body)))]
    if body:
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    return _head(HTTPStatus(status), headers) + body


def _head(status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
