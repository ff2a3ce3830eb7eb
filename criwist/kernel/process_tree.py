"""Killing an exec's process tree: the process that Docker started in a container, and all its descendants.

Docker cannot kill an exec, and killing the exec's root is not enough: its children live on.  A child whose parent has
died is reparented to the container's PID 1, so parentage alone does not show that it belongs to the exec.  So the
search goes over the processes of the root's cgroup, which are few.  A process is a member of the exec if one of these
rules holds:

1. it is a descendant of the root (``PPid``, and the ``children`` files, which list those outside of the cgroup too);
2. it is in the session that the root leads.  runc makes every exec's root a session leader; a session is inherited
   and cannot be joined, so the rule holds for orphans too;
3. it has the other end of the root's standard input, output or error open: unnamed pipes, sockets or a terminal that
   were created for this exec.  This rule finds an orphan that created its own session but kept its streams;
4. the variable ``CRIWIST_EXEC`` had the same value at its last execve(2) as in the root's environment.  The code that
   creates the exec sets it, to a value that is used once.  The rule finds daemons that have left session *and* streams.

All descendants of a member are members too.  Rules 3 and 4 are applied only to processes that are not older than the
root.  A daemon escapes if it has left session and streams, has cleared its environment, and its parent is dead.

The order of the steps makes it free of races.  Every member gets SIGSTOP, then the search is repeated until it finds no
new member.  A process with a pending signal cannot fork (the kernel restarts the call), so all children of a stopped
process existed before the next search began; and a stopped parent does not die, so parentage stays visible.  A search
takes time, though: in a chain in which each process forks the next and dies, the search may never meet a living
process.  So if a member leads a process group, the whole group is stopped, which the kernel does atomically.  No
process joins a group from another session, so all processes of the group come from the exec.  Then all get SIGKILL.
Signals to one process go through a pidfd, and pid and start time are compared after it was opened: a process that has
reused the pid is never signalled.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from criwist.errors import NotFound, PermissionDenied
from criwist.interfaces.kernel import EXEC_MARKER, IProcesses
from criwist.kernel.cgroup.paths import belongs_to, process_cgroup, processes_below
from criwist.kernel.procfs import (
    PROC,
    ProcessStat,
    all_pids,
    open_streams,
    read_children,
    read_stat,
    read_variable,
)

#: Seconds after which the search for new members ends and the known members are killed.  Only processes that another
#: process keeps waking with SIGCONT, or that fork faster than the search, reach it.
SEARCH_LIMIT = 2.0

_STANDARD_STREAMS = (0, 1, 2)


@frozen
class Exec:
    """The marks by which the processes of one exec differ from the others of its container."""

    root: ProcessStat
    streams: frozenset[str]
    marker: str | None

    @classmethod
    def of(cls, root: ProcessStat, proc: str = PROC) -> Exec:
        """Read the marks of a running root."""
        streams = open_streams(root.pid, _STANDARD_STREAMS, proc)
        return cls(root, frozenset(streams), read_variable(root.pid, EXEC_MARKER, proc))

    def owns(self, process: ProcessStat, proc: str = PROC) -> bool:
        """Return whether rule 2, 3 or 4 holds for a process that is not a known descendant of the root."""
        if process.start < self.root.start:
            return False
        if process.session == self.root.pid == self.root.session:
            return True
        if self.streams and self.streams & open_streams(process.pid, proc=proc):
            return True
        return self.marker is not None and read_variable(process.pid, EXEC_MARKER, proc) == self.marker


def kill_tree(
    pid: int, container: str = "", *, proc: str = PROC, monotonic: Callable[[], float] = time.monotonic
) -> int:
    """Do ``IProcesses.kill_tree``, blocking; takes a few milliseconds with tens of processes in the cgroup."""
    root = read_stat(pid, proc)
    if root is None or not root.alive or (container and not belongs_to(pid, container, proc)):
        return 0
    deadline = monotonic() + SEARCH_LIMIT
    search = _Search(Exec.of(root, proc), proc)
    try:
        found = [root]
        while found and monotonic() < deadline:
            _send(signal.SIGSTOP, found, proc)
            _send_to_groups(signal.SIGSTOP, found, proc)
            found = search.find_new()
    finally:  # no process stays stopped, not even one that only the signal to its group has reached
        killed, refused = _kill(search.members.values(), proc)
    if refused:
        raise PermissionDenied(f"criwist may not kill the processes {', '.join(map(str, refused))}")
    return killed


@define
class _Search:
    exec: Exec
    proc: str
    members: dict[int, ProcessStat] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.members[self.exec.root.pid] = self.exec.root

    def find_new(self) -> list[ProcessStat]:
        """Search once; add the members that no earlier search found, and return them."""
        others = [process for process in self._candidates() if process.alive]
        new = []
        found = [process for process in others if self._is_child(process) or self.exec.owns(process, self.proc)]
        while found:
            new += found
            self.members.update((process.pid, process) for process in found)
            others = [process for process in others if process.pid not in self.members]
            found = [process for process in others if self._is_child(process)]
        return new

    def _is_child(self, process: ProcessStat) -> bool:
        return process.parent in self.members

    def _candidates(self) -> list[ProcessStat]:
        """Return the processes that may be members: those of the cgroup, and the members' children in any cgroup."""
        pids = self._cgroup_processes()
        for member in self.members:
            pids |= read_children(member, self.proc)
        stats = [read_stat(pid, self.proc) for pid in pids - self.members.keys()]
        return [stat for stat in stats if stat is not None]

    def _cgroup_processes(self) -> set[int]:
        try:
            cgroup = process_cgroup(self.exec.root.pid, proc=self.proc)
        except NotFound:
            return set()
        # The deepest directory first: it has the fewest processes.
        for directory in sorted(cgroup.directories(), key=lambda path: path.count("/"), reverse=True):
            processes = processes_below(directory)
            if processes is not None and self.exec.root.pid in processes:
                return processes
        return set(all_pids(self.proc))


