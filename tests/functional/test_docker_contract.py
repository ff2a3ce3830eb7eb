"""A real engine, behind the client, keeps what IDocker promises: what the memory engine imitates is so."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from criwist.docker.agent import connections
from criwist.docker.client import Docker
from criwist.testing import contract_situation as contract
from criwist.testing.docker_contract import docker_contract
from tests.harness.clock import scaled
from tests.harness.engine import Engine
from tests.harness.images import BUSYBOX


class EngineCase(TestCase):
    """Carries scenarios out on the reactor, each on an engine without containers."""

    timeout = scaled(60)
    engine: Engine

    @pytest.fixture(autouse=True)
    def _take_engine(self, engine: Engine) -> None:
        self.engine = engine

    def situation(self) -> contract.Situation:
        """The shared engine, emptied."""
        from twisted.internet import reactor

        self.engine.remove_containers()
        ways = connections(reactor, self.engine.endpoint)
        self.addCleanup(ways.close)
        self.addCleanup(self.engine.remove_containers)
        return contract.Situation(Docker(reactor, ways), reactor, BUSYBOX)

    def carry_out(self, scenario: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run it on the reactor."""
        return Deferred.fromCoroutine(scenario)


EngineTests = docker_contract(EngineCase)
