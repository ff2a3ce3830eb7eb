"""Forty pods come and go, and nothing of them is left: not in the runtime, the kernel, or on the disk."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.kubelet.conftest import Runtime
from tests.functional.pod_networks import GREETER, nothing_left
from tests.harness.clock import eventually, scaled
from tests.harness.cni import strays
from tests.harness.kubelet import Kubelet, Object, container, ready, with_containers

pytestmark = [pytest.mark.second_opinion, pytest.mark.long]

MakeKubelet = Callable[..., Kubelet]

_COUNT = 40
_FIRST_PORT = 23300
#: Seconds that forty pods may take to come or to go, on a machine that has much else to do.
_PATIENCE = 900
#: kubelet's garbage collection runs once a minute and removes the sandboxes of a pod after its containers.
_COLLECTED = 300

#: What a node has, by kind.
Things = dict[str, set[str]]


def test_forty_pods(kubelet_factory: MakeKubelet, runtime: Runtime) -> None:
    """Forty pods run at once, each with a log and an address of its own; drained, they leave nothing."""
    kubelet = kubelet_factory()
    before = _things(kubelet, runtime)
    began = time.monotonic()
    names = [kubelet.apply(pod) for pod in _manifests()]
    eventually(lambda: _ready(kubelet) == set(names), within=_PATIENCE, what="all pods are ready")
    created = time.monotonic()
    there = _things(kubelet, runtime)
    for name in names:
        eventually(lambda name=name: kubelet.logs(name, "writer") == "1\n2\n3\n4\n5\n", within=60)  # type: ignore[misc]
    assert len({pod["status"]["podIP"] for pod in kubelet.pods()}) == _COUNT
    assert len(there["addresses"] - before["addresses"]) == _COUNT
    assert len(there["sandboxes"] - before["sandboxes"]) == _COUNT
    drained = time.monotonic()
    _drain(kubelet)
    ended = time.monotonic()
    _await_nothing_new(kubelet, runtime, before)
    collected = time.monotonic()
    print(
        f"\n{runtime.cri.name}: {_COUNT} pods of two containers ready after {created - began:.1f} s; "
        f"drained: all have ended after {ended - drained:.1f} s, nothing is left after {collected - drained:.1f} s; "
        f"with them there were {_counts(there, before)}"
    )


def test_drained_while_they_start(kubelet_factory: MakeKubelet, runtime: Runtime) -> None:
    """Pods that are taken away while they come up, each in another step of it, leave nothing either."""
    kubelet = kubelet_factory()
    before = _things(kubelet, runtime)
    for pod in _manifests():
        kubelet.apply(pod)
    eventually(lambda: len(_ready(kubelet)) >= _COUNT // 8, within=_PATIENCE, what="the first pods are ready")
    _drain(kubelet)
    _await_nothing_new(kubelet, runtime, before)


def _manifests() -> Iterator[Object]:
    """Yield pods of two containers; every fourth has a host port."""
    for number in range(_COUNT):
        port = {"containerPort": 8000, "hostPort": _FIRST_PORT + number}
        fields: Object = {"ports": [port]} if number % 4 == 0 else {}
        yield with_containers(
            container("sh", "-c", "seq 5; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done", name="writer"),
            container(*GREETER, name="server", **fields),
        )


def _ready(kubelet: Kubelet) -> set[str]:
    """Return the names of the pods that are ready."""
    return {pod["metadata"]["name"] for pod in kubelet.pods() if ready(pod)}


def _drain(kubelet: Kubelet) -> None:
    """Take all manifests away and wait until no container and no sandbox runs."""
    for path in kubelet.manifests.iterdir():
        path.unlink()
    eventually(lambda: not kubelet.pods(), within=_PATIENCE, what="kubelet has forgotten the pods")
    eventually(lambda: not _running(kubelet), within=_PATIENCE, what="all pods have ended")


def _running(kubelet: Kubelet) -> list[str]:
    runs = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    is_ready = api.PodSandboxStateValue(state=api.SANDBOX_READY)
    return [*kubelet.cri.container_ids(state=runs), *kubelet.cri.pod_ids(state=is_ready)]


# -- what there is


def _await_nothing_new(kubelet: Kubelet, runtime: Runtime, before: Things) -> None:
    """Wait until there is nothing that was not there before; kubelet collects once a minute."""
    deadline = time.monotonic() + scaled(_COLLECTED)
    while (new := _new(_things(kubelet, runtime), before)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert new == {}
    if runtime.network is not None and runtime.daemon is not None:
        nothing_left(runtime.network, runtime.daemon.state)


def _new(now: Things, before: Things) -> Things:
    return {kind: names - before[kind] for kind, names in now.items() if names - before[kind]}


def _counts(now: Things, before: Things) -> str:
    return ", ".join(f"{len(names)} {kind}" for kind, names in _new(now, before).items())


def _things(kubelet: Kubelet, runtime: Runtime) -> Things:
    """Return what kubelet, the runtime and the kernel have of pods, by kind."""
    cri = kubelet.cri
    root = cri.socket.parent
    engine = runtime.engine
    found = {
        "sandboxes": set(cri.pod_ids()),
        "containers": set(cri.container_ids()),
        "the runtime's processes": set(map(str, strays(str(engine.root if engine else root)))),
        "addresses": set(_addresses(runtime.network.leases if runtime.network else root / "leases")),
        "interfaces": _interfaces(),
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "cgroups": set(_cgroups(kubelet.cgroup)),
        "log files": set(_below(Path("/var/log/pods"), Path("/var/log/containers"))),
        "directories of pods": set(_below(kubelet.root / "kubelet/pods", deep=False)),
    }
    if engine is not None and runtime.daemon is not None:
        found["the engine's containers"] = set(engine.container_names())
        found["the engine's volumes"] = {each["Name"] for each in engine.get("/volumes")["Volumes"] or ()}
        found["records"] = set(_below(runtime.daemon.state))
    else:
        found["records"] = set(_below(*(root / "root").glob("io.containerd.grpc.v1.cri/*"), deep=False))
    return found


def _addresses(leases: Path) -> Iterator[str]:
    """Yield the addresses that the plugin host-local has assigned."""
    for name in _below(leases):
        try:
            yield str(ipaddress.ip_address(Path(name).name))
        except ValueError:
            continue  # its lock, or the address that it assigned last


def _interfaces() -> set[str]:
    answer = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, timeout=scaled(10)).stdout
    kinds = ("veth", "bwp", "ifb")
    return {link["ifname"] for link in json.loads(answer) if link["ifname"].startswith(kinds)}


def _cgroups(name: str) -> Iterator[str]:
    """Yield the cgroups of pods and of their containers, not those of the classes of pods, which stay.

    Beside version 1 there may be a hierarchy of version 2, where runc makes cgroups too.  kubelet does not know it, and
    leaves those of its pods there, whatever the runtime is.
    """
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        for directory, _, _ in os.walk(root / name):
            is_pod = Path(directory).name.startswith("pod")
            if "/pod" in directory and not (is_pod and root.name == "unified"):
                yield directory


def _below(*directories: Path, deep: bool = True) -> Iterator[str]:
    """Yield the paths of all files and links below directories; if not *deep*, what is in them."""
    for directory in directories:
        if not deep:
            yield from map(str, directory.glob("*"))
            continue
        for parent, _, files in os.walk(directory):
            yield from (os.path.join(parent, file) for file in files)
