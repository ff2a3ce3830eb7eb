"""Fixtures of the tests with a real kubelet; ``harness.kubelet`` tells how to write one.

``make kubelet-test``, which sets ``CRIWIST_TEST_KUBELET=all``, runs them, those marked ``second_opinion`` on containerd
too.  ``make test`` runs none: what a kubelet was about to start when it was killed may be left in the network that the
tests of a worker share, and tests of the network look at all that is there.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from attrs import frozen

from tests.functional.conftest import connect
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.cni import PodNetwork
from tests.harness.containerd import Containerd
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.kubelet import Kubelet
from tests.harness.newer_engines import on_a_node
from tests.harness.programs import Program
from tools import kubelet as program

_ALL = os.environ.get("CRIWIST_TEST_KUBELET") == "all"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs in ``make kubelet-test`` only; skip all tests here where there is no kubelet."""
    here = Path(__file__).parent
    left_out = [item for item in items if item.path.is_relative_to(here) and not _ALL]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
    reason = _obstacle()
    for item in items:
        if item.path.is_relative_to(here) and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _obstacle() -> str:
    """Return why no test with kubelet can run; ``""`` also where a missing one has to fail."""
    if on_a_node():
        return "a node has no way to fetch a kubelet"
    if program.built():
        return ""
    if os.environ.get("CRIWIST_TEST_REQUIRED") == "1":
        return program.replaced()
    return program.replaced() or "kubelet has not been built: make kubelet"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with ``kubelet`` or ``kubelet_factory`` on criwist, and on containerd too if it is marked so."""
    if "runtime" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("second_opinion") is not None
        names = ["criwist", "containerd"] if both else ["criwist"]
        metafunc.parametrize("runtime", names, indirect=True, scope="module")


Watched = Callable[[Program], AbstractContextManager[None]]


@frozen
class Runtime:
    """A runtime that kubelets run pods on."""

    cri: CRI
    #: A socket that answers what cAdvisor asks of containerd.
    cadvisor_socket: Path
    #: criwist's engine, its process and its network; None on containerd.
    engine: Engine | None = None
    daemon: Daemon | None = None
    network: PodNetwork | None = None


@pytest.fixture(scope="module")
def runtime(request: pytest.FixtureRequest, session_root: Path) -> Iterator[Runtime]:
    """criwist on the shared engine, with a CNI network and cAdvisor's socket; or containerd.

    The tests of a module share it, and no other criwist or kubelet has pods on the engine meanwhile: kubelet kills
    those that it does not know.
    """
    if request.param == "containerd":
        containerd: Containerd = request.getfixturevalue("containerd_cri")
        client = connect(request, "containerd", session_root)
        yield Runtime(client, containerd.socket)
        client.clean()
        client.close()
        return
    watched: Watched = request.getfixturevalue("watched")
    with _criwist(session_root / "criwist-kubelet", request.getfixturevalue("engine"), watched) as made:
        yield made


@pytest.fixture
def runtime_factory(session_root: Path, watched: Watched) -> Iterator[Callable[[Engine], Runtime]]:
    """Makes a criwist with a CNI network on an engine of the test's own, for tests that stop or kill one of them."""
    numbers = itertools.count()
    with ExitStack() as stack:
        yield lambda engine: stack.enter_context(
            _criwist(session_root / f"criwist-kubelet-{next(numbers)}", engine, watched)
        )


@contextmanager
def _criwist(root: Path, engine: Engine, watched: Watched) -> Iterator[Runtime]:
    network = PodNetwork(root / "cni")
    network.configure()
    socket = root / "cadvisor.sock"
    # kubelet's eviction sees what a container has written within seconds, not within a minute.
    options = {"cadvisor_socket": str(socket), "writable_layer_interval": "2s", **network.options}
    daemon = Daemon(root, engine.endpoint, **options)
    with watched(daemon.program):
        daemon.start()
        client = CRI("criwist", daemon.socket, daemon.root, lambda archive: images.load(engine, archive))
        yield Runtime(client, socket, engine, daemon, network)
        with suppress(grpc.RpcError):  # where a test that failed has left the engine away
            if daemon.program.alive:
                client.clean()
        client.close()
        daemon.stop()
    network.destroy()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_kubelet(runtime: Runtime, session_root: Path, watched: Watched) -> Iterator[Kubelet]:
    """The kubelet that the tests of a module share, which is started when the first of them wants it."""
    with _destroyed(session_root / "kubelet", runtime, watched) as kubelet:
        yield kubelet


@pytest.fixture
def kubelet(shared_kubelet: Kubelet) -> Iterator[Kubelet]:
    """The shared kubelet, running; all its pods are removed at the end of the test."""
    if not shared_kubelet.program.alive:
        shared_kubelet.start()
    yield shared_kubelet
    shared_kubelet.clear()


@pytest.fixture
def kubelet_factory(
    runtime: Runtime, shared_kubelet: Kubelet, session_root: Path, watched: Watched
) -> Iterator[Callable[..., Kubelet]]:
    """Makes a started kubelet of the test's own, destroyed at its end; not in one test with ``kubelet``.

    Arguments are ``configuration`` and ``flags`` of ``Kubelet``, and ``on``, another runtime than the shared one.
    """
    shared_kubelet.stop()  # it would kill the pods of another one
    numbers = itertools.count()
    with ExitStack() as stack:

        def make(on: Runtime = runtime, **arguments: Any) -> Kubelet:
            root = session_root / f"kubelet-{next(numbers)}"
            kubelet = stack.enter_context(_destroyed(root, on, watched, **arguments))
            kubelet.start()
            return kubelet

        yield make


@contextmanager
def _destroyed(root: Path, runtime: Runtime, watched: Watched, **arguments: Any) -> Iterator[Kubelet]:
    """Make a kubelet, not started, and destroy it at the end."""
    if not program.built():
        raise RuntimeError("kubelet has not been built: make kubelet")
    kubelet = Kubelet(
        program.program(),
        root,
        runtime.cri,
        engine=runtime.engine,
        cadvisor_socket=runtime.cadvisor_socket,
        **arguments,
    )
    with watched(kubelet.program):
        try:
            yield kubelet
        finally:
            kubelet.destroy()
