"""SIGHUP for a terminal whose master end stays open, as the kernel sends it when a modem line drops.

Docker keeps the master end of an exec's terminal open when its client disconnects, so the shell in it would wait for
ever.  The kernel's own hang-up (tty_ioctl(4), termios(3)) sends SIGHUP and SIGCONT to the session's leader and to
the terminal's foreground process group; :func:`hang_up` does the same.  (Without job control that group is the
leader's own: a shell that waits for a command handles the signal only when the command has ended.)
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from criwist.kernel.cgroup.paths import belongs_to
from criwist.kernel.procfs import PROC, read_text

#: SIGCONT lets stopped processes handle the SIGHUP.
_SIGNALS = (signal.SIGHUP, signal.SIGCONT)


def hang_up(leader: int, container: str, proc: str = PROC) -> bool:
    """Hang up the terminal of the session that the process *leader* leads; return whether signals were sent.

    None are sent if there is no such process in the container's cgroup, it leads no session, or it has no terminal.
    """
    try:
        descriptor = os.pidfd_open(leader)
    except OSError:
        return False
    try:
        # Read after the descriptor was opened: from here on the pid cannot belong to another process.
        foreground = _foreground(leader, proc) if belongs_to(leader, container, proc) else None
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
    """Return the foreground process group from the stat of a session's *leader* (proc(5)), None without a terminal."""
    text = read_text(f"{proc}/{leader}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    session, terminal, foreground = int(fields[3]), int(fields[4]), int(fields[5])
    return foreground if session == leader and terminal else None
