"""One line of progress: rewritten in place on a terminal, printed now and then where output is kept."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

#: How often a line is rewritten on a terminal, and printed elsewhere, in seconds.
_TERMINAL_INTERVAL = 0.1
_FILE_INTERVAL = 5.0


class Progress:
    """A context in which something takes its time.

    It shows *what*, how long it has taken, and what :meth:`update` said last; at the end one line stays that says
    how long it took.

    :param monotonic: the clock, in seconds.
    """

    def __init__(self, what: str, output: TextIO = sys.stdout, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._output = output
        self._monotonic = monotonic
        self._terminal = output.isatty()
        self._detail = ""
        self._began = 0.0
        self._ended = threading.Event()
        self._shower = threading.Thread(target=self._show, daemon=True)

    def update(self, detail: str) -> None:
        """Say more; from any thread."""
        self._detail = detail

    def __enter__(self) -> Progress:
        """Begin to show."""
        self._began = self._monotonic()
        self._shower.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Leave the last line."""
        self._ended.set()
        self._shower.join()
        outcome = "failed after" if kind is not None else "done in"
        self._write(f"{self._what}: {outcome} {self._monotonic() - self._began:.1f} s", last=True)

    def _show(self) -> None:
        while not self._ended.wait(_TERMINAL_INTERVAL if self._terminal else _FILE_INTERVAL):
            detail = f", {self._detail}" if self._detail else ""
            self._write(f"{self._what}: {self._monotonic() - self._began:.0f} s{detail}", last=False)

    def _write(self, line: str, *, last: bool) -> None:
        if self._terminal:
            self._output.write(f"\r\x1b[K{line}" + ("\n" if last else ""))
        else:
            self._output.write(line + "\n")
        self._output.flush()
