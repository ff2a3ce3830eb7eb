"""The log: where twistd sends it, less what the operator did not ask for.

Events below ``--log-level`` are dropped, and what Twisted says of its own factories and connections is kept out
unless the level is ``debug``: a log that is read in an emergency holds sentences about pods.

twistd takes its observer by *name* and makes it before there is any service, so what the command line chose waits
in this module until then.
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

#: Where twistd logs as a daemon unless it is told otherwise.
TWISTD_LOG = "twistd.log"
STANDARD_OUTPUT = "-"

_level = "info"
_path = STANDARD_OUTPUT


def choose(level: str, path: str) -> str:
    """Choose what :func:`observer` makes; returns its name, for twistd's ``--logger``.

    :param level: ``debug``, ``info``, ``warn``, ``error`` or ``critical``.
    :param path: of the log file, or :data:`STANDARD_OUTPUT`.
    """
    global _level, _path
    _level, _path = level, path
    return f"{__name__}.{observer.__name__}"


def observer() -> ILogObserver:
    """The observer of the log that was chosen.  Opens the file."""
    least = LogLevel.levelWithName(_level)
    predicate = LogLevelFilterPredicate(defaultLogLevel=least)
    if least is not LogLevel.debug:
        for namespace in ("twisted", "log_legacy"):
            predicate.setLogLevelForNamespace(namespace, max(LogLevel.warn, least, key=_rank))
    output = sys.stdout if _path == STANDARD_OUTPUT else LogFile.fromFullPath(_path)
    return FilteringLogObserver(textFileLogObserver(output), [predicate])


def _rank(level: object) -> int:
    return list(LogLevel.iterconstants()).index(level)
