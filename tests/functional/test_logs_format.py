"""A container's output in the log that kubelet reads."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

import pytest

from criwist.wire.crilog import COPIER_BUFFER, nanoseconds
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.crilogs import lines, log_path, written
from tests.harness.daemon import Daemon

#: Every byte of ASCII that a line can have.
_ASCII = bytes(byte for byte in range(128) if byte != ord("\n"))


def run_to_end(cri: CRI, *command: str, **fields: Any) -> Path:
    """Run a container to its end; return the path of its log."""
    _, container_id = cri.run_in_pod(*command, **fields)
    cri.wait_for_exit(container_id, within=60)
    path = log_path(cri, container_id)
    if cri.name == "containerd":
        # containerd reports EXITED before the log is complete.
        eventually(lambda: time.time() - path.stat().st_mtime > 0.5)
    return path


def printf(data: bytes) -> str:
    """Return a shell command that writes these bytes."""
    return "printf '" + "".join(f"\\{byte:03o}" for byte in data) + "'"


@pytest.mark.second_opinion
def test_line(cri: CRI) -> None:
    """A line has a time with nanoseconds between start and end, the stream, a tag and the output."""
    _, container_id = cri.run_in_pod("sh", "-c", "echo out; echo err >&2")
    status = cri.wait_for_exit(container_id)
    found = lines(Path(status.log_path))
    assert sorted((line.stream, line.partial, line.content) for line in found) == [
        (b"stderr", False, b"err"),
        (b"stdout", False, b"out"),
    ]
    for line in found:
        assert status.started_at - 10**9 < nanoseconds(line.time) < status.finished_at + 10**9


@pytest.mark.second_opinion
def test_bytes(cri: CRI) -> None:
    """All of ASCII with NUL, CR and escapes, UTF-8, quotes, backslashes and empty lines are kept."""
    data = _ASCII + b"\n\n \n" + 'é"\\n\u2028<&> 😀\\'.encode() + b"\n\\\\n\n\t\n"
    path = run_to_end(cri, "sh", "-c", printf(data))
    assert written(lines(path)) == data


@pytest.mark.second_opinion
def test_long_line(cri: CRI) -> None:
    """A line of more than 16 KiB comes in pieces, all but the last tagged P, which together make the line."""
    path = run_to_end(cri, "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo next")
    found = lines(path)
    assert written(found) == b"x" * 40000 + b"\nnext\n"
    assert [line.partial for line in found] == [True, True, False, False]


def test_pieces_are_dockers(cri: CRI) -> None:
    """A long line has the pieces into which Docker cuts it, and they have the same time."""
    path = run_to_end(cri, "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo")
    found = lines(path)
    assert [len(line.content) for line in found] == [COPIER_BUFFER, COPIER_BUFFER, 40000 - 2 * COPIER_BUFFER]
    assert len({line.time for line in found}) == 1


@pytest.mark.second_opinion
@pytest.mark.parametrize("size", [COPIER_BUFFER - 1, COPIER_BUFFER, COPIER_BUFFER + 1])
def test_line_of_the_buffers_size(cri: CRI, size: int) -> None:
    """Lines about as long as the longest piece are complete when their pieces are joined."""
    path = run_to_end(cri, "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; echo; echo next")
    assert written(lines(path)) == b"x" * size + b"\nnext\n"


def test_carriage_return(cri: CRI) -> None:
    """A CR before the newline is kept.  (containerd drops it as a part of the newline.)"""
    path = run_to_end(cri, "sh", "-c", printf(b"a\r\n\r\n\r"))
    assert [line.content for line in lines(path)] == [b"a\r", b"\r", b"\r"]


@pytest.mark.second_opinion
def test_last_line_without_newline(cri: CRI) -> None:
    """A last line without newline is tagged P, so that a reader does not add a newline that was not written."""
    path = run_to_end(cri, "sh", "-c", "echo one; printf two")
    found = lines(path)
    assert [(line.partial, line.content) for line in found] == [(False, b"one"), (True, b"two")]
    assert written(found) == b"one\ntwo"


def test_invalid_utf8(cri: CRI) -> None:
    """Each byte that is no UTF-8 is one U+FFFD: json-file has replaced it before criwist reads it."""
    path = run_to_end(cri, "sh", "-c", printf(b"a\xff\xfeb\xc3\n"))
    assert written(lines(path)) == "a\ufffd\ufffdb\ufffd\n".encode()


@pytest.mark.second_opinion
def test_file(cri: CRI) -> None:
    """The file exists when the container has started, in new directories, and other users cannot read it."""
    pod = cri.pod()
    pod.log_directory += "/deeper/still"
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, cri.container("sleep", "1000"), pod)
    path = log_path(cri, container_id)
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_planted_link(cri: CRI, tmp_path: Path) -> None:
    """A link in the file's place is replaced, and its target is not changed."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container("echo", "out")
    path = Path(pod.log_directory, config.log_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(secret)
    container_id = cri.run(pod_id, config, pod)
    cri.wait_for_exit(container_id)
    assert secret.read_bytes() == b"secret"
    assert [line.content for line in lines(path)] == [b"out"]


def test_planted_link_on_the_way(cri: CRI, criwist: Daemon, tmp_path: Path) -> None:
    """A link in place of the container's directory is not followed, not even root's, and the container runs all the
    same; when the link is removed, the log is written from its first line on.
    """
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container("sh", "-c", "echo out; sleep 1000")
    config.log_path = "container/0.log"
    directory = Path(pod.log_directory, "container")
    directory.symlink_to(tmp_path)
    container_id = cri.run(pod_id, config, pod)
    eventually(lambda: f"'container' on the way to {directory}/0.log is a symbolic link" in criwist.program.log_text())
    assert list(tmp_path.iterdir()) == []
    directory.unlink()
    path = log_path(cri, container_id)
    eventually(lambda: path.exists() and [line.content for line in lines(path)] == [b"out"])
