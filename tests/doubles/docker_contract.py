"""The contract of ``IDocker``: the tests that the client passes on the memory engine and on a real one.

:func:`docker_contract` makes a test case of them.  A scenario is a coroutine; the test case runs it on a memory clock
or on a running reactor.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from criwist.interfaces.engine import IDocker
from tests.doubles.contract_containers import ContainerScenarios
from tests.doubles.contract_images import ImageScenarios
from tests.doubles.contract_situation import Scenarios, Situation, scenario
from tests.doubles.contract_streams import StreamScenarios


class EngineScenarios(Scenarios):
    """The provider and its connection."""

    @scenario
    async def test_it_provides_the_interface(self, situation: Situation) -> None:
        """The provider has all methods of the interface with their arguments."""
        verifyObject(IDocker, situation.docker)

    @scenario
    async def test_connecting_returns_the_facts(self, situation: Situation) -> None:
        """connect() returns the facts that ``facts`` has from then on, and can be repeated."""
        facts = await situation.docker.connect()
        self.assertEqual(facts, situation.docker.facts)
        self.assertEqual(facts, await situation.docker.connect())
        self.assertGreaterEqual(facts.api_version, (1, 41))
        self.assertIn("runc", facts.runtimes)
        self.assertTrue(facts.id and facts.version)
        await situation.docker.ping()
        self.assertEqual((await situation.docker.info())["ID"], facts.id)


def docker_contract(case: type) -> type:
    """Return a test case with all scenarios.

    :param case: a trial test case with ``situation()``, which returns a :class:`Situation` without containers, and
        ``carry_out(coroutine)``, which returns the result of the test.
    """
    scenarios = (EngineScenarios, ContainerScenarios, StreamScenarios, ImageScenarios)
    # Test runners know the new class by the name and the module of the case.
    return type(case.__name__, (*scenarios, case), {"__module__": case.__module__, "__doc__": case.__doc__})
