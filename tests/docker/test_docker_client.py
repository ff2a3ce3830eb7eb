"""The client sends correct requests, keeps its time limits, and limits the size of responses."""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from criwist.docker import calls, client
from criwist.docker.agent import over_endpoint
from criwist.docker.client import Docker
from criwist.errors import CriwistError, DeadlineExceeded, EngineFailure, InvalidArgument, PermissionDenied, Unavailable
from criwist.interfaces.metrics import NoMetrics
from tests.doubles.engine_server import EngineProtocol, Exchange, Refusal
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_network import MemoryEndpoint, MemoryNetwork

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class ScriptedCase(SynchronousTestCase):
    """A client, and a server that the test scripts."""

    def setUp(self) -> None:
        """Servers answer each exchange with ``self.answer`` and record it in ``self.exchanges``."""
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.exchanges: list[Exchange] = []
        self.answer: Any = lambda exchange: exchange.reply(200, {})
        self.servers: list[EngineProtocol] = []
        self.gone: list[EngineProtocol] = []
        self.docker = Docker(
            self.clock, over_endpoint(self.clock, MemoryEndpoint(self.network, self.build), "http://docker")
        )

    def build(self) -> IProtocol:
        """A server for one connection."""
        server = EngineProtocol(self.serve, self.gone.append)
        self.servers.append(server)
        return server

    def serve(self, exchange: Exchange) -> None:
        """Record and answer one request."""
        self.exchanges.append(exchange)
        self.answer(exchange)

    def refuse(self, status: int, message: str) -> None:
        """Answer everything with an error."""

        def answer(exchange: Exchange) -> None:
            raise Refusal(status, message)

        self.answer = answer

    def call(self, coroutine: Any) -> Deferred[Any]:
        """Start a call, and deliver all bytes of both ends."""
        started = Deferred.fromCoroutine(coroutine)
        for _ in range(3):
            self.network.settle()
        return started

    def request_of(self, coroutine: Any, reply: Any = None) -> Exchange:
        """Return the request that a successful call sends."""
        self.answer = lambda exchange: exchange.reply(200, {} if reply is None else reply)
        self.successResultOf(self.call(coroutine))
        return self.exchanges[-1]


