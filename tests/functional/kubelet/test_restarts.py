"""What happens to pods when criwist, kubelet, the engine or the whole machine goes down and comes back.

Each test runs the same pods (:class:`_Pods`): a container that counts, one that is probed, a server with a host port, a
pod on the node's network, and one that has ended.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from attrs import define, field

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.kubelet.conftest import Runtime
from tests.functional.pod_networks import GREETER, greeting, greets, nothing_left
from tests.harness import images
from tests.harness.client import answers_version
from tests.harness.clock import eventually, scaled
from tests.harness.cni import BRIDGE, strays
from tests.harness.crilogs import lines
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine, EngineError
from tests.harness.kubelet import Kubelet, Object, container, manifest, phase, ready, with_containers
from tests.harness.leftovers import unmount_below
from tests.harness.namespaces import NODE_ADDRESS

MakeKubelet = Callable[..., Kubelet]
MakeRuntime = Callable[[Engine], Runtime]

#: Writes 0, 1, 2, … and, when it is told to end, ``N end``.
_COUNTING = "trap 'echo $i end; exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"
_COUNTER, _SERVER, _NODE, _ENDED = "counter", "server", "on-node", "ended"
_HOST_PORT = 23210
#: kubelet's garbage collection runs once a minute and removes the sandboxes of a pod after its containers.
_COLLECTED = 240


@define
class _Pods:
    """The pods, and what is known of them before something goes down."""

    kubelet: Kubelet
    runtime: Runtime
    #: Their names in kubelet's API, without the node's name.
    names: tuple[str, ...] = ()
    #: Container id to pid, 0 if it has ended; as the engine says it.
    processes: dict[str, int] = field(factory=dict)
    counters_log: Path = Path()
    #: How many of the pods run and have an address of their own.
    with_address: int = 2

    @classmethod
    def run(cls, kubelet: Kubelet, runtime: Runtime) -> _Pods:
        """Run the pods and wait until they are ready, or have ended."""
        pods = cls(kubelet, runtime)
        for manifest_ in _manifests():
            pods.names += (kubelet.apply(manifest_),)
        pods.await_readiness()
        counter = kubelet.find(pods.named(_COUNTER))
        assert counter is not None
        pods.counters_log = Path(kubelet.cri.status(kubelet.container_id(counter, "c")).log_path)
        pods.await_counting()
        # kubelet ends the sandbox of a pod that has ended.
        eventually(lambda: len(pods.ready_sandboxes()) == len(pods.names) - 1, within=60)
        pods.processes = pods.engine_processes()
        return pods

    @property
    def engine(self) -> Engine:
        """The engine that they run on."""
        assert self.runtime.engine is not None
        return self.runtime.engine

    @property
    def daemon(self) -> Daemon:
        """criwist."""
        assert self.runtime.daemon is not None
        return self.runtime.daemon

    def named(self, prefix: str) -> str:
        """Return the name of the pod that begins so."""
        return next(name for name in self.names if name.startswith(prefix))

    # -- conditions

    def await_readiness(self) -> None:
        """Wait until kubelet reports every pod as ready; the one that has ended, as Succeeded."""
        eventually(self._cri_answers, within=60, what="criwist is connected to the engine")
        for name in self.names:
            self.kubelet.wait_for(name, phase("Succeeded") if name.startswith(_ENDED) else ready, within=180)
        eventually(_served, within=60, what="the host port leads to its server")

    def _cri_answers(self) -> bool:
        try:
            self.ready_sandboxes()
        except grpc.RpcError:
            return False
        return True

    def await_counting(self) -> None:
        """Wait until the counter's log has grown."""
        seen = len(eventually(lambda: _numbers(self.counters_log)))
        eventually(lambda: len(_numbers(self.counters_log)) >= seen + 10, within=60, what="the log grows")

    def untouched(self) -> None:
        """Wait until all is as before, and check that nothing was restarted, left behind or leaked on the way."""
        self.await_readiness()
        self.await_counting()
        self.another_pod()
        assert self.restarts() == [0] * len(self.names)
        assert self.engine_processes() == self.processes
        self.consistent()

    def restarted(self, *, known: bool = True) -> None:
        """Wait until all pods are ready again in new sandboxes; the one that had ended stays so if it is *known*."""
        self.await_readiness()
        self.another_pod()
        self.consistent()
        assert not set(self.ready_sandboxes()) & set(self.processes)
        if not known:
            return
        *running, _ = self.restarts()
        assert all(running)
        ended = self.kubelet.find(self.named(_ENDED))
        assert ended is not None
        assert ended["status"]["containerStatuses"][0]["restartCount"] == 0
        assert self.kubelet.container_id(ended) in self.processes

    def another_pod(self) -> None:
        """Run and remove one more pod, which takes that kubelet, criwist and engine work together again."""
        pod = self.kubelet.run_pod(manifest("true", restart="Never"), until=phase("Succeeded"), within=180)
        name = pod["metadata"]["name"]
        self.kubelet.remove(name, within=180)
        selector = {"io.kubernetes.pod.name": name}
        cri = self.kubelet.cri
        for pod_id in cri.pod_ids(label_selector=selector):
            cri.remove_pod(pod_id)

    def consistent(self) -> None:
        """Check that the engine has what the CRI lists and nothing else, and that addresses are those of the pods."""
        eventually(self._addresses_are_those_of_the_pods, within=60)
        cri = self.kubelet.cri
        eventually(lambda: set(self.engine_processes()) == {*cri.pod_ids(), *cri.container_ids()}, within=30)

    def _addresses_are_those_of_the_pods(self) -> bool:
        network = self.runtime.network
        assert network is not None
        cri = self.kubelet.cri
        addresses = [cri.pod_status(pod_id).network.ip for pod_id in self.ready_sandboxes()]
        expected = sorted(address for address in addresses if address and address != NODE_ADDRESS)
        assert len(expected) == self.with_address, addresses
        assert sorted(network.leased()) == expected
        return True

    # -- what there is

    def ready_sandboxes(self) -> list[str]:
        """Return the ids of the sandboxes that are ready."""
        return self.kubelet.cri.pod_ids(state=api.PodSandboxStateValue(state=api.SANDBOX_READY))

    def engine_processes(self) -> dict[str, int]:
        """Return all containers of the engine, sandboxes too, with the pids of their first processes."""
        found: dict[str, int] = {}
        for each in self.engine.get("/containers/json?all=1"):
            with contextlib.suppress(EngineError):  # removed meanwhile
                found[each["Id"]] = self.engine.inspect(each["Id"])["State"]["Pid"]
        return found

    def restarts(self) -> list[int]:
        """Return the number of restarts of each pod, in the order of ``names``."""
        pods = {pod["metadata"]["name"]: pod for pod in self.kubelet.pods()}
        return [sum(each["restartCount"] for each in pods[name]["status"]["containerStatuses"]) for name in self.names]

    # -- the end

    def drain(self) -> None:
        """Take all manifests away and wait until kubelet has collected what it made: nothing is left."""
        for name in self.names:
            self.kubelet.remove(name, within=180)
        network = self.runtime.network
        assert network is not None
        eventually(lambda: not self.engine_processes(), within=_COLLECTED, what="kubelet collects the containers")
        nothing_left(network, self.daemon.state)


