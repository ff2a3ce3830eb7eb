"""Image volumes on the real engine: images of one and of many layers, read from inside containers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.state.image_volume import ImageVolume
from criwist.docker.overlay_layers import overlay_layers
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.kernel.layer_mounts import LayerMounts
from criwist.kernel.mountinfo import parse_mountinfo
from tests.doubles.memory_threads import MemoryThreads
from tests.harness import images
from tests.harness.engine import Engine, EngineError

CONTAINER = "k8s_c_pod_ns_uid_0"
#: Layers; so many that their real paths do not fit into a page of mount options.
_MANY = 100


class Images:
    """A double of IDocker, with the one method that image volumes need."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def image_layers(self, reference: str) -> Sequence[str]:
        """Return the image's layers."""
        return overlay_layers(self._engine.get(f"/images/{reference}/json"))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that needs no reactor; return its result."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


@pytest.fixture
def directory(session_root: Path) -> Iterator[Path]:
    """The directory of image volumes, unmounted after the test."""
    path = session_root / "image-volumes"
    yield path
    for mount in reversed(_mounts_below(path)):
        subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.fixture
def volumes(engine: Engine, directory: Path) -> ImageVolumes:
    """Return the image volumes of a process that has just started."""
    return make_volumes(engine, directory)


def make_volumes(engine: Engine, directory: Path) -> ImageVolumes:
    """Image volumes of a process that has just started."""
    pool = MemoryThreads()
    return ImageVolumes(Images(engine), LayerMounts(pool, pool, str(directory)), str(directory))  # type: ignore[arg-type]


def _mounts_below(path: Path) -> list[str]:
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [mount.point for mount in mounts if Path(mount.point).is_relative_to(path)]


def layered(engine: Engine, reference: str, layers: list[dict[str, bytes]]) -> str:
    """Load an image with these layers, bottom first, of paths and contents; return its id."""
    tars = [_tar(layer) for layer in layers]
    configuration = json.dumps(
        {
            "architecture": images.architecture(),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
        }
    ).encode()
    names = [f"{index}/layer.tar" for index in range(len(tars))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [reference], "Layers": names}]).encode()
    files = dict(zip(names, tars, strict=True)) | {"config.json": configuration, "manifest.json": manifest}
    images.load(engine, _tar(files))
    return f"sha256:{hashlib.sha256(configuration).hexdigest()}"


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            if content.startswith(b"-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:].decode()
                content = b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def output(engine: Engine, host_path: str, *command: str) -> str:
    """Return the output of a command in a container that has the path read-only at /volume."""
    body = {
        "Image": images.BUSYBOX,
        "Cmd": list(command),
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "bind", "Source": host_path, "Target": "/volume", "ReadOnly": True}],
        },
    }
    identifier = engine.post("/containers/create", body)["Id"]
    try:
        engine.post(f"/containers/{identifier}/start")
        engine.post(f"/containers/{identifier}/wait")
        raw = engine.request("GET", f"/containers/{identifier}/logs?stdout=1&stderr=1")
    finally:
        engine.delete(f"/containers/{identifier}", force="1", v="1")
    text = b""
    while raw:
        size = int.from_bytes(raw[4:8], "big")
        text, raw = text + raw[8 : 8 + size], raw[8 + size :]
    return text.decode()


def test_one_layer(engine: Engine, volumes: ImageVolumes) -> None:
    """An image of one layer is readable, not writable, and unmounted after release."""
    identifier = layered(engine, "criwist.test/one-layer:1", [{"model": b"weights", "etc/conf": b"x"}])
    path = run(volumes.prepare(CONTAINER, 0, identifier))
    assert output(engine, path, "cat", "/volume/model", "/volume/etc/conf") == "weightsx"
    assert "Read-only file system" in output(engine, path, "touch", "/volume/new")
    run(volumes.release(CONTAINER))
    assert not Path(path).exists()


def test_many_layers(engine: Engine, volumes: ImageVolumes) -> None:
    """A hundred layers are mounted in the right order, and an upper layer deletes files of a lower one."""
    layers: list[dict[str, bytes]] = [{"who": b"bottom", "deleted": b"x", "opaque/old": b"x"}]
    layers += [{"who": b"%d" % index, f"file-{index}": b""} for index in range(1, _MANY - 1)]
    layers += [{"who": b"top", ".wh.deleted": b"", "opaque/.wh..wh..opq": b"", "opaque/new": b""}]
    identifier = layered(engine, "criwist.test/many-layers:1", layers)
    inspected = engine.get(f"/images/{identifier}/json")["GraphDriver"]["Data"]
    assert len(inspected["LowerDir"]) > os.sysconf("SC_PAGE_SIZE")
    path = run(volumes.prepare(CONTAINER, 0, identifier))
    listed = output(engine, path, "sh", "-c", "cat /volume/who; echo; ls /volume; ls /volume/opaque").split()
    assert listed[0] == "top"
    assert "deleted" not in listed
    assert "old" not in listed
    assert len([name for name in listed if name.startswith("file-")]) == _MANY - 2
    run(volumes.release(CONTAINER))


