"""The oom_score_adj of running processes."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.paths import Cgroup
from criwist.kernel.oom_scores import _write, read_oom_score_adj, write_oom_score_adj


class WriteTests(SynchronousTestCase):
    """One directory replaces a cgroup, another /proc."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.proc = os.path.join(directory.name, "proc")
        self.group = os.path.join(directory.name, "cgroup")
        self.cgroup = Cgroup(v2=self.group)
        os.makedirs(os.path.join(self.group, "below"))

    def process(self, pid: int, score: int, below: bool = False) -> None:
        """Add a process to the cgroup."""
        os.makedirs(f"{self.proc}/{pid}")
        with open(f"{self.proc}/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(f"{score}\n")
        with open(os.path.join(self.group, "below" if below else "", "cgroup.procs"), "a", encoding="ascii") as file:
            file.write(f"{pid}\n")

    def test_every_process_gets_it(self) -> None:
        """Processes of the cgroup and of those below it get the new value."""
        self.process(10, 500)
        self.process(11, 500, below=True)
        write_oom_score_adj(self.cgroup, 700, proc=self.proc)
        self.assertEqual([read_oom_score_adj(pid, self.proc) for pid in (10, 11)], [700, 700])

    def test_ended_process(self) -> None:
        """A process that has ended is skipped."""
        self.process(10, 500)
        os.unlink(f"{self.proc}/10/oom_score_adj")
        write_oom_score_adj(self.cgroup, 700, proc=self.proc)
        self.assertIsNone(read_oom_score_adj(10, self.proc))

    def test_refusal_names_the_field(self) -> None:
        """The error for a value that the kernel refuses has the request's field."""
        os.makedirs(f"{self.proc}/10/oom_score_adj")  # nobody can write to a directory
        error = self.assertRaises(
            FailedPrecondition, _write, f"{self.proc}/10/oom_score_adj", 700, "linux.oom_score_adj"
        )
        self.assertIn("linux.oom_score_adj", str(error))
