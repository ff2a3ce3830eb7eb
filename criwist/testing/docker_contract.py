"""What every provider of ``IDocker`` keeps: the tests that the memory engine and a real one both pass.

:func:`docker_contract` makes a test case of them.  A scenario is a coroutine; who makes the case says how it is
carried out, on a memory clock or on a running reactor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from criwist import errors
from criwist.docker.faults import name_holder, says_image_in_use, says_not_running
from criwist.interfaces import IDocker, IHijackedStream, JSONObject
from criwist.wire.stdcopy import Demultiplexer, Stream

#: Attempts of :meth:`Situation.eventually`, and seconds between them.
_ATTEMPTS = 200
_PAUSE = 0.05

SLEEP = ("sleep", "1000")
FAIL = ("sh", "-c", "exit 3")
STUBBORN = ("sh", "-c", "trap '' TERM; while true; do sleep 1; done")
SPEAK = ("sh", "-c", "echo out; echo err >&2")
ECHO = ("cat",)
MISSING = ("/no/such/program",)


@frozen
class Situation:
    """An engine, and what a scenario needs beside it."""

    docker: IDocker
    clock: IReactorTime
    #: A reference of an image that is there and has ``sh``.
    image: str

    async def eventually(self, look: Callable[[], Any]) -> Any:
        """What *look* returns or comes to return, when it is true."""
        for _ in range(_ATTEMPTS):
            result = look()
            if isinstance(result, Coroutine):
                result = await result
            if result:
                return result
            await deferLater(self.clock, _PAUSE, lambda: None)
        raise AssertionError(f"{look} did not come true")

    async def created(self, name: str, command: tuple[str, ...] = SLEEP, **body: Any) -> str:
        """The id of a new container."""
        return await self.docker.create_container(name, {"Image": self.image, "Cmd": list(command), **body})

    async def running(self, name: str, command: tuple[str, ...] = SLEEP, **body: Any) -> str:
        """The id of a new, started container."""
        container = await self.created(name, command, **body)
        await self.docker.start_container(container)
        return container

    async def exited(self, container: str) -> JSONObject:
        """The container's State when it has exited."""

        async def look() -> JSONObject | None:
            state: JSONObject = (await self.docker.inspect_container(container))["State"]
            return state if state["Status"] == "exited" else None

        found: JSONObject = await self.eventually(look)
        return found

    async def exec(self, container: str, command: tuple[str, ...], **body: Any) -> str:
        """The id of a new exec with output attached."""
        return await self.docker.create_exec(
            container, {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **body}
        )


class Output(Protocol):
    """Collects what a hijacked stream brings; ``ended`` fires when it ends."""

    def __init__(self, stream: IHijackedStream) -> None:
        self.ended: Deferred[None] = Deferred()
        self.text: dict[Stream, bytes] = {}
        self._frames = Demultiplexer() if stream.multiplexed else None
        stream.start(self)

    @property
    def pipe(self) -> Any:
        """The transport."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """Sort it by stream."""
        if self._frames is None:
            self.text[Stream.STDOUT] = self.text.get(Stream.STDOUT, b"") + data
            return
        for chunk in self._frames.receive_data(data):
            self.text[chunk.stream] = self.text.get(chunk.stream, b"") + bytes(chunk.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self.ended.callback(None)


class Feed:
    """Follows the events of containers and images whose attributes name the scenario's."""

    def __init__(self, docker: IDocker, since: str = "") -> None:
        self.seen: list[JSONObject] = []
        self.connected: Deferred[None] = Deferred()
        self.end: Deferred[None] = Deferred.fromCoroutine(
            docker.events(since, lambda: self.connected.callback(None), self.seen.append)
        )

    def actions(self, container: str) -> list[str]:
        """What befell the container so far."""
        return [event["Action"] for event in self.seen if event["Actor"]["ID"] == container]

    async def stop(self) -> None:
        """Follow no more."""
        self.end.cancel()
        try:
            await self.end
        except CancelledError:
            return


