"""Follows one container's log in Docker's own files and writes the CRI file.

One invariant makes restarts exact: *all bytes of the CRI file after the recorded mark come from the recorded file of
Docker's, from the recorded offset on.*  Hence

1. A batch is first appended to the CRI file; only then the position in Docker's log advances.
2. When Docker's log steps to another file, or kubelet reopens the CRI file, that is recorded before more is appended.
   Otherwise the record may lag behind; it is renewed every megabyte.
3. After a restart, reading begins at the recorded offset.  The batches are the same, so the bytes that the CRI file
   already has are skipped (see :mod:`criwist.logs.cri_file.cri_file`), a torn last line is completed, and the rest is
   written.
4. If criwist died between kubelet's rename of the CRI file and the new file, the renamed file is completed first.

Where the invariant does not hold, because the record is lost or another program changed the CRI file, the follower
searches Docker's log for the CRI file's last line; if it is not there, everything newer is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import define, field

from criwist.logs.cri_file.cri_file import CriFile, Diverged
from criwist.logs.cri_file.last_line import LastLine
from criwist.logs.docker_files.docker_log import (
    BEGINNING,
    READ_SIZE,
    DockerLog,
    Position,
    ReadEvent,
    ResumeResult,
)
from criwist.logs.docker_files.last_line_search import LastLineSearch
from criwist.logs.inotify import MISSING, REFUSED, Inotify
from criwist.logs.positions import Positions, Record
from criwist.logs.problem_reports import ProblemReports
from criwist.logs.scheduler import ITask, Progress, Wakeup
from criwist.wire.crilog import Converted

#: Bytes written between two records: what a restart converts again at most, in some milliseconds.
RECORD_INTERVAL: Final = 1 << 20
#: Steps that a reopening takes at most to skip what the old file already has.
_CATCH_UP_STEPS: Final = 4 * RECORD_INTERVAL // READ_SIZE


@define(eq=False)
class LogFollower:
    """Copies *docker_log* to *cri_file*.  :meth:`step` does the work; nothing is done before its first call.

    :param wake: schedules a call of :meth:`step`.
    """

    _container: str
    _docker_log: DockerLog
    _cri_file: CriFile
    _positions: Positions = field(kw_only=True)
    _inotify: Inotify = field(kw_only=True)
    _wake: Callable[[ITask], None] = field(kw_only=True)
    _problems: ProblemReports = field(kw_only=True)
    #: The container has ended: the files are closed when all is written.
    ended: bool = field(default=False, init=False)
    _is_open: bool = field(default=False, init=False)
    #: The files were closed because all is written and recorded.
    _is_complete: bool = field(default=False, init=False)
    _last_record: Record | None = field(default=None, init=False)
    #: Nothing may be appended before a record is written.
    _record_due: bool = field(default=False, init=False)
    #: There is a new CRI file, but the open one has to be completed first.
    _reopen_due: bool = field(default=False, init=False)
    #: Bytes written since the last record.
    _unrecorded: int = field(default=0, init=False)
    #: The CRI file does not hold what is expected.
    _has_diverged: bool = field(default=False, init=False)
    #: Not None until the position of the CRI file's last line is found.
    _search: LastLineSearch | None = field(default=None, init=False)
    _watches: dict[str, int] = field(factory=dict, init=False)

    # -- ITask

    def step(self) -> Progress:
        """Convert and write the next :data:`READ_SIZE` bytes."""
        if self._is_over:
            return Progress.DONE
        try:
            progress = self._step()
        except Diverged as divergence:
            self._problems.diverged(divergence)
            self._has_diverged = True
            return Progress.MORE
        except OSError as error:
            self._problems.blocked(error)
            return Progress.BLOCKED
        self._problems.unblocked()
        return progress

    def subscribe(self) -> Wakeup:
        if self._is_over:
            return Wakeup.NOTIFIED
        path = self._docker_log.path
        self._watch_directory(os.path.dirname(path))
        self._watches[path] = self._inotify.watch_file_once(path, self._changed)
        if self._docker_log.may_have_more:
            return Wakeup.IMMEDIATE
        if self.ended:
            self._close_if_recorded()
        return Wakeup.POLLED if REFUSED in self._watches.values() else Wakeup.NOTIFIED

    def _watch_directory(self, directory: str) -> None:
        """Watch for Docker's next file in the directory, or for the directory itself to be made."""
        if self._watches.get(directory, MISSING) >= 0:
            return
        self._watches[directory] = self._inotify.watch_directory(directory, self._file_made)
        if self._watches[directory] == MISSING:
            parent = os.path.dirname(directory)
            if self._watches.get(parent, MISSING) < 0:
                self._watches[parent] = self._inotify.watch_directory(parent, self._changed)
            # Docker may have made the directory between the two calls.
            self._watches[directory] = self._inotify.watch_directory(directory, self._file_made)

    # -- Start, reopen, end

    def start(self) -> None:
        """Open the files and go to the recorded position, now rather than at the first step.  Idempotent.

        :raises OSError: the first step will try again.
        """
        if not self._is_open:
            self._open()
            self._is_open = True
            self._is_complete = False

    @property
    def unread(self) -> int:
        """Bytes of Docker's current file after the position; 0 while no file is open."""
        return self._docker_log.unread

    @property
    def is_closed(self) -> bool:
        """Whether all is written and no file is open."""
        return not self._is_open

    def reopen(self) -> None:
        """Write to a new file at the path: kubelet has renamed the old one.

        :raises OSError: nothing has changed.
        """
        self.start()
        for _ in range(_CATCH_UP_STEPS):
            if not self._cri_file.ahead or self.step() is not Progress.MORE:
                break
        self._cri_file.reopen()
        self._reopen_due = False
        self._record_due = True
        self.save()

    def save(self) -> None:
        """Record the position.  After a failure, which is reported, a restart converts more of the log again."""
        if self._is_open and self._search is None:
            try:
                self._record()
            except OSError as error:
                self._problems.record_failed(error)

    def close(self) -> None:
        """Remove the watches and close the files."""
        for watch in self._watches.values():
            self._inotify.unwatch(watch)
        self._watches.clear()
        self._close_files()

    def _close_if_recorded(self) -> None:
        self.save()
        # Without a record, the next start would have to search for the last line.
        if self._last_record is not None and self._last_record.mark == self._cri_file.mark:
            self._close_files()
            self._is_complete = True

    @property
    def _is_over(self) -> bool:
        """Whether the log was complete when it was removed.

        Docker removes its own with the container.  kubelet removes the CRI file before it removes the container, and
        whatever Docker then does in the container's directory is no reason to make that again.
        """
        if not self.ended or not self._is_complete:
            return False
        return not self._docker_log.exists or not os.path.lexists(self._cri_file.path)

    def _close_files(self) -> None:
        self._docker_log.close()
        self._cri_file.close()
        self._is_open = False

    def _changed(self) -> None:
        self._wake(self)

    def _file_made(self) -> None:
        # At once, before this follower's next step: Docker may remove the file before that.
        with suppress(OSError):
            self._docker_log.open_newer()
        self._wake(self)

    # -- Opening

    def _open(self) -> None:
        record = self._positions.load(self._container)
        if record is None or not isinstance(record.source, Position):
            self._cri_file.open()
            self._docker_log.seek_oldest()
            self._search_last_line()
        else:
            self._resume(record, record.source)
        self._reopen_due = self._cri_file.is_replaced
        self._record_due = True

    def _resume(self, record: Record, position: Position) -> None:
        has_file = self._cri_file.resume(record.mark)
        if not has_file:
            self._cri_file.open()
        result = self._docker_log.resume(position)
        if result is ResumeResult.REMOVED:
            # The lines of the CRI file come from a file that Docker has removed; the files that are left are newer.
            self._cri_file.accept_all()
            self._problems.lines_lost("Docker has removed the log file that was being read")
        elif result is ResumeResult.FOUND and has_file and self._cri_file.length == record.mark.length:
            self._last_record = record
        else:
            if self._cri_file.length:
                # A crash of the machine has lost the end of the file.  Or this is an older file than the recorded one,
                # renamed back by a kubelet to which ReopenContainerLog was not answered: the lines after its last one
                # may be as old as that, and precede the recorded position.
                self._docker_log.seek_oldest()
            self._search_last_line()

    def _search_last_line(self) -> None:
        """Search from the log's position on.  If the CRI file has no lines, that position is the one."""
        self._has_diverged = False
        self._cri_file.accept_all()
        lines = self._cri_file.last_lines()
        self._search = LastLineSearch(self._docker_log, LastLine(lines)) if lines else None

    # -- Following

    def _step(self) -> Progress:
        self.start()
        if self._has_diverged:
            self._search_last_line()
        if self._reopen_due and not self._cri_file.ahead:
            self._cri_file.reopen()
            self._reopen_due = False
            self._record_due = True
        if self._record_due and self._search is None:
            self._record()
        result = self._docker_log.read()
        if isinstance(result, ReadEvent):
            return self._end_of_log() if result is ReadEvent.END else self._next_file(result)
        if self._search is not None:
            self._continue_search(self._search, result)
            return Progress.MORE
        if result.broken:
            self._problems.damaged(result.broken)
        self._cri_file.append(result.output)
        self._docker_log.advance(result.consumed)
        self._unrecorded += len(result.output)
        if self._unrecorded >= RECORD_INTERVAL or self._is_record_outdated():
            self.save()
        return Progress.MORE if result.consumed > READ_SIZE // 2 else Progress.DONE

    def _continue_search(self, search: LastLineSearch, result: Converted) -> None:
        offset = search.find(result.output)
        if offset is None:
            self._docker_log.advance(result.consumed)
        else:
            # In this order: after an error the search goes on, and no line is written a second time.
            search.advance_log(offset)
            self._search = None

    def _end_of_log(self) -> Progress:
        if self._search is not None and self._search.restart_by_time():
            return Progress.MORE
        self._search = None
        # The CRI file may have lines that Docker's log has not; they stay.
        self._cri_file.accept_ahead()
        if self._is_record_outdated():
            self.save()
        return Progress.DONE

    def _next_file(self, event: ReadEvent) -> Progress:
        if self._search is None:
            self._cri_file.accept_ahead()
            self._record_due = True
        if event is ReadEvent.GAP:
            self._problems.lines_lost("Docker removed log files faster than criwist could read them")
        elif event is ReadEvent.EMPTIED:
            self._problems.lines_lost("Docker emptied its log file, because it keeps a single one (max-file=1)")
        return Progress.MORE

    # -- Records

    def _is_record_outdated(self) -> bool:
        """Whether the record names no file of Docker's, which had no entry then, or another CRI file."""
        last = self._last_record
        if last is None:
            return False
        return last.source == BEGINNING or last.mark[:2] != self._cri_file.mark[:2]

    def _record(self) -> None:
        record = Record(self._cri_file.path, self._cri_file.mark, self._docker_log.position)
        if record != self._last_record:
            self._positions.save(self._container, record)
            self._last_record = record
        self._record_due = False
        self._unrecorded = 0
