"""Processes of plugins: their output, and those that misbehave."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from criwist.network.plugin_process import OUTPUT_LIMIT, STDERR_LIMIT, Output, run_plugin, stray_plugins

pytestmark = pytest.mark.functional

reactor: Any = _reactor


class PluginTests(TestCase):
    """Shell scripts as plugins."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def _script(self, text: str, interpreter: str = "/bin/sh") -> str:
        path = os.path.join(self.directory, "plugin")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!{interpreter}\n{text}\n")
        os.chmod(path, 0o755)
        return path

    async def _plugin(self, text: str, stdin: bytes = b"", time_limit: float = 20, **variables: str) -> Output:
        # A process that ends before a restarted reactor has its signal handlers makes Twisted forget them.
        await deferLater(reactor, 0)
        environment = {"PATH": os.environ["PATH"], "HERE": self.directory} | variables
        return await run_plugin(self._script(text), environment, stdin, time_limit, reactor=reactor)

    async def _pid(self, name: str = "pid") -> int:
        path = os.path.join(self.directory, name)
        while not (os.path.exists(path) and os.path.getsize(path)):
            await deferLater(reactor, 0.01)
        with open(path, encoding="ascii") as file:
            return int(file.read())

    async def _descriptors(self) -> int:
        """Return the number of open descriptors; pipes are closed one reactor iteration after the process's end."""
        await deferLater(reactor, 0)
        return len(os.listdir("/proc/self/fd"))

    async def _gone(self, pid: int) -> None:
        """Wait until the process is gone, or a zombie that waits for init."""
        for _ in range(200):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return
            except FileNotFoundError:
                return
            await deferLater(reactor, 0.01)
        self.fail(f"process {pid} lives")

    async def test_input_and_output(self) -> None:
        """A plugin gets its configuration and environment; its status, output and standard error are returned."""
        output = await self._plugin('cat; echo "$CNI_COMMAND" >&2; exit 3', b'{"a": 1}', CNI_COMMAND="ADD")
        self.assertEqual(output, Output(3, b'{"a": 1}', b"ADD\n"))

    async def test_environment_is_all(self) -> None:
        """A plugin gets the given environment and nothing of criwist's own."""
        os.environ["CRIWIST_TEST_SECRET"] = "x"
        self.addCleanup(os.environ.pop, "CRIWIST_TEST_SECRET")
        output = await self._plugin('echo "[$CRIWIST_TEST_SECRET]"')
        self.assertEqual(output.stdout, b"[]\n")

    async def test_unread_configuration(self) -> None:
        """A configuration that is larger than a pipe and that no plugin reads does not block."""
        output = await self._plugin("echo done", b"x" * (1 << 20))
        self.assertEqual(output, Output(0, b"done\n"))

    async def test_descriptors(self) -> None:
        """A plugin inherits its three descriptors and no others, and criwist keeps none."""
        await self._plugin("true")
        before = await self._descriptors()
        output = await self._plugin("ls /proc/self/fd | wc -l")
        self.assertEqual(output.stdout.strip(), b"4")  # its three, and the one of ls for the directory
        self.assertEqual(await self._descriptors(), before)

    async def test_signals(self) -> None:
        """A plugin has the system's default action for SIGPIPE, which Python ignores."""
        output = await self._plugin("(trap; yes) | head -n 1; kill -PIPE $$; echo survived")
        self.assertEqual((output.status, output.stdout), (-signal.SIGPIPE, b"y\n"))

    async def test_killed(self) -> None:
        """The status of a plugin that another process kills is minus the signal."""
        output = await self._plugin("kill -KILL $$")
        self.assertEqual(output, Output(-signal.SIGKILL))

    async def test_hanging(self) -> None:
        """A plugin that hangs is killed at its time limit, with its children."""
        output = await self._plugin("sleep 300 & echo $! > $HERE/pid; wait", time_limit=0.3)
        self.assertEqual((output.status, output.kill_reason), (-signal.SIGKILL, "it did not finish within 0.3 s"))
        await self._gone(await self._pid())

    async def test_ignored_signals(self) -> None:
        """A plugin that ignores signals is killed too."""
        output = await self._plugin("trap '' TERM INT HUP; while :; do sleep 1; done", time_limit=0.3)
        self.assertEqual(output.status, -signal.SIGKILL)

    async def test_endless_output(self) -> None:
        """A plugin that prints without end is killed at the output limit, long before its time limit."""
        started = time.monotonic()
        output = await self._plugin("yes")
        self.assertEqual((len(output.stdout), output.kill_reason), (OUTPUT_LIMIT, "it printed more than 256 KiB"))
        self.assertLess(time.monotonic() - started, 10)

    async def test_long_standard_error(self) -> None:
        """Standard error is kept up to a limit; a plugin that writes more is not killed."""
        output = await self._plugin("yes | head -c 1000000 >&2; echo done")
        self.assertEqual((output.status, output.stdout, len(output.stderr)), (0, b"done\n", STDERR_LIMIT))

    async def test_left_behind(self) -> None:
        """A call ends with the plugin, not with a daemon that it left behind and that keeps its output open."""
        output = await self._plugin("setsid sleep 300 & echo $! > $HERE/pid; echo done")
        self.assertEqual(output, Output(0, b"done\n"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(await self._pid(), signal.SIGKILL)

    async def test_cancelled(self) -> None:
        """Cancelling a call kills the plugin; the cancellation is raised when the plugin is gone."""
        call = ensureDeferred(self._plugin("echo $$ > $HERE/pid; exec sleep 300"))
        pid = await self._pid()
        call.cancel()
        await self.assertFailure(call, CancelledError)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    async def test_many(self) -> None:
        """Plugins run in parallel."""
        started = time.monotonic()
        path = self._script("sleep 1; echo $N")
        await deferLater(reactor, 0)
        calls = [ensureDeferred(run_plugin(path, {"N": str(number)}, b"", 20, reactor=reactor)) for number in range(20)]
        self.assertEqual([(await call).stdout for call in calls], [f"{number}\n".encode() for number in range(20)])
        self.assertLess(time.monotonic() - started, 10)

    async def test_no_program(self) -> None:
        """A plugin that cannot be started raises the system's error, and leaks no descriptor."""
        before = await self._descriptors()
        for text, interpreter in (("", "/no/such/interpreter"),):
            path = self._script(text, interpreter)
            await self.assertFailure(ensureDeferred(run_plugin(path, {}, b"", 5, reactor=reactor)), OSError)
        os.chmod(path, 0o644)
        await self.assertFailure(ensureDeferred(run_plugin(path, {}, b"", 5, reactor=reactor)), PermissionError)
        self.assertEqual(await self._descriptors(), before)

    async def test_strays(self) -> None:
        """A plugin's process and its children are found by their container's id, and no others."""
        call = ensureDeferred(
            self._plugin("echo $$ > $HERE/pid; sleep 300 & echo $! > $HERE/child; wait", CNI_CONTAINERID="c" * 64)
        )
        pids = {await self._pid(), await self._pid("child")}
        self.assertEqual(set(stray_plugins({"c" * 64, "d" * 64})), pids)
        self.assertEqual(stray_plugins({"c" * 63}), [])
        self.assertNotIn(os.getpid(), stray_plugins(set()))
        call.cancel()
        await self.assertFailure(call, CancelledError)

    async def test_python(self) -> None:
        """A plugin may be any program that the kernel starts."""
        path = self._script("import sys; print(sys.stdin.read()[::-1], end='')", sys.executable)
        await deferLater(reactor, 0)
        output = await run_plugin(path, dict(os.environ), b"abc", 20, reactor=reactor)
        self.assertEqual(output, Output(0, b"cba"))