class RequestTests(ScriptedCase):
    """Requests to the engine."""

    def test_requests_bear_the_negotiated_version(self) -> None:
        """Requests use 1.41 before connecting, the negotiated version after; /version is requested without one."""
        targets: list[str] = []
        original = EngineProtocol._begin

        def spy(server: EngineProtocol, request: Any) -> None:
            targets.append(request.target.decode())
            original(server, request)

        self.patch(EngineProtocol, "_begin", spy)
        self.request_of(self.docker.info())
        self.request_of(self.docker.connect(), {"ApiVersion": "1.99", "Version": "99"})
        self.request_of(self.docker.info())
        self.assertEqual(targets, ["/v1.41/info", "/version", "/info", "/v1.56/info"])
        self.assertEqual(self.docker.facts and self.docker.facts.version, "99")

    def test_a_removal_in_progress_is_awaited(self) -> None:
        """A container that another request is removing has been removed when the call returns."""
        waiting: list[Exchange] = []

        def answer(exchange: Exchange) -> None:
            if exchange.method == "DELETE":
                raise Refusal(409, "removal of container x is already in progress")
            waiting.append(exchange)

        self.answer = answer
        removals = [self.call(self.docker.remove_container("x", force=True, volumes=True)) for _ in range(3)]
        for removal in removals:
            self.assertNoResult(removal)
        gone, removed, failed = waiting
        self.assertEqual((gone.method, gone.path, gone.query), ("POST", "/containers/x/wait", {"condition": "removed"}))
        gone.reply(404, {"message": "No such container: x"})
        removed.reply(200, {"StatusCode": 0, "Error": None})
        failed.reply(200, {"StatusCode": 137, "Error": {"Message": "the reason"}})
        self.network.settle()
        self.successResultOf(removals[0])
        self.successResultOf(removals[1])
        self.assertIn("the reason", str(self.failureResultOf(removals[2], EngineFailure).value))

    def test_filters_and_flags(self) -> None:
        """Filters have the form of the newer engines, which the older ones accept too."""
        query = self.request_of(self.docker.containers({"label": ["a=b", "c"]}), []).query
        self.assertEqual(query["all"], "1")
        self.assertEqual(json.loads(query["filters"]), {"label": {"a=b": True, "c": True}})
        self.assertEqual(self.request_of(self.docker.images({}), []).query, {})
        query = self.request_of(self.docker.remove_container("x", force=True, volumes=False)).query
        self.assertEqual(query, {"force": "1", "v": "0"})
        query = self.request_of(self.docker.remove_image("x", force=False, prune=True)).query
        self.assertEqual(query, {"force": "0", "noprune": "0"})
        self.assertEqual(self.request_of(self.docker.stop_container("x", 7)).query, {"t": "7"})
        self.assertEqual(
            self.request_of(self.docker.resize_container("x", height=2, width=3)).query, {"h": "2", "w": "3"}
        )

    def test_names_cannot_leave_their_place(self) -> None:
        """A container's slashes and question marks are quoted, an image's slashes are not; no empty names."""
        self.assertEqual(self.request_of(self.docker.inspect_container("../x?y#z")).path, "/containers/../x?y#z/json")
        self.assertEqual(
            self.request_of(self.docker.inspect_image("r:5000/a/b@sha256:1")).path, "/images/r:5000/a/b@sha256:1/json"
        )
        self.failureResultOf(self.call(self.docker.inspect_container("")), InvalidArgument)
        self.assertEqual(len(self.exchanges), 2)

    def test_bodies_are_json(self) -> None:
        """Text of any script reaches the engine unchanged."""
        exchange = self.request_of(self.docker.create_container("n", {"Image": "x", "Env": ["a=é☃"]}), {"Id": "1"})
        self.assertEqual((exchange.query, exchange.document), ({"name": "n"}, {"Image": "x", "Env": ["a=é☃"]}))
        self.assertTrue(exchange.headers["content-type"].startswith("application/json"))

    def test_credentials_are_url_safe_base64(self) -> None:
        """Credentials are in their header; without credentials there is no header."""
        self.request_of(self.docker.pull_image("a:1", None, lambda message: None))
        self.assertNotIn("x-registry-auth", self.exchanges[-1].headers)
        auth = {"username": "ü?>", "password": "~~~"}
        exchange = self.request_of(self.docker.pull_image("a:1", auth, lambda message: None))
        header = exchange.headers["x-registry-auth"]
        self.assertEqual(json.loads(base64.urlsafe_b64decode(header)), auth)
        self.assertFalse(set(header) & set("+/"))
        self.assertEqual(exchange.query, {"fromImage": "a:1"})

    def test_an_archive_is_sent_as_it_is(self) -> None:
        """An archive is sent with its content type."""
        exchange = self.request_of(self.docker.load_image(b"\0tar\xff", lambda message: None))
        self.assertEqual((exchange.body, exchange.headers["content-type"]), (b"\0tar\xff", "application/x-tar"))

    def test_warnings_are_logged(self) -> None:
        """The engine's warnings about a new container are logged."""
        seen: list[Any] = []
        globalLogPublisher.addObserver(seen.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)  # type: ignore[arg-type]
        self.request_of(self.docker.create_container("n", {}), {"Id": "1", "Warnings": ["no swap"]})
        self.assertIn("no swap", [event.get("warning") for event in seen])


