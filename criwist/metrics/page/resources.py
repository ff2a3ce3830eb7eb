"""The page's resources: the document, its updates, and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import CACHED, FORBIDDEN, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from criwist.metrics.page.updates import Clients

#: Only our own files, no inline script or style, no frame around it, and no address that it sends anything to.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: The page's files in this package, with their types.
FILES: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.svg": "image/svg+xml",
}


class Document(Resource):
    """The page as HTML.

    :param html: returns a Deferred that fires with the document.
    :param any_host: see :func:`_is_foreign`.
    """

    _log = Logger()

    def __init__(self, html: Callable[[], Deferred[bytes]], any_host: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._html = html
        self._any_host = any_host

    def render_GET(self, request: Request) -> int | bytes:
        """Answer later, from a thread."""
        if not self._any_host and _is_foreign(request):
            return _refuse(request)
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        self._html().addCallback(self._send, request, gone).addErrback(self._fail, request, gone)
        return NOT_DONE_YET

    def _send(self, body: bytes, request: Request, gone: list[Any]) -> None:
        if not gone:
            _set_headers(request, "text/html; charset=utf-8", "no-store")
            request.setHeader(b"Content-Length", b"%d" % len(body))
            request.write(body)
            request.finish()

    def _fail(self, failure: Failure, request: Request, gone: list[Any]) -> None:
        self._log.failure("the page could not be made", failure)
        if not gone:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            request.finish()


class Updates(Resource):
    """The updates of an open page, as server-sent events.

    :param added: called when a client has come.
    :param any_host: see :func:`_is_foreign`.
    """

    def __init__(self, clients: Clients, added: Callable[[], object], any_host: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._clients = clients
        self._added = added
        self._any_host = any_host

    def render_GET(self, request: Request) -> int | bytes:
        """Add a client, or answer 503 if there are too many."""
        if not self._any_host and _is_foreign(request):
            return _refuse(request)
        if self._clients.full:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            request.setHeader(b"Retry-After", b"10")
            _set_headers(request, "text/plain; charset=utf-8", "no-store")
            return b"too many open pages\n"
        _set_headers(request, "text/event-stream", "no-store")
        self._clients.add(request)
        self._added()
        return NOT_DONE_YET

    def render_HEAD(self, request: Request) -> bytes:
        """Answer with the headers of a stream, without one."""
        _set_headers(request, "text/event-stream", "no-store")
        return b""


class PackageFile(Resource):
    """A file of this package.  A browser keeps it, and asks each time whether it is the same."""

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._content = files(__package__).joinpath(name).read_bytes()
        self._type = FILES[name]
        self._tag = f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'.encode("ascii")

    def render_GET(self, request: Request) -> bytes:
        """Answer with the content, or 304."""
        _set_headers(request, self._type, "no-cache")
        return b"" if request.setETag(self._tag) is CACHED else self._content


def _is_foreign(request: Request) -> bool:
    """Return whether a client reached this address by a name that is neither ``localhost`` nor an address.

    Any site can give its own name the address 127.0.0.1, and then read, by its script in somebody's browser, what a
    server on that machine answers (DNS rebinding).  TLS prevents it: the certificate has another name.
    """
    host = request.getRequestHostname().decode("ascii", "replace").lower()
    if host in ("", "localhost") or host.endswith(".localhost"):
        return False
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False


def _refuse(request: Request) -> bytes:
    request.setResponseCode(FORBIDDEN)
    _set_headers(request, "text/plain; charset=utf-8", "no-store")
    return b"without TLS this page is served to localhost and to addresses only, not to names\n"


def _set_headers(request: Request, content_type: str, caching: str) -> None:
    for name, value in _HEADERS.items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))
    request.setHeader(b"Content-Type", content_type.encode("ascii"))
    request.setHeader(b"Cache-Control", caching.encode("ascii"))
