"""SIGHUP for a terminal, on real child processes."""

from __future__ import annotations

import os
import pty
import signal
import time
from collections.abc import Callable

from criwist.kernel.hangup import hang_up


def in_terminal(work: Callable[[], None]) -> tuple[int, int]:
    """Start a session leader with a terminal, which does *work*; return its pid and the terminal's master end."""
    pid, master = pty.fork()
    if not pid:
        try:
            os.write(1, b"!")
            work()
        finally:
            os._exit(0)
    assert os.read(master, 1) == b"!", "the terminal is its own from here on"
    return pid, master


def ended_by(pid: int) -> int:
    """Return the signal that ends the child, within seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return -os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the process has not ended")


def test_the_leader_gets_sighup() -> None:
    """A hang-up ends a session leader with a terminal, even a stopped one."""
    for stopped in (False, True):
        pid, master = in_terminal(lambda: time.sleep(60))
        if stopped:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        assert hang_up(pid, "/")
        assert ended_by(pid) == signal.SIGHUP
        os.close(master)


def test_the_foreground_gets_it_too() -> None:
    """A leader that ignores SIGHUP lives on, its foreground process group ends."""

    def shell() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        job = os.fork()
        if not job:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpid())
            os.write(1, b"ready")
            time.sleep(60)
            os._exit(0)
        _, status = os.waitpid(job, 0)
        os._exit(-os.waitstatus_to_exitcode(status))

    pid, master = in_terminal(shell)
    assert os.read(master, 5) == b"ready"
    assert hang_up(pid, "/")
    assert ended_by(pid) == -signal.SIGHUP, "it exits with the signal that ended its job"
    os.close(master)


def test_the_leader_s_own_group_gets_it_too() -> None:
    """A shell without job control runs its commands in its own process group, and waits until they end."""

    def shell() -> None:
        signal.signal(signal.SIGHUP, lambda *_: None)
        job = os.fork()
        if not job:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.write(1, b"ready")
            time.sleep(60)
            os._exit(0)
        _, status = os.waitpid(job, 0)
        os._exit(-os.waitstatus_to_exitcode(status))

    pid, master = in_terminal(shell)
    assert os.read(master, 5) == b"ready"
    assert hang_up(pid, "/")
    assert ended_by(pid) == -signal.SIGHUP, "it exits with the signal that ended its job"
    os.close(master)


def test_nobody_else_is_signalled() -> None:
    """A process that leads no session, has no terminal, or is gone gets no signal."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    leader = os.fork()
    if not leader:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    while os.getsid(leader) != leader:
        time.sleep(0.001)
    try:
        assert not hang_up(child, "/")
        assert not hang_up(leader, "/")
    finally:
        for pid in (child, leader):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert not hang_up(leader, "/")


def test_a_process_of_another_container() -> None:
    """A process outside of the container's cgroup, which has the pid by now, is left alone."""
    pid, master = in_terminal(lambda: time.sleep(60))
    assert not hang_up(pid, "0" * 64)
    os.kill(pid, signal.SIGKILL)
    assert ended_by(pid) == signal.SIGKILL
    os.close(master)
