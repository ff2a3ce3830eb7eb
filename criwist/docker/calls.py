"""One request to the engine: its connection, its time limit, and its response or error.

Requests that may be sent twice (all that only read, and removals) share pooled connections; the others have one
each, see :mod:`criwist.docker.agent`.  A time limit covers the whole exchange up to the last byte of the response, or
up to its headers where the response is a stream.  Cancelling a call drops its connection.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from attrs import define, field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from criwist.docker.agent import EngineConnections
from criwist.docker.bodies import BytesProducer, read_body
from criwist.docker.error_responses import (
    CONNECTION_FAILURES,
    error_from_connection,
    error_from_response,
    error_message,
    is_success,
)
from criwist.docker.hijack import HijackedConnection, hijack
from criwist.errors import DeadlineExceeded, EngineFailure, InvalidArgument
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.metrics import NO_METRICS, OK, IMetrics, code_of
from criwist.wire.upgrade import UpgradeRequest

_T = TypeVar("_T")

#: The inspect document of a container is 10 KiB, an entry of a list 3 KiB.  A response that is longer than all those of
#: a large node together fails instead of filling the memory.
MAX_RESPONSE: Final = 64 << 20
#: An error body is a sentence.
MAX_ERROR: Final = 64 << 10
#: Seconds from a request whose response is a stream to the beginning of that response.
RESPONSE_LIMIT: Final = 60.0

_REPEATABLE = frozenset({"GET", "HEAD", "DELETE"})


@frozen
class Subject:
    """The thing that a call acts on, for its path and its errors."""

    #: ``container``, ``exec``, ``image``, ``engine``.
    kind: str
    name: str

    @property
    def segment(self) -> str:
        """Return the name as a part of a path.  An image's name keeps its slashes, as the engine expects."""
        if not self.name:
            raise InvalidArgument(self.kind, "must not be empty")
        return quote(self.name, safe="/:@" if self.kind == "image" else "")


@frozen
class Request:
    """A request below the API version.

    :param path: from the slash on, quoted.
    :param unversioned: the path has no API version, which is not known yet.
    :param until_close: the request has no body, and its response may end with the connection.
    """

    method: str
    path: str
    subject: Subject
    parameters: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)
    unversioned: bool = False
    until_close: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def kind(self) -> str:
        """Return the request with ``{id}`` in the place of the name: ``GET /containers/{id}/json``."""
        collection, _, rest = self.path.removeprefix("/").partition("/")
        segment = quote(self.subject.name, safe="/:@" if self.subject.kind == "image" else "")
        if segment and (rest == segment or rest.startswith(f"{segment}/")):
            rest = "{id}" + rest[len(segment) :]
        return f"{self.method} /{collection}" + (f"/{rest}" if rest else "")


