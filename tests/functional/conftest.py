"""Fixtures of the functional tests: an engine, registries, criwist, and containerd as the second opinion.

Everything starts when the first test asks for it, in namespaces and a directory of the session's own, and is gone at
the end.  ``CRIWIST_TEST_DIRECTORY`` (default /var/tmp) is where that directory is made; it has to be on a file system
that overlay mounts can lie on.  ``CRIWIST_TEST_SYSTEMD_CGROUPS=1`` has both runtimes use systemd's cgroup driver.

The fixture ``cri`` is the runtime under test.  A test marked ``second_opinion`` speaks of the CRI only and runs twice,
the second time on containerd, unless ``CRIWIST_TEST_SECOND_OPINION=0``.  One marked ``newer_engines`` runs also with
each of ``harness.newer_engines``, or with those that the mark names; with ``only=True`` on these alone.
``CRIWIST_TEST_ENGINE`` names one of them to be the shared engine of all tests.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conftest import engine_of
from tests.functional.pod_networks import cni_daemon, cni_node, either_runtime, pod_network  # noqa: F401 - used by name
from tests.functional.pushed_images import clean_images, private_image, pushed_image  # noqa: F401 - used by name
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.containerd import Containerd, newest
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.far import FarDaemon
from tests.harness.kube import Kube, clients
from tests.harness.kube_api import KubeAPI, PodContainer
from tests.harness.leftovers import remove_session, session_directory
from tests.harness.namespaces import enter
from tests.harness.newer_engines import NEWER_ENGINES, arguments_of, obstacle, on_a_node
from tests.harness.programs import Program
from tests.harness.registry import Registry
from tests.harness.slow_registry import SlowRegistry

_PROGRAMS = ("dockerd", "containerd", "docker-registry", "twistd")
_SYSTEMD_CGROUPS = os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") == "1"

#: Programs whose logs are shown with a failed test, and how much of each log there was before the test.
_logs: dict[Program, int] = {}
_LOG_LINES = 80


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests here as functional; skip them where they cannot run, unless told that they must."""
    if os.environ.get("CRIWIST_TEST_SECOND_OPINION") == "0":
        config.hook.pytest_deselected(items=[item for item in items if _on_containerd(item)])
        items[:] = [item for item in items if not _on_containerd(item)]
    reason = _obstacle()
    required = os.environ.get("CRIWIST_TEST_REQUIRED") == "1"
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("functional")
            if reason and not required:
                item.add_marker(pytest.mark.skip(reason=reason))
            if engine := engine_of(item):
                newer = obstacle(NEWER_ENGINES[engine].bundle)
                if on_a_node():
                    item.add_marker(pytest.mark.skip(reason="a node has its own engine, and no way to fetch others"))
                elif newer is not None and (newer.final or not required):
                    item.add_marker(pytest.mark.skip(reason=newer.reason))


