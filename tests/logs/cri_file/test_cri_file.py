"""The CRI file: what is there already, what is renamed, removed, cut and full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criwist.logs.cri_file.cri_file import CriFile, Diverged

BATCH = b"1 one\n2 two\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "pod" / "0.log"


def _open(path: Path) -> CriFile:
    output = CriFile(str(path))
    output.open()
    return output


def test_append(path: Path) -> None:
    """Batches follow each other."""
    output = _open(path)
    output.append(BATCH)
    output.append(BATCH)
    assert path.read_bytes() == BATCH * 2
    assert output.length == len(BATCH) * 2


def test_resume(path: Path) -> None:
    """What the file has beyond the mark is passed over when it is given again, and a torn line is completed."""
    output = _open(path)
    output.append(BATCH)
    mark = output.mark
    output.append(BATCH)
    output.close()
    with path.open("ab") as file:
        file.write(b"3 thr")
    output = CriFile(str(path))
    assert output.resume(mark)
    assert (output.length, output.ahead) == (len(BATCH), len(BATCH) + 5)
    output.append(BATCH)
    output.append(b"3 three\n")
    assert path.read_bytes() == BATCH * 2 + b"3 three\n"


def test_resume_in_small_batches(path: Path) -> None:
    """It does not matter how the batches are parted."""
    output = _open(path)
    mark = output.mark
    output.append(BATCH * 2)
    assert output.resume(mark)
    for line in (BATCH * 2 + b"3\n").splitlines(keepends=True):
        output.append(line)
    assert path.read_bytes() == BATCH * 2 + b"3\n"


def test_diverged(path: Path) -> None:
    """What is there and is something else is not passed over."""
    output = _open(path)
    mark = output.mark
    output.append(BATCH)
    assert output.resume(mark)
    with pytest.raises(Diverged):
        output.append(b"1 other\n")
    assert path.read_bytes() == BATCH


def test_resume_renamed(path: Path) -> None:
    """The file is found where kubelet has renamed it to, and a new one is seen to be another."""
    output = _open(path)
    output.append(BATCH)
    mark = output.mark
    path.rename(path.with_name("0.log.20231123-134300"))
    output = CriFile(str(path))
    assert output.resume(mark)
    assert not output.is_replaced
    path.write_bytes(b"")
    assert output.is_replaced


def test_resume_elsewhere(path: Path) -> None:
    """A file that is nowhere is not found, and nothing is made in its place."""
    output = _open(path)
    mark = output.mark
    path.unlink()
    assert not CriFile(str(path)).resume(mark)
    assert not path.exists()


def test_reopen(path: Path) -> None:
    """After a rename, what follows goes to a new file."""
    output = _open(path)
    output.append(BATCH)
    renamed = path.with_name("0.log.1")
    path.rename(renamed)
    output.append(b"3\n")
    output.reopen()
    output.append(b"4\n")
    assert renamed.read_bytes() == BATCH + b"3\n"
    assert path.read_bytes() == b"4\n"


def test_reopen_in_place(path: Path) -> None:
    """A file in its place stays open."""
    output = _open(path)
    output.append(BATCH)
    output.reopen()
    output.append(b"3\n")
    assert path.read_bytes() == BATCH + b"3\n"


def test_removed(path: Path) -> None:
    """A file that was removed, with its directory, is begun anew with what is appended next."""
    output = _open(path)
    output.append(BATCH)
    path.unlink()
    path.parent.rmdir()
    output.append(b"3\n")
    assert path.read_bytes() == b"3\n"


def test_renamed_over(path: Path) -> None:
    """What was written to a file that kubelet renamed the old one over is added to that."""
    output = _open(path)
    output.append(BATCH)
    renamed = path.with_name("0.log.1")
    path.rename(renamed)
    output.reopen()
    output.append(b"3\n")
    renamed.rename(path)
    output.append(b"4\n")
    assert path.read_bytes() == BATCH + b"3\n4\n"


def test_emptied(path: Path) -> None:
    """A file that an operator has emptied goes on from there."""
    output = _open(path)
    output.append(BATCH)
    os.truncate(path, 0)
    output.append(b"3\n")
    assert path.read_bytes() == b"3\n"
    assert output.length == 2


def test_somebody_else_wrote(path: Path) -> None:
    """Behind words that are not ours a line begins on a line of its own."""
    output = _open(path)
    output.append(BATCH)
    with path.open("ab") as file:
        file.write(b"words")
    output.append(b"3\n")
    assert path.read_bytes() == BATCH + b"words\n3\n"


def test_keep(path: Path) -> None:
    """What is ahead and will not be given again stays, but for a torn line."""
    output = _open(path)
    mark = output.mark
    output.append(BATCH)
    with path.open("ab") as file:
        file.write(b"3 thr")
    assert output.resume(mark)
    output.keep()
    output.append(b"4\n")
    assert path.read_bytes() == BATCH + b"4\n"


def test_last_lines(path: Path) -> None:
    """Lines at the end are whole, and CRs do not part them."""
    output = _open(path)
    output.append(b"1 a\rb\n2\n")
    assert output.last_lines() == [b"1 a\rb\n", b"2\n"]
