"""The client says what it means, waits as long as it should, and holds no more than it should."""

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
from criwist.errors import DeadlineExceeded, EngineFailure, InvalidArgument, PermissionDenied, Unavailable
from tests.doubles.engine_server import EngineProtocol, Exchange, Refusal
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_network import MemoryEndpoint, MemoryNetwork

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class ScriptedCase(SynchronousTestCase):
    """A client, and a server that the test writes."""

    def setUp(self) -> None:
        """Servers answer each exchange with ``self.answer``; what they got is in ``self.exchanges``."""
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
        """One request."""
        self.exchanges.append(exchange)
        self.answer(exchange)

    def refuse(self, status: int, message: str) -> None:
        """Answer everything with an error."""

        def answer(exchange: Exchange) -> None:
            raise Refusal(status, message)

        self.answer = answer

    def call(self, coroutine: Any) -> Deferred[Any]:
        """Start a call, and let both ends say what they have to say."""
        started = Deferred.fromCoroutine(coroutine)
        for _ in range(3):
            self.network.settle()
        return started

    def asked(self, coroutine: Any, reply: Any = None) -> Exchange:
        """The request that a successful call makes."""
        self.answer = lambda exchange: exchange.reply(200, {} if reply is None else reply)
        self.successResultOf(self.call(coroutine))
        return self.exchanges[-1]


class RequestTests(ScriptedCase):
    """What goes to the engine."""

    def test_requests_bear_the_negotiated_version(self) -> None:
        """1.41 before connecting, the engine's or ours after; the version itself is asked without one."""
        targets: list[str] = []
        original = EngineProtocol._begin

        def spy(server: EngineProtocol, request: Any) -> None:
            targets.append(request.target.decode())
            original(server, request)

        self.patch(EngineProtocol, "_begin", spy)
        self.asked(self.docker.info())
        self.asked(self.docker.connect(), {"ApiVersion": "1.99", "Version": "99"})
        self.asked(self.docker.info())
        self.assertEqual(targets, ["/v1.41/info", "/version", "/info", "/v1.56/info"])
        self.assertEqual(self.docker.facts and self.docker.facts.version, "99")

    def test_filters_and_flags(self) -> None:
        """In the form of the newer engines, which the older ones read too."""
        query = self.asked(self.docker.containers({"label": ["a=b", "c"]}), []).query
        self.assertEqual(query["all"], "1")
        self.assertEqual(json.loads(query["filters"]), {"label": {"a=b": True, "c": True}})
        self.assertEqual(self.asked(self.docker.images({}), []).query, {})
        query = self.asked(self.docker.remove_container("x", force=True, volumes=False)).query
        self.assertEqual(query, {"force": "1", "v": "0"})
        query = self.asked(self.docker.remove_image("x", force=False, prune=True)).query
        self.assertEqual(query, {"force": "0", "noprune": "0"})
        self.assertEqual(self.asked(self.docker.stop_container("x", 7)).query, {"t": "7"})
        self.assertEqual(self.asked(self.docker.resize_container("x", height=2, width=3)).query, {"h": "2", "w": "3"})

    def test_names_cannot_leave_their_place(self) -> None:
        """A container's slashes and question marks are quoted, an image's slashes are not; no empty names."""
        self.assertEqual(self.asked(self.docker.inspect_container("../x?y#z")).path, "/containers/../x?y#z/json")
        self.assertEqual(
            self.asked(self.docker.inspect_image("r:5000/a/b@sha256:1")).path, "/images/r:5000/a/b@sha256:1/json"
        )
        self.failureResultOf(self.call(self.docker.inspect_container("")), InvalidArgument)
        self.assertEqual(len(self.exchanges), 2)

    def test_bodies_are_json(self) -> None:
        """Text of any script comes through."""
        exchange = self.asked(self.docker.create_container("n", {"Image": "x", "Env": ["a=é☃"]}), {"Id": "1"})
        self.assertEqual((exchange.query, exchange.document), ({"name": "n"}, {"Image": "x", "Env": ["a=é☃"]}))
        self.assertTrue(exchange.headers["content-type"].startswith("application/json"))

    def test_credentials_are_url_safe_base64(self) -> None:
        """In their header; without credentials there is none."""
        self.asked(self.docker.pull_image("a:1", None, lambda message: None))
        self.assertNotIn("x-registry-auth", self.exchanges[-1].headers)
        auth = {"username": "ü?>", "password": "~~~"}
        exchange = self.asked(self.docker.pull_image("a:1", auth, lambda message: None))
        header = exchange.headers["x-registry-auth"]
        self.assertEqual(json.loads(base64.urlsafe_b64decode(header)), auth)
        self.assertFalse(set(header) & set("+/"))
        self.assertEqual(exchange.query, {"fromImage": "a:1"})

    def test_an_archive_is_sent_as_it_is(self) -> None:
        """With its type."""
        exchange = self.asked(self.docker.load_image(b"\0tar\xff", lambda message: None))
        self.assertEqual((exchange.body, exchange.headers["content-type"]), (b"\0tar\xff", "application/x-tar"))

    def test_warnings_are_logged(self) -> None:
        """The engine's warnings about a new container."""
        seen: list[Any] = []
        globalLogPublisher.addObserver(seen.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)  # type: ignore[arg-type]
        self.asked(self.docker.create_container("n", {}), {"Id": "1", "Warnings": ["no swap"]})
        self.assertIn("no swap", [event.get("warning") for event in seen])


