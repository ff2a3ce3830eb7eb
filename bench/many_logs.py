"""``python -m bench.many_logs DIRECTORY COUNT``: measure the cost of following many logs that grow by a line a second.

A child process writes entries as Docker would.  Prints JSON: CPU seconds per second of this process, and the growth of
its resident memory since before the first log was followed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.measure import resident
from criwist.config import Config
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.logs import LoggedContainer
from criwist.logs.container_logs import ContainerLogs
from criwist.wire.crilog import time_text

_SECONDS = 10


@frozen
class _Engine:
    """The part of IDocker that the followers of files use."""

    facts: EngineFacts


def main(directory: Path, count: int) -> None:
    """Measure, and print the result."""
    from twisted.internet import reactor

    identifiers = [f"{number:064x}" for number in range(count)]
    for identifier in identifiers:
        (directory / "containers" / identifier).mkdir(parents=True)
    writer = os.fork()
    if not writer:
        _write(directory, identifiers)
    docker: Any = _Engine(EngineFacts(root_directory=str(directory)))
    logs = ContainerLogs(Config(root_directory=str(directory / "state")), docker, reactor)
    before = resident(os.getpid())
    for identifier in identifiers:
        logs.follow(LoggedContainer(identifier, str(directory / "pods" / f"{identifier}.log"), False))
    timed: list[float] = []
    clock: Any = reactor
    clock.callLater(2, lambda: timed.append(time.process_time()))
    clock.callLater(2 + _SECONDS, lambda: timed.append(time.process_time()))
    clock.callLater(2 + _SECONDS, clock.stop)
    clock.run()
    memory = resident(os.getpid()) - before
    logs.stop()
    os.kill(writer, 9)
    os.waitpid(writer, 0)
    print(json.dumps({"cpu": (timed[1] - timed[0]) / _SECONDS, "memory": memory}))


def _write(directory: Path, identifiers: list[str]) -> None:
    """Write a line a second to each log, spread over the second."""
    files = [
        os.open(directory / "containers" / one / f"{one}-json.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for one in identifiers
    ]
    due = time.monotonic()
    while True:
        for file in files:
            due += 1 / len(files)
            time.sleep(max(due - time.monotonic(), 0))
            now = time_text(time.time_ns()).decode()
            os.write(file, f'{{"log":"{"x" * 99}\\n","stream":"stdout","time":"{now}"}}\n'.encode())


if __name__ == "__main__":
    root = Path(sys.argv[1])
    try:
        main(root, int(sys.argv[2]))
    finally:
        shutil.rmtree(root, ignore_errors=True)
