"""Opens log files only at the path that kubelet asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from criwist.logs.cri_file.safe_open import UntrustedPath, make_link, open_log, remove_link


def _write(path: Path, content: bytes) -> None:
    descriptor = open_log(str(path))
    os.write(descriptor, content)
    os.close(descriptor)


def test_makes_directories_and_file(tmp_path: Path) -> None:
    """Missing directories have mode 0755, and a new file has 0640, whatever the umask is."""
    old = os.umask(0o077)
    try:
        _write(tmp_path / "a/b/0.log", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a/b/0.log").read_bytes() == b"x"
    assert stat.S_IMODE((tmp_path / "a/b/0.log").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_appends(tmp_path: Path) -> None:
    """An existing file is appended to and keeps its mode."""
    (tmp_path / "0.log").write_bytes(b"old ")
    (tmp_path / "0.log").chmod(0o600)
    _write(tmp_path / "0.log", b"new")
    assert (tmp_path / "0.log").read_bytes() == b"old new"
    assert stat.S_IMODE((tmp_path / "0.log").stat().st_mode) == 0o600


def test_replaces_planted_link(tmp_path: Path) -> None:
    """A symbolic link at the end of the path is replaced; its target is not touched."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "0.log").symlink_to(tmp_path / "secret")
    _write(tmp_path / "0.log", b"log")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert (tmp_path / "0.log").read_bytes() == b"log"
    assert not (tmp_path / "0.log").is_symlink()


def test_replaces_planted_pipe(tmp_path: Path) -> None:
    """A pipe at the end of the path is replaced, without waiting for its reader."""
    os.mkfifo(tmp_path / "0.log")
    _write(tmp_path / "0.log", b"log")
    assert (tmp_path / "0.log").read_bytes() == b"log"


def test_directory_in_place_of_the_file(tmp_path: Path) -> None:
    """A directory at the end of the path is an error, and stays."""
    (tmp_path / "0.log").mkdir()
    with pytest.raises(IsADirectoryError):
        open_log(str(tmp_path / "0.log"))


def test_follows_trusted_links(tmp_path: Path) -> None:
    """Links that root or criwist's user owns are followed: absolute, relative and through the parent directory."""
    (tmp_path / "disk/logs").mkdir(parents=True)
    (tmp_path / "log").symlink_to(tmp_path / "disk/logs")
    (tmp_path / "disk/logs/pods").symlink_to("../logs/there")
    _write(tmp_path / "log/pods/pod/container/0.log", b"log")
    assert (tmp_path / "disk/logs/there/pod/container/0.log").read_bytes() == b"log"


@pytest.mark.parametrize("link", ["pods/pod", "pods/pod/container"])
def test_refuses_links_where_kubelet_makes_directories(tmp_path: Path, link: str) -> None:
    """The directories of a pod and of a container are never links, not even root's: pods run as root, too."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedPath, match=f"'{Path(link).name}' on the way to .* is a symbolic link"):
        open_log(str(tmp_path / "pods/pod/container/0.log"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_short_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two directories of a path may be links even if the path has no others."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "log").symlink_to("disk")
    enter = os.open

    def from_here(path: str, *arguments: int, **keywords: int) -> int:
        return enter(str(tmp_path) if path == "/" else path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", from_here)
    for path in ("/log/0.log", "/log/pod/1.log"):
        os.close(open_log(path))
    monkeypatch.undo()
    assert (tmp_path / "disk/0.log").exists()
    assert (tmp_path / "disk/pod/1.log").exists()


def test_refuses_other_users_links(tmp_path: Path) -> None:
    """A link on the way that another user owns is not followed."""
    if os.geteuid() != 0:
        pytest.skip("giving a link away needs root")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pods").symlink_to(tmp_path / "elsewhere")
    os.lchown(tmp_path / "pods", 1000, 1000)
    with pytest.raises(UntrustedPath, match="user 1000"):
        open_log(str(tmp_path / "pods/pod/container/0.log"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_endless_links(tmp_path: Path) -> None:
    """Links that lead to each other are an error."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UntrustedPath, match="too many"):
        open_log(str(tmp_path / "a/pod/container/0.log"))


def test_file_on_the_way(tmp_path: Path) -> None:
    """A file in place of a directory is an error that names it."""
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="'a'"):
        open_log(str(tmp_path / "a/0.log"))


def test_relative_path() -> None:
    """A relative path is rejected: kubelet has another working directory."""
    for path in ("0.log", "/", ""):
        with pytest.raises(UntrustedPath):
            open_log(path)


def test_links(tmp_path: Path) -> None:
    """A link replaces an existing file or link, and is removed only if it still is a link."""
    path = tmp_path / "a/0.log"
    make_link(str(path), "/engine/log")
    make_link(str(path), "/engine/other")
    assert os.readlink(path) == "/engine/other"
    remove_link(str(path))
    assert not os.path.lexists(path)
    path.write_bytes(b"log")
    remove_link(str(path))
    assert path.read_bytes() == b"log"
    remove_link(str(tmp_path / "missing/0.log"))
    assert not (tmp_path / "missing").exists()