def _served() -> bool:
    """Whether the server answers at its host port."""
    return greeting(NODE_ADDRESS, _HOST_PORT) == b"hello\n"


def _manifests() -> Iterator[Object]:
    suffix = f"-{uuid.uuid4().hex[:6]}"
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}
    # A probe that could not run says nothing about the container.
    probes: Object = {"livenessProbe": probe, "readinessProbe": probe}
    yield with_containers(container("sh", "-c", _COUNTING), container(name="probed", **probes), name=_COUNTER + suffix)
    port = {"containerPort": 8000, "hostPort": _HOST_PORT}
    yield with_containers(container(*GREETER, ports=[port]), name=_SERVER + suffix)
    yield with_containers(container(), hostNetwork=True, name=_NODE + suffix)
    yield with_containers(container("seq", "10"), restart="Never", name=_ENDED + suffix)


def _numbers(log: Path) -> list[int]:
    """Return the numbers of the counter's log; an AssertionError unless each is there once, in order."""
    contents = [line.content for line in lines(log)]
    found = [int(content.partition(b" ")[0]) for content in contents]
    expected = list(range(len(found)))
    if contents and contents[-1].endswith(b"end"):
        # The trap may run before or after the count goes up.
        expected[-1] = found[-1]
        assert found[-1] in (len(found) - 2, len(found) - 1)
    assert found == expected
    return found


