"""Resizing the terminal of an exec."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from criwist.streaming.targets import Exec
from tests.doubles.streaming_peers import SpdyClient
from tests.streaming.session_doubles import SessionTestCase, command


class TerminalSizeTests(SessionTestCase):
    """Sizes on the resize stream."""

    def resize(self, client: SpdyClient, number: int, *sizes: tuple[int, int]) -> None:
        """Send sizes as kubectl does, (width, height)."""
        for width, height in sizes:
            client.send(number, json.dumps({"Width": width, "Height": height}).encode() + b"\n")
        self.settle()

    def test_sizes_in_order(self) -> None:
        """Each size reaches the process's terminal, height first."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        self.resize(client, numbers["resize"], (80, 24), (100, 30))
        self.assertEqual(process.sizes, [(24, 80), (30, 100)])

    def test_the_first_size_comes_before_the_process(self) -> None:
        """A size that arrives before the command runs is set as soon as it runs."""
        self.runtime.starting = Deferred()
        client = self.spdy(Exec(command(tty=True)))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "resize")}
        self.resize(client, numbers["resize"], (80, 24))
        self.runtime.starting.callback(None)
        self.settle()
        self.assertEqual(self.runtime.processes[0].sizes, [(24, 80)])

    def test_sizes_during_a_resize(self) -> None:
        """Of the sizes that arrive during a resize call, the first and the last are set."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        waiting: Deferred[None] = Deferred()
        process.resizing = waiting
        self.resize(client, numbers["resize"], (1, 1), (2, 2), (3, 3), (4, 4))
        process.resizing = None
        waiting.callback(None)
        self.settle()
        self.assertEqual(process.sizes, [(1, 1), (2, 2), (4, 4)])

    def test_invalid_sizes(self) -> None:
        """Zero, negative, huge and missing sizes are ignored, and everything after bytes that are not JSON."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        self.resize(client, numbers["resize"], (0, 0), (-1, 5), (70000, 5))
        client.send(numbers["resize"], b'{"Width":5} {"Width":"a","Height":[]} {"Width":9,"Height":8}')
        self.settle()
        client.send(numbers["resize"], b"nonsense")
        client.send(numbers["resize"], b'{"Width":1,"Height":1}')
        self.settle()
        self.assertEqual(process.sizes, [(8, 9)])

    def test_a_document_in_pieces(self) -> None:
        """A document may be cut anywhere."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        for piece in (b'{"Wid', b'th":80,"Hei', b'ght":24}'):
            client.send(numbers["resize"], piece)
            self.settle()
        self.assertEqual(process.sizes, [(24, 80)])

    def test_without_a_terminal(self) -> None:
        """A resize stream without a terminal is refused."""
        client, _, _ = self.exec_over_spdy()
        number = client.open(streamtype="resize")
        self.settle()
        self.assertEqual(client.streams[number].reset, 3)
