"""Docker's log files, read as one sequence of entries."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from criwist.logs.docker_files.docker_log import (
    BEGINNING,
    JSON_FILE,
    READ_SIZE,
    DockerLog,
    ReadEvent,
    ResumeResult,
)
from criwist.logs.docker_files.file_sequence import MAX_HELD
from criwist.logs.docker_files.rotated_files import MAX_ENTRY, open_log_files
from criwist.wire.crilog import COPIER_BUFFER, Converted
from tests.logs.engine_formats import Piece, json_entry
from tests.logs.engine_log import EngineLog, numbered_pieces


@pytest.fixture
def engine(tmp_path: Path) -> EngineLog:
    """A log of which the engine keeps five files."""
    return EngineLog(tmp_path / "docker" / "log")


@pytest.fixture
def log(engine: EngineLog) -> Iterator[DockerLog]:
    """The reader of that log."""
    log = DockerLog(str(engine.path), JSON_FILE)
    yield log
    log.close()


def _read(log: DockerLog) -> tuple[bytes, list[ReadEvent]]:
    """Read to the log's end; return the lines, and the events on the way."""
    output = b""
    events: list[ReadEvent] = []
    while True:
        result = log.read()
        if isinstance(result, Converted):
            output += result.output
            log.advance(result.consumed)
        elif result is ReadEvent.END:
            return output, events
        else:
            events.append(result)


def test_no_file_yet(log: DockerLog, engine: EngineLog) -> None:
    """A log that does not exist has no entries, and is read once it exists."""
    log.seek_oldest()
    assert log.read() is ReadEvent.END
    assert not log.may_have_more
    engine.write(numbered_pieces(0, 3))
    assert log.may_have_more
    assert _read(log) == (engine.lines, [])


def test_continues(log: DockerLog, engine: EngineLog) -> None:
    """Later entries are read later; an incomplete entry is read when it is complete, without polling for it."""
    engine.write(numbered_pieces(0, 3))
    first, _ = _read(log)
    assert not log.may_have_more
    entry = json_entry(numbered_pieces(3, 1)[0])
    engine.write_raw(entry[:20])
    assert log.may_have_more
    assert log.read() is ReadEvent.END
    assert not log.may_have_more
    engine.write_raw(entry[20:])
    second, _ = _read(log)
    assert first + second == engine.lines + numbered_pieces(3, 1)[0].line


def test_read_size(log: DockerLog, engine: EngineLog) -> None:
    """A read returns no more than READ_SIZE, and at least one entry, however long."""
    engine.write(numbered_pieces(0, 3000, size=300))
    engine.write(numbered_pieces(3000, 1, size=2 * READ_SIZE))
    for _ in range(10):
        result = log.read()
        if isinstance(result, Converted) and result.consumed <= READ_SIZE:
            log.advance(result.consumed)
    output, _ = _read(log)
    assert engine.lines.endswith(output)
    assert len(output) > 2 * READ_SIZE


def test_small_reads(log: DockerLog, engine: EngineLog) -> None:
    """A read of less than an entry returns that entry alone."""
    engine.write(numbered_pieces(0, 3))
    result = log.read(10)
    assert isinstance(result, Converted)
    assert result.output == numbered_pieces(0, 1)[0].line


def test_endless_entry(log: DockerLog, engine: EngineLog) -> None:
    """Bytes without an end are no entry; they are skipped and counted."""
    engine.path.parent.mkdir()
    engine.write_raw(b"x" * (MAX_ENTRY + 100) + b"\n")
    engine.write(numbered_pieces(0, 1))
    result = log.read()
    assert isinstance(result, Converted)
    assert (result.output, result.broken) == (b"", 1)
    log.advance(result.consumed)
    assert _read(log)[0] == engine.lines


@pytest.mark.parametrize("compressed", [False, True])
def test_rotation(tmp_path: Path, compressed: bool) -> None:
    """Docker's rotation is an event between two entries; all rotated files are read, compressed or not."""
    engine = EngineLog(tmp_path / "log", compressed=compressed)
    log = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    output, _ = _read(log)
    for start in (3, 6, 9):
        engine.write(numbered_pieces(start, 1))
        engine.rotate()
        engine.write(numbered_pieces(start + 1, 2))
    more, events = _read(log)
    log.close()
    assert output + more == engine.lines
    assert events == [ReadEvent.NEXT_FILE] * 3


