"""The contract of ``IDocker`` for containers."""

from __future__ import annotations

from collections.abc import Mapping

from criwist import errors
from criwist.docker.error_responses import is_not_running, name_holder
from tests.doubles.contract_situation import FAIL, MISSING, SPEAK, STUBBORN, Scenarios, Situation, scenario


class ContainerScenarios(Scenarios):
    """The life of containers, and lists of them."""

    @scenario
    async def test_a_container_is_created_and_inspected(self, situation: Situation) -> None:
        """A new container has the name and the labels of the request, and has never started."""
        container = await situation.created("one", Labels={"a": "b"})
        document = await situation.docker.inspect_container(container)
        self.assertEqual(document["Id"], container)
        self.assertEqual(document["Name"], "/one")
        self.assertEqual(document["Config"]["Labels"]["a"], "b")
        self.assertEqual(document["State"]["Status"], "created")
        self.assertEqual(document["State"]["StartedAt"], "0001-01-01T00:00:00Z")
        image = await situation.docker.inspect_image(situation.image)
        self.assertEqual(document["Image"], image["Id"])

    @scenario
    async def test_starting_twice_is_success(self, situation: Situation) -> None:
        """Starting a running container succeeds and changes nothing."""
        container = await situation.running("one")
        before = await situation.docker.inspect_container(container)
        await situation.docker.start_container(container)
        after = await situation.docker.inspect_container(container)
        self.assertEqual(after["State"], before["State"])
        self.assertTrue(after["State"]["Running"])
        self.assertGreater(after["State"]["Pid"], 0)

    @scenario
    async def test_an_exit_code_is_kept(self, situation: Situation) -> None:
        """A container whose process exits keeps the exit code."""
        state = await situation.exited(await situation.running("one", FAIL))
        self.assertEqual((state["ExitCode"], state["Pid"], state["Running"]), (3, 0, False))

    @scenario
    async def test_a_stop_without_grace_kills(self, situation: Situation) -> None:
        """A stop with a grace of 0 kills a process that ignores the stop signal; the container has exited then."""
        container = await situation.running("one", STUBBORN)
        await situation.docker.stop_container(container, 0)
        state = (await situation.docker.inspect_container(container))["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 137))

    @scenario
    async def test_stopping_twice_is_success(self, situation: Situation) -> None:
        """Stopping an exited container succeeds."""
        container = await situation.running("one", SPEAK)
        await situation.exited(container)
        await situation.docker.stop_container(container, 0)

    @scenario
    async def test_kill_needs_a_running_container(self, situation: Situation) -> None:
        """Killing an exited container fails with an error that the client recognises."""
        container = await situation.running("one")
        await situation.docker.kill_container(container, "SIGKILL")
        await situation.exited(container)
        error = await self.raises(errors.FailedPrecondition, situation.docker.kill_container(container, "TERM"))
        self.assertTrue(is_not_running(error))

    @scenario
    async def test_a_running_container_is_removed_by_force_alone(self, situation: Situation) -> None:
        """Removal of a running container fails without force, and succeeds with it."""
        docker, container = situation.docker, await situation.running("one")
        await self.raises(errors.FailedPrecondition, docker.remove_container(container, force=False, volumes=True))
        await docker.remove_container(container, force=True, volumes=True)
        error = await self.raises(errors.NotFound, docker.inspect_container(container))
        self.assertEqual((error.kind, error.name), ("container", container))

    @scenario
    async def test_unknown_containers_are_not_found(self, situation: Situation) -> None:
        """Every call for an unknown container raises NotFound with its name."""
        docker = situation.docker
        for call in (
            docker.inspect_container("absent"),
            docker.start_container("absent"),
            docker.stop_container("absent", 1),
            docker.kill_container("absent", "KILL"),
            docker.remove_container("absent", force=True, volumes=True),
            docker.rename_container("absent", "other"),
            docker.update_container("absent", {"CpuShares": 2}),
            docker.create_exec("absent", {"Cmd": ["true"]}),
            docker.attach_container("absent", stdin=False, stdout=True, stderr=True, tty=False),
            docker.logs("absent", {"stdout": "1"}),
        ):
            error = await self.raises(errors.NotFound, call)
            self.assertEqual((error.kind, error.name), ("container", "absent"))

    @scenario
    async def test_a_container_of_an_unknown_image(self, situation: Situation) -> None:
        """Creating a container of an unknown image raises NotFound for the image, not for the container."""
        call = situation.docker.create_container("one", {"Image": "criwist.test/absent:1", "Cmd": ["true"]})
        error = await self.raises(errors.NotFound, call)
        self.assertEqual((error.kind, error.name), ("image", "criwist.test/absent:1"))

    @scenario
    async def test_a_name_conflict_names_the_holder(self, situation: Situation) -> None:
        """The error of a create or a rename to a used name has the id of the container with that name."""
        holder = await situation.created("one")
        error = await self.raises(errors.FailedPrecondition, situation.created("one"))
        self.assertEqual(name_holder(error), holder)
        other = await situation.created("two")
        error = await self.raises(errors.FailedPrecondition, situation.docker.rename_container(other, "one"))
        self.assertEqual(name_holder(error), holder)

    @scenario
    async def test_a_renamed_container_has_its_new_name(self, situation: Situation) -> None:
        """A rename gives the container its new name and frees the old one."""
        container = await situation.created("one")
        await situation.docker.rename_container(container, "two")
        self.assertEqual((await situation.docker.inspect_container("two"))["Id"], container)
        await situation.created("one")

    @scenario
    async def test_an_update_is_inspected(self, situation: Situation) -> None:
        """The next inspect returns updated resources."""
        container = await situation.running("one")
        await situation.docker.update_container(container, {"CpuShares": 77})
        document = await situation.docker.inspect_container(container)
        self.assertEqual(document["HostConfig"]["CpuShares"], 77)

    @scenario
    async def test_a_missing_program_fails_the_start(self, situation: Situation) -> None:
        """The start raises the runtime's error text; the container stays created and keeps code and text."""
        container = await situation.created("one", MISSING)
        error = await self.raises(errors.CriwistError, situation.docker.start_container(container))
        self.assertIn("no such file or directory", str(error))
        state = (await situation.docker.inspect_container(container))["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("created", 127))
        self.assertIn("no such file or directory", state["Error"])

    @scenario
    async def test_containers_are_listed_by_label(self, situation: Situation) -> None:
        """Lists filter by label, with and without a value, and by id; they have containers that do not run too."""
        one = await situation.created("one", Labels={"kind": "a", "x": "1"})
        two = await situation.running("two", Labels={"kind": "b", "x": "1"})

        async def listed(filters: Mapping[str, list[str]]) -> list[str]:
            return [item["Id"] for item in await situation.docker.containers(filters)]

        self.assertEqual(await listed({"label": ["x=1"]}), [two, one])
        self.assertEqual(await listed({"label": ["x", "kind=a"]}), [one])
        self.assertEqual(await listed({"id": [one]}), [one])
        self.assertEqual(await listed({"label": ["kind=c"]}), [])
