"""One request to the engine: the ways it goes, its time limit, and what becomes of its answer.

Requests that may be sent twice (all that only read, and removals) share pooled connections; the others have one
each, see :mod:`criwist.docker.agent`.  A time limit covers the whole exchange up to the last byte of the answer, or
up to its headers where the answer is a stream.  Cancelling a call drops its connection.
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
from criwist.docker.error_responses import LOST, connection_fault, error_message, fault, is_success
from criwist.docker.hijack import HijackedConnection, hijack
from criwist.errors import DeadlineExceeded, EngineFailure, InvalidArgument
from criwist.interfaces.engine import JSONObject
from criwist.wire.upgrade import UpgradeRequest

_T = TypeVar("_T")

#: The inspect document of a container is 10 KiB, an entry of a list 3 KiB.  What is longer than all those of a large
#: node together is refused rather than held.
MAX_ANSWER: Final = 64 << 20
#: An error body is a sentence.
MAX_ERROR: Final = 64 << 10
#: Seconds from a request whose answer is a stream to the beginning of that answer.
ANSWER_LIMIT: Final = 60.0

_REPEATABLE = frozenset({"GET", "HEAD", "DELETE"})


@frozen
class Subject:
    """What a call is about, for its path and its errors."""

    #: ``container``, ``exec``, ``image``, ``engine``.
    kind: str
    name: str

    @property
    def segment(self) -> str:
        """The name as a part of a path.  An image's may hold slashes, which the engine wants as they are."""
        if not self.name:
            raise InvalidArgument(self.kind, "must not be empty")
        return quote(self.name, safe="/:@" if self.kind == "image" else "")


@frozen
class Request:
    """A request below the API version.

    :param path: from the slash on, quoted.
    :param unversioned: the path is asked as it is, before the version is known.
    :param until_close: it has no body, and its answer may end with the connection.
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


@define(eq=False)
class Calls:
    """Requests over *connections*; fails as the methods of ``IDocker`` do."""

    _reactor: Any
    _connections: EngineConnections
    #: ``1.41``; the caller sets it once it is negotiated.
    version: str
    _pooled: HTTPClient = field(init=False)
    _single: HTTPClient = field(init=False)
    _until_close: HTTPClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pooled = HTTPClient(self._connections.pooled, data_to_body_producer=BytesProducer)
        self._single = HTTPClient(self._connections.single, data_to_body_producer=BytesProducer)
        self._until_close = HTTPClient(self._connections.until_close, data_to_body_producer=BytesProducer)

    async def call(self, request: Request, limit: float) -> bytes:
        """Send *request* and return the body of its answer."""
        return await self._within(limit, request, self._whole_answer(request))

    async def json(self, request: Request, limit: float) -> Any:
        """Send *request* and return its answer's JSON document."""
        body = await self.call(request, limit)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise EngineFailure(f"the engine's answer to {request} is not JSON: {error}") from error

    async def stream(self, request: Request, limit: float | None = ANSWER_LIMIT) -> IResponse:
        """Send *request* and return its answer, the body of which is yet to be delivered.

        :param limit: None: no limit.
        """
        return await self._within(limit, request, self._checked_answer(request))

    async def hijack(self, request: Request, *, multiplexed: bool) -> HijackedConnection:
        """Send *request*, which leaves HTTP, over a connection of its own; returns the held connection."""
        upgrade = UpgradeRequest(self._target(request), self._connections.host, request.body)
        subject = request.subject
        connection = HijackedConnection(
            upgrade, self._reactor, kind=subject.kind, name=subject.name, multiplexed=multiplexed
        )
        waiting = hijack(self._connections.endpoint, connection)
        return await self._limited(ANSWER_LIMIT, request, waiting)

    def _target(self, request: Request) -> str:
        query = f"?{urlencode(request.parameters)}" if request.parameters else ""
        return f"{'' if request.unversioned else '/v' + self.version}{request.path}{query}"

    async def _whole_answer(self, request: Request) -> bytes:
        response = await self._checked_answer(request)
        return await undisturbed(read_body(response, MAX_ANSWER))

    async def _checked_answer(self, request: Request) -> IResponse:
        response = await undisturbed(self._send(request))
        if is_success(response):
            return response
        body = await undisturbed(read_body(response, MAX_ERROR))
        if response.code < 400:
            raise EngineFailure(f"the engine answered {response.code} to {request}")
        raise fault(response.code, error_message(body), request.subject.kind, request.subject.name)

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
            # Given, or treq would reach for the global one.
            reactor=self._reactor,
        )
        return response

    async def _within(self, limit: float | None, request: Request, exchange: Coroutine[Any, Any, _T]) -> _T:
        waiting = Deferred.fromCoroutine(exchange)
        return await (waiting if limit is None else self._limited(limit, request, waiting))

    def _limited(self, limit: float, request: Request, waiting: Deferred[_T]) -> Deferred[_T]:
        def expired(result: Any, seconds: float) -> Any:
            if isinstance(result, Failure):
                raise DeadlineExceeded(f"Docker did not answer {request} within {seconds:g} s; it may yet carry it out")
            return result

        return waiting.addTimeout(limit, self._reactor, onTimeoutCancel=expired)


async def undisturbed(waiting: Deferred[_T]) -> _T:
    """The Deferred's result; a connection that fails under it becomes an error of ours."""
    try:
        return await waiting
    except LOST as error:
        raise connection_fault(error) from error


def json_object(value: Any) -> JSONObject:
    """*value*, which the engine answered, if it is an object.  ``EngineFailure`` otherwise."""
    if not isinstance(value, dict):
        raise EngineFailure(f"the engine answered {str(value)[:80]!r} where an object belongs")
    return value


def json_list(value: Any) -> list[JSONObject]:
    """*value*, which the engine answered, if it is a list of objects; null is an empty one, as Go has it."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise EngineFailure(f"the engine answered {str(value)[:80]!r} where a list belongs")
    return [json_object(item) for item in value]
