"""Command lines in the syntax of Go programs.

Unit files and habits come from kubelet, dockershim and cri-dockerd, which parse flags with Go's libraries.  Unlike
getopt, these accept one dash or two before a flag's name (``-v=2``, ``--v=2``), a value after ``=`` or as the next
argument, a boolean flag alone or with a value after ``=`` only (``--logtostderr``, ``--logtostderr=false``) and ``_``
for ``-`` in names.  They accept no abbreviations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from attrs import frozen


class FlagError(ValueError):
    """A command line that cannot be parsed; the text names the wrong part and the problem."""


@frozen
class Flag:
    """A flag that the program knows; ``name`` is its name in :class:`Given`."""

    name: str
    boolean: bool = False


@frozen
class Given:
    """One use of a flag."""

    name: str
    #: ``true`` for a boolean flag without a value.
    value: str
    #: The flag as the user wrote it, for error messages: ``--cri-dockerd-root-directory``.
    spelled: str


@frozen
class CommandLine:
    """A parsed command line: flags in order, and the arguments that are not flags."""

    given: tuple[Given, ...] = ()
    arguments: tuple[str, ...] = ()


def read_flags(arguments: Sequence[str], flags: Mapping[str, Flag]) -> CommandLine:
    """Parse *arguments*.

    :param flags: all flags, by each of their names.
    :raises FlagError: an unknown flag, or one without its value.
    """
    given: list[Given] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others.extend(rest)
        elif argument.startswith("-") and argument != "-":
            given.append(_flag(argument, rest, flags))
        else:
            others.append(argument)
    return CommandLine(tuple(given), tuple(others))


def _flag(argument: str, rest: Iterator[str], flags: Mapping[str, Flag]) -> Given:
    spelled, equals, value = argument.partition("=")
    name = spelled.removeprefix("-").removeprefix("-").replace("_", "-")
    flag = flags.get(name)
    if flag is None:
        short = _short(argument, flags)
        if short is not None:
            return short
        raise FlagError(f"there is no option {spelled}{_did_you_mean(name, flags)}")
    if equals:
        return Given(flag.name, value, spelled)
    if flag.boolean:
        return Given(flag.name, "true", spelled)
    following = next(rest, None)
    if following is None:
        raise FlagError(f"{spelled}: needs a value")
    return Given(flag.name, following, spelled)


def _short(argument: str, flags: Mapping[str, Flag]) -> Given | None:
    """A one-letter flag with its value attached: ``-v4``."""
    flag = flags.get(argument[1:2])
    if argument.startswith("--") or flag is None or flag.boolean:
        return None
    return Given(flag.name, argument[2:], argument[:2])


def _did_you_mean(name: str, flags: Mapping[str, Flag]) -> str:
    return "".join(f"; do you mean --{close}?" for close in get_close_matches(name, flags, n=1))