def test_no_step_without_entry(log: DockerLog, engine: EngineLog) -> None:
    """Reading stays in the old file until the new one has an entry by which it can be recognized."""
    engine.write(numbered_pieces(0, 3))
    _read(log)
    before = log.position
    engine.rotate()
    assert log.read() is ReadEvent.END
    assert log.position == before
    assert not log.may_have_more
    engine.write(numbered_pieces(3, 1))
    assert log.read() is ReadEvent.NEXT_FILE


def test_removed_unread(tmp_path: Path) -> None:
    """Unread files that Docker has removed are a gap; the open file is read to its end."""
    engine = EngineLog(tmp_path / "log", keep=2)
    log = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    log.read()
    for start in (3, 5, 7):
        engine.rotate()
        engine.write(numbered_pieces(start, 2))
    output, events = _read(log)
    log.close()
    expected = [*numbered_pieces(0, 3), *numbered_pieces(5, 4)]
    assert output == b"".join(piece.line for piece in expected)
    assert events == [ReadEvent.GAP, ReadEvent.NEXT_FILE]


def test_opens_newer_files_early(tmp_path: Path) -> None:
    """Files that Docker begins while an older one is read are opened, and read even if Docker removes them."""
    engine = EngineLog(tmp_path / "log", keep=2)
    log = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 100))
    output = b""
    for start in range(100, 110):
        result = log.read(200)
        assert isinstance(result, Converted)
        output += result.output
        log.advance(result.consumed)
        engine.rotate()
        engine.write(numbered_pieces(start, 1))
    more, events = _read(log)
    log.close()
    assert output + more == engine.lines
    assert events == [ReadEvent.NEXT_FILE] * 10