def test_sub_paths(engine: Engine, volumes: ImageVolumes) -> None:
    """A directory, a file and a link inside the image can be mounted alone; links do not lead out of the image."""
    files = {"a/b/file": b"inside", "link": b"-> /a/b", "out": b"-> ../../../../../../../etc", "etc/own": b"x"}
    identifier = layered(engine, "criwist.test/sub-paths:1", [files])
    assert output(engine, run(volumes.prepare(CONTAINER, 0, identifier, "a/b")), "ls", "/volume") == "file\n"
    assert output(engine, run(volumes.prepare(CONTAINER, 1, identifier, "a/b/file")), "cat", "/volume") == "inside"
    linked = run(volumes.prepare(CONTAINER, 2, identifier, "link"))
    assert output(engine, linked, "cat", "/volume/file") == "inside"
    assert volumes.volume_at(linked) == ImageVolume(identifier, "a/b")
    assert output(engine, run(volumes.prepare(CONTAINER, 3, identifier, "out")), "ls", "/volume") == "own\n"
    with pytest.raises(InvalidArgument, match="'missing' is not in the image"):
        run(volumes.prepare(CONTAINER, 4, identifier, "missing"))
    run(volumes.release(CONTAINER))
    run(volumes.release(CONTAINER))


def test_leftovers_of_a_crash(engine: Engine, directory: Path, volumes: ImageVolumes) -> None:
    """A new process finds the mounted images, keeps those of known containers and unmounts the rest."""
    identifier = images.image(images.BUSYBOX).id
    kept = run(volumes.prepare(CONTAINER, 0, identifier, "data"))
    lost = run(volumes.prepare("k8s_gone_pod_ns_uid_0", 0, identifier))
    after = make_volumes(engine, directory)
    run(after.reconcile({CONTAINER}))
    assert after.in_use() == {identifier}
    assert output(engine, kept, "cat", "/volume/file") == "from the image\n"
    assert not Path(lost).exists()
    run(after.release(CONTAINER))
    assert after.in_use() == frozenset()
    assert [mount for mount in _mounts_below(directory) if mount != str(directory)] == []


def test_running_container_keeps_its_tree(engine: Engine, volumes: ImageVolumes) -> None:
    """A tree that is released under a running container stays in the container, and leaves the host."""
    path = run(volumes.prepare(CONTAINER, 0, images.image(images.BUSYBOX).id))
    body = {
        "Image": images.BUSYBOX,
        "Cmd": ["sleep", "1000"],
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "bind", "Source": path, "Target": "/volume", "ReadOnly": True}],
        },
    }
    identifier = engine.post("/containers/create", body)["Id"]
    engine.post(f"/containers/{identifier}/start")
    try:
        run(volumes.release(CONTAINER))
        assert not Path(path).exists()
        pid = engine.inspect(identifier)["State"]["Pid"]
        assert Path(f"/proc/{pid}/root/volume/data/file").read_bytes() == b"from the image\n"
    finally:
        engine.delete(f"/containers/{identifier}", force="1", v="1")


def test_engine_in_another_mount_namespace(engine: Engine, directory: Path) -> None:
    """An engine in another mount namespace rejects the path, instead of binding an empty directory."""
    script = """
import ctypes, sys
assert ctypes.CDLL(None).unshare(0x20000) == 0
import subprocess
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
from pathlib import Path
from tests.functional.test_kernel_mounts import make_volumes, run, CONTAINER
from tests.harness.engine import Engine
engine = Engine.__new__(Engine)
engine.socket = Path(sys.argv[1])
path = run(make_volumes(engine, Path(sys.argv[2])).prepare(CONTAINER, 0, sys.argv[3]))
assert Path(path, "data/file").exists()
print(path, flush=True)
sys.stdin.read()
"""
    arguments = [str(engine.socket), str(directory), images.image(images.BUSYBOX).id]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as elsewhere:
        assert elsewhere.stdout is not None
        path = elsewhere.stdout.readline().strip()
        assert path
        with pytest.raises(EngineError, match="bind source path does not exist"):
            output(engine, path, "true")
        elsewhere.communicate("")


def test_layers_on_another_machine(engine: Engine, volumes: ImageVolumes) -> None:
    """Missing layers are an error, and nothing is mounted or left in use."""

    class Elsewhere(Images):
        async def image_layers(self, reference: str) -> Sequence[str]:
            return ("/nonexistent/diff",)

    volumes._docker = Elsewhere(engine)  # type: ignore[assignment]
    with pytest.raises(FailedPrecondition, match="layer /nonexistent/diff"):
        run(volumes.prepare(CONTAINER, 0, "sha256:x"))
    assert volumes.in_use() == frozenset()