def _kill(members: Collection[ProcessStat], proc: str) -> tuple[int, list[int]]:
    """Kill the members, and their process groups; return what ``_send`` returns, for the members.

    Group leaders are killed last: their group dies with them, and a process that is dead and reaped is not counted.
    """
    killed, refused = _send(signal.SIGKILL, [member for member in members if not member.leads], proc)
    leaders = [member for member in members if member.leads]
    with_group = _send_to_groups(signal.SIGKILL, leaders, proc)
    alone, refused_leaders = _send(signal.SIGKILL, [leader for leader in leaders if leader.pid not in with_group], proc)
    return killed + len(with_group) + alone, refused + refused_leaders


def _send(number: signal.Signals, processes: Iterable[ProcessStat], proc: str) -> tuple[int, list[int]]:
    """Signal all *processes*; return how many got the signal, and the pids of those that criwist may not signal."""
    sent = 0
    refused = []
    for process in processes:
        try:
            sent += _send_one(number, process, proc)
        except PermissionError:
            refused.append(process.pid)
    return sent, refused


def _send_to_groups(number: signal.Signals, processes: Iterable[ProcessStat], proc: str) -> set[int]:
    """Signal the process groups of the leaders among *processes*, which are stopped; return the leaders' pids."""
    leaders = set()
    for process in processes:
        if process.leads and process.same_process(read_stat(process.pid, proc)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.group, number)
                leaders.add(process.pid)
    return leaders


def _send_one(number: signal.Signals, process: ProcessStat, proc: str) -> bool:
    """Signal this process and no later one with its pid; return False if it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not process.same_process(read_stat(process.pid, proc)):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


@implementer(IProcesses)
@define
class Processes:
    """The host's processes.  The search runs in *threadpool*, since it reads a few files per process.

    :param proc: path of the host's ``/proc``.
    """

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _proc: str = PROC
    _log = Logger()

    async def kill_tree(self, pid: int, container: str = "") -> int:
        """See IProcesses.  Cancelling does not stop the search, which ends by itself."""
        killed: int = await deferToThreadPool(
            self._reactor, self._threadpool, kill_tree, pid, container, proc=self._proc
        )
        self._log.debug("killed {killed} processes of the tree of {pid}", killed=killed, pid=pid)
        return killed