class AnswerTests(ScriptedCase):
    """What comes from the engine."""

    def test_answers_that_are_not_understood(self) -> None:
        """No JSON, another shape, no id, a redirect."""
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
        """As Go has it."""
        self.answer = lambda exchange: exchange.reply(200, b"null")
        self.assertEqual(self.successResultOf(self.call(self.docker.containers({}))), [])

    def test_an_answer_beyond_the_limit_is_refused(self) -> None:
        """And its connection closed; an error's too."""
        self.patch(calls, "MAX_ANSWER", 100)
        self.patch(calls, "MAX_ERROR", 100)
        for status in (200, 500):
            self.answer = lambda exchange, status=status: exchange.reply(status, b"x" * 1000)
            self.failureResultOf(self.call(self.docker.info()), EngineFailure)
        self.assertEqual(len(self.gone), 2)

    def test_an_error_in_a_stream(self) -> None:
        """After a 200, by its code or as the engine's failure."""
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
        """In the middle: the engine went away, the pull is not complete."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write({"status": "Pulling"})
            self.servers[-1].drop()

        self.answer = answer
        self.failureResultOf(self.call(self.docker.pull_image("a:1", None, lambda message: None)), Unavailable)

    def test_a_caller_s_fault_is_the_caller_s(self) -> None:
        """What *deliver* raises ends the feed with that, and closes the connection."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write({"Type": "container"})

        def deliver(event: Any) -> None:
            raise ZeroDivisionError

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("", lambda: None, deliver)), ZeroDivisionError)
        self.assertEqual(len(self.gone), 1)

    def test_the_feed_never_returns(self) -> None:
        """Its end is the engine's going."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.end()

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("5.1", lambda: None, lambda event: None)), Unavailable)
        self.assertEqual(self.exchanges[-1].query, {"since": "5.1"})

    def test_garbage_in_the_feed(self) -> None:
        """Is not understood."""

        def answer(exchange: Exchange) -> None:
            exchange.begin()
            exchange.write(b"garbage")

        self.answer = answer
        self.failureResultOf(self.call(self.docker.events("", lambda: None, lambda event: None)), EngineFailure)

    def test_logs_are_a_response(self) -> None:
        """Whose body is delivered when it is wanted."""

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
        """It ends with the limit's number, and its connection is closed."""
        for call, limit in (
            (self.docker.ping(), client.PING_LIMIT),
            (self.docker.inspect_container("x"), client.READ_LIMIT),
            (self.docker.create_container("x", {}), client.CHANGE_LIMIT),
            (self.docker.start_container("x"), client.WORK_LIMIT),
            (self.docker.stop_container("x", 600), 600 + client.STOP_MARGIN),
            (self.docker.remove_container("x", force=True, volumes=True), client.WORK_LIMIT),
            (self.docker.start_exec("x", tty=False), calls.ANSWER_LIMIT),
            (self.docker.logs("x", {}), calls.ANSWER_LIMIT),
            (self.docker.events("", lambda: None, lambda event: None), calls.ANSWER_LIMIT),
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
        """An operator's own limit holds for changes; reads get half of it."""
        where = over_endpoint(self.clock, MemoryEndpoint(self.network, self.build), "http://docker")
        docker = Docker(self.clock, where, request_timeout=30)
        changing, reading = self.call(docker.create_container("x", {})), self.call(docker.inspect_container("x"))
        self.clock.advance(15.1)
        self.failureResultOf(reading, DeadlineExceeded)
        self.assertNoResult(changing)
        self.clock.advance(15)
        self.failureResultOf(changing, DeadlineExceeded)

    def test_the_limit_covers_the_body(self) -> None:
        """An answer that begins and does not end is no answer."""
        self.answer = lambda exchange: (exchange.begin(), exchange.write(b"{"))
        waiting = self.call(self.docker.info())
        self.clock.advance(client.READ_LIMIT + 0.1)
        self.failureResultOf(waiting, DeadlineExceeded)

    def test_streams_have_no_limit_once_they_run(self) -> None:
        """Events and pulls may last for ever."""
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
        """Of every kind of call, and leaves no timer."""
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
    """Which connection a call goes over."""

    def test_reading_calls_share_connections(self) -> None:
        """One after the other over the same one."""
        for _ in range(5):
            self.asked(self.docker.info())
        self.assertEqual(len(self.servers), 1)

    def test_a_dead_kept_connection_is_replaced(self) -> None:
        """The engine was restarted and we have not noticed: reading and removing calls do not fail."""
        for call in (self.docker.info, lambda: self.docker.remove_container("x", force=True, volumes=True)):
            self.asked(self.docker.info())
            self.servers[-1].drop()  # told to the client when it next settles, which is in the call
            self.asked(call())
        self.assertEqual(len(self.servers), 3)

    def test_what_must_not_be_sent_twice_has_its_own_connection(self) -> None:
        """However many are kept: an answer that is lost is not asked for again."""
        self.asked(self.docker.info())
        self.asked(self.docker.kill_container("x", "HUP"))
        self.assertEqual(len(self.servers), 2)
        self.answer = lambda exchange: self.servers[-1].drop()
        self.failureResultOf(self.call(self.docker.kill_container("x", "HUP")), Unavailable)
        self.assertEqual(len(self.exchanges), 3)

    def test_an_engine_that_always_breaks(self) -> None:
        """A second lost answer is the end."""
        self.asked(self.docker.info())
        self.answer = lambda exchange: self.servers[-1].drop()
        self.failureResultOf(self.call(self.docker.info()), Unavailable)
        self.assertEqual(len(self.exchanges), 3)


class MemoryTests(SynchronousTestCase):
    """The memory engine's own ways, which tests of the core rely on."""

    def setUp(self) -> None:
        """An engine with an image."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.memory.images.add("busybox")

    def result(self, call: Any) -> Any:
        """What the call returns."""
        return self.successResultOf(Deferred.fromCoroutine(call))

    def test_it_goes_away_and_comes_back(self) -> None:
        """Calls fail, the feed ends; then all is as it was."""
        feed = Deferred.fromCoroutine(self.memory.client.events("", lambda: None, lambda event: None))
        self.memory.away()
        self.failureResultOf(feed, Unavailable)
        self.failureResultOf(Deferred.fromCoroutine(self.memory.client.ping()), Unavailable)
        self.memory.back()
        self.result(self.memory.client.ping())

    def test_calls_are_failed_and_held(self) -> None:
        """Once each, by pattern."""
        self.memory.fail("GET /info", 500, "oops")
        self.failureResultOf(Deferred.fromCoroutine(self.memory.client.info()), EngineFailure)
        self.result(self.memory.client.info())
        held = self.memory.hold("GET /info")
        waiting = Deferred.fromCoroutine(self.memory.client.info())
        self.assertNoResult(waiting)
        held.release()
        self.successResultOf(waiting)

    def test_a_stop_waits_for_its_grace_on_the_clock(self) -> None:
        """A process that ignores the signal is killed when the grace is over."""
        self.memory.programs[("stubborn",)] = self.memory.programs[()].__class__(ignores=frozenset({"TERM"}))
        container = self.result(self.memory.client.create_container("one", {"Image": "busybox", "Cmd": ["stubborn"]}))
        self.result(self.memory.client.start_container(container))
        stopping = Deferred.fromCoroutine(self.memory.client.stop_container(container, 30))
        self.clock.advance(29)
        self.assertNoResult(stopping)
        self.clock.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(self.memory.container("one").exit_code, 137)
