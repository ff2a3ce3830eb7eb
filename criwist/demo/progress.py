"""One line of progress: rewritten in place on a terminal, printed every few seconds elsewhere."""

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
    """A context for a step that takes long.

    It shows *what*, the time so far, and the last detail of :meth:`update`; at the end one line with the total time
    stays.

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
        self._writer = threading.Thread(target=self._show, daemon=True)

    def update(self, detail: str) -> None:
        """Set the detail; any thread."""
        self._detail = detail

    def __enter__(self) -> Progress:
        """Start showing the line."""
        self._began = self._monotonic()
        self._writer.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Write the last line, which stays."""
        self._ended.set()
        self._writer.join()
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
