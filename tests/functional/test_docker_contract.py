"""The contract of IDocker on real engines, which the memory engine imitates."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from criwist.docker.agent import connections
from criwist.docker.client import Docker
from tests.doubles import contract_situation as contract
from tests.doubles.docker_contract import docker_contract
from tests.harness.clock import scaled
from tests.harness.engine import Engine
from tests.harness.images import BUSYBOX


class EngineCase(TestCase):
    """Runs scenarios on the reactor, each on an engine without containers."""

    timeout = scaled(60)
    #: The name of a newer engine; empty for the shared one.
    newer = ""
    engine: Engine

    @pytest.fixture(autouse=True)
    def _take_engine(self, request: pytest.FixtureRequest) -> None:
        fixture = request.getfixturevalue("engine_named" if self.newer else "engine")
        self.engine = fixture(self.newer) if self.newer else fixture

    def situation(self) -> contract.Situation:
        """Return the engine without containers."""
        from twisted.internet import reactor

        self.engine.remove_containers()
        engine_connections = connections(reactor, self.engine.endpoint)
        self.addCleanup(engine_connections.close)
        self.addCleanup(self.engine.remove_containers)
        return contract.Situation(Docker(reactor, engine_connections), reactor, BUSYBOX)

    def carry_out(self, scenario: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run a scenario on the reactor."""
        return Deferred.fromCoroutine(scenario)


EngineTests = docker_contract(EngineCase)


class _On26(EngineCase):
    """The contract on API 1.45."""

    newer = "docker-26"


class _On28WithContainerd(EngineCase):
    """The contract on API 1.51 with the containerd image store."""

    newer = "docker-28-containerd"


Docker26Tests = docker_contract(_On26)
Docker28WithContainerdTests = docker_contract(_On28WithContainerd)
