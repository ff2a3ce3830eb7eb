"""A CRI file from the log API: criwist killed anywhere, connections broken anywhere, times out of order."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.logs.cri_file.cri_file import CriFile
from criwist.logs.engine_api.api_writer import ApiWriter
from criwist.logs.engine_api.cursor import MAX_DISORDER, UNKNOWN, ApiCursor, OverlapFilter, RollingCursor
from criwist.logs.positions import Positions
from criwist.logs.problem_reports import ProblemReports
from criwist.wire.crilog import COPIER_BUFFER
from tests.logs.engine_formats import Piece

CONTAINER = "c" * 64
START = 1_700_000_000_000_000_000


class EngineAPI:
    """The log API of an engine: it sends all pieces since a moment, in the order in which they were recorded."""

    def __init__(self) -> None:
        self.recorded: list[Piece] = []
        #: How many of the oldest the engine has removed.
        self.removed = 0

    def since(self, parameter: str) -> list[bytes]:
        """Return the lines of a response."""
        seconds, _, fraction = parameter.partition(".")
        moment = int(seconds) * 10**9 + int(fraction)
        return [piece.line for piece in self.recorded[self.removed :] if piece.moment >= moment]

    @property
    def lines(self) -> bytes:
        """All lines that were ever recorded."""
        return b"".join(piece.line for piece in self.recorded)


class Node:
    """An engine, a file, and a criwist that can be killed."""

    def __init__(self, root: Path) -> None:
        self.engine = EngineAPI()
        self._root = root
        self.path = root / "0.log"
        self._writer: ApiWriter | None = None
        self._response: list[bytes] = []

    def _started(self) -> ApiWriter:
        if self._writer is None:
            positions = Positions(str(self._root / "state"))
            problems = ProblemReports(CONTAINER)
            self._writer = ApiWriter(CONTAINER, CriFile(str(self.path)), positions, problems)
            self._writer.start()
        return self._writer

    def request(self) -> None:
        """Request the log again; the last response is dropped."""
        self._response = self.engine.since(self._started().begin_response())

    def receive(self, count: int) -> None:
        """Write that many lines of the response."""
        if self._writer is None:
            self.request()
        received, self._response = self._response[:count], self._response[count:]
        self._started().write_lines(received)

    def kill(self) -> None:
        """Kill criwist."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._response = []

    def save(self) -> None:
        """Record the position, as happens every megabyte."""
        self._started().save()

    def finish(self) -> bytes:
        """Receive the whole log; return the file's content."""
        self.request()
        self.receive(len(self._response))
        self.kill()
        return self.path.read_bytes()


pieces = st.tuples(
    st.one_of(st.integers(0, 3), st.integers(0, 3 * MAX_DISORDER)),
    st.one_of(st.just(0), st.integers(-MAX_DISORDER // 2, 0)),
    st.booleans(),
    st.sampled_from([3, 3, 3, COPIER_BUFFER]),
)
actions = st.one_of(
    st.tuples(st.just("record"), st.lists(pieces, min_size=1, max_size=6)),
    st.tuples(st.just("receive"), st.integers(0, 6)),
    st.tuples(st.just("request")),
    st.tuples(st.just("save")),
    st.tuples(st.just("kill")),
)


def _play(node: Node, play: list[tuple[object, ...]]) -> None:
    numbers = itertools.count()
    now = START
    for action, *arguments in play:
        match action, arguments:
            case "record", [list() as specifications]:
                for advance, disorder, stdout, size in specifications:
                    now += advance
                    moment = max(now + disorder, START)
                    content = b"x" * size if size == COPIER_BUFFER else b"%d" % next(numbers)
                    stream = b"stdout" if stdout else b"stderr"
                    node.engine.recorded.append(Piece(moment, stream, content, size != COPIER_BUFFER))
            case "receive", [int() as count]:
                node.receive(count)
            case "request", _:
                node.request()
            case "save", _:
                node.save()
            case _:
                node.kill()


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=20))
def test_broken_off_anywhere(play: list[tuple[object, ...]]) -> None:
    """However often connections break and criwist is killed, each line is in the file once and in order."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        node = Node(root)
        _play(node, play)
        assert node.finish() == node.engine.lines
    finally:
        shutil.rmtree(root)


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, max_size=14), st.integers(0, 30))
def test_oldest_lines_are_removed(play: list[tuple[object, ...]], removed: int) -> None:
    """If the engine has removed its oldest lines, none of the others is doubled or missing."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        node = Node(root)
        ordered = [
            (name, [(advance + 1, 0, stdout, 3) for advance, _, stdout, _ in arguments[0]])  # type: ignore[attr-defined]
            if name == "record"
            else (name, *arguments)
            for name, *arguments in play
        ]
        _play(node, ordered)
        have = node.path.read_bytes() if node.path.exists() else b""
        node.engine.removed = min(removed, len(node.engine.recorded))
        left = b"".join(piece.line for piece in node.engine.recorded[node.engine.removed :])
        found = node.finish()
        assert found.startswith(have)
        assert found.endswith(left) or have.endswith(left)
        assert len(set(found.split(b"\n"))) == len(found.split(b"\n"))
    finally:
        shutil.rmtree(root)


