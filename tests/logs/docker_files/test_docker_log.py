"""Docker's log files as one sequence."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from criwist.logs.docker_files.docker_log import BEGINNING, JSON_FILE, MOST_HELD, SLICE, DockerLog, Found, Step
from criwist.logs.docker_files.generations import MOST_ENTRY, open_generations
from criwist.wire.crilog import COPIER_BUFFER, Converted
from tests.logs.engine_formats import Piece, json_entry
from tests.logs.engine_log import EngineLog, numbered_pieces


@pytest.fixture
def engine(tmp_path: Path) -> EngineLog:
    """A log of which the engine keeps five files."""
    return EngineLog(tmp_path / "docker" / "log")


@pytest.fixture
def source(engine: EngineLog) -> Iterator[DockerLog]:
    """What reads it."""
    source = DockerLog(str(engine.path), JSON_FILE)
    yield source
    source.close()


def _read(source: DockerLog) -> tuple[bytes, list[Step]]:
    """All there is up to the end, and the steps on the way."""
    output = b""
    steps: list[Step] = []
    while True:
        result = source.read()
        if isinstance(result, Converted):
            output += result.output
            source.advance(result.consumed)
        elif result is Step.END:
            return output, steps
        else:
            steps.append(result)


def test_no_file_yet(source: DockerLog, engine: EngineLog) -> None:
    """A log that does not exist has no entries yet, and is read when it does."""
    source.begin()
    assert source.read() is Step.END
    assert not source.may_have_more
    engine.write(numbered_pieces(0, 3))
    assert source.may_have_more
    assert _read(source) == (engine.lines, [])


def test_reads_on(source: DockerLog, engine: EngineLog) -> None:
    """What is written later is read later; an entry that is not whole is waited for, without looking all the time."""
    engine.write(numbered_pieces(0, 3))
    first, _ = _read(source)
    assert not source.may_have_more
    entry = json_entry(numbered_pieces(3, 1)[0])
    engine.write_raw(entry[:20])
    assert source.may_have_more
    assert source.read() is Step.END
    assert not source.may_have_more
    engine.write_raw(entry[20:])
    second, _ = _read(source)
    assert first + second == engine.lines + numbered_pieces(3, 1)[0].line


def test_in_slices(source: DockerLog, engine: EngineLog) -> None:
    """A read gives no more than a slice, and at least one entry however long."""
    engine.write(numbered_pieces(0, 3000, size=300))
    engine.write(numbered_pieces(3000, 1, size=2 * SLICE))
    for _ in range(10):
        result = source.read()
        if isinstance(result, Converted) and result.consumed <= SLICE:
            source.advance(result.consumed)
    output, _ = _read(source)
    assert engine.lines.endswith(output)
    assert len(output) > 2 * SLICE


def test_small_reads(source: DockerLog, engine: EngineLog) -> None:
    """A read of less than an entry gives that entry alone."""
    engine.write(numbered_pieces(0, 3))
    result = source.read(10)
    assert isinstance(result, Converted)
    assert result.output == numbered_pieces(0, 1)[0].line


def test_endless_entry(source: DockerLog, engine: EngineLog) -> None:
    """Bytes without an end are no entry; they are passed over and counted."""
    engine.path.parent.mkdir()
    engine.write_raw(b"x" * (MOST_ENTRY + 100) + b"\n")
    engine.write(numbered_pieces(0, 1))
    result = source.read()
    assert isinstance(result, Converted)
    assert (result.output, result.broken) == (b"", 1)
    source.advance(result.consumed)
    assert _read(source)[0] == engine.lines


@pytest.mark.parametrize("packed", [False, True])
def test_rotation(tmp_path: Path, packed: bool) -> None:
    """Docker's rotation is a step between two entries; files in between are read too, packed or not."""
    engine = EngineLog(tmp_path / "log", packed=packed)
    source = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    output, _ = _read(source)
    for start in (3, 6, 9):
        engine.write(numbered_pieces(start, 1))
        engine.rotate()
        engine.write(numbered_pieces(start + 1, 2))
    more, steps = _read(source)
    source.close()
    assert output + more == engine.lines
    assert steps == [Step.NEXT_FILE] * 3