def test_limit_of_open_files(tmp_path: Path) -> None:
    """A reader that is far behind, or makes no progress, keeps a limited size of removed files open."""
    engine = EngineLog(tmp_path / "log", keep=2)
    log = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 2))
    log.open_newer()
    log.read()
    for _ in range(5):
        engine.rotate()
        engine.write(numbered_pieces(10, 1))
        log.read()
    assert _held(tmp_path) == 1
    for number in range(5):
        engine.rotate()
        engine.write(numbered_pieces(number, 1))
        os.truncate(engine.path, MAX_HELD // 2)
        log.open_newer()
    assert _held(tmp_path) == 4
    log.close()
    assert _held(tmp_path) == 0


def _held(directory: Path) -> int:
    """Return how many files of the directory, including removed ones, this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(link) and os.readlink(link).startswith(f"{directory}/") for link in links)


def test_failed_open_closes_all(engine: EngineLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one file cannot be opened, none stays open."""
    for start in range(3):
        engine.write(numbered_pieces(start, 1))
        engine.rotate()
    before = len(os.listdir("/proc/self/fd"))
    real_open = os.open

    def open_but_the_newest(name: str, flags: int) -> int:
        if name == str(engine.path):
            raise OSError(errno.EMFILE, "Too many open files")
        return real_open(name, flags)

    monkeypatch.setattr(os, "open", open_but_the_newest)
    with pytest.raises(OSError, match="Too many"):
        open_log_files(str(engine.path))
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before


def _pieces_of_one_line(count: int) -> list[Piece]:
    return [Piece(1_700_000_000_000_000_000, b"stdout", b"x" * COPIER_BUFFER, False)] * count


@pytest.mark.parametrize("compressed", [False, True])
def test_files_that_begin_alike(log: DockerLog, engine: EngineLog, compressed: bool) -> None:
    """A line whose equal pieces fill several files is read from all of them, compressed or not."""
    engine.compressed = compressed
    engine.write(_pieces_of_one_line(2))
    output, _ = _read(log)
    for _ in range(3):
        engine.rotate()
        engine.write(_pieces_of_one_line(3))
    if compressed:  # in less time than a tick of the kernel's clock, which Docker does not manage
        for younger in ("log.1.gz", "log.2.gz"):
            os.utime(engine.path.with_name(younger), (time.time() + 1, time.time() + 1))
    more, events = _read(log)
    assert output + more == engine.lines
    assert events == [ReadEvent.NEXT_FILE] * 3
    assert not log.may_have_more


def test_resume_in_files_that_begin_alike(engine: EngineLog) -> None:
    """A position in files that begin alike is found in the right file."""
    log = DockerLog(str(engine.path), JSON_FILE)
    output = b""
    for _ in range(3):
        engine.write(_pieces_of_one_line(3))
        more, _ = _read(log)
        output += more
        position = log.position
        engine.rotate()
    log.close()
    assert log.resume(position) is ResumeResult.FOUND
    engine.write(_pieces_of_one_line(1))
    more, events = _read(log)
    log.close()
    assert output + more == engine.lines
    assert events == [ReadEvent.NEXT_FILE]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_emptied(tmp_path: Path, count: int) -> None:
    """An emptied file is detected, whether it is shorter than before, as long, or longer."""
    engine = EngineLog(tmp_path / "log", keep=1)
    log = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    _read(log)
    engine.rotate()
    assert log.read() is ReadEvent.END
    assert not log.may_have_more
    engine.write(numbered_pieces(100, count))
    output, events = _read(log)
    log.close()
    assert output == b"".join(piece.line for piece in numbered_pieces(100, count))
    assert events == [ReadEvent.EMPTIED]


@pytest.mark.parametrize("compressed", [False, True])
def test_resume(tmp_path: Path, compressed: bool) -> None:
    """A position is found in a file that Docker has renamed and compressed since."""
    engine = EngineLog(tmp_path / "log", compressed=compressed)
    engine.write(numbered_pieces(0, 5))
    log = DockerLog(str(engine.path), JSON_FILE)
    result = log.read(200)
    assert isinstance(result, Converted)
    log.advance(result.consumed)
    position = log.position
    log.close()
    engine.rotate()
    engine.write(numbered_pieces(5, 2))
    engine.rotate()
    engine.write(numbered_pieces(7, 2))
    log = DockerLog(str(engine.path), JSON_FILE)
    assert log.resume(position) is ResumeResult.FOUND
    assert result.output + _read(log)[0] == engine.lines
    log.close()


def test_resume_in_a_removed_file(tmp_path: Path) -> None:
    """If the position's file is removed, reading begins with the oldest file that is left."""
    engine = EngineLog(tmp_path / "log", keep=2)
    engine.write(numbered_pieces(0, 2))
    log = DockerLog(str(engine.path), JSON_FILE)
    _read(log)
    position = log.position
    log.close()
    for start in (2, 4):
        engine.rotate()
        engine.write(numbered_pieces(start, 2))
    assert log.resume(position) is ResumeResult.REMOVED
    assert _read(log)[0] == b"".join(piece.line for piece in numbered_pieces(2, 4))
    log.close()


def test_resume_at_the_beginning(log: DockerLog, engine: EngineLog) -> None:
    """A position from before the first read is the beginning of the log."""
    assert log.position == BEGINNING
    engine.write(numbered_pieces(0, 2))
    assert log.resume(BEGINNING) is ResumeResult.FOUND
    assert _read(log)[0] == engine.lines


def test_while_docker_compresses(engine: EngineLog) -> None:
    """While Docker compresses a file, the plain one is read."""
    engine.write(numbered_pieces(0, 2))
    engine.rotate()
    engine.write(numbered_pieces(2, 2))
    plain = engine.path.with_name("log.1")
    engine.path.with_name("log.1.gz").write_bytes(gzip.compress(plain.read_bytes())[:20])
    opened = open_log_files(str(engine.path))
    assert [file.read(0, 1 << 20) for file in opened] == [plain.read_bytes(), engine.path.read_bytes()]
    for file in opened:
        file.close()


def test_damaged_gzip(engine: EngineLog) -> None:
    """The intact part of a damaged compressed file is read; reading backward starts at the beginning."""
    engine.write(numbered_pieces(0, 2000, size=100))
    engine.rotate()
    plain = engine.path.with_name("log.1")
    content = plain.read_bytes()
    compressed = gzip.compress(content)
    plain.unlink()
    engine.path.with_name("log.1.gz").write_bytes(compressed[: len(compressed) - 30] + b"damage")
    file, current = open_log_files(str(engine.path))
    found = file.read(0, 1 << 20)
    assert len(found) > 1000
    assert content.startswith(found[:1000])
    assert file.read(100, 50) == content[100:150]
    assert file.read(10, 50) == content[10:60]
    file.close()
    current.close()
