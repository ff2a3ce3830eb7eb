"""Writes the lines of the engine's log API to a CRI file.

The record holds a cursor (see :mod:`criwist.logs.engine_api.cursor`) and the length up to which the file holds the
lines that the cursor counts.  Each response of the engine begins at the cursor.  The counted lines are skipped by their
number; the lines that the file has after those, from before a restart of criwist, are skipped by comparing their bytes
(see :mod:`criwist.logs.cri_file.cri_file`).
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from criwist.logs.cri_file.cri_file import CriFile, Diverged
from criwist.logs.engine_api.cursor import UNKNOWN, ApiCursor, OverlapFilter, RollingCursor
from criwist.logs.positions import Positions, Record
from criwist.logs.problem_reports import ProblemReports

#: Bytes written between two records.
RECORD_INTERVAL: Final = 1 << 20


@define(eq=False)
class ApiWriter:
    """The CRI file of one container."""

    _container: str
    _cri_file: CriFile
    _positions: Positions
    _problems: ProblemReports
    #: None until :meth:`start`.
    _cursor: RollingCursor | None = field(default=None, init=False)
    _overlap: OverlapFilter = field(factory=lambda: OverlapFilter(ApiCursor(), ()), init=False)
    #: Lines that are not in the file yet.
    _pending: list[bytes] = field(factory=list, init=False)
    #: There is a new file, but the open one has to be completed first.
    _reopen_due: bool = field(default=False, init=False)
    #: Bytes written since the last record.
    _unrecorded: int = field(default=0, init=False)
    _last_record: Record | None = field(default=None, init=False)

    def start(self) -> bool:
        """Open the file and go to the recorded position.  Idempotent.

        Returns whether the log is complete according to the record; False if the writer was started already.

        :raises OSError: the file cannot be opened; call again.
        """
        if self._cursor is not None:
            return False
        record = self._positions.load(self._container)
        if record is None or not isinstance(record.source, ApiCursor):
            self._cri_file.open()
            self._cri_file.accept_all()
            self._cursor = RollingCursor(ApiCursor(count=UNKNOWN if self._cri_file.length else 0))
        else:
            self._resume(record, record.source)
        self._reopen_due = self._cri_file.is_replaced
        self.save()
        return record is not None and record.complete

    def _resume(self, record: Record, cursor: ApiCursor) -> None:
        if not self._cri_file.resume(record.mark):
            self._cri_file.open()
            self._cri_file.accept_all()
        if self._cri_file.length not in (0, record.mark.length):
            # The file is shorter than it was, or another one.
            self._cri_file.accept_all()
            cursor = ApiCursor(count=UNKNOWN, last=cursor.last)
        self._cursor = RollingCursor(cursor)

    def begin_response(self) -> str:
        """Prepare for a new response; return the parameter ``since`` of its request.

        Pending lines of the last response are dropped: the engine sends them again.

        :raises OSError: the file cannot be read.
        """
        self._pending = []
        cursor = self._current_cursor()
        self._overlap = OverlapFilter(cursor, self._cri_file.last_lines())
        return cursor.parameter

    def write_lines(self, lines: list[bytes]) -> None:
        """Write those of *lines*, the next lines of the response, that the file does not have.

        :raises OSError: some are pending; call :meth:`write_pending` until it succeeds, before the next lines.
        """
        self._pending += self._overlap.new_lines(lines)
        self.write_pending()

    def write_pending(self) -> None:
        """Write the lines that are not in the file yet.

        :raises OSError: some could not be written.
        """
        while self._pending:
            if self._reopen_due and not self._cri_file.ahead:
                self._cri_file.reopen()
                self._reopen_due = False
                self._record()
            try:
                self._cri_file.append(b"".join(self._pending))
            except Diverged as divergence:
                self._problems.diverged(divergence)
                self._cri_file.accept_ahead()
                cursor = ApiCursor(count=UNKNOWN, last=self._current_cursor().last)
                self._overlap = OverlapFilter(cursor, self._cri_file.last_lines())
                self._pending = self._overlap.new_lines(self._pending)
                continue
            self._advance(self._pending)
            self._pending = []

    def ends_with(self, lines: list[bytes]) -> bool:
        """Whether these are the last lines of the file, and none is pending."""
        if self._pending or self._cri_file.ahead:
            return False
        written = self._cri_file.last_lines()
        return written[-len(lines) :] == lines if lines else not written

    def write_if_empty(self, line: bytes) -> None:
        """Write a line of criwist's own, unless the file has lines.

        :raises OSError: it could not be written.
        """
        if not self._cri_file.length:
            self._cri_file.append(line)

    def reopen(self) -> None:
        """Write to a new file at the path: kubelet has renamed the old one.

        :raises OSError: nothing has changed.
        """
        self.start()
        self._cri_file.reopen()
        self._reopen_due = False
        self.save()

    def save(self, *, complete: bool = False) -> None:
        """Record the position.  A failure is reported."""
        try:
            self._record(complete=complete)
        except OSError as error:
            self._problems.record_failed(error)

    def close(self) -> None:
        """Close the file."""
        self._cri_file.close()
        self._cursor = None

    def _current_cursor(self) -> ApiCursor:
        return self._cursor.current if self._cursor is not None else ApiCursor(count=UNKNOWN)

    def _advance(self, lines: list[bytes]) -> None:
        if self._cursor is not None:
            self._cursor.advance(lines)
        self._unrecorded += sum(map(len, lines))
        if self._unrecorded >= RECORD_INTERVAL:
            self.save()

    def _record(self, *, complete: bool = False) -> None:
        if self._cursor is None:
            return
        record = Record(self._cri_file.path, self._cri_file.mark, self._cursor.current, complete)
        if record != self._last_record:
            self._positions.save(self._container, record)
            self._last_record = record
        self._unrecorded = 0