class CountTests(ScriptedCase):
    """What is counted of a call."""

    def counted(self, coroutine: Any) -> tuple[str, str]:
        """Make a call; return what it counts as, and its code."""
        metrics = CountingMetrics()
        self.docker._calls._metrics = metrics
        self.call(coroutine).addErrback(lambda failure: failure.trap(CriwistError))
        (call,) = metrics.calls
        return call

    def test_names(self) -> None:
        """A name is ``{id}``, whatever it is; a path without one is as it is."""
        calls = [
            (self.docker.inspect_container("a" * 64), "GET /containers/{id}/json"),
            (self.docker.remove_container("json", force=True, volumes=True), "DELETE /containers/{id}"),
            (self.docker.inspect_image("host:1/a/b@sha256:00"), "GET /images/{id}/json"),
            (self.docker.inspect_image("images"), "GET /images/{id}/json"),
            (self.docker.kill_container("a/../b c", "KILL"), "POST /containers/{id}/kill"),
            (self.docker.inspect_exec("e"), "GET /exec/{id}/json"),
            (self.docker.ping(), "GET /_ping"),
            (self.docker.containers({}), "GET /containers/json"),
            (self.docker.pull_image("busybox:1", None, lambda message: None), "POST /images/create"),
        ]
        self.assertEqual([self.counted(coroutine)[0] for coroutine, _ in calls], [name for _, name in calls])

    def test_codes(self) -> None:
        """The code is OK, or the error's class."""
        self.assertEqual(self.counted(self.docker.info())[1], "OK")
        self.refuse(404, "no such container")
        self.assertEqual(self.counted(self.docker.inspect_container("a"))[1], "NotFound")


class CountingMetrics(NoMetrics):
    """Records calls of the engine."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def docker_call(self, call: str, code: str, seconds: float) -> None:
        self.calls.append((call, code))


class AnswerTests(ScriptedCase):
    """Responses of the engine."""

    def test_malformed_responses(self) -> None:
        """A response that is not JSON, has another shape or no id, or is a redirect, is an EngineFailure."""
        for reply, call in (
            (b"<html>", self.docker.info),
            ([], self.docker.info),
            ({}, lambda: self.docker.containers({})),
            ([1], lambda: self.docker.images({})),
            ({}, lambda: self.docker.create_container("n", {})),
            ({"Id": 7}, lambda: self.docker.create_exec("n", {})),
        ):
            self.answer = lambda exchange, reply=reply: exchange.reply(200, reply)
            self.failureResultOf(self.call(call()), EngineFailure)
        self.answer = lambda exchange: exchange.reply(301, {})
        self.failureResultOf(self.call(self.docker.info()), EngineFailure)

    def test_null_is_an_empty_list(self) -> None:
        """Null instead of a list, as Go sends it, is an empty list."""
        self.answer = lambda exchange: exchange.reply(200, b"null")
        self.assertEqual(self.successResultOf(self.call(self.docker.containers({}))), [])

    def test_an_answer_beyond_the_limit_is_refused(self) -> None:
        """A response beyond the limit fails and closes its connection; an error's body too."""
        self.patch(calls, "MAX_RESPONSE", 100)
        self.patch(calls, "MAX_ERROR", 100)
        for status in (200, 500):
            self.answer = lambda exchange, status=status: exchange.reply(status, b"x" * 1000)
            self.failureResultOf(self.call(self.docker.info()), EngineFailure)
        self.assertEqual(len(self.gone), 2)

    def test_an_error_in_a_stream(self) -> None:
        """An error message in a stream, after its 200, raises by its code or as the engine's failure."""
        for error, kind in (
            ({"error": "disk full", "errorDetail": {"message": "disk full"}}, EngineFailure),
            ({"error": "who?", "errorDetail": {"code": 401, "message": "who?"}}, PermissionDenied),
            ({"errorDetail": {}}, EngineFailure),
        ):
            seen: list[Any] = []

            def answer(exchange: Exchange, error: Any = error) -> None:
                exchange.begin()
                exchange.write({"status": "Pulling"})
                exchange.write(error)
                exchange.end()

            self.answer = answer
            self.failureResultOf(self.call(self.docker.pull_image("a:1", None, seen.append)), kind)
            self.assertEqual(seen, [{"status": "Pulling"}])

    def test_a_stream_that_breaks(self) -> None:
        """A stream that breaks in the middle raises: the engine is away, the pull is not complete."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write({"status": "Pulling"})
            self.servers[-1].drop()

        self.answer = answer
        self.failureResultOf(self.call(self.docker.pull_image("a:1", None, lambda message: None)), Unavailable)

    def test_an_exception_of_deliver_ends_the_feed(self) -> None:
        """An exception of *deliver* ends the feed with that exception, and closes the connection."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write({"Type": "container"})

        def deliver(event: Any) -> None:
            raise ZeroDivisionError

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("", lambda: None, deliver)), ZeroDivisionError)
        self.assertEqual(len(self.gone), 1)

    def test_the_feed_never_returns(self) -> None:
        """The end of the feed is raised as Unavailable."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.end()

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("5.1", lambda: None, lambda event: None)), Unavailable)
        self.assertEqual(self.exchanges[-1].query, {"since": "5.1"})

    def test_garbage_in_the_feed(self) -> None:
        """Garbage in the feed is an EngineFailure."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write(b"garbage")

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("", lambda: None, lambda event: None)), EngineFailure)

    def test_logs_are_a_response(self) -> None:
        """The response of a log delivers its body on request."""

        class Body(Protocol):
            data = b""
            ended = False

            def dataReceived(self, data: bytes) -> None:
                self.data += data

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                self.ended = True

        def answer(exchange: Exchange) -> None:
            exchange.begin("application/octet-stream")
            exchange.write(b"one")
            exchange.write(b"two")
            exchange.end()

        self.answer = answer
        response = self.successResultOf(self.call(self.docker.logs("x", {"stdout": "1", "follow": "1"})))
        body = Body()
        response.deliverBody(body)
        self.network.settle()
        self.assertEqual((body.data, body.ended), (b"onetwo", True))
        self.assertEqual(self.exchanges[-1].query, {"stdout": "1", "follow": "1"})


