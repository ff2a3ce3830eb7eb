"""The first process and its devices: environment, terminal, standard input, working directory, device files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.inside import run, secured

#: A device number that no test reads or writes by accident, of a driver that every kernel has: loop device 77.
MAJOR, MINOR = 7, 77


@pytest.mark.second_opinion
def test_environment(cri: CRI) -> None:
    """Variables keep their order and values: empty ones, line breaks, equal signs, letters beyond ASCII."""
    config = cri.container()
    wanted = [("ZULU", "1"), ("ALPHA", ""), ("MIKE", "a=b\nc"), ("UMLAUT", "ü $(ZULU)")]
    for key, value in wanted:
        config.envs.add(key=key, value=value.encode())
    environment = cri.output(run(cri, config), "cat", "/proc/1/environ").split("\0")
    names = [key for key, _ in wanted]
    assert [text for text in environment if text.split("=")[0] in names] == [f"{key}={value}" for key, value in wanted]


def test_environment_that_is_not_text(cri: CRI) -> None:
    """A value that is not UTF-8 cannot go through the Engine API and is refused, not changed."""
    config = cri.container()
    config.envs.add(key="BYTES", value=b"\xff\xfe")
    text = refused(lambda: run(cri, config), grpc.StatusCode.INVALID_ARGUMENT)
    assert "config.envs[0].value" in text


@pytest.mark.second_opinion
def test_working_directory_is_made(cri: CRI) -> None:
    """A working directory that the image lacks is created."""
    container_id = run(cri, cri.container(working_dir="/not/there"))
    assert cri.output(container_id, "readlink", "/proc/1/cwd") == "/not/there\n"


@pytest.mark.second_opinion
@pytest.mark.parametrize("tty", [False, True])
def test_terminal(cri: CRI, tty: bool) -> None:
    """The first process has a terminal with tty, and none without."""
    container_id = run(cri, cri.container(tty=tty, stdin=tty))
    assert cri.output(container_id, "readlink", "/proc/1/fd/1").startswith("/dev/") == tty


@pytest.mark.second_opinion
@pytest.mark.parametrize("stdin", [False, True])
def test_standard_input(cri: CRI, stdin: bool) -> None:
    """Reading standard input ends at once without stdin, and waits for an attached client with it."""
    container_id = run(cri, cri.container("cat", stdin=stdin))
    if stdin:
        assert cri.execute(container_id, "sleep", "0.3").exit_code == 0
        assert cri.status(container_id).state == api.CONTAINER_RUNNING
    else:
        assert cri.wait_for_exit(container_id).exit_code == 0


# -- devices


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A block device file on the host."""
    path = tmp_path / "device"
    subprocess.run(["mknod", path, "b", str(MAJOR), str(MINOR)], check=True)
    yield path
    path.unlink()


def _can_open(cri: CRI, container_id: str, path: str, how: str) -> bool:
    """Return whether the device cgroup lets the container open a device, even if there is no driver for it."""
    redirection = {"r": "<", "w": ">"}[how]
    response = cri.execute(container_id, "sh", "-c", f": {redirection} {path}")
    return b"not permitted" not in response.stderr


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    ("permissions", "read", "write"), [("rwm", True, True), ("r", True, False), ("w", False, True)]
)
def test_device(cri: CRI, device: Path, permissions: str, read: bool, write: bool) -> None:
    """A device is at its container path with the host's numbers, and can be opened with its permissions."""
    config = cri.container()
    config.devices.add(host_path=str(device), container_path="/dev/of-the-host", permissions=permissions)
    container_id = run(cri, config)
    numbers = cri.output(container_id, "stat", "-c", "%t %T", "/dev/of-the-host").split()
    assert [int(number, 16) for number in numbers] == [MAJOR, MINOR]
    assert _can_open(cri, container_id, "/dev/of-the-host", "r") == read
    assert _can_open(cri, container_id, "/dev/of-the-host", "w") == write


@pytest.mark.second_opinion
def test_device_without_permission(cri: CRI) -> None:
    """A container can create the file of any device, but not open it."""
    container_id = secured(cri, capabilities=api.Capability(add_capabilities=["MKNOD"]))
    cri.output(container_id, "mknod", "/device", "b", str(MAJOR), str(MINOR))
    assert not _can_open(cri, container_id, "/device", "r")


@pytest.mark.second_opinion
def test_device_by_link(cri: CRI, device: Path, tmp_path: Path) -> None:
    """A link to a device gives the container that device."""
    (tmp_path / "link").symlink_to(device)
    config = cri.container()
    config.devices.add(host_path=str(tmp_path / "link"), container_path="/dev/linked", permissions="r")
    assert cri.execute(run(cri, config), "test", "-b", "/dev/linked").exit_code == 0


@pytest.mark.second_opinion
def test_missing_device(cri: CRI, tmp_path: Path) -> None:
    """A device that the host does not have fails with its name."""
    config = cri.container()
    path = str(tmp_path / "absent")
    config.devices.add(host_path=path, container_path="/dev/absent", permissions="r")
    assert path in refused(lambda: run(cri, config))


def test_cdi_device(cri: CRI) -> None:
    """An unknown CDI device is an error, not a container without it; containerd 1.6 ignores the field."""
    config = cri.container()
    config.CDI_devices.add(name="criwist.test/device=absent")
    text = refused(lambda: run(cri, config))
    assert "CDI" in text or "cdi" in text
