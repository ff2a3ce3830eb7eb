"""Files of the host that requests name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criwist.core.host_files import MAX_FILE, read_files
from criwist.errors import FailedPrecondition


def test_missing(tmp_path: Path) -> None:
    """Files that exist are read, others are left out."""
    (tmp_path / "there").write_bytes(b"x")
    paths = [str(tmp_path / name) for name in ("there", "not")]
    assert read_files(paths) == {paths[0]: b"x"}


def test_no_regular_file(tmp_path: Path) -> None:
    """A directory, a pipe and a large file are rejected by name, and no descriptor stays open."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    before = os.listdir("/proc/self/fd")
    for name, words in (("directory", "not a regular file"), ("pipe", "not a regular file"), ("large", "larger than")):
        with pytest.raises(FailedPrecondition, match=f"{tmp_path / name} is {words}"):
            read_files([str(tmp_path / name)])
    assert os.listdir("/proc/self/fd") == before
