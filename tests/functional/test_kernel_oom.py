"""The engine can set the floor of oom_score_adj that criwist computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from criwist.kernel.oom_score_floor import LEAST_SCORE, engine_pid, local_oom_score_floor
from criwist.kernel.process_identity import CAP_SYS_RESOURCE, read_identity
from tests.harness import images
from tests.harness.engine import Engine, EngineError


def _start(engine: Engine, score: int) -> int:
    """Start a container with *score*; return its oom_score_adj."""
    body = {
        "Image": images.BUSYBOX,
        "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "none", "OomScoreAdj": score},
    }
    identifier = engine.post("/containers/create", body)["Id"]
    try:
        engine.post(f"/containers/{identifier}/start")
        pid = engine.inspect(identifier)["State"]["Pid"]
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    finally:
        engine.delete(f"/containers/{identifier}", force="1", v="1")


def test_engine_is_found(engine: Engine) -> None:
    """The process of the socket is this engine's dockerd and not another one's."""
    pid = engine_pid(engine.endpoint)
    assert str(pid) == (engine.root / "pid").read_text()


def test_floor_can_be_set(engine: Engine) -> None:
    """A container with the floor as its score starts, and has that score."""
    floor = local_oom_score_floor(engine.endpoint)
    assert floor is not None
    assert _start(engine, floor) == floor
    assert _start(engine, 1000) == 1000


def test_below_the_floor(engine: Engine) -> None:
    """Without CAP_SYS_RESOURCE the engine fails for one below the floor; with it the floor is the kernel's."""
    floor = local_oom_score_floor(engine.endpoint)
    assert floor is not None
    pid = engine_pid(engine.endpoint)
    assert pid is not None
    if read_identity(pid).bounding >> CAP_SYS_RESOURCE & 1:
        assert floor == LEAST_SCORE
        return
    with pytest.raises(EngineError):
        _start(engine, floor - 1)
