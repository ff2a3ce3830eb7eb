"""The memory engine, behind the real client, keeps what IDocker promises."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.doubles import contract_situation as contract
from tests.doubles.docker_contract import docker_contract
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_processes import Program

IMAGE = "criwist.test/image:1"
PROGRAMS = {
    (): Program(),
    contract.FAIL: Program(exit_code=3),
    contract.STUBBORN: Program(ignores=frozenset({"TERM"})),
    contract.SPEAK: Program(exit_code=0, stdout=b"out\n", stderr=b"err\n"),
    contract.ECHO: Program(echoes=True),
    contract.MISSING: Program(refusal="exec: /no/such/program: no such file or directory: unknown"),
}


class MemoryCase(SynchronousTestCase):
    """Runs the contract's scenarios against the memory engine."""

    def situation(self) -> contract.Situation:
        """A new engine."""
        self.clock = Clock()
        memory = MemoryDocker(self.clock, programs=PROGRAMS)
        memory.images.add(IMAGE, config={"Cmd": ["sh"]})
        return contract.Situation(memory.client, self.clock, IMAGE)

    def carry_out(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Run a scenario to the end, advancing the clock where the scenario waits for it."""
        done = Deferred.fromCoroutine(scenario)
        self.clock.pump([0.05] * 100)
        self.successResultOf(done)


MemoryDockerTests = docker_contract(MemoryCase)