def _on_containerd(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and "containerd" in call.params.values()


def _obstacle() -> str:
    if os.geteuid() != 0:
        return "functional tests need root"
    missing = [name for name in _PROGRAMS[:3] if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with ``cri`` on criwist, and elsewhere too if it is marked so; one with ``kube`` with each client."""
    if "cri" in metafunc.fixturenames:
        metafunc.parametrize("cri", _runtimes(metafunc.definition), indirect=True)
    if "kube" in metafunc.fixturenames:
        metafunc.parametrize("kube", clients(), ids=lambda client: client.name, indirect=True)


def _runtimes(test: pytest.Item) -> list[str]:
    """Names of the runtimes that a test runs on."""
    names = ["criwist"]
    if test.get_closest_marker("second_opinion") is not None:
        names.append("containerd")
    mark = test.get_closest_marker("newer_engines")
    if mark is not None:
        names = ([] if mark.kwargs.get("only") else names) + list(mark.args or NEWER_ENGINES)
    return names


# -- logs of a failed test


def _watch(program: Program) -> None:
    _logs[program] = 0


@contextlib.contextmanager
def _watched(program: Program) -> Iterator[None]:
    _watch(program)
    try:
        yield
    finally:
        _logs.pop(program, None)


@pytest.fixture(scope="session")
def watched() -> Callable[[Program], AbstractContextManager[None]]:
    """Makes the context in which a program's log is shown with each failed test."""
    return _watched


def pytest_runtest_setup() -> None:
    """Remember how long each log is."""
    for program in _logs:
        _logs[program] = len(program.log_text())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the programs logged during a failed test to its report."""
    report = yield
    if report.failed:
        for program, start in _logs.items():
            lines = program.log_text()[start:].splitlines()[-_LOG_LINES:]
            if lines:
                report.sections.append((f"{program.name}: {program.log}", "\n".join(lines)))
    return report


# -- the session


@pytest.fixture(scope="session")
def session_root() -> Iterator[Path]:
    """The session's directory, in namespaces of its own."""
    enter()
    directory = session_directory(Path(os.environ.get("CRIWIST_TEST_DIRECTORY", "/var/tmp")))
    yield directory
    remove_session(directory)


@pytest.fixture(scope="session")
def engine_factory(session_root: Path) -> Iterator[Callable[..., Engine]]:
    """Makes engines, not started, with the arguments of ``Engine``; they are destroyed at the end of the session."""
    numbers = itertools.count()
    engines: list[Engine] = []

    def make(**arguments: Any) -> Engine:
        number = next(numbers)
        arguments.setdefault("systemd_cgroups", _SYSTEMD_CGROUPS)
        engine = Engine(session_root / f"engine-{number}", number=number, **arguments)
        engines.append(engine)
        _watch(engine.program)
        return engine

    yield make
    for engine in engines:
        engine.destroy()


@pytest.fixture(scope="session")
def engine(engine_factory: Callable[..., Engine], session_root: Path) -> Engine:
    """The engine most tests share, with the test images loaded."""
    name = os.environ.get("CRIWIST_TEST_ENGINE")
    return _with_images(engine_factory(**(arguments_of(name, session_root) if name else {})))


@pytest.fixture(scope="session")
def engine_named(engine_factory: Callable[..., Engine], session_root: Path) -> Callable[[str], Engine]:
    """Gives newer engines by name, with the test images loaded; each is started when first asked for."""
    return functools.cache(lambda name: _with_images(engine_factory(**arguments_of(name, session_root))))


def _with_images(engine: Engine) -> Engine:
    engine.start()
    images.load_all(engine)
    return engine


@pytest.fixture(scope="session")
def registry(session_root: Path) -> Iterator[Registry]:
    """A registry anybody may push to and pull from."""
    yield from _registry(session_root / "registry", private=False)


@pytest.fixture(scope="session")
def private_registry(session_root: Path) -> Iterator[Registry]:
    """A registry that wants its user and password."""
    yield from _registry(session_root / "private-registry", private=True)


def _registry(root: Path, *, private: bool) -> Iterator[Registry]:
    registry = Registry(root, private=private)
    _watch(registry.program)
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def slow_registry() -> Iterator[SlowRegistry]:
    """A registry that misbehaves as the test tells it."""
    registry = SlowRegistry()
    registry.start()
    yield registry
    registry.stop()


# -- the runtimes


@pytest.fixture(scope="session")
def criwist(session_root: Path, engine: Engine) -> Iterator[Daemon]:
    """The criwist most tests share, on the shared engine."""
    daemon = Daemon(session_root / "criwist", engine.endpoint)
    _watch(daemon.program)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def criwist_on(session_root: Path, engine_named: Callable[[str], Engine]) -> Iterator[Callable[[str], Daemon]]:
    """Gives the shared criwist on a newer engine by the engine's name, started when first asked for."""
    daemons: dict[str, Daemon] = {}

    def give(name: str) -> Daemon:
        if name not in daemons:
            daemon = daemons[name] = Daemon(session_root / f"criwist-{name}", engine_named(name).endpoint)
            _watch(daemon.program)
            daemon.start()
        return daemons[name]

    yield give
    for daemon in daemons.values():
        daemon.stop()


@pytest.fixture
def criwist_daemon(session_root: Path, engine: Engine) -> Iterator[Callable[..., Daemon]]:
    """Makes criwists of a test's own, not started; they are ended after the test.

    Arguments are those of ``Daemon``'s options, ``engine`` for another engine than the shared one, and ``far`` for a
    criwist that sees none of the engine's files.
    """
    daemons: list[Daemon] = []

    def make(**options: Any) -> Daemon:
        root = session_root / f"criwist-{len(daemons)}"
        shutil.rmtree(root, ignore_errors=True)
        on: Engine = options.pop("engine", engine)
        if options.pop("far", False):
            daemon: Daemon = FarDaemon(root, on, **options)
        else:
            daemon = Daemon(root, options.pop("docker_endpoint", on.endpoint), **options)
        daemons.append(daemon)
        _watch(daemon.program)
        return daemon

    yield make
    for daemon in daemons:
        daemon.stop()
        _logs.pop(daemon.program, None)


@pytest.fixture(scope="session")
def containerd_cri(session_root: Path) -> Iterator[Containerd]:
    """The second opinion, with the test images imported."""
    containerd = Containerd(session_root / "containerd", systemd_cgroups=_SYSTEMD_CGROUPS)
    _watch(containerd.program)
    containerd.start()
    yield containerd
    containerd.destroy()


@pytest.fixture(scope="session")
def newest_containerd(session_root: Path) -> Iterator[Containerd]:
    """The newest containerd that Debian has, with the test images imported."""
    containerd = newest(session_root / "newest-containerd", systemd_cgroups=_SYSTEMD_CGROUPS)
    _watch(containerd.program)
    containerd.start()
    yield containerd
    containerd.destroy()


@pytest.fixture
def cri(request: pytest.FixtureRequest, session_root: Path) -> Iterator[CRI]:
    """The runtime under test; every pod it has at the end of the test is removed."""
    client = connect(request, getattr(request, "param", "criwist"), session_root)
    yield client
    client.clean()
    client.close()


def connect(request: pytest.FixtureRequest, name: str, session_root: Path) -> CRI:
    """A client of the shared criwist, that on a newer engine, or containerd, which are started if they are not."""
    if name == "containerd":
        containerd: Containerd = request.getfixturevalue("containerd_cri")
        return CRI(name, containerd.socket, session_root / "containerd", containerd.load)
    engine = _engine_of(request, name)
    daemon: Daemon
    if name in NEWER_ENGINES:
        daemon = request.getfixturevalue("criwist_on")(name)
    else:
        daemon = request.getfixturevalue("criwist")
    return CRI("criwist", daemon.socket, daemon.root, lambda archive: images.load(engine, archive))


def _engine_of(request: pytest.FixtureRequest, name: str) -> Engine:
    engine: Engine
    if name in NEWER_ENGINES:
        engine = request.getfixturevalue("engine_named")(name)
    else:
        engine = request.getfixturevalue("engine")
    return engine


@pytest.fixture
def engine_of_cri(request: pytest.FixtureRequest, cri: CRI) -> Engine:
    """The engine that the criwist under test is on."""
    return _engine_of(request, request.node.callspec.params["cri"])


@pytest.fixture
def client_of(session_root: Path, engine: Engine) -> Iterator[Callable[[Daemon], CRI]]:
    """Makes a client of a started criwist of the test's own; the pods are removed if it runs at the end of the test."""
    clients: list[tuple[CRI, Daemon]] = []

    def make(daemon: Daemon) -> CRI:
        client = CRI("criwist", daemon.socket, daemon.root, lambda archive: images.load(engine, archive))
        clients.append((client, daemon))
        return client

    yield make
    for client, daemon in clients:
        # Where the test failed the engine may be away; then it is the test that owns the engine.
        with contextlib.suppress(grpc.RpcError):
            if daemon.program.alive:
                client.clean()
        client.close()


# -- kubectl


@pytest.fixture
def kube(request: pytest.FixtureRequest, cri: CRI, tmp_path: Path) -> Iterator[Kube]:
    """kubectl, and the stand-in API server over the runtime under test."""
    stand_in = KubeAPI(cri, tmp_path)
    stand_in.start()
    one = Kube(stand_in, request.param)
    yield one
    one.end()
    stand_in.stop()


@pytest.fixture
def pod(cri: CRI, kube: Kube) -> Callable[..., str]:
    """Makes pods of one container known to kubectl; returns the container's id.  The pod's name is ``p``."""

    def make(
        *command: str, stdin: bool = False, stdin_once: bool = False, tty: bool = False, host: bool = False
    ) -> str:
        config = cri.host_network_pod() if host else cri.pod()
        sandbox, container = cri.run_in_pod(*command, pod=config, stdin=stdin, stdin_once=stdin_once, tty=tty)
        kube.api.add_pod("p", sandbox, c=PodContainer(container, stdin=stdin, tty=tty))
        return container

    return make
