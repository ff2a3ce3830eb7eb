"""Log rotation by kubelet: it renames a log that is too large, has the runtime reopen it, compresses and removes.

kubelet looks at the logs every ten seconds.  There is no test of a client that follows a log over a rotation: kubelet's
own reader stops there now and then before 1.27 (kubernetes#115701).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.clock import eventually
from tests.harness.crilogs import files, flood_until, lines, log_path, numbers
from tests.harness.kubelet import Kubelet, manifest, phase, running

pytestmark = pytest.mark.second_opinion

_STOP = "/tmp/enough"
#: Numbered lines, about two megabytes a second, until ``_STOP`` exists; the last one is ``NUMBER end``.
_PACED = flood_until(_STOP, burst=4000).replace("; done;", "; sleep 0.2; done;")


def _rotating(kubelet_factory: Callable[..., Kubelet], most: int) -> Kubelet:
    return kubelet_factory(configuration={"containerLogMaxSize": "1Mi", "containerLogMaxFiles": most})


def _start(kubelet: Kubelet, script: str) -> tuple[str, Path]:
    """Run a pod with this script; returns its name and the path of its log."""
    pod = kubelet.run_pod(manifest("sh", "-c", script, restart="Never"), until=running)
    return pod["metadata"]["name"], log_path(kubelet.cri, kubelet.container_id(pod))


def _end(kubelet: Kubelet, name: str) -> None:
    """Stop the flood and wait until the container has ended."""
    kubelet.output(name, "touch", _STOP)
    kubelet.wait_for(name, phase("Succeeded"), within=90)


def _settled(path: Path) -> list[int]:
    """Return the numbers of all lines in the log's files once kubelet has finished with them."""

    def look() -> list[int]:
        names = {file.name for file in files(path)}
        # A file is compressed beside the old one: for a moment there are two, or a part of the new one.
        assert not any(name.endswith(".tmp") or f"{name}.gz" in names for name in names), names
        try:
            found = lines(path)
        except (OSError, EOFError) as error:
            raise AssertionError(f"kubelet still compresses: {error}") from error
        assert found[-1].content.endswith(b" end")
        return numbers(found)

    return eventually(look, within=60)


def test_flood(kubelet_factory: Callable[..., Kubelet]) -> None:
    """While a container floods, rotation loses nothing: each line is there once and in order, in all files together.

    What kubelet serves is the end of the newest file.
    """
    kubelet = _rotating(kubelet_factory, 100)
    name, path = _start(kubelet, _PACED)
    eventually(lambda: len(files(path)) > 1, within=90, what="kubelet has rotated the log")
    _end(kubelet, name)
    found = _settled(path)
    assert found == list(range(found[-1] + 1))
    assert kubelet.logs(name, tailLines="1") == f"{found[-1]} end\n"
    # Rotated between the last lines or not: what is served is a part of the end, in order.
    served = [int(line.split(" ")[0]) for line in kubelet.logs(name).splitlines()]
    assert served == found[-len(served) :]


@pytest.mark.long
def test_compression_and_removal(kubelet_factory: Callable[..., Kubelet]) -> None:
    """kubelet compresses all rotated files but the newest, and removes the oldest ones beyond its limit."""
    kubelet = _rotating(kubelet_factory, 3)
    name, path = _start(kubelet, _PACED)
    eventually(lambda: any(file.suffix == ".gz" for file in files(path)), within=120)
    first = files(path)[0]
    eventually(lambda: not first.exists() and len(files(path)) == 3, within=120, what="the oldest file is removed")
    _end(kubelet, name)
    found = _settled(path)
    assert len(files(path)) == 3
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] > 0
