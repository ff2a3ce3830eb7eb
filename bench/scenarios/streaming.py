"""Exec and port-forward: a gigabyte each way, and many small ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from attrs import frozen

from bench.ground import Ground, no_pods
from bench.measure import cpu_seconds
from bench.table import Table, milliseconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.spdy_client import Client

_GIGABYTE = 1 << 30
#: Runs of each bulk transfer, alternating between the runtimes; the median counts.
_RUNS = 3
_TRUES = 30
_RUNS_OF_SMALL = 3
_PARALLEL = 10
_REQUESTS = 2000
_TOGETHER = 10
_PORT = 8080


@frozen
class Subject:
    """A runtime with a pod that serves HTTP."""

    ground: Ground
    cri: CRI
    sandbox: str
    container: str

    @classmethod
    def make(cls, ground: Ground, cri: CRI) -> Subject:
        """Make the pod, and wait until its server listens."""
        no_pods(cri)
        script = f"mkdir /www; truncate -s 1G /www/big; echo hello > /www/small; httpd -f -p {_PORT} -h /www"
        sandbox, container = cri.run_in_pod("sh", "-c", script)
        listening = f":{_PORT:04X} "
        eventually(lambda: listening in cri.shell(container, "cat /proc/net/tcp /proc/net/tcp6"))
        return cls(ground, cri, sandbox, container)

    def exec(self, *command: str, stdin: bool = False) -> tuple[Client, dict[str, int]]:
        """Return a client of an exec, and its streams by role."""
        # Always with outputs, as kubectl does: containerd at once ends an exec that has none.
        request = api.ExecRequest(container_id=self.container, cmd=command, stdin=stdin, stdout=True, stderr=True)
        client = Client(self.cri.runtime.Exec(request).url)
        roles = ["error", "stdout", "stderr", *(["stdin"] if stdin else [])]
        numbers = client.open_all(*({"streamtype": role} for role in roles))
        return client, dict(zip(roles, numbers, strict=True))

    def forward(self) -> Client:
        """Return a client of a port-forward."""
        request = api.PortForwardRequest(pod_sandbox_id=self.sandbox)
        return Client(self.cri.runtime.PortForward(request).url, "portforward.k8s.io")

    def cpu(self) -> tuple[float, float]:
        """Return the CPU seconds so far: of the runtime's process, and of the engine behind it."""
        engine = cpu_seconds(self.ground.engine.program.pid) if self.cri.name == "criwist" else 0.0
        return cpu_seconds(self.ground.pid(self.cri)), engine


@frozen
class Transfer:
    """The cost of moving a gigabyte, in seconds."""

    seconds: float
    cpu: float
    engine: float

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return _GIGABYTE / self.seconds / 1e6


def run(ground: Ground) -> Iterator[Table]:
    """Yield tables of large transfers and of small ones; the last column is criwist's speed beside containerd's."""
    subjects = [Subject.make(ground, cri) for cri in ground.runtimes]
    columns = ("", *(cri.name for cri in ground.runtimes), "criwist as fast")
    bulk = Table(f"1 GiB, median of {_RUNS}, client and container on the same CPUs", columns)
    for label, transfer in (("exec, output", _output), ("exec, input", _input), ("port-forward", _download)):
        _add_transfers(bulk, label, _transfers(subjects, transfer))
    yield bulk
    small = Table("small ones", columns)
    _add_seconds(small, "exec of true, median", _medians(subjects, _true, _TRUES))
    _add_engine_part(small, _medians(subjects[:1], _engine_true, _TRUES))
    _add_seconds(small, f"{_PARALLEL} execs of true at once", _medians(subjects, _at_once(_true), _RUNS_OF_SMALL))
    _add_engine_part(small, _medians(subjects[:1], _at_once(_engine_true), _RUNS_OF_SMALL))
    used = [subject.cpu()[0] for subject in subjects]
    _add_seconds(
        small, f"{_REQUESTS} HTTP requests, {_TOGETHER} at once", _medians(subjects, _requests, _RUNS_OF_SMALL)
    )
    used = [(subject.cpu()[0] - before) / _RUNS_OF_SMALL for subject, before in zip(subjects, used, strict=True)]
    small.add("  CPU of the daemon, per request", *(milliseconds(cpu / _REQUESTS) for cpu in used), "")
    yield small


def _add_transfers(table: Table, label: str, results: list[Transfer]) -> None:
    ours, theirs = results
    table.add(label, *(f"{one.rate:.0f} MB/s" for one in results), _times(ours.rate / theirs.rate))
    table.add("  CPU of the daemon", *(f"{one.cpu:.2f} s" for one in results), "")
    table.add("  CPU of dockerd", *(f"{one.engine:.2f} s" if one.engine else "" for one in results), "")


