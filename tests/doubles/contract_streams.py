"""The contract of ``IDocker`` for events, attach and exec."""

from __future__ import annotations

from criwist import errors
from criwist.docker.error_responses import is_not_running
from criwist.wire.stdcopy import Stream
from tests.doubles.contract_situation import ECHO, SPEAK, Feed, Output, Scenarios, Situation, scenario


class StreamScenarios(Scenarios):
    """The event feed, and the streams of processes."""

    @scenario
    async def test_events_of_a_container_s_life(self, situation: Situation) -> None:
        """The feed has create, start, kill, die and destroy in that order, with labels and exit code."""
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

    @scenario
    async def test_a_feed_is_resumed(self, situation: Situation) -> None:
        """A feed with ``since`` has the events from that moment on, and all that follow."""
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

    @scenario
    async def test_an_exec_s_output_and_exit_code(self, situation: Situation) -> None:
        """An exec's stream separates stdout from stderr and ends with the process; inspect and event have the end."""
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

    @scenario
    async def test_an_exec_s_input_ends_with_our_half(self, situation: Situation) -> None:
        """The process reads the bytes that are written; closing our half ends its input, not its output."""
        container = await situation.running("one")
        exec_id = await situation.exec(container, ECHO, AttachStdin=True)
        output = Output(await situation.docker.start_exec(exec_id, tty=False))
        output.pipe.write(b"some ")
        output.pipe.write(b"words")
        output.pipe.loseWriteConnection()
        await output.ended
        self.assertEqual(output.text, {Stream.STDOUT: b"some words"})

    @scenario
    async def test_a_terminal_s_output_is_raw(self, situation: Situation) -> None:
        """The output of a terminal has no frames."""
        container = await situation.running("one")
        exec_id = await situation.exec(container, SPEAK, Tty=True)
        stream = await situation.docker.start_exec(exec_id, tty=True)
        self.assertFalse(stream.multiplexed)
        output = Output(stream)
        await output.ended
        self.assertEqual(output.text[Stream.STDOUT].replace(b"\r", b""), b"out\nerr\n")

    @scenario
    async def test_an_exec_needs_a_running_container(self, situation: Situation) -> None:
        """Creating an exec in a container that does not run fails with an error that the client recognises."""
        error = await self.raises(errors.FailedPrecondition, situation.exec(await situation.created("one"), SPEAK))
        self.assertTrue(is_not_running(error))

    @scenario
    async def test_unknown_execs_are_not_found(self, situation: Situation) -> None:
        """Inspect and start of an unknown exec raise NotFound with its id."""
        for call in (situation.docker.inspect_exec("absent"), situation.docker.start_exec("absent", tty=False)):
            error = await self.raises(errors.NotFound, call)
            self.assertEqual((error.kind, error.name), ("exec", "absent"))

    @scenario
    async def test_an_attached_client_has_the_container_s_streams(self, situation: Situation) -> None:
        """An attached client writes input, reads the output from then on, and loses its stream at the exit."""
        container = await situation.running("one", ECHO, OpenStdin=True, StdinOnce=True, AttachStdin=True)
        stream = await situation.docker.attach_container(container, stdin=True, stdout=True, stderr=True, tty=False)
        output = Output(stream)
        output.pipe.write(b"hello\n")
        await situation.eventually(lambda: output.text.get(Stream.STDOUT) == b"hello\n")
        output.pipe.loseWriteConnection()
        await output.ended
        self.assertEqual((await situation.exited(container))["ExitCode"], 0)

    @scenario
    async def test_a_stream_can_be_aborted_before_its_start(self, situation: Situation) -> None:
        """Aborting a stream before its start, and twice, leaves the container running."""
        container = await situation.running("one")
        stream = await situation.docker.attach_container(container, stdin=False, stdout=True, stderr=True, tty=False)
        stream.abort()
        stream.abort()
        self.assertTrue((await situation.docker.inspect_container(container))["State"]["Running"])
