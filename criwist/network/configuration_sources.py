"""Sources of a network configuration: the files in ``--cni-conf-dir``, or a list that criwist writes itself.

Other programs may add plugins to a list: the files ``<directory>/<network name>/*.conf``, in the order of their names,
unless the list has ``loadOnlyInlinedPlugins`` (CNI specification 1.1.0, "Network configuration format").
"""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Iterator, Mapping
from typing import Protocol

from attrs import frozen

from criwist.netconf.lists import ADDED_SUFFIX, CONFIGURATION_SUFFIXES, Choice, choose
from criwist.netconf.plugin_errors import MalformedDocument

#: Bytes of a configuration file that are accepted; a usual one has a few KiB.
CONFIGURATION_LIMIT = 1 << 20


class ConfigurationSource(Protocol):
    """A source of the network configuration."""

    def signature(self) -> Hashable:
        """Return a value that changes when :meth:`read` may return another result."""

    def read(self) -> Choice:
        """Return the configuration, if there is a valid one, and the problems of invalid ones."""

    def missing(self) -> str:
        """Return the message for operators when there is none, with the place that was searched."""


@frozen
class ConfigurationDirectory:
    """Files in ``--cni-conf-dir``."""

    directory: str

    def signature(self) -> Hashable:
        """Return paths, sizes, times and inodes of the files that count; a change of a mode changes a time."""
        return tuple(
            (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            for path, status in self._statuses()
        )

    def read(self) -> Choice:
        """Return the first valid list; an unreadable file is skipped like an invalid one."""
        files: dict[str, bytes] = {}
        problems: dict[str, str] = {}
        for entry in _entries(self.directory, CONFIGURATION_SUFFIXES):
            try:
                files[entry.name] = _content(entry.path)
            except MalformedDocument as problem:
                problems[entry.name] = str(problem)
        choice = choose(files, self._added)
        return Choice(choice.chosen, {**problems, **choice.problems})

    def missing(self) -> str:
        endings = ", ".join("*" + suffix for suffix in CONFIGURATION_SUFFIXES)
        try:
            os.listdir(self.directory)
        except FileNotFoundError:
            pass
        except OSError as problem:
            return f"the directory of network configurations, {self.directory}, cannot be read: {problem.strerror}"
        return f"no network configuration in {self.directory} (searched for {endings}); is a network add-on installed?"

    def _added(self, network: str) -> Mapping[str, bytes]:
        """Return the contents of the files that add plugins to *network*, in order.

        :raises MalformedDocument: one cannot be read.
        """
        entries = _entries(os.path.join(self.directory, network), (ADDED_SUFFIX,))
        try:
            return {entry.name: _content(entry.path) for entry in entries}
        except MalformedDocument as problem:
            raise MalformedDocument(f"a plugin in {network}/ cannot be added: {problem}") from problem

    def _statuses(self) -> Iterator[tuple[str, os.stat_result]]:
        for entry in _entries(self.directory):
            if entry.name.endswith(CONFIGURATION_SUFFIXES):
                yield from _status(entry)
            elif entry.is_dir():
                for added in _entries(entry.path, (ADDED_SUFFIX,)):
                    yield from _status(added)


def _entries(directory: str, suffixes: tuple[str, ...] = ("",)) -> list[os.DirEntry[str]]:
    """Return the entries of a directory whose names end so, sorted by name; none if it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return sorted((one for one in entries if one.name.endswith(suffixes)), key=lambda one: one.name)
    except OSError:
        return []


def _status(entry: os.DirEntry[str]) -> list[tuple[str, os.stat_result]]:
    try:
        return [(entry.path, os.stat(entry.path))]
    except OSError:
        return []


def _content(path: str) -> bytes:
    """Return the content of a regular file.

    :raises MalformedDocument: it cannot be read, is not a regular file, which could block the reactor, or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MalformedDocument("it is not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(CONFIGURATION_LIMIT + 1)
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise MalformedDocument(f"it cannot be read: {problem.strerror}") from problem
    if len(content) > CONFIGURATION_LIMIT:
        raise MalformedDocument(f"it is larger than {CONFIGURATION_LIMIT >> 20} MiB")
    return content