@define(eq=False)
class Calls:
    """Sends requests over *connections*; fails as the methods of ``IDocker`` do."""

    _reactor: Any
    _connections: EngineConnections
    #: ``1.41``; the caller sets it once it is negotiated.
    version: str
    _metrics: IMetrics = NO_METRICS
    _pooled: HTTPClient = field(init=False)
    _single: HTTPClient = field(init=False)
    _until_close: HTTPClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pooled = HTTPClient(self._connections.pooled, data_to_body_producer=BytesProducer)
        self._single = HTTPClient(self._connections.single, data_to_body_producer=BytesProducer)
        self._until_close = HTTPClient(self._connections.until_close, data_to_body_producer=BytesProducer)

    async def call(self, request: Request, limit: float) -> bytes:
        """Send *request* and return the body of its response, within *limit* seconds."""
        return await self._within(limit, request, self._whole_response(request))

    async def json(self, request: Request, limit: float) -> Any:
        """Send *request* and return the JSON document of its response, within *limit* seconds."""
        body = await self.call(request, limit)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise EngineFailure(f"the engine's answer to {request} is not JSON: {error}") from error

    async def stream(self, request: Request, limit: float | None = RESPONSE_LIMIT) -> IResponse:
        """Send *request* and return its response, the body of which is yet to be delivered.

        :param limit: seconds; None: no limit.
        """
        return await self._within(limit, request, self._checked_response(request))

    async def hijack(self, request: Request, *, multiplexed: bool) -> HijackedConnection:
        """Send *request*, which leaves HTTP, over a connection of its own; returns the paused connection."""
        upgrade = UpgradeRequest(self._target(request), self._connections.host, request.body)
        subject = request.subject
        connection = HijackedConnection(
            upgrade, self._reactor, kind=subject.kind, name=subject.name, multiplexed=multiplexed
        )
        waiting = hijack(self._connections.endpoint, connection)
        return await self._counted(request, self._limited(RESPONSE_LIMIT, request, waiting))

    def _target(self, request: Request) -> str:
        query = f"?{urlencode(request.parameters)}" if request.parameters else ""
        return f"{'' if request.unversioned else '/v' + self.version}{request.path}{query}"

    async def _whole_response(self, request: Request) -> bytes:
        response = await self._checked_response(request)
        return await convert_connection_errors(read_body(response, MAX_RESPONSE))

    async def _checked_response(self, request: Request) -> IResponse:
        response = await convert_connection_errors(self._send(request))
        if is_success(response):
            return response
        body = await convert_connection_errors(read_body(response, MAX_ERROR))
        if response.code < 400:
            raise EngineFailure(f"the engine answered {response.code} to {request}")
        raise error_from_response(response.code, error_message(body), request.subject.kind, request.subject.name)

    def _send(self, request: Request) -> Deferred[IResponse]:
        client = self._pooled if request.method in _REPEATABLE else self._single
        if request.until_close:
            client = self._until_close
        headers: dict[bytes | str, bytes | str] = dict(request.headers.items())
        if request.body:
            headers["Content-Type"] = request.content_type
        response: Deferred[Any] = client.request(
            request.method,
            self._connections.origin + self._target(request),
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
            unbuffered=True,
            # Without it treq would import the global reactor.
            reactor=self._reactor,
        )
        return response

    async def _within(self, limit: float | None, request: Request, exchange: Coroutine[Any, Any, _T]) -> _T:
        waiting = Deferred.fromCoroutine(exchange)
        return await self._counted(request, waiting if limit is None else self._limited(limit, request, waiting))

    async def _counted(self, request: Request, waiting: Deferred[_T]) -> _T:
        began, code = self._metrics.now(), OK
        try:
            return await waiting
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            self._metrics.docker_call(request.kind, code, self._metrics.now() - began)

    def _limited(self, limit: float, request: Request, waiting: Deferred[_T]) -> Deferred[_T]:
        def expired(result: Any, seconds: float) -> Any:
            if isinstance(result, Failure):
                raise DeadlineExceeded(f"Docker did not answer {request} within {seconds:g} s; it may yet carry it out")
            return result

        return waiting.addTimeout(limit, self._reactor, onTimeoutCancel=expired)


async def convert_connection_errors(waiting: Deferred[_T]) -> _T:
    """Return the Deferred's result; a connection failure becomes one of criwist's errors."""
    try:
        return await waiting
    except CONNECTION_FAILURES as error:
        raise error_from_connection(error) from error


def json_object(value: Any) -> JSONObject:
    """Return *value* of a response if it is an object; raise ``EngineFailure`` otherwise."""
    if not isinstance(value, dict):
        raise EngineFailure(f"the engine answered {str(value)[:80]!r}, expected a JSON object")
    return value


def json_list(value: Any) -> list[JSONObject]:
    """Return *value* of a response if it is a list of objects; null is an empty one, as in Go."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise EngineFailure(f"the engine answered {str(value)[:80]!r}, expected a JSON list")
    return [json_object(item) for item in value]