def test_no_step_without_entry(source: DockerLog, engine: EngineLog) -> None:
    """A new file is not stepped to before it has an entry by which it can be known again."""
    engine.write(numbered_pieces(0, 3))
    _read(source)
    before = source.position
    engine.rotate()
    assert source.read() is Step.END
    assert source.position == before
    assert not source.may_have_more
    engine.write(numbered_pieces(3, 1))
    assert source.read() is Step.NEXT_FILE


def test_removed_unread(tmp_path: Path) -> None:
    """Files that Docker has removed while they were unread are a gap; what was open is read to its end."""
    engine = EngineLog(tmp_path / "log", keep=2)
    source = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    source.read()
    for start in (3, 5, 7):
        engine.rotate()
        engine.write(numbered_pieces(start, 2))
    output, steps = _read(source)
    source.close()
    expected = [*numbered_pieces(0, 3), *numbered_pieces(5, 4)]
    assert output == b"".join(piece.line for piece in expected)
    assert steps == [Step.GAP, Step.NEXT_FILE]


def test_opens_newer_files_early(tmp_path: Path) -> None:
    """Files that Docker begins while an older one is read are held, and read though Docker has removed them since."""
    engine = EngineLog(tmp_path / "log", keep=2)
    source = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 100))
    output = b""
    for start in range(100, 110):
        result = source.read(200)
        assert isinstance(result, Converted)
        output += result.output
        source.advance(result.consumed)
        engine.rotate()
        engine.write(numbered_pieces(start, 1))
    more, steps = _read(source)
    source.close()
    assert output + more == engine.lines
    assert steps == [Step.NEXT_FILE] * 10


