"""Killing a process that Docker started in a container, with all that it started in turn.

Docker cannot kill an exec, and an exec's root is not the whole of it: what it forks lives on, and a child whose
parent has died is given to the container's PID 1, from where its own children cannot be told by parentage alone.
The search therefore goes over the processes of the root's cgroup, which are few, and takes a process for the
exec's own when one of these holds:

1. it is a child, grandchild… of the root (``PPid``, and the ``children`` files, which also show one that has left
   the cgroup);
2. it is in the session that the root leads.  runc makes every exec's root a session leader; a session is inherited
   and cannot be joined, so this stays true of orphans;
3. it holds the other end of the root's standard input, output or error: unnamed pipes, sockets or a terminal that
   were made for this exec.  An orphan that made a session of its own but kept its streams is found by that;
4. the variable ``CRIWIST_EXEC`` had, when it was exec'd, the value that it has in the root's environment.  Whoever
   creates the exec puts it there, with a value used once.  This finds daemons that have left session *and* streams.

and with them all their descendants.  Rules 3 and 4 are asked only of what is no older than the root.  What escapes
is a daemon that has left session and streams and has wiped its environment, after its parent is dead.

The order makes it free of races.  Every process found is sent SIGSTOP, then the search is repeated until it finds
nobody new.  A process with a signal pending cannot fork (the kernel restarts the call), so whatever a stopped one
has forked was there before the next search began; and a stopped parent does not die, so parentage stays visible.
A search takes time, though, and a chain whose every link forks the next and dies may be nowhere while it lasts.  So
whoever is found to lead a process group has the whole group stopped with him, which the kernel does in one stroke:
nobody joins a group from another session, so all in it come from the exec.  Then all get SIGKILL.  Signals to one
process go through a pidfd, and number and start time are compared after it was opened: a stranger who got the number
meanwhile is never hit.
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

#: Seconds after which the search for new members ends and what is known is killed: only processes that somebody
#: else keeps waking with SIGCONT, or that fork faster than they are found, get that far.
SEARCH_LIMIT = 2.0

_STANDARD_STREAMS = (0, 1, 2)


@frozen
class Exec:
    """What tells the processes of one exec from the others of its container."""

    root: ProcessStat
    streams: frozenset[str]
    marker: str | None

    @classmethod
    def of(cls, root: ProcessStat, proc: str = PROC) -> Exec:
        """Read the marks off the living root."""
        streams = open_streams(root.pid, _STANDARD_STREAMS, proc)
        return cls(root, frozenset(streams), read_variable(root.pid, EXEC_MARKER, proc))

    def owns(self, process: ProcessStat, proc: str = PROC) -> bool:
        """Whether rule 2, 3 or 4 holds for a process that is not known to descend from the root."""
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
    """As ``IProcesses.kill_tree``, blocking; a few milliseconds with tens of processes in the cgroup."""
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
            found = search.newcomers()
    finally:  # nobody is left stopped, also none who is known by his group alone
        killed, refused = _kill(search.members.values(), proc)
    if refused:
        raise PermissionDenied(f"processes that may not be killed: {', '.join(map(str, refused))}")
    return killed


@define
class _Search:
    exec: Exec
    proc: str
    members: dict[int, ProcessStat] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.members[self.exec.root.pid] = self.exec.root

    def newcomers(self) -> list[ProcessStat]:
        """Members that the last search did not know; from now on they are known."""
        strangers = [found for found in self._candidates() if found.alive]
        newcomers = []
        grown = [stranger for stranger in strangers if self._is_child(stranger) or self.exec.owns(stranger, self.proc)]
        while grown:
            newcomers += grown
            self.members.update((process.pid, process) for process in grown)
            strangers = [stranger for stranger in strangers if stranger.pid not in self.members]
            grown = [stranger for stranger in strangers if self._is_child(stranger)]
        return newcomers

    def _is_child(self, stranger: ProcessStat) -> bool:
        return stranger.parent in self.members

    def _candidates(self) -> list[ProcessStat]:
        """Who may yet be a member: the cgroup's processes, and the members' children wherever they are."""
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
        for directory in sorted(
            cgroup.directories(), key=lambda path: path.count("/"), reverse=True
        ):  # narrowest first
            processes = processes_below(directory)
            if processes is not None and self.exec.root.pid in processes:
                return processes
        return set(all_pids(self.proc))


def _kill(members: Collection[ProcessStat], proc: str) -> tuple[int, list[int]]:
    """Kill the members, and those who are known by their group alone; what ``_send`` returns, of the members.

    The leaders' turn is last: with one of them dies his group, and who is dead and reaped cannot be counted.
    """
    killed, refused = _send(signal.SIGKILL, [each for each in members if not each.leads], proc)
    leaders = [each for each in members if each.leads]
    with_group = _send_to_groups(signal.SIGKILL, leaders, proc)
    alone, refused_leaders = _send(signal.SIGKILL, [each for each in leaders if each.pid not in with_group], proc)
    return killed + len(with_group) + alone, refused + refused_leaders


def _send(number: signal.Signals, processes: Iterable[ProcessStat], proc: str) -> tuple[int, list[int]]:
    """Signal them all; returns how many got it, and the pids of those whom we may not signal."""
    sent = 0
    refused = []
    for process in processes:
        try:
            sent += _send_one(number, process, proc)
        except PermissionError:
            refused.append(process.pid)
    return sent, refused


def _send_to_groups(number: signal.Signals, processes: Iterable[ProcessStat], proc: str) -> set[int]:
    """Signal the process groups that some of these lead, who are stopped themselves; returns the leaders' pids."""
    leaders = set()
    for process in processes:
        if process.leads and process.same_process(read_stat(process.pid, proc)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.group, number)
                leaders.add(process.pid)
    return leaders


def _send_one(number: signal.Signals, process: ProcessStat, proc: str) -> bool:
    """Signal this very process; False if it is gone."""
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
    """The host's processes; the search runs in *threadpool*, since it reads a few files per process.

    :param proc: where ``/proc`` of the host is.
    """

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _proc: str = PROC
    _log = Logger()

    async def kill_tree(self, pid: int, container: str = "") -> int:
        """See IProcesses.  Cancelling leaves the search to end by itself."""
        killed: int = await deferToThreadPool(
            self._reactor, self._threadpool, kill_tree, pid, container, proc=self._proc
        )
        self._log.debug("killed {killed} processes of the tree of {pid}", killed=killed, pid=pid)
        return killed
