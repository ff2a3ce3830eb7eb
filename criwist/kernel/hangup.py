"""Hanging up a terminal: what the kernel does when a modem line drops, for a terminal whose other end stays open.

Docker keeps the master end of an exec's terminal open when its client goes away, so the shell in it would wait for
ever.  The kernel's own hang-up (tty_ioctl(4), termios(3)) sends SIGHUP and SIGCONT to the session's leader and to
the terminal's foreground process group; that is what is done here.  (Without job control that is the leader's own
group: a shell that waits for what it runs takes notice only when that has ended.)
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from criwist.kernel.procfs import PROC, read_text

#: SIGCONT lets what is stopped take notice.
_SIGNALS = (signal.SIGHUP, signal.SIGCONT)


def hang_up(leader: int, proc: str = PROC) -> bool:
    """Hang up the terminal of the session that the process *leader* leads.

    False, and nothing is done: there is no such process, it leads no session, or has no terminal.
    """
    try:
        descriptor = os.pidfd_open(leader)
    except OSError:
        return False
    try:
        # Read after the descriptor was opened: from here on the number can be no other process's.
        foreground = _foreground(leader, proc)
        if foreground is None:
            return False
        for number in _SIGNALS:
            with suppress(ProcessLookupError):
                if foreground != leader:
                    signal.pidfd_send_signal(descriptor, number)
                if foreground > 1:
                    os.killpg(foreground, number)
    finally:
        os.close(descriptor)
    return True


def _foreground(leader: int, proc: str) -> int | None:
    """The foreground process group of the terminal of the session that *leader* leads, from its stat (proc(5))."""
    text = read_text(f"{proc}/{leader}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    session, terminal, foreground = int(fields[3]), int(fields[4]), int(fields[5])
    return foreground if session == leader and terminal else None