def test_holds_so_much(tmp_path: Path) -> None:
    """Who is far behind, and who gets nowhere, does not keep ever more of Docker's files from being removed."""
    engine = EngineLog(tmp_path / "log", keep=2)
    source = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 2))
    source.look()
    source.read()
    for _ in range(5):
        engine.rotate()
        engine.write(numbered_pieces(10, 1))
        source.read()
    assert _held(tmp_path) == 1
    for number in range(5):
        engine.rotate()
        engine.write(numbered_pieces(number, 1))
        os.truncate(engine.path, MOST_HELD // 2)
        source.look()
    assert _held(tmp_path) == 4
    source.close()
    assert _held(tmp_path) == 0


def _held(directory: Path) -> int:
    """How many files there, removed ones too, this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(link) and os.readlink(link).startswith(f"{directory}/") for link in links)


def test_no_descriptors_left(engine: EngineLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not all files can be opened, none stays open."""
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
        open_generations(str(engine.path))
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before


def _pieces_of_one_line(count: int) -> list[Piece]:
    return [Piece(1_700_000_000_000_000_000, b"stdout", b"x" * COPIER_BUFFER, False)] * count


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_begin_alike(source: DockerLog, engine: EngineLog, packed: bool) -> None:
    """A line so long that several files consist of its equal pieces is read from all of them, packed or not."""
    engine.packed = packed
    engine.write(_pieces_of_one_line(2))
    output, _ = _read(source)
    for _ in range(3):
        engine.rotate()
        engine.write(_pieces_of_one_line(3))
    if packed:  # in less time than a tick of the kernel's clock, which Docker does not manage
        for younger in ("log.1.gz", "log.2.gz"):
            os.utime(engine.path.with_name(younger), (time.time() + 1, time.time() + 1))
    more, steps = _read(source)
    assert output + more == engine.lines
    assert steps == [Step.NEXT_FILE] * 3
    assert not source.may_have_more


def test_resume_in_files_that_begin_alike(engine: EngineLog) -> None:
    """A position among them is found again in its own file."""
    source = DockerLog(str(engine.path), JSON_FILE)
    output = b""
    for _ in range(3):
        engine.write(_pieces_of_one_line(3))
        more, _ = _read(source)
        output += more
        position = source.position
        engine.rotate()
    source.close()
    assert source.resume(position) is Found.PLACE
    engine.write(_pieces_of_one_line(1))
    more, steps = _read(source)
    source.close()
    assert output + more == engine.lines
    assert steps == [Step.NEXT_FILE]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_emptied(tmp_path: Path, count: int) -> None:
    """An emptied file is noticed, grown shorter, as long or longer than it was."""
    engine = EngineLog(tmp_path / "log", keep=1)
    source = DockerLog(str(engine.path), JSON_FILE)
    engine.write(numbered_pieces(0, 3))
    _read(source)
    engine.rotate()
    assert source.read() is Step.END
    assert not source.may_have_more
    engine.write(numbered_pieces(100, count))
    output, steps = _read(source)
    source.close()
    assert output == b"".join(piece.line for piece in numbered_pieces(100, count))
    assert steps == [Step.EMPTIED]


@pytest.mark.parametrize("packed", [False, True])
def test_resume(tmp_path: Path, packed: bool) -> None:
    """A position is found again in a file that has been renamed and packed since."""
    engine = EngineLog(tmp_path / "log", packed=packed)
    engine.write(numbered_pieces(0, 5))
    source = DockerLog(str(engine.path), JSON_FILE)
    result = source.read(200)
    assert isinstance(result, Converted)
    source.advance(result.consumed)
    position = source.position
    source.close()
    engine.rotate()
    engine.write(numbered_pieces(5, 2))
    engine.rotate()
    engine.write(numbered_pieces(7, 2))
    source = DockerLog(str(engine.path), JSON_FILE)
    assert source.resume(position) is Found.PLACE
    assert result.output + _read(source)[0] == engine.lines
    source.close()


def test_resume_where_it_is_gone(tmp_path: Path) -> None:
    """If its file is gone, reading begins with the oldest that is left."""
    engine = EngineLog(tmp_path / "log", keep=2)
    engine.write(numbered_pieces(0, 2))
    source = DockerLog(str(engine.path), JSON_FILE)
    _read(source)
    position = source.position
    source.close()
    for start in (2, 4):
        engine.rotate()
        engine.write(numbered_pieces(start, 2))
    assert source.resume(position) is Found.NOTHING
    assert _read(source)[0] == b"".join(piece.line for piece in numbered_pieces(2, 4))
    source.close()


def test_blank_position(source: DockerLog, engine: EngineLog) -> None:
    """A position from before anything was read is the beginning."""
    assert source.position == BEGINNING
    engine.write(numbered_pieces(0, 2))
    assert source.resume(BEGINNING) is Found.PLACE
    assert _read(source)[0] == engine.lines


def test_being_packed(engine: EngineLog) -> None:
    """While Docker packs a file, the plain one counts."""
    engine.write(numbered_pieces(0, 2))
    engine.rotate()
    engine.write(numbered_pieces(2, 2))
    plain = engine.path.with_name("log.1")
    engine.path.with_name("log.1.gz").write_bytes(gzip.compress(plain.read_bytes())[:20])
    opened = open_generations(str(engine.path))
    assert [generation.read(0, 1 << 20) for generation in opened] == [plain.read_bytes(), engine.path.read_bytes()]
    for generation in opened:
        generation.close()


def test_damaged_pack(engine: EngineLog) -> None:
    """Of a packed file that is cut off, what can be unpacked is read; reading back begins anew."""
    engine.write(numbered_pieces(0, 2000, size=100))
    engine.rotate()
    plain = engine.path.with_name("log.1")
    content = plain.read_bytes()
    packed = gzip.compress(content)
    plain.unlink()
    engine.path.with_name("log.1.gz").write_bytes(packed[: len(packed) - 30] + b"damage")
    generation, current = open_generations(str(engine.path))
    found = generation.read(0, 1 << 20)
    assert len(found) > 1000
    assert content.startswith(found[:1000])
    assert generation.read(100, 50) == content[100:150]
    assert generation.read(10, 50) == content[10:60]
    generation.close()
    current.close()
