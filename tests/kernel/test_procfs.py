"""Reading /proc of processes."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.kernel.procfs import (
    ProcessStat,
    all_pids,
    open_streams,
    parse_stat,
    read_children,
    read_stat,
    read_text,
    read_variable,
)

STAT = (
    "4242 (a) (b c)) S 17 4242 99 34816 4242 4194560 1 2 3 4 5 6 7 8 20 0 3 0 123456 "
    "1000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


class StatTests(SynchronousTestCase):
    """``/proc/<pid>/stat``."""

    def test_command_with_parentheses(self) -> None:
        """Fields are counted from the last parenthesis, whatever the command's name is."""
        self.assertEqual(parse_stat(STAT), ProcessStat(4242, "S", 17, 4242, 99, 3, 123456))

    def test_zombie(self) -> None:
        """A zombie is dead unless other threads of it run."""
        self.assertFalse(ProcessStat(1, "Z", 0, 1, 1, 1, 5).alive)
        self.assertTrue(ProcessStat(1, "Z", 0, 1, 1, 2, 5).alive)
        self.assertTrue(ProcessStat(1, "D", 0, 1, 1, 1, 5).alive)

    def test_same_process(self) -> None:
        """Pid and start time together identify a process."""
        stat = parse_stat(STAT)
        self.assertTrue(stat.same_process(parse_stat(STAT)))
        self.assertFalse(stat.same_process(parse_stat(STAT.replace("123456", "123457"))))
        self.assertFalse(stat.same_process(None))

    def test_own_process(self) -> None:
        """The test's own stat has its parent and session."""
        stat = read_stat(os.getpid())
        if stat is None:
            self.fail("the test is not in /proc")
        self.assertEqual((stat.parent, stat.session), (os.getppid(), os.getsid(0)))
        self.assertIn(os.getpid(), all_pids())

    def test_gone(self) -> None:
        """A pid without a process yields None, and empty sets."""
        self.assertIsNone(read_stat(2**22 + 1))
        self.assertIsNone(read_variable(2**22 + 1, "PATH"))
        self.assertEqual(read_children(2**22 + 1), set())
        self.assertEqual(open_streams(2**22 + 1), set())


class TreeTests(SynchronousTestCase):
    """Files of a temporary tree."""

    def setUp(self) -> None:
        """A process 7 with two threads."""
        self.proc = directory_of(self)
        for thread, text in ((7, "8 9 "), (70, "10 ")):
            os.makedirs(f"{self.proc}/7/task/{thread}")
            with open(f"{self.proc}/7/task/{thread}/children", "w") as file:
                file.write(text)

    def test_children_of_all_threads(self) -> None:
        """Children belong to the thread that forked them; those of all threads are the process's."""
        self.assertEqual(read_children(7, self.proc), {8, 9, 10})

    def test_text(self) -> None:
        """A file is read to its end, however long, with all its bytes."""
        path = os.path.join(self.proc, "long")
        with open(path, "wb") as file:
            file.write(b"a\r\n" * 100_000 + b"\xff")
        self.assertEqual(read_text(path), "a\r\n" * 100_000 + "\udcff")
        self.assertIsNone(read_text(path + "er"))

    def test_variable(self) -> None:
        """A variable's value may hold equal signs, newlines and bytes that are no UTF-8."""
        with open(f"{self.proc}/7/environ", "wb") as file:
            file.write(b"A=1\0BAD\0KEY=x=y\n\xff\0KEY2=z\0")
        self.assertEqual(read_variable(7, "KEY", self.proc), "x=y\n\udcff")
        self.assertIsNone(read_variable(7, "BAD", self.proc))
        self.assertIsNone(read_variable(7, "K", self.proc))


class StreamTests(SynchronousTestCase):
    """The open descriptors that distinguish processes."""

    def test_pipes_and_terminals(self) -> None:
        """Unnamed pipes and terminals count; files, /dev/null and named pipes do not."""
        read, write = os.pipe()
        master, terminal = os.openpty()
        fifo_path = f"{directory_of(self)}/fifo"
        os.mkfifo(fifo_path)
        descriptors = [read, write, master, terminal, os.open(fifo_path, os.O_RDWR), os.open("/dev/null", os.O_RDONLY)]
        for descriptor in descriptors:
            self.addCleanup(os.close, descriptor)
        pid = os.getpid()
        self.assertEqual(len(open_streams(pid, [read])), 1)
        self.assertEqual(open_streams(pid, [read]), open_streams(pid, [write]))
        self.assertEqual(len(open_streams(pid, [terminal])), 1)
        self.assertEqual(open_streams(pid, descriptors[4:]), set())
        self.assertLessEqual(open_streams(pid, [read, terminal]), open_streams(pid))


def directory_of(test: SynchronousTestCase) -> str:
    """A directory that is removed after the test."""
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    return directory.name
