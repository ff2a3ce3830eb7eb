"""The calls of newer kubelets and of crictl, replayed on criwist and on the newest containerd that Debian has.

Each file of ``replays/`` is a script (``harness.replay_script``).  Both runtimes get its calls, and their answers are
compared field by field.  A script explains each difference, and the explanation of a difference that is gone fails.
Engine and containerd are pinned, in one bundle, so that the explanations hold on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.pushed_images import push_new
from tests.harness.client import CRI
from tests.harness.containerd import NEWEST_BUNDLE, Containerd
from tests.harness.engine import Engine
from tests.harness.registry import Registry
from tests.harness.replay import Replay
from tests.harness.replay_answers import Comparison
from tests.harness.replay_script import Script, read_script

pytestmark = pytest.mark.newer_engines(NEWEST_BUNDLE, only=True)

SCRIPTS = [read_script(path) for path in sorted(Path(__file__).with_name("replays").glob("*.cri"))]


@pytest.fixture
def containerd(newest_containerd: Containerd) -> Iterator[CRI]:
    """A client of the newest containerd; every pod it has at the end of the test is removed."""
    client = CRI("containerd", newest_containerd.socket, newest_containerd.root, newest_containerd.load)
    yield client
    client.clean()
    client.close()


@pytest.fixture
def pushed(engine_of_cri: Engine, registry: Registry) -> str:
    """A reference of an image that only a registry has."""
    repository, _ = push_new(engine_of_cri, registry)
    return f"{repository}:1"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.removesuffix(".cri"))
def test_replay(script: Script, cri: CRI, containerd: CRI, request: pytest.FixtureRequest) -> None:
    """criwist answers as containerd does, and as the script expects, but for the differences that it explains."""
    pulls = any("$pushed" in step.request for step in script.steps)
    variables = {"pushed": request.getfixturevalue("pushed")} if pulls else {}
    ours, theirs = (Replay(script, runtime, dict(variables)).run() for runtime in (cri, containerd))
    complaints = Comparison(script).of(ours, theirs)
    assert not complaints, "\n".join([script.about, *complaints])