class TimeTests(ScriptedCase):
    """Limits and cancellation."""

    def setUp(self) -> None:
        """An engine that does not answer."""
        super().setUp()
        self.answer = lambda exchange: None

    def test_each_call_has_its_limit(self) -> None:
        """A call without a response fails with its limit in the text, and its connection is closed."""
        for call, limit in (
            (self.docker.ping(), client.PING_LIMIT),
            (self.docker.inspect_container("x"), client.READ_LIMIT),
            (self.docker.create_container("x", {}), client.CHANGE_LIMIT),
            (self.docker.start_container("x"), client.WORK_LIMIT),
            (self.docker.stop_container("x", 600), 600 + client.STOP_MARGIN),
            (self.docker.remove_container("x", force=True, volumes=True), client.WORK_LIMIT),
            (self.docker.start_exec("x", tty=False), calls.RESPONSE_LIMIT),
            (self.docker.logs("x", {}), calls.RESPONSE_LIMIT),
            (self.docker.events("", lambda: None, lambda event: None), calls.RESPONSE_LIMIT),
        ):
            self.gone.clear()
            waiting = self.call(call)
            self.clock.advance(limit - 0.1)
            self.assertNoResult(waiting)
            self.clock.advance(0.2)
            error = self.failureResultOf(waiting, DeadlineExceeded).value
            self.assertIn(f"{limit:g} s", str(error))
            self.network.settle()
            self.assertEqual(len(self.gone), 1, str(error))

    def test_request_timeout(self) -> None:
        """The operator's limit applies to changes; reads get half of it."""
        where = over_endpoint(self.clock, MemoryEndpoint(self.network, self.build), "http://docker")
        docker = Docker(self.clock, where, request_timeout=30)
        changing, reading = self.call(docker.create_container("x", {})), self.call(docker.inspect_container("x"))
        self.clock.advance(15.1)
        self.failureResultOf(reading, DeadlineExceeded)
        self.assertNoResult(changing)
        self.clock.advance(15)
        self.failureResultOf(changing, DeadlineExceeded)

    def test_the_limit_covers_the_body(self) -> None:
        """A response that begins and does not end in time fails."""
        self.answer = lambda exchange: (exchange.begin(), exchange.write(b"{"))
        waiting = self.call(self.docker.info())
        self.clock.advance(client.READ_LIMIT + 0.1)
        self.failureResultOf(waiting, DeadlineExceeded)

    def test_streams_have_no_limit_once_they_run(self) -> None:
        """Event feeds and pulls have no limit once they run."""
        self.answer = lambda exchange: exchange.begin()
        feed = self.call(self.docker.events("", lambda: None, lambda event: None))
        pull = self.call(self.docker.pull_image("a:1", None, lambda message: None))
        self.clock.advance(1e6)
        self.assertNoResult(feed)
        self.assertNoResult(pull)
        for waiting in (feed, pull):
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)

    def test_cancelling_drops_the_connection(self) -> None:
        """Cancelling any kind of call drops its connection and leaves no timer."""
        for call in (
            self.docker.info(),
            self.docker.stop_container("x", 600),
            self.docker.start_exec("x", tty=False),
            self.docker.events("", lambda: None, lambda event: None),
            self.docker.pull_image("a:1", None, lambda message: None),
        ):
            self.gone.clear()
            waiting = self.call(call)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.network.settle()
            self.assertEqual(len(self.gone), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ConnectionTests(ScriptedCase):
    """The connections of calls."""

    def test_reading_calls_share_connections(self) -> None:
        """Successive reads use the same connection."""
        for _ in range(5):
            self.request_of(self.docker.info())
        self.assertEqual(len(self.servers), 1)

    def test_a_dead_kept_connection_is_replaced(self) -> None:
        """After a restart of the engine, reads and removals do not fail on a pooled connection that is dead."""
        for call in (self.docker.info, lambda: self.docker.remove_container("x", force=True, volumes=True)):
            self.request_of(self.docker.info())
            self.servers[-1].drop()  # told to the client when it next settles, which is in the call
            self.request_of(call())
        self.assertEqual(len(self.servers), 3)

    def test_calls_that_must_not_be_repeated_have_their_own_connection(self) -> None:
        """Calls that must not be sent twice use a new connection each, and are not repeated if the response is lost."""
        self.request_of(self.docker.info())
        self.request_of(self.docker.kill_container("x", "HUP"))
        self.assertEqual(len(self.servers), 2)
        self.answer = lambda exchange: self.servers[-1].drop()
        self.failureResultOf(self.call(self.docker.kill_container("x", "HUP")), Unavailable)
        self.assertEqual(len(self.exchanges), 3)

    def test_an_engine_that_always_breaks(self) -> None:
        """A second lost response fails the call."""
        self.request_of(self.docker.info())
        self.answer = lambda exchange: self.servers[-1].drop()
        self.failureResultOf(self.call(self.docker.info()), Unavailable)
        self.assertEqual(len(self.exchanges), 3)


class MemoryTests(SynchronousTestCase):
    """The memory engine's own features, which tests of the core rely on."""

    def setUp(self) -> None:
        """An engine with an image."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.memory.images.add("busybox")

    def result(self, call: Any) -> Any:
        """Return the result of the call."""
        return self.successResultOf(Deferred.fromCoroutine(call))

    def test_it_goes_away_and_comes_back(self) -> None:
        """While it is away calls fail and the feed ends; afterwards its state is as before."""
        feed = Deferred.fromCoroutine(self.memory.client.events("", lambda: None, lambda event: None))
        self.memory.away()
        self.failureResultOf(feed, Unavailable)
        self.failureResultOf(Deferred.fromCoroutine(self.memory.client.ping()), Unavailable)
        self.memory.back()
        self.result(self.memory.client.ping())

    def test_calls_are_failed_and_held(self) -> None:
        """A test can fail or hold the next call that matches a pattern."""
        self.memory.fail("GET /info", 500, "oops")
        self.failureResultOf(Deferred.fromCoroutine(self.memory.client.info()), EngineFailure)
        self.result(self.memory.client.info())
        held = self.memory.hold("GET /info")
        waiting = Deferred.fromCoroutine(self.memory.client.info())
        self.assertNoResult(waiting)
        held.release()
        self.successResultOf(waiting)

    def test_a_stop_waits_for_its_grace_on_the_clock(self) -> None:
        """A process that ignores the stop signal is killed when the grace is over."""
        self.memory.programs[("stubborn",)] = self.memory.programs[()].__class__(ignores=frozenset({"TERM"}))
        container = self.result(self.memory.client.create_container("one", {"Image": "busybox", "Cmd": ["stubborn"]}))
        self.result(self.memory.client.start_container(container))
        stopping = Deferred.fromCoroutine(self.memory.client.stop_container(container, 30))
        self.clock.advance(29)
        self.assertNoResult(stopping)
        self.clock.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(self.memory.container("one").exit_code, 137)
