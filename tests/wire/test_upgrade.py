"""A client leaves HTTP, or gets the refusal."""

from __future__ import annotations

from typing import Any

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.upgrade import MAX_REFUSAL, Refused, Upgraded, UpgradeError, UpgradeRequest

SWITCHING = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n" + (
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


def asked(body: bytes = b"{}") -> UpgradeRequest:
    """A request that has been sent."""
    request = UpgradeRequest("/v1.41/exec/1/start", "docker", body)
    request.data_to_send()
    return request


class UpgradeRequestTests(SynchronousTestCase):
    """The client's side."""

    def test_the_request_asks_to_upgrade(self) -> None:
        """A server reads the method, target, headers and body of the request."""
        data = UpgradeRequest("/v1.41/exec/1/start?a=b", "docker", b'{"Tty":true}').data_to_send()
        server = h11.Connection(h11.SERVER)
        server.receive_data(data)
        request: Any = server.next_event()
        body: Any = server.next_event()
        self.assertEqual((request.method, request.target), (b"POST", b"/v1.41/exec/1/start?a=b"))
        headers = dict(request.headers)
        self.assertEqual((headers[b"upgrade"], headers[b"connection"]), (b"tcp", b"Upgrade"))
        self.assertEqual(headers[b"content-type"], b"application/json")
        self.assertEqual(bytes(body.data), b'{"Tty":true}')

    def test_101_upgrades(self) -> None:
        """Bytes of the new protocol in the same read are passed on."""
        self.assertEqual(asked().receive_data(SWITCHING), Upgraded(b""))
        self.assertEqual(asked().receive_data(SWITCHING + b"\x01\0raw"), Upgraded(b"\x01\0raw"))

    def test_the_answer_may_come_in_parts(self) -> None:
        """A response may arrive byte by byte."""
        request = asked()
        outcomes = [request.receive_data(SWITCHING[index : index + 1]) for index in range(len(SWITCHING))]
        self.assertEqual(outcomes, [None] * (len(SWITCHING) - 1) + [Upgraded(b"")])

    def test_200_without_framing_upgrades_too(self) -> None:
        """A 200 without framing, an engine's answer to a request without an upgrade, leaves HTTP too."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nraw"
        self.assertEqual(asked().receive_data(answer), Upgraded(b"raw"))

    def test_a_refusal_has_its_body(self) -> None:
        """A refusal is complete with its body, by length or in chunks."""
        request = asked()
        self.assertIsNone(request.receive_data(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nno"))
        self.assertEqual(request.receive_data(b"ne!"), Refused(404, b"none!"))
        chunked = b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
        self.assertEqual(asked().receive_data(chunked), Refused(409, b"no"))

    def test_a_200_that_stays_in_http_is_a_refusal(self) -> None:
        """A 200 with a length is a response within HTTP."""
        self.assertEqual(asked().receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Refused(200, b"ok"))

    def test_a_refusal_without_framing_ends_with_the_connection(self) -> None:
        """A refusal without framing ends with the connection, as HTTP/1.0 servers send errors."""
        request = asked()
        self.assertIsNone(request.receive_data(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\nwhy"))
        self.assertEqual(request.receive_data(b""), Refused(500, b"why"))

    def test_a_long_refusal_is_cut(self) -> None:
        """A long body is cut at the limit."""
        request = asked()
        outcome = request.receive_data(
            b"HTTP/1.1 500 Oops\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (MAX_REFUSAL + 1)
        )
        self.assertEqual(outcome, Refused(500, b"x" * MAX_REFUSAL))

    def test_other_informational_answers_are_passed_over(self) -> None:
        """100 Continue is skipped."""
        self.assertEqual(asked().receive_data(b"HTTP/1.1 100 Continue\r\n\r\n" + SWITCHING), Upgraded(b""))

    def test_what_is_not_http(self) -> None:
        """Garbage, and an end before the response, raise UpgradeError."""
        self.assertRaises(UpgradeError, asked().receive_data, b"SSH-2.0-OpenSSH\r\n\r\n")
        self.assertRaises(UpgradeError, asked().receive_data, b"")
        request = asked()
        self.assertIsNone(request.receive_data(SWITCHING[:20]))
        self.assertRaises(UpgradeError, request.receive_data, b"")


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200)
def test_any_answer_is_understood_or_refused(answer: bytes, begins_well: bool) -> None:
    """Every input gives an outcome or UpgradeError."""
    request = asked()
    try:
        if request.receive_data((b"HTTP/1.1 " if begins_well else b"") + answer) is None:
            request.receive_data(b"")
    except UpgradeError:
        return
