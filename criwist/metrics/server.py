"""The metrics address: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for supervisors, ``/`` for people.

A scrape reads the node's state on the reactor, which takes about a millisecond, and makes the text of it in a thread,
one scrape after the other.  Nothing is written, and no request reaches Docker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from prometheus_client.exposition import choose_encoder
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.policies import ThrottlingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http import OK, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from criwist.config import TLSFiles
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.metrics.page.page import Page
from criwist.metrics.readings import Readings, Scrape
from criwist.metrics.recorder import Recorder
from criwist.streaming.certificates import ReloadedCertificate
from criwist.streaming.server import BindAddress

#: Connections at once.  Prometheus keeps one open; the next one is closed.
MAX_CONNECTIONS: Final = 64
#: Seconds that a connection may be silent.
IDLE_LIMIT: Final = 60
#: Seconds between two measurements of the reactor's latency.
LATENCY_INTERVAL: Final = 1.0


@define(eq=False)
class MetricsServer(Service):
    """Serves the metrics address, and measures the reactor's latency meanwhile.

    :param address: host and port.
    :param tls: certificate and key; with ``ca``, clients need a certificate that it has signed.
    :param read: returns the node's state; called on the reactor's thread.
    :param reasons: returns why the node is not ready, as sentences; empty if it is.
    :param page: the page for people.
    :raises InvalidArgument: the address can be reached from elsewhere without TLS, or the files cannot be used.
    """

    name = "metrics"

    _reactor: Any
    _address: str
    _tls: TLSFiles | None
    _recorder: Recorder
    _read: Callable[[], Readings]
    _reasons: Callable[[], list[str]]
    _page: Page
    _certificate: ReloadedCertificate | None = field(default=None, init=False)
    _port: IListeningPort | None = field(default=None, init=False)
    _tick: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        if self._tls is not None:
            self._certificate = ReloadedCertificate(self._tls, "metrics")
        elif not BindAddress.parse(self._address).host.is_loopback:
            raise InvalidArgument("metrics-bind-addr", f"{self._address} can be reached from elsewhere: it needs TLS")

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        root = Resource()
        root.putChild(b"metrics", _Metrics(self._reactor, self._recorder, self._read))
        root.putChild(b"healthz", _Healthz())  # type: ignore[no-untyped-call]  # as is Resource
        root.putChild(b"readyz", _Readyz(self._reasons))
        for path, resource in self._page.resources().items():
            root.putChild(path, resource)
        site: Any = _QuietSite(root, timeout=IDLE_LIMIT)  # type: ignore[no-untyped-call]  # as is Site
        factory: Any = ThrottlingFactory(site, maxConnectionCount=MAX_CONNECTIONS)
        factory.noisy = False
        if self._certificate is not None:
            factory = TLSMemoryBIOFactory(self._certificate, False, factory)
        address = BindAddress.parse(self._address)
        try:
            port: Any = self._reactor.listenTCP(address.port, factory, interface=str(address.host))
        except CannotListenError as error:
            raise FailedPrecondition(f"cannot serve metrics on {self._address}: {error.socketError}") from error
        self._port = port
        host = port.getHost()
        self._log.info(
            "metrics are served on {scheme}://{address}:{port}/metrics",
            scheme="https" if self._certificate else "http",
            address=address.local,
            port=host.port,
        )
        self._page.start()
        self._measure(self._recorder.now())

    def stopService(self) -> Deferred[Any]:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
            self._page.stop()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(lambda: None)

    def _measure(self, due: float) -> None:
        """Count how late this call is, and call again in a second."""
        now = self._recorder.now()
        self._recorder.reactor_latency(max(0.0, now - due))
        self._tick = self._reactor.callLater(LATENCY_INTERVAL, self._measure, now + LATENCY_INTERVAL)


class _QuietSite(Site):
    """A site without a log of requests and without tracebacks for clients."""

    noisy = False
    displayTracebacks = False

    def log(self, request: Any) -> None:
        """Log nothing: Prometheus asks every few seconds."""


class _Metrics(Resource):
    """The metrics, in Prometheus' text format or in OpenMetrics, as the client accepts."""

    _log = Logger()

    def __init__(self, reactor: Any, recorder: Recorder, read: Callable[[], Readings]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._reactor = reactor
        self._recorder = recorder
        self._read = read
        self._one_at_a_time = DeferredLock()

    def render_GET(self, request: Request) -> int:
        """Answer later, from a thread."""
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        text = self._one_at_a_time.run(self._text, request.getHeader("accept") or "")
        text.addCallback(self._send, request, gone).addErrback(self._fail, request, gone)
        return NOT_DONE_YET

    def _text(self, accept: str) -> Deferred[tuple[bytes, str]]:
        scrape = Scrape(self._recorder.registry, self._read())

        def text() -> tuple[bytes, str]:
            encode, content_type = choose_encoder(accept)
            encoded: bytes = encode(scrape)
            return encoded, content_type

        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), text)

    def _send(self, result: tuple[bytes, str], request: Request, gone: list[Any]) -> None:
        if not gone:
            body, content_type = result
            request.setHeader(b"Content-Type", content_type.encode("ascii"))
            request.write(body)
            request.finish()

    def _fail(self, failure: Failure, request: Request, gone: list[Any]) -> None:
        self._log.failure("the metrics could not be read", failure)
        if not gone:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            request.finish()


class _Healthz(Resource):
    """Answers, so the reactor lives."""

    def render_GET(self, request: Request) -> bytes:
        """Answer at once."""
        return _sentences(request, OK, ["ok"])


class _Readyz(Resource):
    """Answers 200 while pods can be started, else 503 with the reasons."""

    def __init__(self, reasons: Callable[[], list[str]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Resource has no annotations
        self._reasons = reasons

    def render_GET(self, request: Request) -> bytes:
        """Answer at once."""
        reasons = self._reasons()
        return _sentences(request, SERVICE_UNAVAILABLE if reasons else OK, reasons or ["ok"])


def _sentences(request: Request, code: int, lines: list[str]) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return "".join(f"{line}\n" for line in lines).encode("utf-8")
