"""The CRI file: resumed, renamed, removed, emptied, and changed by other programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criwist.logs.cri_file.cri_file import CriFile, Diverged

BATCH = b"1 one\n2 two\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the log."""
    return tmp_path / "pod" / "0.log"


def _open(path: Path) -> CriFile:
    cri_file = CriFile(str(path))
    cri_file.open()
    return cri_file


def test_append(path: Path) -> None:
    """Batches follow each other."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    cri_file.append(BATCH)
    assert path.read_bytes() == BATCH * 2
    assert cri_file.length == len(BATCH) * 2


def test_resume(path: Path) -> None:
    """Bytes that the file has beyond the mark are skipped when they are appended again; a torn line is completed."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    mark = cri_file.mark
    cri_file.append(BATCH)
    cri_file.close()
    with path.open("ab") as file:
        file.write(b"3 thr")
    cri_file = CriFile(str(path))
    assert cri_file.resume(mark)
    assert (cri_file.length, cri_file.ahead) == (len(BATCH), len(BATCH) + 5)
    cri_file.append(BATCH)
    cri_file.append(b"3 three\n")
    assert path.read_bytes() == BATCH * 2 + b"3 three\n"


def test_resume_in_small_batches(path: Path) -> None:
    """Bytes ahead are skipped however the batches are divided."""
    cri_file = _open(path)
    mark = cri_file.mark
    cri_file.append(BATCH * 2)
    assert cri_file.resume(mark)
    for line in (BATCH * 2 + b"3\n").splitlines(keepends=True):
        cri_file.append(line)
    assert path.read_bytes() == BATCH * 2 + b"3\n"


def test_diverged(path: Path) -> None:
    """Bytes ahead that differ from the batch are not skipped."""
    cri_file = _open(path)
    mark = cri_file.mark
    cri_file.append(BATCH)
    assert cri_file.resume(mark)
    with pytest.raises(Diverged):
        cri_file.append(b"1 other\n")
    assert path.read_bytes() == BATCH


def test_resume_renamed(path: Path) -> None:
    """The file is found under the name that kubelet gave it, and a new file at the path counts as another one."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    mark = cri_file.mark
    path.rename(path.with_name("0.log.20231123-134300"))
    cri_file = CriFile(str(path))
    assert cri_file.resume(mark)
    assert not cri_file.is_replaced
    path.write_bytes(b"")
    assert cri_file.is_replaced


def test_resume_missing(path: Path) -> None:
    """A missing file is not found, and no file is made in its place."""
    cri_file = _open(path)
    mark = cri_file.mark
    path.unlink()
    assert not CriFile(str(path)).resume(mark)
    assert not path.exists()


def test_reopen(path: Path) -> None:
    """After a rename and a reopen, the next lines go to a new file."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    renamed = path.with_name("0.log.1")
    path.rename(renamed)
    cri_file.append(b"3\n")
    cri_file.reopen()
    cri_file.append(b"4\n")
    assert renamed.read_bytes() == BATCH + b"3\n"
    assert path.read_bytes() == b"4\n"


def test_reopen_in_place(path: Path) -> None:
    """Reopening a file that was not renamed keeps it open."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    cri_file.reopen()
    cri_file.append(b"3\n")
    assert path.read_bytes() == BATCH + b"3\n"


def test_removed(path: Path) -> None:
    """If the file and its directory are removed, the next batch goes to a new file."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    path.unlink()
    path.parent.rmdir()
    cri_file.append(b"3\n")
    assert path.read_bytes() == b"3\n"


def test_renamed_over(path: Path) -> None:
    """If kubelet renames the old file over the new one, the lines of the new one are added to the old one."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    renamed = path.with_name("0.log.1")
    path.rename(renamed)
    cri_file.reopen()
    cri_file.append(b"3\n")
    renamed.rename(path)
    cri_file.append(b"4\n")
    assert path.read_bytes() == BATCH + b"3\n4\n"


def test_emptied(path: Path) -> None:
    """A file that an operator has emptied continues with the next batch."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    os.truncate(path, 0)
    cri_file.append(b"3\n")
    assert path.read_bytes() == b"3\n"
    assert cri_file.length == 2


def test_other_program_wrote(path: Path) -> None:
    """After another program's text, a batch begins on a new line."""
    cri_file = _open(path)
    cri_file.append(BATCH)
    with path.open("ab") as file:
        file.write(b"words")
    cri_file.append(b"3\n")
    assert path.read_bytes() == BATCH + b"words\n3\n"


def test_accept_ahead(path: Path) -> None:
    """Bytes ahead that will not be appended again stay, except for a torn line."""
    cri_file = _open(path)
    mark = cri_file.mark
    cri_file.append(BATCH)
    with path.open("ab") as file:
        file.write(b"3 thr")
    assert cri_file.resume(mark)
    cri_file.accept_ahead()
    cri_file.append(b"4\n")
    assert path.read_bytes() == BATCH + b"4\n"


def test_last_lines(path: Path) -> None:
    """The last lines are whole, and a CR does not end a line."""
    cri_file = _open(path)
    cri_file.append(b"1 a\rb\n2\n")
    assert cri_file.last_lines() == [b"1 a\rb\n", b"2\n"]
