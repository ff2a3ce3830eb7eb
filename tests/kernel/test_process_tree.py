"""Killing trees of real child processes: the orphan, the one that left the session, the daemon."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel import EXEC_MARKER, IProcesses
from criwist.kernel.process_tree import Processes, kill_tree
from criwist.kernel.procfs import read_stat
from tests.doubles.memory_threads import MemoryThreads

#: Longest that a test waits for a child to get as far as it should.
_PATIENCE = 10.0

_PRELUDE = """
import os, sys, time
def fork(body):
    pid = os.fork()
    if pid == 0:
        body()
        os._exit(0)
    return pid
def announce():
    os.write(report, b"%d\\n" % os.getpid())
def sleeper():
    announce()
    time.sleep(1000)
def orphan(body):
    os.waitpid(fork(lambda: fork(body)), 0)
report = int(sys.argv[1])
"""


class KillTreeTests(SynchronousTestCase):
    """The processes that die with a root, and those that do not."""

    def run_root(self, script: str, count: int, **environment: str) -> tuple[int, list[int]]:
        """Start a session leader with its own pipes, as the engine starts an exec, which runs *script* and
        sleeps; return the root's pid, and *count* pids that other processes report."""
        read, write = os.pipe()
        root = subprocess.Popen(
            [sys.executable, "-S", "-c", f"{_PRELUDE}{script}\nsleeper()", str(write)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[write],
            env=os.environ | environment,
        )
        os.close(write)
        self.reports = os.fdopen(read)
        self.addCleanup(self.reports.close)
        pids: list[int] = []
        self.addCleanup(self._discard, root, pids)
        pids += [int(self.reports.readline()) for _ in range(count + 1)]
        pids.remove(root.pid)
        return root.pid, pids

    def _discard(self, root: subprocess.Popen[bytes], pids: list[int]) -> None:
        for pid in pids:
            if _runs(pid) and b"-S" in _command_line(pid):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(root.pid, signal.SIGKILL)
        root.wait()
        if root.stdout:
            root.stdout.close()

    def assertDead(self, pids: list[int]) -> None:
        """Wait until all have ended, within a time limit."""
        _wait_until(lambda: not any(map(_runs, pids)))

    def test_children_and_grandchildren(self) -> None:
        """The root, its child and its grandchild are killed and counted."""
        root, pids = self.run_root("fork(lambda: (fork(sleeper), sleeper()))", 2)
        self.assertEqual(kill_tree(root), 3)
        self.assertDead([root, *pids])

    def test_child_in_its_own_session(self) -> None:
        """A child that calls setsid while its parent lives is found by parentage."""
        root, pids = self.run_root("fork(lambda: (os.setsid(), sleeper()))", 1)
        self.assertEqual(kill_tree(root), 2)
        self.assertDead([root, *pids])

    def test_orphan_in_the_session(self) -> None:
        """A grandchild whose parent is dead is found by the session, its streams closed or not."""
        script = "orphan(lambda: (os.closerange(0, 3), sleeper()))"
        root, pids = self.run_root(script, 1)
        self.assertEqual(kill_tree(root), 2)
        self.assertDead([root, *pids])

    def test_orphan_that_keeps_a_stream(self) -> None:
        """An orphan in a session of its own is found by the root's standard output that it holds open."""
        script = "orphan(lambda: (os.setsid(), sleeper()))"
        root, pids = self.run_root(script, 1)
        self.assertEqual(kill_tree(root), 2)
        self.assertDead([root, *pids])

    def test_child_of_an_orphan(self) -> None:
        """The children of an orphan are killed with it."""
        child = "lambda: (os.closerange(0, 3), os.setsid(), sleeper())"
        script = f"orphan(lambda: (fork({child}), sleeper()))"
        root, pids = self.run_root(script, 2)
        self.assertEqual(kill_tree(root), 3)
        self.assertDead([root, *pids])

    def test_marked_daemon(self) -> None:
        """A daemon that left session and streams is found by the marker in its environment."""
        script = "orphan(lambda: (os.closerange(0, 3), os.setsid(), sleeper()))"
        root, pids = self.run_root(script, 1, **{EXEC_MARKER: f"test-{os.getpid()}-{time.monotonic_ns()}"})
        self.assertEqual(kill_tree(root), 2)
        self.assertDead([root, *pids])

    def test_unmarked_daemon_is_left(self) -> None:
        """Without a marker such a daemon is not found and lives on: the limit of the method."""
        script = "orphan(lambda: (os.closerange(0, 3), os.setsid(), sleeper()))"
        root, pids = self.run_root(script, 1)
        self.assertEqual(kill_tree(root), 1)
        self.assertTrue(_runs(pids[0]))

    def test_siblings_live(self) -> None:
        """Another root's processes, younger and in the same cgroup, are not touched."""
        root, pids = self.run_root("fork(sleeper)", 1)
        other, others = self.run_root("fork(sleeper)", 1)
        kill_tree(root)
        self.assertDead([root, *pids])
        self.assertTrue(_runs(other))
        self.assertTrue(_runs(others[0]))
        self.assertNotIn("T", (_state(other), _state(others[0])))

    def assertNobodyIsLeft(self) -> None:
        """Wait until all processes of the last root have ended: then the pipe on which they report is closed.

        A pass over /proc is not enough: behind it a process may fork another and die.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.reports], [], [], _PATIENCE)
            if readable and not os.read(self.reports.fileno(), 1 << 16):
                return
        self.fail("a process still runs")

    def test_forking_all_the_while(self) -> None:
        """A chain in which each process forks the next and dies is killed."""
        script = """
announce()
while True:
    if os.fork():
        os._exit(0)
    time.sleep(SLEEP)
"""
        for pause in ("0", "0.0001", "0.001"):
            root, _ = self.run_root(f"fork(lambda: exec({script.replace('SLEEP', pause)!r}))", 1)
            self.assertGreaterEqual(kill_tree(root), 1)
            self.assertNobodyIsLeft()

    def test_companion_of_a_daemon(self) -> None:
        """A process that only its group's signal reaches does not stay stopped; it dies with the group's leader."""
        companion = "orphan(lambda: (os.closerange(0, 3), sleeper()))"
        root, _ = self.run_root(f"orphan(lambda: (os.setsid(), {companion}, sleeper()))", 2)
        self.assertEqual(kill_tree(root), 2)
        self.assertNobodyIsLeft()

    def test_count_of_a_group(self) -> None:
        """A process that is reaped at once is counted too, though its group's leader is killed with it."""
        script = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); [fork(sleeper) for _ in range(50)]"
        root, pids = self.run_root(script, 50)
        self.assertEqual(kill_tree(root), 51)
        self.assertDead([root, *pids])

    def test_gone(self) -> None:
        """For a process that has ended, reaped or not, no process is signalled, and the call succeeds."""
        child = subprocess.Popen([sys.executable, "-S", "-c", ""], stdin=subprocess.DEVNULL)
        _wait_until(lambda: not _runs(child.pid))
        self.assertEqual(kill_tree(child.pid), 0)
        child.wait()
        self.assertEqual(kill_tree(child.pid), 0)

    def test_other_container(self) -> None:
        """A process whose cgroup does not contain the container's id is not signalled."""
        root, _ = self.run_root("", 0)
        self.assertEqual(kill_tree(root, "f" * 64), 0)
        self.assertTrue(_runs(root))

    def test_search_limit(self) -> None:
        """When the search takes too long, the members found so far are killed."""
        root, pids = self.run_root("fork(sleeper)", 1)
        times = iter([0.0, 1.0, 1000.0])
        self.assertEqual(kill_tree(root, monotonic=lambda: next(times)), 2)
        self.assertDead([root, *pids])


class ProcessesTests(SynchronousTestCase):
    """The provider of IProcesses."""

    def test_contract(self) -> None:
        """It provides IProcesses and returns the thread's result."""
        threads = MemoryThreads()
        processes = Processes(threads, threads)
        verifyObject(IProcesses, processes)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(processes.kill_tree(2**22 + 1))), 0)


def _state(pid: int) -> str:
    stat = read_stat(pid)
    return stat.state if stat else "gone"


def _runs(pid: int) -> bool:
    return _state(pid) not in ("gone", "Z", "X")


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the processes did not get there in time")
        time.sleep(0.002)