def _add_seconds(table: Table, label: str, results: list[float]) -> None:
    ours, theirs = results
    table.add(label, *map(milliseconds, results), _times(theirs / ours))


def _add_engine_part(table: Table, results: list[float]) -> None:
    table.add("  the engine's own part", *map(milliseconds, results), "", "")


def _times(factor: float) -> str:
    """Return a factor as text."""
    return f"{factor:.2f} times"


def _medians(subjects: list[Subject], measured: Callable[[Subject], float], count: int) -> list[float]:
    """Return the median for each runtime, with runs that alternate between them."""
    taken: list[list[float]] = [[] for _ in subjects]
    for _ in range(count):
        for subject, results in zip(subjects, taken, strict=True):
            results.append(measured(subject))
    return list(map(median, taken))


def _transfers(subjects: list[Subject], transfer: Callable[[Subject], object]) -> list[Transfer]:
    """Return the median transfer of each runtime, by its duration."""
    taken: dict[str, list[Transfer]] = {subject.cri.name: [] for subject in subjects}
    for _ in range(_RUNS):
        for subject in subjects:
            before, began = subject.cpu(), time.perf_counter()
            transfer(subject)
            seconds, after = time.perf_counter() - began, subject.cpu()
            taken[subject.cri.name].append(Transfer(seconds, after[0] - before[0], after[1] - before[1]))
    return [sorted(ones, key=lambda one: one.seconds)[len(ones) // 2] for ones in taken.values()]


def _output(subject: Subject) -> None:
    client, streams = subject.exec("dd", "if=/dev/zero", "bs=1M", "count=1024")
    client.wait_for(streams["error"])
    _check(client.counts[streams["stdout"]] == _GIGABYTE, "output is incomplete")
    client.close()


def _input(subject: Subject) -> None:
    # The input waits for the command's start: containerd 1.6 sometimes loses earlier input.
    client, streams = subject.exec("sh", "-c", "echo go; cat > /dev/null; echo done", stdin=True)
    client.wait_for_data(streams["stdout"])
    client.flood(streams["stdin"], _GIGABYTE)
    client.wait_for(streams["error"])
    _check(client.heads[streams["stdout"]] == b"go\ndone\n", "input was cut off")
    client.close()


def _download(subject: Subject) -> None:
    client = subject.forward()
    (data,) = _get(client, "big", 1, 0)
    client.wait_for(data)
    _check(client.counts[data] >= _GIGABYTE, "the file is incomplete")
    client.close()


def _get(client: Client, path: str, count: int, first: int) -> list[int]:
    """Send *count* requests, each on a connection of its own, and return the data streams."""
    opened = [
        client.open_all(
            *({"streamtype": role, "port": str(_PORT), "requestid": str(number)} for role in ("error", "data"))
        )
        for number in range(first, first + count)
    ]
    client.wait_for_replies(2 * (first + count))
    for _, data in opened:
        client.send(data, f"GET /{path} HTTP/1.0\r\n\r\n".encode())
    return [data for _, data in opened]


def _true(subject: Subject) -> float:
    began = time.perf_counter()
    client, streams = subject.exec("true")
    client.wait_for(streams["error"])
    client.close()
    return time.perf_counter() - began


def _engine_true(subject: Subject) -> float:
    """Measure the same exec with nothing between the client and the engine."""
    engine, path = subject.ground.engine, f"/containers/{subject.container}/exec"
    began = time.perf_counter()
    created = engine.post(path, {"AttachStdout": True, "AttachStderr": True, "Cmd": ["true"]})
    engine.request("POST", f"/exec/{created['Id']}/start", {"Detach": False})
    engine.get(f"/exec/{created['Id']}/json")
    return time.perf_counter() - began


def _at_once(measured: Callable[[Subject], float]) -> Callable[[Subject], float]:
    """Return a measurement of the time until the last of several parallel runs has ended."""

    def all_of_them(subject: Subject) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda _: measured(subject), range(_PARALLEL)))
        return time.perf_counter() - began

    return all_of_them


def _requests(subject: Subject) -> float:
    """Measure the time for all requests."""
    client = subject.forward()
    began = time.perf_counter()
    for first in range(0, _REQUESTS, _TOGETHER):
        data = _get(client, "small", _TOGETHER, first)
        # HTTP clients know where a response ends, and finish then: containerd 1.6 would wait for a second.
        client.wait_for_data(*data, end=b"hello\n")
        client.finish(*data)
        client.wait_for(*data)
    seconds = time.perf_counter() - began
    client.close()
    return seconds


def _check(right: bool, problem: str) -> None:
    if not right:
        raise RuntimeError(problem)
