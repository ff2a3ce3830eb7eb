"""The log observer: twistd's log without the events that the operator did not request.

The observer drops events below ``--log-level``, and events of Twisted's own factories and connections unless the level
is ``debug``: in an emergency the log should contain sentences about pods.

twistd takes its observer by *name* and creates it before any service exists, so this module stores the command line's
choice until then.
"""

from __future__ import annotations

import sys

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile

#: twistd's default log file as a daemon.
TWISTD_LOG = "twistd.log"
STANDARD_OUTPUT = "-"

_level = "info"
_path = STANDARD_OUTPUT


def choose(level: str, path: str) -> str:
    """Configure :func:`observer`; return its name, for twistd's ``--logger``.

    :param level: ``debug``, ``info``, ``warn``, ``error`` or ``critical``.
    :param path: of the log file, or :data:`STANDARD_OUTPUT`.
    """
    global _level, _path
    _level, _path = level, path
    return f"{__name__}.{observer.__name__}"


def observer() -> ILogObserver:
    """Return the observer that :func:`choose` configured.  Opens the file."""
    least = LogLevel.levelWithName(_level)
    predicate = LogLevelFilterPredicate(defaultLogLevel=least)
    if least is not LogLevel.debug:
        for namespace in ("twisted", "log_legacy"):
            predicate.setLogLevelForNamespace(namespace, max(LogLevel.warn, least, key=_rank))
    output = sys.stdout if _path == STANDARD_OUTPUT else LogFile.fromFullPath(_path)
    return FilteringLogObserver(textFileLogObserver(output), [predicate])


def _rank(level: object) -> int:
    return list(LogLevel.iterconstants()).index(level)
