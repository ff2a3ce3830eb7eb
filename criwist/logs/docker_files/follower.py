"""One container's log, from Docker's own files to the CRI file.

The invariant that makes restarts exact: *all bytes of the CRI file behind the recorded mark come from the recorded
generation of Docker's log, from the recorded offset on.*  Hence

1. A batch is appended, and only then the source advanced.
2. When the source steps to another file, or kubelet has the CRI file opened anew, that is recorded before anything
   more is appended.  In between the record may lag behind; it is renewed every megabyte.
3. At a restart reading begins at the recorded offset.  The batches are the same, so what the file already has of them
   is passed over (see :mod:`criwist.logs.cri_file.cri_file`), a torn last line is completed, and the rest is written.
4. If kubelet renamed the file and we did not live to write to the new one, what is due to the renamed file is completed
   first.

Where the invariant does not hold, because the record is lost or the file is not the one that we left, the file's last
line is looked up in Docker's log; if it is not there, all that is newer is written.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import define, field

from criwist.logs.cri_file.cri_file import CriFile, Diverged
from criwist.logs.cri_file.resuming import LastLine
from criwist.logs.docker_files.docker_log import BEGINNING, SLICE, DockerLog, Found, Position, Step
from criwist.logs.inotify import MISSING, REFUSED, Inotify
from criwist.logs.positions import Positions, Record
from criwist.logs.reports import Reports
from criwist.logs.scheduler import IStepper, Progress
from criwist.wire.crilog import Converted

#: Bytes written between two records: what a restart makes again at most, in some milliseconds.
RECORD_EVERY: Final = 1 << 20
#: Steps that a reopening takes at most to pass over what is already in the old file.
_CATCH_UP: Final = 4 * RECORD_EVERY // SLICE


@define(eq=False)
class Follower:
    """Follows *source* into *output*.  :meth:`step` does the work; nothing is done before it is called.

    :param call: arranges for :meth:`step` to be called, soon.
    """

    _container: str
    _source: DockerLog
    _output: CriFile
    _positions: Positions
    _watch: Inotify
    _call: Callable[[IStepper], None]
    _reports: Reports
    #: The container has ended: nothing is held open when all is written.
    ended: bool = field(default=False, init=False)
    _started: bool = field(default=False, init=False)
    _recorded: Record | None = field(default=None, init=False)
    #: Nothing may be appended before a record is written.
    _record_due: bool = field(default=False, init=False)
    #: There is a new file, but what the one that is open lacks comes first.
    _reopen_due: bool = field(default=False, init=False)
    _unrecorded: int = field(default=0, init=False)
    #: The file does not go on as expected.
    _lost: bool = field(default=False, init=False)
    #: Not None while the place of the file's last line is looked for, by the line and then by its time.
    _finding: LastLine | None = field(default=None, init=False)
    _by_time: bool = field(default=False, init=False)
    _watches: dict[str, int] = field(factory=dict, init=False)

    # -- IStepper

    def step(self) -> Progress:
        """Convert and write a slice."""
        try:
            progress = self._step()
        except Diverged as divergence:
            self._reports.diverged(divergence)
            self._lost = True
            return Progress.MORE
        except OSError as error:
            self._reports.stuck(error)
            return Progress.STUCK
        self._reports.unstuck()
        return progress

    def rest(self) -> bool | None:
        """Be called when there is more."""
        path = self._source.path
        self._watch_directory(os.path.dirname(path))
        self._watches[path] = self._watch.once(path, self._called)
        if self._source.may_have_more:
            return True
        if self.ended:
            self._park()
        return None if REFUSED in self._watches.values() else False

    def _watch_directory(self, directory: str) -> None:
        """See to it that we are told when Docker makes the file anew, or the directory it will be in."""
        if self._watches.get(directory, MISSING) >= 0:
            return
        self._watches[directory] = self._watch.directory(directory, self._made)
        if self._watches[directory] == MISSING:
            parent = os.path.dirname(directory)
            if self._watches.get(parent, MISSING) < 0:
                self._watches[parent] = self._watch.directory(parent, self._called)
            # Made between the two?
            self._watches[directory] = self._watch.directory(directory, self._made)

    # -- What else happens to it

    def start(self) -> None:
        """Open the files and go to where we left off, now rather than at the first step.

        :raises OSError: the first step will try again.
        """
        if not self._started:
            self._start()
            self._started = True

    @property
    def is_parked(self) -> bool:
        """Whether all is written and nothing held open."""
        return not self._started

    def reopen(self) -> None:
        """Kubelet has renamed the file: write to a new one.

        :raises OSError: it is as if this had not been called.
        """
        self.start()
        for _ in range(_CATCH_UP):
            if not self._output.ahead or self.step() is not Progress.MORE:
                break
        self._output.reopen()
        self._reopen_due = False
        self._record_due = True
        self.save()

    def save(self) -> None:
        """Record how far we are.  What cannot be recorded now is made again later."""
        if self._started and self._finding is None:
            try:
                self._record()
            except OSError as error:
                self._reports.unrecorded(error)

    def close(self) -> None:
        """Let go of the files."""
        for watch in self._watches.values():
            self._watch.forget(watch)
        self._watches.clear()
        self._let_go()

    def _park(self) -> None:
        self.save()
        # Without a record it would have to look for its place.
        if self._recorded is not None and self._recorded.mark == self._output.mark:
            self._let_go()

    def _let_go(self) -> None:
        self._source.close()
        self._output.close()
        self._started = False

    def _called(self) -> None:
        self._call(self)

    def _made(self) -> None:
        # Now, whoever's turn it is: Docker may remove it before ours.
        with suppress(OSError):
            self._source.look()
        self._call(self)

    # -- Starting

    def _start(self) -> None:
        record = self._positions.load(self._container)
        if record is None or not isinstance(record.source, Position):
            self._output.open()
            self._source.begin()
            self._look_up()
        else:
            self._resume(record, record.source)
        self._reopen_due = self._output.is_replaced
        self._record_due = True

    def _resume(self, record: Record, position: Position) -> None:
        has_file = self._output.resume(record.mark)
        if not has_file:
            self._output.open()
        found = self._source.resume(position)
        if found is Found.NOTHING:
            # What the file has, it has from a file of Docker's that is gone; all that is left is newer.
            self._output.cut()
            self._reports.loss("Docker has removed the log file that was being read")
        elif found is Found.PLACE and has_file and self._output.length == record.mark.length:
            self._recorded = record
        else:
            if has_file and self._output.length:
                # Shorter than it was: the machine has lost the end of it.
                self._source.begin()
            self._look_up()

    def _look_up(self) -> None:
        """Find the place of the last line, from where the source is on.  A file without lines has it there."""
        self._lost = False
        self._output.cut()
        lines = self._output.last_lines()
        self._finding = LastLine(lines) if lines else None
        self._by_time = False

    # -- Working

    def _step(self) -> Progress:
        self.start()
        if self._lost:
            self._look_up()
        if self._reopen_due and not self._output.ahead:
            self._output.reopen()
            self._reopen_due = False
            self._record_due = True
        if self._record_due and self._finding is None:
            self._record()
        result = self._source.read()
        if isinstance(result, Step):
            return self._take_step(result)
        if self._finding is not None:
            return self._find(self._finding, result)
        if result.broken:
            self._reports.damage(result.broken)
        self._output.append(result.output)
        self._source.advance(result.consumed)
        self._unrecorded += len(result.output)
        if self._unrecorded >= RECORD_EVERY or self._is_record_poor():
            self.save()
        return Progress.MORE if result.consumed > SLICE // 2 else Progress.DONE

    def _take_step(self, step: Step) -> Progress:
        if step is Step.END:
            if self._finding is not None and not self._by_time:
                self._by_time = True
                self._source.begin()
                return Progress.MORE
            self._finding = None
            # Should it have more than Docker's log, so be it.
            self._output.keep()
            if self._is_record_poor():
                self.save()
            return Progress.DONE
        if self._finding is None:
            self._output.keep()
            self._record_due = True
        if step is Step.GAP:
            self._reports.loss("Docker removed log files faster than they could be read")
        elif step is Step.EMPTIED:
            self._reports.loss("Docker emptied its log file, having been told to keep a single one (max-file)")
        return Progress.MORE

    def _find(self, finding: LastLine, result: Converted) -> Progress:
        """Pass over the entries up to the last line of the file, or up to the first that is newer."""
        place = finding.find_newer(result.output) if self._by_time else finding.find(result.output)
        if place is None:
            self._source.advance(result.consumed)
            return Progress.MORE
        self._finding = None
        if place:
            size = bisect_left(range(SLICE), place, lo=1, key=lambda size: len(self._converted(size).output))
            self._source.advance(self._converted(size).consumed)
        return Progress.MORE

    def _converted(self, size: int) -> Converted:
        result = self._source.read(size)
        return result if isinstance(result, Converted) else Converted(b"", 0)

    # -- Records

    def _is_record_poor(self) -> bool:
        """Whether the record is of a time when no file of Docker's could be told yet, or of another file of ours."""
        recorded = self._recorded
        if recorded is None:
            return False
        return recorded.source == BEGINNING or recorded.mark[:2] != self._output.mark[:2]

    def _record(self) -> None:
        record = Record(self._output.path, self._output.mark, self._source.position)
        if record != self._recorded:
            self._positions.save(self._container, record)
            self._recorded = record
        self._record_due = False
        self._unrecorded = 0
