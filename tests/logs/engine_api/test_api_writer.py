"""A CRI file continued from the log API: killed anywhere, broken off anywhere, with times out of order."""

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
from criwist.logs.engine_api.cursor import DISORDER, UNKNOWN, ApiCursor, ApiCursors, Overlap
from criwist.logs.positions import Positions
from criwist.logs.reports import Reports
from criwist.wire.crilog import COPIER_BUFFER
from tests.logs.engine_formats import Piece

CONTAINER = "c" * 64
START = 1_700_000_000_000_000_000


class EngineAPI:
    """What an engine answers: all that it has since a moment, in the order in which it was kept."""

    def __init__(self) -> None:
        self.kept: list[Piece] = []
        #: How many of the oldest are gone.
        self.gone = 0

    def since(self, parameter: str) -> list[bytes]:
        """The lines of an answer."""
        seconds, _, fraction = parameter.partition(".")
        moment = int(seconds) * 10**9 + int(fraction)
        return [piece.line for piece in self.kept[self.gone :] if piece.moment >= moment]

    @property
    def lines(self) -> bytes:
        """All that was ever kept."""
        return b"".join(piece.line for piece in self.kept)


class Node:
    """An engine, a file, and a criwist that can be killed."""

    def __init__(self, root: Path) -> None:
        self.engine = EngineAPI()
        self._root = root
        self.path = root / "0.log"
        self._continuation: ApiWriter | None = None
        self._answer: list[bytes] = []

    def _started(self) -> ApiWriter:
        if self._continuation is None:
            positions = Positions(str(self._root / "state"))
            reports = Reports(CONTAINER)
            self._continuation = ApiWriter(CONTAINER, CriFile(str(self.path)), positions, reports)
            self._continuation.start()
        return self._continuation

    def ask(self) -> None:
        """Ask the engine anew: what was under way is broken off."""
        self._answer = self.engine.since(self._started().begin())

    def receive(self, count: int) -> None:
        """Take that many lines of the answer."""
        if self._continuation is None:
            self.ask()
        taken, self._answer = self._answer[:count], self._answer[count:]
        self._started().take(taken)

    def kill(self) -> None:
        """SIGKILL."""
        if self._continuation is not None:
            self._continuation.close()
            self._continuation = None
            self._answer = []

    def save(self) -> None:
        """As happens every megabyte."""
        self._started().save()

    def finish(self) -> bytes:
        """Receive all there is; the file's content."""
        self.ask()
        self.receive(len(self._answer))
        self.kill()
        return self.path.read_bytes()


pieces = st.tuples(
    st.one_of(st.integers(0, 3), st.integers(0, 3 * DISORDER)),
    st.one_of(st.just(0), st.integers(-DISORDER // 2, 0)),
    st.booleans(),
    st.sampled_from([3, 3, 3, COPIER_BUFFER]),
)
actions = st.one_of(
    st.tuples(st.just("keep"), st.lists(pieces, min_size=1, max_size=6)),
    st.tuples(st.just("receive"), st.integers(0, 6)),
    st.tuples(st.just("ask")),
    st.tuples(st.just("save")),
    st.tuples(st.just("kill")),
)


def _play(node: Node, play: list[tuple[object, ...]]) -> None:
    numbers = itertools.count()
    now = START
    for action, *arguments in play:
        match action, arguments:
            case "keep", [list() as specifications]:
                for advance, disorder, stdout, size in specifications:
                    now += advance
                    moment = max(now + disorder, START)
                    content = b"x" * size if size == COPIER_BUFFER else b"%d" % next(numbers)
                    stream = b"stdout" if stdout else b"stderr"
                    node.engine.kept.append(Piece(moment, stream, content, size != COPIER_BUFFER))
            case "receive", [int() as count]:
                node.receive(count)
            case "ask", _:
                node.ask()
            case "save", _:
                node.save()
            case _:
                node.kill()


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=20))
def test_broken_off_anywhere(play: list[tuple[object, ...]]) -> None:
    """However often the answer breaks off and criwist is killed, each line is in the file once and in order."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        node = Node(root)
        _play(node, play)
        assert node.finish() == node.engine.lines
    finally:
        shutil.rmtree(root)


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, max_size=14), st.integers(0, 30))
def test_oldest_lines_are_gone(play: list[tuple[object, ...]], gone: int) -> None:
    """Where the engine has removed its oldest lines, none of the others is doubled or missing."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        node = Node(root)
        ordered = [
            (name, [(advance + 1, 0, stdout, 3) for advance, _, stdout, _ in arguments[0]])  # type: ignore[attr-defined]
            if name == "keep"
            else (name, *arguments)
            for name, *arguments in play
        ]
        _play(node, ordered)
        have = node.path.read_bytes() if node.path.exists() else b""
        node.engine.gone = min(gone, len(node.engine.kept))
        left = b"".join(piece.line for piece in node.engine.kept[node.engine.gone :])
        found = node.finish()
        assert found.startswith(have)
        assert found.endswith(left) or have.endswith(left)
        assert len(set(found.split(b"\n"))) == len(found.split(b"\n"))
    finally:
        shutil.rmtree(root)


