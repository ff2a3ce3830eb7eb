"""An engine whose containers log to the journal: criwist writes the CRI log too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.crilogs import lines, log_path, numbers
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd/journal/socket").exists(), reason="needs systemd's journal, where dockerd can read it"
)

COUNTING = ("sh", "-c", "trap 'exit 0' TERM; n=0; while :; do echo $n x; n=$((n+1)); sleep 0.2 & wait $!; done")


@pytest.fixture(scope="module")
def journald(engine_factory: Callable[..., Engine]) -> Engine:
    """An engine with the log driver journald."""
    engine = engine_factory(flags=["--log-driver=journald"])
    engine.start()
    images.load(engine, images.image(images.BUSYBOX).archive(images.BUSYBOX))
    return engine


def test_journald(journald: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]) -> None:
    """The CRI log has every line once, over a restart of criwist, and the journal has them as well."""
    daemon = criwist_daemon(engine=journald)
    daemon.start()
    cri = client_of(daemon)
    _, container_id = cri.run_in_pod(*COUNTING)
    path = log_path(cri, container_id)
    eventually(lambda: len(lines(path)) > 5)
    daemon.stop()
    before = len(lines(path))
    daemon.start()
    eventually(lambda: len(lines(path)) > before + 10)
    cri.stop(container_id)
    counted = eventually(lambda: numbers(lines(path)))
    assert counted == list(range(len(counted)))
    command = ["journalctl", "--no-pager", "--output=cat", f"CONTAINER_ID_FULL={container_id}"]

    def kept() -> bool:
        kept = subprocess.run(command, check=True, capture_output=True, text=True, timeout=scaled(60)).stdout
        return [int(line.split()[0]) for line in kept.splitlines()] == counted

    eventually(kept)