def _scenario(method: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    @functools.wraps(method)
    def test(self: Any) -> Any:
        return self.carry_out(method(self, self.situation()))

    return test


def docker_contract(case: type) -> type:
    """A test case.

    :param case: a trial test case with ``situation()``, which gives a :class:`Situation` without containers, and
        ``carry_out(coroutine)``, the result of which a test returns.
    """

    class DockerContractTests(case):  # type: ignore[misc]  # a base made at run time
        """Providers of IDocker."""

        def raises(self, kind: type[Exception], call: Coroutine[Any, Any, Any]) -> Deferred[Any]:
            """Fires with the exception that *call* raises."""

            def raised(failure: Failure) -> Any:
                failure.trap(kind)
                return failure.value

            def returned(result: Any) -> Any:
                raise self.failureException(f"{kind.__name__} was not raised, but {result!r} returned")

            return Deferred.fromCoroutine(call).addCallbacks(returned, raised)

        @_scenario
        async def test_it_provides_the_interface(self, situation: Situation) -> None:
            """All methods are there with their arguments."""
            verifyObject(IDocker, situation.docker)

        @_scenario
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

        # -- Life of a container

        @_scenario
        async def test_a_container_is_created_and_inspected(self, situation: Situation) -> None:
            """Name, labels and state of a new container are what was asked for."""
            container = await situation.created("one", Labels={"a": "b"})
            document = await situation.docker.inspect_container(container)
            self.assertEqual(document["Id"], container)
            self.assertEqual(document["Name"], "/one")
            self.assertEqual(document["Config"]["Labels"]["a"], "b")
            self.assertEqual(document["State"]["Status"], "created")
            self.assertEqual(document["State"]["StartedAt"], "0001-01-01T00:00:00Z")
            image = await situation.docker.inspect_image(situation.image)
            self.assertEqual(document["Image"], image["Id"])

        @_scenario
        async def test_starting_twice_is_success(self, situation: Situation) -> None:
            """A running container can be started, to no effect."""
            container = await situation.running("one")
            before = await situation.docker.inspect_container(container)
            await situation.docker.start_container(container)
            after = await situation.docker.inspect_container(container)
            self.assertEqual(after["State"], before["State"])
            self.assertTrue(after["State"]["Running"])
            self.assertGreater(after["State"]["Pid"], 0)

        @_scenario
        async def test_an_exit_code_is_kept(self, situation: Situation) -> None:
            """A container that ends by itself is exited, with its code."""
            state = await situation.exited(await situation.running("one", FAIL))
            self.assertEqual((state["ExitCode"], state["Pid"], state["Running"]), (3, 0, False))

        @_scenario
        async def test_a_stop_without_grace_kills(self, situation: Situation) -> None:
            """A grace of 0 does not wait for a process that ignores the stop signal; the container is down after it."""
            container = await situation.running("one", STUBBORN)
            await situation.docker.stop_container(container, 0)
            state = (await situation.docker.inspect_container(container))["State"]
            self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 137))

        @_scenario
        async def test_stopping_twice_is_success(self, situation: Situation) -> None:
            """A stopped container can be stopped."""
            container = await situation.running("one", SPEAK)
            await situation.exited(container)
            await situation.docker.stop_container(container, 0)

        @_scenario
        async def test_kill_needs_a_running_container(self, situation: Situation) -> None:
            """A created or exited container cannot be killed, and the error can be told."""
            container = await situation.running("one")
            await situation.docker.kill_container(container, "SIGKILL")
            await situation.exited(container)
            error = await self.raises(errors.FailedPrecondition, situation.docker.kill_container(container, "TERM"))
            self.assertTrue(says_not_running(error))

        @_scenario
        async def test_a_running_container_is_removed_by_force_alone(self, situation: Situation) -> None:
            """Removal refuses a running container unless forced; then it is gone."""
            docker, container = situation.docker, await situation.running("one")
            await self.raises(errors.FailedPrecondition, docker.remove_container(container, force=False, volumes=True))
            await docker.remove_container(container, force=True, volumes=True)
            error = await self.raises(errors.NotFound, docker.inspect_container(container))
            self.assertEqual((error.kind, error.name), ("container", container))

        @_scenario
        async def test_unknown_containers_are_not_found(self, situation: Situation) -> None:
            """Every call about a container says so if there is none."""
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

        @_scenario
        async def test_a_container_of_an_unknown_image(self, situation: Situation) -> None:
            """The image is what is not found, not the container."""
            call = situation.docker.create_container("one", {"Image": "criwist.test/absent:1", "Cmd": ["true"]})
            error = await self.raises(errors.NotFound, call)
            self.assertEqual((error.kind, error.name), ("image", "criwist.test/absent:1"))

        @_scenario
        async def test_a_taken_name_tells_its_holder(self, situation: Situation) -> None:
            """Creation and renaming conflict with the container that has the name."""
            holder = await situation.created("one")
            error = await self.raises(errors.FailedPrecondition, situation.created("one"))
            self.assertEqual(name_holder(error), holder)
            other = await situation.created("two")
            error = await self.raises(errors.FailedPrecondition, situation.docker.rename_container(other, "one"))
            self.assertEqual(name_holder(error), holder)

        @_scenario
        async def test_a_renamed_container_has_its_new_name(self, situation: Situation) -> None:
            """And its old one is free."""
            container = await situation.created("one")
            await situation.docker.rename_container(container, "two")
            self.assertEqual((await situation.docker.inspect_container("two"))["Id"], container)
            await situation.created("one")

        @_scenario
        async def test_an_update_shows(self, situation: Situation) -> None:
            """Changed resources are in the next inspect."""
            container = await situation.running("one")
            await situation.docker.update_container(container, {"CpuShares": 77})
            document = await situation.docker.inspect_container(container)
            self.assertEqual(document["HostConfig"]["CpuShares"], 77)

        @_scenario
        async def test_a_missing_program_fails_the_start(self, situation: Situation) -> None:
            """The start raises the runtime's words; the container stays created, with code and words."""
            container = await situation.created("one", MISSING)
            error = await self.raises(errors.CriwistError, situation.docker.start_container(container))
            self.assertIn("no such file or directory", str(error))
            state = (await situation.docker.inspect_container(container))["State"]
            self.assertEqual((state["Status"], state["ExitCode"]), ("created", 127))
            self.assertIn("no such file or directory", state["Error"])

        # -- Lists

        @_scenario
        async def test_containers_are_listed_by_label(self, situation: Situation) -> None:
            """Filters by label with and without value; stopped containers are listed too."""
            one = await situation.created("one", Labels={"kind": "a", "x": "1"})
            two = await situation.running("two", Labels={"kind": "b", "x": "1"})

            async def listed(filters: Mapping[str, list[str]]) -> list[str]:
                return [item["Id"] for item in await situation.docker.containers(filters)]

            self.assertEqual(await listed({"label": ["x=1"]}), [two, one])
            self.assertEqual(await listed({"label": ["x", "kind=a"]}), [one])
            self.assertEqual(await listed({"id": [one]}), [one])
            self.assertEqual(await listed({"label": ["kind=c"]}), [])

        # -- Events

        @_scenario
        async def test_events_tell_a_container_s_life(self, situation: Situation) -> None:
            """Created, started, killed, died, destroyed, in that order, with labels and exit code."""
            feed = Feed(situation.docker)
            await feed.connected
            container = await situation.running("one", Labels={"my": "label"})
            await situation.docker.remove_container(container, force=True, volumes=True)
            await situation.eventually(lambda: "destroy" in feed.actions(container))
            await feed.stop()
            self.assertEqual(feed.actions(container), ["create", "start", "kill", "die", "destroy"])
            died = next(event for event in feed.seen if event["Action"] == "die")
            self.assertEqual(died["Type"], "container")
            self.assertEqual(died["Actor"]["Attributes"]["my"], "label")
            self.assertEqual(died["Actor"]["Attributes"]["exitCode"], "137")
            self.assertGreaterEqual(died["timeNano"], died["time"] * 10**9)

        @_scenario
        async def test_a_feed_is_resumed(self, situation: Situation) -> None:
            """``since`` brings the events from that moment on, and those that follow."""
            feed = Feed(situation.docker)
            await feed.connected
            container = await situation.created("one")
            await situation.eventually(lambda: feed.actions(container))
            await feed.stop()
            moment = feed.seen[-1]["timeNano"]
            await situation.docker.start_container(container)
            resumed = Feed(situation.docker, f"{moment // 10**9}.{moment % 10**9:09d}")
            await resumed.connected
            await situation.docker.kill_container(container, "KILL")
            await situation.eventually(lambda: "die" in resumed.actions(container))
            await resumed.stop()
            self.assertEqual(resumed.actions(container), ["create", "start", "kill", "die"])

        # -- Attach and exec

        @_scenario
        async def test_an_exec_s_output_and_exit_code(self, situation: Situation) -> None:
            """stdout and stderr come apart, the stream ends with the process, the code is kept, the event names it."""
            docker, container = situation.docker, await situation.running("one")
            feed = Feed(docker)
            await feed.connected
            exec_id = await situation.exec(container, SPEAK)
            self.assertIsNone((await docker.inspect_exec(exec_id))["ExitCode"])
            output = Output(await docker.start_exec(exec_id, tty=False))
            await output.ended
            self.assertEqual(output.text, {Stream.STDOUT: b"out\n", Stream.STDERR: b"err\n"})
            await situation.eventually(lambda: "exec_die" in feed.actions(container))
            await feed.stop()
            died = next(event for event in feed.seen if event["Action"] == "exec_die")
            self.assertEqual(died["Actor"]["Attributes"]["execID"], exec_id)
            document = await docker.inspect_exec(exec_id)
            self.assertEqual((document["Running"], document["ExitCode"]), (False, 0))

        @_scenario
        async def test_an_exec_s_input_ends_with_our_half(self, situation: Situation) -> None:
            """What is written comes to the process; closing our half ends its input, and output still comes."""
            container = await situation.running("one")
            exec_id = await situation.exec(container, ECHO, AttachStdin=True)
            output = Output(await situation.docker.start_exec(exec_id, tty=False))
            output.pipe.write(b"some ")
            output.pipe.write(b"words")
            output.pipe.loseWriteConnection()
            await output.ended
            self.assertEqual(output.text, {Stream.STDOUT: b"some words"})

        @_scenario
        async def test_a_terminal_s_output_is_raw(self, situation: Situation) -> None:
            """With a terminal the bytes are not in frames."""
            container = await situation.running("one")
            exec_id = await situation.exec(container, SPEAK, Tty=True)
            stream = await situation.docker.start_exec(exec_id, tty=True)
            self.assertFalse(stream.multiplexed)
            output = Output(stream)
            await output.ended
            self.assertEqual(output.text[Stream.STDOUT].replace(b"\r", b""), b"out\nerr\n")

        @_scenario
        async def test_an_exec_needs_a_running_container(self, situation: Situation) -> None:
            """Otherwise it cannot be created, and the error can be told."""
            error = await self.raises(errors.FailedPrecondition, situation.exec(await situation.created("one"), SPEAK))
            self.assertTrue(says_not_running(error))

        @_scenario
        async def test_unknown_execs_are_not_found(self, situation: Situation) -> None:
            """Inspect and start say so."""
            for call in (situation.docker.inspect_exec("absent"), situation.docker.start_exec("absent", tty=False)):
                error = await self.raises(errors.NotFound, call)
                self.assertEqual((error.kind, error.name), ("exec", "absent"))

        @_scenario
        async def test_an_attached_client_hears_the_container(self, situation: Situation) -> None:
            """Output from then on, input if the container takes it, and the end when it ends."""
            container = await situation.running("one", ECHO, OpenStdin=True, StdinOnce=True, AttachStdin=True)
            stream = await situation.docker.attach_container(container, stdin=True, stdout=True, stderr=True, tty=False)
            output = Output(stream)
            output.pipe.write(b"hello\n")
            await situation.eventually(lambda: output.text.get(Stream.STDOUT) == b"hello\n")
            output.pipe.loseWriteConnection()
            await output.ended
            self.assertEqual((await situation.exited(container))["ExitCode"], 0)

        @_scenario
        async def test_a_stream_can_be_aborted_before_its_start(self, situation: Situation) -> None:
            """And the container lives on."""
            container = await situation.running("one")
            stream = await situation.docker.attach_container(
                container, stdin=False, stdout=True, stderr=True, tty=False
            )
            stream.abort()
            stream.abort()
            self.assertTrue((await situation.docker.inspect_container(container))["State"]["Running"])

        # -- Images

        @_scenario
        async def test_images_are_tagged_and_untagged(self, situation: Situation) -> None:
            """A second tag is in inspect and list; removing it leaves the image with its first."""
            docker = situation.docker
            await docker.tag_image(situation.image, repository="criwist.test/second", tag="2")
            document = await docker.inspect_image("criwist.test/second:2")
            self.assertEqual(set(document["RepoTags"]), {situation.image, "criwist.test/second:2"})
            listed = await docker.images({"reference": ["criwist.test/second:2"]})
            self.assertEqual([item["Id"] for item in listed], [document["Id"]])
            self.assertTrue(await docker.image_history(document["Id"]))
            await docker.remove_image("criwist.test/second:2", force=False, prune=True)
            self.assertEqual((await docker.inspect_image(situation.image))["RepoTags"], [situation.image])

        @_scenario
        async def test_unknown_images_are_not_found(self, situation: Situation) -> None:
            """Every call about an image says so if there is none."""
            docker, absent = situation.docker, "criwist.test/absent:1"
            for call in (
                docker.inspect_image(absent),
                docker.image_history(absent),
                docker.remove_image(absent, force=False, prune=True),
                docker.tag_image(absent, repository="criwist.test/x", tag="1"),
            ):
                error = await self.raises(errors.NotFound, call)
                self.assertEqual((error.kind, error.name), ("image", absent))

        @_scenario
        async def test_an_image_s_last_reference_is_kept_while_it_is_used(self, situation: Situation) -> None:
            """Removing it needs force, and the error can be told."""
            await situation.created("one")
            call = situation.docker.remove_image(situation.image, force=False, prune=True)
            error = await self.raises(errors.FailedPrecondition, call)
            self.assertTrue(says_image_in_use(error))

        @_scenario
        async def test_image_events(self, situation: Situation) -> None:
            """Tagging and untagging are told with the image's id."""
            docker = situation.docker
            image = (await docker.inspect_image(situation.image))["Id"]
            feed = Feed(docker)
            await feed.connected
            await docker.tag_image(situation.image, repository="criwist.test/second", tag="2")
            await docker.remove_image("criwist.test/second:2", force=False, prune=True)
            await situation.eventually(lambda: feed.actions(image) == ["tag", "untag"])
            await feed.stop()
            self.assertEqual({event["Type"] for event in feed.seen}, {"image"})

    return DockerContractTests
