"""Records of the positions in logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from criwist.logs.cri_file.cri_file import Mark
from criwist.logs.docker_files.docker_log import BEGINNING, Position
from criwist.logs.docker_files.rotated_files import Fingerprint
from criwist.logs.engine_api.cursor import ApiCursor
from criwist.logs.positions import Positions, Record

CONTAINER = "c" * 64
MARK = Mark(1, 2, 3)
RECORDS = [
    Record("/var/log/pods/a/0.log", MARK, Position(Fingerprint(70, 4_000_000_000), 140, 7)),
    Record("/var/log/pods/ä/0.log", MARK, BEGINNING),
    Record("/var/log/pods/a/0.log", MARK, ApiCursor(1_700_000_000_000_000_001, 5, 6, 7), complete=True),
]


@pytest.fixture
def positions(tmp_path: Path) -> Positions:
    """Records in a directory that does not exist yet."""
    return Positions(str(tmp_path / "logs"))


@pytest.mark.parametrize("record", RECORDS)
def test_round_trip(positions: Positions, record: Record) -> None:
    """A record is loaded as it was saved, and a later one replaces it."""
    positions.save(CONTAINER, RECORDS[0])
    positions.save(CONTAINER, record)
    assert positions.load(CONTAINER) == record
    assert list(positions.identifiers()) == [CONTAINER]


def test_absent(positions: Positions) -> None:
    """A record that was never saved, or was removed, is None."""
    assert positions.load(CONTAINER) is None
    assert list(positions.identifiers()) == []
    positions.remove(CONTAINER)
    positions.save(CONTAINER, RECORDS[0])
    positions.remove(CONTAINER)
    assert positions.load(CONTAINER) is None


def test_damaged(positions: Positions, tmp_path: Path) -> None:
    """A damaged record, or one of an unknown version, is None."""
    positions.save(CONTAINER, RECORDS[0])
    path = tmp_path / "logs" / CONTAINER
    whole = path.read_bytes()
    for content in (b"", b"\0" * 50, whole[:-3], whole.replace(b"140", b"141"), whole.replace(b"1,", b"2,", 1), b"a b"):
        path.write_bytes(content)
        assert positions.load(CONTAINER) is None, content


def test_interrupted(positions: Positions, tmp_path: Path) -> None:
    """The file that an interrupted save left beside a record does not count as a record."""
    positions.save(CONTAINER, RECORDS[0])
    (tmp_path / "logs" / f".{CONTAINER}").write_bytes(b"half")
    assert list(positions.identifiers()) == [CONTAINER]
    positions.remove(CONTAINER)
    assert list((tmp_path / "logs").iterdir()) == []


def test_not_an_id(positions: Positions) -> None:
    """A path is rejected as a container id."""
    with pytest.raises(ValueError, match="not the id"):
        positions.save("../c", RECORDS[0])
