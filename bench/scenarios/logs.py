"""Logs: floods from container to CRI file, by each source and beside containerd; and many quiet ones.

The container writes a flood as fast as it can; the clock runs from StartContainer until the CRI file is whole.  CPU is
that of the daemon that writes the CRI file and, for criwist, of dockerd, which receives the container's output, stores
it and, through the API, sends it again: their ratio should be small.  containerd does it all by itself.  Meanwhile the
benchmark reads the container's status four times a second.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, frozen

from bench.ground import Ground
from bench.measure import cpu_seconds, resident
from bench.table import Table, mebibytes, milliseconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.daemon import Daemon
from tests.harness.far import FarDaemon

#: Time limit of one flood, in seconds.
_LIMIT = 600.0
#: Seconds between reads of the file, and between reads of the container's status, each of which costs the runtime
#: CPU, too.
_FILE_POLL = 0.02
_STATUS_POLL = 0.25
#: The mark of a line that a newline ended; the written content does not contain it.
_ENDS_LINE = b" stdout F "
_BLOCK = 4 << 20


@frozen
class Flood:
    """Equal lines: how many, and of how many bytes, their newline included."""

    lines: int
    width: int

    @property
    def command(self) -> Sequence[str]:
        """The command that writes them, in blocks of about 64 KiB, so that the writer is not the bottleneck."""
        each = max(65536 // self.width, 1)
        script = (
            f'BEGIN {{ line = sprintf("%{self.width - 1}s", ""); gsub(/ /, "x", line); '
            f'for (i = 0; i < {each}; i++) block = block line "\\n"; '
            f'for (i = 0; i < {self.lines // each}; i++) printf "%s", block }}'
        )
        return ("awk", script)

    @property
    def count(self) -> int:
        """Number of written lines: as many as fill whole blocks."""
        each = max(65536 // self.width, 1)
        return self.lines // each * each

    @property
    def size(self) -> int:
        """Number of written bytes."""
        return self.count * self.width


FLOODS = (Flood(2_000_000, 100), Flood(16_384, 65_536))


@frozen
class Measured:
    """The cost of a flood, in seconds and bytes of memory."""

    written: float
    whole: float
    cpu: float
    dockerd: float
    memory: int
    #: Latencies of ContainerStatus.
    answers: tuple[float, ...]


def run(ground: Ground) -> Iterator[Table]:
    """Yield one table for each flood, and one for many quiet containers."""
    for flood in FLOODS:
        yield _floods(ground, flood)
    yield _many(ground)


def _floods(ground: Ground, flood: Flood) -> Table:
    table = Table(
        f"{flood.count:,} lines of {flood.width:,} bytes, {flood.size / 1e6:,.0f} MB",
        ("by", "written", "file whole", "its CPU", "dockerd's CPU", "ratio", "its memory", "its answers meanwhile"),
    )
    options = {"container_log_driver": "local", "container_log_max_size": "4g", "container_log_max_files": "2"}
    ways: list[tuple[str, Daemon]] = [
        ("criwist, json-file", Daemon(ground.root / "logs-json", ground.engine.endpoint)),
        ("criwist, local", Daemon(ground.root / "logs-local", ground.engine.endpoint, **options)),
        ("criwist, API on json-file", FarDaemon(ground.root / "logs-far-json", ground.engine)),
        ("criwist, API on local", FarDaemon(ground.root / "logs-far-local", ground.engine, **options)),
    ]
    for name, daemon in ways:
        daemon.start()
        cri = CRI("criwist", daemon.socket, daemon.root, lambda archive: images.load(ground.engine, archive))
        try:
            measured = measure_flood(cri, flood, daemon.pid, ground.engine.program.pid)
        finally:
            cri.clean()
            cri.close()
            daemon.stop()
        ratio = f"{measured.cpu / measured.dockerd:.2f}" if measured.dockerd else ""
        table.add(name, *_seconds(measured), f"{measured.dockerd:.1f} s", ratio, *_daemon(measured))
    cri = ground.client("containerd")
    measured = measure_flood(cri, flood, ground.pid(cri), 0)
    table.add("containerd", *_seconds(measured), "", "", *_daemon(measured))
    return table


def _seconds(measured: Measured) -> tuple[str, str, str]:
    return f"{measured.written:.1f} s", f"{measured.whole:.1f} s", f"{measured.cpu:.1f} s"


def _daemon(measured: Measured) -> tuple[str, str]:
    answers = f"{milliseconds(statistics.median(measured.answers))}, at most {milliseconds(max(measured.answers))}"
    return mebibytes(measured.memory), answers


def measure_flood(cri: CRI, flood: Flood, pid: int, dockerd: int) -> Measured:
    """Measure a container that writes *flood*, and remove it."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container(*flood.command), pod)
    path = Path(pod.log_directory, cri.status(container_id).log_path.rpartition("/")[2])
    reader = _Reader(path)
    before = cpu_seconds(pid), cpu_seconds(dockerd) if dockerd else 0.0
    began = time.monotonic()
    cri.start(container_id)
    written, memory, asked = 0.0, 0, began
    answers = []
    while not (written and reader.ended == flood.count):
        if time.monotonic() - began > _LIMIT:
            raise RuntimeError(f"the log of {cri.name} is not whole after {_LIMIT:g} s: {path.stat().st_size} bytes")
        time.sleep(_FILE_POLL)
        reader.read()
        memory = max(memory, resident(pid))
        if not written and time.monotonic() - asked > _STATUS_POLL:
            asked = time.monotonic()
            exited = cri.status(container_id).state == api.CONTAINER_EXITED
            answers.append(time.monotonic() - asked)
            if exited:
                written = asked - began
    whole = time.monotonic() - began
    # The poll recognizes a whole file a moment late.
    cpu = cpu_seconds(pid) - before[0], (cpu_seconds(dockerd) if dockerd else 0.0) - before[1]
    _check(path, flood)
    cri.remove(container_id)
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)
    path.unlink()
    return Measured(written, whole, cpu[0], cpu[1], memory, tuple(answers))


@define
class _Reader:
    """Reads the end of a growing log, and no byte twice, because its CPU is taken from the measured daemons."""

    _path: Path
    _offset: int = 0
    #: Lines that have ended so far.
    ended: int = 0

    def read(self) -> None:
        """Count the lines that were added."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while data := file.read(_BLOCK):
                whole = data.rfind(b"\n") + 1
                self.ended += data.count(_ENDS_LINE, 0, whole)
                self._offset += whole
                if not whole:
                    break
                file.seek(self._offset)


def _check(path: Path, flood: Flood) -> None:
    """Compare the size of the file's content with the written size.

    :raises RuntimeError: they differ.
    """
    content = newlines = 0
    with path.open("rb") as file:
        for line in file:
            head = b" ".join(line[:60].split(b" ", 3)[:3])
            newlines += head.endswith(b" F")
            content += len(line) - len(head) - 2
    if content + newlines != flood.size:
        raise RuntimeError(f"{path} holds {content + newlines} bytes of {flood.size}")


def _many(ground: Ground) -> Table:
    """Measure followers of files that grow as Docker's do; the engine could not run that many containers here."""
    table = Table(
        "containers that write a line a second each, criwist's followers alone",
        ("containers", "CPU per second", "memory for them"),
    )
    for count in (100, 500):
        command = [sys.executable, "-m", "bench.many_logs", str(ground.root / "many-logs"), str(count)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
        table.add(
            str(count),
            f"{answer['cpu'] * 1e3:.0f} ms",
            mebibytes(answer["memory"]),
        )
    return table