# -- criwist and kubelet


def test_criwist_and_kubelet_killed(kubelet_factory: MakeKubelet, runtime: Runtime) -> None:
    """criwist, kubelet, and both are killed and started again: the pods run on as if nothing had happened."""
    pods = _Pods.run(kubelet_factory(), runtime)
    try:
        pods.daemon.kill()
        eventually(_served)
        pods.daemon.start()
        pods.await_counting()
        pods.kubelet.kill()
        pods.await_counting()
        pods.kubelet.start()
        pods.await_readiness()
        pods.daemon.kill()
        pods.kubelet.kill()
    finally:
        if not pods.daemon.program.alive:
            pods.daemon.start()
    pods.kubelet.start()
    pods.untouched()


@pytest.mark.long
def test_criwist_killed_at_work(kubelet_factory: MakeKubelet, runtime: Runtime) -> None:
    """criwist is killed again and again while pods come and go: each comes up once, and nothing of them is left."""
    pods = _Pods(kubelet_factory(), runtime, with_address=8)
    pods.names = tuple(pods.kubelet.apply(manifest(*GREETER)) for _ in range(pods.with_address))
    chance = random.Random(20261129)
    try:
        for _ in range(6):
            _kill_and_start(pods.daemon, after=chance.uniform(0.2, 2))
        for name in pods.names:
            greets(pods.kubelet.wait_for(name, ready, within=240)["status"]["podIP"], 8000)
        pods.consistent()
        for path in pods.kubelet.manifests.iterdir():
            path.unlink()
        for _ in range(4):
            _kill_and_start(pods.daemon, after=chance.uniform(0.2, 2))
    finally:
        if not pods.daemon.program.alive:
            pods.daemon.start()
    pods.drain()


def _kill_and_start(daemon: Daemon, *, after: float) -> None:
    """Kill criwist after some seconds of its work, and start it."""
    time.sleep(scaled(after))
    daemon.kill()
    daemon.start()


# -- the engine


@pytest.fixture
def own_engine(engine_factory: Callable[..., Engine]) -> Iterator[Callable[[bool], Engine]]:
    """Makes a started engine, with live-restore or without, that is destroyed at the end of the test."""
    with ExitStack() as stack:

        def make(live_restore: bool) -> Engine:
            engine = engine_factory(live_restore=live_restore)
            stack.callback(engine.destroy)
            engine.start()
            images.load_all(engine)
            return engine

        yield make


@pytest.mark.parametrize("away", [20, pytest.param(180, marks=pytest.mark.long)])
def test_engine_away_with_live_restore(
    own_engine: Callable[[bool], Engine], runtime_factory: MakeRuntime, kubelet_factory: MakeKubelet, away: int
) -> None:
    """Where containers outlive their engine, nothing happens to the pods while it is away, and nothing afterwards."""
    runtime = runtime_factory(own_engine(True))
    pods = _Pods.run(kubelet_factory(on=runtime), runtime)
    pods.engine.stop()
    _pass(away)
    eventually(_served)
    assert _numbers(pods.counters_log)
    pods.engine.start()
    pods.untouched()


