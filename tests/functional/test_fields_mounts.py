"""Mounts: kinds of host paths, read-only mounts, propagation, and mounts that are refused."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.inside import mounted, run

PROPAGATIONS = (
    api.PROPAGATION_PRIVATE,
    api.PROPAGATION_HOST_TO_CONTAINER,
    api.PROPAGATION_BIDIRECTIONAL,
)


def tmpfs(path: Path) -> None:
    """Create the directory *path*, and mount a tmpfs there."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "criwist-test", path], check=True)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A shared mount with another mount in it at ``inner``."""
    directory = tmp_path / "shared"
    tmpfs(directory)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    tmpfs(directory / "inner")
    yield directory
    subprocess.run(["umount", "--recursive", "--lazy", directory], check=False, capture_output=True)


def container(cri: CRI, *mounts: api.Mount, **fields: Any) -> str:
    """Run a container with these mounts, and return its id."""
    config = cri.container(mounts=mounts)
    config.linux.MergeFrom(api.LinuxContainerConfig(**fields))
    return run(cri, config)


def mount(host_path: Path, container_path: str = "/mnt", **fields: Any) -> api.Mount:
    """Return a mount of *host_path*."""
    return api.Mount(host_path=str(host_path), container_path=container_path, **fields)


# -- kinds of host paths


@pytest.mark.second_opinion
def test_socket(cri: CRI, tmp_path: Path) -> None:
    """A mounted socket of the host is a socket in the container."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        container_id = container(cri, mount(tmp_path / "socket", "/run/socket"))
        assert cri.execute(container_id, "test", "-S", "/run/socket").exit_code == 0


@pytest.mark.second_opinion
def test_link_to_a_link(cri: CRI, tmp_path: Path) -> None:
    """A host path through several links mounts the directory at their end."""
    (tmp_path / "real").mkdir()
    (tmp_path / "first").symlink_to("real")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    container_id = container(cri, mount(tmp_path / "second"))
    cri.shell(container_id, "touch /mnt/file")
    assert (tmp_path / "real" / "file").exists()


@pytest.mark.second_opinion
def test_nested_mounts(cri: CRI, tmp_path: Path) -> None:
    """A mount inside another is in force, in whichever order they are named."""
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    container_id = container(cri, mount(tmp_path / "inner", "/mnt/sub"), mount(tmp_path / "outer", "/mnt"))
    assert cri.output(container_id, "ls", "/mnt", "/mnt/sub").split() == ["/mnt:", "outer", "sub", "/mnt/sub:", "inner"]


@pytest.mark.second_opinion
def test_mount_over_shared_memory(cri: CRI, tmp_path: Path) -> None:
    """A mount at /dev/shm, such as an emptyDir in memory, replaces the pod's."""
    (tmp_path / "file").touch()
    container_id = container(cri, mount(tmp_path, "/dev/shm"))
    assert cri.output(container_id, "ls", "/dev/shm") == "file\n"


@pytest.mark.second_opinion
@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf"])
def test_mount_over_what_the_engine_makes(cri: CRI, tmp_path: Path, name: str) -> None:
    """A mount over /etc/hosts, /etc/hostname or /etc/resolv.conf replaces the engine's file."""
    (tmp_path / "file").write_text("from the test\n")
    container_id = container(cri, mount(tmp_path / "file", f"/etc/{name}"))
    assert cri.output(container_id, "cat", f"/etc/{name}") == "from the test\n"


@pytest.mark.second_opinion
def test_odd_names(cri: CRI, tmp_path: Path) -> None:
    """Colons, commas, spaces and letters beyond ASCII in paths have no special meaning."""
    path = tmp_path / "a:b,ro ü"
    path.mkdir()
    container_id = container(cri, mount(path, "/c:ro, ü"))
    assert cri.execute(container_id, "touch", "/c:ro, ü/file").exit_code == 0
    assert (path / "file").exists()


# -- read-only


@pytest.mark.newer_engines
@pytest.mark.second_opinion
def test_readonly_is_not_recursive(cri: CRI, shared: Path) -> None:
    """A read-only mount leaves the mounts below it writable."""
    container_id = container(cri, mount(shared, readonly=True))
    assert cri.execute(container_id, "touch", "/mnt/file").exit_code != 0
    assert cri.execute(container_id, "touch", "/mnt/inner/file").exit_code == 0


@pytest.mark.parametrize(
    "fields", [{}, {"readonly": True, "propagation": api.PROPAGATION_HOST_TO_CONTAINER}], ids=["writable", "slave"]
)
def test_rules_of_recursive_readonly(cri: CRI, tmp_path: Path, fields: dict[str, Any]) -> None:
    """Recursive read-only needs readonly and private propagation (CRI); containerd 1.6 does not have the field."""
    wrong = mount(tmp_path, recursive_read_only=True, **fields)
    text = refused(lambda: container(cri, wrong), grpc.StatusCode.INVALID_ARGUMENT)
    assert "config.mounts[0].recursive_read_only" in text


