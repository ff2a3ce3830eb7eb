"""Start both runtimes on one machine, as the functional tests do, and make pods to measure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field

from tests.harness import images
from tests.harness.client import CRI
from tests.harness.containerd import Containerd
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.leftovers import remove_session, session_directory
from tests.harness.namespaces import enter

#: Pods that are made in parallel; more only make the engine's queue longer.
_AT_ONCE = 4


@define
class Ground:
    """The running engine and runtimes of a scenario."""

    root: Path
    engine: Engine
    criwist: Daemon
    containerd: Containerd
    #: Clients of both, in the order of the columns.
    runtimes: list[CRI] = field(factory=list)

    def pid(self, cri: CRI) -> int:
        """Return the process whose CPU and memory count for a runtime; on both sides containers' shims do not."""
        return self.criwist.pid if cri.name == "criwist" else self.containerd.program.pid

    def engine_pids(self) -> tuple[int, int]:
        """Return the processes of the engine: dockerd and its containerd."""
        return self.engine.program.pid, int((self.engine.root / "exec/containerd/containerd.pid").read_text())

    def client(self, name: str) -> CRI:
        """Return the client of a runtime."""
        return next(cri for cri in self.runtimes if cri.name == name)

    def restart_criwist(self, docker_endpoint: str = "", *, metrics: bool = False) -> float:
        """Restart criwist, on another path to the engine if given, and return the seconds until it served."""
        self.criwist.stop()
        self.criwist.options["docker_endpoint"] = docker_endpoint or self.engine.endpoint
        self.criwist.options["metrics_bind_addr"] = "127.0.0.1:0" if metrics else None
        return self.criwist.start()


def have_pods(cri: CRI, count: int, cgroup: str = "") -> None:
    """Make pods until there are *count*, each with one container that sleeps.

    :param cgroup: the cgroup below which each new pod has one of its own, as kubelet's pods have.
    """
    missing = count - len(cri.pod_ids())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda _: _sleep(cri, cgroup), range(max(missing, 0))))


def _sleep(cri: CRI, cgroup: str) -> None:
    pod = cri.pod()
    if cgroup:
        pod.linux.cgroup_parent = f"{cgroup}/pod{pod.metadata.uid}"
    cri.run_in_pod("sleep", "1000000", pod=pod)


def no_pods(cri: CRI) -> None:
    """Remove all pods."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for container_id in cri.container_ids():
            pool.submit(cri.stop, container_id, 0)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(cri.remove_pod, cri.pod_ids()))


@contextmanager
def ground() -> Iterator[Ground]:
    """Start everything; stop and remove it at the end, also after an error."""
    enter()
    root = session_directory(Path(os.environ.get("CRIWIST_TEST_DIRECTORY", "/var/tmp")))
    with ExitStack() as stack:
        stack.callback(remove_session, root)
        engine = Engine(root / "engine-0")
        stack.callback(engine.destroy)
        engine.start()
        images.load_all(engine)
        containerd = Containerd(root / "containerd")
        stack.callback(containerd.destroy)
        containerd.start()
        criwist = Daemon(root / "criwist", engine.endpoint)
        stack.callback(criwist.stop)
        criwist.start()
        made = Ground(root, engine, criwist, containerd)
        made.runtimes.append(CRI("criwist", criwist.socket, criwist.root, lambda archive: images.load(engine, archive)))
        made.runtimes.append(CRI("containerd", containerd.socket, containerd.root, containerd.load))
        for cri in made.runtimes:
            stack.callback(no_pods, cri)
        yield made