@pytest.mark.long
@pytest.mark.parametrize("away", [0, 180])
def test_engine_away(
    own_engine: Callable[[bool], Engine], runtime_factory: MakeRuntime, kubelet_factory: MakeKubelet, away: int
) -> None:
    """Where containers end with their engine, kubelet starts the pods again, each in a new sandbox."""
    runtime = runtime_factory(own_engine(False))
    pods = _Pods.run(kubelet_factory(on=runtime), runtime)
    pods.engine.stop()
    _pass(away)
    pods.engine.start()
    pods.restarted()
    # The log of the container that ended with the engine is whole, to its last words.
    assert _numbers(pods.counters_log)
    assert lines(pods.counters_log)[-1].content.endswith(b" end")
    pods.drain()


def _pass(seconds: float) -> None:
    """Let time pass, as it does while something is away."""
    time.sleep(seconds)


# -- the machine


@pytest.mark.long
@pytest.mark.parametrize("kept", [True, False], ids=["containers-kept", "containers-lost"])
def test_reboot(
    own_engine: Callable[[bool], Engine], runtime_factory: MakeRuntime, kubelet_factory: MakeKubelet, kept: bool
) -> None:
    """After a loss of power all pods run again, and no network of the time before is left.

    Processes, namespaces, mounts and the engine's state of this boot are gone; the directories of criwist, kubelet and
    the address plugin are as they were.  The engine's containers are on its disk, or lost with it.
    """
    runtime = runtime_factory(own_engine(False))
    kubelet = kubelet_factory(on=runtime)
    _set_boot_id(kubelet)
    kubelet.stop()
    kubelet.start()
    pods = _Pods.run(kubelet, runtime)
    _lose_power(pods)
    if not kept:
        shutil.rmtree(pods.engine.root / "data")
    _set_boot_id(kubelet)
    began = len(pods.daemon.log_text())
    pods.daemon.program.start(lambda: "Docker is away" in pods.daemon.log_text()[began:])
    pods.engine.start()
    if not kept:
        images.load_all(pods.engine)
    eventually(lambda: answers_version(pods.daemon.socket), within=30)
    kubelet.start()
    pods.restarted(known=kept)
    if kept:
        assert _numbers(pods.counters_log)
    else:  # for kubelet the new container is the first one, so it has the same log
        written = [line.content for line in lines(pods.counters_log)]
        again = written.index(b"0", 1)
        assert written == [b"%d" % number for length in (again, len(written) - again) for number in range(length)]
    pods.drain()


def _set_boot_id(kubelet: Kubelet) -> None:
    """Have the kubelet's next start see a boot id of its own."""
    file = kubelet.root / "sysctls/kernel/random/boot_id"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{uuid.uuid4()}\n")


def _lose_power(pods: _Pods) -> None:
    """End kubelet, criwist, the engine and all containers at once, with what the kernel and /run have of them."""
    pods.kubelet.kill()
    pods.daemon.kill()
    pods.engine.kill()
    execution = pods.engine.root / "exec"
    eventually(lambda: _killed(pods, execution), what="all processes are gone")
    for directory in (execution, pods.engine.root / "data", pods.kubelet.root):
        unmount_below(directory)
    shutil.rmtree(execution)
    for pin in Path("/run/netns").glob("criwist-*"):
        subprocess.run(["umount", str(pin)], check=False, capture_output=True)
        pin.unlink()
    subprocess.run(["ip", "link", "del", BRIDGE], check=True, capture_output=True)
    for family in ("iptables", "ip6tables"):
        # Other engines of this session have rules too.
        script = f"set -e; {family}-save >rules; grep -v CNI- rules | {family}-restore -w; rm rules"
        subprocess.run(["sh", "-c", script], check=True, capture_output=True, cwd=pods.kubelet.root)


def _killed(pods: _Pods, execution: Path) -> bool:
    """Kill shims and containers; return whether there were none left."""
    pids = set(strays(str(execution)))
    for hierarchy in ("", "*/"):
        for file in Path("/sys/fs/cgroup").glob(f"{hierarchy}{pods.kubelet.cgroup}/**/cgroup.procs"):
            with contextlib.suppress(OSError):
                pids |= {int(pid) for pid in file.read_text().split()}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not pids
