"""What every provider of ``IDocker`` keeps: the tests that the memory engine and a real one both pass.

:func:`docker_contract` makes a test case of them.  A scenario is a coroutine; who makes the case says how it is
carried out, on a memory clock or on a running reactor.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from criwist.interfaces.engine import IDocker
from tests.doubles.contract_containers import ContainerScenarios
from tests.doubles.contract_images import ImageScenarios
from tests.doubles.contract_situation import Scenarios, Situation, scenario
from tests.doubles.contract_streams import StreamScenarios


class EngineScenarios(Scenarios):
    """The provider itself."""

    @scenario
    async def test_it_provides_the_interface(self, situation: Situation) -> None:
        """All methods are there with their arguments."""
        verifyObject(IDocker, situation.docker)

    @scenario
    async def test_connecting_tells_the_facts(self, situation: Situation) -> None:
        """connect() gives what facts then holds, and can be repeated."""
        facts = await situation.docker.connect()
        self.assertEqual(facts, situation.docker.facts)
        self.assertEqual(facts, await situation.docker.connect())
        self.assertGreaterEqual(facts.api_version, (1, 41))
        self.assertIn("runc", facts.runtimes)
        self.assertTrue(facts.id and facts.version)
        await situation.docker.ping()
        self.assertEqual((await situation.docker.info())["ID"], facts.id)


def docker_contract(case: type) -> type:
    """A test case with all scenarios.

    :param case: a trial test case with ``situation()``, which gives a :class:`Situation` without containers, and
        ``carry_out(coroutine)``, the result of which a test returns.
    """
    scenarios = (EngineScenarios, ContainerScenarios, StreamScenarios, ImageScenarios)
    # Named and placed like the case, by which test runners know it.
    return type(case.__name__, (*scenarios, case), {"__module__": case.__module__, "__doc__": case.__doc__})
