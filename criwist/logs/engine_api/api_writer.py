"""A CRI file that is continued with lines of the engine's log API.

What is remembered is an anchor (see :mod:`criwist.logs.engine_api.cursor`) and up to where the file holds the lines
counted from it.  Each answer of the engine begins at the anchor: the lines that are counted are passed over by their
number, those that the file has beyond, from before a restart of ours, by their bytes (see
:mod:`criwist.logs.cri_file.cri_file`)."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from criwist.logs.cri_file.cri_file import CriFile, Diverged
from criwist.logs.engine_api.cursor import UNKNOWN, ApiCursor, ApiCursors, Overlap
from criwist.logs.positions import Positions, Record
from criwist.logs.reports import Reports

#: Bytes written between two records.
RECORD_EVERY: Final = 1 << 20


@define(eq=False)
class ApiWriter:
    """The file of one container."""

    _container: str
    _output: CriFile
    _positions: Positions
    _reports: Reports
    #: None until it is started.
    _anchors: ApiCursors | None = field(default=None, init=False)
    _overlap: Overlap = field(factory=lambda: Overlap(ApiCursor(), ()), init=False)
    #: Lines that are not in the file yet.
    _held: list[bytes] = field(factory=list, init=False)
    #: There is a new file, but what the one that is open lacks comes first.
    _reopen_due: bool = field(default=False, init=False)
    _unrecorded: int = field(default=0, init=False)
    _recorded: Record | None = field(default=None, init=False)

    def start(self) -> bool:
        """Open the file and go to where we left off, unless that is done; whether it was complete then.

        :raises OSError: to be called again.
        """
        if self._anchors is not None:
            return False
        record = self._positions.load(self._container)
        if record is None or not isinstance(record.source, ApiCursor):
            self._output.open()
            self._output.cut()
            self._anchors = ApiCursors(ApiCursor(count=UNKNOWN if self._output.length else 0))
        else:
            self._resume(record, record.source)
        self._reopen_due = self._output.is_replaced
        self.save()
        return record is not None and record.complete

    def _resume(self, record: Record, anchor: ApiCursor) -> None:
        if not self._output.resume(record.mark):
            self._output.open()
            self._output.cut()
        if self._output.length not in (0, record.mark.length):
            # Shorter than it was, or another file.
            self._output.cut()
            anchor = ApiCursor(count=UNKNOWN, last=anchor.last)
        self._anchors = ApiCursors(anchor)

    def begin(self) -> str:
        """The engine is asked for its log: the parameter ``since``.  What was held is dropped; it will come again.

        :raises OSError: the file cannot be read.
        """
        self._held = []
        anchor = self._current()
        self._overlap = Overlap(anchor, self._output.last_lines())
        return anchor.parameter

    def take(self, lines: list[bytes]) -> None:
        """The next lines of the engine's answer.

        :raises OSError: not all could be written; call :meth:`write` until they are, before more is taken.
        """
        self._held += self._overlap.without(lines)
        self.write()

    def write(self) -> None:
        """Write what is held.

        :raises OSError: not all could be written.
        """
        while self._held:
            if self._reopen_due and not self._output.ahead:
                self._output.reopen()
                self._reopen_due = False
                self._record()
            try:
                self._output.append(b"".join(self._held))
            except Diverged as divergence:
                self._reports.diverged(divergence)
                self._output.keep()
                self._overlap = Overlap(ApiCursor(count=UNKNOWN, last=self._current().last), self._output.last_lines())
                self._held = self._overlap.without(self._held)
                continue
            self._have(self._held)
            self._held = []

    def ends_with(self, lines: list[bytes]) -> bool:
        """Whether these are the last lines of the file, and nothing is held."""
        if self._held or self._output.ahead:
            return False
        known = self._output.last_lines()
        return known[-len(lines) :] == lines if lines else not known

    def note(self, line: bytes) -> None:
        """Write a line of our own, if the file is empty.

        :raises OSError: it could not be written.
        """
        if not self._output.length:
            self._output.append(line)

    def reopen(self) -> None:
        """Kubelet has renamed the file: write to a new one.

        :raises OSError: it is as if this had not been called.
        """
        self.start()
        self._output.reopen()
        self._reopen_due = False
        self.save()

    def save(self, *, complete: bool = False) -> None:
        """Record how far the file is."""
        try:
            self._record(complete=complete)
        except OSError as error:
            self._reports.unrecorded(error)

    def close(self) -> None:
        """Let go of the file."""
        self._output.close()
        self._anchors = None

    def _current(self) -> ApiCursor:
        return self._anchors.current if self._anchors is not None else ApiCursor(count=UNKNOWN)

    def _have(self, lines: list[bytes]) -> None:
        if self._anchors is not None:
            self._anchors.have(lines)
        self._unrecorded += sum(map(len, lines))
        if self._unrecorded >= RECORD_EVERY:
            self.save()

    def _record(self, *, complete: bool = False) -> None:
        if self._anchors is None:
            return
        record = Record(self._output.path, self._output.mark, self._anchors.current, complete)
        if record != self._recorded:
            self._positions.save(self._container, record)
            self._recorded = record
        self._unrecorded = 0
