"""Sockets inside the network namespaces of real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from criwist.errors import DeadlineExceeded, NotFound, Unavailable
from criwist.kernel.netns import connect, in_namespace

pytestmark = pytest.mark.functional

reactor: Any = _reactor

#: A namespace whose loopback is up, with the command that the test appends; it ends at the end of its standard input.
_IN_NAMESPACE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")

_LISTENER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 8080), family=family, backlog=int(sys.argv[2])) as server:
    print("listening", flush=True)
    sys.stdin.read()
"""


class NamespaceTests(TestCase):
    """Connections to a process in its own network namespace."""

    def _namespace(self, *arguments: str) -> int:
        """Run *arguments* in a new namespace and return the pid once it has printed a line."""
        process = subprocess.Popen(
            [*_IN_NAMESPACE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline().strip(), b"listening")
        return process.pid

    def _listener(self, address: str, backlog: int = 8) -> int:
        return self._namespace("python3", "-c", _LISTENER, address, str(backlog))

    def _silence(self) -> int:
        return self._namespace("sh", "-c", "echo listening; exec cat")

    async def _connects(self, address: str) -> None:
        with closing(await connect(self._listener(address), "/", 8080, reactor=reactor)) as connection:
            self.assertFalse(connection.getblocking())
            self.assertEqual(connection.getpeername()[0], address)

    def test_ipv4(self) -> Deferred[None]:
        """A connection reaches a server on 127.0.0.1 of the pod, not the host's own port 8080."""
        return Deferred.fromCoroutine(self._connects("127.0.0.1"))

    def test_ipv6(self) -> Deferred[None]:
        """A connection reaches a server on ::1 alone."""
        return Deferred.fromCoroutine(self._connects("::1"))

    async def test_nothing_listens(self) -> None:
        """The error has both addresses with their errors."""
        failure = await self.assertFailure(
            ensureDeferred(connect(self._silence(), "/", 81, reactor=reactor)), Unavailable
        )
        self.assertEqual(
            str(failure),
            "port 81 of the pod cannot be reached: 127.0.0.1: Connection refused, ::1: Connection refused",
        )

    async def test_no_process(self) -> None:
        """A process that is gone raises NotFound."""
        await self.assertFailure(ensureDeferred(connect(2**22 + 1, "/", 80, reactor=reactor)), NotFound)

    async def test_full_queue(self) -> None:
        """A listener that accepts nothing raises DeadlineExceeded."""
        pid = self._listener("127.0.0.1", 0)
        with closing(await connect(pid, "/", 8080, reactor=reactor)):
            waiting = ensureDeferred(connect(pid, "/", 8080, reactor=reactor, time_limit=0.2))
            await self.assertFailure(waiting, DeadlineExceeded)

    async def test_descriptors(self) -> None:
        """Neither success nor refusal nor the deadline leaks a descriptor."""
        pid = self._listener("127.0.0.1", 0)
        await in_namespace(pid, "/", int, reactor=reactor)  # the reactor creates its own pipes when it first runs
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await self.assertFailure(ensureDeferred(connect(pid, "/", 81, reactor=reactor)), Unavailable)
        (await connect(pid, "/", 8080, reactor=reactor)).close()
        await self.assertFailure(
            ensureDeferred(connect(pid, "/", 8080, reactor=reactor, time_limit=0.1)), DeadlineExceeded
        )
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    async def test_a_process_of_another_container(self) -> None:
        """A process outside of the container's cgroup, which has the pid by now, is not entered."""
        waiting = ensureDeferred(connect(self._listener("127.0.0.1"), "0" * 64, 8080, reactor=reactor))
        await self.assertFailure(waiting, NotFound)

    async def test_other_threads_stay(self) -> None:
        """Only the new thread enters the namespace, and it ends with the work."""
        host = os.readlink("/proc/self/ns/net")
        pid = self._silence()
        before = _namespaces()
        inside, thread = await in_namespace(
            pid, "/", lambda: (os.readlink("/proc/thread-self/ns/net"), threading.get_native_id()), reactor=reactor
        )
        for _ in range(100):
            if str(thread) not in _tasks():
                break
            await deferLater(reactor, 0.01, int)
        self.assertEqual(inside, os.readlink(f"/proc/{pid}/ns/net"))
        self.assertNotEqual(inside, host)
        self.assertNotIn(str(thread), _tasks())
        after = _namespaces()
        self.assertEqual({task: before.get(task, host) for task in after}, after)

    async def test_failing_work(self) -> None:
        """An exception of the work is raised."""
        waiting = ensureDeferred(in_namespace(self._silence(), "/", lambda: socket.socket(-2), reactor=reactor))
        await self.assertFailure(waiting, OSError)


def _namespaces() -> dict[str, str]:
    """The network namespaces of this process's threads."""
    return {task: os.readlink(f"/proc/self/task/{task}/ns/net") for task in _tasks()}


def _tasks() -> Iterator[str]:
    yield from os.listdir("/proc/self/task")
