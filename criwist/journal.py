"""The log: where twistd sends it, less what the operator did not ask for.

Events below ``--log-level`` are dropped, and what Twisted says of its own factories and connections is kept out
unless the level is ``debug``: a log that is read in an emergency holds sentences about pods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

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

#: What ``--log-level`` accepts.
LEVELS = ("debug", "info", "warn", "error", "critical")


def observer_factory(level: str, path: str) -> Callable[[], ILogObserver]:
    """A factory of twistd's log observer.

    :param level: one of :data:`LEVELS`.
    :param path: of the log file, ``-``: standard output.  Opened when logging begins.
    """

    def observer() -> ILogObserver:
        least = LogLevel.levelWithName(level)
        predicate = LogLevelFilterPredicate(defaultLogLevel=least)
        if least is not LogLevel.debug:
            predicate.setLogLevelForNamespace("twisted", max(LogLevel.warn, least, key=_rank))
            predicate.setLogLevelForNamespace("-", max(LogLevel.warn, least, key=_rank))
        return FilteringLogObserver(
            textFileLogObserver(sys.stdout if path == "-" else LogFile.fromFullPath(path)), [predicate]
        )

    return observer


def _rank(level: object) -> int:
    return list(LogLevel.iterconstants()).index(level)
