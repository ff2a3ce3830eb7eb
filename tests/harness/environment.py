"""The tests' process, whatever shell or service started it.

Signal dispositions, the signal mask, the umask, limits, standard input and the environment are inherited, by this
process and by every program that the tests start.  ``nohup`` ignores SIGHUP, a shell in the background SIGINT, an
operator's profile sets a proxy, a locale, a time zone: none of it may decide whether a test passes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import tempfile
import time

_PR_SET_PDEATHSIG = 1
_UMASK = 0o022
#: Open files that the tests and their programs may have; engines need thousands.
_OPEN_FILES = 65536
#: Variables that programs under test read, and that a user may have set for other programs.
_REMOVED = frozenset(
    {
        "ALL_PROXY",
        "BASH_ENV",
        "CDPATH",
        "COLUMNS",
        "CONTAINERD_ADDRESS",
        "CONTAINERD_NAMESPACE",
        "ENV",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "KUBECONFIG",
        "LINES",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MAINPID",
        "NOTIFY_SOCKET",
        "NO_PROXY",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "XDG_RUNTIME_DIR",
    }
)
_REMOVED_PREFIXES = ("BUILDKIT_", "CNI_", "DOCKER_", "GRPC_", "LC_", "OTEL_")


def normalize() -> None:
    """Give this process the signals, umask, limits, standard input and environment that the tests expect."""
    _reset_signals()
    os.umask(_UMASK)
    _raise_open_files()
    _open_standard_input()
    for name in list(os.environ):
        if name.upper() in _REMOVED or name.upper().startswith(_REMOVED_PREFIXES):
            del os.environ[name]
    os.environ["LANG"] = "C.UTF-8"
    os.environ["LANGUAGE"] = ""
    os.environ["TERM"] = "dumb"
    time.tzset()
    tempfile.tempdir = None  # pytest has asked for it before us


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies (prctl(2), PR_SET_PDEATHSIG)."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _reset_signals() -> None:
    """Undo what is inherited: ignored signals, and blocked ones.  Python itself ignores SIGPIPE and SIGXFSZ."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if number in (signal.SIGPIPE, signal.SIGXFSZ):
            continue
        with contextlib.suppress(OSError, ValueError):
            if signal.getsignal(number) is signal.SIG_IGN:
                handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, handler)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if os.geteuid() == 0 and hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
            return
    if soft == resource.RLIM_INFINITY or soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open_standard_input() -> None:
    """Occupy descriptors 0 to 2 if they are closed: else the next file or socket that is opened becomes one of them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