@pytest.mark.newer_engines
def test_recursive_readonly(cri: CRI, shared: Path) -> None:
    """A recursive read-only mount covers mounts below it, or is refused where Status does not report the feature."""
    handlers = {one.name: one for one in cri.runtime.Status(api.StatusRequest()).runtime_handlers}
    wanted = mount(shared, readonly=True, recursive_read_only=True)
    if not handlers[""].features.recursive_read_only_mounts:
        text = refused(lambda: container(cri, wanted), grpc.StatusCode.FAILED_PRECONDITION)
        assert "recursive_read_only" in text
        return
    container_id = container(cri, wanted)
    assert cri.execute(container_id, "touch", "/mnt/inner/file").exit_code != 0
    assert cri.status(container_id).mounts[0].recursive_read_only


# -- propagation


@pytest.mark.second_opinion
@pytest.mark.parametrize("propagation", PROPAGATIONS, ids=["private", "host-to-container", "bidirectional"])
def test_propagation_from_the_host(cri: CRI, shared: Path, propagation: api.MountPropagation) -> None:
    """A later mount of the host appears in the container unless propagation is private."""
    container_id = container(cri, mount(shared, propagation=propagation))
    tmpfs(shared / "later")
    (shared / "later" / "file").touch()
    seen = cri.execute(container_id, "test", "-e", "/mnt/later/file").exit_code == 0
    assert seen == (propagation != api.PROPAGATION_PRIVATE)


@pytest.mark.second_opinion
@pytest.mark.parametrize("propagation", PROPAGATIONS, ids=["private", "host-to-container", "bidirectional"])
def test_propagation_to_the_host(cri: CRI, shared: Path, propagation: api.MountPropagation) -> None:
    """A mount of the container appears on the host with bidirectional propagation only."""
    rights = api.LinuxContainerSecurityContext(
        capabilities=api.Capability(add_capabilities=["SYS_ADMIN"]), apparmor_profile="unconfined"
    )
    rights.namespace_options.pid = api.CONTAINER
    container_id = container(cri, mount(shared, propagation=propagation), security_context=rights)
    cri.shell(container_id, "mkdir /mnt/mine; mount -t tmpfs criwist-test /mnt/mine; touch /mnt/mine/file")
    assert (shared / "mine" / "file").exists() == (propagation == api.PROPAGATION_BIDIRECTIONAL)


@pytest.mark.second_opinion
@pytest.mark.parametrize("propagation", PROPAGATIONS[1:], ids=["host-to-container", "bidirectional"])
def test_propagation_is_reported(cri: CRI, shared: Path, propagation: api.MountPropagation) -> None:
    """The kernel's mountinfo and ContainerStatus have the propagation of the configuration."""
    container_id = container(cri, mount(shared, propagation=propagation))
    word = {api.PROPAGATION_HOST_TO_CONTAINER: "master:", api.PROPAGATION_BIDIRECTIONAL: "shared:"}[propagation]
    assert any(field.startswith(word) for field in mounted(cri, container_id)["/mnt"])
    (reported,) = (one for one in cri.status(container_id).mounts if one.container_path == "/mnt")
    assert reported.propagation == propagation


@pytest.mark.second_opinion
def test_bidirectional_needs_a_shared_mount(cri: CRI, tmp_path: Path) -> None:
    """Bidirectional propagation of a directory that is not on a shared mount fails with that reason."""
    tmpfs(tmp_path / "private")
    subprocess.run(["mount", "--make-private", tmp_path / "private"], check=True)
    try:
        wanted = mount(tmp_path / "private", propagation=api.PROPAGATION_BIDIRECTIONAL)
        assert "shared" in refused(lambda: container(cri, wanted))
    finally:
        eventually(lambda: subprocess.run(["umount", tmp_path / "private"], check=False).returncode == 0)


# -- refused


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"uidMappings": [api.IDMapping(length=1)]}, grpc.StatusCode.UNIMPLEMENTED, "uidMappings"),
        ({"gidMappings": [api.IDMapping(length=1)]}, grpc.StatusCode.UNIMPLEMENTED, "gidMappings"),
        ({"mount_options": ["noexec"]}, grpc.StatusCode.UNIMPLEMENTED, "mount_options"),
        ({"image_sub_path": "etc"}, grpc.StatusCode.INVALID_ARGUMENT, "image_sub_path"),
        ({"host_path": "relative"}, grpc.StatusCode.INVALID_ARGUMENT, "host_path"),
        ({"container_path": "relative"}, grpc.StatusCode.INVALID_ARGUMENT, "container_path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(cri: CRI, tmp_path: Path, fields: dict[str, Any], code: grpc.StatusCode, field: str) -> None:
    """A mount that Docker cannot do, or that contradicts itself, is refused with the field's name."""
    wrong = mount(tmp_path)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(wrong, name).extend(value)
        else:
            setattr(wrong, name, value)
    assert f"config.mounts[0].{field}" in refused(lambda: container(cri, wrong), code)


def test_mount_options_are_not_announced(cri: CRI) -> None:
    """Status does not report the feature of mount options."""
    assert not cri.runtime.Status(api.StatusRequest()).features.mount_options


def test_relabelling_without_selinux(cri: CRI, tmp_path: Path) -> None:
    """A request to relabel has no effect on a host without SELinux."""
    if Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("the host has SELinux")
    container_id = container(cri, mount(tmp_path, selinux_relabel=True))
    assert cri.execute(container_id, "touch", "/mnt/file").exit_code == 0
