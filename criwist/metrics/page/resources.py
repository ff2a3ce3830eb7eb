"""The page's resources: the document, its updates, and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import CACHED, SERVICE_UNAVAILABLE
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
    """

    _log = Logger()

    def __init__(self, html: Callable[[], Deferred[bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._html = html

    def render_GET(self, request: Request) -> int:
        """Answer later, from a thread."""
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
    """

    def __init__(self, clients: Clients, added: Callable[[], object]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._clients = clients
        self._added = added

    def render_GET(self, request: Request) -> int | bytes:
        """Add a client, or answer 503 if there are too many."""
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


def _set_headers(request: Request, content_type: str, caching: str) -> None:
    for name, value in _HEADERS.items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))
    request.setHeader(b"Content-Type", content_type.encode("ascii"))
    request.setHeader(b"Cache-Control", caching.encode("ascii"))
