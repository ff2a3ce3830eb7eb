"""Privileged containers: their capabilities, file systems and devices.

An engine starts one only if it has every capability itself.  Where the tests' machine lacks one, the engine has
an OCI runtime that removes this capability and calls runc for the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.inside import RECENT, SYS_RESOURCE, capabilities, mounted, own_capabilities, process_status, run

#: Removes a capability from the specification, then becomes runc.
RUNTIME = f"""\
#!{sys.executable}
import json, os, sys

words = sys.argv[1:]
for option, name in (("--bundle", "/config.json"), ("--process", "")):
    if option in words:
        path = words[words.index(option) + 1] + name
        with open(path) as file:
            specification = json.load(file)
        for names in (specification.get("process", specification).get("capabilities") or {{}}).values():
            if "CAP_SYS_RESOURCE" in names:
                names.remove("CAP_SYS_RESOURCE")
        with open(path, "w") as file:
            json.dump(specification, file)
os.execvp("runc", ["runc", *words])
"""


@pytest.fixture(scope="module")
def capable_engine(
    request: pytest.FixtureRequest, engine_factory: Callable[..., Engine], tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    """An engine that can start privileged containers."""
    if own_capabilities() & SYS_RESOURCE:
        shared: Engine = request.getfixturevalue("engine")
        return shared
    runtime = tmp_path_factory.mktemp("runtime") / "lesser-runc"
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    engine = engine_factory(flags=[f"--add-runtime=lesser={runtime}", "--default-runtime=lesser"])
    engine.start()
    images.load_all(engine)
    return engine


@pytest.fixture
def capable(capable_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> CRI:
    """A criwist on that engine."""
    daemon = criwist_daemon(engine=capable_engine)
    daemon.start()
    return client_of(daemon)


def container(cri: CRI, *, privileged: bool) -> str:
    """Run a container in a privileged pod, with confinements that a privileged one ignores, and return its id."""
    pod, config = cri.pod(), cri.container()
    pod.linux.security_context.privileged = True
    context = config.linux.security_context
    context.privileged = privileged
    context.seccomp.profile_type = api.SecurityProfile.RuntimeDefault
    context.masked_paths.append("/proc/uptime")
    context.readonly_paths.append("/proc/sys")
    return run(cri, config, pod)


def test_capabilities_and_seccomp(capable: CRI) -> None:
    """A privileged container has every capability that the engine has, and no seccomp filter."""
    container_id = container(capable, privileged=True)
    assert capabilities(capable, container_id, "CapEff") | RECENT == own_capabilities() | RECENT
    assert process_status(capable, container_id)["Seccomp"] == "0"


def test_file_systems(capable: CRI) -> None:
    """A privileged container has a writable /sys and /proc/sys, and no masked paths."""
    points = mounted(capable, container(capable, privileged=True))
    assert "rw" in points["/sys"][5].split(",")
    assert not {"/proc/sys", "/proc/uptime"} & points.keys()


def test_devices(capable: CRI) -> None:
    """A privileged container has the host's devices and may use any."""
    container_id = container(capable, privileged=True)
    assert set(capable.output(container_id, "ls", "/dev").split()) >= {
        path.name for path in Path("/dev").iterdir() if path.is_char_device() and not path.is_symlink()
    } - {"console", "ptmx", "tty"}
    capable.output(container_id, "mknod", "/device", "c", "1", "11")
    assert b"not permitted" not in capable.execute(container_id, "sh", "-c", ": < /device").stderr


def test_plain_container_beside_it(capable: CRI) -> None:
    """Another container of the same pod is not privileged."""
    container_id = container(capable, privileged=False)
    assert process_status(capable, container_id)["Seccomp"] == "2"
    assert capabilities(capable, container_id, "CapEff") != own_capabilities()
    points = mounted(capable, container_id)
    assert "ro" in points["/sys"][5].split(",")
    assert {"/proc/sys", "/proc/uptime"} <= points.keys()