class RollingCursorTests(SynchronousTestCase):
    """The moment from which the next request continues."""

    def _lines(self, *moments: int, ended: bool = True) -> list[bytes]:
        return [Piece(moment, b"stdout", b"%d" % moment, ended).line for moment in moments]

    def test_moves_on(self) -> None:
        """The moment follows the log at a distance, and the lines after it are counted."""
        cursor = RollingCursor(ApiCursor())
        for second in range(60):
            cursor.advance(self._lines(START + second * 10**9))
        self.assertGreaterEqual(START + 59 * 10**9 - cursor.current.since, MAX_DISORDER)
        self.assertLess(START + 59 * 10**9 - cursor.current.since, 3 * MAX_DISORDER)
        later = [second for second in range(60) if START + second * 10**9 >= cursor.current.since]
        self.assertEqual(cursor.current.count, len(later))

    def test_stays_within_a_line(self) -> None:
        """Until a long line has ended, the moment stays before its first piece, whose time all its pieces have."""
        cursor = RollingCursor(ApiCursor())
        cursor.advance(self._lines(START, ended=False))
        for second in range(60):
            cursor.advance([Piece(START + second * 10**9, b"stderr", b"x").line])
        self.assertLessEqual(cursor.current.since, START)

    def test_clock_is_set_back(self) -> None:
        """Lines older than the moment make it useless: the next request has to search for the last line."""
        cursor = RollingCursor(ApiCursor())
        for second in range(60):
            cursor.advance(self._lines(START + second * 10**9))
        cursor.advance(self._lines(START - 10**9))
        self.assertEqual(cursor.current, ApiCursor(0, UNKNOWN, 0, START - 10**9))

    def test_parameter(self) -> None:
        """The API's parameter has seconds and nanoseconds."""
        self.assertEqual(ApiCursor(1_700_000_000_000_000_007).parameter, "1700000000.000000007")


class OverlapFilterTests(SynchronousTestCase):
    """Which lines of a response are skipped."""

    def _lines(self, *numbers: int) -> list[bytes]:
        return [Piece(START + number, b"stdout", b"%d" % number).line for number in numbers]

    def _cursor(self, *numbers: int) -> ApiCursor:
        return ApiCursor(START).with_lines(self._lines(*numbers), self._lines(numbers[0])[0][:30], START + numbers[-1])

    def test_counted(self) -> None:
        """As many lines as the cursor counts are skipped, however the response is divided."""
        overlap = OverlapFilter(self._cursor(1, 2, 3), self._lines(2, 3))
        self.assertEqual(overlap.new_lines(self._lines(1, 2)), [])
        self.assertEqual(overlap.new_lines(self._lines(3, 4)), self._lines(4))
        self.assertEqual(overlap.new_lines(self._lines(5)), self._lines(5))

    def test_engine_left_lines_out(self) -> None:
        """If the engine had left lines out, the response continues after the last written line."""
        overlap = OverlapFilter(self._cursor(1, 2, 5), self._lines(1, 2, 5))
        self.assertEqual(overlap.new_lines(self._lines(1, 2, 3, 4, 5, 6)), self._lines(6))

    def test_in_a_renamed_file(self) -> None:
        """If the last written lines are in another file, the response continues with newer lines."""
        overlap = OverlapFilter(ApiCursor(0, UNKNOWN, 0, START + 3), ())
        self.assertEqual(overlap.new_lines(self._lines(1, 2)), [])
        self.assertEqual(overlap.new_lines(self._lines(3, 4, 5)), self._lines(4, 5))