class AnchorsTests(SynchronousTestCase):
    """Which moment to go on from."""

    def _lines(self, *moments: int, ended: bool = True) -> list[bytes]:
        return [Piece(moment, b"stdout", b"%d" % moment, ended).line for moment in moments]

    def test_moves_on(self) -> None:
        """The moment follows the log at a distance, and what is behind it is counted."""
        anchors = ApiCursors(ApiCursor())
        for second in range(60):
            anchors.have(self._lines(START + second * 10**9))
        self.assertGreaterEqual(START + 59 * 10**9 - anchors.current.since, DISORDER)
        self.assertLess(START + 59 * 10**9 - anchors.current.since, 3 * DISORDER)
        later = [second for second in range(60) if START + second * 10**9 >= anchors.current.since]
        self.assertEqual(anchors.current.count, len(later))

    def test_stays_within_a_line(self) -> None:
        """While a long line is under way the moment stays before its first piece, whose time all its pieces have."""
        anchors = ApiCursors(ApiCursor())
        anchors.have(self._lines(START, ended=False))
        for second in range(60):
            anchors.have([Piece(START + second * 10**9, b"stderr", b"x").line])
        self.assertLessEqual(anchors.current.since, START)

    def test_clock_is_set_back(self) -> None:
        """Lines older than the moment make it useless: the last line is to be looked for then."""
        anchors = ApiCursors(ApiCursor())
        for second in range(60):
            anchors.have(self._lines(START + second * 10**9))
        anchors.have(self._lines(START - 10**9))
        self.assertEqual(anchors.current, ApiCursor(0, UNKNOWN, 0, START - 10**9))

    def test_parameter(self) -> None:
        """The API wants seconds and nanoseconds."""
        self.assertEqual(ApiCursor(1_700_000_000_000_000_007).parameter, "1700000000.000000007")


class OverlapTests(SynchronousTestCase):
    """What is passed over."""

    def _lines(self, *numbers: int) -> list[bytes]:
        return [Piece(START + number, b"stdout", b"%d" % number).line for number in numbers]

    def _anchor(self, *numbers: int) -> ApiCursor:
        return ApiCursor(START).with_lines(self._lines(*numbers), self._lines(numbers[0])[0][:30], START + numbers[-1])

    def test_counted(self) -> None:
        """As many as are counted, however they come."""
        overlap = Overlap(self._anchor(1, 2, 3), self._lines(2, 3))
        self.assertEqual(overlap.without(self._lines(1, 2)), [])
        self.assertEqual(overlap.without(self._lines(3, 4)), self._lines(4))
        self.assertEqual(overlap.without(self._lines(5)), self._lines(5))

    def test_engine_left_lines_out(self) -> None:
        """Where the engine had left lines out, our last line tells where to go on."""
        overlap = Overlap(self._anchor(1, 2, 5), self._lines(1, 2, 5))
        self.assertEqual(overlap.without(self._lines(1, 2, 3, 4, 5, 6)), self._lines(6))

    def test_in_a_renamed_file(self) -> None:
        """Where our last lines are in another file, the time tells."""
        overlap = Overlap(ApiCursor(0, UNKNOWN, 0, START + 3), ())
        self.assertEqual(overlap.without(self._lines(1, 2)), [])
        self.assertEqual(overlap.without(self._lines(3, 4, 5)), self._lines(4, 5))
