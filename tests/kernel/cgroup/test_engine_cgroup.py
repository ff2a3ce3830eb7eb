"""A cgroup for the engine's processes."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.engine_cgroup import _enter, move_engine


class EnterTests(SynchronousTestCase):
    """A directory replaces a cgroup: its files have what was written."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.parent = directory.name
        self.cgroup = os.path.join(self.parent, "runtime.slice")
        os.mkdir(self.cgroup)

    def write(self, directory: str, name: str, text: str) -> None:
        """Create a file of a cgroup."""
        with open(os.path.join(directory, name), "w", encoding="ascii") as file:
            file.write(text)

    def read(self, name: str) -> str:
        """Return the content of a file of the cgroup."""
        with open(os.path.join(self.cgroup, name), encoding="ascii") as file:
            return file.read()

    def test_process_enters(self) -> None:
        """A process is moved by writing its pid."""
        _enter(self.cgroup, [4711])
        self.assertEqual(self.read("cgroup.procs"), "4711\n")

    def test_empty_cpuset_inherits(self) -> None:
        """A new cpuset gets its parent's value; one with a value keeps it."""
        self.write(self.parent, "cpuset.cpus", "0-3\n")
        self.write(self.parent, "cpuset.mems", "0\n")
        self.write(self.cgroup, "cpuset.cpus", "\n")
        self.write(self.cgroup, "cpuset.mems", "1\n")
        _enter(self.cgroup, [])
        self.assertEqual((self.read("cpuset.cpus"), self.read("cpuset.mems")), ("0-3\n", "1\n"))

    def test_refusal_names_the_option(self) -> None:
        """The error for a cgroup that cannot be created has the option's name."""
        self.write(self.parent, "file", "")
        error = self.assertRaises(FailedPrecondition, _enter, os.path.join(self.parent, "file", "below"), [1])
        self.assertIn("--runtime-cgroups", str(error))

    def test_engine_elsewhere(self) -> None:
        """No process is moved for an engine on another machine."""
        self.assertEqual(move_engine("tcp://192.0.2.1:2376", "/runtime.slice"), [])
